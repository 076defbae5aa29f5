//! The store itself: written as a propagator writes it, and as nobody should.

use crate::begin;
use crate::server::Server;
use keywheel_bus::follow::Unobserved;
use keywheel_bus::snapshots::{Put, oldest};
use keywheel_bus::{Follower, SharedFold};
use keywheel_domain::At;
use keywheel_table::fold::Head;
use keywheel_table::snapshot::export;
use keywheel_table::{Fold, Options};
use keywheel_wire::signature::Signer;
use keywheel_wire::snapshot::{CHUNK_BYTES_MAX, Manifest, Slot};
use keywheel_wire::subject::{self, HEADER_SIGNATURE, HEADER_SIGNER};
use std::path::{Path, PathBuf};

const NOW: At = At(1_800_000_000_000);

/// Where a fold of a propagator's own stands at `seq`, of the log created when, and its file.
pub async fn folded(server: &Server, folder: &Path, seq: u64) -> (Head, At, PathBuf) {
    let bus = server.connect("propagator").await;
    let path = folder.join("propagator.db");
    let options = Options { commands: true, pending: |_| false, doubts: true };
    let fold = SharedFold::new(Fold::open(&path, options, bus.signers()).unwrap());
    let follower = Follower::new(bus.clone(), fold.clone(), "propagator-1".to_owned());
    let mut watermark = follower.watermark();
    let there = async { drop(watermark.wait_for(|at| *at >= seq).await.unwrap()) };
    follower.run(Unobserved, there).await.unwrap();
    assert_eq!(fold.head().watermark, seq);
    (fold.head(), fold.log_created().unwrap().unwrap(), path)
}

/// Writes a snapshot as a propagator does: of its own fold, which stands at `seq`.
pub async fn write(server: &Server, folder: &Path, seq: u64) -> Manifest {
    let (head, created, path) = folded(server, folder, seq).await;
    let bus = server.connect("propagator").await;
    let mut bytes = Vec::new();
    assert_eq!(export(&path, &mut bytes).unwrap(), head);
    let held = bus.slots().await.unwrap();
    let over = oldest(&held).unwrap();
    match bus.put_snapshot(over, &head, created, NOW, &mut bytes.as_slice()).await.unwrap() {
        Put::Stored(manifest) => *manifest,
        Put::Contended => panic!("nobody else writes"),
    }
}

pub fn context(server: &Server) -> impl Future<Output = async_nats::jetstream::Context> {
    let seed = std::fs::read_to_string(server.seed("admin")).unwrap();
    let connecting = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned()).connect(server.url());
    async move { async_nats::jetstream::new(connecting.await.unwrap()) }
}

/// Puts another manifest into the slot of one, signed by `role`.
pub async fn forge(server: &Server, role: &str, manifest: &Manifest) {
    let slot = Slot::named(&manifest.name).unwrap();
    let at = subject::manifest(slot);
    let payload = serde_json::to_vec(manifest).unwrap();
    let signer = Signer::from_seed(&std::fs::read_to_string(server.seed(role)).unwrap()).unwrap();
    let signed = signer.sign(&at, &payload).unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(HEADER_SIGNER, signed.by);
    headers.insert(HEADER_SIGNATURE, signed.signature);
    headers.insert(subject::HEADER_ROLLUP, "sub");
    context(server).await.publish_with_headers(at, headers, payload.into()).await.unwrap().await.unwrap();
}

/// Two who write at once: one leaves the slot to the other, and what lies there is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_do_not_mix_and_old_chunks_go() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _admin, _history) = begin(folder.path()).await;
    let one = server.connect("propagator").await;
    let held = one.slots().await.unwrap();
    let head = Head { watermark: 2, ..Default::default() };
    let long = vec![7_u8; 2 * CHUNK_BYTES_MAX + 1];
    let put = async |bytes: &[u8]| one.put_snapshot(&held[0], &head, NOW, NOW, &mut { bytes }).await.unwrap();
    let (first, second) = tokio::join!(put(&long), put(&long));
    let stored = [&first, &second].into_iter().filter(|put| matches!(put, Put::Stored(_))).count();
    assert_eq!(stored, 1, "{first:?} {second:?}");
    let again = one.slots().await.unwrap();
    let manifest = again[0].manifest.clone().unwrap();
    assert_eq!((manifest.chunks, manifest.size), (3, long.len() as u64));
    let mut read = Vec::new();
    let take = |chunk: &[u8]| {
        read.extend_from_slice(chunk);
        Ok(())
    };
    one.read_snapshot(&manifest, take).await.unwrap().unwrap();
    assert!(read == long);

    let Put::Stored(small) = one.put_snapshot(&again[0], &head, NOW, NOW, &mut &b"x"[..]).await.unwrap()
    else {
        panic!()
    };
    let gone = one.read_snapshot(&manifest, |_| Ok(())).await.unwrap();
    assert!(gone.is_err(), "the old chunks went: {gone:?}");
    one.read_snapshot(&small, |_| Ok(())).await.unwrap().unwrap();
    let messages =
        context(&server).await.get_stream("OBJ_KW_SNAPSHOTS").await.unwrap().cached_info().state.messages;
    assert_eq!(messages, 2, "one chunk and its manifest");
}
