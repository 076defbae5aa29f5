//! What an operator does: commands are published and their effects awaited, the log and the fleet shown.
//!
//! Everything here is a client like any other: it uses what the contract offers to each operator
//! credential, and decides nothing.
//!
//! # Layout
//! - [`GlobalOptions`], [`Operator`], [`run()`]: what the one binary composes
//! - `issue`, `rotate`, `import`, `activate`, `retire`, `revoke`, `rollback`, `policy`: one file per command
//! - `status`, `edges`, `log`, `verify`, `fetch`, `recipient`: what reads and shows
//! - `signer`: whose events are believed; `signer_list` shows it, `signer_role` and `seed_file` make its seeds
//! - `state`, `diff`, `would_accept`: questions to the past; `past`: histories, cut at a moment
//! - `audit`: whether the log is whole, and what goes to an auditor
//! - `import_rows`, `import_bulk`: many keys at once, checked, then adopted
//! - `rotate_all`, `rollback_all`, `selection`: a tenant's keyrings at once; `rollback_plan`: what going back does
//! - `bulk`: many commands sent in batches, each until its outcome is known
//! - `cache`: what was read of long histories, kept in the home
//! - `await_activation`, `await_receipt`, `await_retirement`: waiting for a proof, and saying what it waits for
//! - `session`, `context`, `document`, `outage`: from the context file to a command's outcome
//! - `replay`, `fleet`: the log folded, the edges' pulses heard; `alarms`: what was found of them and still stands
//! - `schedule_words`, `waiting_words`: what comes next and what it waits for
//! - `screen`, `words`, `failure`: how things are told, on which stream, with which exit code

mod activate;
mod alarms;
mod arguments;
mod audit;
mod await_activation;
mod await_receipt;
mod await_retirement;
mod bulk;
mod cache;
mod context;
mod deadline;
mod diff;
mod difference;
mod document;
mod doubt_words;
mod edges;
mod evidence;
mod failure;
mod fetch;
mod fleet;
mod fleet_words;
mod handover;
mod import;
mod import_bulk;
pub mod import_rows;
mod issue;
mod key_input;
mod key_search;
mod log;
mod log_words;
mod outage;
mod past;
mod policy;
mod policy_fields;
mod probe;
mod receipt_words;
mod recipient;
mod replay;
mod retire;
mod revoke;
mod rollback;
mod rollback_all;
mod rollback_plan;
mod rotate;
mod rotate_all;
#[cfg(test)]
mod scene;
mod schedule_words;
mod screen;
mod seed_file;
mod selection;
mod session;
mod signer;
mod signer_list;
mod signer_role;
mod spec;
mod state;
mod status;
mod status_table;
mod status_version;
mod verify;
mod waiting_words;
mod words;
mod would_accept;
mod would_accept_words;

pub use arguments::{GlobalOptions, Output};

use clap::Subcommand;
use failure::Failure;
use session::Session;

/// The operator's commands, to be flattened into the binary's own.
#[derive(Debug, Subcommand)]
pub enum Operator {
    /// Issue a first or an additional key; prints it once, to standard output alone
    Issue(Box<issue::Issue>),
    /// Begin the next version; the old ones retire when they are provably unused
    Rotate(Box<rotate::Rotate>),
    /// Retire a version now, without waiting for quiet
    Retire(retire::Retire),
    /// Revoke a compromised key; waits for the receipt and prints it
    Revoke(revoke::Revoke),
    /// Pass a version's barrier by hand
    Activate(activate::Activate),
    /// Restore what held at an earlier position
    Rollback(rollback::Rollback),
    /// Adopt an existing key by its digest, so that nobody is issued a new one
    Import(Box<import::Import>),
    /// Show or change how long things last
    #[command(subcommand)]
    Policy(policy::Policy),
    /// The curve key to which secrets are sealed for you
    #[command(subcommand)]
    Recipient(recipient::Recipient),
    /// Open a sealed delivery again, as long as it is kept
    Fetch(fetch::Fetch),
    /// Show keyrings, or one keyring's versions and what they wait for
    Status(status::Status),
    /// Show the fleet: every edge on the roster, how far it is and whether it is heard
    Edges(edges::Edges),
    /// Show the events
    Log(log::Log),
    /// Show what was true at a moment of the past: versions, policy, deadlines
    State(state::State),
    /// Show what changed between two moments of the past, and by whose doing
    Diff(diff::Diff),
    /// Say whether a key would have been accepted at a moment of the past, by which edge, and why
    WouldAccept(Box<would_accept::WouldAccept>),
    /// Whose events are believed: make, introduce, withdraw and list signing keys
    #[command(subcommand)]
    Signer(signer::Signer),
    /// Check the log and hand it over: integrity, proofs, exports, reports
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Ask an edge about a key, as a probe: it does not count as use
    Verify(verify::Verify),
}

/// Runs one command; gives the exit code (PROTOCOL 1). Output and errors are written by then.
pub async fn run(command: Operator, options: &GlobalOptions) -> u8 {
    let screen = screen::Screen::new(options.output);
    match dispatch(command, options, &screen).await {
        Ok(code) => code,
        Err(failure) => {
            screen.fail(&failure);
            failure.exit
        }
    }
}

async fn dispatch(
    command: Operator,
    options: &GlobalOptions,
    screen: &screen::Screen,
) -> Result<u8, Failure> {
    if let Operator::Recipient(recipient) = command {
        return recipient.run(options, screen);
    }
    if let Operator::Audit(audit) = command {
        return audit.run(options, screen).await;
    }
    if let Operator::Signer(signer::Signer::New(new)) = command {
        return new.run(options, screen);
    }
    let context = context::Context::load(options)?;
    if let Operator::Verify(verify) = command {
        return verify.run(&context, options, screen).await;
    }
    let session = Session::open(context, options, screen).await?;
    let ended = on_the_bus(command, &session).await;
    session.bus.close().await;
    ended
}

async fn on_the_bus(command: Operator, session: &Session<'_>) -> Result<u8, Failure> {
    match command {
        Operator::Issue(command) => command.run(session).await,
        Operator::Rotate(command) => command.run(session).await,
        Operator::Retire(command) => command.run(session).await,
        Operator::Revoke(command) => command.run(session).await,
        Operator::Activate(command) => command.run(session).await,
        Operator::Rollback(command) => command.run(session).await,
        Operator::Import(command) => command.run(session).await,
        Operator::Policy(policy) => policy.run(session).await,
        Operator::Fetch(command) => command.run(session).await,
        Operator::Status(command) => command.run(session).await,
        Operator::Edges(command) => command.run(session).await,
        Operator::Log(command) => command.run(session).await,
        Operator::State(command) => command.run(session).await,
        Operator::Diff(command) => command.run(session).await,
        Operator::WouldAccept(command) => command.run(session).await,
        Operator::Signer(signer) => signer.run(session).await,
        Operator::Recipient(recipient) => recipient.run(session.options, session.screen),
        Operator::Audit(audit) => audit.run(session.options, session.screen).await,
        Operator::Verify(command) => command.run(&session.context, session.options, session.screen).await,
    }
}

#[cfg(test)]
mod command_line;
