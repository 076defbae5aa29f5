//! Entrances that take what anybody may send: for each a function that takes any bytes, hands them in and
//! holds what comes of it against what was promised. A panic is a bug. The default tests replay a corpus
//! through these functions, and so does the fuzzer.
//!
//! # Layout
//! - [`commands`], [`events`], [`messages`]: what goes over the bus
//! - [`http`], [`grpc`]: what an edge is asked
//! - [`files`]: keys to import, and the signers file
//! - [`settings`]: configuration; [`texts`]: keys, names, times and lengths; [`lines`]: what is logged and shown
//! - [`chance`]: bytes that are nearly right

#![expect(clippy::unwrap_used, reason = "a panic is how a broken promise is found")]

pub mod chance;
pub mod commands;
pub mod events;
pub mod files;
pub mod grpc;
pub mod http;
pub mod lines;
pub mod messages;
pub mod settings;
pub mod texts;

use keywheel_runtime::plain;

/// One entrance.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is also that of its folder in the corpus.
    pub name: &'static str,
    /// Hands bytes in; panics when a promise is broken.
    pub hand_in: fn(&[u8]),
}

macro_rules! targets {
    ($($name:literal => $function:path),* $(,)?) => {
        /// Every entrance.
        pub const TARGETS: &[Target] = &[$(Target { name: $name, hand_in: $function }),*];
    };
}

targets! {
    "command" => commands::command,
    "event" => events::event,
    "fold" => events::fold,
    "pulse" => messages::pulse,
    "report" => messages::report,
    "outcome" => messages::outcome,
    "notice" => messages::notice,
    "delivery" => messages::delivery,
    "key" => texts::key,
    "text" => texts::text,
    "config" => settings::config,
    "http" => http::http,
    "grpc" => grpc::grpc,
    "import" => files::import,
    "signers" => files::signers,
    "line" => lines::line,
}

/// The longest error that anybody is told, in bytes.
const TOLD_BYTES_MAX: usize = 1024;

/// What somebody is told must fit on a line, whatever was handed in.
fn assert_told(error: &str) {
    assert!(error.len() <= TOLD_BYTES_MAX, "{} bytes: {error}", error.len());
    assert!(error.chars().all(plain::prints), "{error:?}");
}

/// Hands bytes in to the entrance of that name.
///
/// # Panics
/// When there is none, or a promise is broken.
pub fn hand_in(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("no entrance is called {name}")).hand_in)(data);
}
