//! An exported log, read line by line: however large it is, one page of it is in memory.

use crate::line::{Begin, End, LINE_BYTES_MAX, Line};
use crate::proof::Evidence;
use keywheel_table::Record;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, stdin};
use std::path::Path;

const PAGE: usize = 1000;

/// What comes next in a file.
pub enum Part {
    /// Messages, in the order of the lines.
    Page(Vec<Record>),
    /// A line that is none.
    Unreadable(String),
    /// A signed head.
    Head(Evidence),
    /// What the last line says.
    End(End),
    /// Nothing more.
    Nothing,
}

/// The file, after its first line.
pub struct Lines {
    reader: Box<dyn BufRead + Send>,
    /// Lines read so far.
    number: u64,
    /// What followed the page that was given last.
    kept: Option<Part>,
    /// Whether the last line that was read has no end: whoever writes the file is not done with it.
    pub is_torn: bool,
    /// Bytes read so far.
    pub bytes: u64,
    /// How large the file is, where that is known.
    pub size: Option<u64>,
}

impl Lines {
    /// Opens a file, or standard input for `-`, and reads its first line.
    ///
    /// # Errors
    /// When there is no such file, or the inner one when it is no exported log.
    pub fn open(path: &Path) -> Result<Result<(Begin, Lines), String>, String> {
        let unreadable = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
        let (reader, size): (Box<dyn BufRead + Send>, _) = if path == Path::new("-") {
            (Box::new(BufReader::new(stdin())), None)
        } else {
            let file = File::open(path).map_err(|error| unreadable(&error))?;
            let size = file.metadata().ok().map(|metadata| metadata.len());
            (Box::new(BufReader::with_capacity(256 * 1024, file)), size)
        };
        let mut lines = Lines { reader, number: 0, kept: None, is_torn: false, bytes: 0, size };
        let first = lines.line().and_then(|line| Begin::read(&line.unwrap_or_default()));
        let begin = first.map_err(|detail| format!("{}, line 1: {detail}", path.display()));
        Ok(begin.map(|begin| (begin, lines)))
    }

    /// The next part.
    #[expect(clippy::should_implement_trait, reason = "it never ends by itself: nothing more is a part too")]
    pub fn next(&mut self) -> Part {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        let mut page = Vec::new();
        while page.len() < PAGE {
            let line = self.line();
            let part = match line.and_then(|line| line.map(|line| Line::read(&line)).transpose()) {
                Ok(Some(Line::Message(record))) => {
                    page.push(record);
                    continue;
                }
                Ok(Some(Line::Head(head))) => Part::Head(head),
                Ok(Some(Line::End(end))) => Part::End(end),
                Ok(None) => Part::Nothing,
                Err(detail) => Part::Unreadable(format!("line {}: {detail}", self.number)),
            };
            if page.is_empty() {
                return part;
            }
            self.kept = Some(part);
            break;
        }
        Part::Page(page)
    }

    /// The next line without its end; none after the last.
    fn line(&mut self) -> Result<Option<String>, String> {
        let mut bytes = Vec::new();
        let most = LINE_BYTES_MAX as u64 + 1;
        let read = self.reader.by_ref().take(most).read_until(b'\n', &mut bytes);
        let read = read.map_err(|error| format!("cannot be read: {error}"))?;
        self.bytes += read as u64;
        self.number += 1;
        if read == 0 {
            return Ok(None);
        }
        self.is_torn = bytes.pop_if(|last| *last == b'\n').is_none();
        if self.is_torn && read as u64 == most {
            self.skip_line();
            return Err(format!("has more than {LINE_BYTES_MAX} bytes"));
        }
        String::from_utf8(bytes).map(Some).map_err(|_| "is no UTF-8 text".to_owned())
    }

    fn skip_line(&mut self) {
        let is_end = |reader: &mut dyn BufRead| -> std::io::Result<bool> {
            let buffer = reader.fill_buf()?;
            let (length, end) = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            reader.consume(length);
            Ok(end)
        };
        while let Ok(false) = is_end(&mut self.reader) {}
    }
}
