//! `keywheel audit export`: the log written out page by page, however long it is.

use super::pages::{Pages, examined};
use crate::failure::Failure;
use crate::replay::each_message;
use crate::session::Session;
use clap::{Args, ValueEnum};
use keywheel_audit::examine::Examiner;
use keywheel_audit::flat::{COLUMNS, cloud_event, inert, row};
use keywheel_audit::inspect::{Inspector, Scope};
use keywheel_audit::line::{self, Begin, End, FORMAT};
use keywheel_audit::proof::Evidence;
use keywheel_bus::Bus;
use keywheel_domain::rejection::InvalidText;
use keywheel_domain::{Address, At, Tenant};
use keywheel_runtime::{exit, plain};
use keywheel_table::Record;
use keywheel_wire::chain::Chain;
use keywheel_wire::signers::Signers;
use keywheel_wire::text::{Hex32, Id, Moment};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The options of `audit export`.
#[derive(Args, Debug)]
#[command(
    after_help = "jsonl holds every byte that `audit verify --file` needs; csv and cloudevents are checked while they are
written, and name what is not believed as such. --from and --to go by the time at which the bus stored a message.

Examples:
  keywheel audit export --format jsonl --file log.jsonl
  keywheel audit export --format csv --tenant acme --from 2026-01-01T00:00:00Z > acme.csv"
)]
pub struct Export {
    /// How to write it
    #[arg(long, value_enum)]
    format: Format,
    /// Only this tenant's keyrings
    #[arg(long, value_name = "T", value_parser = tenant)]
    tenant: Option<Tenant>,
    /// Only what was stored at or after this moment
    #[arg(long, value_name = "TS", value_parser = crate::arguments::moment)]
    from: Option<At>,
    /// Only what was stored before this moment
    #[arg(long, value_name = "TS", value_parser = crate::arguments::moment)]
    to: Option<At>,
    /// Where to write it [default: standard output]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Every message byte by byte, one a line, to be checked anywhere
    Jsonl,
    /// One row a message
    Csv,
    /// CloudEvents 1.0, one a line
    Cloudevents,
}

fn tenant(text: &str) -> Result<Tenant, InvalidText> {
    Tenant::parse(text)
}

impl Export {
    /// Writes the log out.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let target = Target::open(self.file.as_deref())?;
        // Read before the end of the log is asked for, so that it speaks of no more than that.
        let head = session.bus.last_notice(&Address::Installation, "head").await?;
        let begin = self.begin(&session.bus).await?;
        let mut sheet = Sheet::new(self.format, target, &begin, session.bus.signers())?;
        if let (Format::Jsonl, None, None, None, Some(head)) =
            (self.format, &self.tenant, self.from, self.to, &head)
        {
            sheet.target.line(&line::write_head(&Evidence::from(head)))?;
        }
        let end = session.bus.head().await?.seq;
        let live = session.screen.progress(usize::try_from(end).unwrap_or(usize::MAX));
        let mut pages = Pages::new(session.bus.clone(), self.tenant.clone());
        // Where the log is written on meanwhile, the export still ends.
        let mut is_done = end == 0;
        while !is_done {
            let mut page = pages.next(&live).await?;
            is_done = page.last().is_none_or(|last| last.message.seq >= end);
            let past =
                |record: &Record| record.message.seq > end || self.to.is_some_and(|to| record.at >= to);
            if let Some(at) = page.iter().position(past) {
                page.truncate(at);
                is_done = true;
            }
            live.at(usize::try_from(page.last().map_or(end, |last| last.message.seq)).unwrap_or(usize::MAX));
            sheet.take(&page, self.from)?;
        }
        let written = sheet.finish()?;
        drop(live);
        if let Some(file) = &self.file {
            let text = format!("{} written to {}", crate::words::count(written, "message"), file.display());
            session.screen.show(&json!({ "file": file, "messages": written }), &text)?;
        }
        Ok(exit::DONE)
    }

    async fn begin(&self, bus: &Bus) -> Result<Begin, Failure> {
        let is_whole = self.tenant.is_none() && self.from.is_none();
        let signers = if is_whole { Vec::new() } else { changes(bus).await? };
        Ok(Begin {
            keywheel_log: FORMAT,
            installation: Id(bus.signers().installation().0),
            tenant: self.tenant.as_ref().map(ToString::to_string),
            from: self.from.map(Moment),
            to: self.to.map(Moment),
            signers,
            log_created: Some(Moment(bus.head().await?.created)),
        })
    }
}

/// The installation's messages, where they introduced or withdrew signers: a part of the log is checked with them.
async fn changes(bus: &Bus) -> Result<Vec<Evidence>, Failure> {
    let mut all = Vec::new();
    let own = Some(&Address::Installation);
    each_message(bus, own, 1, |message, _| all.push(Evidence::from(message))).await?;
    Ok(if bus.signers().learned().is_empty() { Vec::new() } else { all })
}

/// Where it goes.
struct Target(BufWriter<File>);

impl Target {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let file = match path {
            Some(path) => File::create(path)
                .map_err(|error| Failure::usage(format!("file: cannot write {}: {error}", path.display())))?,
            None => {
                io::stdout().as_fd().try_clone_to_owned().map(File::from).map_err(|error| failed(&error))?
            }
        };
        Ok(Self(BufWriter::with_capacity(256 * 1024, file)))
    }

    fn line(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.0, "{}", plain::json(line)).map_err(|error| failed(&error))
    }
}

fn failed(error: &io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe {
        return Failure::reader_gone();
    }
    Failure::refused("output", format!("cannot write the export: {error}"))
}

/// A format being written.
struct Sheet {
    format: Format,
    target: Target,
    has_begun: bool,
    /// Say which messages count.
    inspector: Inspector,
    examiner: Examiner,
    chain: Option<Chain>,
    written: u64,
    last: u64,
}

impl Sheet {
    fn new(
        format: Format,
        mut target: Target,
        begin: &Begin,
        signers: Arc<Signers>,
    ) -> Result<Self, Failure> {
        match format {
            Format::Jsonl => target.line(&begin.write())?,
            Format::Csv => put_row(&mut target, &COLUMNS.map(str::to_owned))?,
            Format::Cloudevents => {}
        }
        // It is read from the beginning in any case: whether an event counts depends on those before it.
        let scope = Scope { from_beginning: true, ..begin.scope() };
        let chain = (begin.scope() == Scope::WHOLE).then(Chain::default);
        Ok(Self {
            format,
            target,
            has_begun: begin.from.is_none(),
            inspector: Inspector::new(scope),
            examiner: Examiner::new(signers),
            chain,
            written: 0,
            last: 0,
        })
    }

    fn take(&mut self, page: &[Record], from: Option<At>) -> Result<(), Failure> {
        if self.format == Format::Jsonl {
            for record in page {
                if self.is_meant(record, from) {
                    self.put(record, &line::write(record))?;
                }
            }
            return Ok(());
        }
        for (record, examined) in page.iter().zip(examined(&mut self.examiner, page)) {
            let counts = self.inspector.take(&record.message, &examined);
            if !self.is_meant(record, from) {
                continue;
            }
            if self.format == Format::Csv {
                let cells = row(record, &examined, counts);
                let printable = cells.iter().map(|cell| inert(&plain::line(cell))).collect::<Vec<_>>();
                put_row(&mut self.target, &printable)?;
                self.count(record);
            } else {
                let event = cloud_event(record, &examined, counts, self.examiner.signers().installation());
                self.put(record, &event.to_string())?;
            }
        }
        Ok(())
    }

    /// Once the first of the wanted time has come, all that follow are meant: the log's order is what counts.
    fn is_meant(&mut self, record: &Record, from: Option<At>) -> bool {
        self.has_begun = self.has_begun || from.is_none_or(|from| record.at >= from);
        self.has_begun
    }

    fn put(&mut self, record: &Record, line: &str) -> Result<(), Failure> {
        self.count(record);
        self.target.line(line)
    }

    fn count(&mut self, record: &Record) {
        let message = &record.message;
        self.chain = self.chain.map(|chain| chain.next(message.seq, &message.subject, &message.payload));
        self.written += 1;
        self.last = message.seq;
    }

    /// Writes the end; gives how many messages there are.
    fn finish(mut self) -> Result<usize, Failure> {
        if self.format == Format::Jsonl {
            let chain = self.chain.map(|chain| Hex32(chain.0));
            self.target.line(&End { messages: self.written, last: self.last, chain }.write())?;
        }
        self.target.0.flush().map_err(|error| failed(&error))?;
        Ok(usize::try_from(self.written).unwrap_or(usize::MAX))
    }
}

fn put_row(target: &mut Target, cells: &[String]) -> Result<(), Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = writer.write_record(cells);
    let row = written.map_err(|error| error.to_string()).and_then(|()| {
        // Into memory, so that a row costs no write of its own.
        writer.into_inner().map_err(|error| error.to_string())
    });
    let row = row.map_err(|error| Failure::refused("output", format!("cannot write a row: {error}")))?;
    target.0.write_all(&row).map_err(|error| failed(&error))
}
