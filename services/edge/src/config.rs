//! What an edge is told: a file and the environment, checked before any port opens.

use crate::address;
use crate::place::{Mode, Place};
use ipnet::IpNet;
use keywheel_bus::BusConfig;
use keywheel_bus::station::fleet_lease;
use keywheel_domain::{EdgeId, Span};
use keywheel_runtime::log::LogConfig;
use keywheel_runtime::{ConfigError, config};
use keywheel_token::Brand;
use keywheel_wire::text::Length;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The edge's name on the roster.
    #[serde(deserialize_with = "edge_id")]
    pub id: EdgeId,
    /// Where its database lies, and the files `http.addr` and `grpc.addr` with the places where it listens.
    pub data_dir: PathBuf,
    /// The lease length of the whole fleet, such as `15s`.
    #[serde(default = "fleet_lease")]
    pub lease: Length,
    /// How often it pulses when nothing happens.
    #[serde(default = "one_second")]
    pub pulse_every: Length,
    /// How often it reports use.
    #[serde(default = "one_second")]
    pub report_every: Length,
    /// Whether an empty table begins with a snapshot: the propagator is believed for what is in it. Without, the whole
    /// log is read, and each service believed for what is its own to say.
    #[serde(default = "yes")]
    pub snapshots: bool,
    /// Whether it keeps a copy of the log beside its database, from which a lost log is restored. It takes as much disk as
    /// the log, and who has none yet reads the whole log first.
    #[serde(default)]
    pub keep_log: bool,
    /// Within which time the edges of a fleet read the log anew, one after the other, where a signed head says that their
    /// table is another than the propagator's.
    #[serde(default = "ten_minutes")]
    pub heal_within: Length,
    /// How to reach the bus.
    pub bus: BusConfig,
    /// Where to answer.
    #[serde(default)]
    pub http: HttpConfig,
    /// Where to answer Envoy.
    #[serde(default)]
    pub grpc: GrpcConfig,
    /// How this installation's keys begin.
    #[serde(default)]
    pub key: KeyConfig,
    /// How to log.
    #[serde(default)]
    pub log: LogConfig,
}

/// The table `http`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address and port, or `unix:` and a path; port 0 takes a free one. Loopback unless told otherwise,
    /// because whoever can reach it may claim to be a gateway.
    pub listen: Place,
    /// Permissions of the socket's file, such as `0660`.
    pub socket_mode: Mode,
    /// How long a request's head may take from its first byte to its last.
    pub head_time: Length,
    /// Addresses and ranges of the gateways that are believed where a request comes from. Whoever can open a
    /// socket is.
    #[serde(deserialize_with = "ranges")]
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: Place::Port(SocketAddr::from((Ipv4Addr::LOCALHOST, 8081))),
            socket_mode: Mode::default(),
            head_time: Length(Span::secs(10)),
            trusted_proxies: vec![
                IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST)),
                IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)),
            ],
        }
    }
}

/// The table `grpc`, for Envoy's external authorization.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcConfig {
    /// As `http.listen`; nothing is served where it is left out.
    pub listen: Option<Place>,
    /// As `http.socket_mode`.
    pub socket_mode: Mode,
}

/// The table `key`: keys begin with `<brand>_<env>_`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "KeyTexts")]
pub struct KeyConfig(pub Brand);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeyTexts {
    brand: String,
    env: String,
}

impl Default for KeyTexts {
    fn default() -> Self {
        Self { brand: "kw".to_owned(), env: "live".to_owned() }
    }
}

impl TryFrom<KeyTexts> for KeyConfig {
    type Error = String;

    fn try_from(texts: KeyTexts) -> Result<Self, String> {
        Brand::parse(&texts.brand, &texts.env).map(Self).map_err(|error| error.to_string())
    }
}

const PULSE_MIN: Span = Span(10);

impl Config {
    /// Reads a file, such as `keywheel edge add` writes, and nothing else.
    ///
    /// # Errors
    /// Names the field.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        config::load(Some(file), [])
    }

    /// Checks what concerns more than one field.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (field, every) in [("pulse_every", self.pulse_every), ("report_every", self.report_every)] {
            if every.0 < PULSE_MIN {
                return Err(ConfigError::invalid(field, format!("must be at least {PULSE_MIN}")));
            }
        }
        if self.http.head_time.0 < PULSE_MIN {
            return Err(ConfigError::invalid("http.head_time", format!("must be at least {PULSE_MIN}")));
        }
        if self.pulse_every.0 >= self.lease.0 {
            let detail = format!("must be longer than pulse_every ({})", self.pulse_every.0);
            return Err(ConfigError::invalid("lease", detail));
        }
        Ok(())
    }
}

fn yes() -> bool {
    true
}

fn ten_minutes() -> Length {
    Length(Span::secs(600))
}

fn one_second() -> Length {
    Length(Span::secs(1))
}

fn edge_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EdgeId, D::Error> {
    let text = String::deserialize(deserializer)?;
    EdgeId::parse(&text).map_err(D::Error::custom)
}

fn ranges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let read = |text: &String| {
        let detail = || D::Error::custom(format!("`{text}` is no address range; write 10.0.0.0/8"));
        address::parse_range(text).ok_or_else(detail)
    };
    texts.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_runtime::exit;

    const LEAST: &str = r#"
        id = "e1"
        data_dir = "d"
        [bus]
        url = "nats://localhost:4222"
        credentials = "c.nk"
        signers = "FOLDER/signers.toml"
    "#;
    const SIGNERS: &str = "installation = \"0b5e55ed-0000-4000-8000-000000000001\"\n[signers]\n\
                           UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF = \"issuer\"";

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("edge.toml");
        std::fs::write(folder.path().join("signers.toml"), SIGNERS).unwrap();
        std::fs::write(folder.path().join("nobody.toml"), SIGNERS.replace("issuer", "boss")).unwrap();
        std::fs::write(&file, text.replace("FOLDER", &folder.path().display().to_string())).unwrap();
        let config = Config::read(&file)?;
        config.check().map(|()| config)
    }

    #[test]
    fn what_is_left_out_has_the_documented_default() {
        let config = load(LEAST).unwrap();
        assert_eq!(config.lease.0, Span::secs(15));
        assert_eq!((config.pulse_every.0, config.report_every.0), (Span::secs(1), Span::secs(1)));
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:8081");
        assert_eq!(
            config.http.trusted_proxies,
            ["127.0.0.1/32".parse().unwrap(), "::1/128".parse().unwrap()]
        );
        assert_eq!((config.grpc.listen, config.snapshots, config.keep_log), (None, true, false));
        assert_eq!(config.key.0, Brand::default());
    }

    #[test]
    fn a_bad_value_names_its_field() {
        for (line, field) in [
            ("id = \"Not a name\"", "id: edge"),
            ("lease = \"15 parsecs\"", "lease"),
            ("lease = \"500ms\"", "lease"),
            ("pulse_every = \"0s\"", "pulse_every"),
            ("report_every = \"0s\"", "report_every"),
            ("leese = \"15s\"", "leese"),
            ("http.trusted_proxies = [\"10.0.0.0/8\", \"ten\"]", "http.trusted_proxies"),
            ("http.listen = \"8081\"", "http.listen"),
            ("http.listen = \"unix:edge.sock\"", "http.listen"),
            ("http.socket_mode = \"rw\"", "http.socket_mode"),
            ("http.socket_mode = \"7777\"", "http.socket_mode"),
            ("http.head_time = \"0s\"", "http.head_time"),
            ("grpc.listen = \"off\"", "grpc.listen"),
            ("http.port = 1", "http.port"),
            ("key.brand = \"KW\"", "key: brand"),
        ] {
            let rest = if line.starts_with("id") { LEAST.replace("id = \"e1\"", "") } else { LEAST.into() };
            let error = load(&format!("{line}\n{rest}")).unwrap_err();
            assert!(error.to_string().starts_with(field), "{line}: {error}");
            assert_eq!(exit::code(&error), exit::CONFIG);
        }
    }

    #[test]
    fn a_missing_or_bad_signers_file_names_field_and_file() {
        for (from, to, expected) in [
            ("signers = \"FOLDER/signers.toml\"", "", "bus.signers: missing; set KEYWHEEL_BUS__SIGNERS"),
            ("signers.toml", "absent.toml", "absent.toml: No such file"),
            ("signers.toml", "nobody.toml", "`boss` is no role; write one of issuer, propagator"),
        ] {
            let error = load(&LEAST.replace(from, to)).unwrap_err();
            let told = error.to_string();
            assert!(told.starts_with("bus.signers: ") && told.contains(expected), "{told}");
            assert_eq!(exit::code(&error), exit::CONFIG);
        }
    }

    #[cfg(feature = "server")]
    #[tokio::test]
    async fn a_bad_configuration_ends_the_run_with_its_code() {
        let mut config = load(LEAST).unwrap();
        config.lease = Length(Span(1));
        let error = crate::run(config, keywheel_runtime::Shutdown::new()).await.unwrap_err();
        let boxed: Box<dyn std::error::Error + Send + Sync> = error.into();
        assert_eq!(exit::code(boxed.as_ref()), exit::CONFIG);
    }

    #[test]
    fn plain_addresses_are_ranges_too() {
        let config = load(&format!("http.trusted_proxies = [\"::1\", \"10.1.0.0/16\"]\n{LEAST}")).unwrap();
        assert_eq!(config.http.trusted_proxies.len(), 2);
    }
}
