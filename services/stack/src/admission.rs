//! Whether the server lets somebody in, now or after it has read its configuration again.

use crate::installation::{self, connect_role};
use crate::monitor::Monitor;
use crate::permissions::Role;
use crate::place::Place;
use crate::settings::Server;
use std::time::Duration;

/// Whether the server lets the edge in: ours after it has read its configuration again, another's now.
pub async fn is_let_in(place: &Place, role: &Role, patience: Duration) -> bool {
    let servers = place.settings.server.one_by_one();
    let everywhere = async || {
        let mut is_one_open = false;
        for server in &servers {
            match door(place, server, role).await {
                Door::Open => is_one_open = true,
                Door::Shut => return false,
                Door::Away => {}
            }
        }
        is_one_open
    };
    if place.settings.server.is_ours() { eventually(patience, everywhere).await } else { everywhere().await }
}

enum Door {
    Open,
    Shut,
    /// It cannot be asked; what it will say is what its configuration says when it comes back.
    Away,
}

async fn door(place: &Place, server: &Server, role: &Role) -> Door {
    match connect_role(&place.home, server, role).await {
        Ok(bus) => {
            bus.close().await;
            Door::Open
        }
        Err(error) if format!("{error:#}").contains("authorization violation") => Door::Shut,
        Err(_) => Door::Away,
    }
}

/// Whether a withdrawn user is neither connected nor let in again.
pub async fn is_shut_out(place: &Place, monitor: &Monitor, public: &str, role: &Role) -> bool {
    for url in installation::monitor_urls(monitor, &place.settings.server).await.iter().flatten() {
        if monitor.is_connected(url, public).await.unwrap_or(true) {
            return false;
        }
    }
    for server in place.settings.server.one_by_one() {
        if let Door::Open = door(place, &server, role).await {
            return false;
        }
    }
    true
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
