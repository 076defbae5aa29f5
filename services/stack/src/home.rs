//! The folder in which a local stack keeps everything: where each file lies, and that nobody else reads it.

use crate::failure::Failure;
use anyhow::{Context as _, Result};
use keywheel_domain::LeafId;
use keywheel_runtime::config::read_text;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Largest document of a home that is read.
const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
const FOLDERS: [&str; 4] = ["credentials", "config", "data", "logs"];

/// The home folder, by its absolute path.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The home at `path`, which need not exist.
    ///
    /// # Errors
    /// When the working directory is gone, so that a relative path means nothing.
    pub fn at(path: &Path) -> Result<Home> {
        let root = std::path::absolute(path).with_context(|| format!("cannot use {}", path.display()))?;
        Ok(Home { root })
    }

    /// Creates what is missing and takes everybody else's access away.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create(&self) -> Result<()> {
        for folder in [&self.root].into_iter().cloned().chain(FOLDERS.map(|name| self.root.join(name))) {
            private_folder(&folder)?;
        }
        // A home often lies in a checkout, and must not end up in its history.
        let ignore = self.root.join(".gitignore");
        if ignore.exists() { Ok(()) } else { write_private(&ignore, b"*\n") }
    }

    /// Whether a stack was ever started here.
    pub fn exists(&self) -> bool {
        self.settings().exists()
    }

    /// Holds the home for one `up`; another one is refused for as long as the result lives.
    ///
    /// # Errors
    /// When another process holds it.
    pub fn hold(&self) -> Result<File> {
        let path = self.root.join("up.lock");
        let file = open_private(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Failure::refused(
                "in_use",
                format!(
                    "another `keywheel up` runs in {}; stop it, or use another --home",
                    self.root.display()
                ),
            )
            .into()),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// Whether an `up` runs here: what it wrote about its children is then current.
    pub fn is_held(&self) -> bool {
        let file = File::open(self.root.join("up.lock"));
        file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Waits for whoever changes the list of edges, and keeps others from it for as long as the result lives.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn hold_edges(&self) -> Result<File> {
        let path = self.root.join("edges.lock");
        let file = open_private(&path)?;
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where outside programs find the stack.
    pub fn context(&self) -> PathBuf {
        self.root.join("context.json")
    }

    /// The same for an auditor.
    pub fn auditor_context(&self) -> PathBuf {
        self.root.join("auditor.json")
    }

    /// What a second start continues with.
    pub fn settings(&self) -> PathBuf {
        self.root.join("stack.json")
    }

    /// Which edges this home runs.
    pub fn edges(&self) -> PathBuf {
        self.root.join("edges.json")
    }

    /// Name and process id of each running child.
    pub fn processes(&self) -> PathBuf {
        self.root.join("processes.json")
    }

    /// The configuration of the server that runs as `process`.
    pub fn nats_conf(&self, process: &str) -> PathBuf {
        self.root.join(format!("{process}.conf"))
    }

    /// Certificates and their keys, where the bus speaks TLS.
    pub fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// The streams, as that server keeps them.
    pub fn nats_store(&self, process: &str) -> PathBuf {
        self.root.join(process)
    }

    /// That server's process id.
    pub fn nats_pid(&self, process: &str) -> PathBuf {
        self.root.join(format!("{process}.pid"))
    }

    /// A nats-server that somebody put here.
    pub fn nats_server(&self) -> PathBuf {
        self.root.join("bin").join("nats-server")
    }

    /// The seed of a role's user nkey.
    pub fn credential(&self, role: &str) -> PathBuf {
        self.root.join("credentials").join(format!("{role}.nk"))
    }

    /// The seed of the operator's xkey.
    pub fn recipient(&self) -> PathBuf {
        self.root.join("recipient.xk")
    }

    /// The seed of the root, unless it was taken offline.
    pub fn root_seed(&self) -> PathBuf {
        self.root.join("root.nk")
    }

    /// Whose events are believed.
    pub fn signers(&self) -> PathBuf {
        self.root.join("signers.toml")
    }

    /// A process's configuration.
    pub fn config(&self, process: &str) -> PathBuf {
        self.root.join("config").join(format!("{process}.toml"))
    }

    /// A process's data.
    pub fn data(&self, process: &str) -> PathBuf {
        self.root.join("data").join(process)
    }

    /// What the machine of a leaf is given.
    pub fn leaf(&self, leaf: &LeafId) -> PathBuf {
        self.root.join("leaves").join(leaf.as_str())
    }

    /// A process's log.
    pub fn log(&self, process: &str) -> PathBuf {
        self.root.join("logs").join(format!("{process}.log"))
    }
}

/// Creates a folder that only its owner can enter.
///
/// # Errors
/// When the system refuses.
pub fn private_folder(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR)
        .create(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(PRIVATE_DIR)))
        .with_context(|| format!("cannot create {}", path.display()))
}

/// Writes a whole file that only its owner can read: all of it or nothing, whenever the machine stops.
///
/// # Errors
/// When the system refuses.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let aside = path.with_added_extension(format!("{}.new", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE_FILE).open(&aside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a document for [`read_json`].
///
/// # Errors
/// When the system refuses.
pub fn write_json(path: &Path, document: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    write_private(path, text.as_bytes())
}

/// Reads a document; `None` when there is none.
///
/// # Errors
/// When it cannot be read, or is not what was written.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match read_text(path, DOCUMENT_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let read = serde_json::from_str(&text);
    read.map(Some).with_context(|| format!("{} is damaged or of another version", path.display()))
}

/// Removes a file that may be gone already.
///
/// # Errors
/// When the system refuses.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn open_private(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(PRIVATE_FILE);
    options.open(path).with_context(|| format!("cannot open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn everything_is_private_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("deep/home")).unwrap();
        home.create().unwrap();
        write_private(&home.credential("operator"), b"seed").unwrap();
        fs::set_permissions(home.root(), Permissions::from_mode(0o755)).unwrap();
        home.create().unwrap();
        assert_eq!(mode(home.root()), 0o700);
        assert_eq!(mode(&home.root().join("credentials")), 0o700);
        assert_eq!(mode(&home.credential("operator")), 0o600);
        assert_eq!(fs::read(home.credential("operator")).unwrap(), b"seed");
    }

    #[test]
    fn one_up_holds_the_home() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        assert!(!home.is_held());
        let held = home.hold().unwrap();
        assert!(home.is_held());
        assert!(home.hold().unwrap_err().to_string().contains("another `keywheel up`"));
        drop(held);
        home.hold().unwrap();
    }

    #[test]
    fn a_damaged_document_is_told_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edges.json");
        assert_eq!(read_json::<Vec<u32>>(&path).unwrap(), None);
        write_json(&path, &[1, 2]).unwrap();
        assert_eq!(read_json(&path).unwrap(), Some(vec![1, 2]));
        fs::write(&path, "[1,").unwrap();
        assert!(read_json::<Vec<u32>>(&path).unwrap_err().to_string().contains("edges.json is damaged"));
        remove(&path).unwrap();
        remove(&path).unwrap();
    }
}
