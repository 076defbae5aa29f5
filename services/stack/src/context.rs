//! `context.json`: how programs find a stack and act as its operator.

use crate::home::{self, Home, read_json, write_json};
use crate::permissions::Role;
use crate::ports::loopback;
use crate::settings::{Edge, Fleet, Settings};
use anyhow::Result;
use keywheel_bus::TlsConfig;
use keywheel_bus::connect::inbox_prefix;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The document; programs of others add fields that we ignore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Where the bus is.
    pub nats_url: String,
    /// File with the operator's nkey seed.
    pub credentials: PathBuf,
    /// The operator's certificates, where the bus speaks TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Under which the operator's replies come.
    pub inbox_prefix: String,
    /// Where keys are verified.
    #[serde(default)]
    pub edges: Vec<ContextEdge>,
    /// Where each service tells how it stands.
    #[serde(default)]
    pub services: Vec<ContextService>,
    /// Where the console is; there is none yet.
    #[serde(default)]
    pub console: Option<String>,
    /// The home, if a local stack wrote this.
    #[serde(default)]
    pub home: Option<PathBuf>,
    /// The lease of the fleet.
    #[serde(default)]
    pub lease: Option<String>,
    /// File with the seed of the operator's xkey.
    #[serde(default)]
    pub recipient: Option<PathBuf>,
    /// File that says whose events are believed.
    #[serde(default)]
    pub signers: Option<PathBuf>,
    /// File with the seed of the credential that may change streams and durables.
    #[serde(default)]
    pub admin_credentials: Option<PathBuf>,
}

/// An edge as programs see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextEdge {
    /// Its name on the roster.
    pub id: String,
    /// Its HTTP address.
    pub http: String,
    /// Where it answers Envoy: `host:port`.
    #[serde(default)]
    pub grpc: Option<String>,
}

/// A service's process as programs see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextService {
    /// Its name: the service's own, numbered from the second replica on.
    pub name: String,
    /// Its HTTP address: `/livez`, `/readyz`, `/metrics`.
    pub http: String,
}

impl ContextService {
    fn of((name, port): (&String, &u16)) -> ContextService {
        ContextService { name: name.clone(), http: format!("http://{}", loopback(*port)) }
    }
}

impl Context {
    /// Of the stack in `home`.
    pub fn of(home: &Home, settings: &Settings, fleet: &Fleet, admin: PathBuf) -> Context {
        let operator = Role::Operator.name();
        Context {
            nats_url: settings.server.url(),
            credentials: home.credential(&operator),
            tls: settings.server.tls(home, &operator),
            inbox_prefix: inbox_prefix(&operator),
            edges: fleet.edges.iter().map(ContextEdge::of).collect(),
            services: settings.observe.iter().map(ContextService::of).collect(),
            console: None,
            home: Some(home.root().to_owned()),
            lease: Some(settings.lease.clone()),
            recipient: Some(home.recipient()),
            signers: Some(home.signers()),
            admin_credentials: Some(admin),
        }
    }

    /// For an auditor: what reads the log and the notices about it, and can do nothing.
    pub fn of_auditor(home: &Home, settings: &Settings) -> Context {
        let auditor = Role::Auditor.name();
        Context {
            nats_url: settings.server.url(),
            credentials: home.credential(&auditor),
            tls: settings.server.tls(home, &auditor),
            inbox_prefix: inbox_prefix(&auditor),
            edges: Vec::new(),
            services: Vec::new(),
            console: None,
            home: None,
            lease: None,
            recipient: None,
            signers: Some(home.signers()),
            admin_credentials: None,
        }
    }

    /// Reads it; `None` when there is none.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn load(path: &Path) -> Result<Option<Context>> {
        read_json(path)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn save(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }

    /// Says that nothing is ready.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn withdraw(home: &Home) -> Result<()> {
        home::remove(&home.context())
    }
}

impl ContextEdge {
    /// Of an edge of this home.
    pub fn of(edge: &Edge) -> ContextEdge {
        ContextEdge { id: edge.id.to_string(), http: edge.url(), grpc: edge.grpc_target() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Leaves, Server};

    #[test]
    fn the_contracts_fields_are_all_there() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        let server = Server::Own { port: 4222, monitor: 8222, tls: true };
        let observe = [("issuer".to_owned(), 8381)].into();
        let settings = Settings {
            server,
            port_base: None,
            lease: "15s".to_owned(),
            instances: 1,
            observe,
            leaves: Leaves::default(),
        };
        let mut fleet = Fleet::default();
        let id = keywheel_domain::EdgeId::parse("e1").unwrap();
        let grpc = Some(crate::ports::loopback(8581));
        fleet.add(Edge { id, listen: crate::ports::loopback(8081), grpc });
        let context = Context::of(&home, &settings, &fleet, home.credential("admin"));
        context.save(&home.context()).unwrap();
        let read: serde_json::Value = read_json(&home.context()).unwrap().unwrap();
        assert_eq!(read["nats_url"], "tls://127.0.0.1:4222");
        assert_eq!(read["inbox_prefix"], "_INBOX_operator");
        assert!(read["tls"]["cert"].as_str().unwrap().ends_with("tls/operator.pem"));
        assert_eq!(
            read["edges"],
            serde_json::json!([{ "id": "e1", "http": "http://127.0.0.1:8081", "grpc": "127.0.0.1:8581" }])
        );
        assert_eq!(
            read["services"],
            serde_json::json!([{ "name": "issuer", "http": "http://127.0.0.1:8381" }])
        );
        assert!(read["console"].is_null() && read["credentials"].as_str().unwrap().ends_with("operator.nk"));
        assert_eq!(Context::load(&home.context()).unwrap(), Some(context));
        let auditor = Context::of_auditor(&home, &settings);
        assert!(auditor.credentials.ends_with("auditor.nk") && auditor.admin_credentials.is_none());
        assert_eq!(auditor.inbox_prefix, "_INBOX_auditor");
        Context::withdraw(&home).unwrap();
        assert_eq!(Context::load(&home.context()).unwrap(), None);
    }
}
