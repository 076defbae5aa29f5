//! Subjects: what is written is read back, and what was never written is refused.

use crate::anything::{address, edge, keyring, kid};
use keywheel_domain::{Address, Version};
use keywheel_wire::subject::{self, Service, Verb};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;

proptest! {
    #[test]
    fn subjects_are_read_as_they_were_written(address in address(), verb in select(&Verb::ALL[..]), keyring in keyring()) {
        prop_assert_eq!(subject::parse_event(&subject::event(&address)), Ok(address.clone()));
        prop_assert_eq!(subject::parse_command(&subject::command(&address, verb)), Ok((address, verb)));
        prop_assert_eq!(subject::parse_ask_usage(&subject::ask_usage(&keyring)), Ok(keyring));
    }

    /// A subject has one reading: what is read from any text is written as that text.
    #[test]
    fn what_is_read_is_written_the_same(text in "(kw\\.)?(evt|cmd|ask\\.usage)?[a-z_.*>-]{0,20}(\\.issue)?") {
        if let Ok(address) = subject::parse_event(&text) {
            prop_assert_eq!(subject::event(&address), text.clone());
        }
        if let Ok((address, verb)) = subject::parse_command(&text) {
            prop_assert_eq!(subject::command(&address, verb), text.clone());
        }
        if let Ok(keyring) = subject::parse_ask_usage(&text) {
            prop_assert_eq!(subject::ask_usage(&keyring), text);
        }
    }

    #[test]
    fn no_subject_has_an_unplanned_token(
        address in address(), keyring in keyring(), edge in edge(), kid in kid(), id in any::<u128>(), n in any::<u32>()
    ) {
        for (tokens, subject) in [
            (4, subject::event(&address)),
            (5, subject::command(&address, Verb::Issue)),
            (3, subject::result(id)),
            (3, subject::usage(&edge)),
            (3, subject::stage(kid)),
            (5, subject::delivery(&keyring, Version(n))),
            (4, subject::pulse(&edge)),
            (5, subject::notice(&address, "alarm")),
            (5, subject::ask_usage(&keyring)),
        ] {
            prop_assert_eq!(subject.split('.').count(), tokens, "{}", &subject);
            prop_assert!(!subject.contains(['*', '>', ' ']), "{}", &subject);
        }
    }
}

#[test]
fn hostile_tokens_are_refused() {
    let names = ["", "*", ">", "_x", "-x", "A", "a b", "a\n", "ä", "a/b", "$JS", &"a".repeat(64)];
    for name in names {
        for subject in [
            format!("kw.evt.{name}.c"),
            format!("kw.evt.t.{name}"),
            format!("kw.evt.t.c.{name}"),
            format!("kw.evt.{name}._"),
            format!("kw.evt._.{name}"),
        ] {
            assert!(subject::parse_event(&subject).is_err(), "{subject:?}");
        }
        assert!(subject::parse_command(&format!("kw.cmd.{name}.c.issue")).is_err(), "{name:?}");
        assert!(subject::parse_command(&format!("kw.cmd.t.c.{name}")).is_err(), "{name:?}");
        assert!(subject::parse_ask_usage(&format!("kw.ask.usage.{name}.c")).is_err(), "{name:?}");
    }
    for subject in ["", "kw", "kw.evt", "kw.evt.t", "kw.cmd.t.c", "xx.evt.t.c", "kw.evt._.c", "KW.EVT.t.c"] {
        assert!(subject::parse_event(subject).is_err(), "{subject:?}");
    }
    assert!(subject::parse_command("kw.cmd.t.c.issue.more").is_err());
    assert!(subject::parse_command("kw.cmd.t.c.Issue").is_err());
    assert!(subject::parse_ask_usage("kw.ask.usage.t.c.d").is_err());
    assert!(subject::parse_ask_usage("kw.ask.usage._._").is_err(), "a question is about a keyring");
}

#[test]
fn refusals_say_what_was_wrong() {
    let said = |subject: &str| subject::parse_command(subject).unwrap_err().to_string();
    assert_eq!(said("kw.cmd.t.c.explode"), "subject: `explode` is no verb");
    assert_eq!(said("kw.cmd.t"), "subject: `kw.cmd.t` is no command subject");
    assert!(said("kw.cmd.T.c.issue").starts_with("tenant \"T\": "));
    assert!(said("kw.cmd.t.C.issue").starts_with("client \"C\": "));
}

/// The literals of the contract, spelled out once more.
#[test]
fn literals_are_those_of_the_contract() {
    let keyring = keywheel_domain::KeyringId::parse("t/c").unwrap();
    let address = Address::Keyring(keyring.clone());
    let edge = keywheel_domain::EdgeId::parse("e").unwrap();
    let kid = keywheel_domain::Kid::parse("0123456789").unwrap();
    assert_eq!(subject::event(&address), "kw.evt.t.c");
    assert_eq!(subject::event(&Address::Tenant(keyring.tenant.clone())), "kw.evt.t._");
    assert_eq!(subject::event(&Address::Installation), "kw.evt._._");
    assert_eq!(subject::command(&Address::Installation, Verb::EdgeAdd), "kw.cmd._._.edge-add");
    assert_eq!(subject::result(1), "kw.res.00000000-0000-0000-0000-000000000001");
    assert_eq!(subject::usage(&edge), "kw.use.e");
    assert_eq!(subject::stage(kid), "kw.stage.0123456789");
    assert_eq!(subject::delivery(&keyring, Version(2)), "kw.dlv.t.c.2");
    assert_eq!(subject::pulse(&edge), "kw.edge.e.pulse");
    assert_eq!(subject::notice(&address, "receipt"), "kw.notice.t.c.receipt");
    let words: Vec<_> = Verb::ALL.iter().map(|verb| verb.word()).collect();
    let expected = "issue rotate activate retire revoke rollback policy import edge-add edge-remove signer-add signer-withdraw";
    assert_eq!(words.join(" "), expected);
    assert_eq!(Service::UsageTracker.log_durable(2), "usage-tracker-2");
    assert_eq!(subject::edge_durable(&edge), "edge-e");
}
