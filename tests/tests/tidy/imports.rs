//! Who may depend on whom, read from what `cargo metadata` says about the workspace's members.

use crate::tree::Offence;
use cargo_metadata::{DependencyKind, MetadataCommand};

/// The one binary puts the services together; the tests may see everything.
const COMPOSITION_ROOT: &str = "services/keywheel";
const TESTS: &str = "tests";
const CORE: &str = "shared/domain";
/// What a shared crate may use of ours; a service may use all of these and nothing else of ours.
const SHARED: [(&str, &[&str]); 7] = [
    (CORE, &[]),
    ("shared/token", &["shared/domain"]),
    ("shared/wire", &["shared/domain"]),
    ("shared/table", &["shared/domain", "shared/wire"]),
    ("shared/audit", &["shared/domain", "shared/wire", "shared/table"]),
    ("shared/bus", &["shared/domain", "shared/wire", "shared/table"]),
    ("shared/runtime", &[]),
];
/// Libraries that few may touch, so that one place can be checked for what they must not do.
const OWNERS: [(&str, &[&str]); 3] = [
    ("async-nats", &["shared/bus"]),
    ("rusqlite", &["shared/table", "services/usage-tracker"]),
    ("rand", &["shared/token"]),
];

/// A package of the workspace.
pub struct Member {
    /// Its folder from the checkout's top.
    pub folder: String,
    /// What its manifest names.
    pub uses: Vec<Use>,
}

/// One dependency.
pub struct Use {
    /// The package's name.
    pub name: String,
    /// Its folder, if it is ours.
    pub folder: Option<String>,
    /// Needed when the program runs, not only to build or test it.
    pub at_run_time: bool,
}

/// The workspace's members as cargo reads them; asks no registry.
pub fn members() -> Vec<Member> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .expect("cargo metadata reads the workspace");
    let root = metadata.workspace_root.clone();
    let folder =
        |path: &cargo_metadata::camino::Utf8Path| path.strip_prefix(&root).map(|rest| rest.to_string()).ok();
    let uses = |dependency: &cargo_metadata::Dependency| Use {
        name: dependency.name.clone(),
        folder: dependency.path.as_ref().and_then(|path| folder(path)),
        at_run_time: dependency.kind == DependencyKind::Normal,
    };
    let member = |package: &cargo_metadata::Package| Member {
        folder: package.manifest_path.parent().and_then(folder).expect("a member stands in the workspace"),
        uses: package.dependencies.iter().map(uses).collect(),
    };
    metadata.packages.iter().map(member).collect()
}

/// Dependencies of ours that point the wrong way.
pub fn wrong_imports(members: &[Member]) -> Vec<Offence> {
    let ours =
        |member: &'_ Member| member.uses.iter().filter_map(|used| used.folder.clone()).collect::<Vec<_>>();
    let wrong = |member: &Member| {
        ours(member)
            .into_iter()
            .filter(|to| !may_import(&member.folder, to))
            .map(|to| offence(&member.folder, &to))
            .collect::<Vec<_>>()
    };
    members.iter().flat_map(wrong).collect()
}

/// Libraries used outside the crates that own them.
pub fn wrong_owners(members: &[Member]) -> Vec<Offence> {
    let mut found = Vec::new();
    for member in members.iter().filter(|member| member.folder != TESTS) {
        for (library, owners) in OWNERS {
            let uses = member.uses.iter().any(|used| used.name == library);
            if uses && !owners.contains(&member.folder.as_str()) {
                found.push(offence(&member.folder, library));
            }
        }
        let is_shared = member.folder.starts_with("shared/");
        if is_shared && member.uses.iter().any(|used| used.name == "anyhow") {
            found.push(offence(&member.folder, "anyhow"));
        }
    }
    found
}

/// What the core needs at run time: nothing.
pub fn core_dependencies(members: &[Member]) -> Vec<Offence> {
    let core = members.iter().find(|member| member.folder == CORE).expect("the workspace has a core");
    core.uses.iter().filter(|used| used.at_run_time).map(|used| offence(CORE, &used.name)).collect()
}

fn may_import(from: &str, to: &str) -> bool {
    if let Some((_, allowed)) = SHARED.iter().find(|(folder, _)| *folder == from) {
        return allowed.contains(&to);
    }
    let is_shared = SHARED.iter().any(|(folder, _)| *folder == to);
    match from {
        TESTS => true,
        COMPOSITION_ROOT => is_shared || to.starts_with("services/"),
        _ => from.starts_with("services/") && is_shared,
    }
}

fn offence(folder: &str, what: &str) -> Offence {
    Offence { path: format!("{folder}/Cargo.toml"), line: 0, what: format!("may not depend on {what}") }
}

#[cfg(test)]
mod proofs {
    use super::*;

    fn member(folder: &str, names: &[&str]) -> Member {
        let uses = |name: &&str| Use {
            name: name.to_string(),
            folder: (name.contains('/') || *name == TESTS).then(|| name.to_string()),
            at_run_time: true,
        };
        Member { folder: folder.into(), uses: names.iter().map(uses).collect() }
    }

    #[test]
    fn an_import_the_wrong_way_is_found() {
        let fine = [
            member("shared/bus", &["shared/domain", "shared/wire", "shared/table", "tokio"]),
            member("services/edge", &["shared/bus", "shared/token"]),
            member(COMPOSITION_ROOT, &["services/edge", "shared/runtime"]),
            member(TESTS, &["services/edge", "shared/bus"]),
        ];
        assert_eq!(wrong_imports(&fine), []);
        for (from, to) in [
            ("shared/domain", "shared/wire"),
            ("shared/table", "shared/token"),
            ("shared/runtime", "shared/domain"),
            ("shared/wire", "services/edge"),
            ("services/edge", "services/issuer"),
            ("services/cli", "tests"),
            ("services/edge", "shared/unheard-of"),
            ("shared/unheard-of", "shared/domain"),
        ] {
            assert_eq!(wrong_imports(&[member(from, &[to])]).len(), 1, "{from} → {to}");
        }
    }

    #[test]
    fn a_library_in_the_wrong_hands_is_found() {
        let fine = [
            member("shared/bus", &["async-nats"]),
            member("services/cli", &["anyhow"]),
            member(TESTS, &["rand", "anyhow"]),
        ];
        assert_eq!(wrong_owners(&fine), []);
        for (from, to) in [
            ("services/edge", "async-nats"),
            ("services/issuer", "rusqlite"),
            ("shared/wire", "rand"),
            ("shared/bus", "anyhow"),
        ] {
            assert_eq!(wrong_owners(&[member(from, &[to])]).len(), 1, "{from} → {to}");
        }
    }

    #[test]
    fn a_dependency_of_the_core_is_found() {
        assert_eq!(core_dependencies(&[member(CORE, &[])]), []);
        assert_eq!(core_dependencies(&[member(CORE, &["serde"])]).len(), 1);
    }
}
