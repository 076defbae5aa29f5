//! Wall clocks that can be set, one for each process: libfaketime reads from a file what it adds.
//!
//! Only what `CLOCK_REALTIME` says is moved; leases rest on `CLOCK_BOOTTIME`, which stays.

use anyhow::Context as _;
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How old the library lets what it read from the file become.
const CACHE: Duration = Duration::from_secs(1);

/// The processes' clocks.
pub struct Clocks {
    library: PathBuf,
    folder: PathBuf,
}

impl Clocks {
    /// All right, by this library; their files lie in `folder`.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(library: &Path, folder: PathBuf) -> anyhow::Result<Clocks> {
        std::fs::create_dir_all(&folder)?;
        Ok(Clocks { library: library.to_owned(), folder })
    }

    /// What a process needs in its environment to have a clock of its own.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn environment(&self, process: &str) -> anyhow::Result<Vec<(String, String)>> {
        self.write(process, 0)?;
        let variables = [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file(process).display().to_string()),
            ("FAKETIME_CACHE_DURATION", CACHE.as_secs().to_string()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        Ok(variables.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// Has a process's clock be wrong by so many seconds; returns when it is.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub async fn set(&self, process: &str, seconds: i32) -> anyhow::Result<()> {
        self.write(process, seconds)?;
        tokio::time::sleep(CACHE + CACHE / 10).await;
        Ok(())
    }

    /// In one step, so that nobody reads half of it.
    fn write(&self, process: &str, seconds: i32) -> anyhow::Result<()> {
        let (file, aside) = (self.file(process), self.folder.join(format!("{process}.new")));
        std::fs::write(&aside, format!("{seconds:+}s\n"))?;
        std::fs::rename(&aside, &file).with_context(|| file.display().to_string())
    }

    fn file(&self, process: &str) -> PathBuf {
        self.folder.join(process)
    }
}

/// Takes away what the library leaves behind of a process that was killed.
pub fn sweep(pid: Pid) {
    for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
        // Mostly there is none.
        let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
    }
}
