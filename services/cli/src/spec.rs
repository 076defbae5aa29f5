//! What a key permits, as options of the commands that make one.

use clap::Args;
use keywheel_domain::Span;
use serde_json::{Map, Value, json};

/// What the key permits.
#[derive(Args, Debug, Default)]
pub struct SpecOptions {
    /// A scope that the key carries; may be given several times
    #[arg(long = "scope", value_name = "S")]
    scopes: Vec<String>,
    /// An address range that the key may be used from, such as 10.0.0.0/8; may be given several times
    #[arg(long = "cidr", value_name = "N")]
    cidrs: Vec<String>,
    /// After how long every edge refuses it by its own clock, such as 90d
    #[arg(long, value_name = "D", value_parser = Span::parse)]
    expires_in: Option<Span>,
    /// Free text for people and reports; may be given several times
    #[arg(long, value_name = "K=V", value_parser = entry)]
    meta: Vec<(String, String)>,
}

fn entry(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("`{text}` is no entry; write NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

impl SpecOptions {
    /// The scopes that were given.
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// The fields of the command: what was not given is left out.
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            fields.extend(value.map(|value| (name.to_owned(), value)));
        };
        put("scopes", (!self.scopes.is_empty()).then(|| json!(self.scopes)));
        put("cidrs", (!self.cidrs.is_empty()).then(|| json!(self.cidrs)));
        put("expires_in", self.expires_in.map(|span| json!(span.to_string())));
        let meta: Map<String, Value> =
            self.meta.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        put("meta", (!meta.is_empty()).then_some(Value::Object(meta)));
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn what_was_not_given_is_left_out() {
        assert!(SpecOptions::default().fields().is_empty());
        let spec = SpecOptions {
            scopes: vec!["orders:read".to_owned()],
            cidrs: Vec::new(),
            expires_in: Some(Span::days(90)),
            meta: vec![("owner".to_owned(), "billing=eu".to_owned())],
        };
        expect![[r#"{"expires_in":"90d","meta":{"owner":"billing=eu"},"scopes":["orders:read"]}"#]]
            .assert_eq(&Value::Object(spec.fields()).to_string());
        assert_eq!(entry("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(entry("a").is_err());
    }
}
