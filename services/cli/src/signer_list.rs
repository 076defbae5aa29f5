//! Whose events are believed, as it is shown: by the signers file, by events, and what a withdrawal would end.

use crate::screen::{Mood, Screen, Shown};
use crate::words::list;
use keywheel_domain::signer::{Listed, Standing};
use keywheel_domain::{Service, SignerKey};
use keywheel_wire::signers::Signers;
use keywheel_wire::text;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// All that a reader knows of signers.
pub(crate) struct Picture {
    installation: u128,
    roots: Vec<SignerKey>,
    rows: Vec<Row>,
}

/// One key.
struct Row {
    role: Service,
    key: SignerKey,
    /// In the signers file.
    is_listed: bool,
    added: Option<Standing>,
    /// The position after which it is not believed.
    withdrawn: Option<u64>,
}

const HEADER: [&str; 5] = ["role", "key", "introduced by", "at", "withdrawn at"];

impl Picture {
    /// Of these.
    pub fn of(signers: &Signers) -> Self {
        let (Listed { roots, keys }, learned) = (signers.listed(), signers.learned());
        let all: BTreeSet<&SignerKey> = keys.keys().chain(learned.added.keys()).collect();
        let row = |key: &SignerKey| {
            let (listed, added) = (keys.get(key).copied(), learned.added.get(key).cloned());
            // What the file says of a key holds.
            let role = listed.or(added.as_ref().map(|it| it.role))?;
            let withdrawn = learned.withdrawn.get(key).copied();
            Some(Row { role, key: key.clone(), is_listed: listed.is_some(), added, withdrawn })
        };
        let mut rows: Vec<_> = all.into_iter().filter_map(row).collect();
        let place = |role| Service::ALL.iter().position(|service| *service == role);
        rows.sort_by_key(|row| (place(row.role), row.added.as_ref().map_or(0, |it| it.since)));
        Self { installation: signers.installation().0, roots: roots.iter().cloned().collect(), rows }
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let keys = |keys: &[SignerKey]| json!(keys.iter().map(SignerKey::as_str).collect::<Vec<_>>());
        json!({
            "installation": text::id(self.installation),
            "roots": keys(&self.roots),
            "signers": self.rows.iter().map(Row::to_json).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn text(&self, screen: &Screen) -> String {
        let roots = match self.roots.as_slice() {
            [] => "root: none, so that no signer can be withdrawn; `keywheel signer new root` makes one"
                .to_owned(),
            roots => format!("root: {}", list(roots)),
        };
        format!("{}\n{roots}", screen.table(&HEADER, self.rows.iter().map(Row::cells).collect()))
    }

    /// What it would mean to withdraw a key.
    pub fn plan(&self, key: &SignerKey) -> String {
        let Some(row) = self.rows.iter().find(|row| row.key == *key) else {
            return format!("{key} is no signer's key, as far as the signers file and the log say.");
        };
        let role = row.role.name();
        let standing = || self.rows.iter().filter(|other| other.withdrawn.is_none() && other.key != *key);
        let others: Vec<_> =
            standing().filter(|other| other.role == row.role).map(|other| &other.key).collect();
        let mut lines = vec![format!(
            "{key} signs as {role} ({}). What it signs after this is believed by nobody, for ever; what it signed \
             before stays.",
            row.origin()
        )];
        lines.push(match others.as_slice() {
            [] => format!("No other key signs as {role}: it will be refused. Introduce its successor first."),
            others => {
                format!("Then {} sign{} as {role}.", list(others), if others.len() == 1 { "s" } else { "" })
            }
        });
        let is_by = |other: &&Row| other.added.as_ref().is_some_and(|it| it.by == *key);
        let own: Vec<_> = standing().filter(is_by).map(|other| &other.key).collect();
        if !own.is_empty() {
            lines.push(format!(
                "It introduced {}, which stays believed: withdraw what is not yours too.",
                list(&own)
            ));
        }
        lines.push(
            "Whoever signs with it must have stopped: what its service still writes counts for nothing."
                .to_owned(),
        );
        lines.join("\n")
    }
}

impl Row {
    fn origin(&self) -> String {
        match &self.added {
            Some(Standing { since, by, .. }) => format!("introduced by {by} at position {since}"),
            None => "by the signers file".to_owned(),
        }
    }

    fn cells(&self) -> Vec<Shown> {
        let dash = || Shown::plain("-");
        let (by, at) = match &self.added {
            Some(added) => (Shown::plain(&added.by), Shown::plain(added.since)),
            None => (Shown::plain("signers.toml"), dash()),
        };
        let withdrawn = self.withdrawn.map_or_else(dash, |at| Shown::with(at, Mood::Bad));
        let mood = if self.withdrawn.is_none() { Mood::Good } else { Mood::Past };
        vec![Shown::plain(self.role.name()), Shown::with(&self.key, mood), by, at, withdrawn]
    }

    fn to_json(&self) -> Value {
        json!({
            "role": self.role.name(),
            "key": self.key.as_str(),
            "in_signers_file": self.is_listed,
            "introduced_by": self.added.as_ref().map(|it| it.by.as_str()),
            "introduced_at": self.added.as_ref().map(|it| it.since),
            "withdrawn_at": self.withdrawn,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Output;
    use expect_test::expect;
    use keywheel_domain::Fact;
    use keywheel_domain::signer::{Introduced, Warrant, Withdrawn};
    use keywheel_token::Credential;
    use keywheel_wire::signers::Installation;

    const NAMES: [&str; 4] = ["UROOT", "ULISTED", "USTOLEN", "UTHIEF"];

    fn key() -> SignerKey {
        SignerKey::parse(Credential::fresh().public()).unwrap()
    }

    fn named(text: String, keys: &[SignerKey; 4]) -> String {
        keys.iter().zip(NAMES).fold(text, |text, (key, name)| text.replace(key.as_str(), name))
    }

    /// A listed issuer, one that the root introduced, one that the latter introduced.
    fn scene() -> ([SignerKey; 4], Signers) {
        let keys = [key(), key(), key(), key()];
        let [root, listed, stolen, thief] = &keys;
        let warrant = |by: &SignerKey| Warrant { by: by.clone(), signature: String::new() };
        let add = |key: &SignerKey, by| {
            Fact::SignerAdded(Introduced { key: key.clone(), role: Service::Issuer, warrant: warrant(by) })
        };
        let signers =
            Signers::rooted(Installation(7), [root.to_string()], [(listed.to_string(), Service::Issuer)]);
        let signers = signers.unwrap().after(5, &add(stolen, root)).unwrap();
        let signers = signers.after(9, &add(thief, stolen)).unwrap();
        (keys, signers)
    }

    fn withdrawn(signers: &Signers, key: &SignerKey) -> Signers {
        let warrant = Warrant { by: key.clone(), signature: String::new() };
        let gone = Withdrawn { key: key.clone(), reason: "leaked".to_owned(), warrant };
        signers.after(12, &Fact::SignerWithdrawn(gone)).unwrap()
    }

    #[test]
    fn each_key_says_by_whose_word_it_signs_from_where_to_where() {
        let (keys, signers) = scene();
        let picture = Picture::of(&withdrawn(&signers, &keys[1]));
        let text = named(picture.text(&Screen::new(Output::Text)), &keys);
        let words: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        expect![[r"
            ROLE KEY INTRODUCED BY AT WITHDRAWN AT
            issuer ULISTED signers.toml - 12
            issuer USTOLEN UROOT 5 -
            issuer UTHIEF USTOLEN 9 -
            root: UROOT"]]
        .assert_eq(&words.join("\n"));
        let third = picture.to_json()["signers"][2].to_string();
        expect![[r#"{"in_signers_file":false,"introduced_at":9,"introduced_by":"USTOLEN","key":"UTHIEF","role":"issuer","withdrawn_at":null}"#]]
        .assert_eq(&named(third, &keys));
    }

    #[test]
    fn a_withdrawal_names_who_remains_and_whom_the_key_introduced() {
        let (keys, signers) = scene();
        let plan = |signers: &Signers, key: &SignerKey| named(Picture::of(signers).plan(key), &keys);
        expect![[r#"
            USTOLEN signs as issuer (introduced by UROOT at position 5). What it signs after this is believed by nobody, for ever; what it signed before stays.
            Then ULISTED and UTHIEF sign as issuer.
            It introduced UTHIEF, which stays believed: withdraw what is not yours too.
            Whoever signs with it must have stopped: what its service still writes counts for nothing."#]].assert_eq(&plan(&signers, &keys[2]));
        let alone = withdrawn(&withdrawn(&signers, &keys[1]), &keys[2]);
        let told = plan(&alone, &keys[3]);
        assert!(told.contains("No other key signs as issuer: it will be refused"), "{told}");
        assert!(!told.contains("It introduced"), "{told}");
        let told = plan(&withdrawn(&signers, &keys[3]), &keys[2]);
        assert!(!told.contains("UTHIEF"), "withdrawn already: {told}");
        assert!(plan(&signers, &keys[0]).contains("no signer's key"));
    }

    #[test]
    fn a_key_of_another_role_does_not_stand_in() {
        let (issuer, retirer) = (key(), key());
        let listed = [(issuer.to_string(), Service::Issuer), (retirer.to_string(), Service::Retirer)];
        let told = Picture::of(&Signers::of(Installation(7), listed).unwrap()).plan(&issuer);
        assert!(told.contains("No other key signs as issuer"), "{told}");
    }
}
