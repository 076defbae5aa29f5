//! An edge's numbered usage report, and the usage-tracker's answer to who uses what.

use crate::Malformed;
use crate::text::{Id, Moment};
use keywheel_domain::{EdgeId, KeyringId, Version};
use serde::{Deserialize, Serialize};

/// Largest report that is read, in bytes.
pub const REPORT_BYTES_MAX: usize = 900 * 1024;

/// Most versions that one report names; the rest waits for the next.
pub const REPORT_USES_MAX: usize = 4000;

/// Use since the report before. Report n is cut only after n − 1 was acknowledged (SAFETY 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The edge's name on the roster.
    pub edge: String,
    /// One run of the edge's process.
    pub boot: Id,
    /// Counted per boot from 0 without a gap.
    pub number: u64,
    /// Set in a report 0 whose edge knows for certain that nothing was served between the last
    /// report of an earlier boot and this one: the earlier boot ended by a goodbye.
    pub continues: Option<LastReport>,
    /// The last report of a boot that ends on purpose: nothing is served after it.
    #[serde(default)]
    pub goodbye: bool,
    /// Accepted uses by version, probes not counted.
    pub uses: Vec<VersionUse>,
    /// Retired versions whose own key was shown and refused, probes not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<VersionRefused>,
}

/// A report of an earlier boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReport {
    /// The boot.
    pub boot: Id,
    /// Its last number.
    pub number: u64,
}

/// Accepted uses of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionUse {
    /// Whose.
    pub tenant: String,
    /// Whose.
    pub client: String,
    /// Which version.
    pub version: u32,
    /// How many.
    pub uses: u64,
}

impl VersionUse {
    /// The keyring and version.
    ///
    /// # Errors
    /// When a name is none.
    pub fn of(&self) -> Result<(KeyringId, Version), Malformed> {
        of(&self.tenant, &self.client, self.version)
    }
}

/// Refusals of one retired version: its whole key was shown, not its kid alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRefused {
    /// Whose.
    pub tenant: String,
    /// Whose.
    pub client: String,
    /// Which version.
    pub version: u32,
    /// How many.
    pub refused: u64,
}

impl VersionRefused {
    /// The keyring and version.
    ///
    /// # Errors
    /// When a name is none.
    pub fn of(&self) -> Result<(KeyringId, Version), Malformed> {
        of(&self.tenant, &self.client, self.version)
    }
}

fn of(tenant: &str, client: &str, version: u32) -> Result<(KeyringId, Version), Malformed> {
    Ok((KeyringId::parse(&format!("{tenant}/{client}"))?, Version(version)))
}

/// Reads a report that came from `edge`'s own subject.
///
/// # Errors
/// Names the field; a report that speaks for another edge is malformed.
pub fn read(edge: &EdgeId, payload: &[u8]) -> Result<Report, Malformed> {
    if payload.len() > REPORT_BYTES_MAX {
        return Err(Malformed::new("", format!("a report has at most {REPORT_BYTES_MAX} bytes")));
    }
    let report: Report = crate::document::read(payload)?;
    if report.edge != edge.as_str() {
        return Err(Malformed::new("edge", format!("speaks for `{}`, came from `{edge}`", report.edge)));
    }
    for (field, length) in [("uses", report.uses.len()), ("refused", report.refused.len())] {
        if length > REPORT_USES_MAX {
            return Err(Malformed::new(field, format!("a report names at most {REPORT_USES_MAX} versions")));
        }
    }
    Ok(report)
}

/// Who uses which version of a keyring: the usage-tracker's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// One entry for each version and edge.
    pub versions: Vec<UsageAt>,
    /// Edges whose reports do not cover the present, with the time up to which they do.
    pub silent: Vec<Silent>,
    /// Retired versions whose key was shown and refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedSince>,
}

/// Refusals of a retired version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedSince {
    /// Which version.
    pub version: u32,
    /// When the first came.
    pub since: Moment,
    /// How many there were.
    pub refused: u64,
    /// How often the keyring's other keys were accepted meanwhile.
    pub accepted: u64,
}

/// One version's use at one edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageAt {
    /// Which version.
    pub version: u32,
    /// Which edge.
    pub edge: String,
    /// Newest use.
    pub last_use: Moment,
    /// Uses counted.
    pub uses: u64,
}

/// An edge that blocks quiet proofs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silent {
    /// Which edge.
    pub edge: String,
    /// Covered up to here; nothing when never.
    pub through: Option<Moment>,
}
