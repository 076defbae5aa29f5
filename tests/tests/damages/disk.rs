//! What happens to the files of the log: a bit turns, an end is missing.

use crate::case::{Case, cases};
use keywheel_tests::hostile::chance::Chance;
use std::path::PathBuf;

/// The file that holds the log's messages: there is one, as long as there are few.
fn block(case: &Case) -> PathBuf {
    let folder = case.store().join("jetstream/$G/streams/KW_EVENTS/msgs");
    let blocks = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut blocks: Vec<PathBuf> =
        blocks.filter(|path| path.extension().is_some_and(|end| end == "blk")).collect();
    assert_eq!(blocks.len(), 1, "{blocks:?}");
    blocks.remove(0)
}

fn flip(case: &Case, chance: &mut Chance) -> String {
    let path = block(case);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = chance.index(bytes.len());
    let bit = chance.index(8);
    bytes[at] ^= 1 << bit;
    std::fs::write(&path, &bytes).unwrap();
    format!("bit {bit} of byte {at} of {} turned", bytes.len())
}

/// Everybody who can know refuses: who had applied more than the server still says that it has, who begins now, and the
/// auditor. What the server gives its readers no more does not change what one has applied before.
async fn is_found(mut case: Case, what: &str) {
    if !case.is_whole().await {
        case.is_refused(what, &[]).await;
        let late = case.write_on(2).await;
        case.is_refused_still(what, &late).await;
    }
    case.is_named(what, &["gap", "cut_off", "not_believed", "contradicted"]).await;
    case.a_new_edge_refuses(what).await;
}

async fn turned_after_a_crash(mut case: Case, mut chance: Chance) {
    case.server.kill();
    let what = flip(&case, &mut chance);
    case.restart_server().await;
    is_found(case, &what).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_turned_after_the_server_crashed() {
    cases(turned_after_a_crash).await;
}

async fn turned_after_a_good_end(mut case: Case, mut chance: Chance) {
    case.stop_server().await;
    let what = flip(&case, &mut chance);
    case.restart_server().await;
    is_found(case, &what).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_turned_after_the_server_ended_well() {
    cases(turned_after_a_good_end).await;
}

/// The server may still have it in memory; it does not once it was started again.
async fn turned_under_way(mut case: Case, mut chance: Chance) {
    let what = flip(&case, &mut chance);
    let late = case.write_on(2).await;
    case.is_followed(&what, &late).await;
    case.stop_server().await;
    case.restart_server().await;
    is_found(case, &what).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_turned_while_the_server_ran() {
    cases(turned_under_way).await;
}

async fn cut_short(mut case: Case, mut chance: Chance) {
    if chance.percent(50) {
        case.server.kill();
    } else {
        case.stop_server().await;
    }
    let path = block(&case);
    let length = std::fs::metadata(&path).unwrap().len();
    let kept = chance.within(0, length);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(kept).unwrap();
    case.restart_server().await;
    is_found(case, &format!("cut to {kept} of {length} bytes")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_lost_its_end() {
    cases(cut_short).await;
}
