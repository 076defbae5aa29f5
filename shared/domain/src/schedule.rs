//! When a keyring is rotated by itself, recomputed from its state whenever it is asked. Nothing about
//! a schedule is stored: the newest version's issue is where the count begins, so that a rotation by hand
//! begins it anew, and a service that was down for long finds one rotation due, never several.

use crate::decide::ACCEPTED_MAX;
use crate::key::{KeyState, Version};
use crate::name::KeyringId;
use crate::policy::Policy;
use crate::state::State;
use crate::time::{At, Span};
use std::fmt;

/// The shortest `every`: a barrier takes its time, and below it a schedule is a loop.
pub const EVERY_MIN: Span = Span::secs(1);

/// A keyring's next rotation by schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// When it starts, unless it is held.
    pub due: At,
    /// What would keep it from starting, as things stand.
    pub hold: Option<Hold>,
}

/// Why a rotation by schedule does not start. Each passes by a change to the keyring or its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nobody holds a key that could be replaced.
    NothingToRotate,
    /// A version waits for its activation, and a rotation would cancel it.
    Pending(Version),
    /// The policy names no `recipient`, so the new secret has nowhere to go.
    NoRecipient,
    /// As many old versions as `max_active` are still in their overlaps: clients do not fetch their newer keys.
    Overlaps(u32),
    /// Too many versions are accepted for one more.
    TooManyAccepted(usize),
}

impl Hold {
    /// The code that programs match on.
    pub fn code(self) -> &'static str {
        match self {
            Hold::NothingToRotate => "nothing_to_rotate",
            Hold::Pending(_) => "pending",
            Hold::NoRecipient => "no_recipient",
            Hold::Overlaps(_) => "too_many_overlaps",
            Hold::TooManyAccepted(_) => "too_many_accepted",
        }
    }

    /// Whether a person has to do something; else it passes by itself.
    pub fn needs_a_person(self) -> bool {
        match self {
            Hold::NoRecipient | Hold::Overlaps(_) | Hold::TooManyAccepted(_) => true,
            Hold::NothingToRotate | Hold::Pending(_) => false,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::NothingToRotate => f.write_str("no version is in use any more; issue a key first"),
            Hold::Pending(version) => write!(f, "{version} waits for its activation first"),
            Hold::NoRecipient => f.write_str(
                "recipient: the policy names none, so the new secret has nowhere to go; set the public xkey \
                 of its owner (policy field `recipient`)",
            ),
            Hold::Overlaps(n) => write!(
                f,
                "max_active: {n} old versions are still accepted, as many as it allows a schedule; let the \
                 client fetch its newest key, retire old versions, or raise it"
            ),
            Hold::TooManyAccepted(n) => {
                write!(f, "{n} versions are still accepted; wait until old ones retire, or retire some")
            }
        }
    }
}

impl Scheduled {
    /// Whether its time has come.
    pub fn is_due(&self, now: At) -> bool {
        self.due <= now
    }

    /// Whether it may start now.
    pub fn starts(&self, now: At) -> bool {
        self.is_due(now) && self.hold.is_none()
    }
}

/// A keyring's next rotation by schedule under the policy that holds for it; none where there is no
/// schedule, or never was a key.
pub fn scheduled(keyring: &KeyringId, state: &State, policy: &Policy, now: At) -> Option<Scheduled> {
    let (newest, key) = state.newest()?;
    let due = due(keyring, newest, key.issued_at, policy)?;
    Some(Scheduled { due, hold: hold(state, policy, now) })
}

/// When the rotation after `newest` is due: `every` after its issue, and up to `jitter` later.
pub fn due(keyring: &KeyringId, newest: Version, issued_at: At, policy: &Policy) -> Option<At> {
    let every = policy.every.filter(|every| *every > Span(0))?;
    Some(issued_at.after(every).after(jitter(keyring, newest, policy.jitter)))
}

fn hold(state: &State, policy: &Policy, now: At) -> Option<Hold> {
    let pending = state.keys.iter().find(|(_, key)| key.state == KeyState::Issued);
    if let Some((version, _)) = pending {
        return Some(Hold::Pending(*version));
    }
    if state.live(now).next().is_none() {
        return Some(Hold::NothingToRotate);
    }
    if policy.recipient.is_none() {
        return Some(Hold::NoRecipient);
    }
    let overlaps = state.live(now).filter(|(_, key)| matches!(key.state, KeyState::Retiring(_))).count();
    let overlaps = u32::try_from(overlaps).unwrap_or(u32::MAX);
    if overlaps >= policy.max_active {
        return Some(Hold::Overlaps(overlaps));
    }
    let accepted = state.keys.values().filter(|key| key.state.is_accepted()).count();
    (accepted >= ACCEPTED_MAX).then_some(Hold::TooManyAccepted(accepted))
}

/// A length in `0..=jitter` that follows from keyring and version, spread evenly over both.
fn jitter(keyring: &KeyringId, version: Version, jitter: Span) -> Span {
    let scaled = u128::from(mixed(keyring, version)) * (u128::from(jitter.0) + 1);
    Span(u64::try_from(scaled >> 64).unwrap_or(jitter.0))
}

/// FNV-1a over the names, then the last steps of SplitMix64. No secret depends on it; it only must never
/// change, or replicas of two releases would disagree about what is due.
fn mixed(keyring: &KeyringId, version: Version) -> u64 {
    let names = keyring.tenant.as_str().bytes().chain([b'/']).chain(keyring.client.as_str().bytes());
    let bytes = names.chain(version.0.to_be_bytes());
    let folded = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let once = (folded ^ (folded >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let twice = (once ^ (once >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    twice ^ (twice >> 31)
}

/// Why a policy's schedule cannot work; checked where one is set.
pub(crate) fn contradiction(policy: &Policy) -> Option<&'static str> {
    let every = policy.every.filter(|every| *every > Span(0))?;
    if every < EVERY_MIN {
        return Some("every is shorter than 1s; write 0s for no schedule at all");
    }
    if policy.jitter >= every {
        return Some("jitter must be shorter than every");
    }
    if every < policy.overlap_min {
        return Some(
            "every is shorter than overlap_min, so that old versions would pile up; make every longer or \
             overlap_min shorter",
        );
    }
    if every < policy.quiet {
        return Some(
            "every is shorter than quiet, so that old versions would pile up; make every longer or quiet \
             shorter",
        );
    }
    None
}
