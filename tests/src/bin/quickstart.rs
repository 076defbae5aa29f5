//! What `deploy/quickstart.sh` shows: twenty clients' keys rotated while they are used, no request
//! refused, each old key retired by quiet proof, and one rotation's story from the log.

use anyhow::{Context as _, ensure};
use keywheel_domain::event::{CoverBasis, Evidence, OverBasis};
use keywheel_domain::key::Cause;
use keywheel_domain::{Address, Event, Fact, KeyState, KeyringId, Recorded, State, Tenant, Version};
use keywheel_tests::traffic::{self, Holder, Traffic};
use keywheel_tests::{Operator, Stack, StackOptions};
use keywheel_token::KeyText;
use keywheel_wire::text::moment;
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CLIENTS: u32 = 20;
const EDGES: usize = 3;
/// Each client asks this often: 20 clients make 1,250 verifications a second.
const PAUSE: Duration = Duration::from_millis(16);
/// Verifications a second that must be reached for the whole time.
const RATE_MIN: f64 = 1000.0;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (binary, home) = arguments.next().zip(arguments.next()).context("usage: quickstart KEYWHEEL HOME")?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(show(StackOptions {
        binary,
        home,
        edges: EDGES,
        lease: "2s",
        replicas: 1,
        cluster: 1,
        restart: true,
        lossy_bus: None,
        words: Vec::new(),
    }))
}

async fn show(options: StackOptions) -> anyhow::Result<()> {
    let began = Instant::now();
    println!("Starting nats-server, four services and {EDGES} edges …");
    let stack = tokio::task::block_in_place(|| Stack::start(&options))?;
    println!("Ready after {:.1} s: {}", began.elapsed().as_secs_f64(), stack.context.nats_url);
    let operator = Arc::new(Operator::connect(&stack.context).await?);
    let edges: Vec<String> = stack.context.edges.iter().map(|edge| edge.http.clone()).collect();

    let tenant = Address::Tenant(Tenant::parse("demo")?);
    println!("Policy of tenant demo: overlap at least 2 s, quiet for 4 s, deadline in 30 d (hold)");
    operator.policy(&tenant, json!({ "overlap_min": "2s", "quiet": "4s", "overlap_max": "30d" })).await?;
    let clients = issue_all(&operator).await?;
    println!("Issued {CLIENTS} keys; each was handed out when all {EDGES} edges could verify it");

    let holders = clients.iter().map(|client| (client.keyring.to_string(), Arc::clone(&client.holder)));
    let running = Traffic::start(holders.collect(), &edges, PAUSE);
    let under_traffic = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("Rotating all {CLIENTS} keys under traffic …");
    let rotated = rotate_all(&operator, &clients).await?;
    println!("{rotated} clients have swapped to their new key; waiting until every old one is quiet");
    let retired = await_retired(&operator, &clients).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seconds = under_traffic.elapsed().as_secs_f64();
    let tally = running.stop().await;
    let late = accepted_late(&clients, &edges).await?;

    let story = clients.first().context("a client")?;
    tell(&operator, &story.keyring).await?;
    let accepted = tally.accepted.load(Ordering::Relaxed);
    let refused = tally.refused.load(Ordering::Relaxed);
    let unavailable = tally.unavailable.load(Ordering::Relaxed);
    let verifications = accepted + refused + unavailable;
    let rate = verifications as f64 / seconds;
    println!(
        "\n{rate:.0} verifications a second for {seconds:.0} s over {EDGES} edges; unanswered: {unavailable}; retired keys accepted: {late}"
    );
    for complaint in tally.complaints.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.iter() {
        println!("REFUSED {complaint}");
    }
    tokio::task::block_in_place(|| stack.stop())?;
    println!("verifications={verifications} refused={refused} rotations={rotated} retired={retired}");
    ensure!(refused == 0 && unavailable == 0, "a valid key was not accepted");
    ensure!(late == 0, "a retired key was accepted");
    ensure!(rate >= RATE_MIN, "only {rate:.0} verifications a second");
    Ok(())
}

struct Client {
    keyring: KeyringId,
    first: Arc<KeyText>,
    holder: Holder,
}

async fn issue_all(operator: &Arc<Operator>) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::new();
    for n in 1..=CLIENTS {
        let keyring = KeyringId::parse(&format!("demo/client-{n:02}"))?;
        let (_, key) = operator.issue(&keyring).await?;
        let first = Arc::new(key);
        clients.push(Client { keyring, holder: Arc::new(Mutex::new(Arc::clone(&first))), first });
    }
    Ok(clients)
}

/// Rotates every client at once; each swaps when its sealed key arrives, a little later than that.
async fn rotate_all(operator: &Arc<Operator>, clients: &[Client]) -> anyhow::Result<usize> {
    let mut tasks = tokio::task::JoinSet::new();
    for (n, client) in clients.iter().enumerate() {
        let (operator, keyring, holder) =
            (Arc::clone(operator), client.keyring.clone(), Arc::clone(&client.holder));
        tasks.spawn(async move {
            let version = operator.rotate(&keyring).await?;
            let key = operator.delivered(&keyring, version).await?;
            tokio::time::sleep(Duration::from_millis(100 * n as u64)).await;
            traffic::swap(&holder, key);
            anyhow::Ok(())
        });
    }
    let mut swapped = 0;
    while let Some(done) = tasks.join_next().await {
        done??;
        swapped += 1;
    }
    Ok(swapped)
}

async fn await_retired(operator: &Operator, clients: &[Client]) -> anyhow::Result<usize> {
    let quietly = |state: &State| {
        let old = state.keys.get(&Version(1)).map(|key| &key.state);
        matches!(old, Some(KeyState::Retired { cause: Cause::Superseded, .. }))
    };
    for client in clients {
        operator.until(&client.keyring, "retired by quiet proof", quietly).await?;
    }
    Ok(clients.len())
}

/// How many of the old keys some edge still accepts; probes do not count as use.
async fn accepted_late(clients: &[Client], edges: &[String]) -> anyhow::Result<usize> {
    let http = reqwest::Client::new();
    let mut late = 0;
    for client in clients {
        for edge in edges {
            late += usize::from(traffic::ask(&http, edge, client.first.expose(), true).await?.valid);
        }
    }
    Ok(late)
}

async fn tell(operator: &Operator, keyring: &KeyringId) -> anyhow::Result<()> {
    let (_, events) = operator.history(&Address::Keyring(keyring.clone())).await?;
    println!("\nThe log of {keyring}:");
    for Recorded { seq, event } in &events {
        println!("  {}  #{seq:<4} {}", moment(event.at), words(event));
    }
    Ok(())
}

fn words(event: &Event) -> String {
    match &event.fact {
        Fact::KeyIssued(issued) => {
            format!("KeyIssued     {} ({}), sealed and staged", issued.version, issued.kid)
        }
        Fact::KeyActivated(activated) => {
            let over = activated.barrier.passed_over.iter().map(|over| match over.basis {
                OverBasis::Silent => format!(", {} silent", over.edge),
                OverBasis::LeaseWaited => format!(", {} waited out", over.edge),
            });
            format!(
                "KeyActivated  {}: applied past #{} on {} of {} edges{}",
                activated.version,
                activated.barrier.position,
                activated.barrier.edges.len(),
                activated.barrier.edges.len() + activated.barrier.passed_over.len(),
                over.collect::<String>()
            )
        }
        Fact::KeySeen(used) => match &used.seen.quiet {
            None => format!("KeySeen       {} in use, {} times so far", used.version, used.seen.uses),
            Some(proof) => {
                let reported = proof.edges.iter().filter(|edge| edge.basis == CoverBasis::Reported).count();
                format!(
                    "KeySeen       {} unused from {} to {}, as {reported} of {} edges report",
                    used.version,
                    moment(proof.from),
                    moment(proof.complete_through),
                    proof.edges.len()
                )
            }
        },
        Fact::KeyRetired(ended) => match ended.evidence {
            Some(Evidence::Quiet { successor, .. }) => {
                format!("KeyRetired    {}: quiet, and {successor} is in use", ended.version)
            }
            Some(Evidence::Deadline { .. } | Evidence::Expired { .. }) | None => {
                format!("KeyRetired    {}: {:?}", ended.version, ended.cause)
            }
        },
        Fact::RolledBack(_)
        | Fact::PolicySet(_)
        | Fact::EdgeAdded(_)
        | Fact::EdgeRemoved(_)
        | Fact::SignerAdded(_)
        | Fact::SignerWithdrawn(_) => {
            format!("{:?}", event.fact.kind())
        }
    }
}
