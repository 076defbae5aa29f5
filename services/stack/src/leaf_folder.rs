//! What a leaf's machine is given: one folder, in which its server and its edges are started.

use crate::home::{Home, private_folder, read_json, remove, write_json, write_private};
use crate::leaf::{self, Leaf};
use crate::nats_conf::User;
use crate::permissions::Role;
use crate::process_config;
use crate::secrets;
use crate::settings::Settings;
use anyhow::{Context as _, Result};
use keywheel_domain::{EdgeId, LeafId};
use keywheel_wire::subject::leaf_durable;
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The seed of the leaf's own administrator.
pub const ADMINISTRATOR: &str = "admin.nk";
const CONTENT: &str = "leaf.json";

/// Which leaf a folder is for, and which edges are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Its name.
    pub leaf: String,
    /// The edges' names.
    pub edges: Vec<String>,
}

impl Content {
    /// What a folder says of itself.
    ///
    /// # Errors
    /// When it is none of ours.
    pub fn read(folder: &Path) -> Result<Content> {
        let path = folder.join(CONTENT);
        let content = read_json(&path)?;
        content.with_context(|| format!("there is no {}; name the leaf's folder with --dir", path.display()))
    }
}

/// Writes the folder of a leaf, but for its edges' own files.
///
/// # Errors
/// When the system refuses.
pub fn write(home: &Home, settings: &Settings, leaf: &Leaf) -> Result<()> {
    let folder = home.leaf(&leaf.id);
    private_folder(&folder)?;
    let copy = |from: PathBuf, to: &str| {
        let bytes = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        write_private(&folder.join(to), &bytes)
    };
    let admin = leaf::administrator(secrets::ensure_seed(&folder.join(ADMINISTRATOR))?);
    let users = leaf.edges.iter().map(|edge| secrets::ensure_user(home, &Role::Edge(edge.clone())));
    let users: Vec<User> = users.collect::<Result<_>>()?;
    write_private(&folder.join("accounts.conf"), leaf.render_own(&admin, &users).as_bytes())?;
    let role = leaf_durable(&leaf.id);
    let seed = read_seed(&home.credential(&role))?;
    // The server takes it as a word of its configuration and from no other file.
    write_private(
        &folder.join("seed.conf"),
        Zeroizing::new(format!("LEAF_SEED: \"{}\"\n", *seed)).as_bytes(),
    )?;
    copy(home.signers(), "signers.toml")?;
    if let Some(tls) = settings.server.tls(home, &role) {
        copy(tls.ca, "ca.pem")?;
        for (file, name) in [(tls.cert, "leaf.pem"), (tls.key, "leaf.key")] {
            file.map_or(Ok(()), |file| copy(file, name))?;
        }
    }
    let edges = leaf.edges.iter().map(ToString::to_string).collect();
    write_json(&folder.join(CONTENT), &Content { leaf: leaf.id.to_string(), edges })
}

fn read_seed(path: &Path) -> Result<Zeroizing<String>> {
    fs::read_to_string(path).map(Zeroizing::new).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes what an edge at a leaf needs of its own beside the rest; gives the name of its configuration.
///
/// # Errors
/// When the system refuses.
pub fn write_edge(
    home: &Home,
    settings: &Settings,
    leaf: &LeafId,
    edge: &EdgeId,
    listen: SocketAddr,
) -> Result<PathBuf> {
    let (folder, process) = (home.leaf(leaf), Role::Edge(edge.clone()).name());
    let seed = read_seed(&home.credential(&process))?;
    write_private(&folder.join(format!("{process}.nk")), seed.as_bytes())?;
    let config = folder.join(format!("{process}.toml"));
    process_config::write_at_leaf(&config, settings, edge, listen)?;
    Ok(config)
}

/// Takes what an edge had of its own out of a leaf's folder.
///
/// # Errors
/// When the system refuses.
pub fn remove_edge(home: &Home, leaf: &LeafId, edge: &EdgeId) -> Result<()> {
    let process = Role::Edge(edge.clone()).name();
    remove(&home.leaf(leaf).join(format!("{process}.nk")))?;
    remove(&home.leaf(leaf).join(format!("{process}.toml")))
}
