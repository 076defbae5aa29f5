//! `keywheel verify`: what an edge says of a key.

use crate::arguments::GlobalOptions;
use crate::context::Context;
use crate::failure::Failure;
use crate::key_input::from_stdin;
use crate::probe::{self, Answer, Required};
use crate::screen::Screen;
use clap::Args;
use keywheel_runtime::{exit, plain};
use serde_json::json;
use std::net::IpAddr;

/// The options of `verify`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  echo \"$KEY\" | keywheel verify --key-stdin --scope orders:read --ip 10.0.0.7

Ends with 0 when the key is valid, with 1 when it is not.")]
pub struct Verify {
    /// Take the key from standard input, as one line
    #[arg(long, required = true)]
    key_stdin: bool,
    /// A scope that the key must carry; may be given several times
    #[arg(long = "scope", value_name = "S")]
    scopes: Vec<String>,
    /// The address that the key would be used from
    #[arg(long, value_name = "A")]
    ip: Option<IpAddr>,
    /// Which edge to ask [default: the first that answers]
    #[arg(long, value_name = "ID")]
    edge: Option<String>,
}

impl Verify {
    /// Asks and shows the verdict.
    pub(crate) async fn run(
        self,
        context: &Context,
        options: &GlobalOptions,
        screen: &Screen,
    ) -> Result<u8, Failure> {
        let key = from_stdin(screen)?;
        let ip = self.ip.map(|ip| ip.to_string());
        let required = Required { scopes: &self.scopes, ip: ip.as_deref() };
        let asking = probe::ask(context, self.edge.as_deref(), &key, required);
        let answer = crate::deadline::Deadline::within_or_never(options.timeout);
        let answer = tokio::time::timeout(answer.left(), asking)
            .await
            .map_err(|_| Failure::unfinished("no edge has answered in time"))??;
        let mut document = answer.document.clone();
        document["edge"] = json!(answer.edge);
        screen.show(&document, &plain::line(&words(&answer)))?;
        Ok(if answer.verdict.valid { exit::DONE } else { exit::REFUSED })
    }
}

fn words(answer: &Answer) -> String {
    let verdict = &answer.verdict;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    if !verdict.valid {
        return format!("not valid: {}, says {}", text(&verdict.code), answer.edge);
    }
    let version = verdict.version.map_or_else(String::new, |version| format!("v{version}"));
    let mut line = format!(
        "valid: {}/{} {version} ({}, kid {})",
        text(&verdict.tenant),
        text(&verdict.client),
        text(&verdict.state),
        text(&verdict.kid)
    );
    if !verdict.scopes.is_empty() {
        line.push_str(&format!(", scopes {}", verdict.scopes.join(" ")));
    }
    let ends = [("expires", &verdict.expires_at), ("retires", &verdict.retires_at)];
    for (word, end) in ends.into_iter().filter_map(|(word, end)| Some((word, end.as_ref()?))) {
        line.push_str(&format!(", {word} {end}"));
    }
    format!("{line}, says {}", answer.edge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Verdict;
    use expect_test::{Expect, expect};
    use serde::Deserialize;
    use serde_json::Value;

    fn check(document: Value, expected: Expect) {
        let verdict = Verdict::deserialize(&document).unwrap();
        expected.assert_eq(&words(&Answer { edge: "edge-1".to_owned(), document, verdict }));
    }

    #[test]
    fn a_verdict_is_one_line() {
        check(json!({"valid": false, "code": "revoked"}), expect!["not valid: revoked, says edge-1"]);
        check(
            json!({"valid": true, "tenant": "acme", "client": "app", "kid": "0123456789", "version": 1,
                "state": "retiring", "scopes": ["a", "b"], "expires_at": null, "retires_at": "2027-01-15T08:00:00.000Z"}),
            expect![
                "valid: acme/app v1 (retiring, kid 0123456789), scopes a b, retires 2027-01-15T08:00:00.000Z, says edge-1"
            ],
        );
    }
}
