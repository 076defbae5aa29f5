//! A stack with a small history, and an auditor who runs the program with a credential of its own.

use keywheel_domain::{Address, KeyringId};
use keywheel_tests::stack::{binary, keywheel};
use keywheel_tests::{Operator, Stack, StackOptions};
use keywheel_wire::subject::Verb;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;

/// The stack, and a folder of the auditor's own.
pub struct Desk {
    pub stack: Stack,
    pub operator: Operator,
    pub folder: TempDir,
}

impl Desk {
    /// Two tenants; `acme/app` is rotated, `acme/leak` revoked with a reason that a spreadsheet would calculate.
    pub async fn open() -> Desk {
        let folder = TempDir::new().unwrap();
        let options = StackOptions::for_test(&folder.path().join("home")).unwrap();
        let stack = tokio::task::block_in_place(|| Stack::start(&options)).unwrap();
        let operator = Operator::connect(&stack.context).await.unwrap();
        for name in ["acme/app", "acme/leak", "other/app"] {
            operator.issue(&KeyringId::parse(name).unwrap()).await.unwrap();
        }
        operator.rotate(&KeyringId::parse("acme/app").unwrap()).await.unwrap();
        let leak = Address::Keyring(KeyringId::parse("acme/leak").unwrap());
        let why = json!({ "version": 1, "reason": "=HYPERLINK(\"//x\")" });
        operator.accepted(&leak, Verb::Revoke, why).await.unwrap();
        Desk { stack, operator, folder }
    }

    /// Runs the program in the auditor's folder, where there is no installation.
    pub fn run(&self, words: &[&str]) -> Output {
        let mut command = keywheel(&binary().unwrap());
        command.args(words).current_dir(self.folder.path()).output().unwrap()
    }

    /// The same with a context file of the stack.
    pub fn run_as(&self, context: &str, words: &[&str]) -> Output {
        let context = self.stack.home().join(context);
        self.run(&[&["--context", context.to_str().unwrap()], words].concat())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// What a command that ended with `code` wrote.
pub fn text(ended: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&ended.stderr);
    let text = String::from_utf8(ended.stdout.clone()).unwrap();
    assert_eq!(ended.status.code(), Some(code), "{text}{said}");
    text
}

/// The same as a document.
pub fn document(ended: &Output, code: i32) -> Value {
    serde_json::from_str(&text(ended, code)).unwrap()
}

/// The lines of a file.
pub fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}
