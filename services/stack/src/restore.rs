//! `keywheel restore --from-edge|--from-file`: a log that was lost on every server is put back from a copy of its signed
//! messages, each of them verified. It can be stopped at any moment and run again.
//!
//! # Layout
//! - `source`: the copy, read through; `judge`: whether it may become the log
//! - `rebuild`: putting it back at the bus

mod judge;
mod rebuild;
mod source;

use crate::edge_cli::Where;
use crate::failure::{Failure, Options, Output, print, report, say};
use crate::installation::{CLUSTER_COPIES, connect_believing};
use crate::permissions::Role;
use crate::place::Place;
use crate::settings::Server;
use anyhow::{Context as _, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use judge::{Objection, judge};
use keywheel_bus::connect::read_signers;
use keywheel_domain::EdgeId;
use keywheel_runtime::config::read_text;
use keywheel_runtime::exit;
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::{Signers, When};
use keywheel_wire::subject::Service;
use keywheel_wire::text::hex;
use rebuild::Rebuilt;
use source::Source;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use zeroize::Zeroizing;

const SEED_BYTES_MAX: usize = 4096;

/// Rebuild a lost log from an edge's copy of its signed messages
#[derive(Args, Debug)]
#[command(after_help = "\
Each message is checked: its signature, its author's right, its place, and that edges and signed heads saw the same. Only
then it is put back, at its old position, and edges and services go on where they were. Run again after a kill, it goes
on where it was.

Events that nobody has a copy of are lost: an edge that has applied more than the copy has does not go on with it.

Examples:
  keywheel restore --from-edge --dry-run     the longest copy of the edges of this home
  keywheel restore --from-edge e2
  keywheel restore --from-file log.jsonl --sign-with propagator.nk --admin-credentials admin.nk")]
#[group(id = "from", required = true, multiple = false, args = ["from_edge", "from_file"])]
pub struct Restore {
    /// The copy of an edge of this home; without a name the longest one
    #[arg(long, value_name = "ID", num_args = 0..=1, value_parser = parse_id)]
    pub from_edge: Option<Option<EdgeId>>,
    /// A copy from elsewhere: an edge's log.jsonl, or what `keywheel audit export --format jsonl` wrote
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
    /// Check the copy and say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Go on with a copy that ends before what somebody has seen: what was decided after it is lost, also revocations
    #[arg(long)]
    pub accept_loss: bool,
    /// Seed file of a propagator, which says that the stream is the log [default: the home's]
    #[arg(long, value_name = "FILE")]
    pub sign_with: Option<PathBuf>,
    /// Copies of each stream: 3 on a cluster of this home, 1 on its only server, and on servers of others unless told
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub stream_copies: Option<u8>,
    /// Which installation
    #[command(flatten)]
    pub at: Where,
}

fn parse_id(text: &str) -> Result<EdgeId, String> {
    EdgeId::parse(text).map_err(|error| error.to_string())
}

impl Restore {
    /// Does it and returns the exit code. Says itself what went wrong.
    pub async fn run(self, options: &Options) -> u8 {
        self.restore(options).await.map_or_else(|error| report(&error, options.output), |()| exit::DONE)
    }

    async fn restore(&self, options: &Options) -> Result<()> {
        let place = Place::look(&self.at, options.context.as_deref())?;
        place.demand_running()?;
        let unusable = |error: String| Failure::misconfigured(format!("signers: {error}"));
        let signers = read_signers(&place.signers).map_err(unusable)?;
        let (path, copies) = self.choose(&place)?;
        let signers = tokio::task::block_in_place(|| source::acquainted(&path, &signers))?;
        let signer = self.signer(&place, &signers)?;
        let seen = rebuild::witnesses(&place, &signers).await;
        let bar = progress(options.output, "{msg} {bar:30} {bytes} of {total_bytes}, {eta} left");
        bar.set_message(format!("checking {}", path.display()));
        let source = tokio::task::block_in_place(|| source::read(&path, &signers, seen, &bar))?;
        bar.finish_and_clear();
        let losses = self.weigh(&source, &copies)?;
        if self.dry_run {
            tell(&source, None, &losses, options.output);
            return Ok(());
        }
        let bar = progress(options.output, "{msg} {bar:30} {pos} of {len} messages, {eta} left");
        let (server, role) = (&place.settings.server, Role::Admin);
        let replicas = match server {
            Server::Own { .. } => 1,
            Server::Cluster { .. } => CLUSTER_COPIES,
            Server::Existing { .. } => self.stream_copies.map_or(1, usize::from),
        };
        let credentials = server.admin(&place.home);
        let admin = connect_believing(&place.home, server, credentials, &role, Arc::clone(&signers)).await?;
        let restored = rebuild::rebuild(&admin, &place, &source, &signer, replicas, &bar).await;
        admin.close().await;
        bar.finish_and_clear();
        tell(&source, Some(&restored?), &losses, options.output);
        Ok(())
    }

    /// Only what the propagator says of the log is believed.
    fn signer(&self, place: &Place, signers: &Signers) -> Result<Signer> {
        let role = Role::Service(Service::Propagator);
        let path = self.sign_with.clone().unwrap_or_else(|| place.home.credential(&role.name()));
        let advice =
            "name a propagator's seed with --sign-with: no edge goes on with a log that none vouches for";
        let seed = read_text(&path, SEED_BYTES_MAX).map(Zeroizing::new);
        let seed = seed.with_context(|| format!("cannot read {}; {advice}", path.display()))?;
        let signer = Signer::from_seed(&seed)?;
        if signers.role(signer.public(), When::Now) == Ok(Service::Propagator) {
            return Ok(signer);
        }
        let detail = format!("the key in {} is not believed as a propagator's; {advice}", path.display());
        Err(Failure::misconfigured(detail).into())
    }

    /// The copy, and every other one of the home with its last position.
    fn choose(&self, place: &Place) -> Result<(PathBuf, Vec<(String, u64)>)> {
        let known = tokio::task::block_in_place(|| anyhow::Ok(source::all(&place.home, &place.fleet()?)))?;
        let chosen = match (&self.from_edge, known.first()) {
            (Some(Some(id)), _) => source::of_edge(&place.home, id)?,
            (Some(None), Some((id, _))) => source::of_edge(&place.home, id)?,
            (Some(None), None) => {
                let detail = "no edge of this home has a copy of the log; bring one from another machine and name it with \
                              --from-file";
                return Err(Failure::refused("no_copy", detail).into());
            }
            (None, _) => self.from_file.clone().unwrap_or_default(),
        };
        let named = |(id, last): (EdgeId, u64)| (format!("the copy of edge {id}"), last);
        Ok((chosen, known.into_iter().map(named).collect()))
    }

    /// What will be lost with this copy, or why it is not used.
    fn weigh(&self, source: &Source, copies: &[(String, u64)]) -> Result<Vec<(String, u64)>> {
        let path = source.path.display();
        let refused = |code: &str, detail: String| Err(Failure::refused(code, detail).into());
        match judge(&source.inspection, copies) {
            None => Ok(Vec::new()),
            Some(Objection::Empty) => refused("no_copy", format!("{path} holds no message")),
            Some(Objection::Damaged(why)) => {
                refused("damaged_copy", format!("{path} is not the log as it was: {why}; use another copy"))
            }
            Some(Objection::Unconfirmed(why)) => refused(
                "unconfirmed_copy",
                format!(
                    "{path}: {why}; nobody who can be heard saw this in the log; start an edge, or use another copy"
                ),
            ),
            Some(Objection::Short(more)) if self.accept_loss => Ok(more),
            Some(Objection::Short(more)) => {
                let who: Vec<String> = more.iter().map(|(who, seen)| format!("{who} up to {seen}")).collect();
                let detail = format!(
                    "{path} ends at {}, and more was seen: {}; use the longest copy, or pass --accept-loss: what was \
                     decided after it is lost then, also revocations, and whoever has applied it does not go on",
                    source.inspection.last,
                    who.join(", ")
                );
                refused("short_copy", detail)
            }
        }
    }
}

fn progress(output: Output, template: &str) -> ProgressBar {
    let is_shown = output == Output::Text && std::io::stderr().is_terminal();
    let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    // A bar in another style is a bar too.
    ProgressStyle::with_template(template).map(|style| bar.set_style(style)).ok();
    bar
}

fn tell(source: &Source, rebuilt: Option<&Rebuilt>, losses: &[(String, u64)], output: Output) {
    let inspection = &source.inspection;
    let unbelieved = inspection.messages - inspection.believed;
    if output == Output::Json {
        let agreed: Vec<_> = inspection
            .agreed
            .iter()
            .map(|(who, seq)| serde_json::json!({ "who": who, "upto": seq }))
            .collect();
        let lost: Vec<_> =
            losses.iter().map(|(who, seq)| serde_json::json!({ "who": who, "seen": seq })).collect();
        let document = serde_json::json!({
            "from": source.path,
            "messages": inspection.messages,
            "last": inspection.last,
            "chain": inspection.chain.map(|chain| hex(&chain.0)),
            "not_believed": unbelieved,
            "seen_the_same": agreed,
            "lost_after": lost,
            "restored": rebuilt.is_some(),
            "put_back": rebuilt.map_or(0, |rebuilt| rebuilt.put_back),
        });
        return print(&document.to_string());
    }
    let mut lines = vec![format!(
        "{}: {} messages up to {}, each in its place, {unbelieved} that no reader believes",
        source.path.display(),
        inspection.messages,
        inspection.last
    )];
    lines.push(match inspection.agreed.is_empty() {
        true => "nobody can be heard who saw the log: that the copy does not end too early is not shown"
            .to_owned(),
        false => {
            let seen: Vec<String> =
                inspection.agreed.iter().map(|(who, seq)| format!("{who} up to {seq}")).collect();
            format!("seen the same: {}", seen.join(", "))
        }
    });
    for (who, seen) in losses {
        lines.push(format!("LOST: {} to {seen}, which {who} has seen", inspection.last + 1));
    }
    if !losses.is_empty() {
        say(
            "an edge or service that has applied more goes on only when its database is set aside; until then it is stale",
        );
    }
    match rebuilt {
        None => lines.push("nothing was changed; without --dry-run it is put back".to_owned()),
        Some(Rebuilt { put_back: 0 }) => lines.push("the log is there, with all that the copy has".to_owned()),
        Some(Rebuilt { put_back }) => lines.push(format!(
            "the log is back: {put_back} messages were put back now. What waited in queues is lost: commands without an \
             outcome are sent again under their own id; keys that were not active yet are cancelled, issue them again. \
             Next: keywheel doctor"
        )),
    }
    print(&lines.join("\n"));
}
