//! What `status` shows of a keyring in the middle of a rotation.

use super::*;
use crate::arguments::Output;
use crate::scene::{activated, issued, messages, seen, signers};
use crate::screen::Screen;
use crate::waiting_words::tests::{NOW, usage};
use expect_test::expect;
use keywheel_domain::event::{Fact, IssueReason};
use keywheel_domain::{Span, Version};

fn told(facts: Vec<Fact>) -> Told {
    let mut told = Told::new(&signers());
    for message in messages(facts, NOW) {
        told.take(&message).unwrap();
    }
    told
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
