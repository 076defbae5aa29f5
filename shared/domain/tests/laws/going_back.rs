//! A keyring that went on to N and back to M is as if it had never gone past M, but for what must not come back.

use crate::asking::{ask, played};
use crate::scene::{Story, acts};
use crate::trial;
use keywheel_domain::rollback::{Lost, Plan};
use keywheel_domain::{Act, KeyState, State, Version};
use proptest::collection::vec;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

/// The target, the plan and the state after; none where it is refused.
fn gone_back(story: &Story, to: u64) -> Option<(State, Plan, State)> {
    let act = acts::back_to(story, to, false);
    let Act::Rollback { to_seq, target, revoke_new, policy } = &act else { panic!("{act:?}") };
    let plan = Plan::of(&story.state, story.now, *to_seq, target, *revoke_new, policy);
    let target = (**target).clone();
    let decided = keywheel_domain::decide(&story.state, &story.command(act));
    let event = match (plan.refusal(), decided) {
        (None, Ok(Some(event))) => event,
        (Some(why), Err(rejection)) if why == rejection => return None,
        (plan, decided) => panic!("planned {plan:?}, decided {decided:?}"),
    };
    Some((target, plan, story.clone().append(event).state))
}

fn lost(plan: &Plan, version: Version) -> Option<Lost> {
    plan.lost.iter().find(|(lost, _)| *lost == version).map(|(_, why)| *why)
}

fn has_ended(state: &KeyState) -> bool {
    !state.is_accepted()
}

proptest! {
    #![proptest_config(trial())]

    #[test]
    fn it_is_as_if_it_had_never_gone_past(asks in vec(ask(), 0..40), back in 0..40_u64) {
        let (_, story) = played(&asks);
        let to = (story.log.len() as u64).saturating_sub(back);
        if let Some((target, plan, after)) = gone_back(&story, to) {
            for (version, key) in &after.keys {
                let (now, before) = (&key.state, &story.state.keys[version].state);
                let why = lost(&plan, *version);
                match target.keys.get(version).map(|then| &then.state) {
                    Some(KeyState::Active) => {
                        prop_assert!(*now == KeyState::Active || why.is_some(), "{version}: {before:?} -> {now:?}");
                    }
                    // What ran out then runs out again, or has ended since.
                    Some(KeyState::Retiring(_)) => {
                        let runs_out = matches!(now, KeyState::Retiring(_)) || has_ended(now);
                        prop_assert!(runs_out, "{version}: {before:?} -> {now:?}");
                    }
                    Some(KeyState::Issued) => prop_assert!(*now != KeyState::Active, "{version}: {now:?}"),
                    // What was not there, or had ended, is only let run out where somebody may have it.
                    Some(KeyState::Retired { .. } | KeyState::Revoked { .. }) | None => {
                        let runs_out = matches!(now, KeyState::Retiring(_)) && before.is_live();
                        prop_assert!(runs_out || has_ended(now), "{version}: {before:?} -> {now:?}");
                    }
                }
                prop_assert_eq!(why.is_some(), was_accepted(&target, *version) && {
                    has_ended(now) || key.is_expired(story.now)
                }, "{} is told as lost", version);
            }
        }
    }

    #[test]
    fn what_is_lost_is_lost_for_a_reason(asks in vec(ask(), 0..40), back in 0..40_u64) {
        let (_, story) = played(&asks);
        let to = (story.log.len() as u64).saturating_sub(back);
        if let Some((_, plan, _)) = gone_back(&story, to) {
            for (version, why) in &plan.lost {
                let key = &story.state.keys[version];
                let holds = match why {
                    Lost::Revoked => matches!(key.state, KeyState::Revoked { .. }),
                    Lost::Expired => key.spec.expires_at.is_some(),
                    Lost::Cancelled => !key.was_activated,
                    Lost::NeverSeen => key.seen.is_none(),
                    Lost::Pending | Lost::RunningOut => has_ended(&key.state),
                };
                prop_assert!(holds, "{version}: {why:?} of {key:?}");
            }
        }
    }
}

fn was_accepted(target: &State, version: Version) -> bool {
    target.keys.get(&version).is_some_and(|key| key.state.is_accepted())
}
