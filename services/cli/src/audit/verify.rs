//! `keywheel audit verify`: every message of the log checked, on the bus or in a file.

use super::pages::{Pages, examined};
use super::remembered::Remembered;
use crate::arguments::GlobalOptions;
use crate::context::Context;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::session::Session;
use crate::words::{count, list};
use clap::Args;
use futures_util::StreamExt;
use keywheel_audit::examine::Examiner;
use keywheel_audit::finding::Wrong;
use keywheel_audit::inspect::{Inspection, Inspector, Scope, Witness};
use keywheel_audit::line::{Begin, End};
use keywheel_audit::lines::{Lines, Part};
use keywheel_audit::proof::Evidence;
use keywheel_bus::Bus;
use keywheel_domain::{At, Span};
use keywheel_runtime::exit;
use keywheel_wire::chain::Chain;
use keywheel_wire::signers::Signers;
use keywheel_wire::text::{Hex32, Id, Moment, hex};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often the end of the log is looked for again where the bus says that there is more.
const LOOKS_MAX: u32 = 25;
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The options of `audit verify`.
#[derive(Args, Debug)]
#[command(after_help = "Ends with 1 where anything is wrong, and names the first sequence that is, and how.

Examples:
  keywheel audit verify --remember verified.json
  keywheel audit verify --file log.jsonl --signers signers.toml")]
pub struct Verify {
    /// An exported log instead of the bus; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "remember"])]
    file: Option<PathBuf>,
    /// Whose events are believed [default: the context's signers file]
    #[arg(long, value_name = "FILE", requires = "file")]
    signers: Option<PathBuf>,
    /// How long to listen to what the edges say they have applied
    #[arg(long, value_name = "D", value_parser = Span::parse, default_value = "1500ms")]
    listen: Span,
    /// Compare with where the verification before ended, and write there where this one ends
    #[arg(long, value_name = "FILE")]
    remember: Option<PathBuf>,
}

impl Verify {
    /// Verifies.
    pub(crate) async fn run(self, options: &GlobalOptions, screen: &Screen) -> Result<u8, Failure> {
        let (inspection, part) = match &self.file {
            Some(file) => {
                let signers = super::signers(self.signers.as_deref(), options)?;
                let opened = Lines::open(file).map_err(Failure::usage)?;
                let (begin, lines) = opened.map_err(|detail| Failure::refused("unreadable", detail))?;
                (in_file(&begin, lines, &signers, screen)?, Some(begin))
            }
            None => {
                let session = Session::open(Context::load(options)?, options, screen).await?;
                let inspection = self.on_the_bus(&session).await;
                session.bus.close().await;
                (inspection?, None)
            }
        };
        screen.show(&to_json(&inspection, part.as_ref()), &words(&inspection, part.as_ref()))?;
        Ok(if inspection.findings.is_empty() { exit::DONE } else { exit::REFUSED })
    }

    async fn on_the_bus(&self, session: &Session<'_>) -> Result<Inspection, Failure> {
        let remembered = self.remember.as_deref().map(Remembered::load).transpose()?.flatten();
        let mut inspector = Inspector::new(Scope::WHOLE);
        // Whoever speaks before the head is read spoke of no more than that.
        for witness in heard(&session.bus, self.listen).await? {
            inspector.expect(witness);
        }
        let head = session.bus.head().await?;
        let installation = Id(session.bus.signers().installation().0);
        if let Some(before) = &remembered {
            if before.installation != installation {
                let detail = "remember: that file is of another installation; name another one";
                return Err(Failure::config("remember", detail));
            }
            inspector.expect_created(before.created.0, head.created);
            inspector.expect(before.witness());
        }
        let mut heads = Heads { created: head.created, from: 1, reached: 0, done: false };
        read_all(session, &mut inspector, &mut heads, head.seq).await?;
        if inspector.last() < head.seq {
            let (by, seen) = ("the stream's own head".to_owned(), head.seq);
            inspector.find(inspector.last() + 1, None, Wrong::CutOff { by, seen });
        }
        let inspection = inspector.finish();
        if let Some(path) = &self.remember
            && let Some(now) = Remembered::of(installation, Moment(head.created), &inspection)
        {
            now.save(path)?;
        }
        Ok(inspection)
    }
}

/// The edges' newest pulses: each says up to where an edge has applied the log, and its running hash there. A
/// credential that may not listen hears none.
async fn heard(bus: &Bus, span: Span) -> Result<Vec<Witness>, Failure> {
    let mut pulses = bus.pulses().await?;
    let mut newest = BTreeMap::new();
    let listening = async {
        while let Some(pulse) = pulses.next().await {
            if let Ok(pulse) = pulse {
                newest.insert(pulse.id.clone(), pulse);
            }
        }
    };
    tokio::select! {
        _ = tokio::time::timeout(Duration::from_millis(span.0), listening) => {}
        _ = bus.denied() => {}
    }
    let witness = |pulse: keywheel_wire::pulse::Pulse| Witness {
        who: format!("edge {}", pulse.id),
        seq: pulse.watermark,
        chain: Chain(pulse.chain.0),
    };
    Ok(newest.into_values().map(witness).collect())
}

/// The signed heads, fed to an inspection a page at a time, shortly before it reaches where they stood.
struct Heads {
    /// When the log was created that is looked at.
    created: At,
    from: u64,
    reached: u64,
    done: bool,
}

impl Heads {
    async fn feed(
        &mut self,
        session: &Session<'_>,
        inspector: &mut Inspector,
        signers: &Signers,
        upto: u64,
    ) -> Result<(), Failure> {
        while !self.done && self.reached < upto {
            let page = session.bus.notice_page("head", self.from).await?;
            match page.last() {
                Some(last) => self.from = last.seq + 1,
                None => self.done = true,
            }
            for message in &page {
                // What nobody believes says nothing about the log.
                let Ok((witness, created)) = Witness::head(signers, message) else { continue };
                self.reached = self.reached.max(witness.seq);
                if created == self.created {
                    inspector.expect(witness);
                } else {
                    inspector.expect_created(created, self.created);
                }
            }
        }
        Ok(())
    }
}

/// Reads to the end, which is not before `head`.
async fn read_all(
    session: &Session<'_>,
    inspector: &mut Inspector,
    heads: &mut Heads,
    head: u64,
) -> Result<(), Failure> {
    let live = session.screen.progress(usize::try_from(head).unwrap_or(usize::MAX));
    let mut pages = Pages::new(session.bus.clone(), None);
    // By the file and what is read here: what else the bus says of signers takes no part.
    let mut examiner = Examiner::new(Arc::new(session.bus.signers().alone()));
    let mut looks = 0;
    loop {
        let page = pages.next(&live).await?;
        // At the end all that are left: they may speak of more than there is.
        let upto = page.last().map_or(u64::MAX, |last| last.message.seq);
        let examined = examined(&mut examiner, &page);
        heads.feed(session, inspector, examiner.signers(), upto).await?;
        if page.is_empty() {
            if inspector.last() >= head.max(inspector.awaited().unwrap_or(0)) || looks == LOOKS_MAX {
                return Ok(());
            }
            looks += 1;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        for (record, examined) in page.iter().zip(examined) {
            inspector.take(&record.message, &examined);
        }
        live.at(usize::try_from(inspector.last()).unwrap_or(usize::MAX));
    }
}

fn in_file(
    begin: &Begin,
    mut lines: Lines,
    signers: &Arc<Signers>,
    screen: &Screen,
) -> Result<Inspection, Failure> {
    if begin.installation.0 != signers.installation().0 {
        let detail =
            "the file is of another installation than the signers file; name the one that belongs to it";
        return Err(Failure::config("signers", detail));
    }
    let live = screen.progress(usize::try_from(lines.size.unwrap_or(0)).unwrap_or(usize::MAX));
    let mut inspector = Inspector::new(begin.scope());
    let mut examiner = Examiner::new(Arc::clone(signers));
    examiner.meet(&begin.signers.iter().filter_map(|it| it.message().ok()).collect::<Vec<_>>());
    let (mut messages, mut end, mut head) = (0, None, None);
    loop {
        match lines.next() {
            Part::Page(page) => {
                messages += page.len() as u64;
                let examined = examined(&mut examiner, &page);
                head = head.and_then(|head| expect(&mut inspector, examiner.signers(), head));
                for (record, examined) in page.iter().zip(examined) {
                    inspector.take(&record.message, &examined);
                }
                live.at(usize::try_from(lines.bytes).unwrap_or(usize::MAX));
            }
            Part::Unreadable(detail) => {
                inspector.find(inspector.last() + 1, None, Wrong::Unreadable(detail));
            }
            // Who signed it may be introduced by the messages that follow.
            Part::Head(said) => {
                head = expect(&mut inspector, examiner.signers(), (said, String::new()));
            }
            Part::End(said) if end.is_none() => end = Some((said, messages)),
            Part::End(_) => {
                let detail = "the file goes on after its end".to_owned();
                inspector.find(inspector.last() + 1, None, Wrong::Unreadable(detail));
            }
            Part::Nothing => break,
        }
    }
    let (last, chain) = (inspector.last(), inspector.chain());
    if let Some((_, why)) = head {
        let detail = format!("the head in the file is not believed: {why}");
        inspector.find(last + 1, None, Wrong::Unreadable(detail));
    }
    match end {
        None => {
            let detail = "the file ends without its last line: it was cut off".to_owned();
            inspector.find(last + 1, None, Wrong::Unreadable(detail));
        }
        Some((said, before)) => {
            let is = End { messages, last, chain: chain.map(|chain| Hex32(chain.0)) };
            if said != is || before != messages {
                let by = "the file's own last line".to_owned();
                inspector.find(last, None, Wrong::Contradicted { by });
            }
        }
    }
    Ok(inspector.finish())
}

/// Compares with a head in the file; gives it back, with why, where nobody is known who may have signed it.
fn expect(
    inspector: &mut Inspector,
    signers: &Signers,
    (head, _): (Evidence, String),
) -> Option<(Evidence, String)> {
    match head.message().and_then(|head| Witness::head(signers, &head)) {
        Ok((witness, _)) => {
            inspector.expect(witness);
            None
        }
        Err(why) => Some((head, why)),
    }
}

fn to_json(inspection: &Inspection, part: Option<&Begin>) -> Value {
    let Inspection { messages, believed, addresses, first, last, chain, agreed, too_late, findings } =
        inspection;
    let witnesses: Vec<Value> =
        agreed.iter().map(|(who, seq)| json!({ "who": who, "agrees_up_to": seq })).collect();
    let listed: Vec<Value> = findings
        .listed()
        .iter()
        .map(|finding| {
            json!({
                "seq": finding.seq,
                "subject": finding.subject,
                "code": finding.wrong.code(),
                "detail": finding.wrong.to_string(),
            })
        })
        .collect();
    json!({
        "sound": findings.is_empty(),
        "messages": messages,
        "believed": believed,
        "subjects": addresses,
        "first": first,
        "last": last,
        "chain": chain.map(|chain| hex(&chain.0)),
        "part": part.filter(|part| part.scope() != Scope::WHOLE),
        "witnesses": witnesses,
        "witnesses_too_late": too_late,
        "first_wrong": findings.first_seq(),
        "findings_total": findings.total(),
        "findings_by_code": findings.counts(),
        "findings": listed,
    })
}

/// How many findings a person is shown; `--output json` has more.
const SHOWN: usize = 20;

fn words(inspection: &Inspection, part: Option<&Begin>) -> String {
    let Inspection { messages, believed, addresses, first, last, chain, agreed, findings, .. } = inspection;
    let few = |n: &u64| usize::try_from(*n).unwrap_or(usize::MAX);
    let what = match first {
        None => "no messages".to_owned(),
        Some(first) => format!(
            "{}, {first} to {last}, of {}",
            count(few(messages), "message"),
            count(few(addresses), "subject")
        ),
    };
    let mut lines = match findings.first_seq() {
        None => vec![format!(
            "sound: {what}; each was written by a service entitled to it and continues its keyring"
        )],
        Some(seq) => {
            let mut lines = vec![format!(
                "WRONG, first at position {seq}: {}; {what}, {believed} of them believed",
                count(few(&findings.total()), "finding")
            )];
            lines.extend(findings.listed().iter().take(SHOWN).map(|finding| format!("  {finding}")));
            let more = findings.total().saturating_sub(SHOWN as u64);
            lines.extend((more > 0).then(|| format!("  and {more} more")));
            lines
        }
    };
    lines.extend(chain.map(|chain| format!("none is missing; running hash at {last}: {}", hex(&chain.0))));
    if !agreed.is_empty() {
        let seen = agreed.iter().map(|(who, seq)| format!("{who} up to {seq}"));
        lines.push(format!("seen the same: {}", list(seen)));
    }
    lines.extend(part.and_then(|part| unchecked(part.scope())));
    lines.join("\n")
}

/// What a part of the log cannot show.
fn unchecked(scope: Scope) -> Option<String> {
    let lacks = match (scope.contiguous, scope.from_beginning) {
        (true, true) => return None,
        (true, false) => {
            "what stood before its first message, and with it the running hash, cannot be checked"
        }
        (false, true) => {
            "that no message is missing at the end of a keyring, and the running hash, cannot be checked"
        }
        (false, false) => {
            "what stood before each keyring's first message, that none is missing at its end, and the running hash \
             cannot be checked"
        }
    };
    Some(format!("this is a part of the log: {lacks}"))
}
