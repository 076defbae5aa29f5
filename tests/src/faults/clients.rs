//! Clients that behave like real ones: the newest key they were delivered, every edge in turn, one other try on a 401.

use super::ledger::{Answer, Why};
use super::ring::Ring;
use super::scene::{Part, Question, Scene};
use crate::hostile::chance::Chance;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Each client shows its key this often: 56 clients make 280 requests a second.
const BEAT: Duration = Duration::from_millis(200);
/// Requests that one client has under way at most.
const UNDER_WAY: usize = 8;
/// How many of a hundred superseded keys are used on by somebody.
const STRAGGLERS: u64 = 30;
const STRAGGLES_MS: (u64, u64) = (500, 9000);
const STRAGGLER_BEAT: Duration = Duration::from_millis(300);

/// One client, until the campaign ends.
pub async fn client(scene: Arc<Scene>, ring: Arc<Ring>, mut chance: Chance) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut tasks, mut stragglers) = (JoinSet::new(), JoinSet::new());
    let mut turn = chance.index(scene.edges.len());
    while !scene.is_over(Part::Everybody) {
        beat.tick().await;
        while tasks.try_join_next().is_some() {}
        if let Some(old) = look_for_newer(&scene, &ring).await
            && chance.percent(STRAGGLERS)
        {
            let lasts = Duration::from_millis(chance.within(STRAGGLES_MS.0, STRAGGLES_MS.1));
            stragglers.spawn(straggle(Arc::clone(&scene), Arc::clone(&ring), old, lasts, chance.branch()));
        }
        let Some(version) = ring.book().current else { continue };
        turn = (turn + 1) % scene.edges.len();
        if tasks.len() < UNDER_WAY {
            tasks.spawn(ask(Arc::clone(&scene), Arc::clone(&ring), version, turn));
        }
    }
    while tasks.join_next().await.is_some() {}
    while stragglers.join_next().await.is_some() {}
}

/// Opens what was delivered since and swaps to the newest; gives the version that was shown before.
async fn look_for_newer(scene: &Scene, ring: &Ring) -> Option<u32> {
    let awaited = ring.book().awaited();
    let mut newest = None;
    for version in awaited {
        if scene.fetch(ring, version).await {
            newest = Some(version);
        }
    }
    let mut book = ring.book();
    let (newest, shown) = (newest?, book.current);
    if shown.is_some_and(|shown| shown >= newest) {
        return None;
    }
    book.current = Some(newest);
    shown
}

/// One request, and on a definite no one other try: with what was delivered meanwhile, else with the key before.
async fn ask(scene: Arc<Scene>, ring: Arc<Ring>, version: u32, turn: usize) {
    let edge = &scene.edges[turn];
    let question = |version, why| Question { ring: &ring, version, edge, why };
    let Answer::Refused(_) = scene.show(question(version, Why::Newest)).await else { return };
    look_for_newer(&scene, &ring).await;
    let other = {
        let book = ring.book();
        book.current.filter(|current| *current > version).or_else(|| book.before(version))
    };
    let Some(other) = other else { return };
    if let Answer::Accepted(_) = scene.show(question(other, Why::Fallback)).await {
        // It stays with what works.
        let mut book = ring.book();
        if book.current == Some(version) {
            book.current = Some(other);
        }
    }
}

/// Somebody who has not heard of the new key goes on with the old one for a while.
async fn straggle(scene: Arc<Scene>, ring: Arc<Ring>, version: u32, lasts: Duration, mut chance: Chance) {
    let mut beat = tokio::time::interval(STRAGGLER_BEAT);
    let until = tokio::time::Instant::now() + lasts;
    while tokio::time::Instant::now() < until && !scene.is_over(Part::Everybody) {
        beat.tick().await;
        let edge = &scene.edges[chance.index(scene.edges.len())];
        let question = Question { ring: &ring, version, edge, why: Why::Straggler };
        if let Answer::Refused(_) = scene.show(question).await {
            return;
        }
    }
}

/// Shows keys that ended, right after that and later; nobody's use.
pub async fn prober(scene: Arc<Scene>, mut chance: Chance) {
    const BEAT: Duration = Duration::from_millis(20);
    const HOT: Duration = Duration::from_secs(3);
    let mut tasks = JoinSet::new();
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !scene.is_over(Part::Everybody) {
        beat.tick().await;
        while tasks.try_join_next().is_some() {}
        let (mut hot, mut cold) = (Vec::new(), Vec::new());
        for ring in &scene.rings {
            let book = ring.book();
            for (version, since) in &book.ended {
                if book.held.contains_key(version) {
                    let list = if since.elapsed() < HOT { &mut hot } else { &mut cold };
                    list.push((Arc::clone(ring), *version));
                }
            }
        }
        let list = if hot.is_empty() || chance.percent(20) { cold } else { hot };
        let Some((ring, version)) = list.get(chance.index(list.len())).cloned() else { continue };
        let turn = chance.index(scene.edges.len());
        if tasks.len() < 4 * UNDER_WAY {
            let scene = Arc::clone(&scene);
            tasks.spawn(async move {
                let edge = &scene.edges[turn];
                scene.show(Question { ring: &ring, version, edge, why: Why::Probe }).await
            });
        }
    }
    while tasks.join_next().await.is_some() {}
}
