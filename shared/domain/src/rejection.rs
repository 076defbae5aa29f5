//! Why a command was refused, worded as facts. Codes are part of the contract.

use crate::key::Version;
use crate::name::{EdgeId, Service};
use crate::signer::{INTRODUCED_MAX, SignerKey};
use std::fmt;

/// Text from outside that is no name, id or free text of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidText {
    /// Which field was meant.
    pub field: &'static str,
    detail: String,
}

impl InvalidText {
    /// Of `text` in `field`; `rule` says what is expected. Long text is cut, and [`redacted`] before that.
    pub fn new(field: &'static str, text: &str, rule: &str) -> Self {
        let shown: String = redacted(text).chars().take(40).collect();
        Self { field, detail: format!("{field} {shown:?}: {rule}") }
    }
}

impl fmt::Display for InvalidText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for InvalidText {}

/// Longest run of letters, digits and `_` that an error repeats: no name has a longer one, and every key,
/// its secret part alone and every seed are longer.
const RUN_BYTES_MAX: usize = 32;

/// Text from outside as errors and logs may repeat it: whatever could be a key or a seed in the wrong
/// place is replaced by its size.
pub fn redacted(text: &str) -> String {
    let is_run = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let mut shown = String::with_capacity(text.len());
    // Where a run begins or ends there is an ASCII byte on one side, so the text can be cut there.
    for part in text.as_bytes().chunk_by(|one, next| is_run(one) == is_run(next)) {
        if part.len() > RUN_BYTES_MAX && part.iter().all(is_run) {
            shown.push_str(&format!("({} bytes)", part.len()));
        } else {
            shown.push_str(&String::from_utf8_lossy(part));
        }
    }
    shown
}

/// Why a command has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The command does not concern this kind of address.
    WrongAddress,
    /// The keyring has no such version.
    UnknownVersion(Version),
    /// The keyring has no key at all.
    NoKey,
    /// No version is accepted any more or pending, so there is nothing to rotate.
    NothingToRotate,
    /// A version named in `supersedes` is not active.
    NotActive(Version),
    /// As many versions are active or issued as the policy allows.
    TooManyActive(u32),
    /// Too many versions are still accepted.
    TooManyAccepted(usize),
    /// The version was retired before.
    AlreadyRetired(Version),
    /// The version was revoked before.
    AlreadyRevoked(Version),
    /// The version's own end has passed.
    AlreadyExpired(Version),
    /// Retiring the last accepted version would leave nobody a key.
    LastActive(Version),
    /// The log does not show that the version's time has come.
    NotDue(Version),
    /// The kid is in the keyring already.
    KidTaken,
    /// The digest is in the keyring already.
    DigestTaken(Version),
    /// Going back would change nothing, or would leave no key accepted.
    NothingToRestore,
    /// The edge is not on the roster.
    UnknownEdge(EdgeId),
    /// A policy that contradicts itself.
    ContradictoryPolicy(&'static str),
    /// Whoever stands for a change of the signers may not: of a role to be introduced, or of a withdrawal.
    NotEntitled {
        /// Whose signature it has.
        by: SignerKey,
        /// The role that a key is introduced for; none for a withdrawal.
        role: Option<Service>,
    },
    /// A key that was withdrawn never comes back.
    SignerWithdrawn(SignerKey),
    /// The key signs as another role.
    SignerHasRole {
        /// Which.
        key: SignerKey,
        /// As what.
        role: Service,
    },
    /// The key signs nothing that is believed.
    UnknownSigner(SignerKey),
    /// Nobody would be left to sign as this role.
    LastSigner(Service),
    /// As many keys stand as a role may introduce by itself.
    TooManySigners(Service),
}

impl Rejection {
    /// The code that programs match on.
    pub fn code(&self) -> &'static str {
        match self {
            Rejection::WrongAddress => "wrong_address",
            Rejection::UnknownVersion(_) => "unknown_version",
            Rejection::NoKey => "no_key",
            Rejection::NothingToRotate => "nothing_to_rotate",
            Rejection::NotActive(_) => "not_active",
            Rejection::TooManyActive(_) => "too_many_active",
            Rejection::TooManyAccepted(_) => "too_many_accepted",
            Rejection::AlreadyRetired(_) => "already_retired",
            Rejection::AlreadyRevoked(_) => "already_revoked",
            Rejection::AlreadyExpired(_) => "already_expired",
            Rejection::LastActive(_) => "last_active",
            Rejection::NotDue(_) => "not_due",
            Rejection::KidTaken => "kid_taken",
            Rejection::DigestTaken(_) => "digest_taken",
            Rejection::NothingToRestore => "nothing_to_restore",
            Rejection::UnknownEdge(_) => "unknown_edge",
            Rejection::ContradictoryPolicy(_) => "contradictory_policy",
            Rejection::NotEntitled { .. } => "not_entitled",
            Rejection::SignerWithdrawn(_) => "signer_withdrawn",
            Rejection::SignerHasRole { .. } => "signer_has_role",
            Rejection::UnknownSigner(_) => "unknown_signer",
            Rejection::LastSigner(_) => "last_signer",
            Rejection::TooManySigners(_) => "too_many_signers",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::WrongAddress => f.write_str("this command does not concern that kind of address"),
            Rejection::UnknownVersion(v) => write!(f, "the keyring has no {v}"),
            Rejection::NoKey => f.write_str("the keyring has no key; issue one first"),
            Rejection::NothingToRotate => {
                f.write_str("no version is accepted or pending; issue a key instead of rotating")
            }
            Rejection::NotActive(v) => write!(f, "{v} is not active, so it cannot be superseded"),
            Rejection::TooManyActive(n) => write!(
                f,
                "{n} versions are active or issued, as many as max_active allows; retire one or raise it"
            ),
            Rejection::TooManyAccepted(n) => {
                write!(f, "{n} versions are still accepted; wait until old ones retire, or retire some")
            }
            Rejection::AlreadyRetired(v) => write!(f, "{v} was retired before"),
            Rejection::AlreadyRevoked(v) => write!(f, "{v} was revoked, and a revoked key never comes back"),
            Rejection::AlreadyExpired(v) => write!(f, "{v} has expired"),
            Rejection::LastActive(v) => {
                write!(f, "{v} is the last accepted version; rotate first, or revoke it if nobody may use it")
            }
            Rejection::NotDue(v) => write!(f, "the log does not show that {v} may retire yet"),
            Rejection::KidTaken => f.write_str("the kid is in the keyring already"),
            Rejection::DigestTaken(v) => write!(f, "the same key is in the keyring already, as {v}"),
            Rejection::NothingToRestore => f.write_str("going back there would restore nothing"),
            Rejection::UnknownEdge(edge) => write!(f, "edge {edge} is not on the roster"),
            Rejection::ContradictoryPolicy(detail) => f.write_str(detail),
            Rejection::NotEntitled { by, role: Some(role) } => write!(
                f,
                "{by} may not introduce a signer: sign with the root's seed or that of a standing {}",
                role.name()
            ),
            Rejection::NotEntitled { by, role: None } => {
                write!(f, "{by} is no root of the signers file; only a root withdraws a signer")
            }
            Rejection::SignerWithdrawn(key) => {
                write!(f, "{key} was withdrawn, and a withdrawn key never comes back; make a new one")
            }
            Rejection::SignerHasRole { key, role } => {
                write!(f, "{key} signs as {} already; each role has keys of its own", role.name())
            }
            Rejection::UnknownSigner(key) => write!(f, "{key} is no signer's key"),
            Rejection::LastSigner(role) => {
                write!(f, "it is the last key that signs as {}; introduce its successor first", role.name())
            }
            Rejection::TooManySigners(role) => write!(
                f,
                "{INTRODUCED_MAX} keys that were introduced by a key of the role sign as {}; withdraw some, or sign \
                 with the root's seed",
                role.name()
            ),
        }
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_secret_is_told_by_its_size() {
        let secret = "5u8CGxVzKfBCp5qGvhJXW0JnylemGe9idDPNGUe16rk";
        for (text, shown) in [
            (format!("kw_live_E3sFWgZ0B7_{secret}3vGryE"), "(68 bytes)"),
            (format!("say \"{secret}\", not `ü{secret}ü`"), "say \"(43 bytes)\", not `ü(43 bytes)ü`"),
            ("SUAAOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBZ5FE".to_owned(), "(58 bytes)"),
            (
                "0190a0c2-7b7e-7d3e-8f00-000000000001 ends 9.5s".to_owned(),
                "0190a0c2-7b7e-7d3e-8f00-000000000001 ends 9.5s",
            ),
        ] {
            assert_eq!(redacted(&text), shown);
        }
        let told = InvalidText::new("actor", &format!("x {secret}"), "no").to_string();
        assert_eq!(told, "actor \"x (43 bytes)\": no");
    }
}
