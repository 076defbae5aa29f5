//! The seeds that lie in a home: one user nkey per role, and the operator's own xkey.

use crate::home::{Home, write_private};
use crate::nats_conf::User;
use crate::permissions::Role;
use anyhow::{Context as _, Result};
use keywheel_runtime::config::read_text;
use keywheel_token::{Credential, Opener};
use std::io;
use std::path::Path;
use zeroize::Zeroizing;

/// Largest file that can hold a seed.
const SEED_BYTES_MAX: usize = 4096;

/// Makes the credential of `role` unless there is one, and says who it is.
///
/// # Errors
/// When the file is no seed, or the system refuses.
pub fn ensure_user(home: &Home, role: &Role) -> Result<User> {
    let path = home.credential(&role.name());
    let credential = match read(&path)? {
        Some(text) => Credential::parse(&text).with_context(|| format!("{} is damaged", path.display()))?,
        None => {
            let fresh = Credential::fresh();
            write_private(&path, fresh.seed().expose().as_bytes())?;
            fresh
        }
    };
    Ok(User { role: role.clone(), public: credential.public().to_owned() })
}

/// Makes the operator's xkey unless there is one.
///
/// # Errors
/// When the file is no seed, or the system refuses.
pub fn ensure_recipient(home: &Home) -> Result<()> {
    let path = home.recipient();
    match read(&path)? {
        Some(text) => {
            Opener::parse(&text).with_context(|| format!("{} is damaged", path.display()))?;
            Ok(())
        }
        None => write_private(&path, Opener::fresh().seed().expose().as_bytes()),
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>> {
    match read_text(path, SEED_BYTES_MAX) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_second_start_keeps_who_everybody_is() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.create().unwrap();
        let users = || Role::fixed().iter().map(|role| ensure_user(&home, role).unwrap()).collect::<Vec<_>>();
        let first = users();
        assert_eq!(users(), first);
        assert!(first.iter().all(|user| user.public.starts_with('U')));

        ensure_recipient(&home).unwrap();
        let seed = fs::read(home.recipient()).unwrap();
        ensure_recipient(&home).unwrap();
        assert_eq!(fs::read(home.recipient()).unwrap(), seed);
    }

    #[test]
    fn a_damaged_seed_is_told_by_its_file_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.create().unwrap();
        fs::write(home.credential("operator"), "SUNOTASEED").unwrap();
        let told = format!("{:#}", ensure_user(&home, &Role::Operator).unwrap_err());
        assert!(told.contains("operator.nk is damaged") && !told.contains("SUNOTASEED"), "{told}");
    }
}
