//! Laws of time travel: what a history says of a moment is what a replay says that stops there.

use crate::log::{Log, keyring, signers, steps, tenant};
use keywheel_domain::{Address, At, Cut, State};
use keywheel_table::{History, Message, Replay};
use keywheel_wire::subject;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, prop_oneof, proptest};

fn trial() -> ProptestConfig {
    ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() }
}

fn addresses() -> Vec<Address> {
    (0..3).map(keyring).chain([tenant(), Address::Installation]).collect()
}

fn of(log: &Log, address: &Address) -> Vec<(Message, At)> {
    let subject = subject::event(address);
    let own = log.messages.iter().filter(|message| message.subject == subject);
    // The bus's clock: a second after each writer's true time.
    own.map(|message| (message.clone(), At(1_001_000 + 60_000 * (message.seq - 1)))).collect()
}

fn history(messages: &[(Message, At)]) -> History {
    let mut history = History::new(signers());
    history.take(messages);
    history
}

/// Some clocks are right, some far behind, and some events have the same time.
fn clocks() -> impl Strategy<Value = Vec<u64>> {
    vec(
        prop_oneof![3 => proptest::strategy::Just(0), 1 => 1..400_000_u64, 1 => proptest::strategy::Just(60_000)],
        1..6,
    )
}

/// The time of each event, with the state of a replay that stopped before it; and the state after all.
fn stops(messages: &[(Message, At)]) -> (Vec<(At, State)>, State) {
    let (mut replay, mut stops) = (Replay::new(signers()), Vec::new());
    for (message, _) in messages {
        let before = replay.state.clone();
        if let Ok(recorded) = replay.take(message) {
            stops.push((recorded.event.at, before));
        }
    }
    (stops, replay.state)
}

proptest! {
    #![proptest_config(trial())]

    #[test]
    fn a_position_is_a_replay_that_stops_there(steps in steps(), behind in clocks(), seq in 0..45_u64) {
        let log = Log::by_clocks(&steps, &behind);
        for address in addresses() {
            let messages = of(&log, &address);
            let mut replay = Replay::new(signers());
            let until = messages.iter().take_while(|(message, _)| message.seq <= seq);
            let doubts: Vec<u64> = until.filter(|(message, _)| replay.take(message).is_err()).map(|(m, _)| m.seq).collect();
            let history = history(&messages);
            assert_eq!(history.state_at(Cut::Seq(seq)), replay.state, "{address}");
            let doubted: Vec<u64> = history.doubts_until(Cut::Seq(seq)).map(|doubted| doubted.seq).collect();
            assert_eq!(doubted, doubts, "{address}");
            let freezes = history.doubts_until(Cut::Seq(seq)).any(|doubted| doubted.doubt.freezes());
            assert_eq!(freezes, replay.frozen().is_some(), "{address}");
        }
    }

    #[test]
    fn a_time_is_a_replay_that_stops_before_the_first_later_event(steps in steps(), behind in clocks()) {
        let log = Log::by_clocks(&steps, &behind);
        for address in addresses() {
            let messages = of(&log, &address);
            let (stops, last) = stops(&messages);
            let history = history(&messages);
            // At the time of each event, and just beside it.
            for at in stops.iter().flat_map(|(at, _)| [At(at.0 - 1), *at, At(at.0 + 1)]) {
                let first_later = stops.iter().find(|(decided, _)| *decided > at);
                let expected = first_later.map_or(&last, |(_, before)| before);
                assert_eq!(&history.state_at(Cut::Time(at)), expected, "{address} at {at:?}");
                assert!(history.until(Cut::Time(at)).iter().all(|event| event.recorded.event.at <= at));
            }
        }
    }

    /// However its messages come, and however few are read beyond the moment.
    #[test]
    fn pages_do_not_matter(steps in steps(), behind in clocks(), size in 1..9_usize, seq in 0..45_u64) {
        let log = Log::by_clocks(&steps, &behind);
        for address in addresses() {
            let messages = of(&log, &address);
            let whole = history(&messages);
            for cut in [Cut::Seq(seq), Cut::Time(At(1_000_000 + 60_000 * seq))] {
                let mut paged = History::new(signers());
                for page in messages.chunks(size) {
                    paged.take(page);
                    if paged.is_past(cut) {
                        break;
                    }
                }
                assert_eq!(paged.state_at(cut), whole.state_at(cut), "{address} {cut:?}");
                assert_eq!(paged.until(cut), whole.until(cut));
            }
        }
    }

    /// A later moment takes nothing away.
    #[test]
    fn moments_are_nested(steps in steps(), behind in clocks(), early in 0..3_000_000_u64, later in 0..3_000_000_u64) {
        let log = Log::by_clocks(&steps, &behind);
        for address in addresses() {
            let history = history(&of(&log, &address));
            let of = |at| history.until(Cut::Time(At(1_000_000 + at)));
            assert!(of(early + later).starts_with(of(early)));
        }
    }
}

/// Many enough that they are read on several cores.
#[test]
fn cores_do_not_matter() {
    use crate::log::Step::{Activate, Forged, Issue, Revoke, Rotate};
    let mut steps = vec![Issue(0), Activate(0, 1)];
    for n in 2..120 {
        steps.extend([Rotate(0), Activate(0, n), Forged(0, (n % 5) as u8), Revoke(0, n - 1)]);
    }
    let log = Log::of(&steps);
    let messages = of(&log, &keyring(0));
    assert!(messages.len() > 256, "{}", messages.len());
    let history = history(&messages);
    assert_eq!(history.state_at(Cut::Seq(u64::MAX)), log.states[&keyring(0)]);
    assert_eq!(history.doubts_until(Cut::Seq(u64::MAX)).count(), 118);
}
