//! One connection per process, with the identity that it acts under.

use crate::acquaintance::Acquaintance;
use crate::lookout::Lookout;
use crate::metrics::Counts;
use crate::tls;
use crate::{BusError, TlsConfig};
use async_nats::jetstream::{self, stream::Stream};
use async_nats::{Auth, AuthError, Client, ConnectOptions, Event, HeaderMap, ServerError};
use keywheel_wire::signature::{Signed, Signer};
use keywheel_wire::signers::{self, Signers};
use keywheel_wire::subject;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use zeroize::Zeroizing;

/// How often a handshake that was cut short is tried before that is taken for an outage.
const HANDSHAKES: u32 = 3;
/// How long a process that can go on without the bus waits for it at its start.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// How to reach the bus, and as whom.
#[derive(Clone, Debug)]
pub struct BusOptions {
    /// One or more server URLs, separated by commas.
    pub url: String,
    /// File with the seed of the role's user nkey.
    pub credentials: PathBuf,
    /// With which certificates; none is a connection without TLS.
    pub tls: Option<TlsConfig>,
    /// Whose events and notices are believed.
    pub signers: Arc<Signers>,
    /// Prefix of the subjects on which replies come: one per role, so that roles cannot read each other's.
    pub inbox_prefix: String,
    /// Name of the connection, for the server's own listings.
    pub name: String,
    /// Whether to go on trying when the bus is away at the start.
    pub wait: bool,
}

/// The part of every service's configuration that says how to reach the bus.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusConfig {
    /// One or more server URLs, separated by commas.
    pub url: String,
    /// File with the seed of the role's user nkey (0600).
    pub credentials: PathBuf,
    /// With which certificates; none is a connection without TLS.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Whose events and notices are believed; in the configuration, the path of the signers file.
    #[serde(deserialize_with = "listed")]
    pub signers: Arc<Signers>,
}

impl BusConfig {
    /// Options for a process of `role` (`issuer`, `edge-a`, …): its replies come under a prefix of its own.
    pub fn options(&self, role: &str, wait: bool) -> BusOptions {
        BusOptions {
            url: self.url.clone(),
            credentials: self.credentials.clone(),
            tls: self.tls.clone(),
            signers: Arc::clone(&self.signers),
            inbox_prefix: inbox_prefix(role),
            name: format!("keywheel {role}"),
            wait,
        }
    }
}

/// The prefix under which a role's replies come; what its credential lets it subscribe to. Two names never share one.
pub fn inbox_prefix(role: &str) -> String {
    format!("_INBOX_{role}")
}

/// A configuration is checked before anything opens, and so is the file that it names here.
fn listed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Signers>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    read_signers(&path).map_err(D::Error::custom)
}

/// Reads a signers file.
///
/// # Errors
/// Names the file and what is wrong in it.
pub fn read_signers(path: &Path) -> Result<Arc<Signers>, String> {
    let mut text = String::new();
    // One byte more than may be shows that it is too long.
    let most = signers::FILE_BYTES_MAX as u64 + 1;
    File::open(path).and_then(|file| file.take(most).read_to_string(&mut text)).map_err(|error| {
        format!("cannot read {}: {error}; name the installation's signers file", path.display())
    })?;
    let signers = Signers::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Arc::new(signers))
}

/// The connection.
#[derive(Clone)]
pub struct Bus {
    client: Client,
    context: jetstream::Context,
    signer: Arc<Signer>,
    acquaintance: Acquaintance,
    denied: watch::Receiver<Option<String>>,
    reconnects: Arc<AtomicU64>,
    counts: Arc<Counts>,
    _lookout: Arc<Lookout>,
}

impl Bus {
    /// Connects.
    ///
    /// # Errors
    /// When a credential or certificate file is unusable, or (unless `wait`) the bus cannot be reached.
    pub async fn connect(options: &BusOptions) -> Result<Bus, BusError> {
        let seed = read_seed(&options.credentials)?;
        let signer = Arc::new(Signer::from_seed(&seed).map_err(BusError::Credentials)?);
        drop(seed);
        let (denied_tx, denied) = watch::channel(None);
        let reconnects = Arc::new(AtomicU64::new(0));
        options.tls.as_ref().map_or(Ok(()), TlsConfig::check)?;
        let connect = || as_role(options, &signer, denied_tx.clone(), Arc::clone(&reconnects));
        let client = if options.wait {
            await_bus(options, connect).await
        } else {
            first_attempt(options, &connect).await
        }?;
        let context = jetstream::new(client.clone());
        let acquaintance = Acquaintance::new(Arc::clone(&options.signers));
        let lookout = Arc::new(Lookout::over(client.clone(), &options.url, Arc::clone(&reconnects)));
        let counts = Arc::default();
        Ok(Bus { client, context, signer, acquaintance, denied, reconnects, counts, _lookout: lookout })
    }

    /// Counts into `counts` from now on.
    pub(crate) fn counting(self, counts: Arc<Counts>) -> Self {
        Self { counts, ..self }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn context(&self) -> &jetstream::Context {
        &self.context
    }

    /// Its own public key.
    pub(crate) fn public(&self) -> &str {
        self.signer.public()
    }

    pub(crate) fn acquaintance(&self) -> &Acquaintance {
        &self.acquaintance
    }

    /// The headers that say who wrote what is to be stored at `subject`.
    pub(crate) fn sign(&self, subject: &str, payload: &[u8]) -> Result<HeaderMap, BusError> {
        let Signed { by, signature } = self.signer.sign(subject, payload)?;
        let mut headers = HeaderMap::new();
        headers.insert(subject::HEADER_SIGNER, by);
        headers.insert(subject::HEADER_SIGNATURE, signature);
        Ok(headers)
    }

    /// A handle on a stream, without asking the server about it (not every role may).
    pub(crate) async fn stream(&self, name: &'static str) -> Result<Stream<()>, BusError> {
        use crate::error::Trying;
        self.context.get_stream_no_info(name).await.trying("opening a stream")
    }

    /// Whether the connection stands now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// How often the connection was made.
    pub fn connections(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// Resolves when the server denied something: the credential lacks a permission that this role
    /// needs, so that waiting would not help.
    pub async fn denied(&self) -> String {
        let mut denied = self.denied.clone();
        // The guard must not live across the other arm's wait: it would tie the future to one thread.
        let reason = denied.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Sends what is still buffered and closes.
    pub async fn close(&self) {
        let drained = tokio::time::timeout(Duration::from_secs(2), self.client.drain()).await;
        if drained.is_err() {
            tracing::debug!("the connection did not drain in time");
        }
    }
}

fn as_role(
    options: &BusOptions,
    signer: &Arc<Signer>,
    denied: watch::Sender<Option<String>>,
    reconnects: Arc<AtomicU64>,
) -> ConnectOptions {
    // The client never sees the seed: each connection is proven by a signature of ours.
    let prover = Arc::clone(signer);
    let connect = ConnectOptions::with_auth_callback(move |nonce| std::future::ready(prove(&prover, &nonce)))
        .name(&options.name)
        .custom_inbox_prefix(&options.inbox_prefix)
        .ping_interval(Duration::from_secs(5))
        .connection_timeout(Duration::from_secs(5))
        .request_timeout(Some(Duration::from_secs(5)))
        .reconnect_delay_callback(|attempts| Duration::from_millis((50 * attempts as u64).min(1000)))
        .event_callback(move |event| {
            notice(&event, &denied, &reconnects);
            std::future::ready(())
        });
    match &options.tls {
        Some(tls) => tls.apply(connect),
        None => connect,
    }
}

async fn dial(options: &BusOptions, connect: ConnectOptions) -> Result<Client, BusError> {
    let servers: Vec<String> = options.url.split(',').map(str::to_owned).collect();
    connect.connect(servers).await.map_err(|error| {
        let detail = error.to_string();
        tls::explain(&detail, &options.url, options.tls.as_ref())
            .unwrap_or(BusError::Unreachable { url: options.url.clone(), detail })
    })
}

/// A server that refuses our certificate can cut the connection before its reason was read: asked again, it says it.
async fn first_attempt(
    options: &BusOptions,
    connect: &impl Fn() -> ConnectOptions,
) -> Result<Client, BusError> {
    for _ in 1..HANDSHAKES {
        match dial(options, connect()).await {
            Err(BusError::Unreachable { detail, .. }) if options.tls.is_some() && was_cut(&detail) => {}
            attempted => return attempted,
        }
    }
    dial(options, connect()).await
}

/// Whoever waits is told why at once, and goes on without the bus: files are read again at each attempt, so that a
/// renewed certificate mends it.
async fn await_bus(options: &BusOptions, connect: impl Fn() -> ConnectOptions) -> Result<Client, BusError> {
    match tokio::time::timeout(FIRST_PATIENCE, first_attempt(options, &connect)).await {
        Ok(Ok(client)) => return Ok(client),
        Ok(Err(error)) => tracing::error!(%error, "no connection yet; trying again and again"),
        Err(_) => tracing::warn!(url = %options.url, "no connection yet; trying again and again"),
    }
    dial(options, connect().retry_on_initial_connect()).await
}

fn was_cut(detail: &str) -> bool {
    ["reset by peer", "Broken pipe"].iter().any(|words| detail.contains(words))
}

fn prove(signer: &Signer, nonce: &[u8]) -> Result<Auth, AuthError> {
    let mut auth = Auth::new();
    auth.nkey = Some(signer.public().to_owned());
    auth.signature = Some(signer.prove(nonce).map_err(AuthError::new)?);
    Ok(auth)
}

/// Largest file that can hold a seed.
const SEED_BYTES_MAX: u64 = 4096;

fn read_seed(path: &Path) -> Result<Zeroizing<String>, BusError> {
    let bad = |detail: String| {
        let detail = format!("{}: {detail}", path.display());
        BusError::Credentials(keywheel_wire::Malformed::new("credentials", detail))
    };
    // With room for all of it, so that no copy is left behind where the text had to grow.
    let room = usize::try_from(SEED_BYTES_MAX).unwrap_or_default() + 1;
    let mut text = Zeroizing::new(String::with_capacity(room));
    let read = File::open(path).and_then(|file| file.take(SEED_BYTES_MAX + 1).read_to_string(&mut text));
    let length = read.map_err(|error| bad(format!("cannot be read: {error}")))?;
    if length as u64 > SEED_BYTES_MAX {
        return Err(bad(format!("has more than {SEED_BYTES_MAX} bytes; expected an nkey seed (SU…)")));
    }
    Ok(text)
}

/// Who a message says that it is from.
pub(crate) fn signed(headers: Option<&HeaderMap>) -> Option<Signed> {
    let header = |name| headers?.get(name).map(|value| value.as_str().to_owned());
    Some(Signed { by: header(subject::HEADER_SIGNER)?, signature: header(subject::HEADER_SIGNATURE)? })
}

fn notice(event: &Event, denied: &watch::Sender<Option<String>>, connections: &AtomicU64) {
    match event {
        Event::Connected => {
            connections.fetch_add(1, Ordering::Relaxed);
            tracing::info!("connected to the bus");
        }
        Event::Disconnected => tracing::warn!("lost the bus; trying again"),
        Event::ServerError(ServerError::Other(detail)) if is_denial(detail) => {
            tracing::error!(%detail, "the bus denied something that this role needs");
            denied.send_replace(Some(detail.clone()));
        }
        Event::LameDuckMode
        | Event::Draining
        | Event::Closed
        | Event::SlowConsumer(_)
        | Event::ServerError(_)
        | Event::ClientError(_) => tracing::warn!(%event, "the bus says"),
    }
}

fn is_denial(detail: &str) -> bool {
    detail.to_ascii_lowercase().contains("permissions violation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_file_has_a_bound() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (bytes, reads) in [(SEED_BYTES_MAX, true), (SEED_BYTES_MAX + 1, false)] {
            std::fs::write(file.path(), "x".repeat(usize::try_from(bytes).unwrap())).unwrap();
            assert_eq!(read_seed(file.path()).is_ok(), reads, "{bytes}");
        }
        assert!(read_seed(Path::new("nowhere.nk")).unwrap_err().to_string().contains("nowhere.nk"));
    }
}
