//! Lines: what is logged and shown, with text from outside in it.

use keywheel_runtime::log::{self, Format};
use keywheel_runtime::plain;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use tracing_subscriber::layer::SubscriberExt as _;

/// Text in a message and in fields.
pub fn line(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let shown = plain::line(&text);
    assert!(shown.chars().all(plain::prints), "{shown:?}");
    assert_eq!(plain::lines(&text).lines().count(), text.split('\n').count().min(text.lines().count()));
    for format in [Format::Text, Format::Json] {
        let written = logged(format, &text);
        let line = written.strip_suffix('\n').unwrap();
        assert!(line.chars().all(plain::prints), "{line:?}");
    }
    let document: serde_json::Value = serde_json::from_str(&logged(Format::Json, &text)).unwrap();
    assert_eq!(document["text"], text.as_ref());
    assert_eq!(document["level"], "WARN");
    assert!(logged(Format::Text, &text).ends_with(" seq=5\n"));
}

fn logged(format: Format, text: &str) -> String {
    let kept = Kept::default();
    let writer = kept.clone();
    let subscriber = tracing_subscriber::registry().with(log::lines(format, false, move || writer.clone()));
    tracing::subscriber::with_default(subscriber, || {
        tracing::warn!(text, shown = %text, debugged = ?text, seq = 5, "said: {text}");
    });
    let bytes = std::mem::take(&mut *kept.0.lock().unwrap());
    String::from_utf8(bytes).unwrap()
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
