//! What the servers of a hub and of its leaves are told of each other. A leaf is a region's own server: it keeps a mirror
//! of the log for the edges there, and hands on what they tell and ask the hub.
//!
//! Each leaf has an account of its own at the hub, which may ask what its edges may, and nothing else: a server holds a
//! leaf to a user's permissions as they were when it connected, but to its account's imports as they are. So an edge
//! that is taken off the list is shut out at once.

use crate::accounts::{Account, Call, api, call, exports, imports, line, reads, replays};
use crate::nats_conf::{User, render_user};
use crate::permissions::Role;
use keywheel_domain::{EdgeId, LeafId};
use keywheel_wire::subject;

/// Where a leaf keeps the mirror.
const MIRROR: &str = "KEYWHEEL_MIRROR";
/// Where its edges are users.
const EDGES: &str = "KEYWHEEL_EDGES";

/// A leaf as its hub knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its name.
    pub id: LeafId,
    /// The public half of its nkey, `U…`.
    pub public: String,
    /// The edges there.
    pub edges: Vec<EdgeId>,
}

impl Leaf {
    fn account(&self) -> String {
        format!("KEYWHEEL_LEAF_{}", self.id)
    }

    fn calls(&self) -> Vec<Call> {
        let told = self.edges.iter().flat_map(|edge| [subject::pulse(edge), subject::usage(edge)]);
        let mut calls: Vec<Call> = told.map(call).collect();
        calls.extend(reads());
        let durable = format!("{}.{}", subject::EVENTS, subject::leaf_durable(&self.id));
        calls.push(api("CONSUMER.RESET", &durable));
        calls.push(call(subject::mirror_flow(&self.id)));
        calls
    }

    /// What feeds its mirror, as the account of the streams exports it.
    pub fn fed(&self) -> String {
        let (account, mut text) = (self.account(), String::new());
        line(&mut text, &format!("{{ stream: \"{}\", accounts: [{account}] }}", subject::mirror(&self.id)));
        line(
            &mut text,
            &format!("{{ service: \"{}\", accounts: [{account}] }}", subject::mirror_flow(&self.id)),
        );
        text
    }

    /// Its edges' pulses, as the account of the services imports them.
    pub fn heard(&self) -> String {
        let (account, mut text) = (self.account(), String::new());
        for edge in &self.edges {
            let pulse = subject::pulse(edge);
            line(&mut text, &format!("{{ stream: {{ account: {account}, subject: \"{pulse}\" }} }}"));
        }
        text
    }

    /// Its whole account at the hub.
    pub fn render(&self) -> String {
        let (account, services, mut exports) = (self.account(), Account::Services.name(), String::new());
        for edge in &self.edges {
            let pulse = subject::pulse(edge);
            line(&mut exports, &format!("{{ stream: \"{pulse}\", accounts: [{services}] }}"));
        }
        let (streams, mut fed) = (Account::Streams.name(), String::new());
        let mirror = subject::mirror(&self.id);
        line(&mut fed, &format!("{{ stream: {{ account: {streams}, subject: \"{mirror}\" }} }}"));
        let imports = imports(streams, &self.calls(), &fed);
        let public = &self.public;
        format!(
            "  {account} {{\n    exports: [\n{exports}    ]\n{imports}    users: [\n      {{ nkey: {public}, \
             allowed_connection_types: [\"LEAFNODE\"] }}\n    ]\n  }}\n"
        )
    }

    /// The accounts of its own server, whose administrator is `admin`, with the users of its edges.
    pub fn render_own(&self, admin: &User, edges: &[User]) -> String {
        let users: String = edges.iter().map(|user| render_user(user, 1)).collect();
        format!(
            "\
# Written by `keywheel edge add --leaf {leaf}` and `keywheel edge remove` at the hub.
#
# Edges read the mirror by durables of their own. Whatever else they ask is answered by the hub, above all where the log
# stands: a leaf that has lost its hub makes no edge look fresh.
accounts {{
  {MIRROR} {{
    jetstream: enabled
{exports}    users: [
{admin}    ]
  }}
  {EDGES} {{
{imports}    users: [
{users}    ]
  }}
}}
",
            leaf = self.id,
            exports = exports(&replays(), ""),
            admin = render_user(admin, 1),
            imports = imports(MIRROR, &replays(), ""),
        )
    }
}

/// The user that makes the mirror and its durables, at the leaf alone.
pub fn administrator(public: String) -> User {
    User { role: Role::Admin, public }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(edges: &[&str]) -> Leaf {
        let edges = edges.iter().map(|edge| EdgeId::parse(edge).unwrap()).collect();
        Leaf { id: LeafId::parse("paris").unwrap(), public: "ULEAF".to_owned(), edges }
    }

    #[test]
    fn a_leaf_asks_what_its_edges_may_and_nothing_else() {
        let asked: Vec<String> = leaf(&["e8", "e9"]).calls().into_iter().map(|call| call.subject).collect();
        assert_eq!(
            asked,
            [
                "kw.edge.e8.pulse",
                "kw.use.e8",
                "kw.edge.e9.pulse",
                "kw.use.e9",
                "$JS.API.STREAM.INFO.KW_EVENTS",
                "$JS.API.DIRECT.GET.KW_EVENTS",
                "$JS.API.DIRECT.GET.KW_NOTICES",
                "$JS.API.DIRECT.GET.OBJ_KW_SNAPSHOTS",
                "$JS.API.DIRECT.GET.KW_NOTICES.kw.notice._._.head",
                "$JS.API.CONSUMER.RESET.KW_EVENTS.leaf-paris",
                "$JS.FC.KW_EVENTS.leaf-paris.*",
            ]
        );
    }

    /// The head is what the lease rests on: a leaf that answered it by itself would make edges look fresh that have
    /// lost the hub.
    #[test]
    fn a_leaf_answers_nothing_by_itself_but_its_edges_durables() {
        let own = leaf(&["e9"]).render_own(&administrator("UADMIN".to_owned()), &[]);
        let answered: Vec<&str> =
            own.lines().filter(|line| line.contains("service:")).map(str::trim).collect();
        assert_eq!(answered.len(), 6, "{answered:?}");
        assert!(answered.iter().all(|line| line.contains("$JS.API.CONSUMER.")), "{answered:?}");
    }
}
