//! The dashboards and the alerts in `deploy/grafana`: what they ask for must be there.

use serde_json::Value;
use std::collections::BTreeSet;

const DASHBOARDS: [&str; 2] = [
    include_str!("../../../deploy/grafana/edges.json"),
    include_str!("../../../deploy/grafana/services.json"),
];
const ALERTS: &str = include_str!("../../../deploy/grafana/alerts.yaml");
/// What Prometheus adds, and histograms have.
const ADDED: [&str; 3] = ["job", "instance", "le"];
const FEWEST: usize = 15;

type Labels = [(&'static str, &'static [&'static str])];

/// The files against the names at an edge and at the services, and the labels that there are.
pub fn speaks_of(names: &BTreeSet<&str>, labels: &Labels) {
    DASHBOARDS.into_iter().for_each(|dashboard| shows(dashboard, names, labels));
    assert!(checked(ALERTS, names, labels).len() >= 5);
}

fn shows(dashboard: &str, names: &BTreeSet<&str>, labels: &Labels) {
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut asked = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have one id: {panel}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for target in targets {
            asked.extend(checked(target["expr"].as_str().unwrap(), names, labels));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        checked(variable["definition"].as_str().unwrap_or_default(), names, labels);
    }
    assert!(asked.len() >= FEWEST, "{asked:?}");
}

/// The metrics that an expression mentions, each with known labels and values alone.
fn checked(text: &str, names: &BTreeSet<&str>, labels: &Labels) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (at, _) in text.match_indices("keywheel_") {
        let rest = &text[at..];
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        assert!(names.contains(&rest[..end]), "nobody has {}", &rest[..end]);
        found.insert(rest[..end].to_owned());
        if let Some(matchers) = rest[end..].strip_prefix('{').and_then(|rest| rest.split('}').next()) {
            matchers.split(',').for_each(|matcher| is_known(matcher, labels));
        }
    }
    for (at, _) in text.match_indices("by (") {
        let list = text[at + 4..].split(')').next().unwrap();
        list.split(',').for_each(|label| is_label(label.trim(), labels));
    }
    found
}

fn is_known(matcher: &str, labels: &Labels) {
    let (label, value) = matcher.split_once('=').unwrap();
    let value = value.trim_start_matches('~').trim_matches('"');
    is_label(label.trim_end_matches('!'), labels);
    let known = labels.iter().find(|(name, _)| *name == label);
    let fits = value.starts_with('$') || known.is_some_and(|(_, values)| values.contains(&value));
    assert!(fits, "no {label} is {value}");
}

fn is_label(label: &str, labels: &Labels) {
    let is_ours = labels.iter().any(|(name, _)| *name == label);
    assert!(is_ours || ADDED.contains(&label), "no label is called {label}");
}
