//! `keywheel doctor`: looks at bus, streams, log, edges, services, credentials, clocks and disks, says what is wrong and
//! what to do next. Changes nothing.
//!
//! # Layout
//! - `facts`: what is looked at; `files`, `gather`: looking at it, on this machine and at the bus
//! - `diagnose`: what follows from it, as [`finding`]s

mod diagnose;
mod facts;
mod files;
pub mod finding;
mod gather;

use crate::edge_cli::Where;
use crate::failure::{Options, Output, print, report};
use crate::nats;
use crate::place::Place;
use anyhow::Result;
use clap::Args;
use facts::Facts;
use finding::{Finding, Level};
use keywheel_domain::Span;
use keywheel_runtime::{clock, exit};
use std::path::Path;

/// Say what is wrong with an installation, and what to do next
#[derive(Args, Debug)]
#[command(after_help = "\
Ends with 0 where nothing is wrong (warnings may stand), 1 where something is, 3 where the bus cannot be reached: then it
says what can be seen without it.

Examples:
  keywheel doctor
  keywheel --context cluster.json doctor --admin-credentials admin.nk --output json")]
pub struct Doctor {
    /// Which installation
    #[command(flatten)]
    pub at: Where,
}

impl Doctor {
    /// Looks, says what it found and returns the exit code.
    pub async fn run(self, options: &Options) -> u8 {
        match self.look(options).await {
            Ok(facts) => {
                let findings = diagnose::diagnose(&facts);
                tell(&findings, options.output);
                verdict(&facts, &findings)
            }
            Err(error) => report(&error, options.output),
        }
    }

    async fn look(&self, options: &Options) -> Result<Facts> {
        let place = Place::look(&self.at, options.context.as_deref())?;
        let server = &place.settings.server;
        let first = nats::processes(server).into_iter().next();
        let mut facts = Facts {
            now: clock::wall_ms(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            home: place.home.root().to_owned(),
            is_named: self.at.home != Path::new(".keywheel") || options.context.is_some(),
            context: options.context.clone(),
            up_runs: server.is_ours().then(|| place.home.is_held()),
            server: first.map(|(process, _)| process).unwrap_or_default(),
            lease_ms: Span::parse(&place.settings.lease).map_or(0, |lease| lease.0),
            url: server.url(),
            ..Facts::default()
        };
        let fleet = place.fleet()?;
        files::look(&place, &fleet, &mut facts);
        gather::look(&place, &fleet, &mut facts).await?;
        Ok(facts)
    }
}

fn verdict(facts: &Facts, findings: &[Finding]) -> u8 {
    match facts.bus {
        Some(Err(_)) => exit::UNREACHABLE,
        Some(Ok(_)) | None if findings.iter().any(|finding| finding.level == Level::Wrong) => exit::REFUSED,
        Some(Ok(_)) | None => exit::DONE,
    }
}

fn tell(findings: &[Finding], output: Output) {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (wrong, warnings) = (count(Level::Wrong), count(Level::Warning));
    match output {
        Output::Json => print(
            &serde_json::json!({
                "healthy": wrong == 0, "wrong": wrong, "warnings": warnings, "findings": findings,
            })
            .to_string(),
        ),
        Output::Text => print(&words(findings, wrong, warnings)),
    }
}

fn words(findings: &[Finding], wrong: usize, warnings: usize) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        let word = match finding.level {
            Level::Ok => "ok     ",
            Level::Warning => "warning",
            Level::Wrong => "WRONG  ",
        };
        let Finding { code, about, what, next, .. } = finding;
        let code = if finding.level == Level::Ok { String::new() } else { format!(" [{code}]") };
        lines.push(format!("{word}  {about}: {what}{code}"));
        lines.extend(next.as_ref().map(|next| format!("         next: {next}")));
    }
    lines.push(match (wrong, warnings) {
        (0, 0) => "all is well".to_owned(),
        (0, warnings) => format!("nothing is wrong, {warnings} to look at"),
        (wrong, warnings) => format!("{wrong} wrong, {warnings} to look at"),
    });
    lines.join("\n")
}
