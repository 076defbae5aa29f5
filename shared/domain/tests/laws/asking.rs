//! Anything is asked, sensible or not, over one keyring.

use crate::scene::{Story, acts, given};
use crate::trial;
use keywheel_domain::command::{Retirement, SpecAsked};
use keywheel_domain::event::{Fact, Restored, Use};
use keywheel_domain::policy::OnOverlapMax;
use keywheel_domain::{Act, Command, Event, KeyState, Policy, Rejection, Span, State, Version, decide, next};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

/// One thing that is asked. Versions are mostly ones that exist, and to be activated mostly ones that
/// are pending; minutes are counted back from now.
#[derive(Clone, Debug)]
pub enum Ask {
    Pass { minutes: u64 },
    Issue { minutes: Option<u64> },
    Rotate { minutes: Option<u64>, supersedes: Vec<u32>, hold: bool },
    Import,
    Activate(u32),
    Use { version: u32, ago: u64 },
    Quiet { version: u32, ago: u64, minutes: u64 },
    Retire(u32),
    RetireDue(u32),
    Next,
    Cancel(u32),
    Revoke(u32),
    RevokeAll,
    RollBack { steps: u64, revoke_new: bool, hold: bool },
}

pub fn ask() -> impl Strategy<Value = Ask> {
    let version = 1..6_u32;
    let end = || prop_oneof![Just(None), (1..400_u64).prop_map(Some)];
    prop_oneof![
        8 => (1..200_u64).prop_map(|minutes| Ask::Pass { minutes }),
        4 => end().prop_map(|minutes| Ask::Issue { minutes }),
        8 => (end(), vec(version.clone(), 0..2), any::<bool>())
            .prop_map(|(minutes, supersedes, hold)| Ask::Rotate { minutes, supersedes, hold }),
        1 => Just(Ask::Import),
        12 => version.clone().prop_map(Ask::Activate),
        6 => (version.clone(), 0..60_u64).prop_map(|(version, ago)| Ask::Use { version, ago }),
        6 => (version.clone(), 0..90_u64, 0..300_u64)
            .prop_map(|(version, ago, minutes)| Ask::Quiet { version, ago, minutes }),
        2 => version.clone().prop_map(Ask::Retire),
        2 => version.clone().prop_map(Ask::RetireDue),
        6 => Just(Ask::Next),
        1 => version.clone().prop_map(Ask::Cancel),
        2 => version.prop_map(Ask::Revoke),
        1 => Just(Ask::RevokeAll),
        8 => (0..12_u64, any::<bool>(), any::<bool>())
            .prop_map(|(steps, revoke_new, hold)| Ask::RollBack { steps, revoke_new, hold }),
    ]
}

fn policy(hold: bool) -> Policy {
    let on_overlap_max = if hold { OnOverlapMax::Hold } else { OnOverlapMax::Retire };
    let (overlap_min, overlap_max) = (Span::secs(3600), Span::hours(5));
    Policy { overlap_min, overlap_max, on_overlap_max, quiet: Span::secs(1800), ..Policy::default() }
}

fn spec(minutes: Option<u64>) -> SpecAsked {
    SpecAsked { expires_in: minutes.map(|n| Span::secs(60 * n)), ..SpecAsked::default() }
}

/// One of the pending versions, where there are any.
fn pending(state: &State, n: u32) -> Option<u32> {
    let issued = state.keys.iter().filter(|(_, key)| key.state == KeyState::Issued);
    let all: Vec<u32> = issued.map(|(version, _)| version.0).collect();
    all.get(n as usize % all.len().max(1)).copied()
}

impl Ask {
    /// The act that this asks for; none where it only passes time or nothing is due.
    pub fn act(&self, story: &Story) -> Option<Act> {
        let minted = || acts::minted(story.state.newest().map_or(1, |(version, _)| version.0 + 1));
        let back = |minutes: u64| story.now.before(Span::secs(60 * minutes));
        let retire = |n: u32, why| Act::Retire { version: Version(n), why };
        Some(match self {
            Ask::Pass { .. } => return None,
            Ask::Next => return next(&story.state, story.now),
            Ask::Issue { minutes } => {
                Act::Issue { minted: minted(), spec: spec(*minutes), policy: policy(true) }
            }
            Ask::Rotate { minutes, supersedes, hold } => Act::Rotate {
                minted: minted(),
                spec: spec(*minutes),
                supersedes: supersedes.iter().copied().map(Version).collect(),
                policy: policy(*hold),
            },
            Ask::Import => acts::import(minted().rotation.0.try_into().unwrap_or(0)),
            Ask::Activate(n) => acts::activate(pending(&story.state, *n).unwrap_or(*n)),
            Ask::Use { version, ago } => acts::record(*version, acts::used_at(back(*ago))),
            Ask::Quiet { version, ago, minutes } => {
                let quiet = acts::quiet_between(back(ago + minutes), back(*ago)).quiet;
                acts::record(*version, Use { quiet, ..Use::default() })
            }
            Ask::Retire(n) => retire(*n, Retirement::Requested),
            Ask::RetireDue(n) => retire(*n, Retirement::Due),
            Ask::Cancel(n) => acts::cancel(*n),
            Ask::Revoke(n) => acts::revoke(*n),
            Ask::RevokeAll => acts::revoke_all(),
            Ask::RollBack { steps, revoke_new, hold } => {
                let to_seq = (story.log.len() as u64).saturating_sub(*steps);
                let target = Box::new(story.state_at(to_seq));
                Act::Rollback { to_seq, target, revoke_new: *revoke_new, policy: policy(*hold) }
            }
        })
    }
}

/// A command with the keyring before it and after it.
pub struct Step {
    before: State,
    command: Command,
    decided: Result<Option<Event>, Rejection>,
    after: State,
}

impl Step {
    fn rolled_back(&self) -> Option<&Restored> {
        match &self.decided {
            Ok(Some(Event { fact: Fact::RolledBack(restored), .. })) => Some(restored),
            Ok(Some(_) | None) | Err(_) => None,
        }
    }
}

/// The steps and the whole story that they make.
pub fn played(asks: &[Ask]) -> (Vec<Step>, Story) {
    let mut story = given();
    let mut steps = vec![];
    for ask in asks {
        if let Ask::Pass { minutes } = ask {
            story.now = story.now.after(Span::secs(60 * minutes));
        }
        let Some(act) = ask.act(&story) else { continue };
        let before = story.state.clone();
        let command = story.command(act);
        let decided = decide(&before, &command);
        if let Ok(Some(event)) = &decided {
            story = story.append(event.clone());
        }
        steps.push(Step { before, command, decided, after: story.state.clone() });
    }
    (steps, story)
}

fn steps(asks: &[Ask]) -> Vec<Step> {
    played(asks).0
}

fn is_revoked(state: &KeyState) -> bool {
    matches!(state, KeyState::Revoked { .. })
}

fn is_accepted(state: &State, version: Version) -> bool {
    state.keys.get(&version).is_some_and(|key| key.state.is_accepted())
}

proptest! {
    #![proptest_config(trial())]

    #[test]
    fn replay_equals_what_was_built_step_by_step(asks in vec(ask(), 0..40), cut in 0..40_u64) {
        let (_, story) = played(&asks);
        prop_assert_eq!(&story.state_at(u64::MAX), &story.state);
        let tail = story.log.iter().filter(|recorded| recorded.seq > cut);
        let resumed = tail.fold(story.state_at(cut), keywheel_domain::evolve);
        prop_assert_eq!(resumed, story.state);
    }

    #[test]
    fn a_decided_event_counts_once_and_its_command_never_again(asks in vec(ask(), 0..40)) {
        for step in steps(&asks) {
            let effect = matches!(step.decided, Ok(Some(_)));
            let revisions = step.after.revision - step.before.revision;
            prop_assert_eq!(revisions, u64::from(effect));
            if effect {
                prop_assert_eq!(decide(&step.after, &step.command), Ok(None));
            }
        }
    }

    #[test]
    fn a_revoked_key_is_never_accepted_again(asks in vec(ask(), 0..40)) {
        for step in steps(&asks) {
            for (version, key) in &step.before.keys {
                if is_revoked(&key.state) {
                    prop_assert_eq!(step.after.keys[version].state.word(), "revoked");
                }
            }
        }
    }

    #[test]
    fn what_is_due_is_due_once(asks in vec(ask(), 0..40)) {
        for step in steps(&asks) {
            let mut story = Story::resumed(step.after, step.command.at);
            let mut done = vec![];
            while let Some(act) = next(&story.state, story.now) {
                prop_assert!(!done.contains(&act), "{act:?} is due again");
                let mut command = story.command(act.clone());
                command.id.0 += 1_000_000;
                let event = decide(&story.state, &command);
                let Ok(Some(event)) = event else { panic!("what is due was not decided: {event:?}") };
                story = story.append(event);
                done.push(act);
            }
        }
    }

    #[test]
    fn an_activation_supersedes_lower_versions_only(asks in vec(ask(), 0..40)) {
        for step in steps(&asks) {
            if let Ok(Some(Event { fact: Fact::KeyActivated(activated), .. })) = &step.decided {
                prop_assert!(activated.supersedes.iter().all(|version| *version < activated.version));
            }
        }
    }

    #[test]
    fn a_keys_own_end_never_moves_and_no_overlap_outlasts_it(asks in vec(ask(), 0..40)) {
        for step in steps(&asks) {
            for (version, key) in &step.after.keys {
                let before = step.before.keys.get(version);
                prop_assert!(before.is_none_or(|before| before.spec == key.spec));
                if let (KeyState::Retiring(overlap), Some(end)) = (&key.state, key.spec.expires_at) {
                    prop_assert!(overlap.deadline <= end);
                }
            }
        }
    }

    #[test]
    fn a_rollback_brings_back_nothing_that_was_revoked_or_has_expired(asks in vec(ask(), 0..40)) {
        for step in steps(&asks) {
            let Some(restored) = step.rolled_back() else { continue };
            for version in &restored.restored {
                let before = &step.before.keys[version];
                prop_assert!(!is_revoked(&before.state));
                prop_assert!(!before.is_expired(step.command.at));
            }
            for (version, key) in &step.after.keys {
                let came_back = key.state.is_accepted() && !is_accepted(&step.before, *version);
                prop_assert!(!came_back || restored.restored.contains(version));
            }
        }
    }

    #[test]
    fn a_rollback_takes_away_at_once_only_what_nobody_has_or_revoke_new_names(asks in vec(ask(), 0..40)) {
        for step in steps(&asks) {
            let Some(restored) = step.rolled_back() else { continue };
            let revoking = matches!(step.command.act, Act::Rollback { revoke_new: true, .. });
            for (version, to) in &restored.withdrawn {
                let handed_out = step.before.keys[version].state.is_live();
                prop_assert!(revoking || !handed_out || matches!(to, KeyState::Retiring(_)));
            }
            prop_assert!(step.after.live(step.command.at).next().is_some() || !had_live(&step));
        }
    }

    #[test]
    fn a_rollback_can_be_rolled_back(asks in vec(ask(), 0..40)) {
        let (steps, story) = played(&asks);
        for step in steps {
            let Some(restored) = step.rolled_back() else { continue };
            let running_out = |version: &Version| restored.withdrawn.iter().any(|(withdrawn, to)| {
                withdrawn == version && matches!(to, KeyState::Retiring(_))
            });
            let active = step.before.live(step.command.at).filter(|(_, key)| key.state == KeyState::Active);
            let back: Vec<Version> = active.map(|(version, _)| version).filter(running_out).collect();
            if back.is_empty() {
                continue;
            }
            let mut command = step.command.clone();
            command.id.0 += 1_000_000;
            command.act = acts::back_to(&story, step.before.revision, false);
            let undone = decide(&step.after, &command);
            let Ok(Some(event)) = undone else { panic!("the way back is closed: {undone:?}") };
            let state = Story::resumed(step.after, step.command.at).append(event).state;
            prop_assert!(back.iter().all(|version| state.keys[version].state == KeyState::Active));
        }
    }
}

fn had_live(step: &Step) -> bool {
    step.before.live(step.command.at).next().is_some()
}
