//! What `keywheel edge add` says: where the edge is, and how it is started.

use crate::context::ContextEdge;
use crate::failure::{Output, print};
use crate::permissions::Role;
use crate::place::Place;
use crate::settings::Edge;
use crate::summary::shell;
use keywheel_domain::{EdgeId, LeafId};
use keywheel_wire::outcome::{Outcome, Word};
use serde_json::{Value, json};

/// Where an edge is that was added.
pub enum Added {
    /// A process of its own, on this machine or another.
    Process(Edge),
    /// Inside a service.
    Library(EdgeId),
    /// A process that reads the mirror of a leaf.
    AtLeaf(EdgeId, LeafId),
}

impl Added {
    fn id(&self) -> &EdgeId {
        match self {
            Added::Process(edge) => &edge.id,
            Added::Library(id) | Added::AtLeaf(id, _) => id,
        }
    }

    /// Says it.
    pub fn tell(&self, place: &Place, outcome: &Outcome, output: Output) {
        match output {
            Output::Text => print(&self.words(place, outcome)),
            Output::Json => print(&self.document(place, outcome).to_string()),
        }
    }

    fn words(&self, place: &Place, outcome: &Outcome) -> String {
        let (id, process) = (self.id(), Role::Edge(self.id().clone()).name());
        let what = word(outcome, "on the roster now", "on the roster already");
        let config = place.home.config(&process);
        let (start, command) = match self {
            Added::Process(_) => ("start it with", format!("keywheel run edge --config {}", shell(&config))),
            Added::Library(_) => (
                "open it in your service with",
                format!("Config::read(Path::new({:?}))", config.display().to_string()),
            ),
            Added::AtLeaf(_, leaf) => {
                return format!(
                    "{id} is {what}; the machine of {leaf} needs what is in {folder}. There, in that folder, with its \
                     server running\n\n  keywheel edge mirror\n  keywheel run edge --config {process}.toml",
                    folder = place.home.leaf(leaf).display()
                );
            }
        };
        format!(
            "{id} is {what}; {start}\n\n  {command}\n\nElsewhere it also needs its credential, {}, and {}, which says \
             whose events it believes",
            place.home.credential(&process).display(),
            place.home.signers().display()
        )
    }

    fn document(&self, place: &Place, outcome: &Outcome) -> Value {
        let process = Role::Edge(self.id().clone()).name();
        let (config, credentials) = (place.home.config(&process), place.home.credential(&process));
        let signers = place.home.signers();
        match self {
            Added::Process(edge) => json!({
                "edge": ContextEdge::of(edge), "outcome": outcome, "config": config, "credentials": credentials,
                "signers": signers, "run": format!("keywheel run edge --config {}", shell(&config)),
            }),
            Added::Library(id) => json!({
                "edge": { "id": id.as_str() }, "outcome": outcome, "config": config, "credentials": credentials,
                "signers": signers, "run": null,
            }),
            Added::AtLeaf(id, leaf) => {
                let folder = place.home.leaf(leaf);
                let in_folder = |name: &str| folder.join(name);
                json!({
                    "edge": { "id": id.as_str() }, "outcome": outcome, "leaf": leaf.as_str(), "folder": folder,
                    "config": in_folder(&format!("{process}.toml")),
                    "credentials": in_folder(&format!("{process}.nk")), "signers": in_folder("signers.toml"),
                    "run": format!("keywheel run edge --config {process}.toml"),
                })
            }
        }
    }
}

/// The word for what became of a change.
pub fn word<'a>(outcome: &Outcome, accepted: &'a str, unchanged: &'a str) -> &'a str {
    match outcome.outcome {
        Word::Accepted => accepted,
        Word::Unchanged | Word::Rejected => unchanged,
    }
}
