//! What a superseded version still waits for, in words and for programs.

use crate::words::{count, list, roughly, second, when};
use keywheel_domain::due::Waiting;
use keywheel_domain::{At, Key, KeyState, Span, Version};
use keywheel_runtime::plain;
use keywheel_wire::text::moment;
use keywheel_wire::usage::{RefusedSince, Usage};
use serde_json::{Value, json};

/// What `version` waits for until it may retire. `usage` is what the usage-tracker said, if it answered.
pub(crate) fn words(
    version: Version,
    key: &Key,
    waiting: Waiting,
    usage: Option<&Usage>,
    now: At,
) -> Option<String> {
    match waiting {
        Waiting::NotRetiring => None,
        Waiting::OverlapMin { until } => {
            Some(format!("{version} is kept for overlap_min, until {}", when(now, until)))
        }
        Waiting::Successor => Some(format!(
            "{version} waits for its successor to be used: no newer version was seen in use yet{}",
            still_used(version, None, usage, now)
        )),
        Waiting::Quiet { last_use } => {
            let used = still_used(version, last_use, usage, now);
            Some(format!("{version} must be unused for {}{used}", quiet_span(key)))
        }
    }
}

/// Retired keys that somebody still shows.
pub(crate) fn refused_words(usage: &Usage, now: At) -> Vec<String> {
    let words = |one: &RefusedSince| {
        let times = |n: u64| count(usize::try_from(n).unwrap_or(usize::MAX), "time");
        format!(
            "v{} was shown and refused {} since {}, other keys accepted {} meanwhile",
            one.version,
            times(one.refused),
            when(now, one.since.0),
            times(one.accepted)
        )
    };
    usage.refused.iter().map(words).collect()
}

fn quiet_span(key: &Key) -> Span {
    match &key.state {
        KeyState::Retiring(overlap) => overlap.quiet,
        KeyState::Issued | KeyState::Active | KeyState::Retired { .. } | KeyState::Revoked { .. } => Span(0),
    }
}

/// Where the version was last used: by edge where the usage-tracker answered, else by the log alone.
fn still_used(version: Version, in_log: Option<At>, usage: Option<&Usage>, now: At) -> String {
    let of_version = usage.iter().flat_map(|usage| &usage.versions).filter(|at| at.version == version.0);
    let newest = of_version.max_by_key(|at| at.last_use);
    match (newest, in_log) {
        (Some(at), _) => {
            format!("; last used {} ago at {}", roughly(now.since(at.last_use.0)), plain::line(&at.edge))
        }
        (None, Some(last)) => format!("; last used {} ago", roughly(now.since(last))),
        (None, None) => String::new(),
    }
}

/// Which edges block every quiet proof; nothing where none does.
pub(crate) fn silent_words(usage: &Usage) -> Option<String> {
    if usage.silent.is_empty() {
        return None;
    }
    let silent = usage.silent.iter().map(|silent| match silent.through {
        Some(through) => format!("{} (reported up to {})", silent.edge, second(through.0)),
        None => format!("{} (never reported)", silent.edge),
    });
    Some(format!("no current usage reports from {}", list(silent)))
}

/// The same for programs.
pub(crate) fn to_json(waiting: Waiting) -> Value {
    match waiting {
        Waiting::NotRetiring => Value::Null,
        Waiting::OverlapMin { until } => json!({ "for": "overlap_min", "until": moment(until) }),
        Waiting::Successor => json!({ "for": "successor" }),
        Waiting::Quiet { last_use } => json!({ "for": "quiet", "last_use": last_use.map(moment) }),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use keywheel_domain::event::RotationId;
    use keywheel_domain::key::{Origin, Overlap};
    use keywheel_domain::{Digest, KeySpec, Kid};
    use keywheel_wire::text::Moment;
    use keywheel_wire::usage::{RefusedSince, Silent, UsageAt};

    pub const NOW: At = At(1_800_000_000_000);

    pub fn retiring() -> Key {
        let overlap = Overlap {
            since: NOW.before(Span::hours(2)),
            not_before: NOW.before(Span::hours(1)),
            deadline: NOW.after(Span::days(30)),
            retire_at_deadline: false,
            quiet: Span::hours(1),
        };
        Key {
            kid: Kid::parse("0123456789").unwrap(),
            digest: Digest([1; 32]),
            spec: KeySpec::default(),
            origin: Origin::Minted,
            issued_at: NOW.before(Span::days(9)),
            rotation: RotationId(1),
            replaces: None,
            state: KeyState::Retiring(overlap),
            was_activated: true,
            seen: None,
            quiet: None,
        }
    }

    pub fn usage() -> Usage {
        let at = |edge: &str, seconds: u64| UsageAt {
            version: 1,
            edge: edge.to_owned(),
            last_use: Moment(NOW.before(Span::secs(seconds))),
            uses: 7,
        };
        let silent = |edge: &str, through| Silent { edge: edge.to_owned(), through };
        Usage {
            versions: vec![at("edge-a", 300), at("edge-b", 12)],
            silent: vec![silent("edge-c", Some(Moment(NOW.before(Span::hours(1))))), silent("edge-d", None)],
            ..Usage::default()
        }
    }

    fn check(waiting: Waiting, usage: Option<&Usage>, expected: Expect) {
        let text = words(Version(1), &retiring(), waiting, usage, NOW);
        expected.assert_eq(&text.unwrap_or_default());
    }

    #[test]
    fn each_kind_of_waiting_has_its_words() {
        let quiet = Waiting::Quiet { last_use: Some(NOW.before(Span::secs(90))) };
        check(Waiting::NotRetiring, None, expect![""]);
        check(
            Waiting::OverlapMin { until: NOW.after(Span::hours(3)) },
            None,
            expect!["v1 is kept for overlap_min, until 2027-01-15T11:00:00Z (in 3h)"],
        );
        check(
            Waiting::Successor,
            None,
            expect!["v1 waits for its successor to be used: no newer version was seen in use yet"],
        );
        check(quiet, None, expect!["v1 must be unused for 1h; last used 1m 30s ago"]);
        check(quiet, Some(&usage()), expect!["v1 must be unused for 1h; last used 12s ago at edge-b"]);
        expect!["no current usage reports from edge-c (reported up to 2027-01-15T07:00:00Z) and edge-d (never reported)"]
            .assert_eq(&silent_words(&usage()).unwrap_or_default());
        assert_eq!(silent_words(&Usage::default()), None);
    }

    #[test]
    fn refusals_are_told_with_what_was_accepted_meanwhile() {
        let since = Moment(NOW.before(Span::secs(90)));
        let refused = vec![RefusedSince { version: 1, since, refused: 12, accepted: 40 }];
        expect!["v1 was shown and refused 12 times since 2027-01-15T07:58:30Z (1m 30s ago), other keys accepted 40 times meanwhile"]
            .assert_eq(&refused_words(&Usage { refused, ..Usage::default() }, NOW).join("\n"));
    }

    #[test]
    fn programs_are_told_the_same() {
        expect![[r#"{"for":"overlap_min","until":"2027-01-15T08:00:00.000Z"}"#]]
            .assert_eq(&to_json(Waiting::OverlapMin { until: NOW }).to_string());
        expect![[r#"{"for":"quiet","last_use":null}"#]]
            .assert_eq(&to_json(Waiting::Quiet { last_use: None }).to_string());
    }
}
