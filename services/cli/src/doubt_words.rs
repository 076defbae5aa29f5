//! Messages of the log that no reader applies, as lines for people and documents for programs.

use keywheel_table::Message;
use keywheel_wire::belief::Doubt;
use keywheel_wire::event;
use serde_json::{Value, json};

/// Most of them that are named at once; `keywheel log` shows the rest.
const NAMED_MAX: usize = 5;

/// One message of the log on one line.
pub(crate) fn line(seq: u64, doubt: &Doubt) -> String {
    let word = if doubt.freezes() { "FROZEN" } else { "NOT BELIEVED" };
    format!("{seq:>6}  {word}  {doubt}")
}

/// One message of the log as a document that nobody takes for an event: what it claims stands apart.
pub(crate) fn to_json(message: &Message, doubt: &Doubt) -> Value {
    json!({
        "seq": message.seq,
        "subject": message.subject,
        "doubt": doubt.reason(),
        "freezes": doubt.freezes(),
        "signer": message.signed.as_ref().map(|signed| &signed.by),
        "claims": event::to_json(&message.payload).ok().filter(Value::is_object),
    })
}

/// Several, newest first, for `status`.
pub(crate) fn all_to_json(doubts: &[(u64, &Doubt)]) -> Value {
    let one = |(seq, doubt): &(u64, &Doubt)| json!({ "seq": seq, "doubt": doubt.reason(), "freezes": doubt.freezes() });
    doubts.iter().map(one).collect()
}

/// Several, newest first, for people; nothing where there is none.
pub(crate) fn lines(doubts: &[(u64, &Doubt)]) -> Vec<String> {
    let named = doubts.iter().take(NAMED_MAX).map(|(seq, doubt)| {
        let word = if doubt.freezes() { "freezes its keyring" } else { "is not believed" };
        format!("position {seq} {word}: {doubt}")
    });
    let more = doubts.len().saturating_sub(NAMED_MAX);
    let rest = (more > 0).then(|| format!("and {more} more that do not count; `keywheel log` shows them"));
    named.chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_named_and_the_others_counted() {
        let (skip, freeze) = (Doubt::Skip("a: not signed".into()), Doubt::Freeze("b: newer".into()));
        assert_eq!(lines(&[]), Vec::<String>::new());
        let few = lines(&[(9, &freeze), (4, &skip)]);
        assert_eq!(
            few,
            ["position 9 freezes its keyring: b: newer", "position 4 is not believed: a: not signed"]
        );
        let many: Vec<_> = (0..8).map(|seq| (seq, &skip)).collect();
        assert_eq!(lines(&many).len(), 6);
        assert!(lines(&many)[5].starts_with("and 3 more"));
        assert_eq!(line(7, &skip), "     7  NOT BELIEVED  a: not signed");
        assert_eq!(all_to_json(&[(9, &freeze)])[0]["freezes"], true);
    }
}
