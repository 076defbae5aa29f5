//! The schemas as they lie in the checkout, with the two keywords and two formats that are the contract's own.

use jsonschema::paths::Location;
use jsonschema::{Keyword, Registry, ValidationError, Validator};
use keywheel_domain::Span;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Where relative references are resolved; nothing is ever fetched from there.
const BASE: &str = "keywheel:/schemas/";

/// Every schema by its path below `schemas/`, and the documents that refer to them.
#[derive(Clone)]
pub struct Schemas {
    pub documents: BTreeMap<String, Value>,
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

pub fn read_json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Schemas {
    pub fn load() -> Schemas {
        let listed = |below: &str| -> Vec<String> {
            let entries = std::fs::read_dir(folder().join(below)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.ends_with(".json")).map(|name| format!("{below}{name}")).collect()
        };
        let paths = listed("").into_iter().chain(listed("v1/"));
        Schemas { documents: paths.map(|path| (path.clone(), read_json(&folder().join(&path)))).collect() }
    }

    /// The schemas alone, by name: `event` for `v1/event.schema.json`.
    pub fn named(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.documents.iter().filter_map(|(path, schema)| {
            Some((path.strip_prefix("v1/")?.strip_suffix(".schema.json")?, schema))
        })
    }

    pub fn schema(&self, name: &str) -> &Value {
        self.documents.get(&path(name)).unwrap_or_else(|| panic!("no schema {name}"))
    }

    /// The validator of a schema by name.
    pub fn of(&self, name: &str) -> Validator {
        self.at(&path(name))
    }

    /// The validator of the schema at a path below `schemas/`, with a JSON pointer as fragment where it is a part.
    pub fn at(&self, reference: &str) -> Validator {
        let entries = self.documents.iter().map(|(path, document)| {
            let resource = jsonschema::Draft::Draft202012.create_resource(document.clone());
            (format!("{BASE}{path}"), resource)
        });
        let registry = Registry::new().extend(entries).unwrap().prepare().unwrap();
        let schema = json!({ "$ref": format!("{BASE}{reference}") });
        options().with_registry(&registry).build(&schema).unwrap_or_else(|e| panic!("{reference}: {e}"))
    }

    /// The same schemas, each object closed: a field that the contract does not name is refused.
    pub fn closed(&self) -> Schemas {
        let mut schemas = self.clone();
        schemas.documents.values_mut().for_each(|document| visit(document, &mut close));
        schemas
    }
}

fn path(name: &str) -> String {
    format!("v1/{name}.schema.json")
}

/// A validator's settings: formats count, unknown ones are mistakes, nothing is fetched.
pub fn options<'i>() -> jsonschema::ValidationOptions<'i> {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .offline()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .with_format("xkey", |text: &str| keywheel_wire::command::check_recipient("", text).is_ok())
        .with_format("signer-key", |text: &str| keywheel_wire::warrant::public("", text).is_ok())
        .with_format("address-range", is_address_range)
        .with_keyword("bytesMax", |_, bound: &Value, _: Location| Ok(keyword(BytesMax(number(bound)))))
        .with_keyword("durationMax", |_, bound: &Value, _: Location| {
            Ok(keyword(DurationMax(Span::parse(bound.as_str().unwrap()).unwrap())))
        })
}

/// What is wrong with a document, or nothing.
pub fn wrong(validator: &Validator, document: &Value) -> Option<String> {
    let said: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn keyword(keyword: impl for<'i> Keyword<'i> + 'static) -> Box<dyn for<'i> Keyword<'i>> {
    Box::new(keyword)
}

pub fn number(bound: &Value) -> usize {
    usize::try_from(bound.as_u64().unwrap()).unwrap()
}

/// `bytesMax`: the length of a text in bytes of UTF-8, which no standard keyword counts.
struct BytesMax(usize);

impl<'i> Keyword<'i> for BytesMax {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        let fits = self.is_valid(instance);
        if fits { Ok(()) } else { Err(ValidationError::custom(format!("more than {} bytes", self.0))) }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        instance.as_str().is_none_or(|text| text.len() <= self.0)
    }
}

/// `durationMax`: the longest that a length of time may be.
struct DurationMax(Span);

impl<'i> Keyword<'i> for DurationMax {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        let fits = self.is_valid(instance);
        if fits { Ok(()) } else { Err(ValidationError::custom(format!("longer than {}", self.0))) }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        instance.as_str().is_none_or(|text| millis(text).is_none_or(|span| span <= u128::from(self.0.0)))
    }
}

/// Counted apart from the code under test. A text that is no length is the pattern's affair.
fn millis(text: &str) -> Option<u128> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return None,
    };
    text.strip_suffix(unit)?.parse::<u128>().ok()?.checked_mul(factor)
}

fn is_address_range(text: &str) -> bool {
    let (address, length) = text.split_once('/').map_or((text, None), |(a, length)| (a, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    length.is_none_or(|length| length.parse::<u8>().is_ok_and(|length| length <= bits))
}

/// Visits every schema object in a document, the outermost first.
pub fn visit(value: &mut Value, act: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            act(map);
            map.values_mut().for_each(|value| visit(value, act));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| visit(value, act)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn close(schema: &mut Map<String, Value>) {
    if schema.get("type").is_some_and(|kind| kind == "object") && schema.contains_key("properties") {
        schema.entry("additionalProperties").or_insert(Value::Bool(false));
    }
}

#[test]
fn the_schemas_are_schemas() {
    let schemas = Schemas::load();
    let mut seen = 0;
    for (name, schema) in schemas.named() {
        if let Err(error) = jsonschema::draft202012::meta::validate(schema) {
            panic!("{name}: {error} at {}", error.instance_path());
        }
        assert_eq!(schema["$id"], json!(format!("{name}.schema.json")));
        schemas.of(name);
        seen += 1;
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn the_contracts_own_keywords_can_say_no() {
    let check = |schema: Value, good: &str, bad: &str| {
        let validator = options().build(&schema).unwrap();
        assert!(validator.is_valid(&json!(good)), "{schema}: {good}");
        assert!(!validator.is_valid(&json!(bad)), "{schema}: {bad}");
    };
    check(json!({ "bytesMax": 4 }), "éé", "ééa");
    check(json!({ "durationMax": "36500d" }), "876000h", "876001h");
    check(json!({ "format": "address-range" }), "10.0.0.0/32", "10.0.0.0/33");
    check(json!({ "format": "xkey" }), crate::documents::RECIPIENT, &format!("X{}", "A".repeat(55)));
    assert!(options().build(&json!({ "format": "unheard-of" })).is_err());
    assert!(options().build(&json!({ "$ref": "keywheel:/schemas/nowhere.json" })).is_err());
}
