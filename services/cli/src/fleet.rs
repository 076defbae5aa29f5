//! The edges as their pulses tell: who is on the roster, how far each one is, who is not heard.

use crate::failure::Failure;
use crate::replay::Followed;
use crate::words;
use futures_util::{Stream, StreamExt};
use keywheel_bus::Bus;
use keywheel_domain::{Address, At, EdgeId, Span};
use keywheel_runtime::clock;
use keywheel_wire::Malformed;
use keywheel_wire::pulse::Pulse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// An edge that was not heard for so long is called silent. Pulses come once a second.
pub(crate) const SILENT_AFTER: Span = Span::secs(3);

/// An edge's newest pulse.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub pulse: Pulse,
    /// When it came, by this machine's boot clock in milliseconds.
    pub at: At,
    /// How far the edge's wall clock was ahead of this machine's then, in milliseconds.
    pub clock_ahead_ms: i64,
}

/// What is known of the fleet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    /// The edges on the roster.
    pub roster: BTreeSet<EdgeId>,
    /// The newest pulse of each edge that was heard.
    pub heard: BTreeMap<EdgeId, Heard>,
    /// Since when pulses are listened to, by the boot clock.
    pub listening_since: At,
}

impl Picture {
    /// Whether nothing was heard of an edge for [`SILENT_AFTER`].
    pub fn is_silent(&self, edge: &EdgeId, now: At) -> bool {
        let last = self.heard.get(edge).map_or(self.listening_since, |heard| heard.at);
        now.since(last) >= SILENT_AFTER
    }

    /// Edges on the roster that have shown a watermark at or past `position`.
    pub fn applied(&self, position: u64) -> usize {
        self.roster.iter().filter(|edge| self.has_applied(edge, position)).count()
    }

    fn has_applied(&self, edge: &EdgeId, position: u64) -> bool {
        self.heard.get(edge).is_some_and(|heard| heard.pulse.watermark >= position)
    }

    /// Which edges have not applied `position` yet, in words.
    pub fn waits_for(&self, position: u64, service: &str, now: At) -> String {
        if self.roster.is_empty() {
            return format!("no edge is on the roster; the {service} passes at once");
        }
        let behind: Vec<String> = self
            .roster
            .iter()
            .filter(|edge| !self.has_applied(edge, position))
            .map(|edge| self.behind(edge, now))
            .collect();
        let (applied, all) = (self.applied(position), words::count(self.roster.len(), "edge"));
        let next = if behind.is_empty() { format!("the {service} is next") } else { behind.join(", ") };
        format!("{applied} of {all} applied position {position}; {next}")
    }

    fn behind(&self, edge: &EdgeId, now: At) -> String {
        match self.heard.get(edge) {
            Some(heard) if self.is_silent(edge, now) => {
                format!("{edge} is silent since {}", words::roughly(now.since(heard.at)))
            }
            Some(heard) => format!("{edge} is at {}", heard.pulse.watermark),
            None if self.is_silent(edge, now) => format!("{edge} is silent"),
            None => format!("{edge} was not heard yet"),
        }
    }
}

type Pulses = Box<dyn Stream<Item = Result<Pulse, Malformed>> + Send + Unpin>;

/// Listens to the edges' pulses.
pub(crate) struct Fleet {
    picture: Picture,
    roster: Followed,
    pulses: Pulses,
}

impl Fleet {
    /// Reads the roster and begins to listen.
    pub async fn listen(bus: &Bus) -> Result<Self, Failure> {
        let pulses: Pulses = Box::new(bus.pulses().await?);
        let listening_since = boot_now();
        let mut fleet = Self {
            picture: Picture { listening_since, ..Picture::default() },
            roster: Followed::new(bus, Address::Installation),
            pulses,
        };
        fleet.read_roster(bus).await?;
        Ok(fleet)
    }

    /// Reads how the roster stands now.
    pub async fn read_roster(&mut self, bus: &Bus) -> Result<(), Failure> {
        self.roster.advance(bus).await?;
        self.picture.roster = self.roster.state().edges.keys().cloned().collect();
        Ok(())
    }

    /// Takes the pulses that come within `span`.
    pub async fn hear(&mut self, span: Duration) {
        let listening = async {
            while let Some(pulse) = self.pulses.next().await {
                if let Ok(pulse) = pulse {
                    take(&mut self.picture, pulse, clock::wall_ms(), boot_now());
                }
            }
        };
        // It ends by itself only when the connection is closed; then time passes all the same.
        if tokio::time::timeout(span, listening).await.is_ok() {
            tokio::time::sleep(span).await;
        }
    }

    /// What is known by now.
    pub fn picture(&self) -> &Picture {
        &self.picture
    }
}

/// This machine's boot clock, by which the age of pulses is told.
pub(crate) fn boot_now() -> At {
    At(clock::boot_ms())
}

fn take(picture: &mut Picture, pulse: Pulse, wall_ms: u64, at: At) {
    let Ok(edge) = EdgeId::parse(&pulse.id) else { return };
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let clock_ahead_ms = signed(pulse.clock.0.0).saturating_sub(signed(wall_ms));
    picture.heard.insert(edge, Heard { pulse, at, clock_ahead_ms });
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use keywheel_wire::text::{Hex32, Id, Moment};

    pub fn edge(name: &str) -> EdgeId {
        EdgeId::parse(name).unwrap()
    }

    pub fn pulse(name: &str, watermark: u64) -> Pulse {
        Pulse {
            id: name.to_owned(),
            boot: Id(1),
            number: 1,
            watermark,
            chain: Hex32([0; 32]),
            digest: Hex32([0; 32]),
            clock: Moment(At(5_000)),
            keys: 3,
            version: "0.1.0".to_owned(),
            lease_ms: 15_000,
            agrees: None,
        }
    }

    /// Listening since 1 s; each edge was heard at the given second at the given watermark.
    pub fn picture(roster: &[&str], heard: &[(&str, u64, u64)]) -> Picture {
        let roster = roster.iter().map(|name| edge(name)).collect();
        let mut picture = Picture { roster, listening_since: At(1000), ..Picture::default() };
        for (name, watermark, second) in heard {
            take(&mut picture, pulse(name, *watermark), 4_000, At(second * 1000));
        }
        picture
    }

    fn check(picture: &Picture, at_second: u64, expected: Expect) {
        expected.assert_eq(&picture.waits_for(41, "propagator", At(at_second * 1000)));
    }

    #[test]
    fn the_line_names_each_edge_that_is_missing() {
        check(&picture(&[], &[]), 2, expect!["no edge is on the roster; the propagator passes at once"]);
        let three = ["edge-a", "edge-b", "edge-c"];
        check(
            &picture(&three, &[("edge-a", 41, 2), ("edge-b", 39, 2)]),
            2,
            expect!["1 of 3 edges applied position 41; edge-b is at 39, edge-c was not heard yet"],
        );
        check(
            &picture(&three, &[("edge-a", 44, 9), ("edge-b", 39, 4)]),
            9,
            expect!["1 of 3 edges applied position 41; edge-b is silent since 5s, edge-c is silent"],
        );
        check(
            &picture(&["edge-a"], &[("edge-a", 41, 2), ("stranger", 1, 2)]),
            2,
            expect!["1 of 1 edge applied position 41; the propagator is next"],
        );
    }

    #[test]
    fn a_clock_is_compared_when_the_pulse_comes() {
        let picture = picture(&["edge-a"], &[("edge-a", 1, 2)]);
        assert_eq!(picture.heard[&edge("edge-a")].clock_ahead_ms, 1000);
    }
}
