//! `keywheel audit report`: tables for an auditor, from the log and the receipts.

use super::pages::{Pages, examined};
use crate::arguments::{self, Output};
use crate::failure::Failure;
use crate::screen::{Mood, Screen, Shown};
use crate::session::{Session, now};
use clap::{Args, ValueEnum};
use keywheel_audit::examine::Examiner;
use keywheel_audit::flat::inert;
use keywheel_audit::inspect::{Inspection, Inspector, Scope};
use keywheel_audit::register::Register;
use keywheel_audit::report::html::{Source, counted, page};
use keywheel_audit::report::{Kind, Period, Report, report};
use keywheel_domain::{At, Recorded};
use keywheel_runtime::{exit, plain};
use keywheel_wire::belief;
use keywheel_wire::notice::Notice;
use keywheel_wire::text::{hex, id, moment};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// The options of `audit report`.
#[derive(Args, Debug)]
#[command(
    after_help = "States are those of NIST SP 800-57. What is past its policy, an overlap that does not end, a revocation without a
receipt: each is a finding beside its row.

Examples:
  keywheel audit report inventory
  keywheel audit report ledger --from 2026-01-01T00:00:00Z --to 2026-04-01T00:00:00Z --format csv --file ledger.csv
  keywheel audit report compromise --format html --file compromise.html"
)]
pub struct ReportOptions {
    /// Which
    #[arg(value_enum)]
    report: Which,
    /// From when on [default: the beginning]
    #[arg(long, value_name = "TS", value_parser = arguments::moment)]
    from: Option<At>,
    /// Until when, and as of when states are told [default: now]
    #[arg(long, value_name = "TS", value_parser = arguments::moment)]
    to: Option<At>,
    /// How to write it [default: text, or json with --output json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Where to write it [default: standard output]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Every key: owner, state, age, last use
    Inventory,
    /// Every rotation: who, when, why, policy, overlap, the old key's last use
    Ledger,
    /// Keys that are accepted past their policy
    Overdue,
    /// Every revocation, up to the last edge's refusal
    Compromise,
    /// Every overlap, and those that do not end
    Overlaps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Csv,
    Html,
    Json,
}

impl Which {
    fn kind(self) -> Kind {
        match self {
            Which::Inventory => Kind::Inventory,
            Which::Ledger => Kind::Ledger,
            Which::Overdue => Kind::Overdue,
            Which::Compromise => Kind::Compromise,
            Which::Overlaps => Kind::Overlaps,
        }
    }
}

impl ReportOptions {
    /// Writes the report.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let now = now();
        let period = Period { from: self.from.unwrap_or(At(0)), to: self.to.unwrap_or(now) };
        if period.from >= period.to {
            return Err(Failure::usage("to: the period ends before it begins"));
        }
        let (mut register, inspection) = read(session, period.to).await?;
        if self.report == Which::Compromise {
            receive(session, &mut register).await?;
        }
        let report = report(self.report.kind(), &register, period);
        let of_output = match session.screen.output {
            Output::Text => Format::Text,
            Output::Json => Format::Json,
        };
        let text = match self.format.unwrap_or(of_output) {
            Format::Text => {
                let text = format!("{}\n{}", self.table(session, &report), said(&report, &inspection));
                let show = |text: &str| match session.screen.output {
                    Output::Text => session.screen.show(&Value::Null, text),
                    Output::Json => session.screen.document(text),
                };
                return self.put(session, &text, show);
            }
            Format::Csv => csv(&report)?,
            Format::Html => page(&report, &source(session, &report, &inspection, now)),
            Format::Json => plain::json(&to_json(&report, &inspection).to_string()).into_owned(),
        };
        self.put(session, &text, |text| session.screen.document(text))
    }

    fn put(
        &self,
        session: &Session<'_>,
        text: &str,
        show: impl FnOnce(&str) -> Result<(), Failure>,
    ) -> Result<u8, Failure> {
        match &self.file {
            None => show(text)?,
            Some(file) => {
                std::fs::write(file, format!("{}\n", text.trim_end())).map_err(|error| {
                    Failure::usage(format!("file: cannot write {}: {error}", file.display()))
                })?;
                session.screen.note(&format!("written to {}", file.display()));
            }
        }
        Ok(exit::DONE)
    }
}

impl ReportOptions {
    fn table(&self, session: &Session<'_>, report: &Report) -> String {
        let header: Vec<&str> = report.columns.iter().copied().chain(["finding"]).collect();
        let row = |row: &keywheel_audit::report::Row| {
            let cells = row.cells.iter().map(Shown::plain);
            cells.chain([Shown::with(row.finding.clone().unwrap_or_default(), Mood::Bad)]).collect()
        };
        let rows = report.rows.iter().map(row).collect();
        match (&self.file, session.screen.output) {
            (None, Output::Text) => session.screen.table(&header, rows),
            (Some(_), _) | (None, Output::Json) => Screen::plain_table(&header, rows),
        }
    }
}

/// The lives of all keys up to a moment, by what is believed of the log.
async fn read(session: &Session<'_>, to: At) -> Result<(Register, Inspection), Failure> {
    let end = session.bus.head().await?.seq;
    let live = session.screen.progress(usize::try_from(end).unwrap_or(usize::MAX));
    let (mut register, mut inspector) = (Register::default(), Inspector::new(Scope::WHOLE));
    let mut pages = Pages::new(session.bus.clone(), None);
    let mut examiner = Examiner::new(session.bus.signers());
    loop {
        let page = pages.next(&live).await?;
        let Some(last) = page.last() else { break };
        live.at(usize::try_from(last.message.seq).unwrap_or(usize::MAX));
        for (record, examined) in page.iter().zip(examined(&mut examiner, &page)) {
            if inspector.take(&record.message, &examined)
                && let Ok(read) = examined.read
                && read.event.at < to
            {
                register.take(&Recorded { seq: record.message.seq, event: read.event });
            }
        }
    }
    Ok((register, inspector.finish()))
}

/// Every receipt that a service gave which may.
async fn receive(session: &Session<'_>, register: &mut Register) -> Result<(), Failure> {
    let mut from = 1;
    loop {
        let page = session.bus.notice_page("receipt", from).await?;
        let Some(last) = page.last() else { return Ok(()) };
        from = last.seq + 1;
        let signers = session.bus.meet().await?;
        for message in &page {
            let (subject, signed) = (&message.subject, message.signed.as_ref());
            let read = belief::notice(&signers, belief::Heard::Stored, subject, &message.payload, signed);
            if let Ok(Notice::Receipt(receipt)) = read {
                register.receive(receipt);
            }
        }
    }
}

fn said(report: &Report, inspection: &Inspection) -> String {
    let mut text = counted(report.rows.len(), report.findings());
    if !inspection.findings.is_empty() {
        let wrong = inspection.findings.total();
        text.push_str(&format!(
            " {wrong} of the log's messages are wrong: `keywheel audit verify` names them."
        ));
    }
    text
}

fn csv(report: &Report) -> Result<String, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::refused("output", format!("cannot write it: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = report.columns.iter().copied().chain(["finding"]);
    writer.write_record(header).map_err(|error| failed(&error))?;
    for row in &report.rows {
        let cells = row.cells.iter().map(String::as_str).chain([row.finding.as_deref().unwrap_or_default()]);
        let cells = cells.map(|cell| inert(&plain::line(cell)));
        writer.write_record(cells.collect::<Vec<_>>()).map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

fn to_json(report: &Report, inspection: &Inspection) -> Value {
    let row = |row: &keywheel_audit::report::Row| {
        let cells = report.columns.iter().zip(&row.cells);
        let mut fields: Map<String, Value> =
            cells.map(|(name, cell)| ((*name).to_owned(), json!(cell))).collect();
        fields.insert("finding".to_owned(), json!(row.finding));
        Value::Object(fields)
    };
    json!({
        "report": report.kind.title(),
        "from": moment(report.period.from),
        "to": moment(report.period.to),
        "rows": report.rows.iter().map(row).collect::<Vec<_>>(),
        "findings": report.findings(),
        "log": {
            "last": inspection.last,
            "chain": inspection.chain.map(|chain| hex(&chain.0)),
            "wrong": inspection.findings.total(),
        },
    })
}

fn source(session: &Session<'_>, report: &Report, inspection: &Inspection, now: At) -> Source {
    let of = id(session.bus.signers().installation().0);
    let mut lines = vec![format!("Keywheel installation {of}. Written {}.", moment(now))];
    let chain = inspection.chain.map(|chain| hex(&chain.0)).unwrap_or_else(|| "not known".to_owned());
    lines.push(format!("From the log up to position {}, running hash {chain}.", inspection.last));
    lines.push(match inspection.findings.total() {
        0 => "Every message of it was written by a service entitled to it and continues its keyring."
            .to_owned(),
        wrong => format!("{wrong} messages of it are wrong; those that are not believed take no part here."),
    });
    lines.push(format!("States as of {}.", moment(report.period.to)));
    Source { lines }
}
