//! Whether the server lets somebody in, now or after it has read its configuration again.

use crate::installation::{self, connect_role};
use crate::monitor::Monitor;
use crate::permissions::Role;
use crate::place::Place;
use crate::settings::Server;
use std::time::Duration;

/// Whether the server lets the edge in: ours after it has read its configuration again, another's now.
pub async fn is_let_in(place: &Place, role: &Role, patience: Duration) -> bool {
    let attempt = async || {
        let bus = connect_role(&place.home, &place.settings.server, role).await.ok()?;
        bus.close().await;
        Some(())
    };
    match place.settings.server {
        Server::Own { .. } => eventually(patience, async || attempt().await.is_some()).await,
        Server::Existing { .. } => attempt().await.is_some(),
    }
}

/// Whether a withdrawn user is neither connected nor let in again.
pub async fn is_shut_out(place: &Place, monitor: &Monitor, public: &str, role: &Role) -> bool {
    if let Some(url) = installation::monitor_url(monitor, &place.settings.server).await
        && monitor.is_connected(&url, public).await.unwrap_or(true)
    {
        return false;
    }
    match connect_role(&place.home, &place.settings.server, role).await {
        Ok(bus) => {
            bus.close().await;
            false
        }
        Err(_) => true,
    }
}

/// Asks until it is so, once at least.
pub async fn eventually(patience: Duration, is_so: impl AsyncFn() -> bool) -> bool {
    if is_so().await {
        return true;
    }
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(patience, wait).await.is_ok()
}
