//! Proof documents, changed in one place: whatever still holds is as the schema says, and says the same as before.

use crate::mutants::{self, Palette};
use crate::schemas::{Schemas, read_json, wrong};
use keywheel_audit::proof::{self, Document};
use keywheel_bus::connect::read_signers;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Of the palette's values so many are passed over for each that is tried: a document has many places.
const PASSED_OVER: usize = 15;

/// Holds documents that a live run has written against schema and code.
pub fn hold_as_described(schemas: &Schemas, files: &[PathBuf], signers: &Path) {
    let signers = read_signers(signers).unwrap();
    let closed = schemas.closed().of("proof");
    let open = schemas.of("proof");
    let mut palette = Palette::of(schemas);
    palette.values = palette.values.into_iter().step_by(PASSED_OVER + 1).collect();
    let holds = |document: &Value| {
        let read = serde_json::from_value::<Document>(document.clone());
        read.is_ok_and(|document| proof::check(&signers, &document).is_ok())
    };
    for file in files {
        let sample = read_json(file);
        assert_eq!(wrong(&closed, &sample), None, "{}", file.display());
        assert!(holds(&sample), "{}", file.display());
        let (mut held, mut refused) = (0, 0);
        for (what, mutant) in mutants::of(&sample, &[], &palette) {
            // One message stands for all.
            if what.starts_with("/evidence/") && !what.starts_with("/evidence/0") {
                continue;
            }
            // What is not there is as good as null: a document of an older program lacks what came later.
            let place = what.strip_suffix(" removed").and_then(|place| sample.pointer(place));
            if place.is_some_and(Value::is_null) {
                assert!(holds(&mutant), "{}: {what}", file.display());
            } else if holds(&mutant) {
                held += 1;
                assert_eq!(wrong(&open, &mutant), None, "{}: {what}", file.display());
                assert_eq!(mutant["summary"], sample["summary"], "{}: {what}", file.display());
            } else {
                refused += 1;
            }
        }
        println!("{}: {refused} refused, {held} hold and say the same", file.display());
        assert!(refused > 500 && held < refused / 100, "{refused} {held}");
    }
}
