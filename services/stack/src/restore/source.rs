//! The copy from which a log is restored: found, and read through message by message.

use crate::failure::Failure;
use crate::home::Home;
use crate::permissions::Role;
use crate::settings::Fleet;
use anyhow::Result;
use indicatif::ProgressBar;
use keywheel_audit::examine::{Examiner, examine};
use keywheel_audit::finding::Wrong;
use keywheel_audit::inspect::{Inspection, Inspector, Scope, Witness};
use keywheel_audit::line::Begin;
use keywheel_audit::lines::{Lines, Part};
use keywheel_domain::{Address, At, EdgeId};
use keywheel_table::{Record, Replay};
use keywheel_wire::signers::Signers;
use keywheel_wire::subject;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An edge's copy, in its folder; the edge says the same of it.
const COPY: &str = "log.jsonl";

/// What somebody saw, and when the log was created that it is of, where that is said.
pub(super) type Seen = (Witness, Option<At>);

/// A copy that was read through.
pub(super) struct Source {
    /// Where it lies.
    pub path: PathBuf,
    /// When the log was created that it is of.
    pub log_created: At,
    /// The roster at its end.
    pub edges: Vec<EdgeId>,
    /// What came of reading it.
    pub inspection: Inspection,
}

/// Where an edge of this home keeps its copy.
pub(super) fn of_edge(home: &Home, id: &EdgeId) -> Result<PathBuf> {
    let path = home.data(&Role::Edge(id.clone()).name()).join(COPY);
    if path.exists() {
        return Ok(path);
    }
    let detail = format!(
        "{id} has no copy of the log at {}: an edge keeps one where its configuration says `keep_log = true`; name another \
         edge, or a copy from another machine with --from-file",
        path.display()
    );
    Err(Failure::refused("no_copy", detail).into())
}

/// Every edge of this home that has a copy, with the last sequence in it, the longest first.
pub(super) fn all(home: &Home, fleet: &Fleet) -> Vec<(EdgeId, u64)> {
    let last = |id: &EdgeId| {
        let (_, mut lines) = Lines::open(&of_edge(home, id).ok()?).ok()?.ok()?;
        let mut last = 0;
        each_page(&mut lines, |page| {
            last = page.last().map_or(last, |record| record.message.seq);
            Ok(())
        })
        .ok()?;
        Some((id.clone(), last))
    };
    let mut found: Vec<(EdgeId, u64)> = fleet.ids().filter_map(last).collect();
    found.sort_by_key(|(_, last)| std::cmp::Reverse(*last));
    found
}

/// Reads a copy through: each message's signature, author and place, and whether `witnesses` saw the same.
///
/// # Errors
/// When it is not of this installation, or cannot be read.
pub(super) fn read(
    path: &Path,
    signers: &Arc<Signers>,
    witnesses: Vec<Seen>,
    bar: &ProgressBar,
) -> Result<Source> {
    let (begin, mut lines) = open(path)?;
    let log_created = identity(path, &begin, signers)?;
    bar.set_length(lines.size.unwrap_or(0));
    let mut inspector = Inspector::new(Scope::WHOLE);
    for (witness, of) in witnesses {
        if of.is_none_or(|of| of == log_created) {
            inspector.expect(witness);
        }
    }
    let installation = subject::event(&Address::Installation);
    let mut roster = Replay::new(Arc::clone(signers));
    loop {
        match lines.next() {
            Part::Page(page) => {
                for record in &page {
                    inspector.take(&record.message, &examine(signers, &record.message));
                    if record.message.subject == installation {
                        // What does not count is found by the inspector.
                        drop(roster.take(&record.message));
                    }
                }
                bar.set_position(lines.bytes);
            }
            Part::Head(head) => {
                if let Ok((witness, created)) = head.message().and_then(|head| Witness::head(signers, &head))
                    && created == log_created
                {
                    inspector.expect(witness);
                }
            }
            // An edge that runs is not done with its last line.
            Part::Unreadable(_) if lines.is_torn => {}
            Part::Unreadable(detail) => inspector.find(inspector.last() + 1, None, Wrong::Unreadable(detail)),
            Part::End(_) => {}
            Part::Nothing => break,
        }
    }
    let edges = roster.state.edges.keys().cloned().collect();
    Ok(Source { path: path.to_owned(), log_created, edges, inspection: inspector.finish() })
}

/// Who is believed at the end of a copy: the file's keys, and those that its events introduced and did not withdraw.
///
/// # Errors
/// When it cannot be read.
pub(super) fn acquainted(path: &Path, signers: &Arc<Signers>) -> Result<Arc<Signers>> {
    let mut examiner = Examiner::new(Arc::clone(signers));
    pages_after(path, 0, |page| {
        examiner.meet(page.iter().map(|record| &record.message));
        Ok(())
    })?;
    Ok(Arc::clone(examiner.signers()))
}

fn open(path: &Path) -> Result<(Begin, Lines)> {
    let opened = Lines::open(path).map_err(Failure::usage)?;
    Ok(opened.map_err(|detail| Failure::refused("unreadable", detail))?)
}

fn identity(path: &Path, begin: &Begin, signers: &Signers) -> Result<At> {
    if begin.installation.0 != signers.installation().0 {
        let detail = format!("{} is of another installation than the signers file", path.display());
        return Err(Failure::misconfigured(detail).into());
    }
    if begin.scope() != Scope::WHOLE || begin.to.is_some() {
        let detail = format!("{} is a part of the log; restore from a whole one", path.display());
        return Err(Failure::refused("a_part", detail).into());
    }
    let created = begin.log_created.map(|created| created.0);
    let unknown = || {
        let detail = format!(
            "{} does not say when its log was created, so no edge would go on with it",
            path.display()
        );
        Failure::refused("no_identity", detail).into()
    };
    created.ok_or_else(unknown)
}

/// Hands over the messages after `after` page by page.
///
/// # Errors
/// Of reading, and of `take`.
pub(super) fn pages_after(
    path: &Path,
    after: u64,
    mut take: impl FnMut(Vec<Record>) -> Result<()>,
) -> Result<()> {
    let (_, mut lines) = open(path)?;
    each_page(&mut lines, |mut page| {
        page.retain(|record| record.message.seq > after);
        if page.is_empty() { Ok(()) } else { take(page) }
    })
}

fn each_page(lines: &mut Lines, mut take: impl FnMut(Vec<Record>) -> Result<()>) -> Result<()> {
    loop {
        match lines.next() {
            Part::Page(page) => take(page)?,
            Part::Nothing => return Ok(()),
            Part::Unreadable(_) | Part::Head(_) | Part::End(_) => {}
        }
    }
}
