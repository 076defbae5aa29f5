//! The bus's other messages: JSON whose writers have credentials, and may still be anybody's.

use super::assert_told;
use keywheel_domain::EdgeId;
use keywheel_wire::{Malformed, delivery, notice, outcome, pulse, usage};
use serde::Serialize;
use std::fmt::Debug;

/// An edge's sign of life.
pub fn pulse(data: &[u8]) {
    check(data, pulse::PULSE_BYTES_MAX, pulse::read);
}

/// An edge's usage report.
pub fn report(data: &[u8]) {
    let edge = EdgeId::parse("edge-a").unwrap();
    check(data, usage::REPORT_BYTES_MAX, |payload| usage::read(&edge, payload));
    if let Ok(report) = usage::read(&edge, data) {
        assert!(report.uses.len() <= usage::REPORT_USES_MAX);
        for version in &report.uses {
            let _ = version.of().map_err(|error| assert_told(&error.to_string()));
        }
    }
}

/// What lies under a command's id.
pub fn outcome(data: &[u8]) {
    check(data, outcome::OUTCOME_BYTES_MAX, outcome::read);
}

/// A receipt or an alarm.
pub fn notice(data: &[u8]) {
    check(data, notice::NOTICE_BYTES_MAX, notice::read);
}

/// A sealed secret.
pub fn delivery(data: &[u8]) {
    check(data, delivery::SEALED_BYTES_MAX, delivery::read);
    if let Ok(sealed) = delivery::read(data) {
        let _ = sealed.bytes().map_err(|error| assert_told(&error.to_string()));
    }
}

/// Within its bound, and the same when it is written and read again; or an error that can be told.
fn check<T: Serialize + PartialEq + Debug>(
    data: &[u8],
    bytes_max: usize,
    read: impl Fn(&[u8]) -> Result<T, Malformed>,
) {
    match read(data) {
        Err(error) => {
            assert_told(&error.to_string());
            assert_told(&error.field);
        }
        Ok(message) => {
            assert!(data.len() <= bytes_max);
            let written = serde_json::to_vec(&message).unwrap();
            if written.len() <= bytes_max {
                assert_eq!(read(&written).as_ref(), Ok(&message));
            }
        }
    }
}
