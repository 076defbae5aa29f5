//! The permission matrix: every role tries every subject at a real server; `matrix.txt` shows who was let.

use crate::needs::needs;
use crate::rig::{Rig, edge};
use crate::wire::{Denied, Wire};
use expect_test::expect_file;
use keywheel_stack::permissions::Role;
use keywheel_stack::settings::Server;

const STREAMS: [&str; 9] = [
    "KW_EVENTS",
    "KW_COMMANDS",
    "KW_RESULTS",
    "KW_USAGE",
    "KW_STAGE",
    "KW_DELIVERY",
    "KW_PULSE",
    "KW_NOTICES",
    "OBJ_KW_SNAPSHOTS",
];
const EDGES: [&str; 3] = ["a", "a-b", "issuer"];
const SERVICES: [&str; 4] = ["issuer", "propagator", "usage-tracker", "retirer"];

/// Subjects of the contract, one of each family and those that are of a single edge; and all of a family at once.
fn ours() -> Vec<String> {
    let verbs = [
        "issue",
        "rotate",
        "activate",
        "retire",
        "revoke",
        "rollback",
        "policy",
        "import",
        "edge-add",
        "edge-remove",
        "signer-add",
        "signer-withdraw",
    ];
    let mut rows: Vec<String> = verbs.map(|verb| format!("kw.cmd.acme.web.{verb}")).to_vec();
    let more = [
        "kw.cmd.acme._.policy",
        "kw.cmd._._.edge-add",
        "kw.cmd._._.signer-add",
        "kw.cmd._._.signer-withdraw",
        "kw.cmd.>",
        "kw.evt.acme.web",
        "kw.evt.acme._",
        "kw.evt._._",
        "kw.evt.>",
        "kw.res.id",
        "kw.res.>",
        "kw.stage.kid",
        "kw.stage.*",
        "kw.stage.>",
        "kw.dlv.acme.web.1",
        "kw.dlv.>",
        "kw.notice.acme.web.receipt",
        "kw.notice.acme.web.alarm",
        "kw.notice._._.alarm",
        "kw.notice._._.head",
        "kw.notice.>",
        "$O.KW_SNAPSHOTS.C.slot-1",
        "$O.KW_SNAPSHOTS.M.c2xvdC0x",
        "$O.KW_SNAPSHOTS.>",
        "$O.>",
        "kw.ask.usage.acme.web",
        "kw.ask.snapshot._._",
        "kw.ask.usage.*.*",
        "kw.ask.>",
        "kw.use.*",
        "kw.use.>",
        "kw.edge.*.pulse",
        "kw.edge.>",
        "kw.>",
        "*.>",
        ">",
    ];
    rows.extend(more.map(str::to_owned));
    for edge in EDGES {
        rows.extend([format!("kw.use.{edge}"), format!("kw.edge.{edge}.pulse")]);
    }
    rows
}

/// Inboxes of everybody, those of nobody in particular, and micro services.
fn inboxes(roles: &[String]) -> Vec<String> {
    let mut rows: Vec<String> =
        ["_INBOX.x", "_INBOX.>", "_INBOX_edge.>", "_R_.x", "_R_.>"].map(str::to_owned).to_vec();
    for role in roles {
        rows.extend([format!("_INBOX_{role}.x"), format!("_INBOX_{role}.>")]);
        rows.push(format!("_INBOX_{}.>", role.replace('-', "_")));
    }
    rows.extend(
        ["$SRV.PING", "$SRV.INFO", "$SRV.STATS", "$SRV.*", "$SRV.>", "$SRV.*.>", "$SRV.PING.>"]
            .map(str::to_owned),
    );
    for service in SERVICES {
        rows.extend([format!("$SRV.STATS.keywheel-{service}"), format!("$SRV.STATS.keywheel-{service}.id")]);
    }
    rows.sort();
    rows.dedup();
    rows
}

/// What JetStream takes about a whole stream.
fn of_streams() -> Vec<String> {
    let calls = [
        "STREAM.CREATE",
        "STREAM.UPDATE",
        "STREAM.DELETE",
        "STREAM.PURGE",
        "STREAM.INFO",
        "STREAM.MSG.GET",
        "STREAM.MSG.DELETE",
        "STREAM.SNAPSHOT",
        "STREAM.RESTORE",
        "STREAM.LEADER.STEPDOWN",
        "STREAM.PEER.REMOVE",
        "DIRECT.GET",
        "CONSUMER.CREATE",
        "CONSUMER.LIST",
        "CONSUMER.NAMES",
    ];
    let mut rows = Vec::new();
    for stream in STREAMS {
        rows.extend(calls.map(|call| format!("$JS.API.{call}.{stream}")));
        rows.extend([
            format!("$JS.API.DIRECT.GET.{stream}.kw.x"),
            format!("$JS.API.CONSUMER.CREATE.{stream}.new"),
            format!("$JS.API.CONSUMER.CREATE.{stream}.new.kw.x"),
            format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.new"),
        ]);
    }
    rows.push("$JS.API.DIRECT.GET.KW_NOTICES.kw.notice._._.head".to_owned());
    let others = [
        "$JS.API.INFO",
        "$JS.API.STREAM.LIST",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.CREATE.MIRROR",
        "$JS.API.ACCOUNT.PURGE.A",
        "$JS.API.META.LEADER.STEPDOWN",
        "$JS.API.SERVER.REMOVE",
        "$JS.API.>",
        "$JS.>",
        "$JS.EVENT.ADVISORY.x",
        "$JS.EVENT.ADVISORY.>",
        "$JS.EVENT.METRIC.>",
        "$JS.hub.API.INFO",
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.USER.INFO",
        "$SYS.>",
    ];
    rows.extend(others.map(str::to_owned));
    rows
}

/// What it takes about a durable: each service's and each edge's own, and one that nobody has.
fn of_durables() -> Vec<String> {
    let calls = [
        "CONSUMER.DELETE",
        "CONSUMER.INFO",
        "CONSUMER.MSG.NEXT",
        "CONSUMER.RESET",
        "CONSUMER.PAUSE",
        "CONSUMER.UNPIN",
        "CONSUMER.LEADER.STEPDOWN",
        "CONSUMER.DURABLE.CREATE",
    ];
    let mut durables = Vec::new();
    for service in SERVICES {
        durables.extend(["1", "2", "3"].map(|instance| format!("KW_EVENTS.{service}-{instance}")));
        let queue = if service == "usage-tracker" { "KW_USAGE" } else { "KW_COMMANDS" };
        durables.push(format!("{queue}.{service}"));
    }
    durables.extend(EDGES.map(|edge| format!("KW_EVENTS.edge-{edge}")));
    durables.extend(["KW_EVENTS.*", "KW_STAGE.issuer", "KW_DELIVERY.operator"].map(str::to_owned));
    let mut rows = Vec::new();
    for durable in durables {
        rows.extend(calls.map(|call| format!("$JS.API.{call}.{durable}")));
        rows.push(format!("$JS.ACK.{durable}.1.1.1.1.0"));
        rows.push(format!("$JS.FC.{durable}.x"));
    }
    rows
}

/// `p` where a role may publish, `s` where it may subscribe.
fn cell(denied: &Denied, subject: &str) -> String {
    let publish = if is_literal(subject) && !denied.publish.contains(subject) { "p" } else { "" };
    let subscribe = if denied.subscribe.contains(subject) { "" } else { "s" };
    format!("{publish}{subscribe}")
}

/// What it should be.
fn wanted(role: &str, subject: &str) -> String {
    let publish = if is_literal(subject) && needs(role, "publish", subject) { "p" } else { "" };
    let subscribe = if needs(role, "hear", subject) { "s" } else { "" };
    format!("{publish}{subscribe}")
}

/// Nobody publishes to a wildcard.
fn is_literal(subject: &str) -> bool {
    subject.split('.').all(|token| token != "*" && token != ">")
}

fn line(subject: &str, cells: &[String]) -> String {
    let cells: String =
        cells.iter().map(|cell| format!("{:<6}", if cell.is_empty() { "." } else { cell })).collect();
    format!("{subject:<62}{}\n", cells.trim_end())
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_can_do_what_is_needed_and_nothing_else() {
    let edges = EDGES.map(edge);
    let rig = Rig::start_at(false, &EDGES).await;
    let Server::Own { port, .. } = rig.settings.server else { panic!("it is ours") };
    let roles: Vec<String> =
        Role::fixed().into_iter().chain(edges.map(Role::Edge)).map(|role| role.name()).collect();
    let groups = [
        ("Subjects of the contract", ours()),
        ("Inboxes and micro services", inboxes(&roles)),
        ("JetStream: streams", of_streams()),
        ("JetStream: durables", of_durables()),
    ];
    let all: Vec<String> = groups.iter().flat_map(|(_, rows)| rows.clone()).collect();
    let literal: Vec<String> = all.iter().filter(|subject| is_literal(subject)).cloned().collect();

    let mut denied = Vec::new();
    for role in &roles {
        let mut wire = Wire::open(port, &rig.home.credential(role)).await;
        denied.push(wire.try_all(&literal, &all).await);
    }
    let mut table = "p: may publish, s: may subscribe, as the server let them. Roles, in the order of the columns:\n\
                     admin, operator, issuer, propagator, usage-tracker, retirer, auditor, edge-a, edge-a-b, edge-issuer\n"
        .to_owned();
    let heads = ["adm", "oper", "issue", "propa", "usage", "retir", "audit", "e-a", "e-a-b", "e-iss"]
        .map(str::to_owned);
    let mut wrong = Vec::new();
    for (title, rows) in &groups {
        table += &format!("\n{}", line(title, &heads));
        for subject in rows {
            let cells: Vec<String> = denied.iter().map(|denied| cell(denied, subject)).collect();
            for (role, found) in roles.iter().zip(&cells) {
                let wanted = wanted(role, subject);
                if *found != wanted {
                    wrong.push(format!("{role} at {subject}: `{found}`, needs `{wanted}`"));
                }
            }
            table += &line(subject, &cells);
        }
    }
    assert!(wrong.is_empty(), "{} cells are not as needed:\n{}", wrong.len(), wrong.join("\n"));
    expect_file!["matrix.txt"].assert_eq(&table);
}
