//! The example as a process of its own.

use keywheel_tests::stack::keywheel;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

const NAME: &str = "notes";
const PATIENCE: Duration = Duration::from_secs(10);

/// The running service; killed on drop.
pub struct Service {
    child: Child,
    printed: BufReader<ChildStdout>,
    http: reqwest::Client,
    url: String,
}

impl Service {
    /// Puts it on the roster of the stack at `home` and starts it.
    pub async fn start(binary: &Path, home: &Path) -> Service {
        let mut add = keywheel(binary);
        add.args(["edge", "add", NAME, "--library"]).env("KEYWHEEL_HOME", home);
        let added = tokio::task::block_in_place(|| add.output()).unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let example = binary.with_file_name("examples").join("inside");
        assert!(example.is_file(), "no example: run `cargo build --workspace --all-targets` first");
        let config = home.join(format!("config/edge-{NAME}.toml"));
        let mut command = keywheel(&example);
        command.arg(&config).arg("127.0.0.1:0").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        tokio::task::block_in_place(|| printed.read_line(&mut line)).unwrap();
        let url = line.strip_prefix("listening on ").expect("it listens").trim().to_owned();
        Service { child, printed, http: reqwest::Client::new(), url }
    }

    pub async fn get(&self, path: &str, lines: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        self.ask(Method::GET, path, lines).await
    }

    pub async fn post(&self, path: &str, lines: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        self.ask(Method::POST, path, lines).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        lines: &[(&str, &str)],
    ) -> (StatusCode, HeaderMap, String) {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.headers().clone(), response.text().await.unwrap())
    }

    /// Asks with a key until it is refused.
    pub async fn until_refused(&self, key: &str) -> (StatusCode, HeaderMap, String) {
        let began = Instant::now();
        loop {
            let answer = self.get("/notes", &[("x-api-key", key)]).await;
            if answer.0 != StatusCode::OK {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "still accepted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it as a supervisor does; what it said.
    pub fn stop(mut self) -> String {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let mut said = String::new();
        tokio::task::block_in_place(|| self.printed.read_to_string(&mut said)).unwrap();
        assert!(self.child.wait().unwrap().success());
        said
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
