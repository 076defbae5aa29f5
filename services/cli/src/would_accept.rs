//! `keywheel would-accept`: whether a key would have been accepted at a moment of the past, and why.

use crate::arguments;
use crate::evidence::{Evidence, gather};
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::key_search::{Found, find};
use crate::past::{Doubts, Moment, When, read};
use crate::session::Session;
use crate::would_accept_words::{Answered, EdgeAnswer};
use clap::Args;
use keywheel_domain::hindsight::{Known, Step, answer, possible};
use keywheel_domain::verdict::{Freshness, Needs};
use keywheel_domain::{Address, At, Cut, EdgeId, KeyringId, Kid, Span, State, Version, evolve};
use keywheel_runtime::exit;
use keywheel_table::History;
use keywheel_table::history::Happened;
use keywheel_wire::notice::{Notice, Receipt};
use keywheel_wire::range::is_allowed;
use std::net::IpAddr;
use std::time::Duration;

/// How long a pulse is listened for: they come once a second.
const LISTEN_MAX: Duration = Duration::from_millis(1500);
const LISTEN_FOR: Duration = Duration::from_millis(50);

/// The options of `would-accept`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  keywheel would-accept --kid B03ZkKGHPp --at 2026-01-31T12:00:00Z
  keywheel would-accept acme/checkout --kid B03ZkKGHPp --at-seq 1204 --scope read --ip 10.0.0.7

The first answer is that of an edge which had applied the log as it was then. For each edge on the roster then,
the table says what is recorded of how far it was, and so which answers remain possible; that it could not say
(503, stale) or did not run is always possible besides. It assumes that no edge's disk was rolled back.")]
pub struct WouldAccept {
    /// Whose key it is; without it the log is searched
    #[arg(value_name = "T/C", value_parser = arguments::keyring)]
    keyring: Option<KeyringId>,
    /// The key's public id: the ten characters after the second underscore of its text
    #[arg(long, value_name = "K", value_parser = arguments::kid)]
    kid: Kid,
    #[command(flatten)]
    when: When,
    /// Of one edge alone
    #[arg(long, value_name = "ID", value_parser = arguments::edge)]
    edge: Option<EdgeId>,
    /// A scope that was asked for; may be given several times
    #[arg(long = "scope", value_name = "S")]
    scopes: Vec<String>,
    /// The client's address; without it, it is taken for one that the key allows
    #[arg(long, value_name = "A")]
    ip: Option<IpAddr>,
    /// The fleet's lease then [default: as an edge's pulse says now]
    #[arg(long, value_name = "D", value_parser = Span::parse)]
    lease: Option<Span>,
}

impl WouldAccept {
    /// Answers.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let moment = Moment::of(session, self.when.cut()).await?;
        let Found { keyring, version, own } = find(session, self.kid, self.keyring.as_ref()).await?;
        let cut = Some(moment.cut);
        let (address, tenant) = (Address::Keyring(keyring.clone()), Address::Tenant(keyring.tenant.clone()));
        let (tenant, installation, receipts) = tokio::try_join!(
            read(session, &tenant, None),
            read(session, &Address::Installation, cut),
            receipts(session, &address)
        )?;
        let turns = turns(&own, &tenant, version);
        let known = turns.iter().rev().find(|turn| turn.is_within(moment.cut));
        let known = known.and_then(|turn| turn.step.known.as_ref());
        let scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        let needs = Needs { scopes: &scopes, address_allowed: self.is_allowed(own.events(), version) };
        let verdict = answer(known, &needs, Freshness::Fresh, moment.at);
        let roster = installation.state_at(moment.cut).edges;
        let mut edges = gather(&roster, own.events(), &receipts, moment.at);
        if let Some(edge) = &self.edge {
            edges.retain(|evidence| evidence.edge == *edge);
            if edges.is_empty() {
                let detail = format!("{edge} was not on the roster then");
                return Err(Failure::refused("unknown_edge", detail));
            }
        }
        let steps = steps(&turns, moment);
        let (edges, lease) = self.ask_edges(session, edges, &steps, &needs, moment.at).await?;
        let answered = Answered {
            kid: self.kid,
            keyring: &keyring,
            version,
            moment,
            known,
            verdict,
            because: because(&turns, moment.cut),
            issued_later: turns.first().filter(|turn| !turn.is_within(moment.cut)).map(|turn| turn.by),
            edges,
            lease,
            doubts: Doubts::of([&own, &tenant, &installation], moment.cut),
        };
        answered.show(session)?;
        Ok(exit::DONE)
    }

    /// What each edge can have answered. The lease is looked for only where it makes a difference.
    async fn ask_edges(
        &self,
        session: &Session<'_>,
        edges: Vec<Evidence>,
        steps: &[Step],
        needs: &Needs<'_>,
        at: At,
    ) -> Result<(Vec<EdgeAnswer>, Option<Span>), Failure> {
        let answers = |lease| {
            let of = |evidence: &Evidence| possible(steps, &evidence.shown, needs, lease, at);
            edges.iter().map(of).collect::<Vec<_>>()
        };
        let mut lease = self.lease;
        let mut all = answers(lease);
        if lease.is_none() && all.iter().any(|answers| answers.len() > 1) {
            lease = lease_now(session).await?;
            all = answers(lease);
        }
        let answered = edges.into_iter().zip(all);
        let answered = answered.map(|(evidence, possible)| EdgeAnswer { evidence, possible });
        Ok((answered.collect(), lease))
    }

    fn is_allowed(&self, events: &[Happened], version: Version) -> bool {
        let spec = events.iter().find_map(|happened| match &happened.recorded.event.fact {
            keywheel_domain::Fact::KeyIssued(issued) if issued.version == version => Some(&issued.spec),
            keywheel_domain::Fact::KeyIssued(_)
            | keywheel_domain::Fact::KeyActivated(_)
            | keywheel_domain::Fact::KeySeen(_)
            | keywheel_domain::Fact::KeyRetired(_)
            | keywheel_domain::Fact::RolledBack(_)
            | keywheel_domain::Fact::PolicySet(_)
            | keywheel_domain::Fact::EdgeAdded(_)
            | keywheel_domain::Fact::EdgeRemoved(_)
            | keywheel_domain::Fact::SignerAdded(_)
            | keywheel_domain::Fact::SignerWithdrawn(_) => None,
        });
        self.ip.is_none() || spec.is_none_or(|spec| is_allowed(&spec.cidrs, self.ip))
    }
}

/// An event that changed what an edge knows of the key.
struct Turn<'h> {
    by: &'h Happened,
    step: Step,
    /// Whether it changed the key itself, not how long a stale edge serves it.
    is_of_key: bool,
}

impl Turn<'_> {
    fn is_within(&self, cut: Cut) -> bool {
        !cut.ends_before(&self.by.recorded)
    }
}

/// Everything that changed what edges know of a version, in the log's order.
fn turns<'h>(own: &'h History, tenant: &'h History, version: Version) -> Vec<Turn<'h>> {
    let mut all: Vec<&Happened> = own.events().iter().chain(tenant.events()).collect();
    all.sort_by_key(|happened| happened.recorded.seq);
    let (mut ring, mut above) = (State::default(), State::default());
    let mut turns: Vec<Turn<'h>> = Vec::new();
    for by in all {
        let state = if by.recorded.event.address.keyring().is_some() { &mut ring } else { &mut above };
        *state = evolve(std::mem::take(state), &by.recorded);
        let Some(key) = ring.keys.get(&version) else { continue };
        let was = turns.last().and_then(|turn| turn.step.known.as_ref());
        let is_of_key = was.is_none_or(|was| was.state != key.state);
        let policy = ring.policy_within(&above);
        if is_of_key || was.is_some_and(|was| (was.class, was.stale_max) != (policy.class, policy.stale_max))
        {
            let (state, spec) = (key.state.clone(), key.spec.clone());
            let known = Some(Known { state, spec, class: policy.class, stale_max: policy.stale_max });
            let step = Step { seq: by.recorded.seq, stored: by.stored, known };
            turns.push(Turn { by, step, is_of_key });
        }
    }
    turns
}

/// Those that an edge can have applied by then: decided or stored by then.
fn steps(turns: &[Turn<'_>], moment: Moment) -> Vec<Step> {
    let is_possible = |turn: &Turn<'_>| turn.is_within(moment.cut) || turn.step.stored <= moment.at;
    let count = turns.iter().rposition(is_possible).map_or(0, |last| last + 1);
    turns.iter().take(count).map(|turn| turn.step.clone()).collect()
}

/// The events that made the key what it was.
fn because<'h>(turns: &[Turn<'h>], cut: Cut) -> Vec<&'h Happened> {
    let within = turns.iter().take_while(|turn| turn.is_within(cut));
    within.filter(|turn| turn.is_of_key).map(|turn| turn.by).collect()
}

async fn receipts(session: &Session<'_>, address: &Address) -> Result<Vec<Receipt>, Failure> {
    let notices = session.bus.notices(address, "receipt").await?;
    let receipt = |notice| match notice {
        Notice::Receipt(receipt) => Some(receipt),
        Notice::Alarm(_) | Notice::Head(_) => None,
    };
    Ok(notices.into_iter().filter_map(|(notice, _)| receipt(notice)).collect())
}

/// The longest lease that an edge's pulse names; nothing where none is heard.
async fn lease_now(session: &Session<'_>) -> Result<Option<Span>, Failure> {
    let mut fleet = Fleet::listen(&session.bus).await?;
    let live = session.screen.live();
    live.say("listening for a pulse, which says how long a lease is");
    let mut waited = Duration::ZERO;
    while fleet.picture().heard.is_empty() && waited < LISTEN_MAX {
        fleet.hear(LISTEN_FOR).await;
        waited += LISTEN_FOR;
    }
    Ok(fleet.picture().heard.values().map(|heard| Span(heard.pulse.lease_ms)).max())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{activated, issued, messages, seen, signers};
    use crate::waiting_words::tests::NOW;
    use keywheel_domain::event::{Ended, Fact, IssueReason};
    use keywheel_domain::key::Cause;
    use keywheel_domain::policy::Class;
    use keywheel_domain::{KeyState, PolicyPatch};

    /// Issued, activated, made strict, seen, revoked, an hour between each two; stored a second after it was decided.
    fn history() -> History {
        let strict = PolicyPatch { class: Some(Class::Strict), ..PolicyPatch::NONE };
        let reason = Some("leaked".to_owned());
        let revoked =
            Ended { version: Version(1), also: Vec::new(), cause: Cause::Revoked, reason, evidence: None };
        let facts = vec![
            issued(1, IssueReason::Issue),
            activated(1, Vec::new()),
            Fact::PolicySet(strict),
            seen(1, NOW),
            Fact::KeyRetired(revoked),
        ];
        let mut history = History::new(signers());
        let stored = |seq| decided(seq).after(Span::secs(1));
        let messages = messages(facts, NOW).into_iter();
        history.take(&messages.map(|message| (message.clone(), stored(message.seq))).collect::<Vec<_>>());
        history
    }

    fn decided(seq: u64) -> At {
        NOW.before(Span::hours(6 - seq))
    }

    fn none() -> History {
        History::new(signers())
    }

    #[test]
    fn what_edges_know_changes_with_the_key_and_its_class() {
        let (own, tenant) = (history(), none());
        let turns = turns(&own, &tenant, Version(1));
        let shown: Vec<_> = turns.iter().map(|turn| (turn.step.seq, turn.is_of_key)).collect();
        assert_eq!(shown, [(1, true), (2, true), (3, false), (5, true)]);
        let known = |n: usize| turns[n].step.known.clone().unwrap();
        assert_eq!((known(1).class, known(2).class), (Class::Available, Class::Strict));
        assert!(matches!(known(3).state, KeyState::Revoked { .. }));
        let because = |seq| {
            let events = because(&turns, Cut::Seq(seq)).into_iter();
            events.map(|happened| happened.recorded.seq).collect::<Vec<_>>()
        };
        assert_eq!([0, 1, 4, 9].map(because), [vec![], vec![1], vec![1, 2], vec![1, 2, 5]]);
    }

    #[test]
    fn an_edge_can_have_applied_what_was_decided_or_stored() {
        let (own, tenant) = (history(), none());
        let turns = turns(&own, &tenant, Version(1));
        let count = |cut, at| steps(&turns, Moment { cut, at }).len();
        assert_eq!(count(Cut::Time(decided(2)), decided(2)), 2, "decided, not stored yet");
        let between = decided(2).after(Span(1));
        assert_eq!(count(Cut::Seq(1), between), 1);
        assert_eq!(
            count(Cut::Seq(1), decided(2).after(Span::secs(1))),
            2,
            "stored, though beyond the position"
        );
        assert_eq!(count(Cut::Seq(9), decided(1)), 4, "as far as the position");
        assert_eq!(count(Cut::Time(At(0)), At(0)), 0);
    }
}
