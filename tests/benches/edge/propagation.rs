//! How long a command takes to its outcome, to the edges and to its key's owner, beside the durable
//! steps that lie on each path: synced publishes to the bus and synced commits of an edge.

use crate::figure::{Aim, Figure, Scale};
use crate::samples::Samples;
use anyhow::Context as _;
use keywheel_domain::{Address, KeyringId, Version};
use keywheel_tests::{Operator, Stack, StackOptions, stack, traffic};
use keywheel_token::{KeyText, id};
use keywheel_wire::outcome::Outcome;
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const EDGES: usize = 8;
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a state is looked at that shows itself no other way.
const LOOK: Duration = Duration::from_millis(1);

/// Durable steps on each path, one after the other.
const TO_OUTCOME: [&str; 5] = ["command", "intent", "stage", "event", "outcome"];
const TO_DELIVERY: [&str; 7] = ["command", "intent", "stage", "event", "pulse", "activation", "delivery"];
const TO_ACTIVE: [&str; 6] = ["command", "intent", "stage", "event", "pulse", "activation"];
/// Of a revocation as of a rollback.
const TO_REFUSAL: [&str; 3] = ["command", "intent", "event"];

/// Measures on a stack of real processes.
pub fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let mut options = StackOptions {
        binary: stack::binary()?,
        home: folder.path().to_owned(),
        edges: EDGES,
        lease: "15s",
        replicas: 1,
        cluster: 1,
        restart: true,
        lossy_bus: None,
        words: Vec::new(),
    };
    options.edges = scale.pick(EDGES, 2);
    let stack = Stack::start(&options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(on(&stack, scale));
    stack.stop()?;
    figures
}

#[derive(Default)]
struct Paths {
    step: Samples,
    commit: Samples,
    outcome: Samples,
    active: Samples,
    delivered: Samples,
    refused: Samples,
    undone: Samples,
}

async fn on(stack: &Stack, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let operator = Operator::connect(&stack.context).await?;
    let http = reqwest::Client::new();
    let mut paths = Paths { commit: commits(scale.pick(300, 10))?, ..Paths::default() };
    for n in 0..scale.pick(200, 10) {
        durable_step(&operator, n, &mut paths.step).await?;
        trial(&operator, &http, stack, n, &mut paths).await?;
    }
    println!("{} trials on {} edges", paths.outcome.count(), stack.context.edges.len());
    Ok(paths.figures(stack.context.edges.len()))
}

/// A synced publish of the operator's own: the same kind of step as every other on the paths.
async fn durable_step(operator: &Operator, n: u32, samples: &mut Samples) -> anyhow::Result<()> {
    let address = Address::Keyring(KeyringId::parse(&format!("bench/nobody-{n}"))?);
    let document = json!({ "id": text::id(id::fresh()), "actor": "bench", "version": 1 });
    let began = Instant::now();
    operator.bus.send_command(&address, Verb::Retire, &document).await?;
    samples.push(began.elapsed());
    Ok(())
}

/// Commits of one small row with `synchronous=FULL`, as an edge makes one for each event.
fn commits(trials: usize) -> anyhow::Result<Samples> {
    let folder = tempfile::tempdir()?;
    let connection = rusqlite::Connection::open(folder.path().join("floor.db"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, value BLOB)", [])?;
    let mut samples = Samples::default();
    for n in 0..trials {
        let began = Instant::now();
        connection.execute("INSERT INTO row VALUES (?1, zeroblob(250))", [n as i64])?;
        samples.push(began.elapsed());
    }
    Ok(samples)
}

/// One key from its issue to its revocation.
async fn trial(
    operator: &Operator,
    http: &reqwest::Client,
    stack: &Stack,
    n: u32,
    paths: &mut Paths,
) -> anyhow::Result<()> {
    let keyring = KeyringId::parse(&format!("bench/c-{n}"))?;
    let address = Address::Keyring(keyring.clone());
    let began = Instant::now();
    let fields = json!({ "recipient": operator.recipient() });
    let issued = async {
        let (after, outcome) = command(operator, &address, Verb::Issue, fields, began).await?;
        let event = outcome.event.as_ref().context("an event")?.seq;
        // Nothing else is written meanwhile: the activation is the log's next message.
        anyhow::Ok((after, everywhere(http, stack, event + 1, began).await?))
    };
    let ((outcome, active), (delivered, key)) =
        tokio::try_join!(issued, delivery(operator, &keyring, began))?;
    paths.outcome.push(outcome);
    paths.active.push(active);
    paths.delivered.push(delivered);

    paths.undone.push(undone(operator, http, stack, &address).await?);

    let began = Instant::now();
    let fields = json!({ "version": 1, "reason": "bench" });
    let (_, refused) = tokio::try_join!(
        command(operator, &address, Verb::Revoke, fields, began),
        refused(http, stack, key.expose(), began)
    )?;
    paths.refused.push(refused);
    Ok(())
}

/// From a rollback's publishing until every edge has applied it: what was rotated a moment before is undone.
async fn undone(
    operator: &Operator,
    http: &reqwest::Client,
    stack: &Stack,
    address: &Address,
) -> anyhow::Result<Duration> {
    let fields = json!({ "recipient": operator.recipient() });
    let (_, rotated) = command(operator, address, Verb::Rotate, fields, Instant::now()).await?;
    let active = rotated.event.as_ref().context("an event")?.seq + 1;
    everywhere(http, stack, active, Instant::now()).await?;
    let began = Instant::now();
    let fields = json!({ "rotation_id": rotated.rotation_id });
    // Nothing else is written meanwhile: the rollback is the log's next message.
    let rollback = command(operator, address, Verb::Rollback, fields, began);
    let ((_, outcome), effective) = tokio::try_join!(rollback, everywhere(http, stack, active + 1, began))?;
    anyhow::ensure!(outcome.event.is_some_and(|event| event.seq == active + 1), "another event came between");
    Ok(effective)
}

async fn command(
    operator: &Operator,
    address: &Address,
    verb: Verb,
    mut fields: Value,
    began: Instant,
) -> anyhow::Result<(Duration, Outcome)> {
    let command = id::fresh();
    let document = fields.as_object_mut().context("fields")?;
    document.insert("id".to_owned(), json!(text::id(command)));
    document.insert("actor".to_owned(), json!("bench"));
    operator.bus.send_command(address, verb, &fields).await?;
    loop {
        if let Some(outcome) = operator.bus.outcome(keywheel_domain::event::CommandId(command)).await? {
            return Ok((began.elapsed(), outcome));
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "no outcome of {} at {address}", verb.word());
        tokio::time::sleep(LOOK).await;
    }
}

async fn delivery(
    operator: &Operator,
    keyring: &KeyringId,
    began: Instant,
) -> anyhow::Result<(Duration, KeyText)> {
    loop {
        if operator.bus.delivery(keyring, Version(1)).await?.is_some() {
            let after = began.elapsed();
            return Ok((after, operator.delivered(keyring, Version(1)).await?));
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "{keyring} was not delivered");
        tokio::time::sleep(LOOK).await;
    }
}

/// Until every edge's answers rest on the log up to `seq`. One is looked at after the other, which ends when the last
/// has it, and takes less of the machine than looking at all of them.
async fn everywhere(
    http: &reqwest::Client,
    stack: &Stack,
    seq: u64,
    began: Instant,
) -> anyhow::Result<Duration> {
    for edge in &stack.context.edges {
        loop {
            let info: Value = http.get(format!("{}/v1/info", edge.http)).send().await?.json().await?;
            if info["watermark"].as_u64() >= Some(seq) {
                break;
            }
            anyhow::ensure!(began.elapsed() < PATIENCE, "{} does not reach {seq}: {info}", edge.http);
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(began.elapsed())
}

/// Until no edge accepts a key any more.
async fn refused(
    http: &reqwest::Client,
    stack: &Stack,
    key: &str,
    began: Instant,
) -> anyhow::Result<Duration> {
    for edge in &stack.context.edges {
        while traffic::ask(http, &edge.http, key, true).await?.valid {
            anyhow::ensure!(began.elapsed() < PATIENCE, "{} goes on accepting", edge.http);
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(began.elapsed())
}

impl Paths {
    fn figures(&self, edges: usize) -> Vec<Figure> {
        let (step, commit) = (self.step.p50_ms(), self.commit.p50_ms());
        println!("a synced publish takes {step:.2} ms, a synced commit {commit:.2} ms (medians)");
        let path = |what: &str, samples: &Samples, steps: &[&str], commits: usize| {
            let floor = step * steps.len() as f64 + commit * commits as f64;
            let named = format!("{} synced publishes, {commits} commits", steps.len());
            [
                Figure {
                    what: format!("{what}, p50"),
                    unit: "ms",
                    ours: samples.p50_ms(),
                    floor: Some((named, floor)),
                    aim: Aim::RatioAtMost(2.0),
                },
                Figure {
                    what: format!("{what}, p99"),
                    unit: "ms",
                    ours: samples.p99_ms(),
                    floor: None,
                    aim: Aim::Report,
                },
            ]
        };
        [
            path("command published → outcome", &self.outcome, &TO_OUTCOME, 0),
            path(&format!("… → active on {edges} edges"), &self.active, &TO_ACTIVE, 2),
            path("… → sealed key delivered", &self.delivered, &TO_DELIVERY, 1),
            path(&format!("revoke published → refused on {edges} edges"), &self.refused, &TO_REFUSAL, 1),
            path(&format!("rollback published → effective on {edges} edges"), &self.undone, &TO_REFUSAL, 1),
        ]
        .concat()
    }
}
