//! `keywheel recipient`: the operator's own curve key, made here and kept in a file.

use crate::arguments::GlobalOptions;
use crate::context::{Context, RECIPIENT_FILE, home, read_opener};
use crate::failure::Failure;
use crate::screen::Screen;
use clap::{Args, Subcommand};
use keywheel_runtime::exit;
use keywheel_token::Opener;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The commands of `recipient`.
#[derive(Debug, Subcommand)]
pub enum Recipient {
    /// Make a new pair: the seed into a file of mode 0600, the public half to standard output
    #[command(after_help = "Example:\n  keywheel recipient new --file ~/keys/me.xk")]
    New(SeedFile),
    /// Show the public half
    #[command(after_help = "Example:\n  keywheel recipient show")]
    Show(SeedFile),
}

/// Which file is meant.
#[derive(Args, Debug)]
pub struct SeedFile {
    /// The file with the seed [default: the context's, else recipient.xk in the home]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Recipient {
    /// Makes or shows a recipient.
    pub(crate) fn run(self, options: &GlobalOptions, screen: &Screen) -> Result<u8, Failure> {
        let (file, opener) = match self {
            Recipient::New(seed) => {
                let file = seed.path(options)?;
                let opener = Opener::fresh();
                write_seed(&file, &opener)?;
                (file, opener)
            }
            Recipient::Show(seed) => {
                let file = seed.path(options)?;
                let missing = || Failure::refused("no_recipient", format!("there is no {}", file.display()));
                let opener = read_opener(&file)?.ok_or_else(missing)?;
                (file, opener)
            }
        };
        screen.note(&format!("seed: {}", file.display()));
        screen.show(&json!({ "recipient": opener.public(), "file": file }), opener.public())?;
        Ok(exit::DONE)
    }
}

impl SeedFile {
    /// A context is not needed for a key of one's own: without one, it goes into the home.
    fn path(self, options: &GlobalOptions) -> Result<PathBuf, Failure> {
        if let Some(file) = self.file {
            return Ok(file);
        }
        match Context::load(options) {
            Ok(context) => Ok(context.recipient_file()),
            Err(failure) if failure.code == "no_context" && options.context.is_none() => {
                Ok(home().join(RECIPIENT_FILE))
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Never over an existing file: what was sealed to its key could not be opened any more.
fn write_seed(file: &Path, opener: &Opener) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let path = file.display();
        if error.kind() == ErrorKind::AlreadyExists {
            let advice = "`keywheel recipient show` shows its public half";
            return Failure::refused("exists", format!("{path} exists; {advice}"));
        }
        Failure::config("recipient", format!("cannot write {path}: {error}"))
    };
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    let seed = opener.seed();
    open.write_all(seed.expose().as_bytes()).map_err(failed)?;
    open.write_all(b"\n").map_err(failed)?;
    open.sync_all().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_seed_is_private_and_never_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("new/recipient.xk");
        let opener = Opener::fresh();
        write_seed(&file, &opener).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_opener(&file).unwrap().unwrap().public(), opener.public());
        let again = write_seed(&file, &Opener::fresh()).unwrap_err();
        assert_eq!((again.exit, again.code.as_str()), (1, "exists"));
        assert_eq!(read_opener(&file).unwrap().unwrap().public(), opener.public());
    }
}
