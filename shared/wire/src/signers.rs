//! Whose events a reader believes: those that its signers file lists, and those that events introduced and did not
//! withdraw. The file is the same for a whole installation and holds nothing secret.

use crate::signature::{Signed, Verifier};
use crate::subject::Service;
use crate::{Malformed, text, warrant};
use keywheel_domain::signer::{Learned, Listed, may_add, may_withdraw};
use keywheel_domain::{Fact, SignerKey};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// Largest signers file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 64 * 1024;
/// Most signers that a file names.
pub const SIGNERS_MAX: usize = 256;
/// Most roots that a file names.
pub const ROOTS_MAX: usize = 16;

/// Which installation an event belongs to: the same service key may serve in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Installation(pub u128);

/// When something was signed of which a reader hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At this position of the log.
    At(u64),
    /// Outside the log, about what stands at this position: at any time, but for a key that was withdrawn by then.
    About(u64),
    /// Now, as far as the reader knows the log.
    Now,
}

/// The keys that are believed, each with its role and from where to where, and the installation whose events they sign.
/// A value: who is given it believes by it, and another one may take its place. One that knows more of the log judges
/// what lies before that as one that knows less.
#[derive(Clone)]
pub struct Signers {
    installation: Installation,
    listed: Listed,
    learned: Learned,
    /// Of every key, roots too, whether it stands or not.
    known: BTreeMap<String, Known>,
}

#[derive(Clone)]
struct Known {
    verifier: Verifier,
    /// None of a root.
    role: Option<Service>,
    /// Believed after this position.
    since: u64,
    /// And not after this one.
    until: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    installation: String,
    #[serde(default)]
    root: Vec<String>,
    signers: BTreeMap<String, String>,
}

impl Signers {
    /// Of an installation without a root.
    ///
    /// # Errors
    /// When there is no key or too many, or one is no user's public nkey.
    pub fn of(
        installation: Installation,
        keys: impl IntoIterator<Item = (String, Service)>,
    ) -> Result<Self, Malformed> {
        Self::rooted(installation, [], keys)
    }

    /// Of an installation.
    ///
    /// # Errors
    /// As [`Signers::of`]; also when a root signs as a service.
    pub fn rooted(
        installation: Installation,
        roots: impl IntoIterator<Item = String>,
        keys: impl IntoIterator<Item = (String, Service)>,
    ) -> Result<Self, Malformed> {
        let read = |field, public: &str| {
            let parsed = Verifier::parse(public).and_then(|_| Ok(SignerKey::parse(public)?));
            parsed.map_err(|error| Malformed::new(field, error))
        };
        let root = |public: String| read("root", &public);
        let roots: std::collections::BTreeSet<_> = roots.into_iter().map(root).collect::<Result<_, _>>()?;
        let key = |(public, service): (String, Service)| Ok((read("signers", &public)?, service));
        let keys: BTreeMap<_, _> = keys.into_iter().map(key).collect::<Result<_, Malformed>>()?;
        if keys.is_empty() {
            let detail = "names nobody; list each service's public nkey with its role, as in U… = \"issuer\"";
            return Err(Malformed::new("signers", detail));
        }
        if keys.len() > SIGNERS_MAX {
            return Err(Malformed::new("signers", format!("names more than {SIGNERS_MAX} keys")));
        }
        if roots.len() > ROOTS_MAX {
            return Err(Malformed::new("root", format!("names more than {ROOTS_MAX} keys")));
        }
        if roots.iter().any(|root| keys.contains_key(root)) {
            return Err(Malformed::new("root", "a root signs as no service; make a key of its own for it"));
        }
        Ok(Self::standing(installation, Listed { roots, keys }, Learned::default()))
    }

    /// Of a reader that has no use for events: believes nobody.
    pub fn nobody() -> Self {
        Self::standing(Installation(0), Listed::default(), Learned::default())
    }

    fn standing(installation: Installation, listed: Listed, learned: Learned) -> Self {
        let until = |key: &SignerKey| learned.withdrawn.get(key).copied().unwrap_or(u64::MAX);
        let known = |key: &SignerKey, role, since, until| {
            let verifier = Verifier::parse(key.as_str()).ok()?;
            Some((key.as_str().to_owned(), Known { verifier, role, since, until }))
        };
        let added = learned.added.iter();
        let added = added.filter_map(|(key, it)| known(key, Some(it.role), it.since, until(key)));
        let roots = listed.roots.iter().filter_map(|key| known(key, None, 0, u64::MAX));
        let keys = listed.keys.iter().filter_map(|(key, role)| known(key, Some(*role), 0, until(key)));
        // The file comes last: what it says of a key holds.
        let known = added.chain(roots).chain(keys).collect();
        Self { installation, listed, learned, known }
    }

    /// The same file, with what events said up to where the reader stands.
    #[must_use]
    pub fn knowing(&self, learned: &Learned) -> Self {
        Self::standing(self.installation, self.listed.clone(), learned.clone())
    }

    /// The file alone.
    #[must_use]
    pub fn alone(&self) -> Self {
        self.knowing(&Learned::default())
    }

    /// With what one more event at `seq` says; nothing where it is of no signer.
    pub fn after(&self, seq: u64, fact: &Fact) -> Option<Self> {
        match fact {
            Fact::SignerAdded(_) | Fact::SignerWithdrawn(_) => {
                let mut learned = self.learned.clone();
                learned.take(seq, fact);
                Some(self.knowing(&learned))
            }
            Fact::KeyIssued(_)
            | Fact::KeyActivated(_)
            | Fact::KeySeen(_)
            | Fact::KeyRetired(_)
            | Fact::RolledBack(_)
            | Fact::PolicySet(_)
            | Fact::EdgeAdded(_)
            | Fact::EdgeRemoved(_) => None,
        }
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
        let role =
            |(public, word): (String, String)| warrant::role("signers", &word).map(|role| (public, role));
        let keys: Vec<_> = file.signers.into_iter().map(role).collect::<Result<_, _>>()?;
        Self::rooted(installation, file.root, keys)
    }

    /// The installation.
    pub fn installation(&self) -> Installation {
        self.installation
    }

    /// What the file says.
    pub fn listed(&self) -> &Listed {
        &self.listed
    }

    /// What events said.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// The file's keys, each with its role.
    pub fn keys(&self) -> impl Iterator<Item = (&str, Service)> {
        self.listed.keys.iter().map(|(key, service)| (key.as_str(), *service))
    }

    /// As what a key is believed.
    ///
    /// # Errors
    /// Why it is not.
    pub fn role(&self, public: &str, when: When) -> Result<Service, String> {
        self.stands(public, when).map(|(service, _)| service)
    }

    fn stands(&self, public: &str, when: When) -> Result<(Service, &Verifier), String> {
        // What stands in the header is a stranger's text.
        let shown = || public.chars().filter(char::is_ascii_alphanumeric).take(56).collect::<String>();
        let Some(Known { verifier, role: Some(service), since, until }) = self.known.get(public) else {
            return Err(format!("its signer `{}` is neither in the signers file nor introduced", shown()));
        };
        let (begun, over) = match when {
            When::At(seq) => (*since < seq, seq > *until),
            When::About(seq) => (true, seq >= *until),
            When::Now => (true, *until < u64::MAX),
        };
        if !begun {
            return Err(format!("its signer `{}` was introduced later, at {since}", shown()));
        }
        if over {
            return Err(format!("its signer `{}` was withdrawn at {until}", shown()));
        }
        Ok((*service, verifier))
    }

    /// The service that wrote what stands at `subject`, and as which it was believed at that time.
    ///
    /// # Errors
    /// Says why that is nobody who is known.
    pub fn author(
        &self,
        when: When,
        signed: Option<&Signed>,
        subject: &str,
        payload: &[u8],
    ) -> Result<Service, String> {
        let Some(Signed { by, signature }) = signed else { return Err("it is not signed".to_owned()) };
        let (service, verifier) = self.stands(by, when)?;
        if verifier.verify(signature, subject, payload) {
            return Ok(service);
        }
        Err(format!("its signature is not that of the {} that it names", service.name()))
    }

    /// Whether what a fact at `seq` says of signers is said by whom it names, and theirs to say; of other facts there is
    /// nothing to check.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, seq: u64, fact: &Fact) -> Result<(), String> {
        let (Self { installation: of, listed, learned, known }, said) = (self, |error| format!("{error}"));
        let verifier = |by: &SignerKey| known.get(by.as_str()).map(|known| &known.verifier);
        let is_signed = match fact {
            Fact::SignerAdded(asked) => {
                may_add(listed, learned, asked, seq).map_err(said)?;
                verifier(&asked.warrant.by).is_some_and(|by| warrant::is_for_addition(by, *of, asked))
            }
            Fact::SignerWithdrawn(asked) => {
                may_withdraw(listed, asked).map_err(said)?;
                verifier(&asked.warrant.by).is_some_and(|by| warrant::is_for_withdrawal(by, *of, asked))
            }
            Fact::KeyIssued(_)
            | Fact::KeyActivated(_)
            | Fact::KeySeen(_)
            | Fact::KeyRetired(_)
            | Fact::RolledBack(_)
            | Fact::PolicySet(_)
            | Fact::EdgeAdded(_)
            | Fact::EdgeRemoved(_) => true,
        };
        if is_signed {
            Ok(())
        } else {
            Err("signature: it is not over what is asked, or of another installation".to_owned())
        }
    }
}

/// The file that [`Signers::parse`] reads.
impl fmt::Display for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "installation = \"{}\"", text::id(self.installation.0))?;
        if !self.listed.roots.is_empty() {
            let roots: Vec<_> = self.listed.roots.iter().map(|root| format!("\"{root}\"")).collect();
            writeln!(f, "root = [{}]", roots.join(", "))?;
        }
        writeln!(f, "\n[signers]")?;
        self.keys().try_for_each(|(public, service)| writeln!(f, "{public} = \"{}\"", service.name()))
    }
}

impl fmt::Debug for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signers(")?;
        self.keys().try_for_each(|(public, service)| write!(f, " {} {public}", service.name()))?;
        if !self.learned.is_empty() {
            write!(f, " {:?}", self.learned)?;
        }
        f.write_char(')')
    }
}
