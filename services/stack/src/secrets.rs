//! Who everybody is in a home: one user nkey per role, the operator's own xkey, and whose events count.

use crate::home::{Home, write_private};
use crate::nats_conf::User;
use crate::permissions::Role;
use anyhow::{Context as _, Result};
use keywheel_runtime::config::read_text;
use keywheel_token::{Credential, Opener, id};
use keywheel_wire::signers::{Installation, Signers};
use keywheel_wire::subject::Service;
use std::io;
use std::path::Path;
use zeroize::Zeroizing;

/// Largest file that can hold a seed.
const SEED_BYTES_MAX: usize = 4096;

/// Makes the credential of `role` unless there is one, and says who it is.
///
/// # Errors
/// When the file is no seed, or the system refuses.
pub fn ensure_user(home: &Home, role: &Role) -> Result<User> {
    let public = ensure_seed(&home.credential(&role.name()))?;
    Ok(User { role: role.clone(), public })
}

/// Makes a seed in a file unless there is one, and gives its public nkey.
///
/// # Errors
/// When the file is no seed, or the system refuses.
pub fn ensure_seed(path: &Path) -> Result<String> {
    let credential = match read(path)? {
        Some(text) => Credential::parse(&text).with_context(|| format!("{} is damaged", path.display()))?,
        None => {
            let fresh = Credential::fresh();
            write_private(path, fresh.seed().expose().as_bytes())?;
            fresh
        }
    };
    Ok(credential.public().to_owned())
}

/// Makes what the servers of a cluster show each other, unless it is there.
///
/// # Errors
/// When the file is damaged, or the system refuses.
pub fn ensure_route_password(home: &Home) -> Result<String> {
    let path = home.credential("routes");
    let credential = match read(&path)? {
        Some(text) => Credential::parse(&text).with_context(|| format!("{} is damaged", path.display()))?,
        None => {
            let fresh = Credential::fresh();
            write_private(&path, fresh.seed().expose().as_bytes())?;
            fresh
        }
    };
    // A seed is as good as any other random word, and nobody's key.
    Ok(credential.seed().expose().to_owned())
}

/// Makes the operator's xkey unless there is one.
///
/// # Errors
/// When the file is no seed, or the system refuses.
pub fn ensure_recipient(home: &Home) -> Result<()> {
    let path = home.recipient();
    match read(&path)? {
        Some(text) => {
            Opener::parse(&text).with_context(|| format!("{} is damaged", path.display()))?;
            Ok(())
        }
        None => write_private(&path, Opener::fresh().seed().expose().as_bytes()),
    }
}

/// Makes the seed that stands for changes of the signers unless there is one; gives its public nkey. It signs nothing
/// else, and nothing here reads it again: it may be taken offline.
///
/// # Errors
/// When the file is no seed, or the system refuses.
pub fn ensure_root(home: &Home) -> Result<String> {
    ensure_seed(&home.root_seed())
}

/// Makes the file that says whose events are believed unless there is one, with a root, and lists a key of each of
/// this home's services in it. What it says already stays: the log is signed by those keys, for that installation. A
/// later key of a role is introduced by an event, so that readers elsewhere follow.
///
/// # Errors
/// When the file is damaged, or the system refuses.
pub fn ensure_signers(home: &Home) -> Result<()> {
    let path = home.signers();
    let known = match read(&path)? {
        Some(text) => Some(Signers::parse(&text).with_context(|| format!("{} is damaged", path.display()))?),
        None => None,
    };
    let (installation, roots) = match &known {
        Some(known) => (known.installation(), known.listed().roots.iter().map(ToString::to_string).collect()),
        None => (Installation(id::fresh()), vec![ensure_root(home)?]),
    };
    let listed = known.iter().flat_map(Signers::keys);
    let mut keys: Vec<_> = listed.map(|(public, service)| (public.to_owned(), service)).collect();
    let before = keys.len();
    for service in Service::ALL {
        let entry = (ensure_user(home, &Role::Service(service))?.public, service);
        if !keys.iter().any(|(_, listed)| *listed == service) {
            keys.push(entry);
        }
    }
    if known.is_some() && keys.len() == before {
        return Ok(());
    }
    let signers = Signers::rooted(installation, roots, keys)?;
    write_private(&path, format!("{SIGNERS_HEAD}{signers}").as_bytes())
}

const SIGNERS_HEAD: &str = "\
# Whose events every reader believes: a service's public nkey and its role, and the root, whose word introduces and
# withdraws signers (`keywheel signer`). Nothing here is secret. Leave old keys in: what they signed stays in the log.
";

fn read(path: &Path) -> Result<Option<Zeroizing<String>>> {
    match read_text(path, SEED_BYTES_MAX) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_domain::SignerKey;
    use std::fs;

    #[test]
    fn a_second_start_keeps_who_everybody_is() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.create().unwrap();
        let users = || Role::fixed().iter().map(|role| ensure_user(&home, role).unwrap()).collect::<Vec<_>>();
        let first = users();
        assert_eq!(users(), first);
        assert!(first.iter().all(|user| user.public.starts_with('U')));

        ensure_recipient(&home).unwrap();
        let seed = fs::read(home.recipient()).unwrap();
        ensure_recipient(&home).unwrap();
        assert_eq!(fs::read(home.recipient()).unwrap(), seed);
    }

    #[test]
    fn a_second_start_keeps_the_installation_and_every_key() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.create().unwrap();
        ensure_signers(&home).unwrap();
        let first = fs::read_to_string(home.signers()).unwrap();
        let signers = Signers::parse(&first).unwrap();
        let retirer = ensure_user(&home, &Role::Service(Service::Retirer)).unwrap().public;
        assert!(signers.keys().any(|entry| entry == (retirer.as_str(), Service::Retirer)));
        assert_eq!(signers.keys().count(), 4);
        ensure_signers(&home).unwrap();
        assert_eq!(fs::read_to_string(home.signers()).unwrap(), first);

        // Another credential is introduced by an event, or by nobody; and the root may be elsewhere.
        let root = ensure_root(&home).unwrap();
        assert!(signers.listed().roots.iter().map(SignerKey::as_str).eq([root.as_str()]));
        fs::remove_file(home.credential("retirer")).unwrap();
        fs::remove_file(home.root_seed()).unwrap();
        ensure_signers(&home).unwrap();
        assert_eq!(fs::read_to_string(home.signers()).unwrap(), first);
        assert!(!home.root_seed().exists());

        fs::write(home.signers(), "installation = 7").unwrap();
        let told = format!("{:#}", ensure_signers(&home).unwrap_err());
        assert!(told.contains("signers.toml is damaged: "), "{told}");
    }

    #[test]
    fn a_damaged_seed_is_told_by_its_file_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.create().unwrap();
        fs::write(home.credential("operator"), "SUNOTASEED").unwrap();
        let told = format!("{:#}", ensure_user(&home, &Role::Operator).unwrap_err());
        assert!(told.contains("operator.nk is damaged") && !told.contains("SUNOTASEED"), "{told}");
    }
}
