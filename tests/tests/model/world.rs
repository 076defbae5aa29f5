//! The world: true time, what is going to happen, and everyone to whom it may happen.

use crate::bus::Bus;
use crate::clients::Client;
use crate::edge::Edge;
use crate::gate::Service;
pub use crate::happening::{Chore, Happening, Who};
use crate::log::Log;
use crate::promises::Promises;
use crate::propagator::Propagator;
use crate::rng::Rng;
use crate::tracker::Tracker;
use keywheel_domain::{At, Span};
use std::collections::{BTreeMap, VecDeque};

/// One number for the whole fleet.
pub const LEASE: Span = Span::secs(15);
/// The world begins here, by the bus's clock, which is the true time.
pub const START: u64 = 1_800_000_000_000;
/// How far a wall clock may be off, in milliseconds.
pub const SKEW: u64 = 400;
/// How far elapsed time runs fast at the services and slow at the edges, in millionths.
pub const DRIFT_PPM: u64 = 450;
const REMEMBERED: usize = 40;

/// How unkind the world is, in times per thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub lost: u64,
    pub doubled: u64,
    pub late: u64,
    pub strikes: bool,
}

/// Shells that do things in the wrong order, to show what the order is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wrong {
    #[default]
    Nothing,
    HeadBeforePulse,
    PulseTellsCommitted,
    AnswersBeforeCommit,
}

pub struct World {
    pub now: u64,
    pub rng: Rng,
    pub faults: Faults,
    pub wrong: Wrong,
    pub log: Log,
    pub bus: Bus,
    pub edges: Vec<Edge>,
    pub propagators: Vec<Propagator>,
    pub issuers: Vec<Service>,
    pub retirers: Vec<Service>,
    pub tracker: Tracker,
    pub clients: Vec<Client>,
    pub promises: Promises,
    pub minted: u64,
    pub ids: u128,
    pub counts: BTreeMap<&'static str, u64>,
    agenda: BTreeMap<(u64, u64), Happening>,
    turn: u64,
    story: VecDeque<String>,
}

impl World {
    /// A calm world with so many of each service and no edge.
    pub fn new(seed: u64, replicas: usize) -> Self {
        let mut world = Self {
            now: START,
            rng: Rng::new(seed),
            faults: Faults::default(),
            wrong: Wrong::Nothing,
            log: Log::default(),
            bus: Bus { pulses_kept_since: At(START), ..Bus::default() },
            edges: Vec::new(),
            propagators: (0..replicas).map(|n| Propagator::new(Service::new(n as u64))).collect(),
            issuers: (0..replicas).map(|n| Service::new(10 + n as u64)).collect(),
            retirers: (0..replicas).map(|n| Service::new(20 + n as u64)).collect(),
            tracker: Tracker::new(Service::new(30)),
            clients: Vec::new(),
            promises: Promises::default(),
            minted: 0,
            ids: 0,
            counts: BTreeMap::new(),
            agenda: BTreeMap::new(),
            turn: 0,
            story: VecDeque::new(),
        };
        for who in world.services() {
            world.begin_chores(who);
        }
        world
    }

    pub fn services(&self) -> Vec<Who> {
        let propagators = (0..self.propagators.len()).map(Who::Propagator);
        let issuers = (0..self.issuers.len()).map(Who::Issuer);
        let retirers = (0..self.retirers.len()).map(Who::Retirer);
        propagators.chain(issuers).chain(retirers).chain([Who::Tracker]).collect()
    }

    pub fn everyone(&self) -> Vec<Who> {
        (0..self.edges.len()).map(Who::Edge).chain(self.services()).collect()
    }

    /// The chores of one life of a process.
    pub fn begin_chores(&mut self, who: Who) {
        let chores: &[Chore] = match who {
            Who::Edge(_) => &[Chore::Pulse, Chore::Report, Chore::Keep],
            Who::Propagator(_) => &[Chore::Step, Chore::ReadBack],
            Who::Issuer(_) => &[],
            Who::Retirer(_) => &[Chore::Retire],
            Who::Tracker => &[Chore::Round],
        };
        let life = self.life(who);
        for chore in chores {
            self.after(1, Happening::Chore(who, life, *chore));
        }
        self.after(1, Happening::Follow(who, life));
    }

    pub fn after(&mut self, delay: u64, happening: Happening) {
        self.turn += 1;
        // In a world with faults what happens at one moment happens in any order.
        let order = if self.faults.strikes { self.rng.draw() << 32 | self.turn } else { self.turn };
        self.agenda.insert((self.now + delay, order), happening);
    }

    /// How long a message takes.
    pub fn delay(&mut self) -> u64 {
        match self.faults.strikes {
            false => 1,
            true if self.rng.chance(self.faults.late) => self.rng.within(50, 12_000),
            true => self.rng.within(1, 40),
        }
    }

    pub fn is_lost(&mut self) -> bool {
        let permille = self.faults.lost;
        self.faults.strikes && self.rng.chance(permille)
    }

    /// A fresh id of whatever kind.
    pub fn fresh_id(&mut self) -> u128 {
        self.ids += 1;
        self.ids
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Kept for the day on which a promise is broken.
    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.story.len() == REMEMBERED {
            self.story.pop_front();
        }
        let line = format!("{:>9.3} s  {}", (self.now - START) as f64 / 1000.0, what());
        self.story.push_back(line);
    }

    /// Lets `ms` pass, unless a promise is broken before.
    pub fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.promises.broken.is_none() {
            let next = self.agenda.first_key_value().map(|(key, _)| *key).filter(|(at, _)| *at <= end);
            let Some(happening) = next.and_then(|key| self.agenda.remove_entry(&key)) else { break };
            self.now = self.now.max(happening.0.0);
            self.happen(happening.1);
            self.check();
        }
        self.now = end;
        self.check();
    }

    /// Lets time pass until `is_so`, at most five minutes.
    pub fn run_until(&mut self, what: &str, is_so: impl Fn(&World) -> bool) {
        for _ in 0..3000 {
            if is_so(self) || self.promises.broken.is_some() {
                return;
            }
            self.run(100);
        }
        panic!("it never came to this: {what}\n{}", self.story());
    }

    /// Time passes in which nothing happens: everybody sleeps.
    pub fn leap(&mut self, ms: u64) {
        self.now += ms;
    }

    pub fn story(&self) -> String {
        self.story.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// Fails with what led there when a promise was broken.
    pub fn assert_kept(&self) {
        if let Some(broken) = &self.promises.broken {
            panic!("{broken}\n{}", self.story());
        }
    }

    fn happen(&mut self, happening: Happening) {
        if let Some(until) = happening.owner().map(|who| self.paused_until(who)).filter(|at| *at > self.now) {
            let wait = until - self.now;
            return self.after(wait, happening);
        }
        self.count("steps");
        match happening {
            Happening::Chore(who, life, chore) => self.chore(who, life, chore),
            Happening::Follow(who, life) => self.follow(who, life),
            Happening::Visible { edge, life, to } => self.make_visible(edge, life, to),
            Happening::ToBus(flight) => self.arrive_at_bus(flight),
            Happening::ToEdge { edge, life, reply } => self.arrive_at_edge(edge, life, reply),
            Happening::Hear { propagator, life, pulse } => self.hear(propagator, life, &pulse),
            Happening::Stored { propagator, life, edge, pulse, began } => {
                self.find_stored(propagator, life, edge, pulse.as_ref(), began);
            }
            Happening::Carry { propagator, life, effect } => self.carry(propagator, life, effect),
            Happening::Decide(task) => self.decide(task),
            Happening::Append { task, event, expects } => self.append(task, *event, expects),
            Happening::Handle { order, who } => self.handle(order, who),
            Happening::Look(life, look) => self.look(life, look),
            Happening::Use(client) => self.use_key(client),
            Happening::Fetch(client) => self.fetch(client),
            Happening::Heal(who) => self.heal(who),
            Happening::Strike => self.strike(),
            Happening::Operate => self.operate(),
        }
    }

    fn chore(&mut self, who: Who, life: u32, chore: Chore) {
        if self.life(who) != life {
            return;
        }
        let again = match (who, chore) {
            (Who::Edge(edge), Chore::Pulse) => self.pulse(edge),
            (Who::Edge(edge), Chore::Report) => self.report(edge),
            (Who::Edge(edge), Chore::Keep) => self.keep(edge),
            (Who::Propagator(propagator), Chore::Step) => self.step(propagator),
            (Who::Propagator(propagator), Chore::ReadBack) => self.read_back(propagator),
            (Who::Retirer(retirer), Chore::Retire) => self.retire_due(retirer),
            (Who::Tracker, Chore::Round) => self.round(),
            (
                _,
                Chore::Pulse
                | Chore::Report
                | Chore::Keep
                | Chore::Step
                | Chore::ReadBack
                | Chore::Retire
                | Chore::Round,
            ) => panic!("{chore:?} is no chore of {who:?}"),
        };
        let jitter = if self.faults.strikes { self.rng.within(0, again / 4) } else { 0 };
        self.after(again + jitter, Happening::Chore(who, life, chore));
    }
}
