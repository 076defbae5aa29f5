//! A real nats-server for one test: with the permissions that an edge has and no more, killed on drop.

use keywheel_bus::connect::read_signers;
use keywheel_bus::{Bus, BusOptions};
use keywheel_token::Credential;
use keywheel_wire::signers::{Installation, Signers};
use keywheel_wire::subject::Service;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The server and who may use it.
pub struct Server {
    binary: PathBuf,
    port: u16,
    folder: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// Starts one in `folder`, if the environment names a binary.
    pub fn start(folder: &Path) -> Option<Server> {
        let binary = std::env::var_os("KEYWHEEL_TEST_NATS")?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Server { binary: binary.into(), port, folder: folder.to_owned(), child: None };
        let (admin, edge) = (server.write_seed("admin"), server.write_seed("edge-e1"));
        let services = Service::ALL.map(|service| (server.write_seed(service.name()), service));
        let signers = Signers::of(Installation(7), services.clone()).unwrap().to_string();
        std::fs::write(server.signers(), signers).unwrap();
        let all: Vec<&str> =
            services.iter().map(|(public, _)| public.as_str()).chain([admin.as_str()]).collect();
        std::fs::write(server.folder.join("nats.conf"), configuration(port, folder, &all, &edge)).unwrap();
        server.restart();
        Some(server)
    }

    fn write_seed(&self, role: &str) -> String {
        let credential = Credential::fresh();
        std::fs::write(self.seed(role), credential.seed().expose()).unwrap();
        credential.public().to_owned()
    }

    /// Where a role's seed lies.
    pub fn seed(&self, role: &str) -> PathBuf {
        self.folder.join(format!("{role}.nk"))
    }

    /// Where it stands whose events are believed.
    pub fn signers(&self) -> PathBuf {
        self.folder.join("signers.toml")
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts it again on the same port and files.
    pub fn restart(&mut self) {
        self.kill();
        let child = Command::new(&self.binary)
            .arg("-c")
            .arg(self.folder.join("nats.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// A connection that may do anything.
    pub async fn admin(&self) -> Bus {
        self.connect("admin").await
    }

    /// A connection that may do anything, and signs as `role`.
    pub async fn connect(&self, role: &str) -> Bus {
        let options = BusOptions {
            url: self.url(),
            credentials: self.seed(role),
            signers: read_signers(&self.signers()).unwrap(),
            inbox_prefix: format!("_INBOX_{role}"),
            name: role.to_owned(),
            tls: None,
            wait: true,
        };
        let bus = Bus::connect(&options).await.unwrap();
        while !bus.is_connected() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bus
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn configuration(port: u16, folder: &Path, all: &[&str], edge: &str) -> String {
    let store = folder.join("store");
    let all: String = all.iter().map(|public| format!("{{ nkey: {public} }}\n")).collect();
    format!(
        r#"
        listen: "127.0.0.1:{port}"
        jetstream {{ store_dir: "{}", sync_interval: always }}
        authorization {{ users = [
            {all}
            {{ nkey: {edge}, permissions {{
                publish: [
                    "$JS.API.CONSUMER.INFO.KW_EVENTS.edge-e1", "$JS.API.CONSUMER.MSG.NEXT.KW_EVENTS.edge-e1",
                    "$JS.API.CONSUMER.RESET.KW_EVENTS.edge-e1",
                    "$JS.API.DIRECT.GET.KW_EVENTS",
                    "$JS.API.DIRECT.GET.OBJ_KW_SNAPSHOTS",
                    "$JS.API.DIRECT.GET.KW_NOTICES.kw.notice._._.head",
                    "$JS.API.STREAM.INFO.KW_EVENTS", "kw.edge.e1.pulse", "kw.use.e1"
                ]
                subscribe: ["_INBOX_edge-e1.>"]
            }} }}
        ] }}
        "#,
        store.display()
    )
}
