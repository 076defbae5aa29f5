//! `keywheel audit`: whether the log is whole, and what goes to an auditor.

mod check;
mod export;
mod pages;
mod proof;
mod remembered;
mod report;
mod verify;

use crate::arguments::GlobalOptions;
use crate::context::Context;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::session::Session;
use clap::Subcommand;
use keywheel_bus::connect::read_signers;
use keywheel_wire::signers::Signers;
use std::path::Path;
use std::sync::Arc;

/// What an auditor does.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Check every message of the log: who wrote it, that it continues what stands before it, that none is missing
    Verify(verify::Verify),
    /// Write the proofs of one rotation as documents that stand by themselves
    Proof(proof::Proof),
    /// Check such documents with nothing but the public keys
    Check(check::Check),
    /// Tables for an auditor: keys, rotations, what is overdue, compromises, overlaps
    Report(report::ReportOptions),
    /// Write the log out, as it stands or for other programs
    Export(export::Export),
}

impl Audit {
    /// Does it.
    pub(crate) async fn run(self, options: &GlobalOptions, screen: &Screen) -> Result<u8, Failure> {
        match self {
            Audit::Verify(verify) => verify.run(options, screen).await,
            Audit::Check(check) => check.run(options, screen),
            Audit::Proof(proof) => {
                let session = Session::open(Context::load(options)?, options, screen).await?;
                let ended = proof.run(&session).await;
                session.bus.close().await;
                ended
            }
            Audit::Report(report) => {
                let session = Session::open(Context::load(options)?, options, screen).await?;
                let ended = report.run(&session).await;
                session.bus.close().await;
                ended
            }
            Audit::Export(export) => {
                let session = Session::open(Context::load(options)?, options, screen).await?;
                let ended = export.run(&session).await;
                session.bus.close().await;
                ended
            }
        }
    }
}

/// The signers file that was named, or the context's.
fn signers(named: Option<&Path>, options: &GlobalOptions) -> Result<Arc<Signers>, Failure> {
    let file = match named {
        Some(file) => file.to_owned(),
        None => Context::load(options)?.signers_file()?,
    };
    read_signers(&file).map_err(|error| Failure::config("signers", format!("signers: {error}")))
}
