//! What is written is read as the same.

use crate::anything::{event, key_state, link, moment, patch, span};
use crate::samples::OURS;
use keywheel_domain::policy::{Policy, PolicyPatch};
use keywheel_domain::{At, KeyState, Span};
use keywheel_wire::body::WireKeyState;
use keywheel_wire::event::{self, Read};
use keywheel_wire::policy::{WirePatch, whole};
use keywheel_wire::text::{self, LAST_MOMENT};
use keywheel_wire::{outcome, subject};
use proptest::prelude::{any, prop_assert_eq, proptest};

proptest! {
    #[test]
    fn an_event_is_read_as_it_was_written(event in event(), link in link()) {
        let payload = event::write(&event, link, OURS).unwrap();
        let read = event::read(&subject::event(&event.address), &payload);
        prop_assert_eq!(read, Ok(Read { event, link }));
    }

    #[test]
    fn an_event_has_one_encoding(event in event(), link in link()) {
        prop_assert_eq!(event::write(&event, link, OURS), event::write(&event.clone(), link, OURS));
    }

    #[test]
    fn an_event_is_readable_for_people(event in event(), link in link()) {
        let json = event::to_json(&event::write(&event, link, OURS).unwrap()).unwrap();
        prop_assert_eq!(json["revision"].as_u64(), Some(link.revision));
        prop_assert_eq!(json["actor"].as_str(), Some(event.actor.as_str()));
    }

    #[test]
    fn a_state_is_read_as_it_was_written(state in key_state()) {
        let bytes = rmp_serde::to_vec_named(&WireKeyState::from(&state)).unwrap();
        let read: WireKeyState = rmp_serde::from_slice(&bytes).unwrap();
        prop_assert_eq!(KeyState::try_from(read), Ok(state));
    }

    #[test]
    fn a_policy_is_read_as_it_was_written(patch in patch()) {
        let bytes = rmp_serde::to_vec_named(&WirePatch::from(&patch)).unwrap();
        let read: WirePatch = rmp_serde::from_slice(&bytes).unwrap();
        prop_assert_eq!(PolicyPatch::from(read), patch.clone());

        let policy = Policy::default().overlaid(&patch);
        let json = serde_json::to_string(&whole(&policy)).unwrap();
        let read: WirePatch = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(Policy::default().overlaid(&PolicyPatch::from(read)), policy);
    }

    #[test]
    fn texts_are_read_as_they_were_written(at in moment(), span in span(), id in any::<u128>(), hash in any::<[u8; 32]>()) {
        prop_assert_eq!(text::parse_moment(&text::moment(at)), Ok(at));
        prop_assert_eq!(Span::parse(&span.to_string()), Ok(span));
        prop_assert_eq!(text::parse_id("id", &text::id(id)), Ok(id));
        prop_assert_eq!(text::parse_hex32(&text::hex(&hash)), Ok(hash));
    }

    #[test]
    fn every_instant_can_be_written(at in any::<u64>()) {
        prop_assert_eq!(text::parse_moment(&text::moment(At(at))), Ok(At(at).min(LAST_MOMENT)));
    }

    #[test]
    fn an_intent_is_no_outcome(command in any::<u128>(), intent in any::<u64>()) {
        let written = outcome::Intent { command_id: text::Id(command), intent };
        let read = outcome::read(&serde_json::to_vec(&written).unwrap());
        prop_assert_eq!(read, Ok(outcome::Result::Intent(written)));
    }
}

#[test]
fn the_end_of_time_can_be_written() {
    assert_eq!(text::moment(At(u64::MAX)), "9999-12-31T23:59:59.999Z");
    assert_eq!(text::parse_moment("9999-12-31T23:59:59.999Z"), Ok(LAST_MOMENT));
}

#[test]
fn an_event_has_a_largest_size() {
    let mut sample = crate::samples::events().swap_remove(0).1;
    if let keywheel_domain::Fact::KeyIssued(issued) = &mut sample.fact {
        issued.spec.scopes = vec!["s".repeat(event::EVENT_BYTES_MAX)];
    }
    let error = event::write(&sample, event::Link::default(), OURS).unwrap_err();
    assert_eq!(error.to_string(), "body: an event has at most 262144 bytes");
    let error = event::read("kw.evt.acme.billing", &vec![0; event::EVENT_BYTES_MAX + 1]).unwrap_err();
    assert_eq!(error.field, "body");
}
