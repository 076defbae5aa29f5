//! A gateway with its shipped configuration: only the addresses in it are changed.

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/gateways");
const PATIENCE: Duration = Duration::from_secs(30);
/// Below the ports that systems give to outgoing connections, and below those that stacks take.
const PORTS: std::ops::Range<u16> = 11_000..15_000;

/// Which gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `auth_request`.
    Nginx,
    /// `forward_auth`.
    Caddy,
    /// A Lua action of ours.
    Haproxy,
    /// `ext_authz` over gRPC.
    Envoy,
}

impl Kind {
    /// The name of its program.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Nginx => "nginx",
            Kind::Caddy => "caddy",
            Kind::Haproxy => "haproxy",
            Kind::Envoy => "envoy",
        }
    }
}

/// Where the gateway is, if there is one.
pub fn program(kind: Kind) -> Option<PathBuf> {
    beside_gateways(kind.name())
}

/// Where a program or library of this name is, if there is one: in the folder that `deploy/get-gateways.sh` prints,
/// which `$KEYWHEEL_TEST_GATEWAYS` names.
#[allow(clippy::disallowed_methods, reason = "a test is configured by its environment alone")]
pub fn beside_gateways(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("KEYWHEEL_TEST_GATEWAYS").map(PathBuf::from)?;
    Some(folder.join(name)).filter(|file| file.is_file())
}

/// Between whom it stands.
pub struct Neighbours {
    /// The edge: HTTP, or gRPC for Envoy.
    pub edge: SocketAddr,
    /// The service.
    pub upstream: SocketAddr,
}

/// A running gateway.
pub struct Gateway {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Gateway {
    /// Starts it with its files in `folder`, and waits until it listens.
    ///
    /// # Errors
    /// With what it printed, when it ends or does not listen in time.
    pub fn start(
        kind: Kind,
        program: &Path,
        folder: &Path,
        neighbours: &Neighbours,
    ) -> anyhow::Result<Gateway> {
        let address = free_port(kind)?;
        let folder = folder.join(kind.name());
        std::fs::create_dir_all(&folder)?;
        let mut command = Command::new(program);
        match kind {
            Kind::Nginx => nginx(&mut command, &folder, address, neighbours),
            Kind::Caddy => caddy(&mut command, &folder, address, neighbours),
            Kind::Haproxy => haproxy(&mut command, &folder, address, neighbours),
            Kind::Envoy => envoy(&mut command, &folder, address, neighbours),
        }?;
        let printed = std::fs::File::create(folder.join("printed.log"))?;
        command.stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(printed);
        let child = command.current_dir(&folder).spawn().context("starting the gateway")?;
        let mut gateway = Gateway { child, folder, address };
        gateway.await_listening()?;
        Ok(gateway)
    }

    fn await_listening(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.try_wait()?;
            ensure!(ended.is_none() && Instant::now() < deadline, "{ended:?}:\n{}", self.printed());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it printed.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.folder.join("printed.log")).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shipped file with its addresses replaced. Each must be there: a file that names others is not the one
/// that is tested.
fn shipped(path: &str, replacements: &[(&str, &str)]) -> anyhow::Result<String> {
    let path = format!("{SHIPPED}/{path}");
    let mut text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    for (from, to) in replacements {
        ensure!(text.contains(from), "{path} has no `{from}`");
        text = text.replace(from, to);
    }
    Ok(text)
}

fn http_addresses(listen: SocketAddr, neighbours: &Neighbours) -> [String; 3] {
    [listen.to_string(), neighbours.edge.to_string(), neighbours.upstream.to_string()]
}

fn nginx(
    command: &mut Command,
    folder: &Path,
    listen: SocketAddr,
    neighbours: &Neighbours,
) -> anyhow::Result<()> {
    let [listen, edge, upstream] = http_addresses(listen, neighbours);
    let listen = format!("listen {listen};");
    let places = [("listen 8080;", &*listen), ("127.0.0.1:8081", &edge), ("127.0.0.1:3000", &upstream)];
    std::fs::write(folder.join("keywheel.conf"), shipped("nginx/keywheel.conf", &places)?)?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {}/{name};\n", folder.display()))
        .concat();
    let around = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n    access_log off;\n\
         {temporary}    include {}/keywheel.conf;\n}}\n",
        folder.display()
    );
    std::fs::write(folder.join("nginx.conf"), around)?;
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf")).args(["-e", "stderr"]);
    Ok(())
}

fn caddy(
    command: &mut Command,
    folder: &Path,
    listen: SocketAddr,
    neighbours: &Neighbours,
) -> anyhow::Result<()> {
    let [listen, edge, upstream] = http_addresses(listen, neighbours);
    let site = format!("http://{listen} {{");
    let places = [(":8080 {", &*site), ("127.0.0.1:8081", &edge), ("127.0.0.1:3000", &upstream)];
    let text = shipped("caddy/Caddyfile", &places)?;
    let options = "{\n\tadmin off\n}\n";
    std::fs::write(folder.join("Caddyfile"), format!("{options}{text}"))?;
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(folder.join("Caddyfile"));
    command.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
    Ok(())
}

fn haproxy(
    command: &mut Command,
    folder: &Path,
    listen: SocketAddr,
    neighbours: &Neighbours,
) -> anyhow::Result<()> {
    let [listen, edge, upstream] = http_addresses(listen, neighbours);
    let script = folder.join("keywheel.lua");
    std::fs::write(&script, shipped("haproxy/keywheel.lua", &[("127.0.0.1:8081", &edge)])?)?;
    let listen = format!("bind {listen}");
    let script = script.display().to_string();
    let places =
        [("bind :8080", &*listen), ("127.0.0.1:3000", &upstream), ("/etc/haproxy/keywheel.lua", &script)];
    std::fs::write(folder.join("haproxy.cfg"), shipped("haproxy/haproxy.cfg", &places)?)?;
    command.args(["-db", "-f"]).arg(folder.join("haproxy.cfg"));
    Ok(())
}

fn envoy(
    command: &mut Command,
    folder: &Path,
    listen: SocketAddr,
    neighbours: &Neighbours,
) -> anyhow::Result<()> {
    let at = |address: SocketAddr| format!("address: {}, port_value: {} ", address.ip(), address.port());
    let places = [
        ("address: 0.0.0.0, port_value: 8080 ", &*at(listen)),
        ("address: 127.0.0.1, port_value: 8581 ", &at(neighbours.edge)),
        ("address: 127.0.0.1, port_value: 3000 ", &at(neighbours.upstream)),
    ];
    std::fs::write(folder.join("envoy.yaml"), shipped("envoy/envoy.yaml", &places)?)?;
    command.args([
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "warning",
        "--file-flush-interval-msec",
        "100",
        "-c",
    ]);
    command.arg(folder.join("envoy.yaml"));
    Ok(())
}

/// Gateways that start at the same time, in one process or several, look in different places.
fn free_port(kind: Kind) -> anyhow::Result<SocketAddr> {
    let size = u32::from(PORTS.end - PORTS.start);
    let offset = std::process::id().wrapping_mul(7).wrapping_add(kind as u32 * 1009);
    let offset = u16::try_from(offset % size)?;
    let ports = (PORTS.start + offset..PORTS.end).chain(PORTS);
    let mut free = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    free.find(|address| TcpListener::bind(address).is_ok()).context("a free port")
}
