//! How many keyrings a second a command for a whole tenant changes, beside bare atomic batches on a server of the
//! same kind on the same disk: one for each keyring, and the four durable steps that each command costs.

use crate::figure::{Aim, Figure, Scale};
use anyhow::{Context as _, bail};
use async_nats::jetstream::{self, stream};
use keywheel_domain::At;
use keywheel_runtime::clock;
use keywheel_tests::stack::{keywheel, nats_server};
use keywheel_tests::{Operator, Stack, StackOptions, stack};
use keywheel_wire::text;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BATCH: usize = 500;
const PATIENCE: Duration = Duration::from_secs(300);
/// Bytes of an event, an intent, a sealed box and an outcome, as the schemas' samples have them.
const EVENT: usize = 700;
const INTENT: usize = 80;
const SEALED: usize = 350;
const OUTCOME: usize = 350;

/// Measures on a stack of real processes, and on a bare server before that.
pub fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let keyrings = scale.pick(10_000, 40);
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let floors = runtime.block_on(floors(folder.path(), keyrings))?;
    let options = StackOptions {
        binary: stack::binary()?,
        home: folder.path().join("home"),
        edges: 2,
        lease: "15s",
        replicas: 1,
        cluster: 1,
        restart: true,
        lossy_bus: None,
        words: Vec::new(),
    };
    let stack = Stack::start(&options)?;
    let figures = runtime.block_on(on(&stack, keyrings, floors));
    stack.stop()?;
    figures
}

/// Keyrings a second of one batched message each, and of the four of a command.
#[derive(Clone, Copy)]
struct Floors {
    one: f64,
    four: f64,
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn floors(folder: &Path, count: usize) -> anyhow::Result<Floors> {
    let (store, config) = (folder.join("bare"), folder.join("bare.conf"));
    std::fs::create_dir_all(&store)?;
    let at = store.display();
    let settings = format!(
        "listen: \"127.0.0.1:-1\"\nports_file_dir: \"{at}\"\njetstream {{ store_dir: \"{at}\", sync_interval: always }}\n"
    );
    std::fs::write(&config, settings)?;
    let nats = nats_server().context("KEYWHEEL_TEST_NATS names no nats-server")?;
    let mut command = Command::new(nats);
    let child = command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let _server = Server(child);
    let url = port(&store).await?;
    let context = jetstream::new(async_nats::connect(url).await?);
    for name in ["one", "event", "intent", "stage", "outcome"] {
        let subjects = vec![format!("{name}.>")];
        let config = stream::Config {
            name: name.to_owned(),
            subjects,
            allow_atomic_publish: true,
            ..Default::default()
        };
        context.create_stream(config).await?;
    }
    let began = Instant::now();
    for first in (0..count).step_by(BATCH) {
        batch(&context, "one", EVENT, first..count.min(first + BATCH)).await?;
    }
    let one = count as f64 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    for first in (0..count).step_by(BATCH) {
        let some = first..count.min(first + BATCH);
        for (name, size) in [("intent", INTENT), ("stage", SEALED), ("event", EVENT), ("outcome", OUTCOME)] {
            batch(&context, name, size, some.clone()).await?;
        }
    }
    Ok(Floors { one, four: count as f64 / began.elapsed().as_secs_f64() })
}

async fn port(store: &Path) -> anyhow::Result<String> {
    let began = Instant::now();
    loop {
        for entry in std::fs::read_dir(store)?.flatten() {
            let read =
                std::fs::read(entry.path()).ok().and_then(|it| serde_json::from_slice::<Value>(&it).ok());
            if let Some(url) = read.as_ref().and_then(|ports| ports["nats"][0].as_str()) {
                return Ok(url.to_owned());
            }
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "the bare server does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One atomic batch, each message under the condition that its subject has none yet.
async fn batch(
    context: &jetstream::Context,
    name: &str,
    size: usize,
    some: std::ops::Range<usize>,
) -> anyhow::Result<()> {
    let client = context.client();
    let (id, count) = (format!("{name}-{}", some.start), some.len());
    let payload = bytes::Bytes::from(vec![b'x'; size]);
    for (at, n) in some.enumerate() {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Batch-Id", id.as_str());
        headers.insert("Nats-Batch-Sequence", (at + 1).to_string());
        headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        let subject = format!("{name}.k-{n}");
        if at + 1 < count {
            client.publish_with_headers(subject, headers, payload.clone()).await?;
        } else {
            headers.insert("Nats-Batch-Commit", "1");
            let reply = client.request_with_headers(subject, headers, payload.clone()).await?;
            let said: Value = serde_json::from_slice(&reply.payload)?;
            anyhow::ensure!(said["count"] == count, "a batch was not stored: {said}");
        }
    }
    Ok(())
}

fn run(stack: &Stack, line: &str) -> anyhow::Result<(Duration, Value)> {
    let mut command = keywheel(&stack::binary()?);
    command.args(line.split(' ')).args(["--output", "json", "--timeout", "5m"]);
    command.env("KEYWHEEL_HOME", stack.home()).stdin(Stdio::null());
    let began = Instant::now();
    let output = tokio::task::block_in_place(|| command.output())?;
    let after = began.elapsed();
    if !output.status.success() {
        bail!("{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok((after, serde_json::from_slice(&output.stdout)?))
}

async fn on(stack: &Stack, keyrings: usize, floors: Floors) -> anyhow::Result<Vec<Figure>> {
    let operator = Operator::connect(&stack.context).await?;
    let table = stack.home().join("keys.csv");
    std::fs::write(&table, keys(keyrings))?;
    run(stack, &format!("import --csv {}", table.display()))?;
    quiet(&operator).await?;
    let moment = text::moment(At(clock::wall_ms()));
    let recipient = operator.recipient();
    let (rotated, said) =
        run(stack, &format!("rotate bench --all --until accepted --recipient {recipient}"))?;
    anyhow::ensure!(said["rotated"].as_array().map(Vec::len) == Some(keyrings), "not all were rotated");
    quiet(&operator).await?;
    let (back, said) = run(stack, &format!("rollback bench --all --to-time {moment} --yes"))?;
    anyhow::ensure!(
        said["rolled_back"].as_array().map(Vec::len) == Some(keyrings),
        "not all were rolled back"
    );
    let rate = |after: Duration| keyrings as f64 / after.as_secs_f64();
    Ok([("rotate", rotated), ("rollback", back)]
        .into_iter()
        .flat_map(|(what, after)| rows(&format!("{what} --all, {keyrings} keyrings"), rate(after), floors))
        .collect())
}

fn keys(count: usize) -> String {
    let mut rows = "tenant,client,digest\n".to_owned();
    for n in 0..count {
        let digest = Sha256::digest(format!("old-key-{n:06}"));
        let hex = digest.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a string does not fail");
            hex
        });
        writeln!(rows, "bench,c-{n},{hex}").expect("writing to a string does not fail");
    }
    rows
}

/// Waits until the log grows no more: what was asked before is done to its end.
async fn quiet(operator: &Operator) -> anyhow::Result<()> {
    let (mut last, mut since, began) = (0, Instant::now(), Instant::now());
    while since.elapsed() < Duration::from_secs(2) {
        let head = operator.bus.head().await?.seq;
        if head != last {
            (last, since) = (head, Instant::now());
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "the log does not come to rest");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn rows(what: &str, rate: f64, floors: Floors) -> [Figure; 2] {
    let row = |floor: (&str, f64), aim| Figure {
        what: what.to_owned(),
        unit: "keyrings/s",
        ours: rate,
        floor: Some((floor.0.to_owned(), floor.1)),
        aim,
    };
    [
        row(("a bare atomic batch", floors.one), Aim::RatioAtLeast(0.5)),
        row(("the four bare batches of a command", floors.four), Aim::Report),
    ]
}
