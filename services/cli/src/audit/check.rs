//! `keywheel audit check`: what a proof document says, recomputed from its own evidence.

use crate::arguments::GlobalOptions;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::words::{count, list, second};
use clap::Args;
use keywheel_audit::proof::{self, BYTES_MAX, Document, Summary};
use keywheel_runtime::config::read_text;
use keywheel_runtime::exit;
use keywheel_wire::signers::Signers;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The options of `audit check`.
#[derive(Args, Debug)]
#[command(
    after_help = "Ends with 1 where a document does not hold. Needs no bus: the signers file is enough.

Example:
  keywheel audit check proofs/activation.json proofs/quiet.json --signers signers.toml"
)]
pub struct Check {
    /// Documents of `audit proof`, one in each file
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Whose messages are believed [default: the context's signers file]
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,
}

impl Check {
    /// Checks each, and says what it proves.
    pub(crate) fn run(self, options: &GlobalOptions, screen: &Screen) -> Result<u8, Failure> {
        let signers = super::signers(self.signers.as_deref(), options)?;
        let (mut documents, mut lines, mut all_hold) = (Vec::new(), Vec::new(), true);
        for file in &self.files {
            let checked = read(file).and_then(|document| check(&signers, &document));
            let name = file.display();
            match checked {
                Ok((document, summary)) => {
                    lines.push(format!("{name}: holds: {}", headline(&document)));
                    lines.extend(words(&summary));
                    documents.push(json!({
                        "file": file, "holds": true, "kind": document.kind, "complete": summary.lacks().is_empty(),
                        "summary": document.summary,
                    }));
                }
                Err(why) => {
                    all_hold = false;
                    lines.push(format!("{name}: DOES NOT HOLD: {why}"));
                    documents.push(json!({ "file": file, "holds": false, "why": why }));
                }
            }
        }
        screen.show(&json!({ "holds": all_hold, "documents": documents }), &lines.join("\n"))?;
        Ok(if all_hold { exit::DONE } else { exit::REFUSED })
    }
}

fn read(path: &Path) -> Result<Document, String> {
    let text = read_text(path, BYTES_MAX).map_err(|error| format!("cannot be read: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("it is no proof document: {error}"))
}

fn check(signers: &Signers, document: &Document) -> Result<(Document, Summary), String> {
    proof::check(signers, document).map(|summary| (document.clone(), summary))
}

/// What a document is about.
pub(super) fn headline(document: &Document) -> String {
    let text = |name: &str| document.summary[name].as_str().unwrap_or_default().to_owned();
    let version = document.summary["version"].as_u64().unwrap_or_default();
    let kind = document.kind;
    format!("{kind} of {} v{version}", text("keyring"))
}

/// What it proves, and what is missing.
fn words(summary: &Summary) -> Vec<String> {
    let mut lines = match summary {
        Summary::Activation(it) => {
            let over = it.passed_over.iter().map(|over| format!("{} ({})", over.edge, over.basis));
            let over = if it.passed_over.is_empty() {
                String::new()
            } else {
                format!(", passed over: {}", list(over))
            };
            vec![format!(
                "  handed out {} behind position {}; applied on {}: {}{over}",
                second(it.activated.at.0),
                it.position,
                count(it.applied.len(), "edge"),
                list(&it.applied)
            )]
        }
        Summary::Quiet(it) => it.retired.iter().map(quiet_words).collect(),
        Summary::Receipt(it) => {
            let mut lines = vec![format!(
                "  revoked {} ({}); refused on {} of {} after {} ms; final at {}",
                second(it.revoked.at.0),
                it.reason,
                it.refused_on.len(),
                count(it.refused_on.len() + it.unreached.len(), "edge"),
                it.after_ms,
                second(it.final_at.0)
            )];
            let late = it.unreached.iter();
            lines.extend(late.map(|it| format!("  {} refuses by {}", it.edge, second(it.refuses_by.0))));
            lines
        }
    };
    lines.extend(summary.lacks().iter().map(|lack| format!("  NOT COMPLETE: {lack}")));
    lines
}

fn quiet_words(retired: &proof::Retired) -> String {
    let when = second(retired.at.at.0);
    match (retired.unused_after, retired.unused_through, retired.successor) {
        (Some(from), Some(through), Some(successor)) => format!(
            "  v{} retired {when}: unused after {} until {} on {}: {}; v{successor} in use",
            retired.version,
            second(from.0),
            second(through.0),
            count(retired.edges.len(), "edge"),
            list(retired.edges.iter().map(|covered| format!("{} {}", covered.edge, covered.basis)))
        ),
        (_, _, _) => format!("  v{} ended {when} ({})", retired.version, retired.cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_document_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.json");
        assert!(read(&file).unwrap_err().starts_with("cannot be read"));
        std::fs::write(&file, json!({ "kind": null }).to_string()).unwrap();
        assert!(read(&file).unwrap_err().starts_with("it is no proof document"));
    }
}
