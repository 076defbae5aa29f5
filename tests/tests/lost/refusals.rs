//! Copies that do not become the log, restores that were cut short, and readers that do not go on with less than they
//! know.

use super::{Site, keyring};
use keywheel_audit::line::{Begin, Line};
use keywheel_bus::restore::Standing;
use keywheel_table::Record;
use serde_json::json;
use std::path::Path;

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn records(lines: &[String]) -> Vec<Record> {
    let record = |line: &String| match Line::read(line).unwrap() {
        Line::Message(record) => record,
        Line::Head(_) | Line::End(_) => unreachable!("an edge's copy has messages alone"),
    };
    lines.iter().map(record).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_the_log_is_refused_and_a_restore_that_was_cut_short_goes_on() {
    let Some(site) = Site::open().await else { return };
    site.operator.issue(&keyring("acme/web")).await.unwrap();
    let last = site.head().await;
    site.all_have(last).await;
    let whole = lines(&site.copy_of("e1"));
    assert_eq!(whole.len() as u64, last + 1);
    let restore = |file: &Path, more: &[&str]| {
        let words = [&["restore", "--output", "json", "--from-file", file.to_str().unwrap()], more].concat();
        site.run(&words)
    };
    let refused = |name: &str, lines: &[String]| {
        let file = site.file(name);
        std::fs::write(&file, lines.join("\n") + "\n").unwrap();
        let (code, told) = restore(&file, &[]);
        assert_eq!(code, 1, "{name}: {told}");
        (
            told["error"]["code"].as_str().unwrap().to_owned(),
            told["error"]["detail"].as_str().unwrap().to_owned(),
        )
    };
    // The log is there: nothing is to be done.
    let (code, told) = restore(&site.copy_of("e1"), &[]);
    assert_eq!((code, &told["put_back"]), (0, &json!(0)), "{told}");

    site.lose_the_log();
    let (code, detail) = refused("short", &whole[..whole.len() - 1]);
    assert_eq!(code, "short_copy");
    assert!(detail.contains("edge e1") && detail.contains("edge e2"), "{detail}");
    let without_third = [&whole[..3], &whole[4..]].concat();
    assert_eq!(refused("hole", &without_third).0, "damaged_copy");
    let mut altered = whole.clone();
    altered[3] = altered[3].replace("\"payload\":\"", "\"payload\":\"AAAA");
    assert_eq!(refused("altered", &altered).0, "damaged_copy", "edges saw another");
    assert_eq!(refused("none", &whole[..1]).0, "no_copy");

    // Half of it, and then the process is gone.
    let admin = site.admin().await;
    let begin = Begin::read(&whole[0]).unwrap();
    let records = records(&whole[1..]);
    let (code, told) = restore(&site.copy_of("e1"), &["--dry-run"]);
    assert_eq!(code, 0, "{told}");
    let name = format!("{last}:{}", told["chain"].as_str().unwrap());
    admin.begin_restoring(1, &name).await.unwrap();
    let half = records.len() / 2;
    assert_eq!(admin.put_back(&records[..half], &admin.signers()).await.unwrap(), half as u64);
    assert!(site.operator.bus.head().await.unwrap_err().to_string().contains("being restored"));
    let (code, done) = restore(&site.copy_of("e1"), &[]);
    assert_eq!((code, &done["put_back"]), (0, &json!(records.len() - half)), "{done}");
    let head = site.operator.bus.head().await.unwrap();
    assert_eq!((head.seq >= last, head.created), (true, begin.log_created.unwrap().0));
    let Standing::Restored(statement) = admin.log_standing().await.unwrap() else { panic!("not restored") };
    assert_eq!(statement.seq, last);
    site.await_well();
    admin.close().await;
}

/// What was decided after the copy is lost, and said to be; an edge that knows of it stays with what it knows.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_knows_more_does_not_go_on_with_less() {
    let Some(site) = Site::open().await else { return };
    site.operator.issue(&keyring("acme/web")).await.unwrap();
    let last = site.head().await;
    site.all_have(last).await;
    let whole = lines(&site.copy_of("e1"));
    site.lose_the_log();
    let short = site.file("short.jsonl");
    std::fs::write(&short, whole[..whole.len() - 1].join("\n") + "\n").unwrap();
    let words = ["restore", "--output", "json", "--from-file", short.to_str().unwrap(), "--accept-loss"];
    let (code, done) = site.run(&words);
    assert_eq!((code, &done["last"]), (0, &json!(last - 1)), "{done}");
    assert!(done["lost_after"].as_array().unwrap().iter().any(|lost| lost["seen"] == last), "{done}");
    // What was found too late replaces nothing.
    let (code, told) = site.run(&["restore", "--output", "json", "--from-edge", "e1"]);
    assert_eq!((code, told["error"]["code"].as_str()), (1, Some("log_exists")), "{told}");
    let begun = std::time::Instant::now();
    loop {
        let (code, told) = site.run(&["doctor", "--output", "json"]);
        let findings = told["findings"].as_array().unwrap();
        let stale = |edge: &str| {
            findings
                .iter()
                .any(|found| found["code"] == "edge_unready" && found["about"] == format!("edge {edge}"))
        };
        if code == 1 && stale("e1") && stale("e2") {
            break;
        }
        assert!(begun.elapsed() < keywheel_tests::operator::PATIENCE, "{told:#}");
    }
    site.begin_without("e2", |_| true).await;
    site.has("e1", last).await;
}
