//! Reports for an auditor: tables over the keys' lives, with what is to be found fault with.

pub mod html;
mod rows;

use crate::register::Register;
use keywheel_domain::At;
use keywheel_wire::text::moment;

/// Which report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every key: owner, state, age, last use.
    Inventory,
    /// Every rotation: who, when, why, by which policy, how long the overlap was, when the old key was last used.
    Ledger,
    /// What is past its time.
    Overdue,
    /// Every compromise, from the asking to the last edge's refusal.
    Compromise,
    /// Every overlap, and those that do not end.
    Overlaps,
}

impl Kind {
    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Inventory => "Inventory of keys",
            Kind::Ledger => "Rotation ledger",
            Kind::Overdue => "Overdue keys and exceptions",
            Kind::Compromise => "Compromise timeline",
            Kind::Overlaps => "Overlaps",
        }
    }

    /// What it shows, and what `from` and `to` choose.
    pub fn about(self) -> &'static str {
        match self {
            Kind::Inventory => {
                "Every key that existed in the period. States are those of NIST SP 800-57 part 1; last use is as far as the log tells it."
            }
            Kind::Ledger => {
                "Every rotation whose new key was issued in the period, and each version that it took the place of."
            }
            Kind::Overdue => {
                "Keys that are accepted at the end of the period although their policy says that they should not be any more."
            }
            Kind::Compromise => {
                "Every key that was revoked in the period, from the decision to the refusal on the last edge."
            }
            Kind::Overlaps => "Every overlap of an old and a new key that was open in the period.",
        }
    }
}

/// The period, and the moment as of which states are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// At or after this.
    pub from: At,
    /// Before this.
    pub to: At,
}

impl Period {
    fn holds(&self, at: At) -> bool {
        self.from <= at && at < self.to
    }
}

/// A row, and what is wrong with what it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// One cell for each column.
    pub cells: Vec<String>,
    /// The finding; none where all is as it should be.
    pub finding: Option<String>,
}

/// The table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub kind: Kind,
    /// Over which time.
    pub period: Period,
    /// The names of the columns; a finding stands beside them.
    pub columns: &'static [&'static str],
    /// The rows, by keyring and version.
    pub rows: Vec<Row>,
}

impl Report {
    /// How many rows have a finding.
    pub fn findings(&self) -> usize {
        self.rows.iter().filter(|row| row.finding.is_some()).count()
    }
}

/// Makes a report of what the log told up to the end of the period.
pub fn report(kind: Kind, register: &Register, period: Period) -> Report {
    let (columns, rows) = match kind {
        Kind::Inventory => (rows::INVENTORY, rows::inventory(register, period)),
        Kind::Ledger => (rows::LEDGER, rows::ledger(register, period)),
        Kind::Overdue => (rows::OVERDUE, rows::overdue(register, period)),
        Kind::Compromise => (rows::COMPROMISE, rows::compromise(register, period)),
        Kind::Overlaps => (rows::OVERLAPS, rows::overlaps(register, period)),
    };
    Report { kind, period, columns, rows }
}

/// To the second.
fn second(at: At) -> String {
    moment(At(at.0 / 1000 * 1000)).replace(".000Z", "Z")
}
