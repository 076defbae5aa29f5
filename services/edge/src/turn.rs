//! When an edge whose table is another than a signed head's reads the log anew. The head may be the wrong one, and then
//! it is so for the whole fleet: each edge waits for a turn of its own, and asks the log once.

use keywheel_domain::{EdgeId, Span};
use keywheel_token::id;
use std::time::Duration;
use tokio::time::Instant;

/// One edge's turn.
pub struct Turn {
    after: Duration,
    differs_since: Option<Instant>,
    is_taken: bool,
}

impl Turn {
    /// Of the edge among those that take their turns `within` a time: the same at each start.
    pub fn of(edge: &EdgeId, within: Span) -> Self {
        let drawn = u64::try_from(id::derived(&["turn", edge.as_str()]) >> 64).unwrap_or_default();
        let after = u128::from(within.0) * u128::from(drawn) / u128::from(u64::MAX);
        let after = Duration::from_millis(u64::try_from(after).unwrap_or(u64::MAX));
        Self { after, differs_since: None, is_taken: false }
    }

    /// Whether it has come, once for as long as the tables differ. What the log says then is right, and where they differ
    /// still it is not this one that is wrong.
    pub fn has_come(&mut self, differs: bool, now: Instant) -> bool {
        if !differs {
            (self.differs_since, self.is_taken) = (None, false);
            return false;
        }
        let since = *self.differs_since.get_or_insert(now);
        if self.is_taken || now.duration_since(since) < self.after {
            return false;
        }
        self.is_taken = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Span = Span::secs(600);

    fn turn(n: u32) -> Turn {
        Turn::of(&EdgeId::parse(&format!("edge-{n}")).unwrap(), WITHIN)
    }

    #[test]
    fn a_fleet_does_not_read_the_log_all_at_once() {
        let mut minutes = [0; 10];
        for n in 0..1000 {
            minutes[usize::try_from(turn(n).after.as_secs() / 60).unwrap()] += 1;
        }
        assert!(minutes.iter().all(|edges| (60..140).contains(edges)), "{minutes:?}");
        assert_eq!(Turn::of(&EdgeId::parse("e1").unwrap(), Span(0)).after, Duration::ZERO);
    }

    #[test]
    fn a_turn_comes_once_until_the_tables_agree_again() {
        let (began, mut turn) = (Instant::now(), turn(7));
        let after = turn.after;
        assert!(!turn.has_come(true, began) && !turn.has_come(true, began + after / 2));
        assert!(turn.has_come(true, began + after) && !turn.has_come(true, began + after * 9));
        assert!(!turn.has_come(false, began + after * 9));
        assert!(!turn.has_come(true, began + after * 10), "it waits again");
        assert!(turn.has_come(true, began + after * 11));
    }
}
