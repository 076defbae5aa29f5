//! What the command line says about TLS on the bus: our own server's switch, or the files for somebody else's.

use crate::failure::Failure;
use crate::settings::Server;
use anyhow::Result;
use clap::Args;
use keywheel_bus::TlsConfig;
use std::path::{Path, PathBuf};

/// The flags of `up`.
#[derive(Args, Clone, Debug, Default)]
pub struct TlsFlags {
    /// Speak TLS on the bus, with certificates made in HOME/tls and asked of everybody; `--tls=false` ends that
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls: Option<bool>,
    /// With --nats-url: PEM file of the authority that signed that server's certificate
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// With --nats-url: PEM file of the client certificate for the processes of this home
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    pub tls_cert: Option<PathBuf>,
    /// With --nats-url: PEM file of its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

impl TlsFlags {
    /// Puts what is said here into `server`, which else stays as the home remembers it.
    ///
    /// # Errors
    /// When a flag is for the other kind of server.
    pub fn apply(&self, server: Server) -> Result<Server> {
        match server {
            Server::Own { port, monitor, tls } if self.tls_ca.is_none() => {
                Ok(Server::Own { port, monitor, tls: self.tls.unwrap_or(tls) })
            }
            Server::Cluster { nodes, tls } if self.tls_ca.is_none() => {
                Ok(Server::Cluster { nodes, tls: self.tls.unwrap_or(tls) })
            }
            Server::Own { .. } | Server::Cluster { .. } => {
                let detail = "--tls-ca is for a server that somebody else runs, with --nats-url; for the one that `up` \
                              starts pass --tls";
                Err(Failure::usage(detail).into())
            }
            Server::Existing { .. } if self.tls.is_some() => {
                let detail = "--tls is for the server that `up` starts; for one that somebody else runs name --tls-ca FILE, \
                              and --tls-cert and --tls-key where it asks for a client certificate";
                Err(Failure::usage(detail).into())
            }
            Server::Existing { url, monitor, admin, tls } => {
                let tls = self.files()?.or(tls);
                Ok(Server::Existing { url, monitor, admin, tls })
            }
        }
    }

    fn files(&self) -> Result<Option<TlsConfig>> {
        let Some(ca) = &self.tls_ca else { return Ok(None) };
        let absolute = |path: &Option<PathBuf>| path.as_deref().map(std::path::absolute).transpose();
        let ca = std::path::absolute::<&Path>(ca)?;
        Ok(Some(TlsConfig { ca, cert: absolute(&self.tls_cert)?, key: absolute(&self.tls_key)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: TlsFlags,
    }

    fn flags(args: &[&str]) -> TlsFlags {
        Line::try_parse_from([&["up"], args].concat()).unwrap().flags
    }

    fn own(tls: bool) -> Server {
        Server::Own { port: 1, monitor: 2, tls }
    }

    #[test]
    fn a_switch_is_remembered_until_it_is_turned() {
        assert_eq!(flags(&["--tls"]).apply(own(false)).unwrap(), own(true));
        assert_eq!(flags(&[]).apply(own(true)).unwrap(), own(true));
        assert_eq!(flags(&["--tls=false"]).apply(own(true)).unwrap(), own(false));
        assert!(Line::try_parse_from(["up", "--tls-cert", "a.pem", "--tls-ca", "ca.pem"]).is_err());
        assert!(Line::try_parse_from(["up", "--tls-cert", "a.pem", "--tls-key", "a.key"]).is_err());
    }

    #[test]
    fn each_kind_of_server_has_its_own_flags() {
        let existing =
            |tls| Server::Existing { url: "tls://a:1".into(), monitor: None, admin: "a".into(), tls };
        let files = flags(&["--tls-ca", "/ca.pem", "--tls-cert", "/c.pem", "--tls-key", "/c.key"]);
        let config =
            TlsConfig { ca: "/ca.pem".into(), cert: Some("/c.pem".into()), key: Some("/c.key".into()) };
        assert_eq!(files.apply(existing(None)).unwrap(), existing(Some(config.clone())));
        assert_eq!(flags(&[]).apply(existing(Some(config.clone()))).unwrap(), existing(Some(config)));
        assert!(files.apply(own(true)).unwrap_err().to_string().contains("pass --tls"));
        let refused = flags(&["--tls"]).apply(existing(None)).unwrap_err().to_string();
        assert!(refused.contains("name --tls-ca"), "{refused}");
    }
}
