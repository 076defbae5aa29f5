//! Files that somebody hands over: keys to import, and whom to believe.

use super::assert_told;
use keywheel_cli::import_rows::{ROWS_MAX, Sheet, Skipped, read_csv, read_digests};
use keywheel_domain::{At, KeyringId};
use keywheel_wire::command::{self, Ask};
use keywheel_wire::signers::{ROOTS_MAX, SIGNERS_MAX, Signers};
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const NOW: At = At(1_800_000_000_000);
/// Longer than any word of ours in what is told of a row, and shorter than a key.
const SECRET_MIN: usize = 24;

/// The first byte says whether it is a table or one digest a line.
pub fn import(data: &[u8]) {
    let Some((first, file)) = data.split_first() else { return };
    let read = if first % 2 == 0 {
        read_csv(file, NOW)
    } else {
        read_digests(file, &KeyringId::parse("acme/app").unwrap(), &Map::new())
    };
    match read {
        Err(error) => assert_told(&error),
        Ok(sheet) => assert_sheet(&sheet, file),
    }
}

fn assert_sheet(sheet: &Sheet, file: &[u8]) {
    assert_eq!(sheet.read(), sheet.rows.len() + sheet.skipped.len());
    assert!(sheet.read() <= ROWS_MAX);
    let lines = file.split(|byte| *byte == b'\n').count() as u64;
    let own = sheet.rows.iter().map(|row| row.line);
    let all: Vec<u64> = own.chain(sheet.skipped.iter().map(|row| row.line)).collect();
    assert!(all.iter().all(|line| (1..=lines).contains(line)), "{all:?} of {lines}");
    let mut digests = BTreeSet::new();
    for row in &sheet.rows {
        let mut document = row.fields.clone();
        document.insert("id".to_owned(), json!(text::id(row.command_id("").0)));
        document.insert("actor".to_owned(), json!("import"));
        let document = Value::Object(document).to_string();
        let asked = command::read(Verb::Import, document.as_bytes()).unwrap().ask;
        let Ask::Import { digest, .. } = asked else { panic!("{asked:?}") };
        assert!(digests.insert(digest), "one key has two owners: {document}");
    }
    let words = words(file);
    sheet.skipped.iter().for_each(|skipped| assert_skipped(skipped, &words));
}

fn assert_skipped(skipped: &Skipped, words: &[String]) {
    let Skipped { line: _, tenant, client, code, detail } = skipped;
    assert_told(detail);
    assert!(["malformed", "not_a_digest", "expired", "doubled"].contains(&code.as_str()), "{code}");
    let is_named = KeyringId::parse(&format!("{tenant}/{client}")).is_ok();
    assert!(is_named || tenant.is_empty() && client.is_empty(), "{skipped:?}");
    let shown = words.iter().find(|word| detail.contains(word.as_str()));
    assert!(shown.is_none(), "what may be a key is shown: {shown:?} in {detail}");
}

/// What could be a key in the file. The first line names the columns, which may be told.
fn words(file: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(file);
    let rows = text.split_once('\n').map_or("", |(_, rows)| rows);
    let words = rows.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    words.filter(|word| word.len() >= SECRET_MIN).map(str::to_owned).collect()
}

/// Whom to believe.
pub fn signers(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Signers::parse(&text) {
        Err(error) => {
            assert_told(&error.to_string());
            assert_told(&error.field);
        }
        Ok(signers) => {
            assert!((1..=SIGNERS_MAX).contains(&signers.keys().count()));
            assert!(signers.listed().roots.len() <= ROOTS_MAX);
            assert!(signers.learned().is_empty());
            let again = Signers::parse(&signers.to_string()).unwrap();
            assert_eq!(again.installation(), signers.installation());
            assert_eq!(again.listed(), signers.listed());
        }
    }
}
