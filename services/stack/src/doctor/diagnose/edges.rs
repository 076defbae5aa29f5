//! What is wrong with the edges: each by itself, and against the others.

use super::CLOCK_OFF_MS;
use super::bus::is_missing;
use crate::doctor::facts::{Answer, EdgeFact, Facts, LogFacts};
use crate::doctor::finding::Finding;
use keywheel_domain::EdgeId;
use keywheel_wire::pulse::Pulse;
use keywheel_wire::subject;

pub(super) fn diagnose(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.edges.iter().flat_map(|(id, edge)| one(facts, id, edge)).collect();
    findings.extend(disagreements(facts));
    findings
}

fn one(facts: &Facts, id: &EdgeId, edge: &EdgeFact) -> Vec<Finding> {
    let about = format!("edge {id}");
    let process = format!("edge-{id}");
    let mut findings = Vec::new();
    match &edge.http {
        Some((url, Answer::Silent)) => {
            let what = format!("nothing answers at {url}");
            findings.push(Finding::wrong("edge_unreachable", &about, what, facts.log_of(&process)));
        }
        Some((_, Answer::Unready(reason))) => findings.push(unready(facts, id, reason)),
        Some((_, Answer::Ready)) | None => {}
    }
    let Some(bus) = facts.bus.as_ref().and_then(|bus| bus.as_ref().ok()) else { return findings };
    if edge.is_on_roster == Some(false) {
        let what = "it is not on the roster: it serves nobody";
        findings.push(Finding::wrong(
            "edge_off_roster",
            &about,
            what,
            facts.stack(&format!("edge add {id}")),
        ));
    }
    match &edge.pulse {
        // Where nothing takes pulses, hardly any are sent.
        None if is_missing(bus, subject::PULSE) => {}
        None => {
            let what =
                "no pulse of it comes: it holds up activations for a lease, retirements for its horizon";
            let next = format!(
                "{}; or, gone for good: {}",
                facts.log_of(&process),
                facts.stack(&format!("edge remove {id}"))
            );
            findings.push(Finding::wrong("edge_silent", &about, what, next));
        }
        Some((pulse, ahead)) => findings.extend(of_pulse(facts, bus.log.as_ref(), id, pulse, *ahead)),
    }
    if findings.is_empty()
        && let Some((pulse, _)) = &edge.pulse
    {
        let agrees =
            pulse.agrees.map_or(String::new(), |head| format!(", agrees with the head at {}", head.seq));
        let what = format!("position {}, {} keys{agrees}", pulse.watermark, pulse.keys);
        findings.push(Finding::ok("edge", about, what));
    }
    findings
}

fn unready(facts: &Facts, id: &EdgeId, reason: &str) -> Finding {
    let process = format!("edge-{id}");
    let (what, next) = match reason {
        "stale" => (
            "its lease has run out: it accepts what it knows, and gives no definite no",
            facts.log_of(&process),
        ),
        "not_on_roster" => {
            ("it is not on the roster: it serves nobody", facts.stack(&format!("edge add {id}")))
        }
        "not_synced" => ("it has not come to the head of the log yet", facts.log_of(&process)),
        other => (other, facts.log_of(&process)),
    };
    Finding::wrong("edge_unready", format!("edge {id}"), what, next)
}

fn of_pulse(facts: &Facts, log: Option<&LogFacts>, id: &EdgeId, pulse: &Pulse, ahead: i64) -> Vec<Finding> {
    let about = format!("edge {id}");
    let mut findings = Vec::new();
    if let Some(log) = log.filter(|log| log.last > pulse.watermark) {
        let what = format!("it has applied {} of {}", pulse.watermark, log.last);
        findings.push(Finding::warning("edge_behind", &about, what, facts.operator("edges")));
    }
    let head = log.and_then(|log| log.head.as_ref());
    if let (Some(head), Some(agrees)) = (head, pulse.agrees)
        && head.seq == agrees.seq
        && head.chain != agrees.chain
    {
        let what = format!("its history up to {} is another than the signed one", head.seq);
        findings.push(Finding::wrong("edge_diverged", &about, what, facts.operator("audit verify")));
    }
    if ahead.unsigned_abs() > CLOCK_OFF_MS {
        let what =
            format!("its clock is {ahead} ms ahead of this machine's: keys expire there at another time");
        findings.push(Finding::warning("edge_clock", &about, what, "timedatectl status"));
    }
    if facts.lease_ms != 0 && pulse.lease_ms != facts.lease_ms {
        let what = format!("its lease is {} ms, the fleet's {} ms", pulse.lease_ms, facts.lease_ms);
        findings.push(Finding::wrong("lease_differs", &about, what, facts.start_again()));
    }
    if pulse.version != facts.version {
        let what = format!("it is of version {}, this program of {}", pulse.version, facts.version);
        findings.push(Finding::warning("version_differs", &about, what, facts.start_again()));
    }
    findings
}

/// Edges at one position have one history and one table.
fn disagreements(facts: &Facts) -> Vec<Finding> {
    let pulses: Vec<&Pulse> = facts.edges.values().filter_map(|edge| Some(&edge.pulse.as_ref()?.0)).collect();
    let mut findings = Vec::new();
    for (at, one) in pulses.iter().enumerate() {
        for other in pulses[at + 1..].iter().filter(|other| other.watermark == one.watermark) {
            let about = format!("edges {} and {}", one.id, other.id);
            let position = one.watermark;
            if one.chain != other.chain {
                let what = format!("they have applied another history up to {position}");
                findings.push(Finding::wrong(
                    "histories_differ",
                    about,
                    what,
                    facts.operator("audit verify"),
                ));
            } else if one.digest != other.digest {
                let what = format!("their tables differ at {position}, though their history is one");
                let next = format!(
                    "stop the one that is wrong, delete its edge.db, start it; see {}",
                    facts.operator("edges")
                );
                findings.push(Finding::wrong("table_differs", about, what, next));
            }
        }
    }
    findings
}
