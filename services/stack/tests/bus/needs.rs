//! Who needs what on the bus, written down by hand and not taken from the code that grants it.
//!
//! `*` is one token, `>` the rest. A line is about publishing unless it begins with `hear`.

/// By role: what its work takes. Everything else is to be refused.
pub const NEEDS: &[(&str, &[&str])] = &[
    // Creates streams and durables; touches no subject of ours.
    ("admin", &["$JS.API.>", "hear _INBOX_admin.>"]),
    (
        "operator",
        &[
            "kw.cmd.>",
            "kw.ask.>",
            // Asks services how they are.
            "$SRV.>",
            "$JS.API.STREAM.INFO.KW_EVENTS",
            "$JS.API.STREAM.INFO.KW_NOTICES",
            "$JS.API.DIRECT.GET.KW_EVENTS.>",
            "$JS.API.DIRECT.GET.KW_RESULTS.>",
            "$JS.API.DIRECT.GET.KW_DELIVERY.>",
            "$JS.API.DIRECT.GET.KW_NOTICES.>",
            "$JS.API.DIRECT.GET.KW_EVENTS",
            "$JS.API.DIRECT.GET.KW_RESULTS",
            "$JS.API.DIRECT.GET.KW_DELIVERY",
            "$JS.API.DIRECT.GET.KW_NOTICES",
            "hear _INBOX_operator.>",
            "hear kw.edge.*.pulse",
            "hear kw.notice.>",
        ],
    ),
    (
        "issuer",
        &[
            "kw.res.*",
            "kw.notice.*.*.alarm",
            "kw.stage.*",
            "$JS.API.STREAM.MSG.GET.KW_RESULTS",
            "$JS.API.STREAM.MSG.GET.KW_STAGE",
            "$JS.API.STREAM.MSG.DELETE.KW_STAGE",
            "$JS.API.STREAM.INFO.KW_COMMANDS",
            "$JS.API.DIRECT.GET.KW_COMMANDS",
            "$JS.API.CONSUMER.INFO.KW_COMMANDS.issuer",
            "$JS.API.CONSUMER.MSG.NEXT.KW_COMMANDS.issuer",
            "$JS.ACK.KW_COMMANDS.issuer.>",
        ],
    ),
    (
        "propagator",
        &[
            // It writes snapshots, and looks where the last one ended.
            "$O.KW_SNAPSHOTS.>",
            "$JS.API.STREAM.MSG.GET.OBJ_KW_SNAPSHOTS",
            "hear kw.ask.snapshot._._",
            "kw.res.*",
            "kw.notice.*.*.*",
            "kw.stage.*",
            "kw.dlv.*.*.*",
            "$JS.API.STREAM.MSG.GET.KW_RESULTS",
            "$JS.API.STREAM.MSG.GET.KW_STAGE",
            "$JS.API.STREAM.MSG.DELETE.KW_STAGE",
            "$JS.API.STREAM.INFO.KW_PULSE",
            "$JS.API.STREAM.MSG.GET.KW_PULSE",
            "$JS.API.STREAM.INFO.KW_COMMANDS",
            "$JS.API.DIRECT.GET.KW_COMMANDS",
            "$JS.API.CONSUMER.INFO.KW_COMMANDS.propagator",
            "$JS.API.CONSUMER.MSG.NEXT.KW_COMMANDS.propagator",
            "$JS.ACK.KW_COMMANDS.propagator.>",
            "hear kw.edge.*.pulse",
        ],
    ),
    (
        "usage-tracker",
        &[
            // Undoes a rotation whose old version clients still need.
            "kw.cmd.*.*.rollback",
            "kw.notice.*.*.alarm",
            "$JS.API.STREAM.INFO.KW_PULSE",
            "$JS.API.STREAM.MSG.GET.KW_PULSE",
            "$JS.API.CONSUMER.INFO.KW_USAGE.usage-tracker",
            "$JS.API.CONSUMER.MSG.NEXT.KW_USAGE.usage-tracker",
            "$JS.ACK.KW_USAGE.usage-tracker.>",
            "hear kw.ask.usage.*.*",
        ],
    ),
    (
        "retirer",
        &[
            "kw.res.*",
            "kw.notice.*.*.alarm",
            "$JS.API.STREAM.MSG.GET.KW_RESULTS",
            "$JS.API.STREAM.INFO.KW_COMMANDS",
            "$JS.API.DIRECT.GET.KW_COMMANDS",
            "$JS.API.CONSUMER.INFO.KW_COMMANDS.retirer",
            "$JS.API.CONSUMER.MSG.NEXT.KW_COMMANDS.retirer",
            "$JS.ACK.KW_COMMANDS.retirer.>",
        ],
    ),
    (
        "auditor",
        &[
            "$JS.API.STREAM.INFO.KW_EVENTS",
            "$JS.API.DIRECT.GET.KW_EVENTS",
            // Receipts are part of the proofs.
            "$JS.API.DIRECT.GET.KW_NOTICES",
            "hear _INBOX_auditor.>",
        ],
    ),
    ("edge-a", EDGE),
    ("edge-a-b", EDGE),
    ("edge-issuer", EDGE),
];

/// What every deciding service takes; `ROLE` is its name.
pub const DECIDING: &[&str] = &[
    "kw.evt.*.*",
    "$JS.API.STREAM.INFO.KW_EVENTS",
    "$JS.API.STREAM.MSG.GET.KW_EVENTS",
    "$JS.API.DIRECT.GET.KW_EVENTS",
    "$JS.API.DIRECT.GET.KW_EVENTS.>",
    "$JS.API.CONSUMER.INFO.KW_EVENTS.ROLE-1",
    "$JS.API.CONSUMER.MSG.NEXT.KW_EVENTS.ROLE-1",
    "$JS.API.CONSUMER.RESET.KW_EVENTS.ROLE-1",
    "$JS.API.CONSUMER.INFO.KW_EVENTS.ROLE-2",
    "$JS.API.CONSUMER.MSG.NEXT.KW_EVENTS.ROLE-2",
    "$JS.API.CONSUMER.RESET.KW_EVENTS.ROLE-2",
    // It answers the operator's questions and `nats micro ls`.
    "_INBOX_operator.*",
    "hear _INBOX_ROLE.>",
    "hear $SRV.PING",
    "hear $SRV.INFO",
    "hear $SRV.STATS",
    "hear $SRV.STATS.keywheel-ROLE",
    "hear $SRV.STATS.keywheel-ROLE.*",
];

/// What an edge takes: its own, by its name `EDGE`, and the head of the log.
const EDGE: &[&str] = &[
    "kw.edge.EDGE.pulse",
    "kw.use.EDGE",
    "$JS.API.STREAM.INFO.KW_EVENTS",
    // Snapshots, from which it starts, and who may sign one.
    "$JS.API.DIRECT.GET.KW_EVENTS",
    "$JS.API.DIRECT.GET.OBJ_KW_SNAPSHOTS",
    // Signed heads of the log, and no other notice.
    "$JS.API.DIRECT.GET.KW_NOTICES.kw.notice._._.head",
    "$JS.API.CONSUMER.INFO.KW_EVENTS.ROLE",
    "$JS.API.CONSUMER.MSG.NEXT.KW_EVENTS.ROLE",
    "$JS.API.CONSUMER.RESET.KW_EVENTS.ROLE",
    "hear _INBOX_ROLE.>",
];

/// Whether `role` needs to do `act` (`publish` or `hear`) at `subject`.
pub fn needs(role: &str, act: &str, subject: &str) -> bool {
    let deciding = ["issuer", "propagator", "usage-tracker", "retirer"].contains(&role);
    let own = NEEDS.iter().find(|(name, _)| *name == role).map(|(_, lines)| *lines).unwrap();
    let common = if deciding { DECIDING } else { &[] };
    own.iter().chain(common).any(|line| {
        let (wanted, pattern) = match line.strip_prefix("hear ") {
            Some(pattern) => ("hear", pattern),
            None => ("publish", *line),
        };
        let edge = role.strip_prefix("edge-").unwrap_or_default();
        let pattern = pattern.replace("ROLE", role).replace("EDGE", edge);
        wanted == act && covers(&pattern, subject)
    })
}

/// Whether everything that `subject` can mean lies within `pattern`.
fn covers(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(wanted), Some(token)) if wanted == token => {}
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}

#[test]
fn a_pattern_covers_what_lies_within_it() {
    for (pattern, subject, is_within) in [
        ("a.*", "a.b", true),
        ("a.*", "a.*", true),
        ("a.*", "a.>", false),
        ("a.>", "a.*.c", true),
        ("a.>", "a", false),
        ("a.b", "a.*", false),
        ("a.*", "a.b.c", false),
        (">", "a.b", true),
    ] {
        assert_eq!(covers(pattern, subject), is_within, "{pattern} {subject}");
    }
}
