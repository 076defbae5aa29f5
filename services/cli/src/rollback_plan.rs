//! What a rollback would do, in words and for programs: the very plan of which the event is a part.

use crate::failure::Failure;
use crate::replay::each_message;
use crate::session::now;
use crate::words::{list, second};
use keywheel_bus::Bus;
use keywheel_domain::rollback::{Lost, Plan};
use keywheel_domain::{Address, At, KeyState, KeyringId, Policy, State, Version};
use keywheel_table::target::Search;
use keywheel_wire::command::RollbackTo;
use keywheel_wire::text::moment;
use serde_json::{Value, json};

/// A keyring as it is, with what going back would do to it.
pub(crate) struct Planned {
    pub keyring: KeyringId,
    pub state: State,
    pub plan: Plan,
}

/// Reads a keyring's log and plans, as the issuer does it when it decides.
pub(crate) async fn plan(
    bus: &Bus,
    keyring: &KeyringId,
    tenant: &State,
    to: RollbackTo,
    revoke_new: bool,
) -> Result<Planned, Failure> {
    let mut search = Search::new(bus.signers(), to);
    let address = Address::Keyring(keyring.clone());
    each_message(bus, Some(&address), 1, |message, _| drop(search.take(message))).await?;
    planned(keyring, search, tenant, revoke_new, now())
}

/// What a finished search comes to, under what holds for the keyring now.
pub(crate) fn planned(
    keyring: &KeyringId,
    search: Search,
    tenant: &State,
    revoke_new: bool,
    at: At,
) -> Result<Planned, Failure> {
    let state = search.state().clone();
    let target = search.target().map_err(|none| Failure::refused(none.code(), none.detail()))?;
    let policy: Policy = state.policy_within(tenant);
    let plan = Plan::of(&state, at, target.to_seq, &target.state, revoke_new, &policy);
    Ok(Planned { keyring: keyring.clone(), state, plan })
}

impl Planned {
    /// Each change and each version that does not come back, a line each.
    pub fn lines(&self) -> Vec<String> {
        let Plan { restored, withdrawn, lost, .. } = &self.plan;
        let was = |version: &Version| self.state.keys.get(version).map_or("unknown", |key| key.state.word());
        let comes = restored.iter().map(|version| format!("{version}: {} -> active", was(version)));
        let goes = withdrawn.iter().map(|(v, to)| format!("{v}: {} -> {}", was(v), becomes(to)));
        let stays = lost.iter().map(|(v, why)| format!("{v}: stays {}; {why}", was(v)));
        let refused = self.plan.refusal().map(|why| format!("refused: {why} [{}]", why.code()));
        comes.chain(goes).chain(stays).chain(refused).collect()
    }

    /// The whole plan in words.
    pub fn text(&self) -> String {
        let mut lines =
            vec![format!("{} goes back to what held at position {}:", self.keyring, self.plan.to_seq)];
        lines.extend(self.lines().into_iter().map(|line| format!("  {line}")));
        lines.join("\n")
    }

    /// In few words, for a table.
    pub fn brief(&self) -> (String, String, String) {
        let Plan { restored, withdrawn, lost, .. } = &self.plan;
        let goes = withdrawn.iter().map(|(version, to)| format!("{version} {}", to.word()));
        (
            list(restored),
            list(goes),
            list(lost.iter().map(|(version, why)| format!("{version} {}", why.code()))),
        )
    }

    /// The whole plan for programs.
    pub fn to_json(&self) -> Value {
        let Plan { to_seq, restored, withdrawn, lost, .. } = &self.plan;
        let was = |version: &Version| self.state.keys.get(version).map(|key| key.state.word());
        let comes = |v: &Version| json!({ "version": v.0, "from": was(v), "to": "active" });
        let goes = |(v, to): &(Version, KeyState)| json!({ "version": v.0, "from": was(v), "to": to.word(), "deadline": deadline(to).map(moment) });
        let stays = |(v, why): &(Version, Lost)| json!({ "version": v.0, "state": was(v), "code": why.code(), "detail": why.to_string() });
        let refusal = self.plan.refusal();
        json!({
            "tenant": self.keyring.tenant.as_str(),
            "client": self.keyring.client.as_str(),
            "to_seq": to_seq,
            "restored": restored.iter().map(comes).collect::<Vec<_>>(),
            "withdrawn": withdrawn.iter().map(goes).collect::<Vec<_>>(),
            "cannot_restore": lost.iter().map(stays).collect::<Vec<_>>(),
            "rejection": refusal.map(|why| json!({ "code": why.code(), "detail": why.to_string() })),
        })
    }
}

fn deadline(state: &KeyState) -> Option<At> {
    match state {
        KeyState::Retiring(overlap) => Some(overlap.deadline),
        KeyState::Issued | KeyState::Active | KeyState::Retired { .. } | KeyState::Revoked { .. } => None,
    }
}

fn becomes(state: &KeyState) -> String {
    match state {
        KeyState::Retiring(overlap) => {
            format!(
                "retiring, accepted until it is provably unused; overlap_max ends {}",
                second(overlap.deadline)
            )
        }
        KeyState::Retired { .. } => "cancelled, its secret is withdrawn".to_owned(),
        KeyState::Issued | KeyState::Active | KeyState::Revoked { .. } => state.word().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting_words::tests::{NOW, retiring};
    use expect_test::expect;
    use keywheel_domain::Key;
    use keywheel_domain::key::Cause;

    fn keyring(states: &[(u32, KeyState)]) -> State {
        let key = |state: &KeyState| Key { state: state.clone(), seen: None, ..retiring() };
        State {
            keys: states.iter().map(|(n, state)| (Version(*n), key(state))).collect(),
            ..State::default()
        }
    }

    fn told(now: &[(u32, KeyState)], then: &[(u32, KeyState)]) -> Planned {
        let (state, target) = (keyring(now), keyring(then));
        let plan = Plan::of(&state, NOW, 12, &target, false, &Policy::default());
        Planned { keyring: KeyringId::parse("acme/app").unwrap(), state, plan }
    }

    #[test]
    fn a_plan_says_what_comes_back_what_goes_and_what_is_lost() {
        let revoked = KeyState::Revoked { at: NOW, reason: "leaked".to_owned() };
        let retired = KeyState::Retired { at: NOW, cause: Cause::Superseded };
        let now =
            [(1, revoked), (2, retired), (3, retiring().state), (4, KeyState::Active), (5, KeyState::Issued)];
        let then = [(1, KeyState::Active), (2, KeyState::Active), (3, KeyState::Active)];
        let planned = told(&now, &then);
        expect![[r#"
            acme/app goes back to what held at position 12:
              v3: retiring -> active
              v4: active -> retiring, accepted until it is provably unused; overlap_max ends 2027-02-14T08:00:00Z
              v5: issued -> cancelled, its secret is withdrawn
              v1: stays revoked; it was revoked, and a revoked key never comes back
              v2: stays retired; it retired and was never seen in use, so nobody may hold its secret"#]]
        .assert_eq(&planned.text());
        let document = planned.to_json();
        assert_eq!(document["restored"], json!([{ "version": 3, "from": "retiring", "to": "active" }]));
        assert_eq!(document["cannot_restore"][0]["code"], "revoked");
        assert_eq!(document["rejection"], Value::Null);
    }

    #[test]
    fn a_plan_that_is_refused_says_so() {
        let planned = told(&[(1, KeyState::Active)], &[]);
        assert!(
            planned.text().ends_with("refused: going back there would restore nothing [nothing_to_restore]")
        );
        assert_eq!(planned.to_json()["rejection"]["code"], "nothing_to_restore");
    }
}
