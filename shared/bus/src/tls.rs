//! TLS to the bus: which files, checked before anything connects, and what an error of the handshake means.

use crate::BusError;
use async_nats::ConnectOptions;
use keywheel_wire::Malformed;
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The table `bus.tls`. The files are read again at each connection, so renewed ones need no restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file of the authority that signed the server's certificate; no other one is trusted.
    pub ca: PathBuf,
    /// PEM file with the certificate that the server asks for, if it asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// PEM file with that certificate's private key (0600).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl TlsConfig {
    /// Checks that every file holds what it should.
    ///
    /// # Errors
    /// Names the setting, the file and what to do.
    pub fn check(&self) -> Result<(), BusError> {
        certificates("bus.tls.ca", &self.ca)?;
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                certificates("bus.tls.cert", cert)?;
                PrivateKeyDer::from_pem_file(key)
                    .map(|_| ())
                    .map_err(|error| fault("bus.tls.key", key, &words(&error, "private key")))
            }
            (Some(_), None) => Err(lone("bus.tls.key", "bus.tls.cert")),
            (None, Some(_)) => Err(lone("bus.tls.cert", "bus.tls.key")),
            (None, None) => Ok(()),
        }
    }

    pub(crate) fn apply(&self, options: ConnectOptions) -> ConnectOptions {
        let options = options.require_tls(true).add_root_certificates(self.ca.clone());
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => options.add_client_certificate(cert.clone(), key.clone()),
            (Some(_), None) | (None, Some(_)) | (None, None) => options,
        }
    }
}

fn certificates(field: &'static str, path: &Path) -> Result<(), BusError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => {
            Err(fault(field, path, &words(&PemError::NoItemsFound, "certificate")))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(fault(field, path, &words(&error, "certificate"))),
    }
}

fn words(error: &PemError, wanted: &str) -> String {
    if let PemError::Io(error) = error {
        return error.to_string();
    }
    if matches!(error, PemError::NoItemsFound) {
        return format!("there is no PEM {wanted} in it");
    }
    format!("it is no PEM {wanted}: {error}")
}

fn fault(field: &'static str, path: &Path, detail: &str) -> BusError {
    let detail =
        format!("cannot use {}: {detail}; name a PEM file that this process may read", path.display());
    BusError::Tls(Malformed::new(field, detail))
}

fn lone(missing: &'static str, given: &str) -> BusError {
    BusError::Tls(Malformed::new(missing, format!("{given} stands without it; name both files or none")))
}

/// What a failed handshake means, where waiting does not mend it: which file, and what to do about it.
pub(crate) fn explain(detail: &str, url: &str, tls: Option<&TlsConfig>) -> Option<BusError> {
    let says = |word: &str| detail.contains(word);
    let file = |path: Option<&PathBuf>| path.map_or("nothing".to_owned(), |path| path.display().to_string());
    let ca = file(tls.map(|tls| &tls.ca));
    let cert = file(tls.and_then(|tls| tls.cert.as_ref()));
    let (field, meaning) = if says("invalid peer certificate: UnknownIssuer")
        || says("invalid peer certificate: BadSignature")
    {
        (
            "bus.tls.ca",
            format!(
                "the certificate of {url} is not signed by the authority in {ca}; name the file of the one that signed it"
            ),
        )
    } else if says("invalid peer certificate: Expired")
        || says("invalid peer certificate: certificate expired")
    {
        (
            "bus.tls",
            format!(
                "the certificate of {url} has expired; renew it at the server (and see that this machine's clock is right)"
            ),
        )
    } else if says("invalid peer certificate") {
        (
            "bus.url",
            format!(
                "the certificate of {url} is not for that address or purpose; name the server as its certificate does"
            ),
        )
    } else if says("alert: CertificateRequired") {
        (
            "bus.tls.cert",
            format!(
                "{url} asks for a client certificate and got {cert}; name one, with its key in bus.tls.key"
            ),
        )
    } else if says("alert: CertificateExpired") {
        (
            "bus.tls.cert",
            format!("{url} says that the certificate in {cert} has expired; put a new one there"),
        )
    } else if says("alert: UnknownCA") || says("alert: BadCertificate") {
        (
            "bus.tls.cert",
            format!(
                "{url} does not accept the certificate in {cert}; name one signed by the authority that the server trusts"
            ),
        )
    } else if says("could not add certificate or key") {
        (
            "bus.tls.key",
            format!("it is not the key of the certificate in {cert}; name the two that belong together"),
        )
    } else if says("received corrupt message of type InvalidContentType") {
        ("bus.tls", format!("{url} does not speak TLS; take the table away, or turn TLS on at the server"))
    } else {
        return None;
    };
    Some(BusError::Tls(Malformed::new(field, format!("{meaning} ({detail})"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ca: &Path) -> TlsConfig {
        TlsConfig { ca: ca.to_owned(), cert: None, key: None }
    }

    #[test]
    fn each_file_is_checked_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("empty.pem"), "nothing here").unwrap();
        std::fs::write(at("ca.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .unwrap();
        let told = |config: TlsConfig| config.check().unwrap_err().to_string();
        assert!(told(config(&at("none.pem"))).starts_with("bus.tls.ca: cannot use"));
        assert!(told(config(&at("empty.pem"))).contains("no PEM certificate in it"));
        config(&at("ca.pem")).check().unwrap();
        let half = TlsConfig { cert: Some(at("ca.pem")), ..config(&at("ca.pem")) };
        assert!(told(half.clone()).starts_with("bus.tls.key: bus.tls.cert stands without it"));
        let keyless = TlsConfig { key: Some(at("ca.pem")), ..half };
        assert!(told(keyless).starts_with("bus.tls.key: cannot use"));
    }

    #[test]
    fn an_outage_is_no_fault_of_the_certificates() {
        for detail in ["Connection refused (os error 111)", "timed out", "expected INFO, got nothing"] {
            assert!(explain(detail, "tls://x", None).is_none(), "{detail}");
        }
        let told = explain("IO error: invalid peer certificate: UnknownIssuer", "tls://x", None).unwrap();
        assert!(
            told.to_string().starts_with("bus.tls.ca: the certificate of tls://x is not signed"),
            "{told}"
        );
    }
}
