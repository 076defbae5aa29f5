//! The edge's copy of the log, byte by byte, for the day on which the bus has lost it: lines as `keywheel audit export`
//! writes them, in a file beside the database. A message is on the disk before it is applied, so the copy never ends
//! before the table.

use keywheel_audit::line::{self, Begin, FORMAT, LINE_BYTES_MAX, Line};
use keywheel_bus::BusError;
use keywheel_domain::At;
use keywheel_table::{Message, TableError, Weighed};
use keywheel_wire::chain::Chain;
use keywheel_wire::signers::Installation;
use keywheel_wire::text::{Id, Moment};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// When the log was created, and where a copy of it ends.
type Ends = (At, (u64, Chain));

/// The file's name in the edge's folder.
pub const FILE: &str = "log.jsonl";
const DAMAGED: &str = "log.jsonl.damaged";

/// An open copy.
pub struct LogCopy {
    path: PathBuf,
    installation: Installation,
    file: File,
    bytes: u64,
    /// When the log was created that it is of; nothing as long as it is empty.
    log_created: Option<At>,
    /// The last message: its sequence, and its hash by itself.
    last: (u64, Chain),
}

impl LogCopy {
    /// Opens the copy in `data_dir`, or begins one. A last line that was cut off when the machine stopped is taken away;
    /// one that cannot be gone on with is set aside.
    ///
    /// # Errors
    /// When the folder or the disk is the trouble.
    pub fn open(data_dir: &Path, installation: Installation) -> io::Result<Self> {
        let path = data_dir.join(FILE);
        let copy = Self::at(&path, installation)?;
        match copy {
            Ok(copy) => Ok(copy),
            Err(reason) => {
                tracing::error!(%reason, "the copy of the log cannot be gone on with; beginning another");
                std::fs::rename(&path, data_dir.join(DAMAGED))?;
                Self::at(&path, installation)?.map_err(io::Error::other)
            }
        }
    }

    fn at(path: &Path, installation: Installation) -> io::Result<Result<Self, String>> {
        let open = || OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
        let file = open()?;
        let bytes = whole_lines(&file)?;
        file.set_len(bytes)?;
        let path = path.to_owned();
        let mut copy =
            Self { path, installation, file, bytes, log_created: None, last: (0, Chain::default()) };
        if bytes == 0 {
            return Ok(Ok(copy));
        }
        let read = copy.read_ends()?;
        Ok(read.map(|(created, last)| {
            (copy.log_created, copy.last) = (Some(created), last);
            copy
        }))
    }

    fn read_ends(&self) -> io::Result<Result<Ends, String>> {
        let mut reader = BufReader::new(&self.file);
        reader.seek(SeekFrom::Start(0))?;
        let mut first = String::new();
        reader.by_ref().take(LINE_BYTES_MAX as u64).read_line(&mut first)?;
        let last = last_line(&self.file, self.bytes)?;
        let read = || {
            let begin = Begin::read(first.trim_end())?;
            if begin.installation != Id(self.installation.0) {
                return Err("it is of another installation".to_owned());
            }
            let created = begin.log_created.ok_or("it does not say which log it is of")?.0;
            if last == first.as_bytes() {
                return Ok((created, (0, Chain::default())));
            }
            let text = std::str::from_utf8(&last).map_err(|error| error.to_string())?;
            match Line::read(text.trim_end())? {
                Line::Message(record) => Ok((created, mark(&record.message))),
                Line::Head(_) | Line::End(_) => Err("it does not end with a message".to_owned()),
            }
        };
        Ok(read())
    }

    /// The last sequence that it has; 0 when it is empty.
    pub fn last(&self) -> u64 {
        self.last.0
    }

    /// Takes the log's next messages, durably. Those that it has are passed over; the last of them must be the same.
    ///
    /// # Errors
    /// On a gap, another message than before, or when the disk does not take it: then nothing of the batch is kept.
    pub fn take(&mut self, log_created: At, messages: &[Weighed]) -> Result<(), BusError> {
        if self.log_created.is_some_and(|known| known != log_created) {
            return Err(BusError::OtherLog("its copy is of another".to_owned()));
        }
        let mut lines = String::new();
        if self.log_created.is_none() {
            lines = format!("{}\n", self.begin(log_created).write());
        }
        let mut last = self.last;
        for weighed in messages {
            let message = weighed.message();
            if message.seq < last.0 {
                continue;
            }
            let this = mark(message);
            if message.seq == last.0 && this != last {
                let detail = "its copy has another message there".to_owned();
                return Err(TableError::Diverged { seq: message.seq, detail }.into());
            }
            if message.seq > last.0 + 1 {
                return Err(TableError::Gap { expected: last.0 + 1, got: message.seq }.into());
            }
            if message.seq > last.0 {
                lines += &line::write(weighed.record());
                lines.push('\n');
                last = this;
            }
        }
        self.write(&lines).map_err(|error| BusError::Failed {
            what: "keeping a copy of the log",
            detail: format!("{}: {error}", self.path.display()),
        })?;
        (self.log_created, self.last) = (Some(log_created), last);
        Ok(())
    }

    fn begin(&self, log_created: At) -> Begin {
        Begin {
            keywheel_log: FORMAT,
            installation: Id(self.installation.0),
            tenant: None,
            from: None,
            to: None,
            signers: Vec::new(),
            log_created: Some(Moment(log_created)),
        }
    }

    fn write(&mut self, lines: &str) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Half a line would be gone on after; opened again, it is cut off too.
            self.file.set_len(self.bytes)?;
        }
        written?;
        self.bytes += lines.len() as u64;
        Ok(())
    }
}

/// A message as it is compared with itself.
fn mark(message: &Message) -> (u64, Chain) {
    (message.seq, Chain::default().next(message.seq, &message.subject, &message.payload))
}

/// Bytes up to the end of the last whole line.
fn whole_lines(file: &File) -> io::Result<u64> {
    let all = file.metadata()?.len();
    let end = tail(file, all)?;
    let cut = end.iter().rev().position(|byte| *byte == b'\n').unwrap_or(end.len());
    Ok(all - cut as u64)
}

/// The last of the whole lines in `bytes`, with its end.
fn last_line(file: &File, bytes: u64) -> io::Result<Vec<u8>> {
    let mut end = tail(file, bytes)?;
    let before = end.iter().rev().skip(1).position(|byte| *byte == b'\n');
    let length = before.map_or(end.len(), |before| before + 1);
    Ok(end.split_off(end.len() - length))
}

/// The end of the first `bytes`, long enough for two lines.
fn tail(mut file: &File, bytes: u64) -> io::Result<Vec<u8>> {
    let length = bytes.min(2 * LINE_BYTES_MAX as u64 + 2);
    file.seek(SeekFrom::Start(bytes - length))?;
    let mut end = Vec::new();
    file.take(length).read_to_end(&mut end)?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_wire::signers::Signers;

    const HERE: Installation = Installation(7);
    const CREATED: At = At(5);

    fn message(seq: u64, payload: &str) -> Weighed {
        let message =
            Message { seq, subject: "kw.evt.a.b".to_owned(), payload: payload.into(), signed: None };
        Weighed::new(message, &Signers::nobody())
    }

    fn messages(from: u64, to: u64) -> Vec<Weighed> {
        (from..=to).map(|seq| message(seq, &seq.to_string())).collect()
    }

    fn lines(folder: &Path) -> usize {
        std::fs::read_to_string(folder.join(FILE)).unwrap().lines().count()
    }

    #[test]
    fn it_goes_on_where_it_ended_and_has_each_message_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut copy = LogCopy::open(folder.path(), HERE).unwrap();
        assert_eq!(copy.last(), 0);
        copy.take(CREATED, &messages(1, 3)).unwrap();
        copy.take(CREATED, &messages(2, 5)).unwrap();
        drop(copy);
        let mut copy = LogCopy::open(folder.path(), HERE).unwrap();
        assert_eq!(copy.last(), 5);
        copy.take(CREATED, &messages(5, 6)).unwrap();
        assert_eq!((copy.last(), lines(folder.path())), (6, 7));
    }

    #[test]
    fn what_does_not_continue_it_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut copy = LogCopy::open(folder.path(), HERE).unwrap();
        copy.take(CREATED, &messages(1, 3)).unwrap();
        let gap = copy.take(CREATED, &messages(5, 6));
        assert!(matches!(gap, Err(BusError::Table(TableError::Gap { expected: 4, got: 5 }))), "{gap:?}");
        let other = copy.take(CREATED, &[message(3, "x"), message(4, "4")]);
        assert!(matches!(other, Err(BusError::Table(TableError::Diverged { seq: 3, .. }))), "{other:?}");
        assert!(matches!(copy.take(At(6), &messages(4, 4)), Err(BusError::OtherLog(_))));
        assert_eq!((copy.last(), lines(folder.path())), (3, 4));
    }

    #[test]
    fn a_line_that_was_cut_off_is_taken_away_wherever_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        LogCopy::open(folder.path(), HERE).unwrap().take(CREATED, &messages(1, 2)).unwrap();
        let whole = std::fs::read(folder.path().join(FILE)).unwrap();
        let second = whole.iter().take(whole.len() - 1).rposition(|byte| *byte == b'\n').unwrap() + 1;
        for cut in second..whole.len() {
            std::fs::write(folder.path().join(FILE), &whole[..cut]).unwrap();
            let mut copy = LogCopy::open(folder.path(), HERE).unwrap();
            assert_eq!(copy.last(), 1, "cut at {cut}");
            copy.take(CREATED, &messages(1, 2)).unwrap();
            assert_eq!(std::fs::read(folder.path().join(FILE)).unwrap(), whole);
        }
        std::fs::write(folder.path().join(FILE), &whole[..10]).unwrap();
        assert_eq!(LogCopy::open(folder.path(), HERE).unwrap().last(), 0);
    }

    #[test]
    fn one_that_is_damaged_or_of_another_installation_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        LogCopy::open(folder.path(), HERE).unwrap().take(CREATED, &messages(1, 2)).unwrap();
        assert_eq!(LogCopy::open(folder.path(), Installation(8)).unwrap().last(), 0);
        assert!(folder.path().join(DAMAGED).exists());
        std::fs::write(folder.path().join(FILE), "nonsense\n").unwrap();
        assert_eq!(LogCopy::open(folder.path(), HERE).unwrap().last(), 0);
        assert_eq!(std::fs::read_to_string(folder.path().join(DAMAGED)).unwrap(), "nonsense\n");
    }

    /// `/dev/full` takes nothing.
    #[test]
    fn a_disk_that_takes_nothing_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let mut copy = LogCopy::open(folder.path(), HERE).unwrap();
        copy.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert!(copy.take(CREATED, &messages(1, 1)).is_err());
        assert_eq!(copy.last(), 0);
    }
}
