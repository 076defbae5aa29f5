//! The word of a root, or of an old key for a new one of its role, for a change of the signers: what exactly is signed.
//! It names the installation, so that it counts in no other one.

use crate::Malformed;
use crate::signature::{Signer, Verifier};
use crate::signers::Installation;
use crate::text;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keywheel_domain::name::free_text;
use keywheel_domain::signer::{Introduced, Warrant, Withdrawn};
use keywheel_domain::{Service, SignerKey};

/// In the place of a subject; no message can stand there.
const ADD: &str = "keywheel signer add";
/// As above.
const WITHDRAW: &str = "keywheel signer withdraw";
/// Bytes of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;

/// Signs for a new key.
///
/// # Errors
/// When the pair cannot sign.
pub fn add(by: &Signer, of: Installation, key: &SignerKey, role: Service) -> Result<Introduced, Malformed> {
    let warrant = sign(by, ADD, &addition(of, key, role))?;
    Ok(Introduced { key: key.clone(), role, warrant })
}

/// Signs for a withdrawal.
///
/// # Errors
/// When the pair cannot sign, or the reason is no free text.
pub fn withdraw(
    by: &Signer,
    of: Installation,
    key: &SignerKey,
    reason: &str,
) -> Result<Withdrawn, Malformed> {
    let reason = free_text("reason", reason)?;
    let warrant = sign(by, WITHDRAW, &withdrawal(of, key, &reason))?;
    Ok(Withdrawn { key: key.clone(), reason, warrant })
}

/// Whether `by` signed for this key.
pub fn is_for_addition(by: &Verifier, of: Installation, asked: &Introduced) -> bool {
    let Introduced { key, role, warrant } = asked;
    by.verify(&warrant.signature, ADD, addition(of, key, *role).as_bytes())
}

/// Whether `by` signed for this withdrawal.
pub fn is_for_withdrawal(by: &Verifier, of: Installation, asked: &Withdrawn) -> bool {
    let Withdrawn { key, reason, warrant } = asked;
    by.verify(&warrant.signature, WITHDRAW, withdrawal(of, key, reason).as_bytes())
}

/// Ids, keys and roles have no space in them, so that no two texts are one.
fn addition(of: Installation, key: &SignerKey, role: Service) -> String {
    format!("{} {key} {}", text::id(of.0), role.name())
}

fn withdrawal(of: Installation, key: &SignerKey, reason: &str) -> String {
    format!("{} {key} {reason}", text::id(of.0))
}

fn sign(by: &Signer, at: &str, text: &str) -> Result<Warrant, Malformed> {
    let signature = by.sign(at, text.as_bytes())?.signature;
    Ok(Warrant { by: SignerKey::parse(by.public())?, signature })
}

/// The role of a name.
///
/// # Errors
/// Says which there are.
pub fn role(field: &str, name: &str) -> Result<Service, Malformed> {
    let roles = || Service::ALL.map(Service::name).join(", ");
    let unknown = || Malformed::new(field, format!("`{name}` is no role; write one of {}", roles()));
    Service::ALL.into_iter().find(|service| service.name() == name).ok_or_else(unknown)
}

/// As it came from outside; whether the signature is right is a matter of who reads.
pub(crate) fn introduced(
    key: &str,
    role: &str,
    by: &str,
    signature: String,
) -> Result<Introduced, Malformed> {
    let (key, role) = (public("key", key)?, self::role("role", role)?);
    Ok(Introduced { key, role, warrant: warrant(by, signature)? })
}

/// As above.
pub(crate) fn withdrawn(
    key: &str,
    reason: &str,
    by: &str,
    signature: String,
) -> Result<Withdrawn, Malformed> {
    let (key, reason) = (public("key", key)?, free_text("reason", reason)?);
    Ok(Withdrawn { key, reason, warrant: warrant(by, signature)? })
}

fn warrant(by: &str, signature: String) -> Result<Warrant, Malformed> {
    let by = public("by", by)?;
    let is_one = STANDARD.decode(&signature).is_ok_and(|bytes| bytes.len() == SIGNATURE_BYTES);
    if is_one {
        Ok(Warrant { by, signature })
    } else {
        Err(Malformed::new("signature", "no signature in base64"))
    }
}

/// A public key that can be checked with.
///
/// # Errors
/// Names `field` and says what belongs there.
pub fn public(field: &str, key: &str) -> Result<SignerKey, Malformed> {
    let wrong = || Malformed::new(field, "expected a user's public nkey (U…)");
    let key = SignerKey::parse(key).map_err(|_| wrong())?;
    Verifier::parse(key.as_str()).map(|_| key).map_err(|_| wrong())
}
