//! What the rules look at: the checkout's files as git lists them, so that build output and ignored files stay out.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One broken rule at one place.
#[derive(Debug, PartialEq)]
pub struct Offence {
    /// From the checkout's top.
    pub path: String,
    /// Counted from 1; 0 where the whole file is meant.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// One file: its path from the checkout's top and its text.
pub struct Source {
    /// With forward slashes.
    pub path: String,
    /// Lossy where it is not UTF-8.
    pub text: String,
}

impl Source {
    /// A file that exists only in a test of a rule.
    #[cfg(test)]
    pub fn of(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    /// A broken rule in this file.
    pub fn offence(&self, line: usize, what: impl Into<String>) -> Offence {
        Offence { path: self.path.clone(), line, what: what.into() }
    }
}

/// The files of a checkout.
pub struct Tree {
    root: PathBuf,
    /// Tracked files and new ones that git does not ignore.
    pub paths: Vec<String>,
}

impl Tree {
    /// The checkout that this package stands in.
    pub fn of_checkout() -> Tree {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the checkout").to_owned();
        let listing = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&root)
            .output()
            .expect("these rules need git, to tell the project's files from others");
        assert!(listing.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listing.stderr));
        let listed = String::from_utf8_lossy(&listing.stdout).into_owned();
        let mut paths: Vec<String> =
            listed.split('\0').filter(|path| root.join(path).is_file()).map(Into::into).collect();
        paths.sort();
        Tree { root, paths }
    }

    /// A file's content.
    pub fn read(&self, path: &str) -> Source {
        let bytes = std::fs::read(self.root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Source { path: path.into(), text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// Every Rust file.
    pub fn rust_sources(&self) -> Vec<Source> {
        self.paths.iter().filter(|path| path.ends_with(".rs")).map(|path| self.read(path)).collect()
    }

    /// Rust files without those that hold tests alone.
    pub fn production_sources(&self) -> Vec<Source> {
        let sources = self.rust_sources();
        let test_modules: Vec<String> = sources.iter().flat_map(crate::code::test_module_paths).collect();
        sources.into_iter().filter(|source| !is_test_file(&source.path, &test_modules)).collect()
    }

    /// The manifests of the workspace's members.
    pub fn manifests(&self) -> Vec<Source> {
        self.paths.iter().filter(|path| path.ends_with("/Cargo.toml")).map(|path| self.read(path)).collect()
    }
}

/// Whether a file is compiled for tests alone: by its folder, or as a `#[cfg(test)] mod name;` of another file.
fn is_test_file(path: &str, test_modules: &[String]) -> bool {
    let in_test_folder = path.split('/').rev().skip(1).any(|folder| folder == "tests" || folder == "benches");
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    in_test_folder
        || test_modules.iter().any(|module| stem == module || stem.starts_with(&format!("{module}/")))
}

#[test]
fn test_files_are_told_from_production() {
    let modules = ["shared/x/src/sample".to_string()];
    for path in
        ["tests/src/lib.rs", "shared/x/tests/a.rs", "shared/x/src/sample.rs", "shared/x/src/sample/mod.rs"]
    {
        assert!(is_test_file(path, &modules), "{path}");
    }
    for path in ["shared/x/src/lib.rs", "shared/x/src/samples.rs", "shared/x/src/tests.rs"] {
        assert!(!is_test_file(path, &modules), "{path}");
    }
}
