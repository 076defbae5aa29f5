//! What an edge is asked: raw bytes on a connection of a real listener, its table filled with known keys.

use keywheel_bus::log::LogHead;
use keywheel_domain::event::RotationId;
use keywheel_domain::key::{Cause, Origin};
use keywheel_domain::{Address, At, EdgeId, Key, KeySpec, KeyState, KeyringId, Span, State, Version};
use keywheel_edge::http::App;
use keywheel_edge::listen::Listener;
use keywheel_edge::pulse::Origin as Asked;
use keywheel_edge::serve::{Bounds, Speaks, serve};
use keywheel_edge::table::{Clocks, Table};
use keywheel_runtime::Shutdown;
use keywheel_table::fold::Head;
use keywheel_token::{Brand, Presented, read};
use keywheel_wire::text::Id;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// A key that is accepted.
pub const ACTIVE: &str = "kw_live_0123456789_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg3LwZ6n";
/// A key that is retired.
pub const RETIRED: &str = "kw_live_Zz9Yy8Xx7W_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz02zW3h";
const EDGE: &str = "e1";
/// A key's text without what is public of it.
pub const SECRET: std::ops::Range<usize> = 19..62;
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection's bytes; whatever they are, it is answered in whole lines, or closed.
pub fn http(data: &[u8]) {
    thread_local! {
        static EDGE: Edge = Edge::listening();
    }
    let answers = EDGE.with(|edge| edge.answers(data));
    let text = String::from_utf8(answers).unwrap();
    for key in [ACTIVE, RETIRED] {
        assert!(!text.contains(&key[SECRET]), "an answer repeats a key: {text}");
    }
    if text.is_empty() {
        return;
    }
    assert!(text.starts_with("HTTP/1.1 ") || text.starts_with("HTTP/1.0 "), "{text:?}");
    let head = text.split("\r\n\r\n").next().unwrap();
    for line in head.split("\r\n") {
        assert!(line.chars().all(|character| (' '..='~').contains(&character)), "{line:?}");
    }
    // Who is accepted has shown the key, every byte of it.
    let is_shown = data.windows(ACTIVE.len()).any(|window| window == ACTIVE.as_bytes());
    assert!(is_shown || !text.contains("x-keywheel-tenant"), "{text}");
}

/// An edge with its own runtime, on a free port of the loopback address.
pub struct Edge {
    runtime: Runtime,
    address: SocketAddr,
}

impl Edge {
    /// Begins to listen.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn listening() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Listener::Port(listener);
        let bounds = Bounds { connections: 800, grace: PATIENCE, head_time: PATIENCE, drain: Duration::ZERO };
        runtime.spawn(serve(listener, Speaks::Http, app(), bounds, Shutdown::new()));
        Self { runtime, address }
    }

    /// What comes back on a connection on which `data` is sent and then no more.
    ///
    /// # Panics
    /// When it is not answered in time.
    pub fn answers(&self, data: &[u8]) -> Vec<u8> {
        let talk = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let (mut from, mut to) = stream.split();
            let mut answers = Vec::new();
            // The edge may close before it has read everything.
            let send = async {
                let _ = to.write_all(data).await;
                let _ = to.shutdown().await;
            };
            let ((), _) = tokio::join!(send, from.read_to_end(&mut answers));
            answers
        };
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, talk).await })
            .expect("an answer in time")
    }
}

/// What answers, with one key that is accepted and one that is retired.
///
/// # Panics
/// Never: its values are constants.
pub fn app() -> App {
    let edge = EdgeId::parse(EDGE).unwrap();
    let clocks = Clocks { boot_ms: || 0, wall_ms: || 1_800_000_000_000, machine_boot: "b".to_owned() };
    let table = Table::new(edge.clone(), Span::secs(15), clocks);
    let head = Head { watermark: 5, ..Head::default() };
    table.apply(&states(&edge), head, Some(At(7)));
    table.prove(table.instant(), 5, LogHead { seq: 5, created: At(7) }).unwrap();
    App {
        table: Arc::new(table),
        metrics: Arc::default(),
        brand: Arc::default(),
        trusted_proxies: Arc::new(["127.0.0.1/32".parse().unwrap()]),
        origin: Arc::new(Asked { edge, boot: Id(1), version: "0.0.0" }),
    }
}

fn states(edge: &EdgeId) -> BTreeMap<Address, State> {
    let mut roster = State::default();
    roster.edges.insert(edge.clone(), 1);
    let retired = KeyState::Retired { at: At(0), cause: Cause::Requested };
    let keyrings = [("active", ACTIVE, KeyState::Active), ("retired", RETIRED, retired)];
    let keyrings = keyrings.map(|(client, text, state)| {
        let address = Address::Keyring(KeyringId::parse(&format!("t/{client}")).unwrap());
        (address, State { keys: [(Version(1), key(text, state))].into(), ..State::default() })
    });
    keyrings.into_iter().chain([(Address::Installation, roster)]).collect()
}

fn key(text: &str, state: KeyState) -> Key {
    let Ok(Presented::Ours { kid, digest }) = read(text, &Brand::default()) else { panic!("{text}") };
    Key {
        kid,
        digest,
        spec: KeySpec { scopes: vec!["read".to_owned()], ..KeySpec::default() },
        origin: Origin::Minted,
        issued_at: At(0),
        rotation: RotationId(0),
        replaces: None,
        state,
        was_activated: true,
        seen: None,
        quiet: None,
    }
}
