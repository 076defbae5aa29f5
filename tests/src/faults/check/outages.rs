//! Which fault can have been felt by which edge, and for how long.

use crate::faults::ledger::{Entry, Micros};
use std::collections::BTreeMap;

/// A fault that was done.
struct Outage<'a> {
    from: Micros,
    /// Absent: to the end.
    to: Option<Micros>,
    kind: &'a str,
    target: &'a str,
}

/// All faults.
pub struct Outages<'a>(Vec<Outage<'a>>);

impl<'a> Outages<'a> {
    /// Reads the entries.
    pub fn read(entries: &'a [Entry]) -> Outages<'a> {
        let (mut begun, mut healed) = (Vec::new(), BTreeMap::new());
        for entry in entries {
            if let Entry::Fault { at, number, kind, target } = entry {
                begun.push((*number, Outage { from: *at, to: None, kind, target }));
            } else if let Entry::Healed { at, number } = entry {
                healed.insert(*number, *at);
            }
        }
        let ended = |(number, outage)| Outage { to: healed.get(&number).copied(), ..outage };
        Outages(begun.into_iter().map(ended).collect())
    }

    /// Whether a fault of this edge or of the bus was in force somewhere in `from..=to`, or less than `recovery` ago.
    /// A fault of a service is none of an edge's: it verifies by itself.
    pub fn touch(&self, edge: &str, from: Micros, to: Micros, recovery: Micros) -> bool {
        self.near(from, to, recovery).any(|outage| concerns(outage.target, edge))
    }

    /// Whether this edge's clock may be another than the machine's.
    pub fn clock(&self, edge: &str, from: Micros, to: Micros, recovery: Micros) -> bool {
        let mut near = self.near(from, to, recovery);
        near.any(|outage| outage.kind == "clock" && concerns(outage.target, edge))
    }

    fn near(&self, from: Micros, to: Micros, recovery: Micros) -> impl Iterator<Item = &Outage<'a>> {
        let ends =
            move |outage: &Outage<'_>| outage.to.map_or(Micros::MAX, |end| end.saturating_add(recovery));
        self.0.iter().filter(move |outage| outage.from <= to && from <= ends(outage))
    }
}

/// Whether a fault of `target` can be felt by this edge: it is done to the edge, its link, or the bus.
fn concerns(target: &str, edge: &str) -> bool {
    let is_part = |byte: char| byte.is_ascii_alphanumeric() || byte == '-' || byte == '_';
    target.split(|byte| !is_part(byte)).any(|word| {
        let named = word.strip_suffix(edge).is_some_and(|before| before.is_empty() || before.ends_with('-'));
        named || word.starts_with("nats")
    })
}
