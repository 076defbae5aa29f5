//! The ledger over a channel that loses nothing, doubles and reorders: every use is counted once.

use super::*;
use keywheel_wire::text::Id;
use keywheel_wire::usage::LastReport;
use proptest::prelude::*;

fn memory() -> Ledger {
    Ledger::open(Path::new(":memory:")).unwrap()
}

fn edge() -> EdgeId {
    EdgeId::parse("a").unwrap()
}

fn acme() -> KeyringId {
    KeyringId::parse("acme/api").unwrap()
}

fn uses_of(version: u32, uses: u64) -> VersionUse {
    VersionUse { tenant: "acme".to_owned(), client: "api".to_owned(), version, uses }
}

fn report(boot: u128, number: u64, uses: Vec<VersionUse>) -> Report {
    Report {
        edge: "a".to_owned(),
        boot: Id(boot),
        number,
        continues: None,
        goodbye: false,
        uses,
        refused: vec![],
    }
}

fn take(ledger: &mut Ledger, report: &Report, stored_at: u64) -> BTreeSet<KeyringId> {
    let arrived = Arrived { edge: &edge(), report: Some(report), stored_at: At(stored_at) };
    ledger.take(&[arrived]).unwrap().used
}

fn total(ledger: &mut Ledger) -> Option<Seen> {
    ledger.snapshot([&acme()]).unwrap().uses[&acme()].get(&Version(1)).copied()
}

#[test]
fn a_report_counts_once() {
    let mut ledger = memory();
    let one = report(1, 0, vec![uses_of(1, 3), uses_of(2, 0)]);
    assert_eq!(take(&mut ledger, &one, 10), BTreeSet::from([acme()]));
    assert!(take(&mut ledger, &one, 10).is_empty());
    assert!(take(&mut ledger, &one, 99).is_empty());
    assert_eq!(total(&mut ledger), Some(Seen { first: At(10), last: At(10), uses: 3 }));
    take(&mut ledger, &report(1, 1, vec![uses_of(1, 4)]), 20);
    assert_eq!(total(&mut ledger), Some(Seen { first: At(10), last: At(20), uses: 7 }));
    assert_eq!(ledger.uses(&acme()).unwrap().len(), 1, "what was not used is not listed");
}

#[test]
fn an_older_boots_late_report_counts_when_it_was_stored() {
    let mut ledger = memory();
    take(&mut ledger, &report(1, 0, vec![]), 10);
    take(&mut ledger, &report(2, 0, vec![uses_of(1, 1)]), 50);
    take(&mut ledger, &report(1, 1, vec![uses_of(1, 5)]), 20);
    assert_eq!(total(&mut ledger), Some(Seen { first: At(20), last: At(50), uses: 6 }));
}

#[test]
fn what_cannot_be_stored_breaks_coverage_and_nothing_else() {
    let mut ledger = memory();
    take(&mut ledger, &report(1, 0, vec![]), 10);
    take(&mut ledger, &report(1, 1, vec![uses_of(1, u64::MAX), uses_of(1, u64::MAX)]), 20);
    assert_eq!(total(&mut ledger).map(|seen| seen.uses), Some(USES_MAX));
    let nameless = VersionUse { tenant: "No".to_owned(), ..uses_of(1, 1) };
    assert!(take(&mut ledger, &report(1, 2, vec![nameless]), 30).is_empty());
    assert!(take(&mut ledger, &report(1, u64::MAX, vec![uses_of(1, 1)]), 40).is_empty());
    take(&mut ledger, &report(1, 3, vec![]), 50);
    assert_eq!(ledger.coverage().unwrap()[&edge()].from, At(50));
}

#[test]
fn everything_outlives_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("usage.db");
    let mut ledger = Ledger::open(&path).unwrap();
    take(&mut ledger, &report(1, 0, vec![uses_of(1, 2)]), 10);
    let goodbye = Report { goodbye: true, ..report(1, 1, vec![]) };
    take(&mut ledger, &goodbye, 20);
    let before = ledger.coverage().unwrap();
    drop(ledger);
    let mut ledger = Ledger::open(&path).unwrap();
    assert_eq!(ledger.coverage().unwrap(), before);
    take(&mut ledger, &goodbye, 25);
    let continues = Some(LastReport { boot: Id(1), number: 1 });
    take(&mut ledger, &Report { continues, ..report(2, 0, vec![]) }, 30);
    take(&mut ledger, &report(2, 1, vec![]), 40);
    let stretch = ledger.coverage().unwrap()[&edge()].stretch().unwrap();
    assert_eq!((stretch.from, stretch.through), (At(10), At(30)));
    assert_eq!(total(&mut ledger).map(|seen| seen.uses), Some(2));
}

#[test]
fn a_file_of_another_schema_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("usage.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let error = Ledger::open(&path).err().unwrap().to_string();
    assert!(error.contains("schema 7"), "{error}");
}

#[test]
fn first_uses_stay_listed_until_they_are_settled() {
    let mut ledger = memory();
    let fresh = |ledger: &Ledger| ledger.fresh(10).unwrap();
    take(&mut ledger, &report(1, 0, vec![uses_of(1, 1)]), 10);
    assert_eq!(fresh(&ledger), [acme()]);
    ledger.settle(&acme()).unwrap();
    take(&mut ledger, &report(1, 1, vec![uses_of(1, 1)]), 20);
    assert!(fresh(&ledger).is_empty());
    take(&mut ledger, &report(1, 2, vec![uses_of(2, 1)]), 30);
    assert_eq!(fresh(&ledger), [acme()]);
}

/// What the channel does with what the edge has sent.
#[derive(Clone, Debug)]
enum Step {
    /// The edge cuts and stores a report with so many uses.
    Cut(u64),
    /// The edge starts anew.
    Boot,
    /// A stored report comes, whichever, and is acknowledged or not: one that is not comes again.
    Deliver { which: prop::sample::Index, acknowledged: bool },
    /// All that wait come in order, in one transaction; the acknowledgements are lost.
    DeliverAll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..5).prop_map(Step::Cut),
        1 => Just(Step::Boot),
        4 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(which, acknowledged)| Step::Deliver { which, acknowledged }),
        1 => Just(Step::DeliverAll),
    ]
}

fn deliver_all(ledger: &mut Ledger, queue: &[(Report, u64)]) {
    let edge = edge();
    let arrived: Vec<_> = queue
        .iter()
        .map(|(report, at)| Arrived { edge: &edge, report: Some(report), stored_at: At(*at) })
        .collect();
    ledger.take(&arrived).unwrap();
}

proptest! {
    #[test]
    fn each_use_is_counted_once(steps in prop::collection::vec(step(), 1..120)) {
        let mut ledger = memory();
        let (mut queue, mut truth, mut at) = (Vec::new(), 0, 1000);
        let (mut boot, mut number) = (1, 0);
        for step in steps {
            at += 10;
            match step {
                Step::Cut(uses) => {
                    queue.push((report(boot, number, vec![uses_of(1, uses)]), at));
                    (number, truth) = (number + 1, truth + uses);
                }
                Step::Boot => (boot, number) = (boot + 1, 0),
                Step::Deliver { which, acknowledged } if !queue.is_empty() => {
                    let which = which.index(queue.len());
                    take(&mut ledger, &queue[which].0, queue[which].1);
                    if acknowledged {
                        queue.remove(which);
                    }
                }
                Step::Deliver { .. } => {}
                Step::DeliverAll => deliver_all(&mut ledger, &queue),
            }
        }
        deliver_all(&mut ledger, &queue);
        prop_assert_eq!(total(&mut ledger).map_or(0, |seen| seen.uses), truth);
    }
}

#[test]
fn refusals_are_counted_once_beside_what_was_accepted_since_the_first() {
    let mut ledger = memory();
    take(&mut ledger, &report(1, 0, vec![uses_of(1, 9), uses_of(2, 3)]), 10);
    let refused = |number, refused| {
        let one = VersionRefused { tenant: "acme".to_owned(), client: "api".to_owned(), version: 1, refused };
        Report { refused: vec![one], ..report(1, number, vec![uses_of(2, 2)]) }
    };
    let (first, second) = (refused(1, 4), refused(2, 5));
    let edge = edge();
    let arrived = |report| Arrived { edge: &edge, report: Some(report), stored_at: At(20) };
    for report in [&first, &first, &second] {
        let told = ledger.take(&[arrived(report)]).unwrap();
        assert!(told.refused.is_empty() || told.refused == BTreeSet::from([acme()]));
    }
    let kept = BTreeMap::from([(Version(1), Refusals { since: At(20), refused: 9, accepted: 2 })]);
    assert_eq!(ledger.refusals(&acme()).unwrap(), kept);
    assert_eq!(ledger.refused().unwrap(), BTreeSet::from([acme()]));
    ledger.forget_refusals(&acme(), Version(1)).unwrap();
    assert!(ledger.refused().unwrap().is_empty());
}

#[test]
fn a_file_of_the_schema_before_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("usage.db");
    let mut ledger = Ledger::open(&file).unwrap();
    take(&mut ledger, &report(1, 0, vec![uses_of(1, 9)]), 10);
    ledger.connection.execute_batch("DROP TABLE refused; PRAGMA user_version = 1;").unwrap();
    drop(ledger);
    let mut ledger = Ledger::open(&file).unwrap();
    assert_eq!(total(&mut ledger).map(|seen| seen.uses), Some(9));
    assert!(ledger.refused().unwrap().is_empty());
    drop(ledger);
    assert!(Ledger::open(&file).is_ok());
}
