//! What an inspection finds, row by row. Random damages by the hundred are in tests/tests/damage.

use crate::scene::{Log, chain, codes, inspect, inspect_as, signed, signers, witness};
use expect_test::expect;
use keywheel_audit::examine::examine;
use keywheel_audit::inspect::{Inspector, Scope};
use keywheel_domain::At;
use keywheel_table::Message;
use keywheel_wire::subject::Service;

fn log() -> Vec<Message> {
    Log::plain().messages
}

/// As a store that was written anew numbers them.
fn renumbered(messages: Vec<Message>) -> Vec<Message> {
    (1..).zip(messages).map(|(seq, message)| Message { seq, ..message }).collect()
}

fn without(at: usize) -> Vec<Message> {
    let mut messages = log();
    messages.remove(at);
    messages
}

#[test]
fn what_services_wrote_is_sound() {
    let messages = log();
    let inspection = inspect_as(Scope::WHOLE, &messages, &[witness("edge e1", &messages[..9])]);
    assert!(inspection.findings.is_empty(), "{:?}", inspection.findings);
    assert_eq!((inspection.messages, inspection.believed, inspection.addresses), (17, 17, 4));
    assert_eq!((inspection.first, inspection.last), (Some(1), 17));
    assert_eq!(inspection.chain, Some(chain(&messages)));
    assert_eq!(inspection.agreed.into_iter().collect::<Vec<_>>(), [("edge e1".to_owned(), 9)]);
    assert!(inspect(&[]).findings.is_empty());
}

#[test]
fn a_missing_message_shows_by_its_number_and_in_its_keyring() {
    assert_eq!(codes(&inspect(&without(3))), [(5, "gap"), (5, "discontinuous")]);
    assert_eq!(codes(&inspect(&renumbered(without(3)))), [(4, "discontinuous")]);
    assert_eq!(codes(&inspect(&log()[1..])), [(2, "gap")], "recreated with a first sequence");
}

#[test]
fn an_altered_message_is_not_believed() {
    let mut messages = log();
    *messages[3].payload.last_mut().unwrap() ^= 1;
    let found = inspect(&messages);
    assert_eq!(codes(&found), [(4, "not_believed"), (5, "discontinuous")]);
    assert_eq!(found.findings.first_seq(), Some(4));
    expect!["position 4, kw.evt.acme.a: not believed: its signature is not that of the issuer that it names"]
        .assert_eq(&found.findings.listed()[0].to_string());
    assert_eq!(found.believed, 15);
}

#[test]
fn a_message_moved_elsewhere_or_put_in_twice_does_not_continue_anything() {
    let mut messages = log();
    messages.swap(4, 9);
    let found = codes(&inspect(&renumbered(messages)));
    assert_eq!(found[0], (5, "discontinuous"), "{found:?}");
    let mut messages = log();
    messages.push(messages[3].clone());
    assert_eq!(codes(&inspect(&renumbered(messages))), [(18, "discontinuous")]);
    let mut messages = log();
    messages.insert(4, messages[3].clone());
    assert_eq!(codes(&inspect(&messages)), [(4, "backwards")]);
}

#[test]
fn an_event_of_another_history_with_the_right_number_does_not_fit() {
    let (mut ours, mut other) = (Log::plain(), Log::plain());
    ours.add_edge();
    ours.add_edge();
    let edge = keywheel_domain::EdgeId::parse("other").unwrap();
    other.ask(&keywheel_domain::Address::Installation, keywheel_domain::Act::AddEdge { edge });
    let mut spliced = ours.messages.clone();
    spliced[17] = Message { seq: 18, ..other.messages[17].clone() };
    assert_eq!(codes(&inspect(&ours.messages)), []);
    let found = inspect(&spliced);
    assert_eq!(codes(&found).last(), Some(&(19, "discontinuous")));
    assert!(found.findings.listed().last().unwrap().to_string().contains("revision 3 follows another event"));
}

#[test]
fn a_stranger_and_the_wrong_service_are_not_believed() {
    let mut messages = log();
    let mut forged = messages[16].clone();
    forged.signed = None;
    messages.push(Message { seq: 18, ..forged });
    let payload = messages[1].payload.clone();
    messages.push(signed(Service::UsageTracker, 19, "kw.evt.acme.a", payload));
    assert_eq!(codes(&inspect(&messages)), [(18, "not_believed"), (19, "not_believed")]);
}

#[test]
fn what_cannot_be_understood_is_found_once_and_gone_on_from() {
    let mut messages = log();
    messages.push(signed(Service::Retirer, 18, "kw.evt.acme.a", b"?".to_vec()));
    assert_eq!(codes(&inspect(&messages)), [(18, "not_understood")]);
}

#[test]
fn a_shorter_log_and_another_past_contradict_whoever_saw_more() {
    let messages = log();
    let whole = witness("edge e1", &messages);
    let cut = inspect_as(Scope::WHOLE, &messages[..15], std::slice::from_ref(&whole));
    assert_eq!(codes(&cut), [(16, "cut_off")]);
    expect!["position 16: the log ends before it, but edge e1 saw it up to 17"]
        .assert_eq(&cut.findings.listed()[0].to_string());

    // Two logs that are both sound, and part at the last message.
    let mut other = Log::plain();
    other.messages.pop();
    let act = keywheel_domain::Act::AddEdge { edge: keywheel_domain::EdgeId::parse("e2").unwrap() };
    other.ask(&keywheel_domain::Address::Installation, act);
    assert_eq!(codes(&inspect(&other.messages)), []);
    assert_eq!(codes(&inspect_as(Scope::WHOLE, &other.messages, &[whole])), [(17, "contradicted")]);
}

#[test]
fn a_witness_that_speaks_late_is_compared_all_the_same() {
    let (messages, signers) = (log(), signers());
    let mut inspector = Inspector::new(Scope::WHOLE);
    for message in &messages {
        inspector.take(message, &examine(&signers, message));
    }
    inspector.expect(witness("edge e1", &messages[..3]));
    inspector.expect(keywheel_audit::inspect::Witness { seq: 3, ..witness("edge e2", &messages) });
    let found = inspector.finish();
    assert_eq!(codes(&found), [(3, "contradicted")]);
    assert_eq!(found.agreed.keys().collect::<Vec<_>>(), ["edge e1"]);
}

#[test]
fn a_log_that_was_created_anew_is_another_one() {
    let mut inspector = Inspector::new(Scope::WHOLE);
    inspector.expect_created(At(5), At(5));
    inspector.expect_created(At(5), At(6));
    assert_eq!(codes(&inspector.finish()), [(1, "another_log")]);
}

#[test]
fn a_part_of_the_log_is_held_to_what_it_can_show() {
    let messages = log();
    let tenant = |name: &str| -> Vec<Message> {
        messages.iter().filter(|message| message.subject.starts_with(name)).cloned().collect()
    };
    let (one, later) = (
        Scope { contiguous: false, from_beginning: true },
        Scope { contiguous: true, from_beginning: false },
    );
    let acme = tenant("kw.evt.acme.");
    let found = inspect_as(one, &acme, &[]);
    assert_eq!((codes(&found), found.chain), (vec![], None));
    let lacks = [&acme[..2], &acme[3..]].concat();
    assert_eq!(codes(&inspect_as(one, &lacks, &[])), [(5, "discontinuous")]);
    assert_eq!(codes(&inspect_as(one, &acme[1..], &[]))[0], (3, "discontinuous"));

    assert_eq!(codes(&inspect_as(later, &messages[5..], &[])), []);
    let gap = [&messages[5..8], &messages[9..]].concat();
    assert_eq!(codes(&inspect_as(later, &gap, &[])), [(10, "gap"), (10, "discontinuous")]);
}
