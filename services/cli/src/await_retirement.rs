//! Waits until superseded versions have ended, and says what each one waits for.

use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::log_words::ended_words;
use crate::outage::Outage;
use crate::replay::Followed;
use crate::session::{Session, now};
use crate::waiting_words;
use keywheel_domain::due::Waiting;
use keywheel_domain::event::Ended;
use keywheel_domain::{Address, At, Fact, KeyringId, Recorded, State, Version, due};
use keywheel_wire::body::cause_word;
use keywheel_wire::text::moment;
use keywheel_wire::usage::Usage;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the usage-tracker is asked who still uses the old versions.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// The end of a version.
pub(crate) struct End {
    at: At,
    seq: u64,
    ended: Ended,
}

impl End {
    /// For people.
    pub fn words(&self) -> String {
        ended_words(&self.ended)
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let versions = self.ended.also.iter().chain([&self.ended.version]).map(|version| version.0);
        json!({
            "versions": versions.collect::<Vec<_>>(),
            "cause": cause_word(self.ended.cause),
            "retired_at": moment(self.at),
            "seq": self.seq,
            "evidence": self.words(),
        })
    }
}

/// Waits until none of `versions` is accepted any more. Gives the events that ended them.
pub(crate) async fn retirement(
    session: &Session<'_>,
    keyring: &KeyringId,
    versions: &[Version],
    deadline: Deadline,
) -> Result<Vec<End>, Failure> {
    let mut log = Followed::new(&session.bus, Address::Keyring(keyring.clone()));
    let mut laggards = Laggards::new(keyring);
    let (live, mut outage) = (session.screen.live(), Outage::default());
    let mut ends = Vec::new();
    loop {
        let advanced = log.advance(&session.bus).await;
        let Some(events) = outage.bridge(advanced, deadline, &live).await? else { continue };
        ends.extend(events.into_iter().filter_map(|event| end(event, versions)));
        let open = open(log.state(), versions);
        if open.is_empty() {
            return Ok(ends);
        }
        let usage = laggards.ask(session).await;
        let waits = waits(log.state(), &open, usage, now());
        live.say(&format!("waiting for {keyring}: {waits}"));
        if deadline.has_passed() {
            return Err(Failure::unfinished(format!(
                "not retired after {}: {waits}. It goes on by itself; `keywheel status {keyring}` shows it",
                deadline.given()
            )));
        }
        tokio::time::sleep(LOOK_EVERY.min(deadline.left())).await;
    }
}

/// Of `versions`, those that edges still accept.
fn open(state: &State, versions: &[Version]) -> Vec<Version> {
    let accepted = |version: &&Version| state.keys.get(version).is_some_and(|key| key.state.is_accepted());
    versions.iter().filter(accepted).copied().collect()
}

fn end(recorded: Recorded, versions: &[Version]) -> Option<End> {
    let (at, seq) = (recorded.event.at, recorded.seq);
    match recorded.event.fact {
        Fact::KeyRetired(ended)
            if ended.also.iter().chain([&ended.version]).any(|v| versions.contains(v)) =>
        {
            Some(End { at, seq, ended })
        }
        Fact::KeyRetired(_)
        | Fact::KeyIssued(_)
        | Fact::KeyActivated(_)
        | Fact::KeySeen(_)
        | Fact::RolledBack(_)
        | Fact::PolicySet(_)
        | Fact::EdgeAdded(_)
        | Fact::EdgeRemoved(_)
        | Fact::SignerAdded(_)
        | Fact::SignerWithdrawn(_) => None,
    }
}

/// What the open versions wait for, in words.
fn waits(state: &State, open: &[Version], usage: Option<&Usage>, now: At) -> String {
    let one = |version: &Version| {
        let key = state.keys.get(version)?;
        match due::retirement(state, *version, now) {
            Ok(_) => Some(format!("{version} may retire; the retirer is next")),
            Err(waiting) => waiting_words::words(*version, key, waiting, usage, now)
                .or_else(|| Some(format!("{version} is {} again", key.state.word()))),
        }
    };
    let wants_proof =
        |version: &&Version| matches!(due::retirement(state, **version, now), Err(Waiting::Quiet { .. }));
    let silent = usage.filter(|_| open.iter().any(|version| wants_proof(&version)));
    let silent = silent.and_then(waiting_words::silent_words);
    open.iter().filter_map(one).chain(silent).collect::<Vec<_>>().join("; ")
}

/// Who still uses what, asked now and then.
struct Laggards<'a> {
    keyring: &'a KeyringId,
    asked: Option<Instant>,
    usage: Option<Usage>,
}

impl<'a> Laggards<'a> {
    fn new(keyring: &'a KeyringId) -> Self {
        Self { keyring, asked: None, usage: None }
    }

    /// The newest answer; an old one rather than none when the usage-tracker is away.
    async fn ask(&mut self, session: &Session<'_>) -> Option<&Usage> {
        if self.asked.is_none_or(|asked| asked.elapsed() >= ASK_EVERY) {
            self.usage = session.bus.ask_usage(self.keyring).await.ok().or(self.usage.take());
            self.asked = Some(Instant::now());
        }
        self.usage.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting_words::tests::{NOW, retiring, usage};
    use expect_test::expect;
    use keywheel_domain::KeyState;
    use keywheel_domain::key::Replaces;
    use keywheel_domain::key::{Cause, Seen};
    use keywheel_domain::{Kid, Policy};

    fn state(successor_used: bool) -> State {
        let mut state = State::default();
        let mut newer = retiring();
        newer.kid = Kid::parse("abcdefghij").unwrap();
        newer.state = KeyState::Active;
        newer.replaces = Some(Replaces { only: Vec::new(), policy: Policy::default() });
        newer.seen = successor_used.then_some(Seen { first: NOW, last: NOW, uses: 1 });
        state.keys.insert(Version(1), retiring());
        state.keys.insert(Version(2), newer);
        state
    }

    #[test]
    fn the_line_says_what_each_version_waits_for() {
        let line = |state: &State| waits(state, &[Version(1)], Some(&usage()), NOW);
        expect!["v1 waits for its successor to be used: no newer version was seen in use yet; last used 12s ago at edge-b"]
            .assert_eq(&line(&state(false)));
        expect!["v1 must be unused for 1h; last used 12s ago at edge-b; no current usage reports from edge-c (reported up to 2027-01-15T07:00:00Z) and edge-d (never reported)"]
            .assert_eq(&line(&state(true)));
    }

    #[test]
    fn an_ended_version_is_no_longer_waited_for() {
        let mut state = state(true);
        assert_eq!(open(&state, &[Version(1)]), [Version(1)]);
        let retired = KeyState::Retired { at: NOW, cause: Cause::Superseded };
        state.keys.get_mut(&Version(1)).unwrap().state = retired;
        assert_eq!(open(&state, &[Version(1)]), []);
    }
}
