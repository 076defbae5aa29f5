//! JSON lines of which every character prints: JSON itself escapes the first 32 characters, not what else a
//! terminal or a reader obeys.

use crate::plain;
use std::io::{self, Write};
use tracing_subscriber::fmt::MakeWriter;

/// Makes writers that escape.
pub(super) struct Printing<M>(pub M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Printing<M> {
    type Writer = Escaping<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Escaping(self.0.make_writer())
    }
}

/// Escapes what does not print as JSON does. Outside of strings nothing of the kind stands.
pub(super) struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(plain::json(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
