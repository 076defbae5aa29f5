//! Everything that can go wrong, at random: links, crashes, pauses, old disks, a bus that forgets. And
//! how it is all made well again.

use crate::world::{Happening, Who, World};

const STRIKE_EVERY: u64 = 2500;

impl World {
    /// One fault somewhere, which mostly passes by itself.
    pub fn strike(&mut self) {
        if !self.faults.strikes {
            return;
        }
        match self.rng.within(0, 100) {
            0..3 => {
                self.tell(|| "the bus forgets its pulses".to_owned());
                self.bus.forget_pulses(self.now);
            }
            3..6 if !self.bus.usage.is_empty() => {
                let lost = self.rng.index(self.bus.usage.len());
                let lost = self.bus.usage.remove(lost);
                self.tell(|| format!("a report of {} is lost: {}", lost.edge, lost.report.number));
            }
            6..60 if !self.edges.is_empty() => {
                let edge = self.rng.index(self.edges.len());
                self.strike_edge(edge);
            }
            _ => {
                let services = self.services();
                let who = services[self.rng.index(services.len())];
                self.strike_service(who);
            }
        }
        let wait = self.rng.within(1, 2 * STRIKE_EVERY);
        self.after(wait, Happening::Strike);
    }

    fn strike_edge(&mut self, n: usize) {
        let length = self.length();
        let kind = self.rng.within(0, 15);
        let (now, id) = (self.now, self.edges[n].id.clone());
        let names = [
            "is mute",
            "is deaf",
            "is cut off",
            "stalls",
            "crashes",
            "restarts",
            "restarts on an old disk",
            "is backed up",
            "is backed up",
            "ends",
            "pauses",
            "reboots",
            "reports late",
            "pulses late",
            "answers late",
        ];
        self.tell(|| format!("{id} {} ({length} ms)", names[kind as usize]));
        let edge = &mut self.edges[n];
        match kind {
            0 => edge.gets_out = false,
            1 => edge.gets_in = false,
            2 => (edge.gets_out, edge.gets_in) = (false, false),
            3 => edge.is_stalled = true,
            4 => self.crash_edge(n),
            5 => self.restart_edge(n),
            6 => self.restart_edge_on_copy(n),
            7 | 8 => self.copy_disk(n),
            9 => self.end_edge(n),
            10 => edge.paused_until = now + length,
            11 => {
                edge.reboot(now);
                self.restart_edge(n);
            }
            12 => edge.report_lag = length / 2,
            13 => edge.pulse_lag = length / 8,
            _ => edge.visible_lag = length / 2,
        }
        self.after(length, Happening::Heal(Who::Edge(n)));
    }

    fn strike_service(&mut self, who: Who) {
        let length = self.length();
        let kind = self.rng.within(0, 5);
        let now = self.now;
        let names = ["is cut off", "pauses", "restarts", "hears nothing", "cannot read pulses"];
        self.tell(|| format!("{who:?} {} ({length} ms)", names[kind as usize]));
        match (kind, who) {
            (0, _) => self.service_mut(who).is_cut = true,
            (1, _) => self.service_mut(who).paused_until = now + length,
            (2, Who::Tracker) => self.restart_tracker(),
            (3, Who::Propagator(n)) => self.propagators[n].hears = false,
            (4, Who::Propagator(n)) => self.propagators[n].reads = false,
            (_, _) => self.restart(who),
        }
        self.after(length, Happening::Heal(who));
    }

    fn length(&mut self) -> u64 {
        match self.rng.within(0, 10) {
            0..5 => self.rng.within(100, 4000),
            5..9 => self.rng.within(4000, 25_000),
            _ => self.rng.within(25_000, 90_000),
        }
    }

    pub fn heal(&mut self, who: Who) {
        match who {
            Who::Edge(n) => {
                let edge = &mut self.edges[n];
                (edge.gets_out, edge.gets_in, edge.is_stalled) = (true, true, false);
                (edge.report_lag, edge.pulse_lag, edge.visible_lag) = (0, 0, 0);
                if edge.process.is_none() {
                    self.start_edge(n);
                }
            }
            Who::Propagator(n) => {
                self.propagators[n].service.is_cut = false;
                (self.propagators[n].hears, self.propagators[n].reads) = (true, true);
            }
            Who::Issuer(_) | Who::Retirer(_) | Who::Tracker => self.service_mut(who).is_cut = false,
        }
        let life = self.life(who);
        self.after(1, Happening::Follow(who, life));
    }

    /// No more faults, and everything heals.
    pub fn calm_down(&mut self) {
        self.faults = crate::world::Faults::default();
        for who in self.everyone() {
            self.heal(who);
        }
        for n in 0..self.edges.len() {
            self.edges[n].paused_until = 0;
            if self.edges[n].process.as_ref().is_some_and(|process| process.is_ending) {
                self.restart_edge(n);
            }
        }
    }
}
