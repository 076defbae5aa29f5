//! Times, counts and lists in words.

use keywheel_domain::{At, Span};
use keywheel_runtime::plain;
use keywheel_wire::text;

/// A span as a person says it: its two largest units.
pub(crate) fn roughly(span: Span) -> String {
    let seconds = span.0 / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let two = |large: u64, unit: &str, small: u64, smaller: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit} {small}{smaller}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) if span.0 < 1000 => format!("{}ms", span.0),
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => two(minutes, "m", seconds % 60, "s"),
        (0, hours, _) => two(hours, "h", minutes, "m"),
        (days, _, _) => two(days, "d", hours, "h"),
    }
}

/// How long ago `at` was.
pub(crate) fn ago(now: At, at: At) -> String {
    format!("{} ago", roughly(now.since(at)))
}

/// How long until `at`.
pub(crate) fn ahead(now: At, at: At) -> String {
    if at <= now { "now".to_owned() } else { format!("in {}", roughly(at.since(now))) }
}

/// A moment to the second, with how far away it is.
pub(crate) fn when(now: At, at: At) -> String {
    let distance = if at <= now { ago(now, at) } else { ahead(now, at) };
    format!("{} ({distance})", second(at))
}

/// A moment to the second.
pub(crate) fn second(at: At) -> String {
    let text = text::moment(At(at.0 / 1000 * 1000));
    text.replace(".000Z", "Z")
}

/// `1 edge`, `3 edges`.
pub(crate) fn count(n: usize, thing: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {thing}{plural}")
}

/// `a, b and c`, none of which breaks the line.
pub(crate) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let mut items: Vec<String> =
        items.into_iter().map(|item| plain::line(&item.to_string()).into_owned()).collect();
    match (items.pop(), items.is_empty()) {
        (None, _) => String::new(),
        (Some(last), true) => last,
        (Some(last), false) => format!("{} and {last}", items.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        let cases = [
            (Span(250), "250ms"),
            (Span::secs(12), "12s"),
            (Span::secs(60), "1m"),
            (Span::secs(3 * 60 + 5), "3m 5s"),
            (Span::secs(3600 + 61), "1h 1m"),
            (Span::days(2), "2d"),
            (Span(Span::days(2).0 + Span::hours(3).0), "2d 3h"),
        ];
        for (span, expected) in cases {
            assert_eq!(roughly(span), expected);
        }
    }

    #[test]
    fn moments_and_lists_read_like_sentences() {
        let now = At(1_800_000_000_999);
        assert_eq!(when(now, now.before(Span::secs(12))), "2027-01-15T07:59:48Z (12s ago)");
        assert_eq!(when(now, now.after(Span::hours(1))), "2027-01-15T09:00:00Z (in 1h)");
        assert_eq!(list(["a"]), "a");
        assert_eq!(list(["a", "b", "c"]), "a, b and c");
        assert_eq!(list(Vec::<String>::new()), "");
        assert_eq!((count(1, "edge"), count(2, "edge")), ("1 edge".to_owned(), "2 edges".to_owned()));
    }
}
