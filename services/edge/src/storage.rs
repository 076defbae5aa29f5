//! The edge's database: opened, checked, and set aside when it is damaged, since the log has it all.

use crate::note::{self, FreshnessNote};
use crate::witness::HeadsNote;
use anyhow::Context as _;
use keywheel_domain::{Address, State};
use keywheel_table::fold::Head;
use keywheel_table::{Answers, Fold, Options, TableError};
use keywheel_wire::signers::Signers;
use keywheel_wire::usage::LastReport;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DATABASE: &str = "edge.db";
const DAMAGED: &str = ".damaged-";
const OPTIONS: Options = Options { commands: false, pending: |_| false, doubts: false };
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
    /// What was known of signed heads.
    pub heads: HeadsNote,
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

/// How large the database is now, with what lies beside it.
pub fn bytes(data_dir: &Path) -> u64 {
    let path = data_dir.join(DATABASE);
    let each =
        COMPANIONS.iter().filter_map(|companion| std::fs::metadata(with_suffix(&path, companion)).ok());
    each.map(|file| file.len()).sum()
}

/// Sets aside what is damaged under way and begins an empty database in its place. Whoever had it open
/// must have closed it.
///
/// # Errors
/// When the folder or the disk does not let it.
pub fn begin_anew(data_dir: &Path, wall_ms: u64, signers: &Arc<Signers>) -> anyhow::Result<Fold> {
    let path = data_dir.join(DATABASE);
    set_aside(&path, wall_ms).context("cannot set the damaged database aside")?;
    Fold::open(&path, OPTIONS, Arc::clone(signers))
        .with_context(|| format!("cannot begin {} anew", path.display()))
}

/// A fold of nothing that no disk keeps: in the place of one that has to be closed.
///
/// # Errors
/// When memory is short.
pub fn placeholder(signers: &Arc<Signers>) -> Result<Fold, TableError> {
    Fold::open(Path::new(":memory:"), OPTIONS, Arc::clone(signers))
}

/// Which files the database is in. Taken away or replaced by others under way, they are not what is
/// written to any more, and what is written is lost with the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files([Option<(u64, u64)>; 2]);

impl Files {
    /// Those that stand there now: the database and its journal.
    pub fn at(data_dir: &Path) -> Self {
        let found = |companion: &str| {
            let path = with_suffix(&data_dir.join(DATABASE), companion);
            std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
        };
        Self([found(""), found("-wal")])
    }

    /// Whether those that were there then are there `now`.
    pub fn are_still(&self, now: Files) -> bool {
        self.0.iter().zip(now.0).all(|(then, now)| then.is_none() || *then == now)
    }
}

/// Looks over what is on the disk, row by row.
///
/// # Errors
/// When it is damaged or cannot be read.
pub fn look_over(data_dir: &Path, take: impl FnMut(Head, Address, State)) -> Result<Head, TableError> {
    keywheel_table::look_over(&data_dir.join(DATABASE), take)
}

fn read(path: &Path, signers: &Arc<Signers>) -> Result<Opened, TableError> {
    let mut fold = Fold::open(path, OPTIONS, Arc::clone(signers))?;
    let answers = fold.answers()?;
    let freshness = read_note(&fold, note::FRESHNESS)?;
    let goodbye = read_note(&fold, note::GOODBYE)?;
    let heads = read_note(&fold, note::HEADS)?.unwrap_or_default();
    if goodbye.is_some() {
        fold.apply(&[], &[note::no_goodbye()])?;
    }
    Ok(Opened { fold, answers, freshness, heads, goodbye, set_aside: None })
}

fn read_note<T: DeserializeOwned>(fold: &Fold, name: &str) -> Result<Option<T>, TableError> {
    let Some(bytes) = fold.note(name)?.filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
    let damaged = |detail| TableError::Damaged { subject: name.to_owned(), detail };
    note::read(&bytes).map(Some).map_err(damaged)
}

/// One damaged database is kept, the newest: a disk that damages them one after the other is not filled.
fn set_aside(path: &Path, wall_ms: u64) -> io::Result<PathBuf> {
    forget_older(path)?;
    let aside = with_suffix(path, &format!("{DAMAGED}{wall_ms}"));
    for companion in COMPANIONS {
        match std::fs::rename(with_suffix(path, companion), with_suffix(&aside, companion)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(aside)
}

fn forget_older(path: &Path) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let begins = format!("{}{DAMAGED}", name.to_string_lossy());
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&begins) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
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
