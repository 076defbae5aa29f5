//! A service under real signals: this program runs itself as the service, so it has a main of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use keywheel_runtime::log::{self, LogConfig};
use keywheel_runtime::{Shutdown, service};
use libtest_mimic::{Arguments, Trial};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

/// Longer than any of this takes; a service that is forgotten ends by itself.
const LIFETIME: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == "serve") {
        return serve(arguments.get(2).map_or("", String::as_str));
    }
    let tests = [
        ("a_signal_drains", a_signal_drains as fn()),
        ("a_second_signal_ends_at_once", a_second_signal_ends_at_once),
        ("an_overdue_body_is_abandoned", an_overdue_body_is_abandoned),
    ];
    let trial = |(name, test): (&str, fn())| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    libtest_mimic::run(&Arguments::from_args(), tests.into_iter().map(trial).collect()).exit_code()
}

fn serve(kind: &str) -> ExitCode {
    log::init(&LogConfig::default());
    let drain = Duration::from_millis(if kind == "overdue" { 100 } else { 60_000 });
    service::run("sample", drain, async move |shutdown: Shutdown| {
        eprintln!("ready");
        if shutdown.pause(LIFETIME).await || kind != "good" {
            tokio::time::sleep(LIFETIME).await;
        }
        Ok::<_, std::io::Error>(())
    })
}

struct Service {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Service {
    fn start(kind: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program).args(["serve", kind]).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut service = Self { child, log };
        service.wait_for_line("ready");
        service
    }

    fn wait_for_line(&mut self, part: &str) {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "it ended before it said {part:?}");
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit code and the rest of its log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

fn a_signal_drains() {
    for signal in [Signal::TERM, Signal::INT] {
        let service = Service::start("good");
        service.signal(signal);
        let (code, log) = service.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopping") && log.contains("stopped"), "{log}");
    }
}

fn a_second_signal_ends_at_once() {
    let mut service = Service::start("slow");
    service.signal(Signal::TERM);
    service.wait_for_line("stopping");
    service.signal(Signal::INT);
    let (code, log) = service.end();
    assert_eq!(code, Some(130), "{log}");
    assert!(log.contains("stopped without draining"), "{log}");
}

fn an_overdue_body_is_abandoned() {
    let service = Service::start("overdue");
    service.signal(Signal::TERM);
    let (code, log) = service.end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("abandoned: it did not end within 100ms"), "{log}");
}
