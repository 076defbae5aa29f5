//! Clients through rotations: whoever holds its newest delivered key holds an accepted one (SAFETY 5, 6).
//!
//! The clients are simulated: each is delivered a key when it is activated and moves to it some time
//! later. Uses happen only with keys that a client holds and edges accept, and quiet proofs tell the
//! truth about them. Revocation, expiry, explicit retirement and a strict deadline are left out.

use crate::scene::{Story, acts, given, versions};
use crate::trial;
use keywheel_domain::command::SpecAsked;
use keywheel_domain::due::PROOF_AGE_SLACK;
use keywheel_domain::event::{Event, Evidence, Fact};
use keywheel_domain::{Act, At, KeyState, Policy, Span, Version, decide, next};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof, proptest};
use std::collections::BTreeMap;

const QUIET: Span = Span::secs(1800);

#[derive(Clone, Debug)]
enum Move {
    Pass { minutes: u64 },
    Issue { client: usize },
    Rotate { client: usize },
    Activate,
    Fetch { client: usize },
    Use { client: usize },
    Report,
    Prove { ago: u64 },
    RetireDue,
    RollBack { steps: u64 },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let client = || 0..2_usize;
    let one = prop_oneof![
        6 => (1..150_u64).prop_map(|minutes| Move::Pass { minutes }),
        1 => client().prop_map(|client| Move::Issue { client }),
        3 => client().prop_map(|client| Move::Rotate { client }),
        4 => Just(Move::Activate),
        3 => client().prop_map(|client| Move::Fetch { client }),
        4 => client().prop_map(|client| Move::Use { client }),
        4 => Just(Move::Report),
        4 => (0..60_u64).prop_map(|ago| Move::Prove { ago }),
        4 => Just(Move::RetireDue),
        1 => (1..12_u64).prop_map(|steps| Move::RollBack { steps }),
    ];
    vec(one, 0..120)
}

#[derive(Default)]
struct Client {
    /// Versions that were made for it.
    own: Vec<Version>,
    holds: Option<Version>,
}

struct World {
    story: Story,
    clients: Vec<Client>,
    /// Every use that ever was, known to the log or not.
    uses: BTreeMap<Version, Vec<At>>,
}

impl World {
    /// Each client holds and uses a first key of its own.
    fn with_clients(count: usize) -> Self {
        let clients = (0..count).map(|_| Client::default()).collect();
        let mut world = Self { story: given(), clients, uses: BTreeMap::new() };
        for client in 0..count {
            let first =
                [Move::Issue { client }, Move::Activate, Move::Fetch { client }, Move::Use { client }];
            first.iter().for_each(|step| world.step(step));
        }
        world.step(&Move::Report);
        world
    }

    fn step(&mut self, step: &Move) {
        match step {
            Move::Pass { minutes } => self.story.now = self.story.now.after(Span::secs(60 * minutes)),
            Move::Issue { client } => self.make_key(*client, false),
            Move::Rotate { client } => self.make_key(*client, true),
            Move::Activate => self.activate(),
            Move::Fetch { client } => self.fetch(*client),
            Move::Use { client } => self.use_key(*client),
            Move::Report => self.report(),
            Move::Prove { ago } => self.prove(*ago),
            Move::RetireDue => {
                if let Some(act) = next(&self.story.state, self.story.now) {
                    self.ask(act);
                }
            }
            Move::RollBack { steps } => self.roll_back(*steps),
        }
    }

    fn ask(&mut self, act: Act) {
        let command = self.story.command(act);
        if let Ok(Some(event)) = decide(&self.story.state, &command) {
            self.check_quiet(&event);
            self.story = self.story.clone().append(event);
        }
    }

    fn client(&mut self, index: usize) -> &mut Client {
        let last = self.clients.len() - 1;
        &mut self.clients[index.min(last)]
    }

    /// With several clients a rotation says whose key it is for; with one it means all.
    fn make_key(&mut self, index: usize, rotate: bool) {
        let several = self.clients.len() > 1;
        let n = self.story.state.newest().map_or(1, |(version, _)| version.0 + 1);
        let is_active = |version: &Version| self.story.state.keys[version].state == KeyState::Active;
        let own = self.clients[index.min(self.clients.len() - 1)].own.clone();
        let current = own.into_iter().rev().find(is_active);
        let (minted, spec, policy) = (acts::minted(n), SpecAsked::default(), policy());
        let act = match (rotate, current) {
            (true, None) if several => return,
            (true, Some(version)) if several => {
                Act::Rotate { minted, spec, supersedes: vec![version], policy }
            }
            (true, Some(_) | None) => Act::Rotate { minted, spec, supersedes: versions(&[]), policy },
            (false, Some(_) | None) => Act::Issue { minted, spec, policy },
        };
        self.ask(act);
        if self.story.state.keys.contains_key(&Version(n)) {
            self.client(index).own.push(Version(n));
        }
    }

    fn activate(&mut self) {
        let pending = self.story.state.keys.iter().find(|(_, key)| key.state == KeyState::Issued);
        if let Some(version) = pending.map(|(version, _)| version.0) {
            self.ask(acts::activate(version));
        }
    }

    fn newest_delivered(&self, client: &Client) -> Option<Version> {
        let delivered = |version: &&Version| self.story.state.keys[version].was_activated;
        client.own.iter().rev().find(delivered).copied()
    }

    fn fetch(&mut self, index: usize) {
        let newest = self.newest_delivered(&self.clients[index.min(self.clients.len() - 1)]);
        self.client(index).holds = newest;
    }

    fn use_key(&mut self, index: usize) {
        let now = self.story.now;
        if let Some(version) = self.client(index).holds {
            self.uses.entry(version).or_default().push(now);
        }
    }

    fn report(&mut self) {
        for (version, uses) in self.uses.clone() {
            self.record(version, &uses, None);
        }
    }

    /// Of every version in an overlap: since its last use until so many minutes ago.
    fn prove(&mut self, ago: u64) {
        let through = self.story.now.before(Span::secs(60 * ago));
        let retiring = |key: &keywheel_domain::Key| matches!(key.state, KeyState::Retiring(_));
        let keys = self.story.state.keys.iter();
        let waiting: Vec<Version> =
            keys.filter(|(_, key)| retiring(key)).map(|(version, _)| *version).collect();
        for version in waiting {
            let all = self.uses.get(&version).cloned().unwrap_or_default();
            let uses: Vec<At> = all.into_iter().filter(|at| *at <= through).collect();
            let from = uses.last().copied().unwrap_or(through.before(QUIET));
            self.record(version, &uses, Some((from, through)));
        }
    }

    fn record(&mut self, version: Version, uses: &[At], quiet: Option<(At, At)>) {
        let mut seen =
            quiet.map_or_else(Default::default, |(from, through)| acts::quiet_between(from, through));
        (seen.first_use, seen.last_use) = (uses.first().copied(), uses.last().copied());
        seen.uses = uses.len() as u64;
        self.ask(acts::record(version.0, seen));
    }

    fn roll_back(&mut self, steps: u64) {
        let to_seq = (self.story.log.len() as u64).saturating_sub(steps);
        let target = Box::new(self.story.state_at(to_seq));
        self.ask(Act::Rollback { to_seq, target, revoke_new: false, policy: policy() });
    }

    /// A retirement by quiet tells the truth about every use that ever was.
    fn check_quiet(&self, event: &Event) {
        let Fact::KeyRetired(ended) = &event.fact else { return };
        let Some(Evidence::Quiet { from, through, successor }) = ended.evidence else {
            panic!("{} retired without evidence: {ended:?}", ended.version)
        };
        let uses = self.uses.get(&ended.version).map_or(&[][..], Vec::as_slice);
        assert!(uses.iter().all(|at| *at <= from || *at > through), "it was used in the quiet period");
        assert!(through.since(from) >= QUIET, "the proof is too short");
        assert!(event.at.since(through) <= Span(QUIET.0 + PROOF_AGE_SLACK.0), "the proof is too old");
        assert!(self.uses.contains_key(&successor), "the successor was never used");
        assert!(self.story.state.keys[&successor].state.is_live(), "the successor is not accepted");
    }

    /// What it holds is accepted, and so is what it may fetch.
    fn check_clients(&self) {
        for client in &self.clients {
            for version in [client.holds, self.newest_delivered(client)].into_iter().flatten() {
                let key = &self.story.state.keys[&version];
                assert!(
                    key.is_usable(self.story.now),
                    "a client is left with {version}, which is {:?}",
                    key.state
                );
            }
        }
    }
}

fn policy() -> Policy {
    Policy {
        overlap_min: Span::secs(3600),
        overlap_max: Span::hours(4),
        quiet: QUIET,
        max_active: 64,
        ..Policy::default()
    }
}

fn live_through(moves: &[Move], clients: usize) -> World {
    let mut world = World::with_clients(clients);
    for step in moves {
        world.step(step);
        world.check_clients();
    }
    world
}

proptest! {
    #![proptest_config(trial())]

    #[test]
    fn a_client_always_holds_an_accepted_key(moves in moves()) {
        live_through(&moves, 1);
    }

    #[test]
    fn so_do_two_holders_of_one_keyring_when_each_rotation_names_what_it_replaces(moves in moves()) {
        live_through(&moves, 2);
    }
}
