//! `keywheel up --verify-streams`: whether the server and its streams are as they should be. Changes nothing.

use crate::failure::{Failure, Output, print};
use crate::home::Home;
use crate::installation::{self, connect, demand_sync};
use crate::monitor::Monitor;
use crate::permissions::Role;
use crate::plan::existing;
use crate::settings::{Server, Settings};
use crate::up::Up;
use anyhow::Result;
use keywheel_bus::topology;
use keywheel_runtime::exit;

/// Checks and says what differs; the exit code says whether anything does.
///
/// # Errors
/// When the server cannot be asked.
pub async fn verify(up: &Up, home: &Home, output: Output) -> Result<u8> {
    let server = which(up, home)?;
    let admin = up.admin_credentials.clone().unwrap_or_else(|| server.admin(home));
    let bus = connect(home, &server, admin, &Role::Admin).await?;
    let copies = match topology::copies(&bus).await? {
        // Nothing is made here.
        None => up.stream_copies.map_or(1, usize::from),
        Some(_) => installation::copies(&bus, &server, up.stream_copies).await?,
    };
    let mut differences = topology::verify(&bus, copies).await?;
    bus.close().await;
    if let Err(error) = demand_sync(&Monitor::new()?, &server).await
        && !up.allow_unsafe_sync
    {
        differences.push(error.to_string());
    }
    tell(&differences, output);
    Ok(if differences.is_empty() { exit::DONE } else { exit::REFUSED })
}

fn which(up: &Up, home: &Home) -> Result<Server> {
    let before = Settings::load(home)?.map(|settings| settings.server);
    if let Some(existing) = existing(up, before.as_ref())? {
        return Ok(existing);
    }
    before.ok_or_else(|| {
        let detail =
            "there is no stack in this home to check; name a --home, or a --nats-url and --admin-credentials";
        Failure::usage(detail).into()
    })
}

fn tell(differences: &[String], output: Output) {
    match output {
        Output::Json => {
            let document = serde_json::json!({ "ok": differences.is_empty(), "differences": differences });
            print(&document.to_string());
        }
        Output::Text if differences.is_empty() => print("the streams and the server are as they should be"),
        Output::Text => print(&differences.join("\n")),
    }
}
