//! Signers: who may introduce and withdraw whom.
#![allow(clippy::unwrap_used)]

use crate::scene::acts::{add_signer_by, signer, withdraw_signer_by};
use keywheel_domain::command::Command;
use keywheel_domain::event::{CommandId, EventId};
use keywheel_domain::{Act, Actor, Address, At, Rejection, Service, State, decide, evolve};

const ROOT: u8 = 9;

fn ask(state: &State, act: Act) -> Result<Option<keywheel_domain::Event>, Rejection> {
    let n = u128::from(state.revision) + 1;
    let command = Command {
        id: CommandId(n),
        address: Address::Installation,
        actor: Actor::parse("dana").unwrap(),
        at: At(0),
        event_id: EventId(n),
        act,
    };
    decide(state, &command)
}

/// Each act's event takes the next position.
fn after(acts: impl IntoIterator<Item = Act>) -> State {
    acts.into_iter().fold(State::default(), |state, act| {
        let event = ask(&state, act).unwrap().unwrap();
        let seq = state.revision + 1;
        evolve(state, &keywheel_domain::Recorded { seq, event })
    })
}

#[test]
fn a_key_is_introduced_by_the_root_or_its_own_role_once() {
    for by in [ROOT, 0] {
        let state = after([add_signer_by(2, by)]);
        assert_eq!(state.signers.added[&signer(2)].role, Service::Issuer);
        assert_eq!(ask(&state, add_signer_by(2, ROOT)), Ok(None));
        // The new one may introduce the next.
        assert_eq!(after([add_signer_by(2, by), add_signer_by(3, 2)]).signers.added.len(), 2);
    }
    let refused = |by| ask(&State::default(), add_signer_by(2, by)).unwrap_err();
    assert_eq!(refused(1), Rejection::NotEntitled { by: signer(1), role: Some(Service::Issuer) });
    assert_eq!(refused(7), Rejection::NotEntitled { by: signer(7), role: Some(Service::Issuer) });
    let role = Service::Propagator;
    let taken = ask(&State::default(), add_signer_by(1, ROOT));
    assert_eq!(taken, Err(Rejection::SignerHasRole { key: signer(1), role }));
}

#[test]
fn a_key_is_withdrawn_by_the_root_alone_and_for_ever() {
    let two = || after([add_signer_by(2, ROOT)]);
    for by in [0, 1, 2] {
        let refused = ask(&two(), withdraw_signer_by(0, by));
        assert_eq!(refused, Err(Rejection::NotEntitled { by: signer(by), role: None }));
    }
    let one = after([add_signer_by(2, ROOT), withdraw_signer_by(0, ROOT)]);
    assert_eq!(one.signers.withdrawn[&signer(0)], 2);
    assert_eq!(ask(&one, withdraw_signer_by(0, ROOT)), Ok(None));
    assert_eq!(ask(&one, add_signer_by(0, ROOT)), Err(Rejection::SignerWithdrawn(signer(0))));
    let by_it = Rejection::NotEntitled { by: signer(0), role: Some(Service::Issuer) };
    assert_eq!(ask(&one, add_signer_by(3, 0)), Err(by_it));
    assert_eq!(ask(&one, withdraw_signer_by(2, ROOT)), Err(Rejection::LastSigner(Service::Issuer)));
    assert_eq!(ask(&one, withdraw_signer_by(7, ROOT)), Err(Rejection::UnknownSigner(signer(7))));
}
