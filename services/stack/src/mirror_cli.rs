//! `keywheel edge mirror`: a leaf's server gets the mirror of the log, and the durables of the edges there.

use crate::failure::{Options, Output, print};
use crate::leaf_folder::{ADMINISTRATOR, Content};
use crate::permissions::Role;
use crate::process_config::LEAF_URL;
use anyhow::{Context as _, Result};
use clap::Args;
use keywheel_bus::connect::read_signers;
use keywheel_bus::{Bus, BusConfig, mirror, topology};
use keywheel_domain::{EdgeId, LeafId};
use std::path::PathBuf;

/// What `edge mirror` takes.
#[derive(Args, Debug)]
pub struct Mirror {
    /// The leaf's folder, as the hub's home has it under `leaves`
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// The leaf's server
    #[arg(long, value_name = "URL", default_value = LEAF_URL)]
    pub url: String,
}

impl Mirror {
    /// Makes what is missing.
    ///
    /// # Errors
    /// When the folder is none of a leaf, or its server cannot be reached or refuses.
    pub async fn run(self, options: &Options) -> Result<()> {
        let content = Content::read(&self.dir)?;
        let leaf = LeafId::parse(&content.leaf).context("leaf.json")?;
        let edges = content.edges.iter().map(|edge| EdgeId::parse(edge).context("leaf.json"));
        let edges: Vec<EdgeId> = edges.collect::<Result<_>>()?;
        let signers = read_signers(&self.dir.join("signers.toml")).map_err(anyhow::Error::msg)?;
        let credentials = self.dir.join(ADMINISTRATOR);
        let config = BusConfig { url: self.url, credentials, tls: None, signers };
        let admin = Bus::connect(&config.options(&Role::Admin.name(), false)).await?;
        mirror::ensure_mirror(&admin, &leaf).await?;
        for edge in &edges {
            topology::ensure_edge(&admin, edge).await?;
        }
        admin.close().await;
        match options.output {
            Output::Text => print(&format!(
                "{leaf} has a mirror of the log, and a durable for each of its {} edges",
                edges.len()
            )),
            Output::Json => {
                print(&serde_json::json!({ "leaf": leaf.as_str(), "edges": content.edges }).to_string())
            }
        }
        Ok(())
    }
}
