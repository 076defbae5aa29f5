//! A service's gate to the log, as `keywheel_bus::gate` has it: decide on the own fold, append if nobody
//! else wrote to the address meanwhile, else decide again. Between the two anything may happen.

use crate::world::{DRIFT_PPM, Happening, SKEW, START, Who, World};
use keywheel_domain::event::{CommandId, EventId};
use keywheel_domain::{Act, Actor, Address, At, Command, Event, State, decide};
use std::sync::Arc;

/// One process of a service.
pub struct Service {
    /// Everything up to here is in its fold, which it keeps.
    pub watermark: u64,
    /// Which run of the process.
    pub life: u32,
    /// Whether nothing gets through to the bus and back.
    pub is_cut: bool,
    pub paused_until: u64,
    boot_offset: u64,
    skew: u64,
}

/// A decision on its way.
#[derive(Clone)]
pub struct Task {
    pub who: Who,
    pub life: u32,
    pub address: Address,
    pub id: CommandId,
    pub act: Act,
    /// The work of the propagator's desk that is done with it.
    pub settles: Option<u64>,
}

impl Service {
    pub fn new(number: u64) -> Self {
        let skew = number * 77 % (2 * SKEW);
        Self { watermark: 0, life: 0, is_cut: false, paused_until: 0, boot_offset: number * 1_000_003, skew }
    }

    /// Its own elapsed time, by a clock that runs fast.
    pub fn boot_ms(&self, now: u64) -> u64 {
        (now - START) * (1_000_000 + DRIFT_PPM) / 1_000_000 + self.boot_offset
    }

    /// Its wall clock.
    pub fn wall(&self, now: u64) -> At {
        At(now + self.skew - SKEW)
    }
}

impl World {
    pub fn service(&self, who: Who) -> &Service {
        match who {
            Who::Propagator(n) => &self.propagators[n].service,
            Who::Issuer(n) => &self.issuers[n],
            Who::Retirer(n) => &self.retirers[n],
            Who::Tracker => &self.tracker.service,
            Who::Edge(_) => panic!("an edge decides nothing"),
        }
    }

    pub fn service_mut(&mut self, who: Who) -> &mut Service {
        match who {
            Who::Propagator(n) => &mut self.propagators[n].service,
            Who::Issuer(n) => &mut self.issuers[n],
            Who::Retirer(n) => &mut self.retirers[n],
            Who::Tracker => &mut self.tracker.service,
            Who::Edge(_) => panic!("an edge decides nothing"),
        }
    }

    pub fn life(&self, who: Who) -> u32 {
        match who {
            Who::Edge(n) => self.edges[n].life,
            Who::Propagator(_) | Who::Issuer(_) | Who::Retirer(_) | Who::Tracker => self.service(who).life,
        }
    }

    pub fn paused_until(&self, who: Who) -> u64 {
        match who {
            Who::Edge(n) => self.edges[n].paused_until,
            Who::Propagator(_) | Who::Issuer(_) | Who::Retirer(_) | Who::Tracker => {
                self.service(who).paused_until
            }
        }
    }

    /// An address as this service's own fold has it.
    pub fn known(&self, who: Who, address: &Address) -> Arc<State> {
        self.log.state(address, self.service(who).watermark)
    }

    /// A process takes what came from the log: some of it, or all.
    pub fn follow(&mut self, who: Who, life: u32) {
        if self.life(who) != life {
            return;
        }
        if let Who::Edge(edge) = who {
            return self.follow_at_edge(edge);
        }
        if self.service(who).is_cut {
            return;
        }
        let (from, head) = (self.service(who).watermark, self.log.head());
        let to = if self.faults.strikes { self.rng.within(from, head + 1) } else { head };
        self.apply(who, to);
        if to < head {
            let delay = self.delay();
            self.after(delay, Happening::Follow(who, life));
        }
    }

    /// Puts everything up to `to` into a service's fold.
    pub fn apply(&mut self, who: Who, to: u64) {
        let from = self.service(who).watermark;
        self.service_mut(who).watermark = to.max(from);
        if let Who::Propagator(propagator) = who {
            self.take_from_log(propagator, from, to);
        }
    }

    /// Decides on what the own fold says.
    pub fn decide(&mut self, task: Task) {
        let service = self.service(task.who);
        if service.life != task.life {
            return;
        }
        let state = self.known(task.who, &task.address);
        let expects = self.log.last_of(&task.address, service.watermark);
        let at = service.wall(self.now);
        if state.done.contains_key(&task.id) {
            return self.finish(&task, true);
        }
        let command = Command {
            id: task.id,
            address: task.address.clone(),
            actor: Actor::service("model"),
            at,
            event_id: EventId(self.fresh_id()),
            act: task.act.clone(),
        };
        match decide(&state, &command) {
            Ok(Some(event)) => {
                let pause = if self.faults.strikes { self.delay() } else { 0 };
                self.after(pause, Happening::Append { task, event: Box::new(event), expects });
            }
            Ok(None) | Err(_) if self.service(task.who).is_cut => self.again(task),
            Ok(None) | Err(_) if self.log.last_of(&task.address, self.log.head()) > expects => {
                self.catch_up(task.who);
                self.decide(task);
            }
            Ok(None) => self.finish(&task, true),
            Err(rejection) => {
                self.tell(|| format!("{:?}: {:?} is refused: {}", task.who, task.id, rejection.code()));
                self.count("rejections");
                self.finish(&task, true);
            }
        }
    }

    /// The request arrives at the log; its reply may be lost.
    pub fn append(&mut self, task: Task, event: Event, expects: u64) {
        let service = self.service(task.who);
        // What was sent before a crash still arrives.
        let is_alive = service.life == task.life;
        if service.is_cut || self.is_lost() {
            return self.again(task);
        }
        match self.log.append(event, expects, self.now) {
            Some(seq) => {
                self.appended(seq);
                if self.is_lost() {
                    self.again(task);
                } else if is_alive {
                    self.catch_up(task.who);
                    self.finish(&task, true);
                }
            }
            None if is_alive => {
                self.count("conflicts");
                self.catch_up(task.who);
                self.decide(task);
            }
            None => {}
        }
    }

    /// A decision whose outcome is unclear is made again, on what the log then says.
    fn again(&mut self, task: Task) {
        let wait = self.delay() + 200;
        if task.settles.is_some() {
            // The propagator's desk gives the work out again.
            return self.finish(&task, false);
        }
        self.after(wait, Happening::Decide(task));
    }

    fn finish(&mut self, task: &Task, is_done: bool) {
        if let (Who::Propagator(propagator), Some(seq)) = (task.who, task.settles)
            && self.life(task.who) == task.life
        {
            self.settle(propagator, seq, is_done);
        }
    }

    pub fn catch_up(&mut self, who: Who) {
        let head = self.log.head();
        self.apply(who, head);
    }

    /// An event is in the log: everyone is going to hear of it.
    fn appended(&mut self, seq: u64) {
        let event = self.log.at(seq).event.clone();
        self.tell(|| format!("{seq}: {} {:?}", event.address, event.fact));
        for who in self.everyone() {
            let (delay, life) = (self.delay(), self.life(who));
            self.after(delay, Happening::Follow(who, life));
        }
        self.check_appended(seq);
    }

    /// A service's process ends and the next begins, with its fold and nothing else.
    pub fn restart(&mut self, who: Who) {
        self.service_mut(who).life += 1;
        match who {
            Who::Propagator(propagator) => self.begin_desk(propagator),
            Who::Edge(_) | Who::Issuer(_) | Who::Retirer(_) | Who::Tracker => {}
        }
        self.begin_chores(who);
    }
}
