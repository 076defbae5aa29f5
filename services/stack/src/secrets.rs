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
    let path = home.credential(&role.name());
    let credential = match read(&path)? {
        Some(text) => Credential::parse(&text).with_context(|| format!("{} is damaged", path.display()))?,
        None => {
            let fresh = Credential::fresh();
            write_private(&path, fresh.seed().expose().as_bytes())?;
            fresh
        }
    };
    Ok(User { role: role.clone(), public: credential.public().to_owned() })
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

/// Makes the file that says whose events are believed unless there is one, and lists this home's services
/// in it. What it says already stays: the log is signed by those keys, for that installation.
///
/// # Errors
/// When the file is damaged, or the system refuses.
pub fn ensure_signers(home: &Home) -> Result<()> {
    let path = home.signers();
    let known = match read(&path)? {
        Some(text) => Some(Signers::parse(&text).with_context(|| format!("{} is damaged", path.display()))?),
        None => None,
    };
    let installation = known.as_ref().map_or_else(|| Installation(id::fresh()), Signers::installation);
    let listed = known.iter().flat_map(Signers::keys);
    let mut keys: Vec<_> = listed.map(|(public, service)| (public.to_owned(), service)).collect();
    let before = keys.len();
    for service in Service::ALL {
        let entry = (ensure_user(home, &Role::Service(service))?.public, service);
        if !keys.contains(&entry) {
            keys.push(entry);
        }
    }
    if known.is_some() && keys.len() == before {
        return Ok(());
    }
    let signers = Signers::of(installation, keys)?;
    write_private(&path, format!("{SIGNERS_HEAD}{signers}").as_bytes())
}

const SIGNERS_HEAD: &str = "\
# Whose events every reader believes: a service's public nkey and its role. Nothing here is secret. Add a key
# before it signs, and leave old ones in: what they signed stays in the log.
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

        // Another credential is added; what the old one signed goes on being believed.
        fs::remove_file(home.credential("retirer")).unwrap();
        ensure_signers(&home).unwrap();
        let again = Signers::parse(&fs::read_to_string(home.signers()).unwrap()).unwrap();
        assert_eq!(again.installation(), signers.installation());
        assert_eq!(again.keys().count(), 5);
        assert!(signers.keys().all(|entry| again.keys().any(|other| other == entry)));

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
