//! Questions over plain HTTP: to the server's monitoring port, and to edges whether they are ready.

use anyhow::{Context as _, Result};
use keywheel_wire::text;
use reqwest::Client;
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);

/// Asks over HTTP, on this machine's network and through no proxy.
#[derive(Clone, Debug)]
pub struct Monitor(Client);

impl Monitor {
    /// A client with short patience.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> Result<Monitor> {
        let client = Client::builder().no_proxy().timeout(PATIENCE).build();
        Ok(Monitor(client.context("cannot make an HTTP client")?))
    }

    /// Whether `GET url` answers 200.
    pub async fn is_ok(&self, url: &str) -> bool {
        let answer = self.0.get(url).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// Whether the server at this monitoring URL has recovered its streams and serves.
    pub async fn is_healthy(&self, monitor_url: &str) -> bool {
        self.is_ok(&format!("{monitor_url}/healthz")).await
    }

    /// Whether the server syncs each message to disk before it acknowledges it.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn syncs_always(&self, monitor_url: &str) -> Result<bool> {
        let says = self.ask(&format!("{monitor_url}/varz")).await?;
        let config = &says["jetstream"]["config"];
        anyhow::ensure!(config.is_object(), "the server at {monitor_url} has no JetStream");
        Ok(config["sync_always"].as_bool().unwrap_or(false))
    }

    /// That server's wall clock, in Unix milliseconds.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn clock_ms(&self, monitor_url: &str) -> Result<u64> {
        let says = self.ask(&format!("{monitor_url}/varz")).await?;
        let now = says["now"].as_str().context("the server does not say what time it is")?;
        Ok(text::parse_moment(now).map_err(anyhow::Error::msg)?.0)
    }

    /// Nothing where the edge at `url` is ready, else why it is not.
    ///
    /// # Errors
    /// When it does not answer as an edge does.
    pub async fn readiness(&self, url: &str) -> Result<Option<String>> {
        let says = self.ask(&format!("{url}/readyz")).await?;
        let ready = says["ready"].as_bool().with_context(|| format!("{url} is no edge"))?;
        Ok((!ready).then(|| says["reason"].as_str().unwrap_or("it does not say why").to_owned()))
    }

    /// How far the edge at `url` has applied the log, and its running hash there.
    ///
    /// # Errors
    /// When it does not answer as an edge does.
    pub async fn position(&self, url: &str) -> Result<(u64, [u8; 32])> {
        let says = self.ask(&format!("{url}/v1/info")).await?;
        let seq = says["watermark"].as_u64().with_context(|| format!("{url} is no edge"))?;
        let chain = text::parse_hex32(says["chain"].as_str().unwrap_or_default());
        Ok((seq, chain.map_err(anyhow::Error::msg)?))
    }

    /// The port on which that server takes clients.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn client_port(&self, monitor_url: &str) -> Result<u64> {
        let says = self.ask(&format!("{monitor_url}/varz")).await?;
        says["port"].as_u64().context("the server does not say its port")
    }

    /// Whether a user is connected, by its public nkey.
    ///
    /// # Errors
    /// When the server does not say.
    pub async fn is_connected(&self, monitor_url: &str, public: &str) -> Result<bool> {
        let says = self.ask(&format!("{monitor_url}/connz?auth=true&limit=100000")).await?;
        let connections =
            says["connections"].as_array().context("the server does not say who is connected")?;
        let is_user = |connection: &Value| {
            ["authorized_user", "nkey"].iter().any(|field| connection[field].as_str() == Some(public))
        };
        Ok(connections.iter().any(is_user))
    }

    async fn ask(&self, url: &str) -> Result<Value> {
        let answer = self.0.get(url).send().await.with_context(|| format!("cannot ask {url}"))?;
        let bytes = answer.bytes().await.with_context(|| format!("cannot read {url}"))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{url} does not answer as a NATS server does"))
    }
}
