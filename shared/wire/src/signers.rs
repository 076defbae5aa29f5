//! The signers file: whose events a reader believes. Each reader is configured with one; it is the same
//! for a whole installation and holds nothing secret.

use crate::Malformed;
use crate::signature::{Signed, Verifier};
use crate::subject::Service;
use crate::text;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// Largest signers file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 64 * 1024;
/// Most signers that a file names.
pub const SIGNERS_MAX: usize = 256;

/// Which installation an event belongs to: the same service key may serve in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Installation(pub u128);

/// The keys that are believed, each with its role, and the installation whose events they sign. A value:
/// who is given it believes by it, and another one may take its place.
pub struct Signers {
    installation: Installation,
    keys: BTreeMap<String, (Service, Verifier)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    installation: String,
    signers: BTreeMap<String, String>,
}

impl Signers {
    /// Of an installation.
    ///
    /// # Errors
    /// When there is no key or too many, or one is no user's public nkey.
    pub fn of(
        installation: Installation,
        keys: impl IntoIterator<Item = (String, Service)>,
    ) -> Result<Self, Malformed> {
        let read = |(public, service): (String, Service)| {
            let verifier = Verifier::parse(&public).map_err(|error| Malformed::new("signers", error))?;
            Ok((public, (service, verifier)))
        };
        let keys: BTreeMap<_, _> = keys.into_iter().map(read).collect::<Result<_, Malformed>>()?;
        if keys.is_empty() {
            let detail = "names nobody; list each service's public nkey with its role, as in U… = \"issuer\"";
            return Err(Malformed::new("signers", detail));
        }
        if keys.len() > SIGNERS_MAX {
            return Err(Malformed::new("signers", format!("names more than {SIGNERS_MAX} keys")));
        }
        Ok(Self { installation, keys })
    }

    /// Of a reader that has no use for events: believes nobody.
    pub fn nobody() -> Self {
        Self { installation: Installation(0), keys: BTreeMap::new() }
    }

    /// Reads a signers file (TOML).
    ///
    /// # Errors
    /// Names the field and says what belongs there.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() > FILE_BYTES_MAX {
            return Err(Malformed::new("", format!("a signers file has at most {FILE_BYTES_MAX} bytes")));
        }
        let file: File = toml::from_str(text).map_err(|error| {
            let line =
                error.span().and_then(|span| text.get(..span.start)).map(|before| before.split('\n').count());
            let line = line.map(|line| format!(" (line {line})")).unwrap_or_default();
            Malformed::new("", format!("{}{line}", error.message()))
        })?;
        let installation = Installation(text::parse_id("installation", &file.installation)?);
        let role = |(public, word): (String, String)| {
            let service = Service::ALL.into_iter().find(|service| service.name() == word);
            let roles = Service::ALL.map(Service::name).join(", ");
            let unknown = || Malformed::new("signers", format!("`{word}` is no role; write one of {roles}"));
            service.ok_or_else(unknown).map(|service| (public.clone(), service))
        };
        let keys: Vec<_> = file.signers.into_iter().map(role).collect::<Result<_, _>>()?;
        Self::of(installation, keys)
    }

    /// The installation.
    pub fn installation(&self) -> Installation {
        self.installation
    }

    /// Each key with its role.
    pub fn keys(&self) -> impl Iterator<Item = (&str, Service)> {
        self.keys.iter().map(|(public, (service, _))| (public.as_str(), *service))
    }

    /// The service that wrote what stands at `subject`.
    ///
    /// # Errors
    /// Says why that is nobody who is known.
    pub fn author(&self, signed: Option<&Signed>, subject: &str, payload: &[u8]) -> Result<Service, String> {
        let Some(Signed { by, signature }) = signed else { return Err("it is not signed".to_owned()) };
        let Some((service, verifier)) = self.keys.get(by) else {
            // What stands in the header is a stranger's text.
            let by: String = by.chars().filter(char::is_ascii_alphanumeric).take(56).collect();
            return Err(format!("its signer `{by}` is not in the signers file"));
        };
        if verifier.verify(signature, subject, payload) {
            return Ok(*service);
        }
        Err(format!("its signature is not that of the {} that it names", service.name()))
    }
}

/// The file that [`Signers::parse`] reads.
impl fmt::Display for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "installation = \"{}\"\n\n[signers]", text::id(self.installation.0))?;
        self.keys().try_for_each(|(public, service)| writeln!(f, "{public} = \"{}\"", service.name()))
    }
}

impl fmt::Debug for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signers(")?;
        self.keys().try_for_each(|(public, service)| write!(f, " {} {public}", service.name()))?;
        f.write_char(')')
    }
}
