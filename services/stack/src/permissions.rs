//! Who may do what on the bus: one table, from which every server configuration is written.
//!
//! Two things are granted to nobody here but the administrator: creating a consumer (which can inject stored messages
//! into any subject) and changing a stream. No permission bounds where the server itself answers to: accounts do
//! ([`crate::accounts`]).

use keywheel_bus::connect::inbox_prefix;
use keywheel_domain::EdgeId;
use keywheel_wire::subject::{self, Service, Verb};

/// An identity on the bus.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Creates streams and durables, and puts a lost log back. No process keeps its credential.
    Admin,
    /// Publishes commands and reads what became of them.
    Operator,
    /// A deciding service.
    Service(Service),
    /// Reads the log, and the notices about it.
    Auditor,
    /// One edge.
    Edge(EdgeId),
}

impl Role {
    /// The roles that every installation has: all but the edges.
    pub fn fixed() -> Vec<Role> {
        let mut roles = vec![Role::Admin, Role::Operator];
        roles.extend(Service::ALL.map(Role::Service));
        roles.push(Role::Auditor);
        roles
    }

    /// Its name: of its credential file and its inbox.
    pub fn name(&self) -> String {
        match self {
            Role::Admin => "admin".to_owned(),
            Role::Operator => "operator".to_owned(),
            Role::Service(service) => service.name().to_owned(),
            Role::Auditor => "auditor".to_owned(),
            Role::Edge(edge) => subject::edge_durable(edge),
        }
    }
}

/// What a role may publish and subscribe to, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects, with wildcards.
    pub publish: Vec<String>,
    /// Subjects, with wildcards.
    pub subscribe: Vec<String>,
}

/// The permissions of `role` where each service has up to `instances` replicas.
pub fn of(role: &Role, instances: u32) -> Permissions {
    let mut permissions = match role {
        Role::Admin => admin(),
        Role::Operator => operator(),
        Role::Service(service) => of_service(*service, instances),
        Role::Auditor => Permissions {
            publish: vec![
                api("STREAM.INFO", subject::EVENTS),
                api("DIRECT.GET", subject::EVENTS),
                api("DIRECT.GET", subject::NOTICES),
            ],
            subscribe: Vec::new(),
        },
        Role::Edge(edge) => of_edge(edge),
    };
    permissions.subscribe.insert(0, inbox(role));
    permissions
}

fn admin() -> Permissions {
    let publish = vec![format!("{}.>", subject::API), subject::RESTORE_ALL.to_owned()];
    Permissions { publish, subscribe: Vec::new() }
}

fn operator() -> Permissions {
    let mut publish = words(&[subject::COMMANDS_ALL, subject::ASK_ALL, "$SRV.>"]);
    publish.extend([subject::EVENTS, subject::NOTICES].map(|stream| api("STREAM.INFO", stream)));
    for stream in [subject::EVENTS, subject::RESULTS, subject::DELIVERY, subject::NOTICES] {
        publish.extend(direct_gets(stream));
    }
    Permissions { publish, subscribe: words(&[subject::PULSE_ALL, subject::NOTICES_ALL]) }
}

fn of_edge(edge: &EdgeId) -> Permissions {
    let mut publish = vec![subject::pulse(edge), subject::usage(edge), api("STREAM.INFO", subject::EVENTS)];
    // Before it begins with a snapshot it reads who may sign one; all else it reads by its own durable.
    publish.push(api("DIRECT.GET", subject::EVENTS));
    publish.push(api("DIRECT.GET", subject::SNAPSHOTS_STREAM));
    publish.push(format!("{}.{}", api("DIRECT.GET", subject::NOTICES), subject::HEADS));
    publish.extend(replay(&subject::edge_durable(edge)));
    Permissions { publish, subscribe: Vec::new() }
}

fn of_service(service: Service, instances: u32) -> Permissions {
    let mut publish = words(&[subject::EVENTS_ALL, subject::ALARMS_ALL]);
    publish.push(api("STREAM.INFO", subject::EVENTS));
    publish.push(api("STREAM.MSG.GET", subject::EVENTS));
    publish.extend(direct_gets(subject::EVENTS));
    publish.extend((1..=instances).flat_map(|instance| replay(&service.log_durable(instance))));
    if Verb::ALL.iter().any(|verb| verb.decided_by() == service) {
        publish.extend([subject::RESULTS_ALL.to_owned(), api("STREAM.MSG.GET", subject::RESULTS)]);
        publish.extend(queue(subject::COMMANDS, service));
        // Who waits while it is behind, and the oldest command of each.
        publish.extend(["STREAM.INFO", "DIRECT.GET"].map(|call| api(call, subject::COMMANDS)));
    }
    let own = match service {
        Service::Issuer => staging(),
        // Receipts and barriers are its evidence, so nobody else can write one.
        Service::Propagator => {
            let own = words(&[subject::DELIVERY_ALL, subject::NOTICES_ALL, subject::SNAPSHOTS_ALL]);
            let last = vec![api("STREAM.MSG.GET", subject::SNAPSHOTS_STREAM)];
            [staging(), own, last, last_pulses()].concat()
        }
        // A rotation whose old version clients still need is undone by itself.
        Service::UsageTracker => {
            let undo = words(&[subject::ROLLBACKS_ALL]);
            [queue(subject::USAGE, service), last_pulses(), undo].concat()
        }
        Service::Retirer => Vec::new(),
    };
    publish.extend(own);
    publish.push(inbox(&Role::Operator));
    Permissions { publish, subscribe: heard_by(service) }
}

/// Micro service requests to everybody and to itself, and what else comes as it is published. The server lets whoever
/// may subscribe to `a.*` also subscribe to `a.>`, so no line ends in `*` where something of another's lies below.
fn heard_by(service: Service) -> Vec<String> {
    let asked = |verb: &str| {
        let all = format!("$SRV.{verb}");
        let own = format!("{all}.keywheel-{}", service.name());
        [all, own.clone(), format!("{own}.*")]
    };
    let mut subscribe = ["PING", "INFO", "STATS"].map(asked).concat();
    match service {
        Service::Issuer | Service::Retirer => {}
        Service::Propagator => subscribe.extend(words(&[subject::PULSE_ALL, subject::ASK_SNAPSHOT])),
        Service::UsageTracker => subscribe.push(subject::ASK_USAGE_ALL.to_owned()),
    }
    subscribe
}

/// A durable on the log that its reader rewinds by itself.
fn replay(durable: &str) -> Vec<String> {
    ["CONSUMER.INFO", "CONSUMER.MSG.NEXT", "CONSUMER.RESET"]
        .map(|call| format!("{}.{durable}", api(call, subject::EVENTS)))
        .to_vec()
}

/// A work queue: taken from, acknowledged, never rewound.
fn queue(stream: &str, service: Service) -> Vec<String> {
    let durable = service.name();
    let mut publish: Vec<String> = ["CONSUMER.INFO", "CONSUMER.MSG.NEXT"]
        .map(|call| format!("{}.{durable}", api(call, stream)))
        .to_vec();
    publish.push(format!("$JS.ACK.{stream}.{durable}.>"));
    publish
}

/// Sealed secrets before activation.
fn staging() -> Vec<String> {
    vec![
        subject::STAGE_ALL.to_owned(),
        api("STREAM.MSG.GET", subject::STAGE),
        api("STREAM.MSG.DELETE", subject::STAGE),
    ]
}

/// Pulses that were stored before one began to listen, and since when they are kept.
fn last_pulses() -> Vec<String> {
    vec![api("STREAM.INFO", subject::PULSE), api("STREAM.MSG.GET", subject::PULSE)]
}

/// As it is called once the caller's account has mapped it.
fn api(call: &str, stream: &str) -> String {
    format!("{}.{call}.{stream}", subject::API_MAPPED)
}

fn direct_gets(stream: &str) -> Vec<String> {
    let whole = api("DIRECT.GET", stream);
    vec![format!("{whole}.>"), whole]
}

fn inbox(role: &Role) -> String {
    format!("{}.>", inbox_prefix(&role.name()))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(id: &str) -> Role {
        Role::Edge(EdgeId::parse(id).unwrap())
    }

    fn publish(role: &Role) -> Vec<String> {
        of(role, 2).publish
    }

    fn everybody() -> Vec<Role> {
        [Role::fixed(), vec![edge("e1"), edge("e2")]].concat()
    }

    #[test]
    fn only_issuer_and_propagator_reach_staged_secrets() {
        let reaching = |role: &Role| publish(role).iter().any(|subject| subject.contains("KW_STAGE"));
        let names: Vec<String> = everybody().iter().filter(|role| reaching(role)).map(Role::name).collect();
        assert_eq!(names, ["issuer", "propagator"]);
    }

    #[test]
    fn only_the_administrator_changes_streams_and_consumers() {
        for role in everybody().iter().filter(|role| **role != Role::Admin) {
            for subject in publish(role) {
                let changes =
                    ["CREATE", "DELETE", "UPDATE", "PURGE", "$JS.API"].iter().any(|it| subject.contains(it));
                let withdraws = subject == "kw.api.STREAM.MSG.DELETE.KW_STAGE";
                assert!(!changes || withdraws, "{}: {subject}", role.name());
            }
        }
    }

    #[test]
    fn an_edge_has_only_what_is_its_own() {
        let permissions = of(&edge("e1"), 2);
        assert_eq!(permissions.subscribe, ["_INBOX_edge-e1.>"]);
        assert_eq!(
            permissions.publish,
            [
                "kw.edge.e1.pulse",
                "kw.use.e1",
                "kw.api.STREAM.INFO.KW_EVENTS",
                "kw.api.DIRECT.GET.KW_EVENTS",
                "kw.api.DIRECT.GET.OBJ_KW_SNAPSHOTS",
                "kw.api.DIRECT.GET.KW_NOTICES.kw.notice._._.head",
                "kw.api.CONSUMER.INFO.KW_EVENTS.edge-e1",
                "kw.api.CONSUMER.MSG.NEXT.KW_EVENTS.edge-e1",
                "kw.api.CONSUMER.RESET.KW_EVENTS.edge-e1",
            ]
        );
    }

    #[test]
    fn only_deciding_services_write_to_the_log() {
        let writing = |role: &Role| publish(role).contains(&subject::EVENTS_ALL.to_owned());
        let names: Vec<String> = everybody().iter().filter(|role| writing(role)).map(Role::name).collect();
        assert_eq!(names, ["issuer", "propagator", "usage-tracker", "retirer"]);
    }
}
