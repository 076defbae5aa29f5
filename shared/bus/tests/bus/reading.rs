//! Reading the log and what lies beside it.

use crate::server::OURS;
use crate::stage::{Writer, eventually, keyring, plain_event, server};
use futures_util::StreamExt;
use keywheel_bus::log::PAGE;
use keywheel_bus::parcel::Parcel;
use keywheel_domain::{Address, At, EdgeId, KeyringId, Kid, Span, Version};
use keywheel_table::History;
use keywheel_table::history::Kept;
use keywheel_wire::chain::payload_hash;
use keywheel_wire::delivery::Sealed;
use keywheel_wire::event;
use keywheel_wire::event::Link;
use keywheel_wire::notice::{Alarm, Notice};
use keywheel_wire::pulse::Pulse;
use keywheel_wire::subject::{self, Service};
use keywheel_wire::text::{Hex32, Id, Moment};
use keywheel_wire::usage::Report;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_by_position_and_by_address() {
    let (_server, bus) = server().await;
    assert_eq!(bus.head().await.unwrap().seq, 0);
    assert_eq!(bus.last_of(&keyring(0)).await.unwrap(), 0);
    assert!(bus.page(1, None).await.unwrap().is_empty());
    Writer::default().append_many(&bus, 10).await;

    assert_eq!(bus.head().await.unwrap().seq, 10);
    assert_eq!(bus.last_of(&keyring(0)).await.unwrap(), 10);
    assert_eq!(bus.last_of(&keyring(1)).await.unwrap(), 8);
    let seqs = |page: Vec<keywheel_table::Message>| page.iter().map(|m| m.seq).collect::<Vec<_>>();
    assert_eq!(seqs(bus.page(1, None).await.unwrap()), (1..=10).collect::<Vec<_>>());
    assert_eq!(seqs(bus.page(4, None).await.unwrap()), (4..=10).collect::<Vec<_>>());
    assert_eq!(seqs(bus.page(2, Some(&keyring(2))).await.unwrap()), [3, 6, 9]);
    assert!(bus.page(11, None).await.unwrap().is_empty());

    let at = bus.event_at(5, &keyring(1)).await.unwrap().unwrap();
    assert_eq!((at.seq, &at.event.address), (5, &keyring(1)));
    assert_eq!(bus.event_at(5, &keyring(0)).await.unwrap(), None);
    assert_eq!(bus.event_at(11, &keyring(0)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other() {
    let (server, bus) = server().await;
    let context = server.stranger().await;
    let payload =
        keywheel_wire::event::write(&plain_event(&keyring(0)), Link { revision: 1, prev: None }, OURS)
            .unwrap();
    let mut sent = Vec::new();
    for _ in 0..PAGE + 5 {
        sent.push(context.publish("kw.evt.acme.client-0", payload.clone().into()).await.unwrap());
    }
    for acknowledgement in sent {
        acknowledgement.await.unwrap();
    }
    let first = bus.page(1, None).await.unwrap();
    assert_eq!((first.len() as u64, first.last().unwrap().seq), (PAGE, PAGE));
    let second = bus.page(PAGE + 1, None).await.unwrap();
    assert_eq!((second.len(), second[0].seq, &second[0].payload), (5, PAGE + 1, &payload));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_of_a_history_counts_while_the_log_has_its_newest_event() {
    let (_server, bus) = server().await;
    let (mut writer, address) = (Writer::default(), keyring(0));
    writer.append_many(&bus, 9).await;
    let mut kept = Vec::new();
    let seqs = |history: &History| history.events().iter().map(|e| e.recorded.seq).collect::<Vec<_>>();
    let first = bus.history_beyond(&address, &mut kept, None).await.unwrap();
    assert_eq!((seqs(&first), kept.len()), (vec![1, 4, 7], 3));
    let fresh = writer.append(&bus, &address).await;
    assert_eq!(seqs(&bus.history_beyond(&address, &mut kept, None).await.unwrap()), [1, 4, 7, fresh]);
    assert_eq!(kept.last().unwrap().seq, fresh);
    let whole = bus.history(&address, None).await.unwrap();

    // A position is all that nothing in the log speaks for: it tells the kept from the read.
    let mut moved = kept.clone();
    moved[1].seq = 5;
    assert_eq!(seqs(&bus.history_beyond(&address, &mut moved, None).await.unwrap()), [1, 5, 7, fresh]);
    let altered = |at: usize| {
        let mut altered = kept.clone();
        altered[1].seq = 5;
        altered[at].payload = kept[(at + 1) % 4].payload.clone();
        altered
    };
    let another = bus.history_beyond(&keyring(1), &mut Vec::new(), None).await.unwrap();
    assert_eq!(another.events().len(), 3);
    for mut doubtful in [altered(0), altered(2), altered(3), kept[1..].to_vec()] {
        let read = bus.history_beyond(&address, &mut doubtful, None).await.unwrap();
        assert_eq!((read.events(), &doubtful), (whole.events(), &kept));
    }
    // One that continues what was kept, and stands in the home alone.
    let link = Link { revision: 5, prev: Some(payload_hash(&kept[3].payload)) };
    let payload = event::write(&plain_event(&address), link, OURS).unwrap();
    let mut invented = kept.clone();
    invented.push(Kept { seq: fresh + 1, stored: At(1), payload });
    assert_eq!(writer.append(&bus, &address).await, fresh + 1);
    let whole = bus.history(&address, None).await.unwrap();
    let read = bus.history_beyond(&address, &mut invented, None).await.unwrap();
    assert_eq!(read.events(), whole.events());
    let mut of_another = kept.clone();
    let read = bus.history_beyond(&keyring(1), &mut of_another, None).await.unwrap();
    assert_eq!((read.events(), of_another.len()), (another.events(), 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_secrets_wait_and_are_withdrawn() {
    let (server, bus) = server().await;
    let kid = |text: &str| Kid::parse(text).unwrap();
    let sealed = |version| Sealed::new("kid0000001", version, b"box", "XSENDER");
    assert_eq!(bus.staged(kid("kid0000001")).await.unwrap(), None);
    bus.stage(kid("kid0000001"), &sealed(0)).await.unwrap();
    bus.stage(kid("kid0000002"), &sealed(0)).await.unwrap();
    assert_eq!(bus.staged(kid("kid0000001")).await.unwrap(), Some(sealed(0)));
    bus.withdraw(kid("kid0000001")).await.unwrap();
    bus.withdraw(kid("kid0000001")).await.unwrap();
    assert_eq!(bus.staged(kid("kid0000001")).await.unwrap(), None);
    assert!(bus.staged(kid("kid0000002")).await.unwrap().is_some(), "others stay");

    let owner = KeyringId::parse("acme/client-0").unwrap();
    assert_eq!(bus.delivery(&owner, Version(1)).await.unwrap(), None);
    let parcel = |owner: &KeyringId, version| Parcel {
        keyring: owner.clone(),
        version: Version(version),
        sealed: sealed(version),
        kept: Span::days(7),
    };
    bus.deliver(&parcel(&owner, 1)).await.unwrap();
    assert_eq!(bus.delivery(&owner, Version(1)).await.unwrap(), Some(sealed(1)));
    assert_eq!(bus.delivery(&owner, Version(2)).await.unwrap(), None);
    let many: Vec<_> = (2..40).map(|version| parcel(&owner, version)).collect();
    for takes_batches in [true, false] {
        let stranger = server.stranger().await;
        let mut config = stranger.get_stream("KW_DELIVERY").await.unwrap().cached_info().config.clone();
        config.allow_atomic_publish = takes_batches;
        stranger.update_stream(&config).await.unwrap();
        // The second time over what lies there already.
        assert!(bus.deliver_all(&many).await.iter().all(Result::is_ok));
        for version in 2..40 {
            assert_eq!(bus.delivery(&owner, Version(version)).await.unwrap(), Some(sealed(version)));
        }
        let stream = stranger.get_stream("KW_DELIVERY").await.unwrap();
        let last =
            stream.get_last_raw_message_by_subject(&subject::delivery(&owner, Version(39))).await.unwrap();
        let header = |name: &str| last.headers.get(name).map(|value| value.as_str().to_owned());
        assert_eq!(header("Nats-TTL").as_deref(), Some("604800"));
        assert_eq!(header("Nats-Batch-Id").is_some(), takes_batches);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_pulse_of_an_edge_is_kept() {
    let (mut server, bus) = server().await;
    let edge = |name: &str| EdgeId::parse(name).unwrap();
    let pulse = |id: &str, number| Pulse {
        id: id.into(),
        boot: Id(1),
        number,
        watermark: 0,
        chain: Hex32([0; 32]),
        digest: Hex32([0; 32]),
        clock: Moment(At(0)),
        keys: 0,
        version: "0.1.0".into(),
        lease_ms: 15_000,
        agrees: None,
    };
    assert!(bus.last_pulse(&edge("edge-a")).await.unwrap().is_none());
    for number in 0..3 {
        bus.put_pulse(&edge("edge-a"), &pulse("edge-a", number)).await.unwrap();
    }
    let last = bus.last_pulse(&edge("edge-a")).await.unwrap().unwrap();
    assert_eq!(last.pulse.number, 2);
    assert!(last.at >= bus.pulses_kept_since().await.unwrap());

    // Horizons are counted from it: what was acknowledged is there after a kill, and so is the stream.
    let number = 3;
    bus.put_pulse(&edge("edge-a"), &pulse("edge-a", number)).await.unwrap();
    server.kill();
    server.run();
    eventually("the newest pulse is there again", async || {
        bus.last_pulse(&edge("edge-a"))
            .await
            .is_ok_and(|last| last.is_some_and(|last| last.pulse.number == number))
    })
    .await;

    // One edge's credential cannot speak for another: neither does what comes by its subject.
    let forged = serde_json::to_vec(&pulse("edge-a", 9)).unwrap();
    let stranger = server.stranger().await;
    stranger.publish("kw.edge.edge-b.pulse", forged.into()).await.unwrap().await.unwrap();
    assert!(bus.last_pulse(&edge("edge-b")).await.is_err());
    // It says nothing, and holds up nobody: it is no older than the newest pulse.
    let (at, pulse) = bus.last_contact(&edge("edge-b")).await.unwrap().unwrap();
    assert!(pulse.is_none() && at > At(0));
    let (at, pulse) = bus.last_contact(&edge("edge-a")).await.unwrap().unwrap();
    assert!(pulse.is_some() && at > At(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_come_in_order_and_once() {
    let (server, bus) = server().await;
    let edge = EdgeId::parse("edge-a").unwrap();
    let mut reports = bus.reports();
    for number in 0..5 {
        let report = Report {
            edge: "edge-a".into(),
            boot: Id(1),
            number,
            continues: None,
            goodbye: false,
            uses: vec![],
            refused: vec![],
        };
        bus.put_report(&edge, &report).await.unwrap();
        bus.put_report(&edge, &report).await.unwrap();
    }
    let stranger = server.stranger().await;
    stranger.publish("kw.use.edge-b", "no report".into()).await.unwrap().await.unwrap();
    let mut taken = Vec::new();
    while taken.len() < 6 {
        for report in reports.next(Duration::from_secs(5)).await.unwrap() {
            report.done().await.unwrap();
            taken.push((report.edge.to_string(), report.report.map(|report| report.number)));
        }
    }
    let mut expected: Vec<_> = (0..5).map(|number| ("edge-a".to_owned(), Some(number))).collect();
    expected.push(("edge-b".to_owned(), None));
    assert_eq!(taken, expected);
    assert!(reports.next(Duration::from_millis(50)).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_are_said_once() {
    let (_server, bus) = server().await;
    let alarm = |detail: &str| {
        Notice::Alarm(Alarm { code: "test".into(), detail: detail.into(), at: Moment(At(0)), seq: None })
    };
    bus.notify(&keyring(0), "one", &alarm("one")).await.unwrap();
    bus.notify(&keyring(0), "one", &alarm("one")).await.unwrap();
    bus.notify(&keyring(0), "two", &alarm("two")).await.unwrap();
    bus.notify(&Address::Installation, "three", &alarm("three")).await.unwrap();
    let said: Vec<_> = bus.notices(&keyring(0), "alarm").await.unwrap().into_iter().map(|(n, _)| n).collect();
    assert_eq!(said, [alarm("one"), alarm("two")]);
}

/// What the bus stores and passes on for anybody who may publish is believed of who may give it alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_nobody_may_give_is_not_heard() {
    let (mut server, issuer) = server().await;
    server.take_for(Service::Propagator);
    let propagator = server.bus("propagator").await;
    let alarm =
        Notice::Alarm(Alarm { code: "test".into(), detail: "real".into(), at: Moment(At(0)), seq: None });
    let subject = "kw.notice.acme.client-0.alarm";
    let mut heard = issuer.hear_notices().await.unwrap();
    let unsigned = serde_json::to_vec(&alarm).unwrap();
    server.stranger().await.publish(subject, unsigned.into()).await.unwrap().await.unwrap();
    let elsewhere = serde_json::to_vec(&alarm).unwrap();
    server.publish_signed_as("kw.notice.acme.client-1.alarm", subject, &elsewhere).await;
    issuer.notify(&keyring(0), "one", &alarm).await.unwrap();
    assert_eq!(heard.next().await, Some(alarm.clone()), "the first that counts");
    for reader in [&issuer, &propagator] {
        assert_eq!(reader.notices(&keyring(0), "alarm").await.unwrap().len(), 1);
    }
    // A receipt is the propagator's; to whoever takes the same key for an issuer it says nothing.
    let receipt = std::fs::read("../../schemas/golden/v1/notice-receipt.json").unwrap();
    server.publish_signed("kw.notice.acme.client-0.receipt", &receipt).await;
    assert_eq!(propagator.notices(&keyring(0), "receipt").await.unwrap().len(), 1);
    assert_eq!(issuer.notices(&keyring(0), "receipt").await.unwrap().len(), 0);
}

/// A position is no proof: what stands there must have been written by who may.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_event_stands_nowhere() {
    let (server, bus) = server().await;
    let payload = event::write(&plain_event(&keyring(0)), Link { revision: 1, prev: None }, OURS).unwrap();
    let stranger = server.stranger().await;
    let stored =
        stranger.publish("kw.evt.acme.client-0", payload.clone().into()).await.unwrap().await.unwrap();
    assert_eq!(bus.event_at(stored.sequence, &keyring(0)).await.unwrap(), None);
    assert_eq!(bus.event_stored_at(stored.sequence, &keyring(0)).await.unwrap(), None);
    let seq = server.publish_signed("kw.evt.acme.client-0", &payload).await;
    assert!(bus.event_at(seq, &keyring(0)).await.unwrap().is_some());
}
