//! How long things last, as options: one flag for each field of a policy.

use clap::{Args, ValueEnum};
use keywheel_domain::Span;
use keywheel_token::Recipient;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Every field of a policy, as it stands on the wire.
pub(crate) const FIELDS: [&str; 12] = [
    "overlap_min",
    "overlap_max",
    "on_overlap_max",
    "quiet",
    "class",
    "stale_max",
    "max_active",
    "every",
    "jitter",
    "recipient",
    "delivery_kept",
    "auto_rollback",
];

/// What happens at `overlap_max` when the old version was not quiet.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum OnMax {
    /// Retire it although somebody may still use it: the one exception to retiring on evidence alone
    Retire,
    /// Keep accepting it and raise an alarm
    Hold,
}

/// What an edge does with the keyring once its lease has run out.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Class {
    /// Refuse at once
    Strict,
    /// Go on serving what it knows, until stale_max
    Available,
}

/// What a single rotation may set for itself.
#[derive(Args, Debug, Default)]
pub struct OverlapOptions {
    /// The overlap of old and new lasts at least this long
    #[arg(long, value_name = "D", value_parser = Span::parse)]
    overlap_min: Option<Span>,
    /// An overlap that lasts longer raises an alarm, or ends (--on-overlap-max)
    #[arg(long, value_name = "D", value_parser = Span::parse)]
    overlap_max: Option<Span>,
    /// What happens at overlap_max
    #[arg(long, value_enum)]
    on_overlap_max: Option<OnMax>,
    /// How long an old version must be unused before it may retire
    #[arg(long, value_name = "D", value_parser = Span::parse)]
    quiet: Option<Span>,
    /// How long a sealed delivery is kept
    #[arg(long, value_name = "D", value_parser = Span::parse)]
    delivery_kept: Option<Span>,
}

/// Every field of a policy.
#[derive(Args, Debug, Default)]
pub struct PolicyOptions {
    #[command(flatten)]
    overlap: OverlapOptions,
    /// How often a rotation starts by itself, counted from the newest version; `never`: not at all, also
    /// where the tenant has a schedule
    #[arg(long, value_name = "D", value_parser = every)]
    every: Option<Span>,
    /// By how much such a start may be moved, so that not all start together
    #[arg(long, value_name = "D", value_parser = Span::parse)]
    jitter: Option<Span>,
    /// What an edge does once its lease has run out
    #[arg(long, value_enum)]
    class: Option<Class>,
    /// How long a stale edge serves an available keyring
    #[arg(long, value_name = "D", value_parser = Span::parse)]
    stale_max: Option<Span>,
    /// How many versions may be active or issued at once
    #[arg(long, value_name = "N")]
    max_active: Option<u32>,
    /// Public curve key (X…) to which a secret is sealed when the command names none
    #[arg(long, value_name = "XKEY", value_parser = recipient)]
    recipient: Option<String>,
    /// Undo a rotation by itself when this part of the keyring's requests, such as 0.05, is refused with the version
    /// that it retired; `never`: not at all, also where the tenant has it
    #[arg(long, value_name = "R", value_parser = ratio)]
    auto_rollback_ratio: Option<f64>,
    /// How many must be refused at least
    #[arg(long, value_name = "N", default_value = "10", requires = "auto_rollback_ratio")]
    auto_rollback_min: u64,
    /// For how long after the retirement that counts
    #[arg(long, value_name = "D", value_parser = Span::parse, default_value = "1h", requires = "auto_rollback_ratio")]
    auto_rollback_window: Span,
    /// Take a field back to what it falls back to; may be given several times
    #[arg(long, value_name = "FIELD", value_parser = field)]
    clear: Vec<&'static str>,
}

/// What stands for no schedule at all; on the wire it is `0s`.
pub(crate) const NEVER: &str = "never";

fn every(text: &str) -> Result<Span, String> {
    if text == NEVER { Ok(Span(0)) } else { Span::parse(text) }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = if text == NEVER { Ok(0.0) } else { text.parse::<f64>() };
    let ratio = ratio.ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| format!("`{text}` is no part of all; write 0.05 for 5 %, or never"))
}

fn recipient(text: &str) -> Result<String, String> {
    Recipient::parse(text).map(|public| public.as_str().to_owned()).map_err(|error| error.to_string())
}

fn field(text: &str) -> Result<&'static str, String> {
    let name = text.replace('-', "_");
    let found = FIELDS.into_iter().find(|field| *field == name);
    found.ok_or_else(|| format!("`{text}` is no field; it is one of {}", FIELDS.join(", ")))
}

fn put(fields: &mut Map<String, Value>, name: &str, value: Option<impl Serialize>) {
    fields.extend(value.map(|value| (name.to_owned(), json!(value))));
}

fn put_span(fields: &mut Map<String, Value>, name: &str, span: Option<Span>) {
    put(fields, name, span.map(|span| span.to_string()));
}

impl OverlapOptions {
    /// The fields that were given.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        put_span(&mut fields, "overlap_min", self.overlap_min);
        put_span(&mut fields, "overlap_max", self.overlap_max);
        put(&mut fields, "on_overlap_max", self.on_overlap_max);
        put_span(&mut fields, "quiet", self.quiet);
        put_span(&mut fields, "delivery_kept", self.delivery_kept);
        fields
    }
}

impl PolicyOptions {
    /// The change: fields that were given, and null for those that are cleared.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let mut fields = self.overlap.fields();
        put_span(&mut fields, "every", self.every);
        put_span(&mut fields, "jitter", self.jitter);
        put(&mut fields, "class", self.class);
        put_span(&mut fields, "stale_max", self.stale_max);
        put(&mut fields, "max_active", self.max_active);
        put(&mut fields, "recipient", self.recipient.as_ref());
        let auto = self.auto_rollback_ratio.map(|ratio| {
            let window = self.auto_rollback_window.to_string();
            json!({ "refused_ratio": ratio, "min_refused": self.auto_rollback_min, "window": window })
        });
        put(&mut fields, "auto_rollback", auto);
        fields.extend(self.clear.iter().map(|name| ((*name).to_owned(), Value::Null)));
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use keywheel_domain::policy::AutoRollback;
    use keywheel_domain::{Policy, PolicyPatch};
    use keywheel_wire::policy::{WirePatch, whole};

    #[test]
    fn a_change_has_what_was_given_and_null_for_what_is_cleared() {
        let options = PolicyOptions {
            overlap: OverlapOptions {
                overlap_min: Some(Span::hours(24)),
                on_overlap_max: Some(OnMax::Retire),
                ..OverlapOptions::default()
            },
            class: Some(Class::Strict),
            max_active: Some(2),
            clear: vec!["every"],
            ..PolicyOptions::default()
        };
        expect![[
            r#"{"class":"strict","every":null,"max_active":2,"on_overlap_max":"retire","overlap_min":"1d"}"#
        ]]
        .assert_eq(&Value::Object(options.fields()).to_string());
        assert!(PolicyOptions::default().fields().is_empty());
    }

    #[test]
    fn fields_are_those_of_the_wire() {
        let policy = Policy {
            every: Some(Span::days(30)),
            recipient: Some("X".to_owned()),
            auto_rollback: Some(AutoRollback {
                refused_permille: 50,
                min_refused: 10,
                window: Span::hours(1),
            }),
            ..Policy::default()
        };
        let Value::Object(fields) = serde_json::to_value(whole(&policy)).unwrap() else { panic!() };
        let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
        names.sort_unstable();
        let mut ours = FIELDS;
        ours.sort_unstable();
        assert_eq!(names, ours);
        assert_eq!(serde_json::to_value(WirePatch::from(&PolicyPatch::NONE)).unwrap(), json!({}));
        assert_eq!(field("overlap-max"), Ok("overlap_max"));
        assert!(field("nothing").is_err());
        assert_eq!((every("never"), every("30d")), (Ok(Span(0)), Ok(Span::days(30))));
        assert!(every("sometimes").is_err());
        assert_eq!((ratio("never"), ratio("0.05")), (Ok(0.0), Ok(0.05)));
        assert!(ratio("5").is_err() && ratio("-0.1").is_err() && ratio("NaN").is_err());
    }
}
