//! Tells a keyring's story in a test: what happened, what is asked, what comes of it.
#![allow(dead_code, reason = "each test target tells its own part")]
#![allow(clippy::unwrap_used)]

pub mod acts;
pub mod words;

use keywheel_domain::event::{
    Activated, Barrier, CommandId, Ended, EventId, Fact, IssueReason, Issued, Restored, RotationId, Used,
};
use keywheel_domain::key::{Cause, Origin};
use keywheel_domain::{
    Act, Actor, Address, At, Command, Event, Key, KeySpec, KeyState, KeyringId, Policy, Recorded, Rejection,
    Span, State, Version, decide, evolve,
};

/// The hour `n` of the story; the first lies well after the beginning of time.
pub fn hour(n: u64) -> At {
    At(0).after(Span::hours(1000 + n))
}

pub fn keyring_address() -> Address {
    Address::Keyring(KeyringId::parse("acme/api").unwrap())
}

pub fn versions(numbers: &[u32]) -> Vec<Version> {
    numbers.iter().copied().map(Version).collect()
}

pub fn by_hand() -> Barrier {
    Barrier { position: 1, edges: vec![], passed_over: vec![], by_hand: Some("test".to_owned()) }
}

/// What happened until now. Each `given` step appends one event, whether or not it could have been decided.
#[derive(Clone)]
pub struct Story {
    pub log: Vec<Recorded>,
    pub state: State,
    pub now: At,
    policy: Policy,
    spec: KeySpec,
}

/// Before anything happened, at hour 0, under the built-in policy.
pub fn given() -> Story {
    Story {
        log: vec![],
        state: State::default(),
        now: hour(0),
        policy: Policy::default(),
        spec: KeySpec::default(),
    }
}

/// v1 was handed out and used; v2 was handed out at hour 0 in its place and is not used yet.
pub fn rotation() -> Story {
    given().handed_out(1).used(1).rotated(2).activated(2, &[1])
}

impl Story {
    /// From this state and moment on, with the log before it forgotten.
    pub fn resumed(state: State, now: At) -> Self {
        Self { state, ..given().at(now) }
    }

    /// From here on keys are issued under this policy, and commands carry it.
    pub fn under(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// From here on keys are issued with this end.
    pub fn expiring(mut self, at: At) -> Self {
        self.spec.expires_at = Some(at);
        self
    }

    pub fn at(mut self, now: At) -> Self {
        self.now = now;
        self
    }

    pub fn happened(self, fact: Fact) -> Self {
        let seq = self.log.len() as u64 + 1;
        let rotation = fact.version().map(|version| RotationId(u128::from(version.0)));
        let event = Event {
            id: EventId(u128::from(seq)),
            address: keyring_address(),
            at: self.now,
            actor: Actor::service("test"),
            command: CommandId(u128::from(seq)),
            rotation,
            fact,
        };
        self.append(event)
    }

    /// The story with this event at its end.
    pub fn append(mut self, event: Event) -> Self {
        let recorded = Recorded { seq: self.log.len() as u64 + 1, event };
        self.state = evolve(self.state, &recorded);
        self.log.push(recorded);
        self
    }

    fn key_made(self, n: u32, origin: Origin, reason: IssueReason) -> Self {
        let pending = |(v, key): (&Version, &Key)| (key.state == KeyState::Issued).then_some(*v);
        let cancels = match reason {
            IssueReason::Issue => vec![],
            IssueReason::Rotate { .. } => self.state.keys.iter().filter_map(pending).collect(),
        };
        let minted = acts::minted(n);
        let issued = Issued {
            version: Version(n),
            kid: minted.kid,
            digest: minted.digest,
            spec: self.spec.clone(),
            origin,
            reason,
            policy: self.policy.clone(),
            cancels,
        };
        self.happened(Fact::KeyIssued(issued))
    }

    pub fn issued(self, n: u32) -> Self {
        self.key_made(n, Origin::Minted, IssueReason::Issue)
    }

    pub fn imported(self, n: u32) -> Self {
        self.key_made(n, Origin::Imported, IssueReason::Issue)
    }

    pub fn rotated(self, n: u32) -> Self {
        self.rotated_for(n, &[])
    }

    pub fn rotated_for(self, n: u32, supersedes: &[u32]) -> Self {
        self.key_made(n, Origin::Minted, IssueReason::Rotate { supersedes: versions(supersedes) })
    }

    pub fn activated(self, n: u32, supersedes: &[u32]) -> Self {
        let fact = Activated { version: Version(n), supersedes: versions(supersedes), barrier: by_hand() };
        self.happened(Fact::KeyActivated(fact))
    }

    /// Issued and activated, superseding nothing.
    pub fn handed_out(self, n: u32) -> Self {
        self.issued(n).activated(n, &[])
    }

    /// Used at this moment, and the log knows it.
    pub fn used(self, n: u32) -> Self {
        let seen = acts::used_at(self.now);
        self.happened(Fact::KeySeen(Used { version: Version(n), seen }))
    }

    /// Proven unused from hour `from` to hour `through`.
    pub fn proven_quiet(self, n: u32, from: u64, through: u64) -> Self {
        let seen = acts::quiet_between(hour(from), hour(through));
        self.happened(Fact::KeySeen(Used { version: Version(n), seen }))
    }

    pub fn ended(self, n: u32, cause: Cause) -> Self {
        let version = Version(n);
        self.happened(Fact::KeyRetired(Ended { version, also: vec![], cause, reason: None, evidence: None }))
    }

    pub fn revoked(self, n: u32) -> Self {
        self.ended(n, Cause::Revoked)
    }

    pub fn rolled_back(self, restored: &[u32], withdrawn: Vec<(Version, KeyState)>) -> Self {
        let restored = Restored { to_seq: 1, restored: versions(restored), withdrawn };
        self.happened(Fact::RolledBack(restored))
    }

    pub fn policy(&self) -> Policy {
        self.policy.clone()
    }

    /// The state as it was at a position.
    pub fn state_at(&self, seq: u64) -> State {
        self.log.iter().take_while(|recorded| recorded.seq <= seq).fold(State::default(), evolve)
    }

    pub fn key(&self, n: u32) -> &Key {
        self.state.keys.get(&Version(n)).unwrap()
    }

    /// The command that asks for `act` now; each position of the log asks under another id.
    pub fn command(&self, act: Act) -> Command {
        let id = 1_000_000 + self.log.len() as u128;
        Command {
            id: CommandId(id),
            address: keyring_address(),
            actor: Actor::service("test"),
            at: self.now,
            event_id: EventId(id),
            act,
        }
    }

    /// Asks for `act` now.
    pub fn when(self, act: Act) -> Outcome {
        let command = self.command(act);
        let decided = decide(&self.state, &command);
        Outcome { story: self, decided }
    }

    /// Rolls back to a position.
    pub fn when_back_to(self, seq: u64) -> Outcome {
        let act = acts::back_to(&self, seq, false);
        self.when(act)
    }

    /// States every version's state in words.
    pub fn stands(self, expected: &str) -> Self {
        assert_eq!(words::keyring(&self.state), expected);
        self
    }
}

/// What came of a command.
pub struct Outcome {
    story: Story,
    decided: Result<Option<Event>, Rejection>,
}

impl Outcome {
    /// It took effect as this event; the story goes on from there.
    pub fn then(self, effect: &str) -> Story {
        assert_eq!(self.words(), effect);
        self.story.append(self.decided.unwrap().unwrap())
    }

    /// It found nothing to do.
    pub fn already_so(self) -> Story {
        assert_eq!(self.words(), "already so");
        self.story
    }

    /// It was refused.
    pub fn rejected(self, code: &str) -> Story {
        assert_eq!(self.words(), format!("no: {code}"));
        self.story
    }

    /// It rolled back, to this.
    pub fn event(self) -> Restored {
        let fact = self.decided.unwrap().unwrap().fact;
        let Fact::RolledBack(restored) = fact else { panic!("no rollback: {fact:?}") };
        restored
    }

    pub fn words(&self) -> String {
        words::decided(&self.decided)
    }
}
