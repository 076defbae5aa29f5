//! Rows whose parts have no number any more.

use super::*;
use crate::Fold;
use keywheel_domain::{At, Kid, State};
use keywheel_wire::signers::Signers;
use std::sync::Arc;

/// A key that permits `scope`.
fn loaded(scope: &str) -> Loaded {
    use keywheel_domain::key::Origin;
    use keywheel_domain::{Key, KeySpec, KeyState, Version};
    let key = Key {
        kid: Kid::of_number(7),
        digest: keywheel_domain::Digest([7; 32]),
        spec: KeySpec { scopes: vec![scope.to_owned()], ..KeySpec::default() },
        origin: Origin::Minted,
        issued_at: At(5),
        rotation: keywheel_domain::event::RotationId(9),
        replaces: None,
        state: KeyState::Active,
        was_activated: true,
        seen: None,
        quiet: None,
    };
    let state = State { revision: 2, keys: [(Version(1), key)].into(), ..State::default() };
    Loaded { state, seq: 2, prev: Some([1; 32]), frozen: None }
}

/// Whether a row names its part or has it itself makes no difference to what it says, nor to its hash.
#[test]
fn parts_that_are_too_many_stand_in_their_rows() {
    let options = crate::Options { commands: false, pending: |_| false, doubts: false };
    let hash_of = |full: bool| {
        let fold =
            Fold::open(std::path::Path::new(":memory:"), options, Arc::new(Signers::nobody())).unwrap();
        let (connection, _) = fold.to_read();
        let transaction = connection.unchecked_transaction().unwrap();
        let mut parts = Parts::default();
        if full {
            parts.fill();
        }
        let address =
            keywheel_domain::Address::Keyring(keywheel_domain::KeyringId::parse("acme/web").unwrap());
        let subject = subject::event(&address);
        let (written, count) = (loaded("read"), parts.count());
        let hash = put(&transaction, &mut parts, &subject, &written, None).unwrap();
        assert_eq!(parts.count() - count, usize::from(!full));
        let held = load(&transaction, &parts, &subject).unwrap();
        assert_eq!((&held.loaded.state, held.before.map(|before| before.hash)), (&written.state, Some(hash)));
        let mut now = 0;
        let digest = each_shared(
            &transaction,
            &parts,
            &Stretch::default(),
            |_, _| (),
            |_, row| {
                now += 1;
                assert_eq!(row.into_loaded(None).state, written.state);
            },
        );
        assert_eq!((digest.unwrap(), now), (hash, u32::from(full)));
        hash
    };
    assert_eq!(hash_of(true), hash_of(false));
}
