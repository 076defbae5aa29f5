//! `keywheel import`: adopt existing keys by their digests, so that their owners keep them.

use crate::arguments;
use crate::await_activation::{activation, proof_words};
use crate::failure::Failure;
use crate::import_bulk::{Wanted, adopt};
use crate::import_rows::{Sheet, read_csv, read_digests};
use crate::issue::Made;
use crate::session::{Session, now};
use crate::spec::SpecOptions;
use clap::{Args, ValueEnum};
use keywheel_domain::{Address, KeyringId};
use keywheel_runtime::exit;
use keywheel_token::{digest_hex, parse_digest_hex};
use keywheel_wire::subject::Verb;
use serde_json::{Map, Value};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The options of `import`.
#[derive(Args, Debug)]
#[command(after_help = "The digest of an existing key, which never leaves your hands:
  printf %s \"$KEY\" | sha256sum

Examples:
  keywheel import acme/checkout --digest \"$(printf %s \"$KEY\" | sha256sum | cut -d' ' -f1)\"
  keywheel import acme/checkout --digest-file digests.txt --scope orders:read
  keywheel import --csv keys.csv --dry-run
  keywheel import --csv keys.csv --report skipped.csv

keys.csv names its columns in its first line: tenant, client and digest; where wanted label, scopes and cidrs
(several with a space or ; between them), expires_at or expires_in, and meta.NAME:
  tenant,client,digest,scopes,expires_at,meta.owner
  acme,checkout,9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08,orders:read,2027-01-31T12:00:00Z,billing

Killed or cut off, the same command again does the rest and nothing twice. A refusal is remembered for 24 hours;
a new --command-id asks again for the rows that were refused.")]
pub struct Import {
    /// Whose key: tenant/client
    #[arg(value_name = "T/C", value_parser = arguments::keyring, required_unless_present = "csv", conflicts_with = "csv")]
    keyring: Option<KeyringId>,
    /// SHA-256 of the whole key text, 64 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = digest, requires = "keyring")]
    #[arg(required_unless_present_any = ["csv", "digest_file"], conflicts_with_all = ["csv", "digest_file"])]
    digest: Option<String>,
    /// A file of digests, one a line; - reads standard input
    #[arg(long, value_name = "FILE", requires = "keyring", conflicts_with = "csv")]
    digest_file: Option<PathBuf>,
    /// A CSV table of keys of any tenants and clients; - reads standard input
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Your own name for it
    #[arg(long, value_name = "TEXT", conflicts_with = "csv")]
    label: Option<String>,
    #[command(flatten)]
    spec: SpecOptions,
    #[command(flatten)]
    bulk: BulkOptions,
}

/// How a file is imported.
#[derive(Args, Debug)]
pub struct BulkOptions {
    /// With a file: send nothing if any row is wrong
    #[arg(long, conflicts_with = "digest")]
    strict: bool,
    /// With a file: check it, and send nothing
    #[arg(long, conflicts_with = "digest")]
    dry_run: bool,
    /// With a file: write the skipped rows there, as CSV
    #[arg(long, value_name = "FILE", conflicts_with = "digest")]
    report: Option<PathBuf>,
    /// With a file: wait until every edge knows the keys, or only until they are accepted
    #[arg(long, value_enum, default_value = "active", conflicts_with = "digest")]
    until: Until,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Until {
    Accepted,
    Active,
}

fn digest(text: &str) -> Result<String, String> {
    parse_digest_hex(text).map(|digest| digest_hex(&digest)).map_err(|error| error.to_string())
}

impl Import {
    /// Adopts the keys and waits until every edge knows them.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        match (&self.keyring, &self.csv, &self.digest_file, &self.digest) {
            (Some(keyring), _, _, Some(digest)) => self.adopt_one(session, keyring, digest).await,
            (Some(keyring), _, Some(file), None) => {
                let sheet = read_digests(&read_file(file)?, keyring, &self.common());
                self.adopt_many(session, file, sheet).await
            }
            (_, Some(file), ..) => {
                if !self.spec.fields().is_empty() {
                    let detail = "what the keys permit stands in the CSV file: the columns scopes, cidrs, expires_in, meta.NAME";
                    return Err(Failure::usage(detail));
                }
                let sheet = read_csv(&read_file(file)?, now());
                self.adopt_many(session, file, sheet).await
            }
            (..) => Err(Failure::usage("name --digest, --digest-file or --csv")),
        }
    }

    fn common(&self) -> Map<String, Value> {
        let mut fields = self.spec.fields();
        fields.extend(self.label.clone().map(|label| ("label".to_owned(), Value::String(label))));
        fields
    }

    async fn adopt_many(
        &self,
        session: &Session<'_>,
        file: &Path,
        sheet: Result<Sheet, String>,
    ) -> Result<u8, Failure> {
        let bad = |detail: String| Failure::refused("malformed", format!("{}: {detail}", file.display()));
        let BulkOptions { strict, dry_run, report, until } = &self.bulk;
        let wanted = Wanted {
            strict: *strict,
            dry_run: *dry_run,
            until_active: *until == Until::Active,
            report: report.clone(),
        };
        adopt(session, sheet.map_err(bad)?, wanted).await
    }

    async fn adopt_one(
        &self,
        session: &Session<'_>,
        keyring: &KeyringId,
        digest: &str,
    ) -> Result<u8, Failure> {
        let deadline = session.deadline();
        let document = session.document().with("digest", Some(digest)).with_all(self.common());
        let address = Address::Keyring(keyring.clone());
        let outcome = session.decide(&address, Verb::Import, document, deadline).await?;
        let made = Made::of(keyring, &outcome)?;
        let active = activation(session, keyring, made.version, made.event.seq, deadline).await?;
        let mut document = made.to_json("active");
        if let (Value::Object(fields), Value::Object(proof)) = (&mut document, active.to_json()) {
            fields.extend(proof);
        }
        let proof = proof_words(&active.activated);
        let text = format!("{keyring} {} is adopted and active; {proof}", made.version);
        session.screen.show(&document, &text)?;
        Ok(exit::DONE)
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}
