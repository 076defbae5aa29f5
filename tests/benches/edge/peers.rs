//! What a service would ask instead, one question after the other: Redis for a key's digest, PostgreSQL for a row by
//! its primary key. Beside them the same question to the table in process.

use crate::figure::{Aim, Figure, Scale};
use crate::keys::{self, Keys, Text};
use crate::samples::Samples;
use crate::verify::{shuffle, size};
use crate::wrk::program;
use anyhow::{Context as _, ensure};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
/// PostgreSQL does not run as root; this user and group have nothing.
const NOBODY: u32 = 65_534;

/// Measures with a million keys each.
pub fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let count = scale.pick(1_000_000, 1000);
    let mut keys = Keys::new(count, scale.seed);
    let app = keys::app(keys.table(keys::common));
    shuffle(&mut keys.shown, scale.seed);
    let trials = scale.pick(20_000, 100);
    let mut own = Samples::default();
    for text in keys.shown.iter().cycle().take(trials) {
        let began = Instant::now();
        ensure!(keys::ask(&app, text), "every key is known");
        own.push(began.elapsed());
    }
    let own = own.p50_ms() * 1e3;
    let figure = |what: &str, peer: anyhow::Result<f64>| match peer {
        Ok(peer) => Figure {
            what: format!("verify in process, one after the other, {} keys, p50", size(count)),
            unit: "µs",
            ours: own,
            floor: Some((what.to_owned(), peer)),
            aim: Aim::Report,
        },
        Err(error) => Figure::missing(what, &format!("{error:#}")),
    };
    Ok(vec![
        figure("Redis GET", redis(&keys.shown, trials)),
        figure("PostgreSQL, primary key, prepared, average", postgres(count, scale)),
    ])
}

/// A server of another's; killed on drop.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn connected(port: u16) -> anyhow::Result<TcpStream> {
    let began = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return Ok(stream),
            Err(error) => ensure!(began.elapsed() < PATIENCE, "it does not listen: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Microseconds for a GET, p50.
fn redis(shown: &[Text], trials: usize) -> anyhow::Result<f64> {
    let program = program("redis-server").context("there is no redis-server")?;
    let (port, folder) = (free_port()?, tempfile::tempdir()?);
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()]);
    command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let _peer = Peer(command.spawn()?);
    let mut to = connected(port)?;
    to.set_nodelay(true)?;
    let mut from = BufReader::new(to.try_clone()?);
    let mut line = String::new();
    for part in shown.chunks(1000) {
        let sets = part.iter().flat_map(|text| {
            [b"*3\r\n$3\r\nSET\r\n$10\r\n", &text[8..18], b"\r\n$43\r\n", &text[19..62], b"\r\n"].concat()
        });
        to.write_all(&sets.collect::<Vec<u8>>())?;
        for _ in part {
            line.clear();
            from.read_line(&mut line)?;
            ensure!(line == "+OK\r\n", "{line}");
        }
    }
    let (mut samples, mut answer) = (Samples::default(), [0; 50]);
    for text in shown.iter().cycle().take(trials) {
        let began = Instant::now();
        to.write_all(&[b"*2\r\n$3\r\nGET\r\n$10\r\n", &text[8..18], b"\r\n"].concat())?;
        from.read_exact(&mut answer)?;
        samples.push(began.elapsed());
        ensure!(answer[5..48] == text[19..62], "Redis knows every key");
    }
    Ok(samples.p50_ms() * 1e3)
}

/// Microseconds for a lookup, on average: as pgbench tells it.
fn postgres(count: usize, scale: &Scale) -> anyhow::Result<f64> {
    let programs = postgres_programs().context("there is no PostgreSQL")?;
    let (port, folder) = (free_port()?.to_string(), tempfile::tempdir()?);
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
    }
    let data = folder.path().join("data").display().to_string();
    let command = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(programs.join(name));
        command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    ended(&mut command("initdb", &["-D", &data, "-U", "bench", "-A", "trust", "-N"]))?;
    let serving =
        ["-D", &data, "-p", &port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="];
    let _peer = Peer(command("postgres", &serving).stderr(Stdio::null()).spawn()?);
    drop(connected(port.parse()?)?);
    let at = ["-h", "127.0.0.1", "-p", &port, "-U", "bench"];
    let made = format!(
        "CREATE TABLE keys (kid text PRIMARY KEY, digest bytea); \
         INSERT INTO keys SELECT md5(n::text), sha256(n::text::bytea) FROM generate_series(1, {count}) n; \
         VACUUM ANALYZE keys"
    );
    let mut fill: Vec<&str> = at.to_vec();
    fill.extend(["-d", "postgres", "-v", "ON_ERROR_STOP=1"]);
    let statements: Vec<&str> = made.split("; ").collect();
    statements.iter().for_each(|statement| fill.extend(["-c", statement]));
    retried(|| ended(&mut command("psql", &fill)))?;
    let script = folder.path().join("lookup.sql");
    std::fs::write(
        &script,
        format!("\\set n random(1, {count})\nSELECT digest FROM keys WHERE kid = md5(:n::text);\n"),
    )?;
    let (script, seconds, seed) =
        (script.display().to_string(), scale.pick("5", "1"), scale.seed.to_string());
    let mut bench: Vec<&str> = at.to_vec();
    bench.extend([
        "-n",
        "-M",
        "prepared",
        "-c",
        "1",
        "-T",
        seconds,
        "--random-seed",
        &seed,
        "-f",
        &script,
        "postgres",
    ]);
    let said = ended(&mut command("pgbench", &bench))?;
    let line = said.lines().find_map(|line| line.strip_prefix("latency average = ")).context("no latency")?;
    Ok(line.trim_end_matches(" ms").parse::<f64>()? * 1e3)
}

/// On PATH, or where Debian puts them.
#[allow(clippy::disallowed_methods, reason = "a bench is configured by its environment alone")]
fn postgres_programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|version| version.path().join("bin"));
    let has_all = |folder: &PathBuf| {
        ["initdb", "postgres", "psql", "pgbench"].iter().all(|name| folder.join(name).is_file())
    };
    std::env::split_paths(&path).chain(debian).find(has_all)
}

/// A server that has just begun to listen may not take questions yet.
fn retried(run: impl Fn() -> anyhow::Result<String>) -> anyhow::Result<String> {
    let began = Instant::now();
    loop {
        match run() {
            Err(error) if began.elapsed() < PATIENCE && error.to_string().contains("starting up") => {
                std::thread::sleep(Duration::from_millis(100));
            }
            ended => return ended,
        }
    }
}

fn ended(command: &mut Command) -> anyhow::Result<String> {
    let ended = command.output()?;
    let name = Path::new(command.get_program()).display().to_string();
    ensure!(ended.status.success(), "{name}: {}", String::from_utf8_lossy(&ended.stderr));
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}
