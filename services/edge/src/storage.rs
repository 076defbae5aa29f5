//! The edge's database: opened, checked, and set aside when it is damaged, since the log has it all.

use crate::note::{self, FreshnessNote};
use anyhow::Context as _;
use keywheel_table::{Answers, Fold, Options, TableError};
use keywheel_wire::signers::Signers;
use keywheel_wire::usage::LastReport;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DATABASE: &str = "edge.db";
/// What SQLite keeps beside the database; a journal left behind would be applied to the next one.
const COMPANIONS: [&str; 3] = ["", "-wal", "-shm"];

/// What was found.
pub struct Opened {
    /// The fold.
    pub fold: Fold,
    /// Every row, ready to answer.
    pub answers: Answers,
    /// When the rows were last known to be fresh.
    pub freshness: Option<FreshnessNote>,
    /// The last report of the process before, when it ended with its usage complete. It is void in the
    /// database already: the next process must not claim it again.
    pub goodbye: Option<LastReport>,
    /// Where a damaged database was put, and what was wrong with it.
    pub set_aside: Option<(PathBuf, String)>,
}

/// Makes the folder and keeps other processes out of it for as long as the file is held.
///
/// # Errors
/// When another process is in it.
pub fn lock(data_dir: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    let path = data_dir.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    file.try_lock().with_context(|| format!("{} is held by another process", path.display()))?;
    Ok(file)
}

/// Opens the database of a reader that believes `signers`. A damaged one is set aside, named after
/// `wall_ms`, and an empty one begun.
///
/// # Errors
/// When the folder or the disk is the trouble, not the file.
pub fn open(data_dir: &Path, wall_ms: u64, signers: &Arc<Signers>) -> anyhow::Result<Opened> {
    let path = data_dir.join(DATABASE);
    match read(&path, signers) {
        Ok(opened) => Ok(opened),
        Err(error) if error.is_damage() => {
            let aside = set_aside(&path, wall_ms).with_context(|| format!("cannot set aside: {error}"))?;
            Ok(Opened { set_aside: Some((aside, error.to_string())), ..read(&path, signers)? })
        }
        Err(error) => Err(error).with_context(|| format!("cannot open {}", path.display())),
    }
}

const OPTIONS: Options = Options { commands: false, pending: |_| false, doubts: false };

fn read(path: &Path, signers: &Arc<Signers>) -> Result<Opened, TableError> {
    let mut fold = Fold::open(path, OPTIONS, Arc::clone(signers))?;
    let mut answers = Answers::default();
    fold.each(|address, state| answers.update(&address, &state))?;
    let freshness = read_note(&fold, note::FRESHNESS)?;
    let goodbye = read_note(&fold, note::GOODBYE)?;
    if goodbye.is_some() {
        fold.apply(&[], &[note::no_goodbye()])?;
    }
    Ok(Opened { fold, answers, freshness, goodbye, set_aside: None })
}

fn read_note<T: DeserializeOwned>(fold: &Fold, name: &str) -> Result<Option<T>, TableError> {
    let Some(bytes) = fold.note(name)?.filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
    let damaged = |detail| TableError::Damaged { subject: name.to_owned(), detail };
    note::read(&bytes).map(Some).map_err(damaged)
}

fn set_aside(path: &Path, wall_ms: u64) -> io::Result<PathBuf> {
    let aside = with_suffix(path, &format!(".damaged-{wall_ms}"));
    for companion in COMPANIONS {
        match std::fs::rename(with_suffix(path, companion), with_suffix(&aside, companion)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_wire::text::Id;

    const LAST: LastReport = LastReport { boot: Id(7), number: 41 };

    fn nobody() -> Arc<Signers> {
        Arc::new(Signers::nobody())
    }

    fn freshness() -> FreshnessNote {
        FreshnessNote { machine_boot: "b".to_owned(), boot_ms: 1, wall_ms: 2, wall_high_ms: 3 }
    }

    fn filled(folder: &Path) {
        let mut opened = open(folder, 0, &nobody()).unwrap();
        let notes = [(note::FRESHNESS, note::write(&freshness())), note::goodbye(LAST)];
        opened.fold.apply(&[], &notes).unwrap();
    }

    #[test]
    fn a_goodbye_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let opened = open(folder.path(), 0, &nobody()).unwrap();
        assert_eq!((opened.goodbye, &opened.freshness), (Some(LAST), &Some(freshness())));
        drop(opened);
        let again = open(folder.path(), 0, &nobody()).unwrap();
        assert_eq!((again.goodbye, again.freshness), (None, Some(freshness())));
    }

    #[test]
    fn a_damaged_database_is_set_aside_and_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DATABASE);
        let check = |damage: &dyn Fn(&Path)| {
            let _ = std::fs::remove_file(&path);
            filled(folder.path());
            damage(&path);
            let opened = open(folder.path(), 99, &nobody()).unwrap();
            let (aside, _) = opened.set_aside.clone().unwrap();
            assert!(aside.to_string_lossy().ends_with("edge.db.damaged-99"));
            assert!(aside.exists());
            assert_eq!((opened.goodbye, &opened.freshness), (None, &None));
            assert_eq!(opened.fold.head().watermark, 0);
            drop(opened);
            assert!(open(folder.path(), 0, &nobody()).unwrap().set_aside.is_none());
            std::fs::remove_file(&path).unwrap();
        };
        check(&|path| std::fs::write(path, b"not a database at all, but long enough to look at").unwrap());
        check(&|path| {
            let mut fold = Fold::open(path, OPTIONS, nobody()).unwrap();
            fold.apply(&[], &[(note::FRESHNESS, b"flipped".to_vec())]).unwrap();
        });
    }

    #[test]
    fn one_folder_serves_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        assert!(lock(folder.path()).is_err());
        drop(held);
        assert!(lock(folder.path()).is_ok());
    }
}
