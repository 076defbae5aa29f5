//! How far the log was verified before: an auditor's own witness, which nobody else can alter.

use crate::failure::Failure;
use keywheel_audit::inspect::{Inspection, Witness};
use keywheel_runtime::config::read_text;
use keywheel_wire::chain::Chain;
use keywheel_wire::text::{Hex32, Id, Moment};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::Path;

const BYTES_MAX: usize = 4096;

/// Where a verification that found nothing wrong ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// Whose log it was.
    pub installation: Id,
    /// When its stream was created.
    pub created: Moment,
    /// Its last sequence.
    pub seq: u64,
    /// The running hash there.
    pub chain: Hex32,
}

impl Remembered {
    /// Reads it; none where there is no such file yet.
    pub fn load(path: &Path) -> Result<Option<Self>, Failure> {
        let bad = |error: &dyn std::fmt::Display| {
            Failure::config("remember", format!("cannot use {}: {error}", path.display()))
        };
        match read_text(path, BYTES_MAX) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| bad(&error)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(bad(&error)),
        }
    }

    /// What an inspection without a finding leaves behind.
    pub fn of(installation: Id, created: Moment, inspection: &Inspection) -> Option<Self> {
        let chain = inspection.chain.filter(|_| inspection.findings.is_empty())?;
        Some(Self { installation, created, seq: inspection.last, chain: Hex32(chain.0) })
    }

    /// Writes it, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string(self).expect("our own documents have text keys");
        let beside = path.with_extension("part");
        let written =
            std::fs::write(&beside, format!("{text}\n")).and_then(|()| std::fs::rename(&beside, path));
        written.map_err(|error| {
            Failure::refused("remember", format!("cannot write {}: {error}", path.display()))
        })
    }

    /// As a witness.
    pub fn witness(&self) -> Witness {
        Witness { who: "the verification before".to_owned(), seq: self.seq, chain: Chain(self.chain.0) }
    }
}
