//! What is wrong at the bus: the server, the streams, the log, the durables, the services.

use super::CLOCK_OFF_MS;
use crate::doctor::facts::{BusFacts, Facts, LogFacts};
use crate::doctor::finding::Finding;
use keywheel_bus::survey::{Seen, StreamFound};
use keywheel_wire::subject::{self, Service};

/// The oldest server that has what Keywheel uses.
const OLDEST: (u32, u32) = (2, 14);
/// Fewer copies than this lose the log with one disk.
const COPIES: usize = 3;

pub(super) fn diagnose(facts: &Facts) -> Vec<Finding> {
    let bus = match &facts.bus {
        None => return Vec::new(),
        Some(Err(why)) => return vec![unreachable(facts, why)],
        Some(Ok(bus)) => bus,
    };
    let mut findings = vec![version(bus)];
    findings.extend(sync(facts, bus));
    if let Some(ahead) = bus.clock_ahead_ms.filter(|ahead| ahead.unsigned_abs() > CLOCK_OFF_MS) {
        let what =
            format!("its clock is {ahead} ms ahead of this machine's: times in the log are off by that");
        findings.push(Finding::warning("bus_clock", "bus", what, "timedatectl status"));
    }
    findings.extend(bus.admin.as_ref().map(|why| {
        let what =
            format!("streams and durables were not looked at without the administrator's credential: {why}");
        let next = format!("{} --admin-credentials FILE", facts.operator("doctor"));
        Finding::warning("admin_unseen", "bus", what, next)
    }));
    findings.extend(streams(facts, bus));
    findings.extend(bus.log.as_ref().map(|log| log_findings(facts, log)).unwrap_or_default());
    findings.extend(durables(facts, bus));
    findings.extend(services(facts, bus));
    findings
}

fn unreachable(facts: &Facts, why: &str) -> Finding {
    let next = match facts.up_runs {
        Some(true) => facts.log_of(&facts.server),
        Some(false) => facts.stack("up"),
        None => format!("see to it that the server at {} runs and can be reached from here", facts.url),
    };
    Finding::wrong("bus_unreachable", "bus", format!("{why}; nothing is issued, rotated or revoked"), next)
}

fn version(bus: &BusFacts) -> Finding {
    let mut parts = bus.server.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let (major, minor) = OLDEST;
    if found < OLDEST {
        let what = format!("nats-server {} runs, {major}.{minor} or newer is needed", bus.server);
        return Finding::wrong(
            "server_old",
            "bus",
            what,
            "get one from https://nats.io/download and restart it",
        );
    }
    Finding::ok("server", "bus", format!("nats-server {} answers", bus.server))
}

fn sync(facts: &Facts, bus: &BusFacts) -> Option<Finding> {
    match bus.syncs {
        Some(true) => None,
        Some(false) => {
            let what = "it does not sync each message: acknowledged events are lost when the power fails";
            let next = "set `sync_interval: always` in the server's jetstream block and restart it";
            Some(Finding::wrong("unsafe_sync", "bus", what, next))
        }
        None => {
            let what = "whether it syncs each message shows at its monitoring port alone, which is not known";
            let next = facts.stack("up --verify-streams --monitor-url URL");
            Some(Finding::warning("unknown_sync", "bus", what, next))
        }
    }
}

fn streams(facts: &Facts, bus: &BusFacts) -> Vec<Finding> {
    let unseen = |seen: &Seen<StreamFound>| matches!(seen, Seen::Unseen(_));
    if let (None, Some((_, Seen::Unseen(why)))) = (&bus.admin, bus.streams.first())
        && bus.streams.iter().all(|(_, seen)| unseen(seen))
    {
        let next = "turn JetStream on for the account, as nats.conf has it";
        return vec![Finding::wrong(
            "jetstream_off",
            "bus",
            format!("no stream can be asked about: {why}"),
            next,
        )];
    }
    let mut findings = Vec::new();
    for (name, seen) in &bus.streams {
        match seen {
            Seen::Missing if name == subject::EVENTS => {
                findings
                    .push(log_lost(facts, "the stream is gone, and what else is missing is made with it"));
            }
            Seen::Missing if is_missing(bus, subject::EVENTS) => {}
            Seen::Missing => {
                findings.push(Finding::wrong(
                    "stream_missing",
                    name,
                    "there is no such stream",
                    facts.start_again(),
                ));
            }
            Seen::Unseen(_) if bus.admin.is_some() => {}
            Seen::Unseen(why) => {
                findings.push(Finding::warning("stream_unseen", name, why.clone(), facts.operator("doctor")));
            }
            Seen::Found(found) => findings.extend(stream(facts, name, found)),
        }
    }
    if findings.is_empty() {
        let found = bus
            .streams
            .iter()
            .filter_map(|(_, seen)| if let Seen::Found(it) = seen { Some(it) } else { None });
        let bytes: u64 = found.clone().map(|found| found.bytes).sum();
        let what = format!("{} as they should be, {} KiB", found.count(), bytes / 1024);
        findings.push(Finding::ok("streams", "streams", what));
    }
    findings
}

/// The log is not there, or is not the one that edges know.
pub(super) fn log_lost(facts: &Facts, what: &str) -> Finding {
    let most = facts.edges.iter().filter_map(|(id, edge)| Some((edge.pulse.as_ref()?.0.watermark, id))).max();
    let ours = facts.edges.iter().find(|(_, edge)| edge.is_ours).map(|(id, _)| id);
    let from = most.map(|(_, id)| id).or(ours).map_or("ID".to_owned(), ToString::to_string);
    let what = format!("{what}: the log is lost; edges go on with what they know");
    Finding::wrong("log_lost", subject::EVENTS, what, facts.stack(&format!("restore --from-edge {from}")))
}

fn stream(facts: &Facts, name: &str, found: &StreamFound) -> Vec<Finding> {
    let mut findings = Vec::new();
    if name == subject::EVENTS {
        let verify = || facts.operator("audit verify");
        if found.first > 1 {
            let what = format!("it begins at {}: what stood before was taken away", found.first);
            findings.push(Finding::wrong("log_cut", name, what, verify()));
        }
        let missing = (found.last + 1).saturating_sub(found.first.max(1)).saturating_sub(found.messages);
        if missing > 0 {
            let what = format!("{missing} of its messages are missing");
            findings.push(Finding::wrong("log_holes", name, what, verify()));
        }
    }
    if !found.is_led {
        let next = "see that most of the servers run: nats server report jetstream";
        findings.push(Finding::wrong(
            "stream_unled",
            name,
            "none of its copies leads: nothing is stored",
            next,
        ));
    }
    if !found.behind.is_empty() {
        let what = format!("copies that are away or behind: {}", found.behind.join(", "));
        findings.push(Finding::warning("copy_behind", name, what, "nats server report jetstream"));
    }
    if facts.up_runs.is_none() && found.replicas < COPIES && name == subject::EVENTS {
        let what = format!("it has {} of {COPIES} copies: the log is lost with that disk", found.replicas);
        let next = format!("nats stream edit {name} --replicas {COPIES}");
        findings.push(Finding::warning("few_copies", name, what, next));
    }
    for difference in &found.differences {
        let next = facts.stack("up --verify-streams");
        findings.push(Finding::wrong("stream_differs", name, difference.clone(), next));
    }
    findings
}

fn log_findings(facts: &Facts, log: &LogFacts) -> Vec<Finding> {
    let about = subject::EVENTS;
    let mut findings = Vec::new();
    let known =
        facts.edges.values().filter_map(|edge| edge.pulse.as_ref()).map(|(pulse, _)| pulse.watermark).max();
    if let Some(known) = known.filter(|known| *known > log.last) {
        let what = format!("it ends at {}, and an edge has applied {known}", log.last);
        findings.push(log_lost(facts, &what));
    }
    if let Some((seq, why)) = log.unbelieved.first() {
        let what = format!(
            "{} of the newest {} messages are not believed, first {seq}: {why}",
            log.unbelieved.len(),
            log.checked
        );
        findings.push(Finding::warning("unbelieved", about, what, facts.operator("audit verify")));
    }
    match &log.head {
        Some(head) if head.log_created.0.0 != log.created => {
            let what = "the newest signed head speaks of another log";
            findings.push(Finding::wrong("another_log", about, what, facts.operator("audit verify")));
        }
        Some(head) if head.seq > log.last => {
            let what = format!("it ends at {}, before a signed head at {}", log.last, head.seq);
            findings.push(Finding::wrong("log_short", about, what, facts.operator("audit verify")));
        }
        None if log.last > 0 => {
            let what = "the propagator has signed no head yet: that nothing was cut off cannot be seen";
            findings.push(Finding::warning("no_head", about, what, facts.log_of("propagator")));
        }
        Some(_) | None => {}
    }
    if findings.is_empty() {
        let head = log.head.as_ref().map_or(String::new(), |head| format!(", signed up to {}", head.seq));
        let what = format!("it ends at {}{head}; the newest {} messages are believed", log.last, log.checked);
        findings.push(Finding::ok("log", about, what));
    }
    findings
}

/// Whether a stream is not there.
pub(super) fn is_missing(bus: &BusFacts, stream: &str) -> bool {
    bus.streams.iter().any(|(name, seen)| name == stream && *seen == Seen::Missing)
}

fn durables(facts: &Facts, bus: &BusFacts) -> Vec<Finding> {
    let missing = bus.durables.iter().filter(|(_, seen)| *seen == Seen::Missing).map(|(name, _)| name);
    let lacks = missing.map(|name| {
        let what = "there is no such durable: it reads nothing any more";
        let next = match name.strip_prefix("edge-") {
            Some(id) => facts.stack(&format!("edge add {id}")),
            None => facts.start_again(),
        };
        Finding::wrong("durable_missing", format!("durable {name}"), what, next)
    });
    if is_missing(bus, subject::EVENTS) {
        return Vec::new();
    }
    let mut findings: Vec<Finding> = lacks.collect();
    if findings.is_empty() && !bus.durables.is_empty() {
        findings.push(Finding::ok("durables", "durables", format!("all {} are there", bus.durables.len())));
    }
    findings
}

fn services(facts: &Facts, bus: &BusFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut said = Vec::new();
    for service in Service::ALL {
        let name = service.name();
        let answering = bus.services.iter().filter(|it| it.name.strip_prefix("keywheel-") == Some(name));
        let runs = answering.clone().count();
        let wanted = if service == Service::UsageTracker { 1 } else { bus.instances as usize };
        if runs < wanted {
            let what = format!("{runs} of {wanted} answer");
            findings.push(Finding::wrong("service_silent", name, what, facts.log_of(name)));
        }
        let others = answering.filter(|it| it.version != facts.version);
        for other in others {
            let instance = other.metadata.get("instance").map_or("?", String::as_str);
            let what = format!(
                "instance {instance} is of version {}, this program of {}",
                other.version, facts.version
            );
            findings.push(Finding::warning("version_differs", name, what, facts.start_again()));
        }
        said.push(format!("{name} {runs}"));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("services", "services", format!("all answer: {}", said.join(", "))));
    }
    findings
}
