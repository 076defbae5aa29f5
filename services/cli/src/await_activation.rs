//! Waits for the activation proof of a version, and says for which edge it waits.

use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::fleet::{Fleet, boot_now};
use crate::outage::Outage;
use crate::replay::Followed;
use crate::session::Session;
use crate::words;
use keywheel_domain::event::{Activated, OverBasis, PassedOver};
use keywheel_domain::{Address, At, Fact, Key, KeyState, KeyringId, Recorded, State, Version};
use keywheel_wire::text::moment;
use serde_json::{Value, json};
use std::time::Duration;

/// How long pulses are listened to between two looks at the log.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// A version that was activated, with the proof.
#[derive(Debug)]
pub(crate) struct Activation {
    /// When.
    pub at: At,
    /// The position of the proof in the log.
    pub seq: u64,
    /// The proof.
    pub activated: Activated,
    /// The key.
    pub key: Key,
}

/// Waits until `version`, issued at `position`, is activated.
pub(crate) async fn activation(
    session: &Session<'_>,
    keyring: &KeyringId,
    version: Version,
    position: u64,
    deadline: Deadline,
) -> Result<Activation, Failure> {
    let mut log = Followed::new(&session.bus, Address::Keyring(keyring.clone()));
    let mut fleet = Fleet::listen(&session.bus).await?;
    let (live, mut outage) = (session.screen.live(), Outage::default());
    loop {
        let advanced = log.advance(&session.bus).await;
        let Some(events) = outage.bridge(advanced, deadline, &live).await? else { continue };
        let found = events.into_iter().find_map(|event| proof(event, version));
        if let Some((at, seq, activated)) = found {
            let key = log.state().keys.get(&version).cloned();
            let key =
                key.ok_or_else(|| Failure::refused("unknown_version", "it is activated, yet unknown"))?;
            return Ok(Activation { at, seq, activated, key });
        }
        if let Some(failure) = ended(log.state(), version) {
            return Err(failure);
        }
        let waits = fleet.picture().waits_for(position, "propagator", boot_now());
        live.say(&format!("waiting for the activation proof of {keyring} {version}: {waits}"));
        if deadline.has_passed() {
            return Err(unfinished(keyring, version, deadline, &waits));
        }
        fleet.hear(LOOK_EVERY.min(deadline.left())).await;
        outage.bridge(fleet.read_roster(&session.bus).await, deadline, &live).await?;
    }
}

fn proof(recorded: Recorded, version: Version) -> Option<(At, u64, Activated)> {
    let (at, seq) = (recorded.event.at, recorded.seq);
    match recorded.event.fact {
        Fact::KeyActivated(activated) if activated.version == version => Some((at, seq, activated)),
        Fact::KeyActivated(_)
        | Fact::KeyIssued(_)
        | Fact::KeySeen(_)
        | Fact::KeyRetired(_)
        | Fact::RolledBack(_)
        | Fact::PolicySet(_)
        | Fact::EdgeAdded(_)
        | Fact::EdgeRemoved(_)
        | Fact::SignerAdded(_)
        | Fact::SignerWithdrawn(_) => None,
    }
}

/// A version that ended before it was activated never will be.
fn ended(state: &State, version: Version) -> Option<Failure> {
    match &state.keys.get(&version)?.state {
        KeyState::Issued | KeyState::Active | KeyState::Retiring(_) => None,
        KeyState::Retired { .. } => {
            Some(Failure::refused("cancelled", format!("{version} was cancelled before it was activated")))
        }
        KeyState::Revoked { reason, .. } => Some(Failure::refused(
            "revoked",
            format!("{version} was revoked before it was activated: {reason}"),
        )),
    }
}

fn unfinished(keyring: &KeyringId, version: Version, deadline: Deadline, waits: &str) -> Failure {
    Failure::unfinished(format!(
        "{keyring} {version} is issued, but not active after {}: {waits}. It goes on by itself; \
         `keywheel fetch {keyring} --version {}` waits for it and prints the key",
        deadline.given(),
        version.0
    ))
}

/// The proof in words.
pub(crate) fn proof_words(activated: &Activated) -> String {
    let barrier = &activated.barrier;
    let mut parts = Vec::new();
    if let Some(reason) = &barrier.by_hand {
        parts.push(format!("passed by hand: {}", keywheel_runtime::plain::line(reason)));
    }
    if !barrier.edges.is_empty() {
        let edges = words::count(barrier.edges.len(), "edge");
        parts.push(format!("applied on {edges} ({})", words::list(&barrier.edges)));
    }
    parts.extend(barrier.passed_over.iter().map(|over| format!("{} {}", over.edge, over_words(over.basis))));
    if parts.is_empty() {
        parts.push("no edge was on the roster".to_owned());
    }
    format!("position {}: {}", barrier.position, parts.join("; "))
}

fn over_words(basis: OverBasis) -> &'static str {
    match basis {
        OverBasis::Silent => "was passed over: silent for a whole lease",
        OverBasis::LeaseWaited => "was passed over: a whole lease has passed",
    }
}

/// An edge that the barrier did not wait for, as programs read it.
pub(crate) fn passed_over_json(over: &PassedOver) -> Value {
    let basis = match over.basis {
        OverBasis::Silent => "silent",
        OverBasis::LeaseWaited => "lease_waited",
    };
    json!({ "edge": over.edge.as_str(), "basis": basis })
}

impl Activation {
    /// What programs are told of the proof.
    pub fn to_json(&self) -> Value {
        let barrier = &self.activated.barrier;
        json!({
            "activated_at": moment(self.at),
            "seq": self.seq,
            "position": barrier.position,
            "edges": barrier.edges.len(),
            "passed_over": barrier.passed_over.iter().map(passed_over_json).collect::<Vec<_>>(),
            "by_hand": barrier.by_hand,
            "supersedes": self.activated.supersedes.iter().map(|version| version.0).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use keywheel_domain::event::Barrier;
    use keywheel_domain::{EdgeId, Span};

    fn activated(edges: &[&str], over: &[(&str, OverBasis)], by_hand: Option<&str>) -> Activated {
        let edge = |name: &str| EdgeId::parse(name).unwrap();
        let barrier = Barrier {
            position: 41,
            edges: edges.iter().map(|name| edge(name)).collect(),
            passed_over: over
                .iter()
                .map(|(name, basis)| PassedOver { edge: edge(name), basis: *basis })
                .collect(),
            by_hand: by_hand.map(str::to_owned),
        };
        Activated { version: Version(2), supersedes: vec![Version(1)], barrier }
    }

    #[test]
    fn a_proof_is_told_in_words() {
        expect!["position 41: applied on 2 edges (a and b); c was passed over: silent for a whole lease"]
            .assert_eq(&proof_words(&activated(&["a", "b"], &[("c", OverBasis::Silent)], None)));
        expect!["position 41: no edge was on the roster"].assert_eq(&proof_words(&activated(&[], &[], None)));
        expect!["position 41: passed by hand: drill; a was passed over: a whole lease has passed"]
            .assert_eq(&proof_words(&activated(&[], &[("a", OverBasis::LeaseWaited)], Some("drill"))));
    }

    #[test]
    fn a_timeout_says_what_it_waited_for_and_how_to_go_on() {
        let keyring = KeyringId::parse("acme/app").unwrap();
        let deadline = Deadline::within(Span::secs(60));
        let failure =
            unfinished(&keyring, Version(2), deadline, "1 of 2 edges applied position 41; b is silent");
        assert_eq!(failure.exit, 4);
        expect!["acme/app v2 is issued, but not active after 1m: 1 of 2 edges applied position 41; b is silent. It goes on by itself; `keywheel fetch acme/app --version 2` waits for it and prints the key"]
            .assert_eq(&failure.detail);
    }
}
