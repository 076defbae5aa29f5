//! What a file for an import says, and what is wrong with it.

use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;

const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const OTHER: &str = "2e51627a53aac4c0ebf52c6b11fe100c5081edb20dee1a928e4b854f694454be";
const NOW: At = At(1_769_860_800_000);

fn told(sheet: &Sheet) -> String {
    let row = |row: &Row| format!("{} {} {}\n", row.line, row.keyring, Value::Object(row.fields.clone()));
    let skip = |it: &Skipped| format!("{} {}/{} {}: {}\n", it.line, it.tenant, it.client, it.code, it.detail);
    sheet.rows.iter().map(row).chain(sheet.skipped.iter().map(skip)).collect()
}

fn check(text: &str, expected: Expect) {
    let text = text.replace("DIGEST", DIGEST).replace("OTHER", OTHER);
    let read = read_csv(text.as_bytes(), NOW);
    expected.assert_eq(&read.map_or_else(|error| error, |sheet| told(&sheet)));
}

#[test]
fn a_row_says_what_a_command_says() {
    check(
        "client,tenant,digest,scopes,cidrs,label,expires_at,meta.owner,meta.note\r\n\
         app,acme,DIGEST,a b;c,10.0.0.0/8;fe80::1,old key,2027-01-31T12:00:00Z,\"eu, west\",\r\n",
        expect![[r#"
            2 acme/app {"cidrs":["10.0.0.0/8","fe80::1"],"digest":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","expires_at":"2027-01-31T12:00:00.000Z","label":"old key","meta":{"owner":"eu, west"},"scopes":["a","b","c"]}
        "#]],
    );
    check(
        "\u{feff}tenant,client,digest,expires_in\nacme , app,DIGEST,90d\n\nacme,b,OTHER,\n",
        expect![[r#"
            2 acme/app {"digest":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","expires_in":"90d"}
            4 acme/b {"digest":"2e51627a53aac4c0ebf52c6b11fe100c5081edb20dee1a928e4b854f694454be"}
        "#]],
    );
}

#[test]
fn a_wrong_row_is_named_by_line_and_field() {
    check(
        "tenant,client,digest,scopes,cidrs,expires_in,expires_at\n\
         acme,a,DIGEST\n\
         ACME,a,DIGEST,,,,\n\
         acme,a,00,,,,\n\
         acme,a,,,,,\n\
         acme,a,DIGEST,good ba!d,,,\n\
         acme,a,DIGEST,,10.0.0.0/99,,\n\
         acme,a,DIGEST,,,90,\n\
         acme,a,DIGEST,,,,tomorrow\n\
         acme,a,DIGEST,,,,2020-01-01T00:00:00Z\n\
         acme,a,DIGEST,,,90d,2027-01-01T00:00:00Z\n\
         acme,a,DIGEST,,,,\n\
         beta,b,DIGEST,,,,\n",
        expect![[r#"
            12 acme/a {"digest":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}
            2 / malformed: the row has 3 cells, and the header names 7 columns
            3 / malformed: tenant, client: each 1 to 63 of a-z, 0-9, - and _, beginning with a letter or digit
            4 acme/a not_a_digest: digest: expected the SHA-256 of the key's text as 64 hexadecimal digits; if the key itself stands here, take it out of the file and write what this prints: printf %s "$KEY" | sha256sum
            5 acme/a not_a_digest: digest: expected the SHA-256 of the key's text as 64 hexadecimal digits; if the key itself stands here, take it out of the file and write what this prints: printf %s "$KEY" | sha256sum
            6 acme/a malformed: scopes[1]: a scope has 1 to 64 letters, digits or :._/*-
            7 acme/a malformed: cidrs[0]: write an address range as 10.0.0.0/8
            8 acme/a malformed: expires_in: write a length of time as 90d
            9 acme/a malformed: expires_at: write a time as 2027-01-31T12:00:00Z
            10 acme/a expired: expires_at: the key has expired already
            11 acme/a malformed: give either `expires_in` or `expires_at`
            13 beta/b doubled: digest: the same as in line 12
        "#]],
    );
}

/// Whoever puts keys into the file does not find them on a screen, in a report or in the log.
#[test]
fn a_key_in_the_file_is_refused_and_never_shown() {
    let key = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";
    let digests = read_digests(key.as_bytes(), &KeyringId::parse("acme/app").unwrap(), &Map::new()).unwrap();
    let beside = format!("tenant,client,digest\nacme,app,{key}\n{key},app,{DIGEST}\nacme,{key},{key}\n");
    let sheet = read_csv(beside.as_bytes(), NOW).unwrap();
    assert!(sheet.rows.is_empty() && digests.rows.is_empty());
    assert_eq!((sheet.skipped.len(), digests.skipped.len()), (3, 1));
    let headless = read_csv(format!("acme,app,{key}\n").as_bytes(), NOW).unwrap_err();
    let more =
        read_csv(format!("tenant,client,digest,scopes\nacme,app,{DIGEST},{key}=\n").as_bytes(), NOW).unwrap();
    for said in [told(&sheet), told(&digests), headless, told(&more)] {
        assert!(!said.contains(key), "{said}");
    }
    assert_eq!(sheet.skipped[0].code, "not_a_digest");
    assert!(sheet.skipped[0].detail.contains("sha256sum"));
}

#[test]
fn what_is_no_table_says_what_to_write() {
    check(
        "",
        expect![
            "there is no column tenant; the first line names the columns: tenant,client,digest, and where wanted label, scopes, cidrs, expires_at or expires_in, and meta.NAME"
        ],
    );
    check(
        "tenant,client\na,b\n",
        expect![
            "there is no column digest; the first line names the columns: tenant,client,digest, and where wanted label, scopes, cidrs, expires_at or expires_in, and meta.NAME"
        ],
    );
    check("tenant,client,digest,digest\n", expect!["column 4 has the name of another one: `digest`"]);
    check(
        "tenant,client,digest,meta.\n",
        expect![
            "column 4 has a name that is not known; the first line names the columns: tenant,client,digest, and where wanted label, scopes, cidrs, expires_at or expires_in, and meta.NAME"
        ],
    );
}

#[test]
fn digests_are_taken_as_sha256sum_prints_them() {
    let keyring = KeyringId::parse("acme/app").unwrap();
    let common = json!({ "scopes": ["read"] }).as_object().unwrap().clone();
    let text = format!("# old keys\n{DIGEST}  -\n\n{}\r\nxyz\n{DIGEST}\n", OTHER.to_uppercase());
    let sheet = read_digests(text.as_bytes(), &keyring, &common).unwrap();
    let told = told(&sheet).replace(DIGEST, "DIGEST").replace(OTHER, "OTHER");
    expect![[r#"
        2 acme/app {"digest":"DIGEST","scopes":["read"]}
        4 acme/app {"digest":"OTHER","scopes":["read"]}
        5 acme/app not_a_digest: digest: expected the SHA-256 of the key's text as 64 hexadecimal digits; if the key itself stands here, take it out of the file and write what this prints: printf %s "$KEY" | sha256sum
        6 acme/app doubled: digest: the same as in line 2
    "#]].assert_eq(&told);
}

/// The same row has the same command, whatever stands around it; another row, or asked again, another.
#[test]
fn a_row_has_one_command() {
    let row = |text: &str| {
        let text = text.replace("DIGEST", DIGEST).replace("OTHER", OTHER);
        read_csv(text.as_bytes(), NOW).unwrap().rows.remove(0)
    };
    let one = row("tenant,client,digest,label\nacme,app,DIGEST,x\n").command_id("");
    assert_eq!(
        one,
        row("label,digest,client,tenant,meta.a\nx,DIGEST,app,acme,\nx,OTHER,b,b,\n").command_id("")
    );
    for other in ["acme,app,DIGEST,y", "acme,app,OTHER,x", "acme,ap,DIGEST,x", "acme,app,DIGEST,"] {
        assert_ne!(one, row(&format!("tenant,client,digest,label\n{other}\n")).command_id(""));
    }
    assert_ne!(one, row("tenant,client,digest,label\nacme,app,DIGEST,x\n").command_id("again"));
}

proptest! {
    /// Nothing that a file can hold stops the reading, and no row gets lost.
    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_csv(&bytes, NOW);
        let with_header = [b"tenant,client,digest,meta.x,scopes\n".as_slice(), &bytes].concat();
        if let Ok(sheet) = read_csv(&with_header, NOW) {
            prop_assert!(sheet.rows.is_empty());
        }
        let _ = read_digests(&bytes, &KeyringId::parse("a/b").unwrap(), &Map::new());
    }

    #[test]
    fn every_row_is_accounted_for(good in proptest::collection::vec(any::<bool>(), 0..50)) {
        let mut text = "tenant,client,digest\n".to_owned();
        for (n, good) in good.iter().enumerate() {
            text.push_str(&if *good { format!("acme,c{n},{n:064x}\n") } else { format!("acme,c{n},{n}\n") });
        }
        let sheet = read_csv(text.as_bytes(), NOW).unwrap();
        prop_assert_eq!(sheet.read(), good.len());
        prop_assert_eq!(sheet.rows.len(), good.iter().filter(|good| **good).count());
    }
}
