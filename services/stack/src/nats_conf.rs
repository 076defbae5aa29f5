//! Writes a nats-server configuration: a server on loopback, alone or of a cluster, everything synced, one user per role.

use crate::accounts::Account;
use crate::certificates::Files;
use crate::leaf::Leaf;
use crate::permissions::{self, Role};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// As what the servers of a cluster know each other.
const ROUTE_USER: &str = "route";

/// Who a role is at the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What it may do.
    pub role: Role,
    /// The public half of its nkey, `U…`.
    pub public: String,
}

/// The certificates of a server, which asks for one of everybody.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Whose certificates let one in.
    pub ca: PathBuf,
    /// The server's own.
    pub server: Files,
}

/// A server's place among others that keep each stream together.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// What they are called together.
    pub name: String,
    /// What this one is called.
    pub server: String,
    /// Where the others connect.
    pub listen: String,
    /// Where each of them listens, this one too.
    pub routes: Vec<String>,
    /// What they show each other.
    pub password: String,
    /// With which certificates, each being the other's server and client.
    pub tls: Option<Tls>,
}

/// Everything that a configuration says.
#[derive(Clone, Debug)]
pub struct ServerConf {
    /// Where clients connect.
    pub listen: String,
    /// Where the server tells about itself over HTTP, on loopback.
    pub monitor: u16,
    /// Where the streams lie.
    pub store: PathBuf,
    /// Where the server writes its process id.
    pub pid_file: PathBuf,
    /// Replicas that each service may have.
    pub instances: u32,
    /// With which certificates; none is a server that speaks no TLS.
    pub tls: Option<Tls>,
    /// With which others; none is a server that is alone.
    pub cluster: Option<Cluster>,
    /// Who may connect.
    pub users: Vec<User>,
    /// Where leaves connect, if they do.
    pub leaf_listen: Option<String>,
    /// Which leaves may.
    pub leaves: Vec<Leaf>,
}

/// The whole file.
pub fn render(conf: &ServerConf) -> String {
    format!(
        "\
# {what} for Keywheel: written by `keywheel up`, which writes it anew at each start.
# In production take the settings and the accounts from here, and three servers or more.

listen: \"{listen}\"
# Only on loopback: it shows who is connected. `keywheel up` reads here whether the server syncs.
http: \"127.0.0.1:{monitor}\"
pid_file: {pid_file}
max_payload: 1MB

jetstream {{
  store_dir: {store}
  # The default of two minutes loses acknowledged messages when the power fails.
  sync_interval: always
}}

{tls}{cluster}{leafnodes}{accounts}",
        what = if conf.cluster.is_some() { "A NATS server of a cluster" } else { "One NATS server" },
        listen = conf.listen,
        monitor = conf.monitor,
        pid_file = quoted(&conf.pid_file),
        store = quoted(&conf.store),
        tls = conf.tls.as_ref().map(render_tls).unwrap_or_default(),
        cluster = conf.cluster.as_ref().map(render_cluster).unwrap_or_default(),
        leafnodes =
            conf.leaf_listen.as_ref().map(|at| render_leafnodes(at, conf.tls.as_ref())).unwrap_or_default(),
        accounts = render_accounts(&conf.users, &conf.leaves, conf.instances),
    )
}

fn render_tls(tls: &Tls) -> String {
    format!(
        "\
# `keywheel up --tls` makes these. Whoever has no certificate of the authority is not even asked for its nkey.
{block}
",
        block = tls_block(tls, "")
    )
}

fn tls_block(tls: &Tls, indent: &str) -> String {
    format!(
        "\
{indent}tls {{
{indent}  ca_file: {ca}
{indent}  cert_file: {cert}
{indent}  key_file: {key}
{indent}  verify: true
{indent}  timeout: 5
{indent}}}
",
        ca = quoted(&tls.ca),
        cert = quoted(&tls.server.cert),
        key = quoted(&tls.server.key),
    )
}

fn render_cluster(cluster: &Cluster) -> String {
    let Cluster { name, server, listen, routes, password, tls } = cluster;
    let routes: String = routes
        .iter()
        .map(|route| format!("    \"nats-route://{ROUTE_USER}:{password}@{route}\"\n"))
        .collect();
    format!(
        "\
server_name: \"{server}\"

# The servers of a cluster know each other by a password of their own, and by their certificates where there are any.
cluster {{
  name: \"{name}\"
  listen: \"{listen}\"
  authorization {{ user: \"{ROUTE_USER}\", password: \"{password}\", timeout: 5 }}
  routes: [
{routes}  ]
{tls}}}

",
        tls = tls.as_ref().map(|tls| tls_block(tls, "  ")).unwrap_or_default(),
    )
}

fn render_leafnodes(listen: &str, tls: Option<&Tls>) -> String {
    format!(
        "\
# Where the servers of regions connect: each is a user of an account of its own below.
leafnodes {{
  listen: \"{listen}\"
{tls}}}

",
        tls = tls.map(|tls| tls_block(tls, "  ")).unwrap_or_default(),
    )
}

/// The block that makes a server know the roles, hold each to its permissions, and their answers to their accounts.
pub fn render_accounts(users: &[User], leaves: &[Leaf], instances: u32) -> String {
    let mut text = "\
# The server answers to whatever subject a request names, also where a stream or a call of JetStream lies. So nobody but
# the administrator asks from within the streams' account.
accounts {
"
    .to_owned();
    for account in Account::ALL {
        let users: String = users
            .iter()
            .filter(|user| Account::of(&user.role) == account)
            .map(|user| render_user(user, instances))
            .collect();
        let written = write!(
            text,
            "  {name} {{\n{rest}    users: [\n{users}    ]\n  }}\n",
            name = account.name(),
            rest = account.render(leaves),
        );
        written.expect("writing to a string does not fail");
    }
    text.extend(leaves.iter().map(Leaf::render));
    text.push_str("}\n");
    text
}

/// One user of an account.
pub fn render_user(user: &User, instances: u32) -> String {
    let permissions = permissions::of(&user.role, instances);
    let mut text = String::new();
    let written = write!(
        text,
        "      # {name}\n      {{\n        nkey: {public}\n        permissions: {{\n          publish: \
         [\n{publish}          ]\n          subscribe: [\n{subscribe}          ]\n        }}\n      }}\n",
        name = user.role.name(),
        public = user.public,
        publish = rows(&permissions.publish),
        subscribe = rows(&permissions.subscribe),
    );
    written.expect("writing to a string does not fail");
    text
}

fn rows(subjects: &[String]) -> String {
    subjects.iter().map(|subject| format!("            \"{subject}\"\n")).collect()
}

/// A path as the server reads it: in quotes, with the same escapes as JSON.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

/// The sample that stands at the top of the project: the same text with placeholders for what differs.
pub fn sample() -> String {
    let edge = keywheel_domain::EdgeId::parse("e1").expect("the sample's edge has a valid name");
    let roles = [Role::fixed(), vec![Role::Edge(edge)]].concat();
    let users = roles.into_iter().map(|role| User { public: placeholder(&role), role }).collect();
    render(&ServerConf {
        listen: "127.0.0.1:4222".to_owned(),
        monitor: 8222,
        store: "/var/lib/nats".into(),
        pid_file: "/run/nats/nats.pid".into(),
        instances: 2,
        tls: Some(Tls {
            ca: "/etc/nats/tls/ca.pem".into(),
            server: Files { cert: "/etc/nats/tls/server.pem".into(), key: "/etc/nats/tls/server.key".into() },
        }),
        cluster: None,
        users,
        leaf_listen: None,
        leaves: Vec::new(),
    })
}

fn placeholder(role: &Role) -> String {
    format!("U_PUBLIC_NKEY_OF_{}", role.name().to_ascii_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect_file;

    #[test]
    fn the_sample_at_the_top_is_up_to_date() {
        expect_file!["../../../nats.conf"].assert_eq(&sample());
    }

    #[test]
    fn a_server_syncs_and_listens_on_loopback_alone() {
        let text = sample();
        for line in [
            "listen: \"127.0.0.1:4222\"",
            "http: \"127.0.0.1:8222\"",
            "  sync_interval: always",
            "  verify: true",
            "            \"kw.api.CONSUMER.MSG.NEXT.KW_EVENTS.issuer-2\"",
            "            \"$JS.ACK.KW_COMMANDS.retirer.>\"",
            "            \"kw.ask.usage.*.*\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}");
        }
        assert!(!text.contains("allow_responses"));
    }

    #[test]
    fn a_user_is_held_to_its_permissions() {
        let user = User { role: Role::Auditor, public: "UAUDITOR".to_owned() };
        let text = render_user(&user, 1);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines[..6].join(" "),
            "# auditor { nkey: UAUDITOR permissions: { publish: [ \"kw.api.STREAM.INFO.KW_EVENTS\""
        );
        assert_eq!(
            lines[6..].join(" "),
            "\"kw.api.DIRECT.GET.KW_EVENTS\" \"kw.api.DIRECT.GET.KW_NOTICES\" ] subscribe: [ \"_INBOX_auditor.>\" ] } }"
        );
    }

    #[test]
    fn a_path_cannot_end_its_string() {
        assert_eq!(quoted(Path::new("/a \"b\"\\c")), r#""/a \"b\"\\c""#);
    }
}
