//! What must hold after a cut, looked at in three steps: each edge alone, the bus alone, then all together.
//!
//! Each step says what it found to be lost; the mutants must make it say something.

use crate::machine::Machine;
use crate::record::{Held, Sent, Told};
use keywheel_bus::BusError;
use keywheel_domain::event::{CommandId, Event};
use keywheel_domain::{Address, EdgeId};
use keywheel_table::{Fold, Message, Options};
use keywheel_tests::Operator;
use keywheel_tests::traffic::ask;
use keywheel_wire::notice::Notice;
use keywheel_wire::outcome::Word;
use keywheel_wire::text::hex;
use reqwest::Client;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long an edge may take to open what its disk kept.
const OPENING: Duration = Duration::from_secs(20);

/// Where an edge says it stands; none while it does not answer.
async fn info(http: &Client, edge: &str) -> Option<Value> {
    http.get(format!("{edge}/v1/info")).send().await.ok()?.json().await.ok()
}

async fn says(http: &Client, edge: &str, key: &Held) -> String {
    match ask(http, edge, key.text.expose(), true).await {
        Ok(answer) if answer.valid => "accepted".to_owned(),
        Ok(answer) => answer.code.unwrap_or_default(),
        Err(error) => error.to_string(),
    }
}

fn watermark(info: &Value) -> u64 {
    info["watermark"].as_u64().unwrap_or(0)
}

/// Each edge from its own disk, with no bus: it has what it said that it has, and answers accordingly.
pub async fn edges_alone(machine: &Machine, told: &Told) -> anyhow::Result<Vec<String>> {
    let http = Client::new();
    let mut lost = Vec::new();
    for edge in machine.edges() {
        let _process = machine.edge_alone(&edge)?;
        let at = machine.http(&edge)?;
        let said = told.pulses.get(&edge).map_or(0, |pulse| pulse.watermark);
        let began = Instant::now();
        let opened = loop {
            let opened = info(&http, at).await;
            if opened.as_ref().is_some_and(|info| info["serving"] == true) || began.elapsed() > OPENING {
                break opened.unwrap_or_default();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        if watermark(&opened) < said {
            lost.push(format!("edge {edge} had acknowledged {said} and stands at {}", watermark(&opened)));
        }
        lost.extend(keys_at(&http, machine, &edge, "alone", told).await?);
    }
    Ok(lost)
}

/// No key that is revoked with a receipt is accepted, no key refused that its owner holds.
async fn keys_at(
    http: &Client,
    machine: &Machine,
    edge: &str,
    how: &str,
    told: &Told,
) -> anyhow::Result<Vec<String>> {
    let (mut lost, at) = (Vec::new(), machine.http(edge)?);
    for (key, receipt) in told.revoked() {
        let answer = says(http, at, key).await;
        if answer != "revoked" && receipt.applied_on.iter().any(|name| name == edge) {
            lost.push(format!(
                "edge {edge} {how} says of {} {}: {answer}, not revoked",
                key.ring, key.version
            ));
        }
    }
    for key in told.newest() {
        let answer = says(http, at, key).await;
        if answer != "accepted" {
            lost.push(format!(
                "edge {edge} {how} says of {} {}: {answer}, not accepted",
                key.ring, key.version
            ));
        }
    }
    Ok(lost)
}

/// The bus from its disk, before anybody writes to it: it has all that anybody was told.
pub async fn bus_alone(
    machine: &Machine,
    told: &Told,
    before: &mut Vec<Message>,
) -> anyhow::Result<Vec<String>> {
    let _process = machine.bus_alone()?;
    let began = Instant::now();
    let operator = loop {
        match Operator::connect(&machine.context_of("admin")).await {
            Ok(operator) => break operator,
            Err(error) => anyhow::ensure!(began.elapsed() < PATIENCE, "the bus is not there: {error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let (asked, stands) = (Instant::now(), async || operator.bus.head().await.map(|head| head.seq));
    // It listens before it has read its streams.
    let mut head = stands().await;
    while head.is_err() && asked.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        head = stands().await;
    }
    let head = match head {
        Ok(head) => head,
        Err(error) => return Ok(vec![format!("the log is gone: {error}")]),
    };
    let log = read_log(&operator).await?;
    let mut lost = Vec::new();
    if log.last().map_or(0, |message| message.seq) != head || log.len() as u64 != head {
        lost.push(format!("the log says {head} and gives {} messages", log.len()));
    }
    let differs = |(then, now): &(&Message, &Message)| {
        (then.seq, &then.subject, &then.payload) != (now.seq, &now.subject, &now.payload)
    };
    if let Some(other) = before.iter().zip(&log).find(differs) {
        lost.push(format!("the log has another message at {} than before", other.0.seq));
    }
    let events = by_command(&log, &operator);
    for sent in &told.commands {
        lost.extend(answered(&operator, sent, &events).await?);
    }
    for key in &told.keys {
        if operator.bus.delivery(&key.ring, key.version).await?.is_none() {
            lost.push(format!("the delivery of {} {} is gone", key.ring, key.version));
        }
    }
    for (key, receipt) in told.revoked() {
        let kept = operator.bus.notices(&Address::Keyring(key.ring.clone()), "receipt").await?;
        if !kept.into_iter().any(|(notice, _)| notice == Notice::Receipt(receipt.clone())) {
            lost.push(format!("the receipt of {} {} is gone", key.ring, key.version));
        }
    }
    lost.extend(pulses(&operator, told).await?);
    *before = log;
    Ok(lost)
}

/// An outcome that was read is there word for word, and so is its event.
async fn answered(
    operator: &Operator,
    sent: &Sent,
    events: &BTreeMap<u128, Vec<(u64, Event)>>,
) -> Result<Vec<String>, BusError> {
    let mut lost = Vec::new();
    let Some(outcome) = &sent.outcome else { return Ok(lost) };
    let what = format!("{} of {}", sent.verb.word(), sent.ring);
    if operator.bus.outcome(CommandId(sent.id)).await?.as_ref() != Some(outcome) {
        lost.push(format!("the outcome of {what} is gone"));
    }
    if let Some(event) = outcome.event.as_ref().filter(|_| outcome.outcome == Word::Accepted) {
        let mut made = events.get(&sent.id).into_iter().flatten();
        if !made.any(|(seq, made)| *seq == event.seq && made.id.0 == event.id.0) {
            lost.push(format!("the event of {what} at {} is gone", event.seq));
        }
    }
    Ok(lost)
}

/// A pulse was published after the one before it was acknowledged.
async fn pulses(operator: &Operator, told: &Told) -> anyhow::Result<Vec<String>> {
    let mut lost = Vec::new();
    for (edge, heard) in &told.pulses {
        let id = EdgeId::parse(edge).map_err(anyhow::Error::msg)?;
        let kept = operator.bus.last_pulse(&id).await?.map(|stored| stored.pulse);
        if !kept.as_ref().is_some_and(|kept| kept.boot == heard.boot && kept.number + 1 >= heard.number) {
            let number = kept.map(|kept| kept.number);
            lost.push(format!("edge {edge} had pulsed {}, kept is {number:?}", heard.number));
        }
    }
    Ok(lost)
}

async fn read_log(operator: &Operator) -> anyhow::Result<Vec<Message>> {
    let mut log: Vec<Message> = Vec::new();
    loop {
        let page = operator.bus.page(log.last().map_or(1, |last| last.seq + 1), None).await?;
        if page.is_empty() {
            return Ok(log);
        }
        log.extend(page);
    }
}

/// The believed events of each command.
fn by_command(log: &[Message], operator: &Operator) -> BTreeMap<u128, Vec<(u64, Event)>> {
    let mut events: BTreeMap<u128, Vec<(u64, Event)>> = BTreeMap::new();
    for message in log {
        let signed = message.signed.as_ref();
        let believed = keywheel_wire::belief::event(
            &operator.bus.signers(),
            message.seq,
            &message.subject,
            &message.payload,
            signed,
        );
        if let Ok(read) = believed {
            events.entry(read.event.command.0).or_default().push((message.seq, read.event));
        }
    }
    events
}

/// All together again: every edge answers as it must, and has the table that the log makes.
pub async fn together(machine: &Machine, operator: &Operator, told: &Told) -> anyhow::Result<Vec<String>> {
    let (http, mut lost) = (Client::new(), Vec::new());
    for edge in machine.edges() {
        lost.extend(keys_at(&http, machine, &edge, "with the bus", told).await?);
    }
    lost.extend(tables(machine, operator, &http).await?);
    let alarms = operator.bus.notices(&Address::Installation, "alarm").await?;
    lost.extend(alarms.into_iter().map(|(alarm, _)| format!("{alarm:?}")));
    Ok(lost)
}

/// After all cuts: what was acknowledged is done, once. A command that a service had in hand when the power went is
/// given to it again only after half a minute, so this is asked once, at the end.
pub async fn commands(operator: &Operator, told: &mut Told) -> anyhow::Result<Vec<String>> {
    let mut lost = Vec::new();
    for sent in told.commands.iter_mut().filter(|sent| sent.outcome.is_none()) {
        if !sent.acknowledged {
            // Whoever was not answered sends it again.
            let address = Address::Keyring(sent.ring.clone());
            operator.bus.send_command(&address, sent.verb, &sent.document).await?;
        }
        sent.outcome = operator.bus.await_outcome(CommandId(sent.id), PATIENCE).await?;
        if sent.outcome.is_none() {
            lost.push(format!("{} of {} was acknowledged and has no outcome", sent.verb.word(), sent.ring));
        }
    }
    let log = read_log(operator).await?;
    let events = by_command(&log, operator);
    for sent in &told.commands {
        let made = events.get(&sent.id).map_or(0, Vec::len);
        let accepted = sent.outcome.as_ref().is_some_and(|outcome| outcome.outcome == Word::Accepted);
        if made != usize::from(accepted) {
            lost.push(format!("{} of {} has {made} events", sent.verb.word(), sent.ring));
        }
    }
    Ok(lost)
}

/// Every edge stands where the log ends, with the digest that a replay of our own makes of it.
async fn tables(machine: &Machine, operator: &Operator, http: &Client) -> anyhow::Result<Vec<String>> {
    let began = Instant::now();
    loop {
        let log = read_log(operator).await?;
        let options = Options { commands: false, pending: |_| false, doubts: false };
        let mut fold = Fold::open(Path::new(":memory:"), options, operator.bus.signers())?;
        let applied = fold.apply(&log, &[])?;
        let wanted = (fold.head().watermark, hex(&fold.head().chain.0), hex(&fold.head().digest));
        let mut differ: Vec<_> =
            applied.alarms.iter().map(|(seq, why)| format!("not believed at {seq}: {why}")).collect();
        for edge in machine.edges() {
            let info = info(http, machine.http(&edge)?).await.unwrap_or_default();
            let field = |name: &str| info[name].as_str().unwrap_or_default().to_owned();
            let stands = (watermark(&info), field("chain"), field("digest"));
            if stands != wanted {
                differ.push(format!("edge {edge} stands at {stands:?}, the log makes {wanted:?}"));
            }
        }
        if differ.is_empty() || began.elapsed() > PATIENCE {
            return Ok(differ);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
