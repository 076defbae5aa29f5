//! The configuration files of the stack's own processes.

use crate::home::{Home, write_private};
use crate::ports::loopback;
use crate::settings::{Edge, Settings};
use anyhow::{Context as _, Result};
use keywheel_bus::TlsConfig;
use keywheel_domain::EdgeId;
use keywheel_wire::subject::{Service, edge_durable};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A leaf's server, as the edges on its machine find it.
pub const LEAF_URL: &str = "nats://127.0.0.1:4222";

#[derive(Serialize)]
struct ServiceFile {
    instance: u32,
    data_dir: PathBuf,
    lease: String,
    bus: BusTable,
    #[serde(skip_serializing_if = "Option::is_none")]
    observe: Option<ObserveTable>,
}

#[derive(Serialize)]
struct ObserveTable {
    http: SocketAddr,
}

#[derive(Serialize)]
struct EdgeFile {
    id: String,
    data_dir: PathBuf,
    lease: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keep_log: bool,
    bus: BusTable,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<ListenTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc: Option<ListenTable>,
}

#[derive(Serialize)]
struct BusTable {
    url: String,
    credentials: PathBuf,
    signers: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsConfig>,
}

#[derive(Serialize)]
struct ListenTable {
    listen: SocketAddr,
}

/// The name of a service's process: its own for the first replica, numbered after that.
pub fn process_name(service: Service, instance: u32) -> String {
    match instance {
        1 => service.name().to_owned(),
        _ => service.log_durable(instance),
    }
}

/// How many processes of a service run where `instances` are wanted.
pub fn replicas(service: Service, instances: u32) -> u32 {
    match service {
        // Its replicas would both count: one is active at a time.
        Service::UsageTracker => 1,
        Service::Issuer | Service::Propagator | Service::Retirer => instances,
    }
}

/// Writes the configuration of one replica of a service.
///
/// # Errors
/// When the system refuses.
pub fn write_service(home: &Home, settings: &Settings, service: Service, instance: u32) -> Result<()> {
    let process = process_name(service, instance);
    let file = ServiceFile {
        instance,
        data_dir: home.data(&process),
        lease: settings.lease.clone(),
        bus: bus(home, settings, service.name()),
        observe: settings.observe.get(&process).map(|port| ObserveTable { http: loopback(*port) }),
    };
    write(home, &process, &file)
}

/// Writes an edge's configuration.
///
/// # Errors
/// When the system refuses.
pub fn write_edge(home: &Home, settings: &Settings, edge: &Edge) -> Result<()> {
    let (http, grpc) = (ListenTable { listen: edge.listen }, edge.grpc.map(|listen| ListenTable { listen }));
    // On one machine each edge keeps a copy of the log: the bus has only one.
    let file = EdgeFile { http: Some(http), grpc, keep_log: true, ..edge_file(home, settings, &edge.id) };
    write(home, &edge.process(), &file)
}

/// Writes the configuration of an edge inside a service, which does not listen.
///
/// # Errors
/// When the system refuses.
pub fn write_library(home: &Home, settings: &Settings, id: &EdgeId) -> Result<()> {
    write(home, &edge_durable(id), &edge_file(home, settings, id))
}

/// Writes the configuration of an edge at a leaf, to be started in the leaf's folder.
///
/// # Errors
/// When the system refuses.
pub fn write_at_leaf(path: &Path, settings: &Settings, id: &EdgeId, listen: SocketAddr) -> Result<()> {
    let process = edge_durable(id);
    let bus = BusTable {
        url: LEAF_URL.to_owned(),
        credentials: format!("{process}.nk").into(),
        signers: "signers.toml".into(),
        tls: None,
    };
    let file = EdgeFile {
        id: id.to_string(),
        data_dir: process.into(),
        lease: settings.lease.clone(),
        keep_log: false,
        bus,
        http: Some(ListenTable { listen }),
        grpc: None,
    };
    let text = toml::to_string(&file).context("cannot write a configuration as TOML")?;
    let head = "# Written by `keywheel edge add --leaf`. Paths are as seen from the leaf's folder.\n";
    write_private(path, format!("{head}{text}").as_bytes())
}

fn edge_file(home: &Home, settings: &Settings, id: &EdgeId) -> EdgeFile {
    let process = edge_durable(id);
    EdgeFile {
        id: id.to_string(),
        data_dir: home.data(&process),
        lease: settings.lease.clone(),
        keep_log: false,
        bus: bus(home, settings, &process),
        http: None,
        grpc: None,
    }
}

fn bus(home: &Home, settings: &Settings, role: &str) -> BusTable {
    BusTable {
        url: settings.server.url(),
        credentials: home.credential(role),
        signers: home.signers(),
        tls: settings.server.tls(home, role),
    }
}

fn write(home: &Home, process: &str, file: &impl Serialize) -> Result<()> {
    let text = toml::to_string(file).context("cannot write a configuration as TOML")?;
    let head = "# Written by the local stack at each start; changes made here are lost then.\n";
    write_private(&home.config(process), format!("{head}{text}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Leaves, Server};
    use expect_test::expect;

    fn written(process: &str, home: &Home) -> String {
        let text = std::fs::read_to_string(home.config(process)).unwrap();
        text.replace(&home.root().display().to_string(), "HOME")
    }

    #[test]
    fn each_process_is_told_what_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.create().unwrap();
        let server = Server::Own { port: 4222, monitor: 8222, tls: false };
        let observe = [("retirer-2".to_owned(), 8412)].into();
        let mut settings = Settings {
            server,
            port_base: None,
            lease: "15s".to_owned(),
            instances: 2,
            observe,
            leaves: Leaves::default(),
        };
        write_service(&home, &settings, Service::Retirer, 2).unwrap();
        expect![[r#"
            # Written by the local stack at each start; changes made here are lost then.
            instance = 2
            data_dir = "HOME/data/retirer-2"
            lease = "15s"

            [bus]
            url = "nats://127.0.0.1:4222"
            credentials = "HOME/credentials/retirer.nk"
            signers = "HOME/signers.toml"

            [observe]
            http = "127.0.0.1:8412"
        "#]]
        .assert_eq(&written("retirer-2", &home));

        let id = EdgeId::parse("e1").unwrap();
        let grpc = Some(crate::ports::loopback(8581));
        let edge = Edge { id, listen: crate::ports::loopback(8081), grpc };
        settings.server = Server::Own { port: 4222, monitor: 8222, tls: true };
        write_edge(&home, &settings, &edge).unwrap();
        expect![[r#"
            # Written by the local stack at each start; changes made here are lost then.
            id = "e1"
            data_dir = "HOME/data/edge-e1"
            lease = "15s"
            keep_log = true

            [bus]
            url = "tls://127.0.0.1:4222"
            credentials = "HOME/credentials/edge-e1.nk"
            signers = "HOME/signers.toml"

            [bus.tls]
            ca = "HOME/tls/ca.pem"
            cert = "HOME/tls/edge-e1.pem"
            key = "HOME/tls/edge-e1.key"

            [http]
            listen = "127.0.0.1:8081"

            [grpc]
            listen = "127.0.0.1:8581"
        "#]]
        .assert_eq(&written("edge-e1", &home));

        let id = EdgeId::parse("notes").unwrap();
        write_library(&home, &settings, &id).unwrap();
        let library = written("edge-notes", &home);
        assert!(library.contains("id = \"notes\"") && library.contains("[bus.tls]"), "{library}");
        assert!(!library.contains("listen"), "{library}");
    }
}
