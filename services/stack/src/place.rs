//! Which installation an `edge` command is about: a home whose `up` runs, or a cluster that a context names.

use crate::context::Context;
use crate::edge_cli::Where;
use crate::failure::Failure;
use crate::home::{Home, write_private};
use crate::leaf_folder;
use crate::nats;
use crate::permissions::Role;
use crate::settings::{Fleet, LEASE, Leaves, Server, Settings};
use anyhow::Result;
use keywheel_bus::connect::read_signers;
use keywheel_domain::{EdgeId, LeafId};
use std::path::{Path, PathBuf};

/// An installation and the home in which its edges are kept.
#[derive(Debug)]
pub struct Place {
    /// Where credentials and configuration of edges lie.
    pub home: Home,
    /// The bus, the lease.
    pub settings: Settings,
    /// File with the operator's seed.
    pub operator: PathBuf,
    /// File that says whose events are believed.
    pub signers: PathBuf,
    context: PathBuf,
}

impl Place {
    /// Finds it.
    ///
    /// # Errors
    /// When there is neither a stack nor a context, or nothing says who may make durables.
    pub fn find(at: &Where, context: Option<&Path>) -> Result<Place> {
        let place = Place::look(at, context)?;
        if let Server::Existing { admin, .. } = &place.settings.server {
            if admin.as_os_str().is_empty() {
                let detail = "name --admin-credentials FILE: durables are its to make";
                return Err(Failure::usage(detail).into());
            }
            bring_signers(&place.home, &place.signers)?;
        }
        Ok(place)
    }

    /// The same for whoever only looks: nothing is written, and the administrator's credential may be elsewhere
    /// (an empty path).
    ///
    /// # Errors
    /// When there is neither a stack nor a context.
    pub fn look(at: &Where, context: Option<&Path>) -> Result<Place> {
        let named = context.map(Context::load).transpose()?.flatten();
        let home = match named.as_ref().and_then(|context| context.home.as_ref()) {
            Some(home) => Home::at(home)?,
            None => Home::at(&at.home)?,
        };
        let context = context.map_or_else(|| home.context(), Path::to_owned);
        if let Some(mut settings) = Settings::load(&home)? {
            if let (Some(file), Server::Existing { admin, .. }) =
                (&at.admin_credentials, &mut settings.server)
            {
                admin.clone_from(file);
            }
            let operator = home.credential(&Role::Operator.name());
            let signers = home.signers();
            return Ok(Place { home, settings, operator, signers, context });
        }
        let named = match named {
            Some(named) => named,
            None => Context::load(&context)?.ok_or_else(|| nothing_at(&home))?,
        };
        Ok(Place::of_cluster(at, home, named, context))
    }

    fn of_cluster(at: &Where, home: Home, named: Context, context: PathBuf) -> Place {
        let admin = at.admin_credentials.clone().or(named.admin_credentials).unwrap_or_default();
        let server = Server::Existing { url: named.nats_url, monitor: None, admin, tls: named.tls };
        let lease = named.lease.unwrap_or_else(|| LEASE.to_string());
        let settings = Settings {
            server,
            port_base: None,
            lease,
            instances: 1,
            observe: [].into(),
            leaves: Leaves::default(),
        };
        let signers = if home.signers().exists() { None } else { named.signers };
        let signers = signers.unwrap_or_else(|| home.signers());
        Place { home, settings, operator: named.credentials, signers, context }
    }

    /// Nothing can be changed in a home whose server does not run.
    ///
    /// # Errors
    /// When it does not.
    pub fn demand_running(&self) -> Result<()> {
        if self.settings.server.is_ours() && !self.home.is_held() {
            let detail =
                format!("nothing runs in {}; start `keywheel up` there first", self.home.root().display());
            return Err(Failure::unreachable(detail).into());
        }
        Ok(())
    }

    /// The home's list of edges.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn fleet(&self) -> Result<Fleet> {
        Fleet::load(&self.home)
    }

    /// The edges that the context names, with their HTTP addresses.
    ///
    /// # Errors
    /// When the context is damaged.
    pub fn edges(&self) -> Result<Vec<(EdgeId, String)>> {
        let context = Context::load(&self.context)?;
        let edges = context.map(|context| context.edges).unwrap_or_default();
        Ok(edges.into_iter().filter_map(|edge| Some((EdgeId::parse(&edge.id).ok()?, edge.http))).collect())
    }

    /// Writes our server's configuration anew and has it read.
    ///
    /// # Errors
    /// When a credential is damaged or the server does not run.
    pub fn reconfigure(&self) -> Result<()> {
        let _held = self.home.hold_edges()?;
        nats::configure(&self.home, &self.settings, &self.fleet()?)?;
        nats::reload(&self.home, &self.settings.server)
    }

    /// Writes a leaf's folder anew.
    ///
    /// # Errors
    /// When a credential is damaged, or the system refuses.
    pub fn pack(&self, leaf: &LeafId) -> Result<()> {
        let leaves = nats::leaves(&self.home, &self.settings, &self.fleet()?)?;
        let mut packed = leaves.iter().filter(|known| known.id == *leaf);
        packed.try_for_each(|leaf| leaf_folder::write(&self.home, &self.settings, leaf))
    }

    /// Changes the context, if there is one: an `up` that is not ready yet writes its own.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn show(&self, change: impl FnOnce(&mut Context)) -> Result<()> {
        let _held = self.home.hold_edges()?;
        let Some(mut context) = Context::load(&self.context)? else { return Ok(()) };
        change(&mut context);
        context.save(&self.context)
    }
}

/// An edge added here is told whose events it believes by a file of this home.
fn bring_signers(home: &Home, named: &Path) -> Result<()> {
    let path = home.signers();
    if path.exists() {
        return Ok(());
    }
    if named == path {
        let detail = "signers: the context names no signers file; put the installation's at ";
        return Err(Failure::misconfigured(format!("{detail}{}", path.display())).into());
    }
    let unusable = |error: String| Failure::misconfigured(format!("signers: {error}"));
    let signers = read_signers(named).map_err(unusable)?;
    home.create()?;
    write_private(&path, signers.to_string().as_bytes())
}

fn nothing_at(home: &Home) -> Failure {
    let home = home.root().display();
    Failure::unreachable(format!(
        "there is no stack in {home}; start `keywheel up`, or name a --context or --home"
    ))
}
