//! What came of a command for a whole tenant: what was done, what was refused, what was left out and why.

use crate::failure::Failure;
use crate::screen::{Mood, Shown};
use crate::selection::{LeftOut, counts};
use crate::session::Session;
use keywheel_runtime::exit;
use keywheel_token::id;
use keywheel_wire::text;
use serde_json::{Value, json};

/// How many rows of each kind a person is shown; `--output json` has all.
pub(crate) const SHOWN: usize = 20;

/// A command for many keyrings.
pub(crate) struct Fleet {
    /// From which the ids of its single commands are derived.
    pub name: &'static str,
    /// What was done, as the document's field.
    field: &'static str,
    /// The id of all of it.
    pub batch: u128,
    /// One document for each that was done.
    pub done: Vec<Value>,
    /// Those that were sent and refused.
    pub refused: Vec<LeftOut>,
    /// Those that were not sent.
    pub left_out: Vec<LeftOut>,
    /// Evidence about all of it, where there is some.
    pub proof: Option<(Value, String)>,
}

impl Fleet {
    /// Of which nothing is known yet.
    pub fn new(name: &'static str, field: &'static str, batch: u128) -> Self {
        Self { name, field, batch, done: Vec::new(), refused: Vec::new(), left_out: Vec::new(), proof: None }
    }
}

/// Chooses the id of all of it and says it before anything is sent: with it an interrupted command goes on.
pub(crate) fn announce(session: &Session<'_>) -> u128 {
    let batch = session.options.command_id.unwrap_or_else(id::fresh);
    let text = text::id(batch);
    session.screen.aside(
        &json!({ "command_id": text }),
        &format!("if this is interrupted, repeat it with --command-id {text}: no keyring is done twice"),
    );
    batch
}

/// Shows what came of it. `row` is what a person is told of one that was done.
pub(crate) fn tell(
    session: &Session<'_>,
    fleet: Fleet,
    row: impl Fn(&Value) -> (String, String),
) -> Result<u8, Failure> {
    let Fleet { name: _, field, batch, done, refused, left_out, proof } = fleet;
    let document = json!({
        "command_id": text::id(batch),
        field: done,
        "failed": refused.iter().map(LeftOut::to_json).collect::<Vec<_>>(),
        "skipped": left_out.iter().map(LeftOut::to_json).collect::<Vec<_>>(),
        "proof": proof.as_ref().map(|(document, _)| document),
    });
    let good = done.iter().map(|one| {
        let (what, state) = row(one);
        let whose = |name: &str| one[name].as_str().unwrap_or_default();
        let keyring = format!("{}/{}", whose("tenant"), whose("client"));
        vec![Shown::plain(keyring), Shown::plain(what), Shown::with(state, Mood::Good)]
    });
    let bad = refused.iter().map(|one| {
        let why = format!("{} [{}]", one.detail, one.code);
        vec![Shown::plain(&one.keyring), Shown::plain(""), Shown::with(why, Mood::Bad)]
    });
    let rows = bad.take(SHOWN).chain(good.take(SHOWN)).collect();
    let mut text = vec![session.screen.table(&["keyring", "result", "state"], rows)];
    let hidden = done.len().saturating_sub(SHOWN) + refused.len().saturating_sub(SHOWN);
    if hidden > 0 {
        text.push(format!("and {hidden} more: --output json lists them all"));
    }
    text.push(format!(
        "{} {}, {} refused, {} left out",
        done.len(),
        field.replace('_', " "),
        told(&refused),
        told(&left_out)
    ));
    text.extend(proof.map(|(_, words)| words));
    session.screen.show(&document, &text.join("\n"))?;
    Ok(if refused.is_empty() { exit::DONE } else { exit::REFUSED })
}

fn told(some: &[LeftOut]) -> String {
    if some.is_empty() { "0".to_owned() } else { format!("{} ({})", some.len(), counts(some)) }
}
