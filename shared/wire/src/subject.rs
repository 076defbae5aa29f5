//! Every stream, subject, durable, queue and header literal of the contract. Nothing else in the
//! project spells one.

use crate::Malformed;
use crate::snapshot::Slot;
pub use keywheel_domain::Service;
use keywheel_domain::{Address, Client, EdgeId, KeyringId, Kid, LeafId, Tenant, Version};
use std::borrow::Cow;

/// The log.
pub const EVENTS: &str = "KW_EVENTS";
/// Durable intake of commands.
pub const COMMANDS: &str = "KW_COMMANDS";
/// Outcomes, the last one of each command for 24 h.
pub const RESULTS: &str = "KW_RESULTS";
/// Usage reports.
pub const USAGE: &str = "KW_USAGE";
/// Sealed secrets before activation.
pub const STAGE: &str = "KW_STAGE";
/// Sealed secrets for their owners.
pub const DELIVERY: &str = "KW_DELIVERY";
/// Liveness and watermarks.
pub const PULSE: &str = "KW_PULSE";
/// Receipts, alarms, barriers passed.
pub const NOTICES: &str = "KW_NOTICES";
/// The object store of snapshots.
pub const SNAPSHOTS: &str = "KW_SNAPSHOTS";
/// The stream behind it.
pub const SNAPSHOTS_STREAM: &str = "OBJ_KW_SNAPSHOTS";

/// All events.
pub const EVENTS_ALL: &str = "kw.evt.>";
/// Where a lost log's messages are published while it is restored: no service writes there.
pub const RESTORE_ALL: &str = "kw.restore.>";
/// What the statement is signed for that makes a stream the log which was lost; nothing is published there.
pub const SUCCESSOR: &str = "kw.successor";
/// All results.
pub const RESULTS_ALL: &str = "kw.res.>";
/// All usage reports.
pub const USAGE_ALL: &str = "kw.use.>";
/// All staged secrets.
pub const STAGE_ALL: &str = "kw.stage.>";
/// All deliveries.
pub const DELIVERY_ALL: &str = "kw.dlv.>";
/// All pulses.
pub const PULSE_ALL: &str = "kw.edge.*.pulse";
/// All notices.
pub const NOTICES_ALL: &str = "kw.notice.>";
/// All alarms.
pub const ALARMS_ALL: &str = "kw.notice.*.*.alarm";
/// Signed heads of the log.
pub const HEADS: &str = "kw.notice._._.head";
/// Everything in the store of snapshots.
pub const SNAPSHOTS_ALL: &str = "$O.KW_SNAPSHOTS.>";
/// All chunks of snapshots.
pub const CHUNKS_ALL: &str = "$O.KW_SNAPSHOTS.C.>";
/// All manifests of snapshots.
pub const MANIFESTS_ALL: &str = "$O.KW_SNAPSHOTS.M.>";
/// All commands.
pub const COMMANDS_ALL: &str = "kw.cmd.>";
/// All rollbacks of keyrings.
pub const ROLLBACKS_ALL: &str = "kw.cmd.*.*.rollback";
/// Questions to services about what they know beside the log.
pub const ASK_ALL: &str = "kw.ask.>";
/// Where the usage-tracker answers who uses which version.
pub const ASK_USAGE_ALL: &str = "kw.ask.usage.*.*";
/// Where the propagator is asked to write a snapshot, and answers with its manifest.
pub const ASK_SNAPSHOT: &str = "kw.ask.snapshot._._";

/// What calls to JetStream begin with.
pub const API: &str = "$JS.API";
/// What they become where an account without streams maps them on their way to the account that has them: under their
/// own name such an account would answer them itself.
pub const API_MAPPED: &str = "kw.api";

/// Header: the event's id, for the bus's own duplicate window.
pub const HEADER_ID: &str = "Nats-Msg-Id";
/// Header: which atomic batch a message came in.
pub const HEADER_BATCH: &str = "Nats-Batch-Id";
/// Header: its place there, from 1.
pub const HEADER_BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";
/// Header: takes all older messages of its subject away.
pub const HEADER_ROLLUP: &str = "Nats-Rollup";
/// Header: on the last one of a batch, which stores them all.
pub const HEADER_BATCH_COMMIT: &str = "Nats-Batch-Commit";
/// Header: the event's type.
pub const HEADER_TYPE: &str = "Kw-Type";
/// Header: the envelope's version.
pub const HEADER_V: &str = "Kw-V";
/// Header: public nkey of the service that wrote the event.
pub const HEADER_SIGNER: &str = "Kw-Signer";
/// Header: its signature.
pub const HEADER_SIGNATURE: &str = "Kw-Signature";

/// What a command asks for: the last token of its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// First or additional key.
    Issue,
    /// Next version.
    Rotate,
    /// Pass the barrier by hand.
    Activate,
    /// Retire now.
    Retire,
    /// Compromised.
    Revoke,
    /// Back to an earlier position.
    Rollback,
    /// Change how long things last.
    Policy,
    /// Adopt a key by digest.
    Import,
    /// Put an edge on the roster.
    EdgeAdd,
    /// Take an edge off the roster.
    EdgeRemove,
    /// Introduce a signing key.
    SignerAdd,
    /// Withdraw a signing key.
    SignerWithdraw,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Verb; 12] = [
        Verb::Issue,
        Verb::Rotate,
        Verb::Activate,
        Verb::Retire,
        Verb::Revoke,
        Verb::Rollback,
        Verb::Policy,
        Verb::Import,
        Verb::EdgeAdd,
        Verb::EdgeRemove,
        Verb::SignerAdd,
        Verb::SignerWithdraw,
    ];

    /// The token in subjects.
    pub fn word(self) -> &'static str {
        match self {
            Verb::Issue => "issue",
            Verb::Rotate => "rotate",
            Verb::Activate => "activate",
            Verb::Retire => "retire",
            Verb::Revoke => "revoke",
            Verb::Rollback => "rollback",
            Verb::Policy => "policy",
            Verb::Import => "import",
            Verb::EdgeAdd => "edge-add",
            Verb::EdgeRemove => "edge-remove",
            Verb::SignerAdd => "signer-add",
            Verb::SignerWithdraw => "signer-withdraw",
        }
    }

    /// The service that decides it (ARCHITECTURE, "Commands, events, one gate").
    pub fn decided_by(self) -> Service {
        match self {
            Verb::Issue | Verb::Rotate | Verb::Rollback | Verb::Policy | Verb::Import => Service::Issuer,
            Verb::Activate | Verb::EdgeAdd | Verb::EdgeRemove | Verb::SignerAdd | Verb::SignerWithdraw => {
                Service::Propagator
            }
            Verb::Retire | Verb::Revoke => Service::Retirer,
        }
    }

    /// The filter that takes this verb's commands of all keyrings.
    pub fn filter(self) -> String {
        format!("kw.cmd.*.*.{}", self.word())
    }
}

/// The durable by which an edge replays the log.
pub fn edge_durable(edge: &EdgeId) -> String {
    format!("edge-{edge}")
}

/// The durable by which the hub feeds a leaf's mirror of the log.
pub fn leaf_durable(leaf: &LeafId) -> String {
    format!("leaf-{leaf}")
}

/// Where it does.
pub fn mirror(leaf: &LeafId) -> String {
    format!("kw.mirror.{leaf}")
}

/// Where the leaf says how much of that it has taken.
pub fn mirror_flow(leaf: &LeafId) -> String {
    format!("$JS.FC.{EVENTS}.{}.*", leaf_durable(leaf))
}

/// Where a message of the log is published while the log is restored.
///
/// # Errors
/// When its subject is not one of the log's.
pub fn restore(subject: &str) -> Result<String, Malformed> {
    let place = subject.strip_prefix("kw.evt.").filter(|place| !place.is_empty());
    let place = place.ok_or_else(|| Malformed::new("subject", "expected one of the log's, kw.evt.…"))?;
    Ok(format!("kw.restore.{place}"))
}

/// The one subject of an address in the log.
pub fn event(address: &Address) -> String {
    match address {
        Address::Keyring(id) => format!("kw.evt.{}.{}", id.tenant, id.client),
        Address::Tenant(tenant) => format!("kw.evt.{tenant}._"),
        Address::Installation => "kw.evt._._".to_owned(),
    }
}

/// The filter that takes a tenant's events: its keyrings' and its own.
pub fn events_of(tenant: &Tenant) -> String {
    format!("kw.evt.{tenant}.*")
}

/// Reads an event subject back.
///
/// # Errors
/// When it is none.
pub fn parse_event(subject: &str) -> Result<Address, Malformed> {
    let mut tokens = subject.split('.');
    let head = (tokens.next(), tokens.next());
    match (head, tokens.next(), tokens.next(), tokens.next()) {
        ((Some("kw"), Some("evt")), Some(tenant), Some(client), None) => parse_address(tenant, client),
        _ => Err(Malformed::new("subject", format!("`{subject}` is no event subject"))),
    }
}

/// What tells an event subject from others: its tenant and client. Any other subject stands there whole, after a
/// space, which is in none.
pub fn event_place(subject: &str) -> Cow<'_, str> {
    match subject.strip_prefix("kw.evt.") {
        Some(place) => Cow::Borrowed(place),
        None => Cow::Owned(format!(" {subject}")),
    }
}

/// The subject that has this place.
pub fn event_at(place: &str) -> String {
    match place.strip_prefix(' ') {
        Some(other) => other.to_owned(),
        None => format!("kw.evt.{place}"),
    }
}

/// The address that an event's place is.
///
/// # Errors
/// When it is none.
pub fn parse_place(place: &str) -> Result<Address, Malformed> {
    let none = || Malformed::new("subject", format!("`{place}` is no event's place"));
    let (tenant, client) = place.split_once('.').ok_or_else(none)?;
    parse_address(tenant, client)
}

fn parse_address(tenant: &str, client: &str) -> Result<Address, Malformed> {
    Ok(match (tenant, client) {
        ("_", "_") => Address::Installation,
        (tenant, "_") => Address::Tenant(Tenant::parse(tenant)?),
        (tenant, client) => {
            Address::Keyring(KeyringId { tenant: Tenant::parse(tenant)?, client: Client::parse(client)? })
        }
    })
}

/// The subject of a command.
pub fn command(address: &Address, verb: Verb) -> String {
    let (tenant, client) = tokens(address);
    format!("kw.cmd.{tenant}.{client}.{}", verb.word())
}

fn tokens(address: &Address) -> (&str, &str) {
    match address {
        Address::Keyring(id) => (id.tenant.as_str(), id.client.as_str()),
        Address::Tenant(tenant) => (tenant.as_str(), "_"),
        Address::Installation => ("_", "_"),
    }
}

/// Reads a command subject back.
///
/// # Errors
/// When it is none, or names something that has no valid name.
pub fn parse_command(subject: &str) -> Result<(Address, Verb), Malformed> {
    let tokens: Vec<&str> = subject.split('.').collect();
    let ["kw", "cmd", tenant, client, word] = tokens.as_slice() else {
        return Err(Malformed::new("subject", format!("`{subject}` is no command subject")));
    };
    let verb = Verb::ALL.into_iter().find(|verb| verb.word() == *word);
    let verb = verb.ok_or_else(|| Malformed::new("subject", format!("`{word}` is no verb")))?;
    Ok((parse_address(tenant, client)?, verb))
}

/// Where the outcome of a command lies.
pub fn result(command: u128) -> String {
    format!("kw.res.{}", crate::text::id(command))
}

/// Where an edge's usage reports go.
pub fn usage(edge: &EdgeId) -> String {
    format!("kw.use.{edge}")
}

/// Where a sealed secret waits for its activation.
pub fn stage(kid: Kid) -> String {
    format!("kw.stage.{kid}")
}

/// Where a released secret lies.
pub fn delivery(keyring: &KeyringId, version: Version) -> String {
    format!("kw.dlv.{}.{}.{}", keyring.tenant, keyring.client, version.0)
}

/// Where an edge's pulses go.
pub fn pulse(edge: &EdgeId) -> String {
    format!("kw.edge.{edge}.pulse")
}

/// Where a notice of one kind about one address goes.
pub fn notice(address: &Address, kind: &str) -> String {
    let (tenant, client) = tokens(address);
    format!("kw.notice.{tenant}.{client}.{kind}")
}

/// Where the manifest of the snapshot in a slot lies.
pub fn manifest(slot: Slot) -> String {
    format!("$O.KW_SNAPSHOTS.M.{}", slot.token())
}

/// Where the chunks of the snapshot in a slot lie.
pub fn chunks(slot: Slot) -> String {
    format!("$O.KW_SNAPSHOTS.C.{}", slot.name())
}

/// The filter that takes every notice of one kind.
pub fn notices_of(kind: &str) -> String {
    format!("kw.notice.*.*.{kind}")
}

/// Where the usage-tracker answers who uses which version of a keyring.
pub fn ask_usage(keyring: &KeyringId) -> String {
    format!("kw.ask.usage.{}.{}", keyring.tenant, keyring.client)
}

/// Reads the keyring out of [`ask_usage`]'s subject.
///
/// # Errors
/// When it is none.
pub fn parse_ask_usage(subject: &str) -> Result<KeyringId, Malformed> {
    let rest = subject.strip_prefix("kw.ask.usage.").and_then(|rest| rest.split_once('.'));
    let (tenant, client) = rest.ok_or_else(|| Malformed::new("subject", "no usage question"))?;
    Ok(KeyringId { tenant: Tenant::parse(tenant)?, client: Client::parse(client)? })
}
