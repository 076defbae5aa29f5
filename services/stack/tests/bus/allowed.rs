//! What each role's work needs, called as the services call it.

use crate::rig::{Rig, allowed, edge};
use futures_util::StreamExt;
use keywheel_bus::connect::read_signers;
use keywheel_bus::gate::Sources;
use keywheel_bus::intake::{self, Handler, Prepared, Refusal};
use keywheel_bus::log::Appended;
use keywheel_bus::parcel::Parcel;
use keywheel_bus::{Bus, BusConfig, BusError, Follower, Gate, SharedFold, Station, Watch};
use keywheel_domain::event::{CommandId, Ended, EventId, Use, Used};
use keywheel_domain::key::Cause;
use keywheel_domain::{
    Act, Actor, Address, At, EdgeId, Event, Fact, KeyringId, Kid, PolicyPatch, Span, State, Version,
};
use keywheel_stack::installation;
use keywheel_stack::permissions::Role;
use keywheel_table::{Fold, Options};
use keywheel_token::{Credential, id};
use keywheel_wire::command::{Ask, Request};
use keywheel_wire::delivery::Sealed;
use keywheel_wire::event::Link;
use keywheel_wire::notice::{Alarm, Notice};
use keywheel_wire::outcome::Word;
use keywheel_wire::pulse::Pulse;
use keywheel_wire::subject::{Service, Verb};
use keywheel_wire::text::{Hex32, Id, Moment};
use keywheel_wire::usage::{Report, Usage};
use std::time::Duration;

const SOURCES: Sources = Sources { now: || At(1_700_000_000_000), fresh_id: id::fresh };
const SOON: Duration = Duration::from_secs(10);

pub fn keyring() -> KeyringId {
    KeyringId::parse("acme/web").unwrap()
}

pub fn sealed() -> Sealed {
    Sealed::new("kid", 1, b"sealed", "XSENDER")
}

pub fn kid() -> Kid {
    Kid::parse("0123456789").unwrap()
}

pub fn pulse(of: &EdgeId) -> Pulse {
    Pulse {
        id: of.to_string(),
        boot: Id(1),
        number: 1,
        watermark: 0,
        chain: Hex32([0; 32]),
        digest: Hex32([0; 32]),
        clock: Moment(At(0)),
        keys: 0,
        version: "0".to_owned(),
        lease_ms: 15_000,
        agrees: None,
    }
}

pub fn report(of: &EdgeId) -> Report {
    let none = Vec::new();
    Report {
        edge: of.to_string(),
        boot: Id(1),
        number: 0,
        continues: None,
        goodbye: false,
        uses: none,
        refused: Vec::new(),
    }
}

pub fn alarm() -> Notice {
    let at = Moment(At(0));
    Notice::Alarm(Alarm { code: "drill".to_owned(), detail: "a test".to_owned(), at, seq: None })
}

async fn station(rig: &Rig, service: Service, instance: u32) -> Station {
    let config = BusConfig {
        url: rig.settings.server.url(),
        credentials: rig.home.credential(service.name()),
        signers: read_signers(&rig.home.signers()).unwrap(),
        tls: rig.settings.server.tls(&rig.home, service.name()),
    };
    let instance = std::num::NonZeroU32::new(instance).unwrap();
    Station::open(
        &config,
        &Watch::new(service, |_| ()),
        instance,
        &rig.home.root().join("data"),
        |_| false,
        SOURCES,
    )
    .await
    .unwrap()
}

/// A station that follows the log until it is dropped.
async fn working(rig: &Rig, service: Service, instance: u32) -> (Bus, Gate) {
    let station = station(rig, service, instance).await;
    let (bus, gate) = (station.bus.clone(), station.gate.clone());
    tokio::spawn(async move {
        let forever = std::future::pending::<Result<(), BusError>>();
        station.serve(keywheel_bus::follow::Unobserved, forever).await.unwrap();
    });
    (bus, gate)
}

async fn add_edge(gate: &Gate, name: &str) {
    let actor = Actor::parse("test").unwrap();
    let act = Act::AddEdge { edge: edge(name) };
    gate.execute(&Address::Installation, CommandId(id::fresh()), &actor, act).await.unwrap();
}

/// Something that is the service's own to say, about a keyring of its own.
fn fact_of(service: Service) -> Fact {
    let version = Version(1);
    let ended =
        |cause| Fact::KeyRetired(Ended { version, also: Vec::new(), cause, reason: None, evidence: None });
    match service {
        Service::Issuer => Fact::PolicySet(PolicyPatch::NONE),
        Service::Propagator => ended(Cause::Cancelled),
        Service::Retirer => ended(Cause::Requested),
        Service::UsageTracker => {
            let seen = Use { first_use: None, last_use: Some(At(1)), uses: 1, quiet: None };
            Fact::KeySeen(Used { version, seen })
        }
    }
}

async fn append(bus: &Bus, gate: &Gate, client: &str, fact: Fact) -> Result<(), BusError> {
    let event = Event {
        id: EventId(id::fresh()),
        address: Address::Keyring(KeyringId::parse(&format!("acme/{client}")).unwrap()),
        at: At(1),
        actor: Actor::parse("test").unwrap(),
        command: CommandId(id::fresh()),
        rotation: None,
        fact,
    };
    match bus.append(&event, Link { revision: 1, prev: None }, 0).await? {
        Appended::Stored(seq) => gate.applied(seq).await,
        Appended::Conflict => panic!("nobody else writes there"),
    }
}

struct Roster;

impl Handler for Roster {
    async fn prepare(&self, _: &Address, request: &Request, _: &State) -> Result<Prepared, Refusal> {
        let Ask::EdgeAdd(edge) = &request.ask else { panic!("{request:?}") };
        Ok(Prepared { act: Act::AddEdge { edge: edge.clone() }, sealed: None })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_replays_decides_and_appends() {
    let rig = Rig::start().await;
    for (at, service) in Service::ALL.into_iter().enumerate() {
        for instance in [1, 2] {
            let (bus, gate) = working(&rig, service, instance).await;
            allowed(&bus, service.name(), async {
                append(&bus, &gate, &format!("x{at}-{instance}"), fact_of(service)).await?;
                bus.head().await?;
                bus.page(1, None).await?;
                bus.notify(&Address::Installation, &id::fresh().to_string(), &alarm()).await
            })
            .await;
        }
    }
    rig.children.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_replays_pulses_and_reports() {
    let rig = Rig::start().await;
    let (_, gate) = working(&rig, Service::Propagator, 1).await;
    add_edge(&gate, "e1").await;

    let e1 = edge("e1");
    let bus = rig.connect(&Role::Edge(e1.clone())).await;
    let options = Options { commands: false, pending: |_| false, doubts: false };
    let fold = SharedFold::new(Fold::open(&rig.home.root().join("edge.db"), options, bus.signers()).unwrap());
    let follower = Follower::new(bus.clone(), fold, "edge-e1".to_owned());
    let mut watermark = follower.watermark();
    let replayed = async {
        tokio::time::timeout(SOON, watermark.wait_for(|at| *at >= 1)).await.expect("it replays").unwrap();
    };
    let replaying = follower.run(keywheel_bus::follow::Unobserved, replayed);
    allowed(&bus, "replay", replaying).await;
    allowed(&bus, "pulse", bus.put_pulse(&e1, &pulse(&e1))).await;
    allowed(&bus, "report", bus.put_report(&e1, &report(&e1))).await;
    assert_eq!(allowed(&bus, "head", bus.head()).await.seq, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_commands_and_a_service_answers() {
    let rig = Rig::start().await;
    let (_, gate) = working(&rig, Service::Propagator, 2).await;
    tokio::spawn(async move {
        intake::run(&gate, Service::Propagator, &Roster, std::future::pending()).await.unwrap();
    });
    let operator = rig.connect(&Role::Operator).await;
    let e1 = edge("e1");
    let settled = async {
        let command = installation::send(&operator, Verb::EdgeAdd, &e1).await.unwrap();
        Ok(installation::settle(&operator, command, &e1, SOON).await.unwrap())
    };
    assert_eq!(allowed(&operator, "command", settled).await.outcome, Word::Accepted);
    let events = allowed(&operator, "the log", operator.page(1, None)).await;
    assert_eq!(events.len(), 1);
    allowed(&operator, "head", operator.head()).await;
    allowed(&operator, "notices", operator.notices(&Address::Installation, "alarm")).await;
    allowed(&operator, "delivery", operator.delivery(&keyring(), Version(1))).await;

    let auditor = rig.connect(&Role::Auditor).await;
    assert_eq!(allowed(&auditor, "the log", auditor.page(1, None)).await.len(), 1);
    allowed(&auditor, "head", auditor.head()).await;
    allowed(&auditor, "notices", auditor.notices(&Address::Installation, "alarm")).await;
    allowed(&auditor, "records", auditor.records(1, None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_staged_released_and_read() {
    let rig = Rig::start().await;
    let issuer = rig.connect(&Role::Service(Service::Issuer)).await;
    allowed(&issuer, "stage", issuer.stage(kid(), &sealed())).await;
    let propagator = rig.connect(&Role::Service(Service::Propagator)).await;
    let staged = allowed(&propagator, "staged", propagator.staged(kid())).await;
    assert_eq!(staged, Some(sealed()));
    let parcel = |version| Parcel {
        keyring: keyring(),
        version: Version(version),
        sealed: sealed(),
        kept: Span::days(1),
    };
    let together = [parcel(2), parcel(3)];
    allowed(&propagator, "deliver", propagator.deliver(&parcel(1))).await;
    let together =
        async { propagator.deliver_all(&together).await.into_iter().collect::<Result<Vec<_>, _>>() };
    allowed(&propagator, "deliver", together).await;
    allowed(&propagator, "withdraw", propagator.withdraw(kid())).await;
    allowed(&issuer, "withdraw", issuer.withdraw(kid())).await;
    assert_eq!(allowed(&issuer, "staged", issuer.staged(kid())).await, None);
    let operator = rig.connect(&Role::Operator).await;
    let found = allowed(&operator, "delivery", operator.delivery(&keyring(), Version(1))).await;
    assert_eq!(found, Some(sealed()));
}

#[tokio::test(flavor = "multi_thread")]
async fn pulses_and_reports_are_heard_and_asked_about() {
    let rig = Rig::start().await;
    let e1 = edge("e1");
    let propagator = rig.connect(&Role::Service(Service::Propagator)).await;
    let operator = rig.connect(&Role::Operator).await;
    let mut heard = allowed(&propagator, "pulses", propagator.pulses()).await;
    let mut watched = allowed(&operator, "pulses", operator.pulses()).await;
    let mut notices = allowed(&operator, "notices", operator.hear_notices()).await;
    // A subscription is known to the server once a later request was answered.
    operator.head().await.unwrap();
    propagator.head().await.unwrap();

    let bus = rig.connect(&Role::Edge(e1.clone())).await;
    bus.put_pulse(&e1, &pulse(&e1)).await.unwrap();
    bus.put_report(&e1, &report(&e1)).await.unwrap();
    allowed(&propagator, "pulse", async { Ok(heard.next().await) }).await.unwrap().unwrap();
    allowed(&operator, "pulse", async { Ok(watched.next().await) }).await.unwrap().unwrap();
    allowed(&propagator, "last pulse", propagator.last_pulse(&e1)).await.unwrap();
    allowed(&propagator, "alarm", propagator.notify(&Address::Installation, "1", &alarm())).await;
    allowed(&operator, "notice", async { Ok(notices.next().await) }).await.unwrap();

    let tracker = station(&rig, Service::UsageTracker, 1).await;
    allowed(&tracker.bus, "last pulse", tracker.bus.last_pulse(&e1)).await.unwrap();
    allowed(&tracker.bus, "since", tracker.bus.pulses_kept_since()).await;
    let mut reports = tracker.bus.reports();
    let taken = allowed(&tracker.bus, "reports", reports.next(SOON)).await;
    assert_eq!(taken.len(), 1);
    allowed(&tracker.bus, "done", taken[0].done()).await;
    let asked = async {
        tokio::select! {
            ended = tracker.bus.answer_usage(&tracker.registered, |_| Usage::default()) => panic!("{ended:?}"),
            usage = ask(&operator) => Ok(usage),
        }
    };
    assert_eq!(allowed(&tracker.bus, "answer", asked).await, Usage::default());
}

/// Until the endpoint is there.
async fn ask(operator: &Bus) -> Usage {
    loop {
        if let Ok(usage) = operator.ask_usage(&keyring()).await {
            return usage;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_not_let_in() {
    let rig = Rig::start().await;
    let seed = rig.home.root().join("stranger.nk");
    std::fs::write(&seed, Credential::fresh().seed().expose()).unwrap();
    let told = installation::connect(&rig.home, &rig.settings.server, seed, &Role::Operator)
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(format!("{told:#}").contains("authorization"), "{told:#}");
}
