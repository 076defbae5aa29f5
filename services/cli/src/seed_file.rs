//! Files that hold a seed: written once, for their owner alone.

use crate::failure::Failure;
use keywheel_runtime::config::read_text;
use keywheel_token::Seed;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Largest file that can hold a seed.
const SEED_BYTES_MAX: usize = 4096;

/// Never over an existing file: what only its seed opens or signs for would be lost. `if_there` says what to do then.
pub(crate) fn write(file: &Path, seed: &Seed, if_there: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let path = file.display();
        if error.kind() == ErrorKind::AlreadyExists {
            return Failure::refused("exists", format!("{path} exists; {if_there}"));
        }
        Failure::config("seed", format!("cannot write {path}: {error}"))
    };
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    open.write_all(seed.expose().as_bytes()).map_err(failed)?;
    open.write_all(b"\n").map_err(failed)?;
    open.sync_all().map_err(failed)
}

/// Reads one; `None` when there is no such file.
pub(crate) fn read(file: &Path) -> Result<Option<Zeroizing<String>>, Failure> {
    match read_text(file, SEED_BYTES_MAX) {
        Ok(seed) => Ok(Some(Zeroizing::new(seed))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::config("seed", format!("cannot read {}: {error}", file.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_token::Credential;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_seed_is_private_and_never_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("new/issuer.nk");
        let first = Credential::fresh();
        write(&file, &first.seed(), "show it").unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let again = write(&file, &Credential::fresh().seed(), "show it").unwrap_err();
        assert_eq!((again.exit, again.code.as_str()), (1, "exists"));
        assert!(again.detail.ends_with("exists; show it"), "{}", again.detail);
        let read_back = Credential::parse(&read(&file).unwrap().unwrap()).unwrap();
        assert_eq!(read_back.public(), first.public());
    }

    #[test]
    fn what_is_no_seed_for_its_length_is_not_read() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("issuer.nk");
        assert!(read(&file).unwrap().is_none());
        std::fs::write(&file, "x".repeat(SEED_BYTES_MAX + 1)).unwrap();
        assert!(read(&file).unwrap_err().detail.contains("more than 4096 bytes"));
    }
}
