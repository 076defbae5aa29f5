//! Putting a copy back at the bus: resumed where it was left, checked as it stands there, then made the log.

use super::source::{Seen, Source, pages_after};
use crate::failure::{Failure, say};
use crate::installation;
use crate::monitor::Monitor;
use crate::permissions::Role;
use crate::place::Place;
use anyhow::Result;
use futures_util::StreamExt as _;
use indicatif::ProgressBar;
use keywheel_audit::inspect::Witness;
use keywheel_bus::batch::BATCH_MAX;
use keywheel_bus::restore::Standing;
use keywheel_bus::{Bus, topology};
use keywheel_domain::At;
use keywheel_runtime::clock;
use keywheel_table::Record;
use keywheel_wire::chain::Chain;
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::Signers;
use keywheel_wire::successor::Successor;
use keywheel_wire::text::{Hex32, Id, Moment, hex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long pulses are listened to: an edge gives one a second.
const LISTEN: Duration = Duration::from_millis(2500);
/// How often in a row nothing may be added.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);
/// How long the servers of a cluster may have no leader.
const ELECTION: Duration = Duration::from_secs(30);

/// What was done.
pub(super) struct Rebuilt {
    /// Messages that were put back by this run.
    pub put_back: u64,
}

/// What edges and signed heads say that they have seen of the log. None where nobody can be heard.
pub(super) async fn witnesses(place: &Place, signers: &Arc<Signers>) -> Vec<Seen> {
    let mut seen = asked(place).await.unwrap_or_default();
    let server = &place.settings.server;
    let operator = installation::connect_believing(
        &place.home,
        server,
        place.operator.clone(),
        &Role::Operator,
        Arc::clone(signers),
    );
    let Ok(operator) = operator.await else { return seen };
    seen.extend(pulses(&operator).await);
    seen.extend(heads(&operator, signers).await);
    operator.close().await;
    seen
}

/// The edges that can be asked over HTTP: where nothing takes pulses, hardly any are sent.
async fn asked(place: &Place) -> Result<Vec<Seen>> {
    let monitor = Monitor::new()?;
    let ours = place.fleet()?.edges.into_iter().map(|edge| (edge.id.clone(), edge.url()));
    let urls: BTreeMap<_, _> = ours.chain(place.edges()?).collect();
    let mut seen = Vec::new();
    for (id, url) in urls {
        if let Ok((seq, chain)) = monitor.position(&url).await {
            seen.push((Witness { who: format!("edge {id}"), seq, chain: Chain(chain) }, None));
        }
    }
    Ok(seen)
}

async fn pulses(operator: &Bus) -> Vec<Seen> {
    let Ok(mut pulses) = operator.pulses().await else { return Vec::new() };
    let mut newest = BTreeMap::new();
    let listening = async {
        while let Some(pulse) = pulses.next().await {
            newest.extend(pulse.ok().map(|pulse| (pulse.id.clone(), pulse)));
        }
    };
    // Pulses never end by themselves.
    drop(tokio::time::timeout(LISTEN, listening).await);
    let witness = |(id, pulse): (String, keywheel_wire::pulse::Pulse)| {
        let chain = Chain(pulse.chain.0);
        (Witness { who: format!("edge {id}"), seq: pulse.watermark, chain }, None)
    };
    newest.into_iter().map(witness).collect()
}

/// Those that are still there: the notices may have been lost with the log.
async fn heads(operator: &Bus, signers: &Signers) -> Vec<Seen> {
    let (mut seen, mut from) = (Vec::new(), 1);
    while let Ok(page) = operator.notice_page("head", from).await {
        let Some(last) = page.last() else { break };
        from = last.seq + 1;
        let heads = page.iter().filter_map(|message| Witness::head(signers, message).ok());
        seen.extend(heads.map(|(witness, created)| (witness, Some(created))));
    }
    seen
}

/// Puts the copy back, unless it is there.
pub(super) async fn rebuild(
    admin: &Bus,
    place: &Place,
    source: &Source,
    signer: &Signer,
    replicas: usize,
    bar: &ProgressBar,
) -> Result<Rebuilt> {
    let (last, chain) = (source.inspection.last, source.inspection.chain.unwrap_or_default());
    let copy = format!("{last}:{}", hex(&chain.0));
    let begun = match settled_standing(admin).await? {
        Standing::Restored(_) | Standing::Log(_) => {
            let stands = admin.head().await?.seq;
            if stands < last || admin.restored_chain(last, |_| ()).await? != chain {
                return Err(in_the_way(stands).into());
            }
            lay_out(admin, place, source, replicas).await?;
            return Ok(Rebuilt { put_back: 0 });
        }
        Standing::Unfinished(name, begun) if name == copy => begun,
        Standing::Nothing | Standing::Empty | Standing::Unfinished(..) => {
            admin.begin_restoring(replicas, &copy).await?;
            0
        }
    };
    bar.set_message("putting back");
    bar.set_length(last);
    bar.set_position(begun);
    put_back(admin, source, begun, bar)?;
    bar.set_message("checking what stands there");
    let stands = admin.restored_chain(last, |at| bar.set_position(at)).await?;
    if stands != chain {
        let detail = "what stands at the bus now is not what the copy has; run it again, and it starts over";
        admin.begin_restoring(replicas, "unusable").await?;
        return Err(Failure::refused("not_restored", detail).into());
    }
    lay_out(admin, place, source, replicas).await?;
    let state = |stream_created: At| Successor {
        installation: Id(admin.signers().installation().0),
        log_created: Moment(source.log_created),
        stream_created: Moment(stream_created),
        seq: last,
        chain: Hex32(chain.0),
        at: Moment(At(clock::wall_ms())),
    };
    admin.finish_restoring(replicas, signer, state).await?;
    Ok(Rebuilt { put_back: last - begun })
}

/// Servers that have just come back with nothing do not answer before they have agreed on a leader.
async fn settled_standing(admin: &Bus) -> Result<Standing> {
    let began = Instant::now();
    loop {
        match admin.log_standing().await {
            Err(error) if began.elapsed() < ELECTION => {
                say(&format!("{error}; asking again"));
                tokio::time::sleep(PAUSE).await;
            }
            asked => return Ok(asked?),
        }
    }
}

fn in_the_way(last: u64) -> Failure {
    let detail = format!(
        "there is a log, up to {last}, which is not what the copy has, and it is left as it is; `keywheel audit verify` says whether it is whole. One \
         that is to be replaced is taken away first by whoever administers the server: nats stream rm KW_EVENTS"
    );
    Failure::refused("log_exists", detail)
}

/// Every other stream, and every durable, also those that are to read the log when it is back.
async fn lay_out(admin: &Bus, place: &Place, source: &Source, replicas: usize) -> Result<()> {
    topology::ensure(admin, replicas, place.settings.instances).await?;
    let fleet = place.fleet()?;
    for edge in fleet.ids().chain(&source.edges) {
        topology::ensure_edge(admin, edge).await?;
    }
    Ok(())
}

fn put_back(admin: &Bus, source: &Source, begun: u64, bar: &ProgressBar) -> Result<()> {
    tokio::task::block_in_place(|| {
        let mut at = begun;
        pages_after(&source.path, begun, |page| {
            // An edge that runs may have added to its copy since it was checked.
            let page: Vec<Record> =
                page.into_iter().filter(|record| record.message.seq <= source.inspection.last).collect();
            for batch in page.chunks(BATCH_MAX) {
                at = Handle::current().block_on(put_batch(admin, batch, at))?;
                bar.set_position(at);
            }
            Ok(())
        })
    })
}

/// Until all of the batch is there; gives the last position.
async fn put_batch(admin: &Bus, batch: &[Record], mut at: u64) -> Result<u64> {
    let (mut idle, signers) = (0, admin.signers());
    loop {
        let rest = batch.partition_point(|record| record.message.seq <= at);
        let Some(first) = batch.get(rest) else { return Ok(at) };
        let put = admin.put_back(&batch[rest..], &signers).await;
        let is_added = put.as_ref().is_ok_and(|last| *last > at);
        at = put.as_ref().copied().unwrap_or(at);
        idle = if is_added { 0 } else { idle + 1 };
        if idle == ATTEMPTS {
            let why =
                put.err().map_or_else(|| "the bus does not store it".to_owned(), |error| error.to_string());
            let detail =
                format!("putting back {}: {why}; run it again, and it goes on there", first.message.seq);
            return Err(Failure::unreachable(detail).into());
        }
        if idle > 0 {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
