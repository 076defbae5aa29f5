//! The command line as the one binary composes it.

use crate::{GlobalOptions, Operator, Output, run};
use clap::{CommandFactory, Parser, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    options: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up {
        #[arg(long)]
        home: Option<PathBuf>,
    },
    #[command(flatten)]
    Operator(Box<Operator>),
}

const ID: &str = "0190a0c2-7b7e-7d3e-8f00-000000000001";

/// Every line that people are shown or would type.
const FINE: &[&str] = &[
    "issue acme/app",
    "issue acme/app --scope a --scope b --cidr 10.0.0.0/8 --expires-in 90d --meta k=v --meta l=w",
    "issue acme/app --standing-recipient --output json --timeout 30s --actor alice",
    "rotate acme/app",
    "rotate acme/app --until retired --overlap-min 1h --quiet 10m --on-overlap-max retire",
    "rotate acme/app --until accepted --supersedes 1 --supersedes v2 --delivery-kept 2d",
    "rotate acme --all",
    "rotate acme --all --scope a --older-than 90d --last-rotation-before 2026-01-31T12:00:00Z",
    "retire acme/app --version 1",
    "revoke acme/app --version 2 --reason leaked",
    "revoke acme/app --all --reason leaked",
    "revoke --key-stdin --reason leaked",
    "activate acme/app --version 2 --reason drill",
    "rollback acme/app",
    "rollback acme/app --to-seq 12 --yes",
    "rollback acme/app --dry-run --output json",
    "rollback acme --all --to-time 2026-01-31T12:00:00Z --scope a --older-than 1h --dry-run",
    "rollback acme/app --to-time 2026-01-31T12:00:00Z --revoke-new",
    "rollback acme/app --rotation 0190a0c2-7b7e-7d3e-8f00-000000000001 -y",
    "import acme/app --digest 2e51627a53aac4c0ebf52c6b11fe100c5081edb20dee1a928e4b854f694454be --label x",
    "import acme/app --digest-file digests.txt --scope a --expires-in 90d --label x",
    "import acme/app --digest-file -",
    "import --csv keys.csv --strict --report skipped.csv --until accepted",
    "import --csv - --dry-run",
    "policy get acme",
    "policy get acme/app",
    "policy set acme/app --quiet 1h --class strict --max-active 2 --clear every --clear overlap-max",
    "policy set acme --every 30d --jitter 1d --stale-max 24h --overlap-max 30d",
    "policy set acme --auto-rollback-ratio 0.05 --auto-rollback-min 20 --auto-rollback-window 1h",
    "policy set acme/app --auto-rollback-ratio never --clear auto-rollback",
    "recipient new",
    "recipient new --file me.xk",
    "recipient show",
    "fetch acme/app --version 2 --recipient-file me.xk",
    "status",
    "status acme",
    "status acme/app --output json",
    "edges",
    "edges --listen 3s",
    "log",
    "log acme --follow",
    "log acme/app -f --from-seq 7 --output json",
    "state acme/app --at 2026-01-31T12:00:00Z",
    "state acme --at-seq 12 --output json",
    "diff acme/app --from 2026-01-31T12:00:00Z --to 2026-02-01T12:00:00+01:00",
    "diff acme --from 12",
    "would-accept --kid 0123456789 --at 2026-01-31T12:00:00Z",
    "would-accept acme/app --kid 0123456789 --at-seq 12 --edge e1 --scope a --scope b --ip 10.0.0.7 --lease 15s",
    "verify --key-stdin",
    "verify --key-stdin --scope a --scope b --ip 10.0.0.7 --edge edge-1",
    "signer new issuer",
    "signer new root --file root.nk --output json",
    "signer add usage-tracker --key UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF",
    "signer add issuer --key UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF --sign-with issuer.nk",
    "signer withdraw UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF --reason leaked",
    "signer withdraw UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF --reason leaked --root root.nk --yes",
    "signer list --output json",
    "audit verify",
    "audit verify --remember verified.json --listen 3s",
    "audit verify --file log.jsonl --signers signers.toml --output json",
    "audit export --format jsonl --file log.jsonl",
    "audit export --format csv --tenant acme --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z",
    "audit export --format cloudevents",
    "audit proof --rotation 0190a0c2-7b7e-7d3e-8f00-000000000001 --of acme/app --kind quiet",
    "audit proof --rotation 0190a0c2-7b7e-7d3e-8f00-000000000001 --dir proofs",
    "audit check a.json b.json --signers signers.toml",
    "audit report inventory",
    "audit report ledger --from 2026-01-01T00:00:00Z --to 2026-04-01T00:00:00Z --format csv --file l.csv",
    "audit report compromise --format html",
    "--output json --context x.json status",
    "up --home x",
];

const WRONG: &[&str] = &[
    "issue",
    "issue acme",
    "issue ACME/app",
    "issue acme/app --expires-in 90",
    "issue acme/app --meta k",
    "issue acme/app --recipient X --standing-recipient",
    "rotate acme/app --until later",
    "rotate acme/app --supersedes 0",
    "retire acme/app",
    "revoke acme/app --reason leaked",
    "revoke acme/app --version 1",
    "revoke acme/app --version 1 --all --reason leaked",
    "revoke acme/app --key-stdin --reason leaked",
    "revoke --version 1 --reason leaked",
    "rollback acme/app --to-seq 1 --to-time 2026-01-31T12:00:00Z",
    "rollback acme --all",
    "rollback acme --all --to-seq 7",
    "rotate acme/app --older-than 90d",
    "import acme/app --digest 00",
    "import acme/app",
    "import --digest-file digests.txt",
    "import acme/app --csv keys.csv",
    "import acme/app --digest-file a --csv keys.csv",
    "policy set acme --clear nothing",
    "policy set acme --recipient nobody",
    "policy set acme --auto-rollback-ratio 5",
    "policy set acme --auto-rollback-min 5",
    "verify",
    "status --output yaml",
    "signer",
    "signer new",
    "signer new edge",
    "signer add issuer",
    "signer add root --key UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF",
    "signer add issuer --key SUAMLK2ZNL35WSMW37E7UD4VZ7ELPKW7DHC3BWBSD2GCZ7IUQQXZIORRBU",
    "signer withdraw UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF",
    "signer withdraw --reason leaked",
    "audit",
    "audit verify --signers signers.toml",
    "audit verify --file log.jsonl --remember x.json",
    "audit export",
    "audit proof",
    "audit proof --rotation 7",
    "audit check",
    "audit report",
    "audit report everything",
    "audit export --format jsonl --tenant ACME",
    "state acme/app",
    "state --at-seq 3",
    "state acme --at 2026-01-31T12:00:00Z --at-seq 3",
    "state acme --at-seq 0",
    "state acme --at yesterday",
    "diff acme/app",
    "diff acme --from 3 --to soon",
    "would-accept --at-seq 3",
    "would-accept --kid 0123456789",
    "would-accept --kid short --at-seq 3",
    "would-accept acme --kid 0123456789 --at-seq 3",
    "would-accept --kid 0123456789 --at-seq 3 --ip nowhere",
];

fn parse(line: &str) -> Result<Program, clap::Error> {
    Program::try_parse_from(std::iter::once("keywheel").chain(line.split(' ')))
}

#[test]
fn the_command_line_is_sound() {
    Program::command().debug_assert();
}

#[test]
fn what_people_type_is_understood() {
    for line in FINE {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for line in WRONG {
        let error = parse(line).err().unwrap_or_else(|| panic!("{line} was understood"));
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn options_may_stand_before_and_after_the_command() {
    for line in ["--output json --timeout 5s status", "status --timeout 5s --output json"] {
        let options = parse(&format!("{line} --command-id {ID}")).unwrap().options;
        assert_eq!(options.output, Output::Json);
        assert_eq!(options.timeout.map(|span| span.to_string()), Some("5s".to_owned()));
        assert!(options.command_id.is_some());
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    fn check(command: &clap::Command) {
        let inner: Vec<_> = command.get_subcommands().filter(|inner| inner.get_name() != "help").collect();
        inner.iter().for_each(|inner| check(inner));
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let has_example = help.contains("Example") && help.contains("keywheel ");
        assert!(!inner.is_empty() || has_example, "{}", command.get_name());
    }
    let mut program = Program::command();
    program.build();
    let ours = program.get_subcommands().filter(|command| !["up", "help"].contains(&command.get_name()));
    ours.for_each(check);
}

#[tokio::test]
async fn a_missing_context_ends_with_64_and_an_unreachable_bus_with_3() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("context.json");
    let options = GlobalOptions { context: Some(file.clone()), ..GlobalOptions::default() };
    let status = || match parse("status").unwrap().command {
        Command::Operator(operator) => *operator,
        Command::Up { .. } => panic!(),
    };
    assert_eq!(run(status(), &options).await, 64);

    // Nobody listens on the discard port of this machine; the seed is a user's, made for this test.
    let seed = home.path().join("operator.nk");
    std::fs::write(&seed, keywheel_token::Credential::fresh().seed().expose()).unwrap();
    let context = serde_json::json!({
        "nats_url": "nats://127.0.0.1:9", "credentials": seed, "inbox_prefix": "_INBOX_operator", "edges": [],
        "signers": "signers.toml"
    });
    std::fs::write(home.path().join("signers.toml"), crate::scene::signers().to_string()).unwrap();
    std::fs::write(&file, context.to_string()).unwrap();
    assert_eq!(run(status(), &options).await, 3);
}
