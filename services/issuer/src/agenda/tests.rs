//! When to look at which keyring: in order, once, again after a change, later after a failure.

use super::*;
use keywheel_domain::event::RotationId;
use keywheel_domain::key::Origin;
use keywheel_domain::{Digest, Key, KeySpec, KeyState, Kid};

fn keyring(n: u32) -> KeyringId {
    KeyringId::parse(&format!("acme/client-{n}")).unwrap()
}

fn tenant() -> Address {
    Address::Tenant(Tenant::parse("acme").unwrap())
}

fn at(seconds: u64) -> At {
    At(0).after(Span::secs(seconds))
}

fn every(seconds: u64) -> PolicyPatch {
    PolicyPatch { every: Some(Some(Span::secs(seconds))), ..PolicyPatch::NONE }
}

/// A keyring whose newest version `n` was issued at `seconds`.
fn issued(n: u32, seconds: u64, policy: PolicyPatch) -> State {
    let key = Key {
        kid: Kid::parse("0123456789").unwrap(),
        digest: Digest([0; 32]),
        spec: KeySpec::default(),
        origin: Origin::Minted,
        issued_at: at(seconds),
        rotation: RotationId(1),
        replaces: None,
        state: KeyState::Active,
        was_activated: true,
        seen: None,
        quiet: None,
    };
    State { keys: [(Version(n), key)].into(), policy, ..State::default() }
}

impl Agenda {
    fn has(&mut self, n: u32, state: &State) {
        self.take_in(&Address::Keyring(keyring(n)), state);
    }

    fn tenant_sets(&mut self, policy: PolicyPatch) {
        self.take_in(&tenant(), &State { policy, ..State::default() });
    }
}

#[test]
fn keyrings_come_up_when_they_are_due_the_longest_first_and_each_once() {
    let mut agenda = Agenda::default();
    agenda.has(1, &issued(1, 5, every(10)));
    agenda.has(2, &issued(1, 0, every(10)));
    agenda.has(3, &issued(1, 0, PolicyPatch::NONE));
    assert_eq!(agenda.next(), Some(at(10)));
    assert_eq!(agenda.take(At(9_999)), None);
    assert_eq!(agenda.take(at(20)), Some(keyring(2)));
    assert_eq!(agenda.take(at(20)), Some(keyring(1)));
    assert_eq!(agenda.take(at(1_000_000)), None, "in hand, and the third has no schedule");
}

#[test]
fn a_rotation_moves_the_due_time() {
    let mut agenda = Agenda::default();
    agenda.has(1, &issued(1, 0, every(10)));
    agenda.has(1, &issued(2, 7, every(10)));
    assert_eq!((agenda.take(at(16)), agenda.next()), (None, Some(at(17))));
    // Also one that was begun in hand.
    assert_eq!(agenda.take(at(17)), Some(keyring(1)));
    agenda.has(1, &issued(3, 17, every(10)));
    assert_eq!(agenda.next(), None, "it is in one hand at a time");
    agenda.looked(&keyring(1), Looked::Settled, at(17));
    assert_eq!(agenda.next(), Some(at(27)));
}

#[test]
fn a_tenants_policy_concerns_every_keyring_that_sets_none() {
    let mut agenda = Agenda::default();
    agenda.has(1, &issued(1, 0, PolicyPatch::NONE));
    agenda.has(2, &issued(1, 0, every(30)));
    agenda.has(3, &issued(1, 0, every(0)));
    agenda.take_in(
        &Address::Keyring(KeyringId::parse("other/client-1").unwrap()),
        &issued(1, 0, PolicyPatch::NONE),
    );
    assert_eq!(agenda.next(), Some(at(30)));
    agenda.tenant_sets(every(10));
    let queue = |agenda: &Agenda| agenda.queue.iter().cloned().collect::<Vec<_>>();
    assert_eq!(queue(&agenda), [(at(10), keyring(1)), (at(30), keyring(2))]);
    agenda.tenant_sets(PolicyPatch::NONE);
    assert_eq!(queue(&agenda), [(at(30), keyring(2))]);
    // In the order in which a fold may have them, too.
    agenda.tenant_sets(every(10));
    agenda.has(4, &issued(1, 1, PolicyPatch::NONE));
    assert_eq!(queue(&agenda), [(at(10), keyring(1)), (at(11), keyring(4)), (at(30), keyring(2))]);
}

#[test]
fn what_is_held_is_looked_at_again_when_something_changes_and_not_before() {
    let mut agenda = Agenda::default();
    agenda.has(1, &issued(1, 0, every(10)));
    assert_eq!(agenda.take(at(10)), Some(keyring(1)));
    agenda.looked(&keyring(1), Looked::Settled, at(10));
    assert_eq!(agenda.take(at(1_000_000)), None);
    agenda.tenant_sets(PolicyPatch { recipient: Some(Some("X".to_owned())), ..PolicyPatch::NONE });
    assert_eq!(agenda.take(at(11)), Some(keyring(1)));
    // A change while it is in hand came too late for what was found.
    agenda.has(1, &issued(1, 0, every(10)));
    agenda.looked(&keyring(1), Looked::Settled, at(11));
    assert_eq!(agenda.take(at(11)), Some(keyring(1)));
    agenda.looked(&keyring(1), Looked::Settled, at(11));
    assert_eq!(agenda.take(at(1_000_000)), None);
}

#[test]
fn a_clock_that_was_set_back_costs_no_rotation() {
    let mut agenda = Agenda::default();
    agenda.has(1, &issued(1, 0, every(10)));
    assert_eq!(agenda.take(at(10)), Some(keyring(1)));
    agenda.looked(&keyring(1), Looked::Settled, at(3));
    assert_eq!(agenda.next(), Some(at(10)));
}

#[test]
fn failures_are_tried_again_ever_more_slowly_until_something_changes() {
    let mut agenda = Agenda::default();
    agenda.has(1, &issued(1, 0, every(10)));
    let mut now = at(10);
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert_eq!(agenda.take(now), Some(keyring(1)));
        agenda.looked(&keyring(1), Looked::Failed, now);
        let next = agenda.next().unwrap();
        waits.push(next.since(now).0 / 1000);
        now = next;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 64]);
    agenda.has(1, &issued(1, 0, every(10)));
    assert_eq!(agenda.take(now), Some(keyring(1)));
    agenda.looked(&keyring(1), Looked::Failed, now);
    assert_eq!(agenda.next(), Some(now.after(Span::secs(1))));
}

#[test]
fn an_alarm_is_news_once_for_each_due_time_and_reason() {
    let mut agenda = Agenda::default();
    agenda.has(1, &issued(1, 0, every(10)));
    assert!(agenda.is_news(&keyring(1), Some(at(10)), "no_recipient"));
    assert!(agenda.is_news(&keyring(1), Some(at(10)), "no_recipient"), "until it was given");
    agenda.alarmed(&keyring(1), Some(at(10)), "no_recipient");
    assert!(!agenda.is_news(&keyring(1), Some(at(10)), "no_recipient"));
    agenda.has(1, &issued(1, 0, every(10)));
    assert!(!agenda.is_news(&keyring(1), Some(at(10)), "no_recipient"), "a change is no new due time");
    assert!(agenda.is_news(&keyring(1), Some(at(20)), "no_recipient"));
    assert!(agenda.is_news(&keyring(1), Some(at(10)), "too_many_overlaps"));
}

/// Whatever happens in whatever order, what waits in the queue is what is due by the state alone.
#[test]
fn the_queue_is_what_the_states_say() {
    let mut draws = 0x1234_5678_9abc_def1_u64;
    let mut draw = |n: u64| {
        draws = draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draws >> 33) % n
    };
    let (mut agenda, mut states, mut tenants) = (Agenda::default(), BTreeMap::new(), PolicyPatch::NONE);
    let patch = |n: u64| if n == 0 { PolicyPatch::NONE } else { every((n - 1) * 10) };
    for step in 0..5_000 {
        match draw(4) {
            0 => {
                tenants = patch(draw(5));
                agenda.tenant_sets(tenants.clone());
            }
            1 => {
                if let Some(taken) = agenda.take(at(draw(10_000))) {
                    agenda.looked(&taken, Looked::Failed, at(0));
                }
            }
            _ => {
                let n = u32::try_from(draw(20)).unwrap();
                let state = issued(u32::try_from(draw(50)).unwrap() + 1, draw(10_000), patch(draw(5)));
                agenda.has(n, &state);
                states.insert(n, state);
            }
        }
        let waiting = |(n, state): (&u32, &State)| {
            let policy = Policy::default().overlaid(&tenants).overlaid(&state.policy);
            let (newest, key) = state.newest()?;
            Some((schedule::due(&keyring(*n), newest, key.issued_at, &policy)?, keyring(*n)))
        };
        let expected: BTreeSet<_> = states.iter().filter_map(waiting).collect();
        let all: BTreeSet<_> = expected.iter().map(|(_, keyring)| keyring.clone()).collect();
        let queued: BTreeSet<_> = agenda.queue.iter().map(|(_, keyring)| keyring.clone()).collect();
        assert_eq!((queued, agenda.queue.len()), (all.clone(), all.len()), "step {step}");
        let early =
            agenda.queue.iter().find(|(wake, who)| expected.iter().any(|(due, it)| it == who && wake < due));
        assert_eq!(early, None, "step {step}");
    }
}
