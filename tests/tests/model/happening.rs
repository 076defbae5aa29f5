//! What can happen, and to whom.

use crate::commands::Order;
use crate::gate::Task;
use crate::link::{Flight, Reply};
use crate::tracker::Look;
use keywheel_domain::Event;
use keywheel_propagator::desk::Effect;
use keywheel_wire::pulse::Pulse;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Edge(usize),
    Propagator(usize),
    Issuer(usize),
    Retirer(usize),
    Tracker,
}

/// What a process does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    Pulse,
    Report,
    Keep,
    Step,
    ReadBack,
    Retire,
    Round,
}

pub enum Happening {
    Chore(Who, u32, Chore),
    Follow(Who, u32),
    Visible { edge: usize, life: u32, to: u64 },
    ToBus(Flight),
    ToEdge { edge: usize, life: u32, reply: Reply },
    Hear { propagator: usize, life: u32, pulse: Pulse },
    Stored { propagator: usize, life: u32, edge: usize, pulse: Option<Pulse>, began: u64 },
    Carry { propagator: usize, life: u32, effect: Effect },
    Decide(Task),
    Append { task: Task, event: Box<Event>, expects: u64 },
    Handle { order: Order, who: Who },
    Look(u32, Look),
    Use(usize),
    Fetch(usize),
    Heal(Who),
    Strike,
    Operate,
}

impl Happening {
    /// The process to which it happens: while that is stopped, it waits.
    pub fn owner(&self) -> Option<Who> {
        match self {
            Happening::Chore(who, ..) | Happening::Follow(who, _) | Happening::Handle { who, .. } => {
                Some(*who)
            }
            Happening::Visible { edge, .. } | Happening::ToEdge { edge, .. } => Some(Who::Edge(*edge)),
            Happening::Hear { propagator, .. }
            | Happening::Stored { propagator, .. }
            | Happening::Carry { propagator, .. } => Some(Who::Propagator(*propagator)),
            Happening::Decide(task) => Some(task.who),
            Happening::Look(..) => Some(Who::Tracker),
            Happening::ToBus(_)
            | Happening::Append { .. }
            | Happening::Use(_)
            | Happening::Fetch(_)
            | Happening::Heal(_)
            | Happening::Strike
            | Happening::Operate => None,
        }
    }
}
