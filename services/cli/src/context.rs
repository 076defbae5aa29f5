//! The context file: where the bus and the edges are, and as whom the operator acts.

use crate::arguments::GlobalOptions;
use crate::failure::Failure;
use crate::seed_file;
use keywheel_bus::connect::read_signers;
use keywheel_bus::{BusOptions, TlsConfig};
use keywheel_runtime::config::{read_text, variable};
use keywheel_token::Opener;
use serde::Deserialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Largest context file that is read: thousands of edges.
const CONTEXT_BYTES_MAX: usize = 1024 * 1024;

/// What `keywheel up` writes for its clients (PROTOCOL 1). Fields that later versions add are passed over.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Context {
    nats_url: String,
    credentials: PathBuf,
    #[serde(default)]
    tls: Option<TlsConfig>,
    inbox_prefix: String,
    /// The edges' addresses.
    #[serde(default)]
    pub edges: Vec<EdgeAddress>,
    #[serde(default)]
    home: Option<PathBuf>,
    #[serde(default)]
    recipient: Option<PathBuf>,
    #[serde(default)]
    signers: Option<PathBuf>,
    #[serde(skip)]
    folder: PathBuf,
}

/// Where one edge listens.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct EdgeAddress {
    /// Its name on the roster.
    pub id: String,
    /// Base URL or `host:port` of its HTTP side.
    #[serde(default)]
    pub http: Option<String>,
}

impl Context {
    /// Reads the file that the options, the environment or the default name.
    pub fn load(options: &GlobalOptions) -> Result<Self, Failure> {
        Self::read(&path(options))
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let text = read_text(path, CONTEXT_BYTES_MAX).map_err(|error| unreadable(path, &error))?;
        let context: Context = serde_json::from_str(&text).map_err(|error| {
            Failure::config("bad_context", format!("{} is no context file: {error}", path.display()))
        })?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        Ok(Context { folder, ..context })
    }

    /// How to connect as the operator.
    pub fn bus_options(&self) -> Result<BusOptions, Failure> {
        let signers = read_signers(&self.signers_file()?)
            .map_err(|error| Failure::config("signers", format!("signers: {error}")))?;
        Ok(BusOptions {
            url: self.nats_url.clone(),
            credentials: self.locate(&self.credentials),
            tls: self.tls.as_ref().map(|tls| self.locate_all(tls)),
            signers,
            inbox_prefix: self.inbox_prefix.clone(),
            name: "keywheel operator".to_owned(),
            wait: false,
        })
    }

    /// The home, where there is one.
    pub fn home_folder(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The signers file.
    pub fn signers_file(&self) -> Result<PathBuf, Failure> {
        self.signers.as_deref().map(|file| self.locate(file)).ok_or_else(no_signers)
    }

    /// The file with the operator's own recipient seed, whether it exists or not.
    pub fn recipient_file(&self) -> PathBuf {
        match &self.recipient {
            Some(file) => self.locate(file),
            None => self.in_home(RECIPIENT_FILE),
        }
    }

    /// A file of the home, or else beside the context, whether it exists or not.
    pub fn in_home(&self, name: &str) -> PathBuf {
        self.home.as_ref().map_or_else(|| self.folder.clone(), |home| self.locate(home)).join(name)
    }

    fn locate_all(&self, tls: &TlsConfig) -> TlsConfig {
        let locate = |path: &PathBuf| self.locate(path);
        TlsConfig {
            ca: locate(&tls.ca),
            cert: tls.cert.as_ref().map(locate),
            key: tls.key.as_ref().map(locate),
        }
    }

    /// A relative path is meant from here, or else from beside the context file.
    fn locate(&self, path: &Path) -> PathBuf {
        if path.exists() { path.to_owned() } else { self.folder.join(path) }
    }
}

fn no_signers() -> Failure {
    let detail = "signers: missing in the context; name the installation's signers file (`keywheel up` writes one), \
                  without it no event can be believed";
    Failure::config("signers", detail)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let path = path.display();
    if error.kind() == ErrorKind::NotFound {
        let advice = "start an installation with `keywheel up`, or pass --context FILE";
        return Failure::config("no_context", format!("there is no {path}; {advice}"));
    }
    Failure::config("no_context", format!("cannot read {path}: {error}"))
}

/// The name of the recipient seed in a home.
pub(crate) const RECIPIENT_FILE: &str = "recipient.xk";

/// The home that the environment names, or the default one.
fn home() -> PathBuf {
    variable("KEYWHEEL_HOME").map_or_else(|| PathBuf::from(".keywheel"), PathBuf::from)
}

fn path(options: &GlobalOptions) -> PathBuf {
    options.context.clone().unwrap_or_else(|| home().join("context.json"))
}

/// Where a seed of one's own lies: as the context says; without one, which it does not need, in the home.
pub(crate) fn own_file(
    options: &GlobalOptions,
    name: &str,
    place: impl FnOnce(&Context) -> PathBuf,
) -> Result<PathBuf, Failure> {
    match Context::load(options) {
        Ok(context) => Ok(place(&context)),
        Err(failure) if failure.code == "no_context" && options.context.is_none() => Ok(home().join(name)),
        Err(failure) => Err(failure),
    }
}

/// Reads a recipient seed; `None` when there is no such file.
pub(crate) fn read_opener(file: &Path) -> Result<Option<Opener>, Failure> {
    let Some(seed) = seed_file::read(file)? else { return Ok(None) };
    let opener = Opener::parse(&seed)
        .map_err(|error| Failure::config("recipient", format!("{}: {error}", file.display())))?;
    Ok(Some(opener))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    const TEXT: &str = r#"{"nats_url":"nats://127.0.0.1:4222","credentials":"credentials/operator.nk",
        "inbox_prefix":"_INBOX_operator","edges":[{"id":"edge-1","http":"http://127.0.0.1:8081","grpc":null}],
        "console":null,"lease":"15s","signers":"signers.toml","something_later":1}"#;

    #[test]
    fn a_context_is_read_and_its_paths_are_found() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("context.json");
        std::fs::write(&file, TEXT).unwrap();
        let context = Context::read(&file).unwrap();
        let told = context.bus_options().unwrap_err();
        assert_eq!((told.exit, told.code.as_str()), (64, "signers"));
        assert!(told.detail.contains("signers.toml"), "{}", told.detail);
        std::fs::write(home.path().join("signers.toml"), crate::scene::signers().to_string()).unwrap();
        let options = context.bus_options().unwrap();
        assert_eq!(options.credentials, home.path().join("credentials/operator.nk"));
        assert_eq!(options.inbox_prefix, "_INBOX_operator");
        assert_eq!(context.recipient_file(), home.path().join("recipient.xk"));
        assert_eq!(context.edges[0].http.as_deref(), Some("http://127.0.0.1:8081"));
        assert!(read_opener(&context.recipient_file()).unwrap().is_none());
    }

    #[test]
    fn a_missing_or_bad_context_says_what_to_do() {
        let missing = Context::read(Path::new("nowhere/context.json")).unwrap_err();
        assert_eq!((missing.exit, missing.code.as_str()), (64, "no_context"));
        expect![[r#"there is no nowhere/context.json; start an installation with `keywheel up`, or pass --context FILE"#]]
            .assert_eq(&missing.detail);
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("context.json");
        std::fs::write(&file, "{}").unwrap();
        let bad = Context::read(&file).unwrap_err();
        assert_eq!((bad.exit, bad.code.as_str()), (64, "bad_context"));
        assert!(bad.detail.contains("missing field `nats_url`"), "{}", bad.detail);
        std::fs::write(&file, TEXT.replace("signers", "something_else")).unwrap();
        let bare = Context::read(&file).unwrap().bus_options().unwrap_err();
        assert_eq!((bare.exit, bare.code.as_str()), (64, "signers"));
        assert!(bare.detail.starts_with("signers: missing in the context"), "{}", bare.detail);
        let fits = format!("{TEXT}{}", " ".repeat(CONTEXT_BYTES_MAX - TEXT.len()));
        std::fs::write(&file, &fits).unwrap();
        assert!(Context::read(&file).is_ok());
        std::fs::write(&file, format!("{fits} ")).unwrap();
        assert!(Context::read(&file).unwrap_err().detail.contains("more than 1048576 bytes"));
    }
}
