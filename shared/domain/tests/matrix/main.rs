//! The whole machine as tables, in `matrix.txt`: each key state under each command, each address under
//! each command, and each key state as each edge answers it. `UPDATE_EXPECT=1` writes it anew.

mod answers;
#[path = "../scene/mod.rs"]
mod scene;
mod situations;
mod table;

use expect_test::expect_file;
use keywheel_domain::event::Use;
use keywheel_domain::policy::{Change, PolicyChange};
use keywheel_domain::{Act, Address, EdgeId, Policy, Span, Tenant, Version, decide};
use scene::{acts, hour, keyring_address, words};
use situations::{Situation, situations};
use table::Table;

type Column = (&'static str, fn(&Situation) -> Act);

/// About one version: its life.
const LIFE: &[Column] = &[
    ("activate", |row| acts::activate(row.version)),
    ("use seen", |row| acts::record(row.version, acts::used_at(row.story.now))),
    ("nothing seen", |row| acts::record(row.version, Use::default())),
    ("quiet proof", |row| acts::record(row.version, acts::quiet_between(hour(90), hour(91)))),
];

/// About one version: its end.
const END: &[Column] = &[
    ("cancel", |row| acts::cancel(row.version)),
    ("retire", |row| acts::retire(row.version)),
    ("retire, due", |row| acts::retire_due(row.version)),
    ("revoke", |row| acts::revoke(row.version)),
    ("revoke all", |_| acts::revoke_all()),
];

/// About the keyring: new keys.
const NEW: &[Column] = &[
    ("issue", |_| acts::issue(7)),
    ("import", |_| acts::import(7)),
    ("rotate", |_| acts::rotate(7)),
    ("rotate for it", |row| acts::rotate_for(7, &[row.version])),
    ("issue its kid again", |row| acts::issue(row.version)),
];

/// About the keyring: going back.
const BACK: &[Column] = &[
    ("back to v1 active", |row| acts::back_to(&row.story, 2, false)),
    ("back to v1 active, revoking", |row| acts::back_to(&row.story, 2, true)),
    ("back to nothing", |row| acts::back_to(&row.story, 0, false)),
];

fn quiet_of_two_hours() -> PolicyChange {
    PolicyChange { quiet: Change::Set(Span::hours(2)), ..PolicyChange::default() }
}

fn commands(title: &str, columns: &[Column]) -> String {
    let mut table = Table::new(title, "the version is", columns.iter().map(|(name, _)| *name));
    for row in situations() {
        let cells = columns.iter().map(|(_, act)| {
            let decided = decide(&row.story.state, &row.story.command(act(&row)));
            words::decided(&decided)
        });
        table.row(row.name, cells);
    }
    table.to_string()
}

/// The keyrings that the other tables speak of.
fn keyrings() -> String {
    let mut table =
        Table::new("The situations", "the version is", ["which", "the keyring", "next, by itself"]);
    for row in situations() {
        let next = match keywheel_domain::next(&row.story.state, row.story.now) {
            Some(Act::Retire { version, .. }) => format!("retire {version}"),
            Some(act) => format!("{act:?}"),
            None => "nothing".to_owned(),
        };
        let which = Version(row.version).to_string();
        table.row(row.name, [which, words::keyring(&row.story.state), next]);
    }
    table.to_string()
}

fn addresses() -> String {
    let tenant = Tenant::parse("acme").expect("a name");
    let edge = EdgeId::parse("edge-a").expect("a name");
    let story = scene::rotation();
    let acts: [(&str, Act); 14] = [
        ("issue", acts::issue(7)),
        ("import", acts::import(7)),
        ("rotate", acts::rotate(7)),
        ("activate", acts::activate(2)),
        ("use seen", acts::record(2, acts::used_at(hour(1)))),
        ("retire", acts::retire(1)),
        ("revoke", acts::revoke(1)),
        ("roll back", acts::back_to(&story, 2, false)),
        ("set policy", Act::SetPolicy { change: quiet_of_two_hours(), beneath: Policy::default() }),
        ("add edge", Act::AddEdge { edge: edge.clone() }),
        ("remove edge", Act::RemoveEdge { edge: edge.clone() }),
        ("add signer", acts::add_signer()),
        ("withdraw signer", acts::withdraw_signer()),
        ("revoke all", acts::revoke_all()),
    ];
    let mut table = Table::new(
        "Each command at each kind of address, in the keyring of a rotation",
        "command",
        ["a keyring", "a tenant", "the installation"],
    );
    for (name, act) in acts {
        let cells = [keyring_address(), Address::Tenant(tenant.clone()), Address::Installation];
        let cells = cells.map(|address| {
            let mut command = story.command(act.clone());
            command.address = address;
            words::decided(&decide(&story.state, &command))
        });
        table.row(name, cells);
    }
    table.to_string()
}

#[test]
fn the_machine_is_this_table() {
    let tables = [
        keyrings(),
        commands("A version's life: what each command comes to", LIFE),
        commands("A version's end", END),
        commands("New keys", NEW),
        commands("Going back", BACK),
        addresses(),
        answers::table(),
    ];
    expect_file!["matrix.txt"].assert_eq(&tables.join("\n"));
}
