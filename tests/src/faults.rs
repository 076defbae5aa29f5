//! The fault campaign: a fleet under traffic, an operator, a nemesis, and a judge who reads what they wrote down.

pub mod check;
pub mod ledger;
