//! The certificates of a stack whose bus speaks TLS: an authority of its own, one certificate for the server and one
//! for each role, renewed at a start while there is still time.

use crate::failure::{Failure, say};
use crate::home::{Home, private_folder, remove, write_private};
use crate::permissions::Role;
use anyhow::{Context as _, Result};
use keywheel_bus::TlsConfig;
use keywheel_domain::LeafId;
use keywheel_wire::subject::leaf_durable;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};
use x509_parser::pem::Pem;
use zeroize::Zeroizing;

/// The server's name among the files; no role is called so.
pub const SERVER: &str = "server";
/// The same of what the servers of a cluster show each other: each is both server and client.
pub const ROUTE: &str = "route";
const AUTHORITY: &str = "ca";
/// What the server is called by those who connect to it.
const SERVER_NAMES: [&str; 3] = ["127.0.0.1", "::1", "localhost"];
const AUTHORITY_LASTS: Duration = Duration::days(3650);
const CERTIFICATE_LASTS: Duration = Duration::days(365);
/// What ends sooner than this is made anew.
const RENEWED_BEFORE: Duration = Duration::days(30);
/// Clocks of other machines may be behind ours.
const BACKDATED: Duration = Duration::hours(1);
const NOTE: &str = "\
# Whoever holds this key can make certificates that let anybody reach the bus (not act there: that takes an nkey).
# Only `keywheel up` and `keywheel edge add` read it, to sign. Keep it where you keep what is needed once a year:
# offline or in a vault. Without it everything goes on; put it back to add an edge or to renew.
";

/// The files of one certificate.
#[derive(Clone, Debug)]
pub struct Files {
    /// PEM, public.
    pub cert: PathBuf,
    /// PEM, for its owner alone.
    pub key: PathBuf,
}

/// Where the certificate of `name` lies.
pub fn files(home: &Home, name: &str) -> Files {
    let at = |kind: &str| home.tls().join(format!("{name}.{kind}"));
    Files { cert: at("pem"), key: at("key") }
}

/// The authority's certificate, which everybody is told.
pub fn authority(home: &Home) -> PathBuf {
    files(home, AUTHORITY).cert
}

/// What a process of `role` connects with.
pub fn of_role(home: &Home, role: &str) -> TlsConfig {
    let Files { cert, key } = files(home, role);
    TlsConfig { ca: authority(home), cert: Some(cert), key: Some(key) }
}

/// Makes what is missing, was not signed by this authority, or ends soon after `now` (Unix milliseconds): for one
/// server and the roles.
///
/// # Errors
/// Names the file that cannot be used, and what to do.
pub fn ensure(home: &Home, roles: &[Role], now: u64) -> Result<()> {
    let names = roles.iter().map(Role::name);
    ensure_all(home, [SERVER.to_owned()].into_iter().chain(names), now)
}

/// The same of what the servers of a cluster show each other.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_route(home: &Home, now: u64) -> Result<()> {
    ensure_all(home, [ROUTE.to_owned()].into_iter(), now)
}

/// The same of what a leaf shows its hub.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_leaf(home: &Home, leaf: &LeafId, now: u64) -> Result<()> {
    ensure_all(home, [leaf_durable(leaf)].into_iter(), now)
}

fn ensure_all(home: &Home, names: impl Iterator<Item = String>, now: u64) -> Result<()> {
    private_folder(&home.tls())?;
    let now = moment(now)?;
    let authority = Authority::ensure(home, now)?;
    for name in names {
        authority.ensure_certificate(home, &name, now)?;
    }
    Ok(())
}

/// Takes the certificate of a role away.
///
/// # Errors
/// When the system refuses.
pub fn withdraw(home: &Home, role: &str) -> Result<()> {
    let Files { cert, key } = files(home, role);
    remove(&cert)?;
    remove(&key)
}

/// Every certificate of the home, with the Unix second at which it ends, or why that cannot be read.
pub fn expiries(home: &Home) -> Vec<(PathBuf, Result<i64, String>)> {
    let found = std::fs::read_dir(home.tls()).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        found.filter(|path| path.extension().is_some_and(|it| it == "pem")).collect();
    files.sort();
    let end = |path: &Path| {
        let text = read(path)?.unwrap_or_default();
        anyhow::Ok(ends(&parse(path, &text)?, path)?.unix_timestamp())
    };
    let read = |path: PathBuf| (end(&path).map_err(|error| format!("{error:#}")), path);
    files.into_iter().map(read).map(|(end, path)| (path, end)).collect()
}

fn moment(unix_ms: u64) -> Result<OffsetDateTime> {
    let seconds = i64::try_from(unix_ms / 1000).context("this machine's clock is far off")?;
    OffsetDateTime::from_unix_timestamp(seconds).context("this machine's clock is far off")
}

struct Authority {
    pem: String,
    ends: OffsetDateTime,
    /// Where its key is kept elsewhere there is none.
    key: Option<Zeroizing<String>>,
    key_file: PathBuf,
}

impl Authority {
    fn ensure(home: &Home, now: OffsetDateTime) -> Result<Authority> {
        let Files { cert, key: key_file } = files(home, AUTHORITY);
        let key = read(&key_file)?.map(Zeroizing::new);
        let Some(pem) = read(&cert)? else { return Authority::make(&cert, key_file, now) };
        let ends = ends(&parse(&cert, &pem)?, &cert)?;
        if ends > now + RENEWED_BEFORE {
            return Ok(Authority { pem, ends, key, key_file });
        }
        say(&format!("the authority in {} ends at {ends}: making a new one", cert.display()));
        Authority::make(&cert, key_file, now)
    }

    fn make(cert: &Path, key_file: PathBuf, now: OffsetDateTime) -> Result<Authority> {
        let pair = KeyPair::generate()?;
        let ends = now + AUTHORITY_LASTS;
        let mut params = named("Keywheel bus authority", now, ends);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&pair)?.pem();
        let key = Zeroizing::new(pair.serialize_pem());
        // The key first: a certificate without its key would look like one whose key is kept elsewhere.
        write_private(&key_file, Zeroizing::new(format!("{NOTE}{}", *key)).as_bytes())?;
        write_private(cert, pem.as_bytes())?;
        say(&format!(
            "made an authority for the bus's certificates; its key {} is needed only to add an edge or to renew: keep \
             it offline",
            key_file.display()
        ));
        Ok(Authority { pem, ends, key: Some(key), key_file })
    }

    fn ensure_certificate(&self, home: &Home, name: &str, now: OffsetDateTime) -> Result<()> {
        let files = files(home, name);
        if files.key.exists() && self.is_good(&files.cert, now + RENEWED_BEFORE)? {
            return Ok(());
        }
        let Some(key) = &self.key else {
            let detail = format!(
                "the certificate {} has to be made, and {} is not there to sign it; put it back and run this again",
                files.cert.display(),
                self.key_file.display()
            );
            return Err(Failure::misconfigured(detail).into());
        };
        let unusable = || format!("cannot sign with {}; put back the right file", self.key_file.display());
        let key = KeyPair::from_pem(key).with_context(unusable)?;
        let issuer = Issuer::from_ca_cert_pem(&self.pem, key).with_context(unusable)?;
        let mut params = named(&format!("keywheel {name}"), now, self.ends.min(now + CERTIFICATE_LASTS));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        if name == SERVER || name == ROUTE {
            params.subject_alt_names =
                CertificateParams::new(SERVER_NAMES.map(str::to_owned))?.subject_alt_names;
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if name != SERVER {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        let own = KeyPair::generate()?;
        let cert = params.signed_by(&own, &issuer)?;
        write_private(&files.key, Zeroizing::new(own.serialize_pem()).as_bytes())?;
        write_private(&files.cert, cert.pem().as_bytes())
    }

    /// Whether it was signed by this authority and lasts until `then`. One that cannot be read is not good.
    fn is_good(&self, cert: &Path, then: OffsetDateTime) -> Result<bool> {
        let Some(text) = read(cert)? else { return Ok(false) };
        let Ok(pem) = parse(cert, &text) else { return Ok(false) };
        let own = parse(cert, &self.pem)?;
        let (Ok(found), Ok(own)) = (pem.parse_x509(), own.parse_x509()) else { return Ok(false) };
        let lasts = found.validity().not_after.to_datetime() > then;
        Ok(lasts && found.verify_signature(Some(own.public_key())).is_ok())
    }
}

fn named(name: &str, now: OffsetDateTime, ends: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = now - BACKDATED;
    params.not_after = ends;
    params
}

fn parse(path: &Path, text: &str) -> Result<Pem> {
    let found = Pem::iter_from_buffer(text.as_bytes()).next().and_then(Result::ok);
    found.with_context(|| format!("{} is no PEM certificate; take it away to have one made", path.display()))
}

fn ends(pem: &Pem, path: &Path) -> Result<OffsetDateTime> {
    let read = pem.parse_x509();
    let read =
        read.with_context(|| format!("{} is damaged; take it away to have one made", path.display()))?;
    Ok(read.validity().not_after.to_datetime())
}

fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const NOW: u64 = 1_700_000_000_000;
    const DAY: u64 = 24 * 3600 * 1000;

    struct Drill {
        _folder: tempfile::TempDir,
        home: Home,
    }

    impl Drill {
        fn new() -> Drill {
            let folder = tempfile::tempdir().unwrap();
            let home = Home::at(folder.path()).unwrap();
            home.create().unwrap();
            Drill { _folder: folder, home }
        }

        fn ensure(&self, at: u64) -> Result<()> {
            ensure(&self.home, &[Role::Operator, Role::Auditor], at)
        }

        fn read(&self, name: &str) -> String {
            std::fs::read_to_string(self.home.tls().join(name)).unwrap()
        }

        fn all(&self) -> Vec<String> {
            ["ca.pem", "server.pem", "operator.pem", "operator.key"].map(|name| self.read(name)).to_vec()
        }
    }

    #[test]
    fn what_is_good_stays_and_what_ends_soon_is_made_anew() {
        let drill = Drill::new();
        drill.ensure(NOW).unwrap();
        let first = drill.all();
        drill.ensure(NOW + 334 * DAY).unwrap();
        assert_eq!(drill.all(), first);
        drill.ensure(NOW + 336 * DAY).unwrap();
        let second = drill.all();
        assert_eq!(second[0], first[0]);
        assert!(second[1..].iter().zip(&first[1..]).all(|(now, before)| now != before));
        // The authority's own end: everybody gets a certificate of the new one.
        drill.ensure(NOW + 3630 * DAY).unwrap();
        assert_ne!(drill.read("ca.pem"), first[0]);
        let third = drill.all();
        drill.ensure(NOW + 3631 * DAY).unwrap();
        assert_eq!(drill.all(), third);
    }

    #[test]
    fn a_certificate_of_another_authority_is_replaced() {
        let (drill, other) = (Drill::new(), Drill::new());
        drill.ensure(NOW).unwrap();
        other.ensure(NOW).unwrap();
        std::fs::write(drill.home.tls().join("operator.pem"), other.read("operator.pem")).unwrap();
        drill.ensure(NOW).unwrap();
        assert_ne!(drill.read("operator.pem"), other.read("operator.pem"));
    }

    #[test]
    fn the_authoritys_key_may_be_kept_elsewhere() {
        let drill = Drill::new();
        drill.ensure(NOW).unwrap();
        let key = drill.home.tls().join("ca.key");
        assert!(drill.read("ca.key").starts_with("# Whoever holds this key"));
        let kept = std::fs::read(&key).unwrap();
        std::fs::remove_file(&key).unwrap();
        drill.ensure(NOW).unwrap();
        let told = drill.ensure(NOW + 350 * DAY).unwrap_err().to_string();
        assert!(told.contains("server.pem") && told.contains("ca.key is not there to sign it"), "{told}");
        std::fs::write(&key, kept).unwrap();
        drill.ensure(NOW + 350 * DAY).unwrap();
    }

    #[test]
    fn everything_is_for_its_owner_alone() {
        let drill = Drill::new();
        drill.ensure(NOW).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&drill.home.tls()), 0o700);
        let files: Vec<_> =
            std::fs::read_dir(drill.home.tls()).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 8);
        assert!(files.iter().all(|file| mode(file) == 0o600));
    }
}
