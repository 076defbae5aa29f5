//! Adopting many keys: sent in batches, a few of them under way at a time so that others' commands do not wait
//! behind all of it, each row until its outcome is known. Killed anywhere and started again it does nothing
//! twice: a row's command id follows from what the row says.

use crate::await_activation::{Activation, activation, proof_words};
use crate::deadline::Deadline;
use crate::document::Document;
use crate::failure::Failure;
use crate::import_rows::{Row, Sheet, Skipped};
use crate::outage::Outage;
use crate::screen::{Live, Mood, Shown};
use crate::session::{PATIENCE, Session};
use keywheel_bus::batch::BATCH_MAX;
use keywheel_domain::event::CommandId;
use keywheel_domain::{Address, KeyringId, Version};
use keywheel_runtime::exit;
use keywheel_wire::outcome::{Outcome, Word};
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

/// How many batches are under way at once.
const UNDER_WAY: usize = 4;
const LOOK_EVERY: Duration = Duration::from_millis(20);
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

/// A row whose outcome is not known yet.
struct Asked {
    id: CommandId,
    row: Row,
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
    let total = rows.len();
    let again = session.options.command_id.map(text::id).unwrap_or_default();
    let mut sender =
        Sender { session, live: session.screen.progress(total), outage: Outage::default(), before: 0 };
    sender.before = sender.head().await?;
    let mut rows =
        rows.into_iter().map(|row| Asked { id: row.command_id(&again), row }).collect::<Vec<_>>().into_iter();
    let (mut under_way, mut deadline) = (VecDeque::new(), session.deadline());
    loop {
        while under_way.len() < UNDER_WAY && rows.len() > 0 {
            let batch = sender.settle(rows.by_ref().take(BATCH_MAX).collect(), tally).await?;
            sender.send(&batch).await?;
            under_way.push_back(batch);
        }
        let Some(oldest) = under_way.pop_front() else { break };
        let before = oldest.len();
        let left = sender.settle(oldest, tally).await?;
        if left.len() < before {
            deadline = session.deadline();
        }
        sender.live.at(total - rows.len() - under_way.iter().map(Vec::len).sum::<usize>() - left.len());
        if !left.is_empty() {
            under_way.push_front(left);
            if deadline.has_passed() {
                return Err(unfinished(tally, total));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(tally.imported > 0)
}

fn unfinished(tally: &Tally, total: usize) -> Failure {
    let known = tally.imported + tally.already;
    Failure::unfinished(format!(
        "nothing was decided for {PATIENCE}; {known} of {total} rows are imported. The rest is stored and goes on by \
         itself; check that the issuer runs, and repeat the same command: no row has two effects"
    ))
}

struct Sender<'a> {
    session: &'a Session<'a>,
    live: Live,
    outage: Outage,
    /// Where the log ended when this run began.
    before: u64,
}

impl Sender<'_> {
    async fn head(&mut self) -> Result<u64, Failure> {
        loop {
            let asked = self.session.bus.head().await.map_err(Failure::from);
            let deadline = Deadline::within_or_never(None);
            if let Some(head) = self.outage.bridge(asked, deadline, &self.live).await? {
                return Ok(head.seq);
            }
        }
    }

    /// Counts those whose outcome is known, and gives the others back.
    async fn settle(&mut self, asked: Vec<Asked>, tally: &mut Tally) -> Result<Vec<Asked>, Failure> {
        let ids: Vec<CommandId> = asked.iter().map(|asked| asked.id).collect();
        let outcomes = loop {
            let found = self.session.bus.outcomes(&ids).await.map_err(Failure::from);
            let deadline = Deadline::within_or_never(None);
            if let Some(found) = self.outage.bridge(found, deadline, &self.live).await? {
                break found;
            }
        };
        let mut left = Vec::new();
        for asked in asked {
            match outcomes.get(&asked.id) {
                Some(outcome) => tally.count(asked.row, outcome, self.before),
                None => left.push(asked),
            }
        }
        Ok(left)
    }

    async fn send(&mut self, batch: &[Asked]) -> Result<(), Failure> {
        let actor = self.session.actor();
        let command = |asked: &Asked| {
            let document = Document::new(asked.id.0, &actor).with_all(asked.row.fields.clone());
            (Address::Keyring(asked.row.keyring.clone()), Verb::Import, document.into_value())
        };
        let commands: Vec<_> = batch.iter().map(command).collect();
        loop {
            let sent = self.session.bus.send_commands(&commands).await.map_err(Failure::from);
            let deadline = Deadline::within_or_never(None);
            if self.outage.bridge(sent, deadline, &self.live).await?.is_some() {
                return Ok(());
            }
        }
    }
}

impl Tally {
    fn count(&mut self, row: Row, outcome: &Outcome, before: u64) {
        let rejection = outcome.rejection.as_ref();
        match (outcome.outcome, &outcome.event, rejection.map(|why| why.code.as_str())) {
            (Word::Accepted, Some(event), _) if event.seq > before => {
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
                    line: row.line,
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
