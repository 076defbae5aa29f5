//! What the doctor sees on this machine's disks: credentials, certificates, space.

use super::facts::{DiskFact, Facts, FileFact};
use crate::certificates;
use crate::home::Home;
use crate::nats;
use crate::permissions::Role;
use crate::place::Place;
use crate::settings::{Fleet, Server};
use keywheel_bus::connect::read_signers;
use keywheel_runtime::config::read_text;
use keywheel_token::Credential;
use keywheel_wire::subject::Service;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const SEED_BYTES_MAX: usize = 4096;
const NOT_THE_OWNERS: u32 = 0o077;

/// Looks at all of them.
pub(super) fn look(place: &Place, fleet: &Fleet, facts: &mut Facts) {
    let mut publics = Vec::new();
    for (role, path) in credentials(place, fleet) {
        let (fact, public) = seed(&path);
        facts.files.push(fact);
        if let (Some(Role::Service(service)), Some(public)) = (role, public) {
            publics.push((service, public));
        }
    }
    look_at_signers(&place.signers, publics, facts);
    if let Server::Own { tls: true, .. } | Server::Cluster { tls: true, .. } = place.settings.server {
        facts.certificates = certificates::expiries(&place.home);
    }
    facts.disks = disks(&place.home, &place.settings.server, fleet);
}

/// Whose seeds ought to be here: of a home with a stack in it everybody's, of another the operator's.
fn credentials(place: &Place, fleet: &Fleet) -> Vec<(Option<Role>, PathBuf)> {
    if !place.home.exists() {
        return vec![(None, place.operator.clone())];
    }
    let edges = fleet.ids().map(|id| Role::Edge(id.clone()));
    let is_own = place.settings.server.is_ours();
    let roles = Role::fixed().into_iter().chain(edges).filter(|role| is_own || *role != Role::Admin);
    roles.map(|role| (Some(role.clone()), place.home.credential(&role.name()))).collect()
}

fn seed(path: &Path) -> (FileFact, Option<String>) {
    let mode = std::fs::metadata(path).ok().map(|found| found.permissions().mode() & 0o777);
    let is_public = mode.is_some_and(|mode| mode & NOT_THE_OWNERS != 0);
    let text = read_text(path, SEED_BYTES_MAX).map(Zeroizing::new);
    let read = text.map_err(|error| error.to_string());
    let read = read.and_then(|text| Credential::parse(&text).map_err(|error| error.to_string()));
    let (damage, public) = match read {
        Ok(credential) => (None, Some(credential.public().to_owned())),
        Err(damage) => (mode.map(|_| damage), None),
    };
    (FileFact { path: path.to_owned(), mode, is_public, damage }, public)
}

fn look_at_signers(file: &Path, publics: Vec<(Service, String)>, facts: &mut Facts) {
    match read_signers(file) {
        Err(why) => facts.signers = Some(why),
        Ok(signers) => {
            let is_listed = |(service, public): &(Service, String)| {
                signers.keys().any(|entry| entry == (public.as_str(), *service))
            };
            facts.unlisted = publics.iter().filter(|entry| !is_listed(entry)).cloned().collect();
        }
    }
    facts.keys = publics;
}

fn disks(home: &Home, server: &Server, fleet: &Fleet) -> Vec<DiskFact> {
    if !home.exists() {
        return Vec::new();
    }
    let edges = fleet.edges.iter().map(|edge| home.data(&edge.process()));
    let databases = edges.clone().map(|folder| folder.join("edge.db")).filter(|file| file.exists());
    let stores = nats::processes(server).into_iter().map(|(process, _)| home.nats_store(&process));
    let folders = [home.root().to_owned()].into_iter().chain(stores).chain(edges);
    folders.filter(|folder| folder.exists()).chain(databases).map(|path| disk(&path)).collect()
}

fn disk(path: &Path) -> DiskFact {
    let free = statvfs(path).ok().map(|found| {
        let unit = found.fragment_size();
        (found.blocks_available() * unit, found.blocks() * unit)
    });
    let refusal = access(path, AccessFlags::W_OK).err().map(|error| error.desc().to_owned());
    DiskFact { path: path.to_owned(), free, refusal }
}
