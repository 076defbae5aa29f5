//! `keywheel edge snapshot`: has the propagator write its table into the store, and says what lies there then.

use crate::context::Context;
use crate::failure::{Failure, Options, Output, print};
use crate::home::Home;
use crate::permissions::Role;
use anyhow::Result;
use clap::Args;
use keywheel_bus::{Bus, BusConfig};
use keywheel_wire::signers::Signers;
use keywheel_wire::snapshot::Manifest;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A table of a hundred million keys takes minutes to be written.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `edge snapshot` takes.
#[derive(Args, Debug)]
pub struct Snapshot {
    /// Home of the stack
    #[arg(long, value_name = "DIR", env = "KEYWHEEL_HOME", default_value = ".keywheel")]
    pub home: PathBuf,
}

impl Snapshot {
    /// Does it, and says what was written.
    ///
    /// # Errors
    /// When nothing runs, nobody answers in time, or none was written.
    pub async fn run(self, options: &Options) -> Result<()> {
        let path = options
            .context
            .clone()
            .map_or_else(|| Ok(Home::at(&self.home)?.context()), Ok::<_, anyhow::Error>)?;
        let missing = || {
            Failure::unreachable(format!(
                "there is no {}; start `keywheel up`, or name a --context",
                path.display()
            ))
        };
        let context = Context::load(&path)?.ok_or_else(missing)?;
        // Nothing is read here that would have to be believed.
        let signers = Arc::new(Signers::nobody());
        let config =
            BusConfig { url: context.nats_url, credentials: context.credentials, signers, tls: context.tls };
        let operator = Bus::connect(&config.options(&Role::Operator.name(), false)).await?;
        let answer = operator.ask_snapshot(options.timeout.unwrap_or(PATIENCE)).await;
        operator.close().await;
        let answer =
            answer.map_err(|error| Failure::unfinished(format!("no propagator answers: {error}")))?;
        tell(&answer.map_err(|why| Failure::refused("no_snapshot", why))?, options.output);
        Ok(())
    }
}

fn tell(manifest: &Manifest, output: Output) {
    let Manifest { name, size, chunks, metadata, .. } = manifest;
    match output {
        Output::Text => print(&format!(
            "the table at position {} lies in {name}: {size} bytes in {chunks} chunk{}",
            metadata.watermark.get(),
            if *chunks == 1 { "" } else { "s" }
        )),
        Output::Json => print(&serde_json::json!({ "snapshot": manifest }).to_string()),
    }
}
