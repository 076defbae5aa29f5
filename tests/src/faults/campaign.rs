//! A campaign from its beginning to its end.

use super::check::{self, Report};
use super::clients::{client, prober};
use super::fleet::Fleet;
use super::ledger::{self, Entry, Ledger};
use super::operator::{Open, Operator as Operating};
use super::plan;
use super::rest;
use super::ring::Ring;
use super::scene::{Part, Scene};
use super::settings::{QUIET, STALE_MAX, Settings};
use super::summary::Summary;
use super::watch::{Watched, watch};
use super::{leaks, nemesis};
use crate::Operator;
use crate::hostile::chance::Chance;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};

const PROBERS: usize = 2;

/// What came of it.
pub struct Verdict {
    /// The figures.
    pub summary: Summary,
    /// What the judge says.
    pub report: Report,
    /// What may not have happened besides: no rest in time, a process that ended by itself.
    pub besides: Vec<String>,
}

impl Verdict {
    /// Whether no promise was broken.
    pub fn is_clean(&self) -> bool {
        self.besides.is_empty() && self.report.is_clean()
    }
}

/// Runs one.
///
/// # Errors
/// When the harness itself cannot do its work: nothing is proven then.
pub async fn run(settings: &Settings, say: impl Fn(&str)) -> anyhow::Result<Verdict> {
    say("making the installation");
    let fleet = Arc::new(Fleet::start(settings).await?);
    let (kinds, skipped) = fleet.kinds();
    let plan = plan::plan(settings.seed, settings.length, &fleet.targets(), &kinds);
    for fault in &plan {
        say(&fault.to_string());
    }
    let bus = Operator::connect(&fleet.context).await?.bus;
    let rings = settings.rings().map(|(id, _)| Arc::new(Ring::new(id))).collect();
    let ledger = Ledger::create(&settings.ledger)?;
    let scene = Arc::new(Scene::new(ledger, rings, fleet.context.edges.clone(), bus)?);
    scene.write(&began(settings, &scene));
    let mut chance = Chance::new(settings.seed);
    let watched = Arc::new(Watched::default());
    let operating = Operating {
        scene: Arc::clone(&scene),
        watched: Arc::clone(&watched),
        bus: Operator::connect(&fleet.context_of_operator()).await?.bus,
        open: Arc::new(Open::default()),
    };
    let mut everybody = everybody(&scene, &watched, &mut chance);
    say(&format!("issuing {} keys", scene.rings.len()));
    operating.issue_all().await;
    let open = Arc::clone(&operating.open);
    let work: JoinHandle<()> = tokio::spawn(operating.work(chance.branch()));

    say(&format!("{} faults in {:.0?}", plan.len(), settings.length));
    nemesis::attack(Arc::clone(&scene), Arc::clone(&fleet), plan).await?;
    say("all is healed; waiting until everything has come to rest");
    scene.end(Part::Operator);
    let at_rest = rest::await_rest(&scene, &fleet, &open).await;
    scene.end(Part::Everybody);
    while let Some(ended) = everybody.join_next().await {
        ended?;
    }
    work.abort();
    let folder = settings.ledger.with_extension("fold");
    std::fs::create_dir_all(&folder)?;
    rest::write_down(&scene, &fleet, &folder).await?;
    std::fs::remove_dir_all(&folder)?;
    fleet.stop().await;
    let (keys, bytes) = leaks::search(&scene, &settings.home)?;
    say(&format!("looked for {keys} keys in {} MB of files", bytes / 1_000_000));
    scene.write(&Entry::Ended { at: scene.moments.now() });
    scene.ledger.flush()?;
    let mut besides: Vec<String> = at_rest.err().map(|error| error.to_string()).into_iter().collect();
    besides.extend(crashes(&fleet));
    let entries = ledger::read(&settings.ledger)?;
    let summary =
        Summary { skipped: skipped.iter().map(|kind| kind.word()).collect(), ..Summary::of(&entries) };
    Ok(Verdict { summary, report: check::judge(&entries), besides })
}

fn began(settings: &Settings, scene: &Scene) -> Entry {
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    Entry::Began {
        seed: settings.seed,
        lease: micros(settings.lease().0),
        stale_max: micros(STALE_MAX),
        quiet: micros(QUIET),
        edges: scene.edges.iter().map(|edge| edge.id.clone()).collect(),
        keyrings: settings.rings().map(|(id, is_strict)| (id.to_string(), is_strict)).collect(),
    }
}

/// Clients, probers, whoever watches the bus, and the clock's reader.
fn everybody(scene: &Arc<Scene>, watched: &Arc<Watched>, chance: &mut Chance) -> JoinSet<()> {
    let mut everybody = JoinSet::new();
    for ring in &scene.rings {
        everybody.spawn(client(Arc::clone(scene), Arc::clone(ring), chance.branch()));
    }
    for _ in 0..PROBERS {
        everybody.spawn(prober(Arc::clone(scene), chance.branch()));
    }
    everybody.spawn(watch(Arc::clone(scene), Arc::clone(watched)));
    everybody.spawn(read_clock(Arc::clone(scene)));
    everybody
}

async fn read_clock(scene: Arc<Scene>) {
    while !scene.is_over(Part::Everybody) {
        scene.write(&scene.moments.clock());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Processes that ended although nobody had asked them to.
fn crashes(fleet: &Fleet) -> Vec<String> {
    let each = fleet.processes().flat_map(|process| {
        let name = process.recipe.name.clone();
        process.unasked_ends().into_iter().map(move |status| format!("{name} ended by itself: {status}"))
    });
    each.collect()
}
