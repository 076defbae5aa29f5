//! What `status` shows of a keyring in the middle of a rotation.

use super::*;
use crate::arguments::Output;
use crate::scene::{signed, signers};
use crate::screen::Screen;
use crate::waiting_words::tests::{NOW, usage};
use expect_test::expect;
use keywheel_domain::event::{
    Activated, Barrier, CommandId, EventId, Fact, IssueReason, Issued, RotationId, Use, Used,
};
use keywheel_domain::key::Origin;
use keywheel_domain::{Actor, At, Digest, Event, KeySpec, Kid, Policy, Span, Version};
use keywheel_wire::belief::is_entitled;
use keywheel_wire::chain::payload_hash;
use keywheel_wire::event::{Link, write};
use keywheel_wire::subject::{self, Service};

/// A keyring's messages as they stand in the log, one hour apart, the last one hour ago.
fn told(facts: Vec<Fact>) -> Told {
    let address = Address::Keyring(KeyringId::parse("acme/app").unwrap());
    let (mut told, mut prev) = (Told::new(&signers()), None);
    let hours = facts.len() as u64;
    for (n, fact) in (0..).zip(facts) {
        let event = Event {
            id: EventId(u128::from(n)),
            address: address.clone(),
            at: NOW.before(Span::hours(hours - n)),
            actor: Actor::parse("alice").unwrap(),
            command: CommandId(u128::from(n)),
            rotation: Some(RotationId(7)),
            fact,
        };
        let author = Service::ALL.into_iter().find(|service| is_entitled(*service, &event.fact)).unwrap();
        let payload = write(&event, Link { revision: n + 1, prev }, signers().installation()).unwrap();
        prev = Some(payload_hash(&payload));
        told.take(&signed(author, n + 1, &subject::event(&address), payload)).unwrap();
    }
    told
}

fn issued(version: u32, reason: IssueReason) -> Fact {
    let expires_at = (version == 2).then(|| NOW.after(Span::days(90)));
    Fact::KeyIssued(Issued {
        version: Version(version),
        kid: Kid::parse(&format!("kid000000{version}")).unwrap(),
        digest: Digest([u8::try_from(version).unwrap(); 32]),
        spec: KeySpec { expires_at, ..KeySpec::default() },
        origin: Origin::Minted,
        reason,
        policy: Policy { overlap_min: Span::hours(1), ..Policy::default() },
        cancels: Vec::new(),
    })
}

fn activated(version: u32, supersedes: Vec<Version>) -> Fact {
    let barrier = Barrier { position: 1, edges: Vec::new(), passed_over: Vec::new(), by_hand: None };
    Fact::KeyActivated(Activated { version: Version(version), supersedes, barrier })
}

fn seen(version: u32, at: At) -> Fact {
    let seen = Use { first_use: Some(at), last_use: Some(at), uses: 3, quiet: None };
    Fact::KeySeen(Used { version: Version(version), seen })
}

/// v1 is in its overlap and still used, v2 is active and used, v3 is on its way.
fn in_rotation() -> Told {
    let rotate = || IssueReason::Rotate { supersedes: Vec::new() };
    told(vec![
        issued(1, IssueReason::Issue),
        activated(1, Vec::new()),
        seen(1, NOW.before(Span::hours(5))),
        issued(2, rotate()),
        activated(2, vec![Version(1)]),
        seen(2, NOW.before(Span::secs(30))),
        issued(3, rotate()),
    ])
}

#[test]
fn a_keyring_is_shown_version_by_version() {
    let (told, usage) = (in_rotation(), usage());
    let views = View::all(told.state(), &told.since, Some(&usage), NOW);
    let table =
        Screen::new(Output::Text).table(&status_version::HEADER, views.iter().map(View::row).collect());
    let waits: Vec<String> = views.iter().filter_map(|view| view.waits(Some(&usage))).collect();
    expect![[r#"
        VERSION  KID         STATE     SINCE                          EXPIRES                        LAST USE
        v1       kid0000001  retiring  2027-01-15T05:00:00Z (3h ago)  -                              12s ago at edge-b
        v2       kid0000002  active    2027-01-15T05:00:00Z (3h ago)  2027-04-15T08:00:00Z (in 90d)  30s ago
        v3       kid0000003  issued    2027-01-15T07:00:00Z (1h ago)  -                              never seen
        v1 must be unused for 1h; last used 12s ago at edge-b
        v3 waits for its activation proof"#]].assert_eq(&format!("{table}\n{}", waits.join("\n")));
    expect![[r#"
        {
          "cidrs": [],
          "edges": [
            {
              "edge": "edge-a",
              "last_use": "2027-01-15T07:55:00.000Z",
              "uses": 7,
              "version": 1
            },
            {
              "edge": "edge-b",
              "last_use": "2027-01-15T07:59:48.000Z",
              "uses": 7,
              "version": 1
            }
          ],
          "expires_at": null,
          "first_use": "2027-01-15T03:00:00.000Z",
          "issued_at": "2027-01-15T01:00:00.000Z",
          "kid": "kid0000001",
          "last_use": "2027-01-15T07:59:48.000Z",
          "meta": {},
          "origin": "minted",
          "overlap": {
            "deadline": "2027-02-14T05:00:00.000Z",
            "not_before": "2027-01-15T06:00:00.000Z",
            "on_overlap_max": "hold",
            "quiet": "1h",
            "since": "2027-01-15T05:00:00.000Z"
          },
          "reason": null,
          "rotation_id": "00000000-0000-0000-0000-000000000007",
          "scopes": [],
          "since": "2027-01-15T05:00:00.000Z",
          "state": "retiring",
          "uses": 3,
          "version": 1,
          "waits_for": {
            "for": "quiet",
            "last_use": "2027-01-15T03:00:00.000Z"
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&views[0].to_json()).unwrap());
}

#[test]
fn a_keyring_is_one_line_among_others() {
    let (told, keyring) = (in_rotation(), KeyringId::parse("acme/app").unwrap());
    let line = Line::of(&keyring, (told.state(), &told.since), None, NOW);
    expect![[r#"
        KEYRING   VERSIONS                           WAITS FOR  SINCE   NEXT ROTATION
        acme/app  v3 issued, v2 active, v1 retiring  v1: quiet  3h ago  -"#]]
    .assert_eq(&Screen::new(Output::Text).table(&status_table::HEADER, vec![line.row()]));
    expect![[r#"{"client":"app","next_rotation":null,"since":"2027-01-15T05:00:00.000Z","tenant":"acme","versions":[{"kid":"kid0000001","state":"retiring","version":1},{"kid":"kid0000002","state":"active","version":2},{"kid":"kid0000003","state":"issued","version":3}],"waits_for":{"for":"quiet","version":1}}"#]].assert_eq(&line.to_json().to_string());
}
