//! Adopting many keys: each row is a command whose id follows from what the row says, so that an import that was
//! killed and is started again does nothing twice.

use crate::await_activation::{Activation, activation, proof_words};
use crate::bulk::{self, Asked, Settled};
use crate::failure::Failure;
use crate::import_rows::{Row, Sheet, Skipped};
use crate::screen::{Mood, Shown};
use crate::session::Session;
use keywheel_domain::{KeyringId, Version};
use keywheel_runtime::exit;
use keywheel_wire::outcome::Word;
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use serde_json::{Value, json};
use std::path::PathBuf;

/// How many skipped rows a person is shown; `--report` has all.
const SHOWN: usize = 20;

/// How the rows are to be imported.
pub(crate) struct Wanted {
    pub strict: bool,
    pub dry_run: bool,
    pub until_active: bool,
    pub report: Option<PathBuf>,
}

/// What became of the rows.
#[derive(Default)]
struct Tally {
    imported: usize,
    already: usize,
    skipped: Vec<Skipped>,
    /// The newest key of them all: when it is active, every edge knows the others too.
    last: Option<(u64, KeyringId, Version)>,
}

/// Imports a sheet and reports on it.
pub(crate) async fn adopt(session: &Session<'_>, sheet: Sheet, wanted: Wanted) -> Result<u8, Failure> {
    let read = sheet.read();
    let (rows, mut tally) = (sheet.rows, Tally { skipped: sheet.skipped, ..Tally::default() });
    let refused = wanted.strict && !tally.skipped.is_empty();
    let mut proof = None;
    if !refused && !wanted.dry_run {
        let fresh = send_all(session, rows, &mut tally).await?;
        tally.skipped.sort_by_key(|skipped| skipped.line);
        if let (true, true, Some((seq, keyring, version))) = (wanted.until_active, fresh, &tally.last) {
            proof = Some(activation(session, keyring, *version, *seq, session.deadline()).await);
        }
    }
    if let Some(path) = &wanted.report {
        write_report(path, &tally.skipped)?;
    }
    let mut document = json!({
        "read": read, "imported": tally.imported, "already": tally.already, "skipped": tally.skipped,
        "dry_run": wanted.dry_run, "sent": !refused && !wanted.dry_run,
    });
    // What was imported is reported also where its proof did not come in time.
    let proof = proof.transpose();
    let proven = proof.as_ref().ok().and_then(Option::as_ref);
    document["proof"] = proven.map_or(Value::Null, Activation::to_json);
    let mut text = vec![said(read, &tally, &wanted, refused)];
    text.extend(proven.map(|proof| format!("every edge knows them; {}", proof_words(&proof.activated))));
    text.push(skipped_table(session, &tally.skipped));
    session.screen.show(&document, &text.join("\n"))?;
    proof?;
    Ok(if tally.skipped.is_empty() { exit::DONE } else { exit::REFUSED })
}

fn said(read: usize, tally: &Tally, wanted: &Wanted, refused: bool) -> String {
    let (imported, already, skipped) = (tally.imported, tally.already, tally.skipped.len());
    if refused {
        format!("{read} rows read, {skipped} of them wrong: nothing was sent (--strict)")
    } else if wanted.dry_run {
        format!(
            "{read} rows read: {} could be imported, {skipped} not; nothing was sent (--dry-run)",
            read - skipped
        )
    } else {
        format!("{read} rows read: {imported} imported, {already} already there, {skipped} skipped")
    }
}

fn skipped_table(session: &Session<'_>, skipped: &[Skipped]) -> String {
    if skipped.is_empty() {
        return String::new();
    }
    let row = |skipped: &Skipped| {
        let whose = format!("{}/{}", skipped.tenant, skipped.client);
        let whose = if whose == "/" { String::new() } else { whose };
        vec![
            Shown::plain(skipped.line),
            Shown::plain(whose),
            Shown::with(&skipped.code, Mood::Bad),
            Shown::plain(&skipped.detail),
        ]
    };
    let rows = skipped.iter().take(SHOWN).map(row).collect();
    let mut table = session.screen.table(&["line", "keyring", "code", "why"], rows);
    if skipped.len() > SHOWN {
        let more = skipped.len() - SHOWN;
        table.push_str(&format!("\nand {more} more: --report FILE lists them all"));
    }
    table
}

/// Sends every row whose outcome is not known, and waits for all. Says whether anything is new.
async fn send_all(session: &Session<'_>, rows: Vec<Row>, tally: &mut Tally) -> Result<bool, Failure> {
    let again = session.options.command_id.map(text::id).unwrap_or_default();
    let asked = |row: Row| Asked {
        id: row.command_id(&again),
        keyring: row.keyring,
        fields: row.fields,
        about: row.line,
    };
    let asked = rows.into_iter().map(asked).collect();
    bulk::send_all(session, Verb::Import, asked, |asked, settled| tally.count(asked, &settled)).await?;
    Ok(tally.imported > 0)
}

impl Tally {
    fn count(&mut self, row: Asked<u64>, settled: &Settled<'_>) {
        let Settled { outcome, is_fresh } = settled;
        let rejection = outcome.rejection.as_ref();
        match (outcome.outcome, &outcome.event, rejection.map(|why| why.code.as_str())) {
            (Word::Accepted, Some(event), _) if *is_fresh => {
                self.imported += 1;
                let last = outcome.version.map(|version| (event.seq, row.keyring, Version(version)));
                self.last = last.max(self.last.take());
            }
            (Word::Accepted | Word::Unchanged, ..) | (Word::Rejected, _, Some("digest_taken")) => {
                self.already += 1;
            }
            (Word::Rejected, ..) => {
                let detail =
                    rejection.map_or_else(|| "no reason was given".to_owned(), |why| why.detail.clone());
                self.skipped.push(Skipped {
                    line: row.about,
                    tenant: row.keyring.tenant.as_str().to_owned(),
                    client: row.keyring.client.as_str().to_owned(),
                    code: rejection.map_or_else(|| "rejected".to_owned(), |why| why.code.clone()),
                    detail,
                });
            }
        }
    }
}

fn write_report(path: &PathBuf, skipped: &[Skipped]) -> Result<(), Failure> {
    let write = || -> Result<(), csv::Error> {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_path(path)?;
        writer.write_record(["line", "tenant", "client", "code", "detail"])?;
        for row in skipped {
            writer.serialize(row)?;
        }
        Ok(writer.flush()?)
    };
    write().map_err(|error| Failure::refused("report", format!("cannot write {}: {error}", path.display())))
}
