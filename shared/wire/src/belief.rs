//! What a reader believes: only what a service wrote that is entitled to say it, in this installation and
//! at this place. One way for all readers; whether it continues its keyring's history is the fold's to say.

use crate::event::{self, Head, Read};
use crate::notice::{self, Notice};
use crate::signature::Signed;
use crate::signers::{Signers, When};
use crate::snapshot::{self, Manifest};
use crate::subject::{self, Service};
use keywheel_domain::event::FactKind;
use keywheel_domain::key::Cause;
use keywheel_domain::{Address, Fact};
use std::fmt;

/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 300;

/// Why a message does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Forged, foreign or out of place: no part of history.
    Skip(String),
    /// Part of history, not understood: its address stays as it was from here on.
    Freeze(String),
}

impl Doubt {
    /// Why.
    pub fn reason(&self) -> &str {
        match self {
            Doubt::Skip(reason) | Doubt::Freeze(reason) => reason,
        }
    }

    /// Whether it freezes its address.
    pub fn freezes(&self) -> bool {
        match self {
            Doubt::Skip(_) => false,
            Doubt::Freeze(_) => true,
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// Reads the message at `seq` of the log as the event that an entitled service wrote there, for a reader who has
/// applied what stands before it.
///
/// # Errors
/// Why it does not count. What anybody could have put there is skipped, and so is what a service says
/// that is not its to say; only what may well be history freezes. The installation's own address never does: there a
/// stolen key must be able to be withdrawn.
pub fn event(
    signers: &Signers,
    seq: u64,
    subject: &str,
    payload: &[u8],
    signed: Option<&Signed>,
) -> Result<Read, Doubt> {
    let skip = |reason: &dyn fmt::Display| Doubt::Skip(bounded(&format!("{subject}: {reason}")));
    let is_frozen_by = subject != subject::event(&Address::Installation);
    let freeze = |error: &dyn fmt::Display| {
        let reason = bounded(&format!("{subject} cannot be understood: {error}"));
        if is_frozen_by { Doubt::Freeze(reason) } else { Doubt::Skip(reason) }
    };
    let author = signers.author(When::At(seq), signed, subject, payload).map_err(|reason| skip(&reason))?;
    let head = event::head(payload).map_err(|error| freeze(&error))?;
    let address = place(signers, &head, subject).map_err(|reason| skip(&reason))?;
    let kind = head.kind().map_err(|error| freeze(&error))?;
    let overreach = || skip(&format!("the {} may not write {}", author.name(), crate::body::type_word(kind)));
    if !writes(author, kind) {
        return Err(overreach());
    }
    let read = head.open(address, kind).map_err(|error| freeze(&error))?;
    if !is_entitled(author, &read.event.fact) {
        return Err(overreach());
    }
    signers.admits(seq, &read.event.fact).map_err(|reason| skip(&reason))?;
    Ok(read)
}

/// Reasons quote what strangers wrote, and end up in logs and on screens.
fn bounded(reason: &str) -> String {
    let plain = |char: char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
    reason.chars().take(REASON_CHARS_MAX).map(plain).collect()
}

/// The address at which it was meant to stand: this one, in this installation.
fn place(signers: &Signers, head: &Head<'_>, subject: &str) -> Result<Address, String> {
    match head.installation() {
        Some(installation) if installation == signers.installation() => {}
        Some(_) => return Err("it belongs to another installation".to_owned()),
        None => return Err("it names no installation".to_owned()),
    }
    head.address_at(subject).map_err(|error| error.to_string())
}

/// Whether a service ever writes events of a type.
pub fn writes(service: Service, kind: FactKind) -> bool {
    match kind {
        FactKind::KeyIssued | FactKind::RolledBack | FactKind::PolicySet => service == Service::Issuer,
        FactKind::KeyActivated
        | FactKind::EdgeAdded
        | FactKind::EdgeRemoved
        | FactKind::SignerAdded
        | FactKind::SignerWithdrawn => service == Service::Propagator,
        FactKind::KeySeen => service == Service::UsageTracker,
        FactKind::KeyRetired => match service {
            Service::Retirer | Service::Propagator => true,
            Service::Issuer | Service::UsageTracker => false,
        },
    }
}

/// Whether a fact is a service's to say. The propagator ends a key for one cause only: that nothing can
/// be delivered (SAFETY 7).
pub fn is_entitled(service: Service, fact: &Fact) -> bool {
    let by_cause = match fact {
        Fact::KeyRetired(ended) => match (&ended.cause, service) {
            (Cause::Cancelled, _) => true,
            (Cause::Superseded | Cause::Requested | Cause::Revoked | Cause::Expired, service) => {
                service == Service::Retirer
            }
            // A rollback says so itself, in `RolledBack`.
            (Cause::RolledBack, _) => false,
        },
        Fact::KeyIssued(_)
        | Fact::KeyActivated(_)
        | Fact::KeySeen(_)
        | Fact::RolledBack(_)
        | Fact::PolicySet(_)
        | Fact::EdgeAdded(_)
        | Fact::EdgeRemoved(_)
        | Fact::SignerAdded(_)
        | Fact::SignerWithdrawn(_) => true,
    };
    writes(service, fact.kind()) && by_cause
}

/// Reads a notice as a service that may give it wrote it. Notices stand in no order with the log: who hears one now
/// believes no key that was withdrawn, who reads an old one takes it as of the position of which it speaks.
///
/// # Errors
/// Why it does not count.
pub fn notice(
    signers: &Signers,
    heard: Heard,
    subject: &str,
    payload: &[u8],
    signed: Option<&Signed>,
) -> Result<Notice, String> {
    let read = || notice::read(payload).map_err(|error| bounded(&error.to_string()));
    let when = match heard {
        Heard::Live => When::Now,
        Heard::Stored => read().ok().and_then(|notice| about(&notice)).map_or(When::Now, When::About),
    };
    let author = signers.author(when, signed, subject, payload)?;
    let notice = read()?;
    if let Notice::Head(head) = &notice
        && head.installation.0 != signers.installation().0
    {
        return Err("it belongs to another installation".to_owned());
    }
    if gives(author, &notice) {
        return Ok(notice);
    }
    Err(format!("the {} may not give a {}", author.name(), notice.kind()))
}

/// Whether a notice is heard as it is given, or read later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// As it is given.
    Live,
    /// From what is stored.
    Stored,
}

/// The position of the log that a notice is about, where it names one.
fn about(notice: &Notice) -> Option<u64> {
    match notice {
        Notice::Receipt(receipt) => Some(receipt.seq),
        Notice::Alarm(alarm) => alarm.seq,
        Notice::Head(head) => Some(head.seq),
    }
}

/// The alarm that a rotation is undone by itself: the usage-tracker's only one.
pub const AUTO_ROLLBACK: &str = "auto_rollback";

/// Whether a notice is a service's to give: receipts and heads are the propagator's, alarms of those that decide.
pub fn gives(service: Service, notice: &Notice) -> bool {
    match (notice, service) {
        (Notice::Receipt(_) | Notice::Head(_), service) => service == Service::Propagator,
        (Notice::Alarm(_), Service::Issuer | Service::Propagator | Service::Retirer) => true,
        (Notice::Alarm(alarm), Service::UsageTracker) => alarm.code == AUTO_ROLLBACK,
    }
}

/// Reads a manifest as a service that may write snapshots wrote it, of this installation and at this place. What it is
/// bound to the log has to confirm.
///
/// # Errors
/// Why it does not count.
pub fn snapshot(
    signers: &Signers,
    at: &str,
    payload: &[u8],
    signed: Option<&Signed>,
) -> Result<Manifest, String> {
    let author = signers.author(When::Now, signed, at, payload)?;
    if !takes_snapshots(author) {
        return Err(format!("the {} may not write snapshots", author.name()));
    }
    let (slot, manifest) = snapshot::read(payload).map_err(|error| bounded(&error.to_string()))?;
    if subject::manifest(slot) != at || slot.name() != manifest.nuid {
        return Err("it stands in another slot than it says".to_owned());
    }
    if manifest.metadata.installation.0 != signers.installation().0 {
        return Err("it belongs to another installation".to_owned());
    }
    Ok(manifest)
}

/// Whether snapshots are a service's to write.
pub fn takes_snapshots(service: Service) -> bool {
    match service {
        Service::Propagator => true,
        Service::Issuer | Service::UsageTracker | Service::Retirer => false,
    }
}
