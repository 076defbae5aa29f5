//! What the propagator found of the fleet and has not taken back: an edge whose table differs from the others', a
//! clock that is off.

use crate::failure::Failure;
use crate::words::{list, when};
use keywheel_bus::Bus;
use keywheel_domain::{Address, At};
use keywheel_wire::notice::{Alarm, Notice};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Each alarm that stands until it is taken back, and what takes it back.
const PAIRS: [(&str, &str); 2] =
    [("table_differs", "table_agrees_again"), ("clock_off", "clock_right_again")];

/// The alarms that stand, the newest of each kind about each edge.
pub(crate) async fn standing(bus: &Bus) -> Result<Vec<Alarm>, Failure> {
    let notices = bus.notices(&Address::Installation, "alarm").await?;
    let alarms = notices.into_iter().filter_map(|(notice, _)| match notice {
        Notice::Alarm(alarm) => Some(alarm),
        Notice::Receipt(_) | Notice::Head(_) => None,
    });
    Ok(fold(alarms))
}

/// From the oldest to the newest.
fn fold(alarms: impl Iterator<Item = Alarm>) -> Vec<Alarm> {
    let mut standing = BTreeMap::new();
    for alarm in alarms {
        for (begins, ends) in PAIRS {
            let about = about(&alarm.detail).to_owned();
            if alarm.code == begins {
                standing.insert((begins, about), alarm.clone());
            } else if alarm.code == ends {
                standing.remove(&(begins, about));
            }
        }
    }
    standing.into_values().collect()
}

/// Whom a detail is about: it begins with that.
fn about(detail: &str) -> &str {
    let rest = detail.strip_prefix("edge ").unwrap_or(detail);
    rest.split([' ', '\'']).next().unwrap_or_default()
}

/// For people; nothing where none stands.
pub(crate) fn lines(alarms: &[Alarm], now: At) -> Vec<String> {
    let line = |alarm: &Alarm| {
        format!("ALARM {}: {}, since {}", list([&alarm.code]), list([&alarm.detail]), when(now, alarm.at.0))
    };
    alarms.iter().map(line).collect()
}

/// For programs.
pub(crate) fn to_json(alarms: &[Alarm]) -> Value {
    let one = |alarm: &Alarm| json!({ "code": alarm.code, "edge": about(&alarm.detail), "detail": alarm.detail, "since": alarm.at });
    alarms.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use keywheel_wire::text::Moment;

    fn alarm(code: &str, detail: &str, second: u64) -> Alarm {
        Alarm { code: code.to_owned(), detail: detail.to_owned(), at: Moment(At(second * 1000)), seq: None }
    }

    #[test]
    fn an_alarm_stands_until_it_is_taken_back_for_that_edge() {
        let said = [
            alarm("table_differs", "edge e1 has another table at position 7 than 2 others there", 1),
            alarm("table_differs", "edge e2 has another table at position 8 than 2 others there", 2),
            alarm("clock_off", "edge e1's clock is 3s ahead of the bus's: set it", 3),
            alarm("table_agrees_again", "edge e1 has the same table again as the others, at position 9", 4),
            alarm("something_else", "edge e3 is fine", 5),
            alarm("clock_off", "edge e2's clock is 9s behind the bus's: set it", 6),
            alarm("clock_right_again", "edge e2's clock is right again", 7),
        ];
        let standing = fold(said.into_iter());
        expect![[r#"
            ALARM clock_off: edge e1's clock is 3s ahead of the bus's: set it, since 1970-01-01T00:00:03Z (7s ago)
            ALARM table_differs: edge e2 has another table at position 8 than 2 others there, since 1970-01-01T00:00:02Z (8s ago)"#]]
        .assert_eq(&lines(&standing, At(10_000)).join("\n"));
        let told = to_json(&standing);
        assert_eq!((&told[0]["edge"], &told[1]["edge"]), (&json!("e1"), &json!("e2")));
        assert_eq!(lines(&[], At(0)), Vec::<String>::new());
    }
}
