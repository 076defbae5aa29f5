//! A log with one keyring that has a long history among many others, written straight to a bare server.

use anyhow::Context as _;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::{self, Context, stream};
use async_nats::{ConnectOptions, HeaderMap};
use futures_util::future::try_join_all;
use keywheel_domain::event::{
    Activated, Barrier, CommandId, Ended, EventId, IssueReason, Issued, RotationId, Use, Used,
};
use keywheel_domain::key::{Cause, Origin};
use keywheel_domain::{Actor, Address, At, Digest, Event, Fact, KeySpec, KeyringId, Kid, Policy, Version};
use keywheel_token::Credential;
use keywheel_wire::belief::is_entitled;
use keywheel_wire::chain::payload_hash;
use keywheel_wire::event::{Link, write};
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::{Installation, Signers};
use keywheel_wire::subject::{self, Service};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

const OURS: Installation = Installation(7);
const BEGAN: u64 = 1_800_000_000_000;
/// Other keyrings among which the long one lies.
const OTHERS: u64 = 10_000;
/// Messages that may be unacknowledged at once.
const WINDOW: usize = 2000;

/// A bare server with the log in it; ended when dropped.
pub struct Log {
    process: Child,
    folder: TempDir,
    port: u16,
    signers: Arc<Signers>,
    /// The keyring with the long history.
    pub address: Address,
    /// Positions in the log.
    pub length: u64,
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A service's keys.
struct Writers(Vec<(Service, Signer)>);

impl Writers {
    fn fresh() -> anyhow::Result<Self> {
        let fresh = |service| Ok((service, Signer::from_seed(Credential::fresh().seed().expose())?));
        Service::ALL.into_iter().map(fresh).collect::<anyhow::Result<_>>().map(Self)
    }

    fn signers(&self) -> anyhow::Result<Signers> {
        let keys = self.0.iter().map(|(service, signer)| (signer.public().to_owned(), *service));
        Ok(Signers::of(OURS, keys)?)
    }

    fn of(&self, fact: &Fact) -> anyhow::Result<&Signer> {
        let found = self.0.iter().find(|(service, _)| is_entitled(*service, fact));
        found.map(|(_, signer)| signer).context("a fact that nobody writes")
    }
}

impl Log {
    /// With so many messages, of which so many are the long keyring's, evenly spread.
    pub async fn write(length: u64, own: u64) -> anyhow::Result<Log> {
        let folder = TempDir::new()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let writers = Writers::fresh()?;
        let user = Credential::fresh();
        std::fs::write(folder.path().join("user.nk"), user.seed().expose())?;
        std::fs::write(folder.path().join("signers.toml"), writers.signers()?.to_string())?;
        let store = folder.path().join("store");
        let config = format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {store:?} }}\n");
        std::fs::write(folder.path().join("nats.conf"), config)?;
        let binary =
            keywheel_tests::stack::nats_server().context("KEYWHEEL_TEST_NATS names no nats-server")?;
        let process = Command::new(binary)
            .arg("--config")
            .arg(folder.path().join("nats.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let address = Address::Keyring(KeyringId::parse("bench/long")?);
        let signers = Arc::new(writers.signers()?);
        let log = Log { process, folder, port, signers, address, length };
        log.fill(&writers, own).await?;
        Ok(log)
    }

    async fn fill(&self, writers: &Writers, own: u64) -> anyhow::Result<()> {
        let options = ConnectOptions::new().retry_on_initial_connect();
        let client = options.connect(format!("nats://127.0.0.1:{}", self.port)).await?;
        let context = jetstream::new(client);
        let stream = stream::Config {
            name: subject::EVENTS.to_owned(),
            subjects: vec![subject::EVENTS_ALL.to_owned()],
            storage: stream::StorageType::File,
            allow_direct: true,
            ..stream::Config::default()
        };
        context.create_stream(stream).await?;
        let subject = subject::event(&self.address);
        let every = self.length / own;
        let (mut revision, mut prev, mut under_way) = (0, None, Vec::with_capacity(WINDOW));
        for seq in 1..=self.length {
            if seq % every == 0 && revision < own {
                let event = self.event(revision);
                let payload = write(&event, Link { revision: revision + 1, prev }, OURS)?;
                (revision, prev) = (revision + 1, Some(payload_hash(&payload)));
                let signed = writers.of(&event.fact)?.sign(&subject, &payload)?;
                let mut headers = HeaderMap::new();
                headers.insert(subject::HEADER_SIGNER, signed.by);
                headers.insert(subject::HEADER_SIGNATURE, signed.signature);
                under_way.push(
                    context
                        .publish_with_headers(subject.clone(), headers, payload.into())
                        .await?
                        .into_future(),
                );
            } else {
                under_way.push(filler(&context, seq).await?.into_future());
            }
            // The server drops what it has no room for, so it is not sent more than this unacknowledged.
            if under_way.len() == WINDOW || seq == self.length {
                try_join_all(under_way.drain(..)).await?;
            }
        }
        Ok(())
    }

    /// A rotation after the other: issued, activated, seen in use, and the version before retired.
    fn event(&self, n: u64) -> Event {
        let round = u32::try_from(n / 4).unwrap_or(u32::MAX) + 1;
        let (version, before, at) = (Version(round), Version(round.saturating_sub(1)), At(BEGAN + n * 1000));
        let fact = match n % 4 {
            0 => Fact::KeyIssued(issued(version)),
            1 => Fact::KeyActivated(Activated {
                version,
                supersedes: vec![before],
                barrier: Barrier { position: n, edges: Vec::new(), passed_over: Vec::new(), by_hand: None },
            }),
            2 => {
                let seen = Use { first_use: Some(at), last_use: Some(at), uses: 1, quiet: None };
                Fact::KeySeen(Used { version, seen })
            }
            _ => Fact::KeyRetired(Ended {
                version: before,
                also: Vec::new(),
                cause: Cause::Superseded,
                reason: None,
                evidence: None,
            }),
        };
        Event {
            id: EventId(u128::from(n) + 1),
            address: self.address.clone(),
            at,
            actor: Actor::service("bench"),
            command: CommandId(u128::from(n) + 1),
            rotation: Some(RotationId(u128::from(round))),
            fact,
        }
    }

    /// How the operator's program reaches it; the path of its context file.
    pub fn context(&self) -> anyhow::Result<std::path::PathBuf> {
        let file = self.folder.path().join("context.json");
        let context = serde_json::json!({
            "nats_url": format!("nats://127.0.0.1:{}", self.port),
            "credentials": self.folder.path().join("user.nk"),
            "signers": self.folder.path().join("signers.toml"),
            "inbox_prefix": "_INBOX",
            "edges": [],
            "home": self.folder.path(),
        });
        std::fs::write(&file, context.to_string())?;
        Ok(file)
    }

    /// A connection that believes what was written.
    pub async fn connect(&self) -> anyhow::Result<keywheel_bus::Bus> {
        let options = keywheel_bus::BusOptions {
            url: format!("nats://127.0.0.1:{}", self.port),
            credentials: self.folder.path().join("user.nk"),
            tls: None,
            signers: Arc::clone(&self.signers),
            inbox_prefix: "_INBOX".to_owned(),
            name: "bench".to_owned(),
            wait: false,
        };
        Ok(keywheel_bus::Bus::connect(&options).await?)
    }
}

fn issued(version: Version) -> Issued {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&version.0.to_be_bytes());
    Issued {
        version,
        kid: Kid::parse(&format!("kid{:07}", version.0)).expect("ten letters and digits"),
        digest: Digest(digest),
        spec: KeySpec::default(),
        origin: Origin::Minted,
        reason: IssueReason::Rotate { supersedes: Vec::new() },
        policy: Policy::default(),
        cancels: Vec::new(),
    }
}

/// A message of another keyring, about as long as an event with its headers. Nobody reads it here.
async fn filler(context: &Context, seq: u64) -> anyhow::Result<PublishAckFuture> {
    let other = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) % OTHERS;
    let address = Address::Keyring(KeyringId::parse(&format!("bench/c{other}"))?);
    Ok(context.publish(subject::event(&address), vec![b'x'; 500].into()).await?)
}
