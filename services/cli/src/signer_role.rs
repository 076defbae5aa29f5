//! For whom a signing seed is made: a service, or the root that stands for changes of the signers.

use crate::failure::Failure;
use crate::seed_file;
use keywheel_domain::Service;
use keywheel_token::Credential;
use keywheel_wire::{Malformed, warrant};
use std::path::Path;

/// A service, or the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Its key is introduced by an event.
    Service(Service),
    /// Its key stands in each signers file.
    Root,
}

impl Role {
    /// Reads its name.
    pub fn parse(name: &str) -> Result<Self, Malformed> {
        if name == Role::Root.name() {
            return Ok(Role::Root);
        }
        warrant::role("role", name).map(Role::Service)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Service(service) => service.name(),
            Role::Root => "root",
        }
    }

    /// The file of its seed in a home, where nothing else is said.
    pub fn file(self) -> String {
        format!("{}.nk", self.name())
    }

    /// What to do with a new key.
    pub fn next_step(self, public: &str) -> String {
        match self {
            Role::Service(service) => {
                let add = format!("keywheel signer add {} --key {public}", service.name());
                format!("introduce it before its service starts with it: `{add}`")
            }
            Role::Root => {
                let line = format!("root = [\"{public}\"]");
                format!(
                    "list it in every reader's signers.toml, before [signers]: {line}; then take the seed offline"
                )
            }
        }
    }
}

/// Makes a seed in a new file; gives its public key.
pub(crate) fn make(file: &Path) -> Result<String, Failure> {
    let credential = Credential::fresh();
    let advice = "a seed is never replaced; name another with --file";
    seed_file::write(file, &credential.seed(), advice)?;
    Ok(credential.public().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_role_is_a_service_or_the_root() {
        assert_eq!(Role::parse("usage-tracker").unwrap(), Role::Service(Service::UsageTracker));
        assert_eq!(Role::parse("root").unwrap().file(), "root.nk");
        let unknown = Role::parse("edge").unwrap_err().to_string();
        assert!(unknown.contains("write one of issuer, "), "{unknown}");
    }

    #[test]
    fn a_new_key_comes_with_its_next_step() {
        expect!["introduce it before its service starts with it: `keywheel signer add issuer --key UKEY`"]
            .assert_eq(&Role::Service(Service::Issuer).next_step("UKEY"));
        expect![[r#"list it in every reader's signers.toml, before [signers]: root = ["UKEY"]; then take the seed offline"#]]
            .assert_eq(&Role::Root.next_step("UKEY"));
    }
}
