//! A stack whose log is lost.

use keywheel_bus::connect::read_signers;
use keywheel_bus::{Bus, BusConfig};
use keywheel_stack::home::Home;
use keywheel_stack::nats;
use keywheel_stack::settings::{Node, Settings};
use keywheel_tests::operator::PATIENCE;
use keywheel_tests::stack::{binary, keywheel, nats_server};
use keywheel_tests::{Operator, Stack, StackOptions};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct Site {
    pub stack: Stack,
    pub operator: Operator,
    options: StackOptions,
    folder: TempDir,
}

impl Site {
    /// Two edges, which keep copies; nothing where there is no nats-server to test with.
    pub async fn open() -> Option<Site> {
        Site::open_on(1).await
    }

    /// The same on so many servers.
    pub async fn open_on(servers: u32) -> Option<Site> {
        if nats_server().is_none() {
            eprintln!("KEYWHEEL_TEST_NATS names no nats-server: not tested");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let mut options = StackOptions::for_test(&folder.path().join("home")).unwrap();
        options.cluster = servers;
        if servers > 1 {
            // As long as they take to agree on another leader.
            options.lease = "10s";
        }
        let stack = tokio::task::block_in_place(|| Stack::start(&options)).unwrap();
        let operator = Operator::connect(&stack.context).await.unwrap();
        Some(Site { stack, operator, options, folder })
    }

    /// A file beside the home.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn copy_of(&self, edge: &str) -> PathBuf {
        self.stack.home().join(format!("data/edge-{edge}/log.jsonl"))
    }

    /// The exit code, and the document on standard output, or the error's.
    pub fn run(&self, words: &[&str]) -> (i32, Value) {
        let output = self.output(words);
        let text = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
        let last = text.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap_or_default();
        let document = serde_json::from_slice(last);
        let document = document.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)));
        (output.status.code().unwrap(), document)
    }

    fn output(&self, words: &[&str]) -> Output {
        tokio::task::block_in_place(|| command(self.stack.home()).args(words).output()).unwrap()
    }

    pub async fn head(&self) -> u64 {
        self.operator.bus.head().await.unwrap().seq
    }

    /// Until an edge has applied the log up to `seq`.
    pub async fn has(&self, edge: &str, seq: u64) {
        let url = format!("{}/v1/info", self.stack.edge(edge).unwrap());
        let begun = Instant::now();
        loop {
            let info = reqwest::get(&url).await;
            let info: Value = match info {
                Ok(info) => info.json().await.unwrap_or_default(),
                Err(_) => Value::Null,
            };
            if info["watermark"].as_u64().is_some_and(|at| at >= seq) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{edge} does not come to {seq}: {info}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn all_have(&self, seq: u64) {
        self.has("e1", seq).await;
        self.has("e2", seq).await;
    }

    /// Until the doctor finds nothing wrong.
    pub fn await_well(&self) {
        let begun = Instant::now();
        loop {
            let (code, told) = self.run(&["doctor", "--output", "json"]);
            if code == 0 {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{told:#}");
        }
    }

    /// Each server of the bus: the name of its process, and its ports.
    pub fn servers(&self) -> Vec<(String, Node)> {
        let home = Home::at(self.stack.home()).unwrap();
        nats::processes(&Settings::load(&home).unwrap().unwrap().server)
    }

    /// Adopts so many keys, each of a keyring of its own.
    pub fn import(&self, keys: usize) {
        let mut table = "tenant,client,digest\n".to_owned();
        for n in 0..keys {
            writeln!(table, "acme,old-{n},{n:064x}").unwrap();
        }
        let file = self.file("keys.csv");
        std::fs::write(&file, table).unwrap();
        let (code, told) = self.run(&["import", "--output", "json", "--csv", file.to_str().unwrap()]);
        assert_eq!((code, &told["imported"]), (0, &json!(keys)), "{told}");
    }

    /// Takes everything from each server, which comes back with nothing.
    pub fn lose_the_log(&self) {
        let names: Vec<String> = self.servers().into_iter().map(|(name, _)| name).collect();
        tokio::task::block_in_place(|| {
            for name in &names {
                self.stack.signal(name, Signal::SIGSTOP).unwrap();
            }
            for name in &names {
                forget(self.stack.home(), name);
            }
            for name in &names {
                self.stack.kill_and_await(name).unwrap();
            }
        });
    }

    /// Stops everything, takes the server's store, and starts again; what it waits for is done meanwhile.
    pub async fn start_again_without_the_log(&mut self) {
        let options = self.options.clone();
        let home = options.home.clone();
        tokio::task::block_in_place(|| self.stack.interrupt()).unwrap();
        forget(&home, "nats");
        let starting = tokio::task::spawn_blocking(move || Stack::start(&options));
        let begun = Instant::now();
        while !std::fs::read_to_string(home.join("up.log")).unwrap_or_default().contains("the log is lost") {
            assert!(
                begun.elapsed() < PATIENCE && !starting.is_finished(),
                "it does not say that the log is lost"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (code, done) = self.run(&["restore", "--from-edge", "e2", "--output", "json"]);
        assert_eq!(code, 0, "{done}");
        self.stack = starting.await.unwrap().unwrap();
        self.operator = Operator::connect(&self.stack.context).await.unwrap();
    }

    /// Takes files of an edge away, or all of them; the process that comes after it reads the log.
    pub async fn begin_without(&self, edge: &str, is_meant: impl Fn(&str) -> bool) {
        let head = self.head().await;
        tokio::task::block_in_place(|| {
            let process = format!("edge-{edge}");
            self.stack.signal(&process, Signal::SIGSTOP).unwrap();
            for entry in std::fs::read_dir(self.stack.home().join("data").join(&process)).unwrap() {
                let entry = entry.unwrap();
                if is_meant(entry.file_name().to_str().unwrap()) {
                    std::fs::remove_file(entry.path()).unwrap();
                }
            }
            self.stack.kill_and_await(&process).unwrap();
        });
        self.has(edge, head).await;
    }

    /// Until an edge's copy has the log up to `seq`, each message once.
    pub async fn is_copied(&self, edge: &str, seq: u64) {
        let lines = || std::fs::read_to_string(self.copy_of(edge)).unwrap_or_default().lines().count() as u64;
        let begun = Instant::now();
        while lines() < seq + 1 {
            assert!(begun.elapsed() < PATIENCE, "{edge} has copied {}", lines());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(lines(), seq + 1);
    }

    /// The administrator.
    pub async fn admin(&self) -> Bus {
        let config = BusConfig {
            url: self.stack.context.nats_url.clone(),
            credentials: self.stack.home().join("credentials/admin.nk"),
            tls: None,
            signers: read_signers(&self.stack.context.signers).unwrap(),
        };
        Bus::connect(&config.options("admin", false)).await.unwrap()
    }
}

fn command(home: &Path) -> std::process::Command {
    let mut command = keywheel(&binary().unwrap());
    command.env("KEYWHEEL_HOME", home);
    command
}

fn forget(home: &Path, server: &str) {
    for entry in std::fs::read_dir(home.join(server)).unwrap() {
        std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
}
