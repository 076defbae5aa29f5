//! The accounts of the bus. The server answers a request to whatever subject it names as its reply, whoever asks and
//! whatever lies there: a stream, which stores the answer, or a call, which carries out an empty one (an empty request
//! deletes a stream). So the streams have an account in which nobody but the administrator asks. Everybody else asks
//! from another account, where an answer reaches its inbox and nothing of the streams' account.

use crate::leaf::Leaf;
use crate::permissions::Role;
use keywheel_wire::subject;
use std::fmt::Write as _;

/// Who shares a space of subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// The streams, and their administrator.
    Streams,
    /// Operator and services, which also speak to each other.
    Services,
    /// Edges and auditors: they read the log, and edges tell of themselves.
    Readers,
}

/// What one account lets others ask of it.
pub(crate) struct Call {
    /// As it is called in the streams' account.
    pub subject: String,
    /// Whether more than one message may answer.
    is_streamed: bool,
}

impl Account {
    /// Every account.
    pub const ALL: [Account; 3] = [Account::Streams, Account::Services, Account::Readers];

    /// Where a role is a user.
    pub fn of(role: &Role) -> Account {
        match role {
            Role::Admin => Account::Streams,
            Role::Operator | Role::Service(_) => Account::Services,
            Role::Auditor | Role::Edge(_) => Account::Readers,
        }
    }

    /// Its name in the server's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Account::Streams => "KEYWHEEL",
            Account::Services => "KEYWHEEL_SERVICES",
            Account::Readers => "KEYWHEEL_READERS",
        }
    }

    /// All that the configuration of a hub of `leaves` says of it beside its users.
    pub fn render(self, leaves: &[Leaf]) -> String {
        match self {
            Account::Streams => {
                let fed: String = leaves.iter().map(Leaf::fed).collect();
                format!("    jetstream: enabled\n{}", exports(&of_all(), &fed))
            }
            Account::Services => {
                // What came in as a call is not exported again, so pulses are heard where they are published.
                let mut heard = format!(
                    "      {{ stream: {{ account: {}, subject: \"{}\" }} }}\n",
                    Account::Readers.name(),
                    subject::PULSE_ALL
                );
                heard.extend(leaves.iter().map(Leaf::heard));
                imports(Account::Streams.name(), &of_services(), &heard)
            }
            Account::Readers => {
                let exports = format!(
                    "    exports: [\n      {{ stream: \"{}\", accounts: [{}] }}\n    ]\n",
                    subject::PULSE_ALL,
                    Account::Services.name()
                );
                exports + &imports(Account::Streams.name(), &of_readers(), "")
            }
        }
    }
}

pub(crate) fn call(subject: impl Into<String>) -> Call {
    Call { subject: subject.into(), is_streamed: false }
}

pub(crate) fn api(name: &str, rest: &str) -> Call {
    call(format!("{}.{name}.{rest}", subject::API))
}

fn streamed(call: Call) -> Call {
    Call { is_streamed: true, ..call }
}

fn of_services() -> Vec<Call> {
    let mut calls: Vec<Call> = [
        subject::EVENTS_ALL,
        subject::COMMANDS_ALL,
        subject::RESULTS_ALL,
        subject::STAGE_ALL,
        subject::DELIVERY_ALL,
        subject::NOTICES_ALL,
        subject::SNAPSHOTS_ALL,
    ]
    .map(call)
    .into();
    let told = [subject::EVENTS, subject::NOTICES, subject::PULSE, subject::COMMANDS];
    calls.extend(told.map(|it| api("STREAM.INFO", it)));
    let read = [subject::EVENTS, subject::RESULTS, subject::STAGE, subject::PULSE, subject::SNAPSHOTS_STREAM];
    calls.extend(read.map(|it| api("STREAM.MSG.GET", it)));
    calls.push(api("STREAM.MSG.DELETE", subject::STAGE));
    for stream in [subject::EVENTS, subject::RESULTS, subject::DELIVERY, subject::NOTICES] {
        calls.push(streamed(api("DIRECT.GET", stream)));
        calls.push(streamed(api("DIRECT.GET", &format!("{stream}.>"))));
    }
    calls.push(streamed(api("DIRECT.GET", subject::COMMANDS)));
    calls.extend(replays());
    for stream in [subject::COMMANDS, subject::USAGE] {
        calls.push(api("CONSUMER.INFO", &format!("{stream}.*")));
        calls.push(streamed(api("CONSUMER.MSG.NEXT", &format!("{stream}.*"))));
        calls.push(call(format!("$JS.ACK.{stream}.>")));
    }
    calls
}

fn of_readers() -> Vec<Call> {
    let mut calls: Vec<Call> = [subject::PULSE_ALL, subject::USAGE_ALL].map(call).into();
    calls.extend(reads());
    calls.extend(replays());
    calls
}

/// What readers ask beside their durables.
pub(crate) fn reads() -> Vec<Call> {
    let mut calls = vec![api("STREAM.INFO", subject::EVENTS)];
    calls.extend(
        [subject::EVENTS, subject::NOTICES, subject::SNAPSHOTS_STREAM]
            .map(|it| streamed(api("DIRECT.GET", it))),
    );
    calls.push(streamed(api("DIRECT.GET", &format!("{}.{}", subject::NOTICES, subject::HEADS))));
    calls
}

/// Durables on the log; which one is a matter of each user's permissions.
pub(crate) fn replays() -> [Call; 3] {
    let durables = format!("{}.*", subject::EVENTS);
    [
        api("CONSUMER.INFO", &durables),
        api("CONSUMER.RESET", &durables),
        streamed(api("CONSUMER.MSG.NEXT", &durables)),
    ]
}

fn of_all() -> Vec<Call> {
    let mut calls = of_services();
    let known = |calls: &[Call], one: &Call| calls.iter().any(|call| call.subject == one.subject);
    for one in of_readers() {
        if !known(&calls, &one) {
            calls.push(one);
        }
    }
    calls
}

pub(crate) fn exports(calls: &[Call], more: &str) -> String {
    let mut text = "    exports: [\n".to_owned();
    for Call { subject, is_streamed } in calls {
        let kind = if *is_streamed { ", response_type: stream" } else { "" };
        line(&mut text, &format!("{{ service: \"{subject}\"{kind} }}"));
    }
    text + more + "    ]\n"
}

pub(crate) fn imports(from: &str, calls: &[Call], more: &str) -> String {
    let mut text = format!(
        "    mappings: {{ \"{}.>\": \"{}.>\" }}\n    imports: [\n{more}",
        subject::API,
        subject::API_MAPPED
    );
    for Call { subject, .. } in calls {
        let to = match subject.strip_prefix(subject::API) {
            Some(rest) => format!(", to: \"{}{rest}\"", subject::API_MAPPED),
            None => String::new(),
        };
        line(&mut text, &format!("{{ service: {{ account: {from}, subject: \"{subject}\" }}{to} }}"));
    }
    text + "    ]\n"
}

pub(crate) fn line(text: &mut String, entry: &str) {
    writeln!(text, "      {entry}").expect("writing to a string does not fail");
}
