//! What the stories ask for, in one word each.

use super::{Story, by_hand, versions};
use keywheel_domain::command::{Minted, Retirement, SpecAsked, Which};
use keywheel_domain::event::{QuietProof, RotationId, Use};
use keywheel_domain::signer::{Introduced, Listed, Warrant, Withdrawn};
use keywheel_domain::{Act, At, Digest, Kid, Policy, Service, SignerKey, Version};

/// The nth key: same number, same kid and digest.
pub fn minted(n: u32) -> Minted {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&n.to_be_bytes());
    Minted {
        kid: Kid::parse(&format!("{n:010}")).unwrap(),
        digest: Digest(digest),
        rotation: RotationId(u128::from(n)),
    }
}

pub fn issue(n: u32) -> Act {
    Act::Issue { minted: minted(n), spec: SpecAsked::default(), policy: Policy::default() }
}

pub fn rotate(n: u32) -> Act {
    rotate_for(n, &[])
}

pub fn rotate_for(n: u32, supersedes: &[u32]) -> Act {
    Act::Rotate {
        minted: minted(n),
        spec: SpecAsked::default(),
        supersedes: versions(supersedes),
        policy: Policy::default(),
    }
}

pub fn import(n: u32) -> Act {
    Act::Import { minted: minted(n), spec: keywheel_domain::KeySpec::default(), policy: Policy::default() }
}

pub fn activate(n: u32) -> Act {
    Act::Activate { version: Version(n), barrier: by_hand() }
}

pub fn used_at(at: At) -> Use {
    Use { first_use: Some(at), last_use: Some(at), uses: 1, quiet: None }
}

pub fn quiet_between(from: At, through: At) -> Use {
    Use { quiet: Some(QuietProof { from, complete_through: through, edges: vec![] }), ..Use::default() }
}

pub fn record(n: u32, seen: Use) -> Act {
    Act::RecordUse { version: Version(n), seen }
}

pub fn retire(n: u32) -> Act {
    Act::Retire { version: Version(n), why: Retirement::Requested }
}

pub fn retire_due(n: u32) -> Act {
    Act::Retire { version: Version(n), why: Retirement::Due }
}

pub fn cancel(n: u32) -> Act {
    Act::Retire { version: Version(n), why: Retirement::Cancelled("no staged secret".to_owned()) }
}

pub fn revoke(n: u32) -> Act {
    Act::Revoke { which: Which::One(Version(n)), reason: "leaked".to_owned() }
}

pub fn revoke_all() -> Act {
    Act::Revoke { which: Which::All, reason: "leaked".to_owned() }
}

pub fn back_to(story: &Story, to_seq: u64, revoke_new: bool) -> Act {
    let target = Box::new(story.state_at(to_seq));
    Act::Rollback { to_seq, target, revoke_new, policy: story.policy() }
}

/// A signing key; nobody's.
pub fn signer(n: u8) -> SignerKey {
    let letter = char::from(b'A' + n);
    SignerKey::parse(&format!("U{}", letter.to_string().repeat(55))).unwrap()
}

/// A signers file: key 0 issues, key 1 propagates, and key 9 is the root.
pub fn listed() -> Listed {
    let keys = [(signer(0), Service::Issuer), (signer(1), Service::Propagator)];
    Listed { roots: [signer(9)].into(), keys: keys.into() }
}

fn warrant(by: u8) -> Warrant {
    Warrant { by: signer(by), signature: String::new() }
}

/// Introduce a key as an issuer's, by somebody's word.
pub fn add_signer_by(n: u8, by: u8) -> Act {
    let asked = Introduced { key: signer(n), role: Service::Issuer, warrant: warrant(by) };
    Act::AddSigner { asked, listed: listed() }
}

/// Withdraw a key, by somebody's word.
pub fn withdraw_signer_by(n: u8, by: u8) -> Act {
    let asked = Withdrawn { key: signer(n), reason: "leaked".to_owned(), warrant: warrant(by) };
    Act::WithdrawSigner { asked, listed: listed() }
}

/// Introduce a second issuer's key.
pub fn add_signer() -> Act {
    add_signer_by(2, 9)
}

/// Withdraw the only issuer's key.
pub fn withdraw_signer() -> Act {
    withdraw_signer_by(0, 9)
}
