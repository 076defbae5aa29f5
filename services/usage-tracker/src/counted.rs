//! Which reports of a boot were counted, so that each is counted once however often and in whatever
//! order it comes.

use std::fmt;

/// Most separate ranges that are kept for one boot.
const RANGES_MAX: usize = 256;

/// A set of report numbers, as ranges. Written as `0-17,20-31`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted(Vec<(u64, u64)>);

impl Counted {
    /// Reads what [`fmt::Display`] wrote; `None` when it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        text.split(',').filter(|part| !part.is_empty()).map(range).collect::<Option<_>>().map(Self)
    }

    /// Adds a number; false when it was there.
    pub fn insert(&mut self, number: u64) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < number);
        if self.0.get(at).is_some_and(|(first, _)| *first <= number) {
            return false;
        }
        self.0.insert(at, (number, number));
        self.join(at);
        if let Some(before) = at.checked_sub(1) {
            self.join(before);
        }
        self.limit();
        true
    }

    /// Joins the range at `at` with the next where they touch.
    fn join(&mut self, at: usize) {
        if let (Some((first, last)), Some((next, end))) =
            (self.0.get(at).copied(), self.0.get(at + 1).copied())
            && last.checked_add(1) == Some(next)
        {
            self.0.remove(at + 1);
            self.0[at] = (first, end);
        }
    }

    /// Beyond the limit the oldest gap is given up: should its reports still come, they are not counted.
    /// Coverage began anew after every gap, so no proof rests on them.
    fn limit(&mut self) {
        if self.0.len() > RANGES_MAX {
            let (_, end) = self.0.remove(1);
            self.0[0].1 = end;
        }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Vec<String> = self.0.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        f.write_str(&text.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_in_order_are_one_range() {
        let mut counted = Counted::default();
        assert!((0..1000).all(|number| counted.insert(number)));
        assert_eq!(counted.to_string(), "0-999");
        assert!(!(0..1000).any(|number| counted.insert(number)));
    }

    #[test]
    fn gaps_are_kept_and_closed() {
        let mut counted = Counted::default();
        for number in [5, 0, 7, u64::MAX] {
            assert!(counted.insert(number));
        }
        assert_eq!(counted.to_string(), format!("0-0,5-5,7-7,{0}-{0}", u64::MAX));
        assert_eq!(Counted::parse(&counted.to_string()), Some(counted.clone()));
        assert!(counted.insert(6));
        assert_eq!(counted.to_string(), format!("0-0,5-7,{0}-{0}", u64::MAX));
        assert!(!counted.insert(u64::MAX));
    }

    #[test]
    fn text_of_other_kinds_is_refused() {
        assert_eq!(Counted::parse(""), Some(Counted::default()));
        for text in ["1", "1-", "a-b", "1-2;3-4"] {
            assert_eq!(Counted::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_number_of_ranges_is_bounded() {
        let mut counted = Counted::default();
        for number in (0..2000).step_by(2) {
            counted.insert(number);
        }
        assert_eq!(counted.0.len(), RANGES_MAX);
        assert!(!counted.insert(1), "the oldest gap was given up");
        assert!(counted.insert(1997));
    }

    proptest::proptest! {
        #[test]
        fn it_is_a_set(numbers in proptest::collection::vec(0u64..60, 0..200)) {
            let (mut counted, mut reference) = (Counted::default(), BTreeSet::new());
            for number in numbers {
                proptest::prop_assert_eq!(counted.insert(number), reference.insert(number));
                counted = Counted::parse(&counted.to_string()).unwrap();
            }
        }
    }
}
