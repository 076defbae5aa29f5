//! Runs a service: its threads, its signals, its end.

use crate::error::ConfigError;
use crate::exit;
use crate::plain;
use crate::shutdown::Shutdown;
use std::error::Error;
use std::io::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::Duration;

const WORKER_THREADS: usize = 2;
/// How long blocking work may go on after the body has ended.
const LINGER: Duration = Duration::from_millis(500);

type Failure = Box<dyn Error + Send + Sync>;

enum End {
    Done,
    Failed(Failure),
    Overdue,
}

/// Runs `body` on a runtime of its own until it ends. It is asked to end by SIGTERM or SIGINT and then has
/// `drain` for it; after that it is abandoned. A failure is logged with its causes, and so is a panic in
/// any task. The code is one of [`exit`]: [`exit::DONE`], [`exit::CONFIG`] or [`exit::REFUSED`].
pub fn run<Body, Running, E>(name: &str, drain: Duration, body: Body) -> ExitCode
where
    Body: FnOnce(Shutdown) -> Running,
    Running: Future<Output = Result<(), E>>,
    E: Into<Failure>,
{
    log_panics();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name(name)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return conclude(name, drain, Ok(End::Failed(error.into()))),
    };
    tracing::info!(service = name, "starting");
    let ended = panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(supervise(drain, body))));
    runtime.shutdown_timeout(LINGER);
    conclude(name, drain, ended)
}

/// Says on standard error why a program cannot start, for the time before there are logs. Returns 64.
pub fn misconfigured(error: &ConfigError) -> ExitCode {
    // Nobody is left to be told when standard error is closed.
    let told = exit::chain(error);
    // Bad syntax is pointed at, on lines of its own.
    let told = match error {
        ConfigError::Syntax { .. } => plain::lines(&told),
        ConfigError::Unreadable { .. }
        | ConfigError::Missing { .. }
        | ConfigError::Unknown { .. }
        | ConfigError::Invalid { .. }
        | ConfigError::Name { .. } => plain::line(&told),
    };
    let _ = writeln!(std::io::stderr(), "configuration: {told}");
    ExitCode::from(exit::CONFIG)
}

async fn supervise<Body, Running, E>(drain: Duration, body: Body) -> End
where
    Body: FnOnce(Shutdown) -> Running,
    Running: Future<Output = Result<(), E>>,
    E: Into<Failure>,
{
    let shutdown = match Shutdown::on_signals() {
        Ok(shutdown) => shutdown,
        Err(error) => return End::Failed(error.into()),
    };
    let overdue = async {
        shutdown.requested().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        biased;
        ended = body(shutdown.clone()) => match ended {
            Ok(()) => End::Done,
            Err(error) => End::Failed(error.into()),
        },
        () = overdue => End::Overdue,
    }
}

fn conclude(name: &str, drain: Duration, ended: std::thread::Result<End>) -> ExitCode {
    let code = match ended {
        Ok(End::Done) => {
            tracing::info!(service = name, "stopped");
            exit::DONE
        }
        Ok(End::Failed(error)) => {
            tracing::error!(service = name, "failed: {}", exit::chain(error.as_ref()));
            exit::code(error.as_ref())
        }
        Ok(End::Overdue) => {
            tracing::error!(service = name, "abandoned: it did not end within {drain:?} of being asked to");
            exit::REFUSED
        }
        // What the panic said was logged when it happened.
        Err(_) => exit::REFUSED,
    };
    ExitCode::from(code)
}

fn log_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        if tracing::dispatcher::has_been_set() {
            tracing::error!("{panicked}");
        } else {
            before(panicked);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::time::Instant;

    const DRAIN: Duration = Duration::from_millis(60);
    const LONG: Duration = Duration::from_secs(3600);

    fn code(code: u8) -> ExitCode {
        ExitCode::from(code)
    }

    #[test]
    fn a_body_that_ends_decides_the_code() {
        assert_eq!(run("done", DRAIN, async |_| Ok::<_, io::Error>(())), code(exit::DONE));
        assert_eq!(run("failed", DRAIN, async |_| Err(io::Error::other("x"))), code(exit::REFUSED));
        let bad = ConfigError::invalid("bus.seed", "no seed in that file");
        assert_eq!(run("misconfigured", DRAIN, async |_| Err(bad)), code(exit::CONFIG));
    }

    #[test]
    fn a_body_has_the_drain_and_no_longer() {
        let start = Instant::now();
        let stubborn = async |shutdown: Shutdown| {
            shutdown.trigger();
            std::future::pending::<Result<(), io::Error>>().await
        };
        assert_eq!(run("stubborn", DRAIN, stubborn), code(exit::REFUSED));
        assert!((DRAIN..DRAIN * 20).contains(&start.elapsed()), "{:?}", start.elapsed());

        let quick = async |shutdown: Shutdown| {
            shutdown.trigger();
            shutdown.requested().await;
            tokio::time::sleep(DRAIN / 4).await;
            Ok::<_, io::Error>(())
        };
        assert_eq!(run("quick", LONG, quick), code(exit::DONE));
    }

    #[test]
    fn blocking_work_does_not_hold_up_the_end() {
        let start = Instant::now();
        let body = async |_| {
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_secs(30)));
            Ok::<_, io::Error>(())
        };
        assert_eq!(run("blocking", DRAIN, body), code(exit::DONE));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_panic_is_a_failure_and_one_in_a_task_is_not_the_end() {
        assert_eq!(run("panics", DRAIN, async |_| panics()), code(exit::REFUSED));
        let body = async |_| {
            assert!(tokio::spawn(async { panics() }).await.is_err());
            Ok::<_, io::Error>(())
        };
        assert_eq!(run("survives", DRAIN, body), code(exit::DONE));
    }

    fn panics() -> Result<(), io::Error> {
        panic!("as the test wants it")
    }
}
