//! What the nemesis will do: what, to whom, when and for how long, decided from the seed alone.

use crate::hostile::chance::Chance;
use std::fmt;
use std::time::Duration;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL; it stays dead for the time.
    Kill,
    /// SIGSTOP, and SIGCONT at the end.
    Pause,
    /// SIGTERM to a bus node, started again at the end.
    Restart,
    /// Its connections to the bus, or a bus node's to others, end, and no new one is made.
    Cut,
    /// Nothing that it says arrives until the end.
    Mute,
    /// It hears nothing until the end.
    Deaf,
    /// What it says and hears comes late.
    Delay,
    /// Its connections stand, and everything on them is lost.
    HalfOpen,
    /// Its wall clock is another than everybody's.
    Clock,
    /// Its disk takes no more.
    Disk,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 10] = [
        Kind::Kill,
        Kind::Pause,
        Kind::Restart,
        Kind::Cut,
        Kind::Mute,
        Kind::Deaf,
        Kind::Delay,
        Kind::HalfOpen,
        Kind::Clock,
        Kind::Disk,
    ];

    /// As the ledger names it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::Pause => "pause",
            Kind::Restart => "restart",
            Kind::Cut => "cut",
            Kind::Mute | Kind::Deaf => "one_way",
            Kind::Delay => "delay",
            Kind::HalfOpen => "half_open",
            Kind::Clock => "clock",
            Kind::Disk => "disk",
        }
    }

    /// How often it is chosen, beside the others.
    fn weight(self) -> u64 {
        match self {
            Kind::Kill | Kind::Pause => 4,
            Kind::Cut | Kind::Clock => 2,
            Kind::Disk => 3,
            Kind::Restart | Kind::Mute | Kind::Deaf | Kind::Delay | Kind::HalfOpen => 1,
        }
    }

    fn is_for(self, target: &Target) -> bool {
        match self {
            Kind::Kill | Kind::Pause => !matches!(target.role, Role::Operator | Role::Route),
            Kind::Restart => target.role == Role::Bus,
            Kind::Cut | Kind::Mute | Kind::Deaf | Kind::Delay | Kind::HalfOpen => target.role != Role::Bus,
            Kind::Clock => matches!(target.role, Role::Service | Role::Edge),
            Kind::Disk => target.role == Role::Edge,
        }
    }
}

/// What a process is to the campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A bus node.
    Bus,
    /// One of the services that decide.
    Service,
    /// An edge.
    Edge,
    /// What a bus node has to others, while clients reach it as before.
    Route,
    /// The operator, who is no process, but has a link to the bus.
    Operator,
}

impl Role {
    fn is_bus(self) -> bool {
        matches!(self, Role::Bus | Role::Route)
    }
}

/// Somebody to whom faults are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name of its process, or `operator`; of a route, who has it to whom: `nats-1+nats-2`, `nats-1+others`.
    pub name: String,
    /// What it is.
    pub role: Role,
}

/// A fault to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub number: u32,
    /// From the beginning of the faults.
    pub at: Duration,
    /// How long.
    pub lasts: Duration,
    /// What.
    pub kind: Kind,
    /// To whom: the name of a target.
    pub target: String,
}

impl Fault {
    /// By how many seconds a clock that is stepped is wrong: by far more than anything here lasts, or by some of it.
    pub fn step(&self) -> i32 {
        const STEPS: [i32; 4] = [-60, 60, -5, 5];
        STEPS[self.number as usize % STEPS.len()]
    }

    fn end(&self) -> Duration {
        self.at + self.lasts
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { number, at, lasts, kind, target } = self;
        let mut what = format!("{kind:?}");
        if *kind == Kind::Clock {
            what = format!("{what} {:+}", self.step());
        }
        write!(f, "#{number:<4} {:>8.2} s  {what:<10} {target:<18} for {lasts:.2?}", at.as_secs_f64())
    }
}

/// Faults come in storms, with calms between them in which everything that was promised has to come about.
const STORM: Duration = Duration::from_secs(20);
const CALM: Duration = Duration::from_secs(10);
/// As many as this at once, one to a target, one bus node among them: else no bound could be promised.
const AT_ONCE: usize = 3;
const LASTS_MS: (u64, u64) = (200, 8000);
const GAP_MS: (u64, u64) = (200, 2200);
/// A leader that nobody follows learns of it after some seconds: what it does until then has to be seen.
const ROUTES_LAST_LONGER: u32 = 2;

/// Plans the faults of a campaign: the same seed, length and targets give the same plan.
pub fn plan(seed: u64, length: Duration, targets: &[Target], kinds: &[Kind]) -> Vec<Fault> {
    let mut chance = Chance::new(seed);
    let mut faults: Vec<Fault> = Vec::new();
    let mut at = Duration::ZERO;
    let mut storm_ends = STORM;
    loop {
        at += Duration::from_millis(chance.within(GAP_MS.0, GAP_MS.1));
        if at >= storm_ends {
            (at, storm_ends) = (storm_ends + CALM, storm_ends + CALM + STORM);
        }
        let most = storm_ends.min(length).saturating_sub(at);
        if at >= length {
            return faults;
        }
        let lasts = Duration::from_millis(chance.within(LASTS_MS.0, LASTS_MS.1));
        let running: Vec<&Fault> = faults.iter().filter(|fault| fault.end() > at).collect();
        let free = |target: &&Target| {
            running.iter().all(|fault| fault.target != target.name)
                && (!target.role.is_bus() || !running.iter().any(|fault| is_bus(targets, fault)))
        };
        let free: Vec<&Target> = targets.iter().filter(free).collect();
        if running.len() >= AT_ONCE || free.is_empty() {
            continue;
        }
        let target = free[chance.index(free.len())];
        let Some(kind) = draw(&mut chance, kinds.iter().filter(|kind| kind.is_for(target))) else { continue };
        let times = if target.role == Role::Route { ROUTES_LAST_LONGER } else { 1 };
        let lasts = (lasts * times).min(most);
        let number = u32::try_from(faults.len()).unwrap_or(u32::MAX).saturating_add(1);
        faults.push(Fault { number, at, lasts, kind, target: target.name.clone() });
    }
}

fn is_bus(targets: &[Target], fault: &Fault) -> bool {
    targets.iter().any(|target| target.name == fault.target && target.role.is_bus())
}

fn draw<'a>(chance: &mut Chance, kinds: impl Iterator<Item = &'a Kind>) -> Option<Kind> {
    let tickets: Vec<Kind> = kinds.flat_map(|kind| (0..kind.weight()).map(|_| *kind)).collect();
    tickets.get(chance.index(tickets.len())).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const LENGTH: Duration = Duration::from_secs(3600);

    fn targets() -> Vec<Target> {
        let named = |name: &str, role| Target { name: name.to_owned(), role };
        let services = ["issuer", "propagator", "retirer"].map(|name| named(name, Role::Service));
        let edges = ["edge-e1", "edge-e2"].map(|name| named(name, Role::Edge));
        let bus = ["nats-1", "nats-2", "nats-3"].map(|name| named(name, Role::Bus));
        let routes = ["nats-1+nats-2", "nats-leader+others"].map(|name| named(name, Role::Route));
        let all = services.into_iter().chain(edges).chain(bus).chain(routes);
        all.chain([named("operator", Role::Operator)]).collect()
    }

    #[test]
    fn a_seed_gives_one_plan_and_another_seed_another() {
        let of = |seed| plan(seed, LENGTH, &targets(), &Kind::ALL);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn never_more_at_once_than_promises_allow() {
        for seed in 0..50 {
            let length = LENGTH / 12;
            let (targets, faults) = (targets(), plan(seed, length, &targets(), &Kind::ALL));
            for fault in &faults {
                assert!(fault.end() <= length, "{fault}");
                let others = faults.iter().filter(|other| other.number != fault.number);
                let at_once: Vec<&Fault> =
                    others.filter(|other| other.at <= fault.at && fault.at < other.end()).collect();
                assert!(at_once.len() < AT_ONCE, "{fault} with {at_once:?}");
                assert!(at_once.iter().all(|other| other.target != fault.target), "{fault}");
                let nodes = at_once.iter().filter(|other| is_bus(&targets, other)).count();
                assert!(nodes == 0 || !is_bus(&targets, fault), "{fault}: no quorum");
            }
        }
    }

    #[test]
    fn an_hour_has_every_kind_and_every_target() {
        let faults = plan(1, LENGTH, &targets(), &Kind::ALL);
        let kinds: BTreeSet<Kind> = faults.iter().map(|fault| fault.kind).collect();
        let struck: BTreeSet<&str> = faults.iter().map(|fault| fault.target.as_str()).collect();
        assert_eq!((kinds.len(), struck.len()), (Kind::ALL.len(), targets().len()));
        assert!(faults.len() > 500, "{}", faults.len());
    }
}
