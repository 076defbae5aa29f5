//! Documents that differ from a sample in one place: by each value that is a bound of some schema, by the ones just
//! outside, by what is missing, doubled or unheard of.

use crate::schemas::{Schemas, number, visit};
use serde_json::{Map, Value, json};

/// Values to put in any place.
pub struct Palette {
    pub values: Vec<Value>,
    counts: Vec<usize>,
}

impl Palette {
    /// What the schemas bound, from inside and from outside, and what has broken readers before.
    pub fn of(schemas: &Schemas) -> Palette {
        let mut palette = Palette { values: usual(), counts: vec![0, 1] };
        for document in schemas.clone().documents.values_mut() {
            visit(document, &mut |schema| palette.take(schema));
        }
        palette.counts.sort_unstable();
        palette.counts.dedup();
        palette.values.sort_by_key(Value::to_string);
        palette.values.dedup();
        palette
    }

    fn take(&mut self, schema: &Map<String, Value>) {
        let words = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        for word in words.chain(schema.get("const")) {
            self.values.push(word.clone());
            self.values.extend(word.as_str().map(|word| json!(word.to_uppercase())));
        }
        for bound in ["minimum", "maximum"].iter().filter_map(|name| schema.get(*name)) {
            let bound = bound.as_u64().unwrap_or_default();
            self.values.extend([
                json!(bound),
                json!(bound.saturating_sub(1)),
                json!(bound.saturating_add(1)),
            ]);
        }
        for bound in ["minLength", "maxLength", "bytesMax"].iter().filter_map(|name| schema.get(*name)) {
            let bound = number(bound);
            for length in [bound - 1, bound, bound + 1] {
                self.values.extend([json!("a".repeat(length)), json!("é".repeat(length / 2))]);
            }
            self.values.push(json!("é".repeat(bound / 2 + 1)));
        }
        for bound in ["maxItems", "maxProperties"].iter().filter_map(|name| schema.get(*name)) {
            self.counts.extend([number(bound), number(bound) + 1]);
        }
    }
}

/// Texts near the edges of what some format takes.
const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "A",
    "_",
    "-",
    "a b",
    "a.b",
    "a\n",
    "a\u{7f}",
    "a\u{85}",
    "a\0",
    "ünïcode ⚙",
    "*",
    "read:all",
    "null",
    "0",
    "1",
    "-1",
    "+1",
    "0ms",
    "0s",
    "00d",
    "1ms",
    "30s",
    "15m",
    "24h",
    "7d",
    "2w",
    "1y",
    "1",
    "1.5h",
    "-1s",
    "+1s",
    " 1s",
    "1 s",
    "1S",
    "36500d",
    "36501d",
    "3153600000000ms",
    "3153600000001ms",
    "3153600001s",
    "876001h",
    "5214w",
    "5215w",
    "18446744073709551615ms",
    "18446744073709551616ms",
    "18446744073709551615s",
    "000000000000000000000000001s",
    "1970-01-01T00:00:00Z",
    "1969-12-31T23:59:59.999Z",
    "2026-01-31T12:00:00.123Z",
    "2026-01-31T12:00:00+01:00",
    "2026-01-31T12:00:00",
    "2026-01-31",
    "2026-02-30T12:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-01-31T24:00:00Z",
    "9999-12-31T23:59:59.999Z",
    "10000-01-01T00:00:00Z",
    "2026-01-31T12:00:00.1234567Z",
    "noon",
    "22222222-2222-4222-8222-222222222200",
    "ABCDEFAB-2222-4222-8222-222222222200",
    "00000000-0000-0000-0000-000000000000",
    "22222222-2222-4222-8222-22222222220",
    "22222222222242228222222222222200",
    "{22222222-2222-4222-8222-222222222200}",
    "urn:uuid:22222222-2222-4222-8222-222222222200",
    "2222222-22222-4222-8222-222222222200",
    "0aZ9kidkid",
    "0aZ9kidki",
    "0aZ9kidkid0",
    "0aZ9kidki_",
    "edge-a",
    "Edge-a",
    "edge_a",
    "-edge",
    "_edge",
    "10.0.0.0/8",
    "10.0.0.0/32",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/",
    "10.0.0.0",
    "10.0.0",
    "2001:db8::/32",
    "2001:db8::/129",
    "2001:db8::1",
    "::",
    "localhost",
    "fe80::1%eth0",
    "aGk=",
    "aGk",
    "a===",
    "KeyPolished",
    crate::documents::RECIPIENT,
    "XBL5WSZVT4R24XQUNZHCKEQFM4CHEJIGGSGBKDAUOU6QZEZ5ATKCD723",
    "UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF",
];

fn usual() -> Vec<Value> {
    let mut values: Vec<Value> = TEXTS.iter().map(|text| json!(text)).collect();
    values.extend([
        json!(null),
        json!(true),
        json!(false),
        json!(-1),
        json!(1.5),
        json!([]),
        json!([0]),
        json!([1]),
    ]);
    values.extend([
        json!(["a"]),
        json!([""]),
        json!([null]),
        json!([[]]),
        json!({}),
        json!({ "a": "b" }),
        json!({ "a": 1 }),
    ]);
    values.extend([json!({ "": "x" }), json!({ "a": "" }), json!({ "a": null }), json!({ "unheard_of": 1 })]);
    for digit in ["a", "A", "0", "g", "+", "é"] {
        values.extend([63, 64, 65].map(|length| json!(digit.repeat(length))));
    }
    values.push(json!("+a".repeat(32)));
    values
}

/// Each mutant with the pointer of its place and what was done there.
pub fn of(sample: &Value, others: &[Value], palette: &Palette) -> Vec<(String, Value)> {
    let mut mutants = Vec::new();
    for place in places(sample) {
        let mut put = |what: &str, value: Option<Value>| {
            mutants.push((format!("{place} {what}"), changed(sample, &place, value)));
        };
        if !place.is_empty() {
            put("removed", None);
        }
        for value in &palette.values {
            let shown: String = value.to_string().chars().take(60).collect();
            put(&format!("= {shown}"), Some(value.clone()));
        }
        match sample.pointer(&place).unwrap() {
            Value::Array(items) => {
                let Some(first) = items.first() else { continue };
                for count in &palette.counts {
                    put(&format!("{count} times"), Some(json!(vec![first.clone(); *count])));
                }
            }
            Value::Object(fields) => {
                for value in [json!(null), json!(1), json!("x"), json!({ "deep": [] })] {
                    put("unheard_of", Some(with(fields, [("unheard_of".to_owned(), value)])));
                }
                for count in palette.counts.iter().filter(|_| !fields.is_empty()) {
                    let value = fields.values().next().unwrap();
                    let many = (0..*count).map(|n| (format!("many{n}"), value.clone()));
                    put(&format!("{count} members"), Some(with(&Map::new(), many)));
                }
                let same_place = others.iter().filter_map(|other| other.pointer(&place)?.as_object());
                for (name, value) in same_place.flatten().filter(|(name, _)| !fields.contains_key(*name)) {
                    put(&format!("and {name}"), Some(with(fields, [(name.clone(), value.clone())])));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    mutants
}

fn with(fields: &Map<String, Value>, more: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::Object(fields.clone().into_iter().chain(more).collect())
}

/// The pointer of every value in a document, its own first.
pub fn places(value: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(name, value)| (token(name), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (token, value) in inner {
        found.extend(places(value).into_iter().map(|place| format!("/{token}{place}")));
    }
    found
}

fn token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn changed(sample: &Value, place: &str, value: Option<Value>) -> Value {
    let mut document = sample.clone();
    if let Some(value) = value {
        *document.pointer_mut(place).unwrap() = value;
        return document;
    }
    let (outer, last) = place.rsplit_once('/').unwrap();
    match document.pointer_mut(outer).unwrap() {
        Value::Object(map) => drop(map.remove(&last.replace("~1", "/").replace("~0", "~"))),
        Value::Array(list) => drop(list.remove(last.parse().unwrap())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => unreachable!("{place}"),
    }
    document
}
