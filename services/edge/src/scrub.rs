//! Looks the database and the table over in the background, so that a flipped bit is found before
//! anything is built on it, and files that were taken away before the process ends with what is in them.

use crate::follow::{Doubt, Replica};
use crate::metrics::Alarm;
use crate::storage;
use keywheel_domain::{Address, State};
use keywheel_runtime::Shutdown;
use keywheel_table::TableError;
use keywheel_table::fold::Head;
use std::time::Duration;
use tokio::time::Instant;

const FILES_EVERY: Duration = Duration::from_secs(1);
const REST_MIN: Duration = Duration::from_secs(3);
/// It rests this many times as long as it worked: large tables take seconds to read.
const REST: u32 = 30;

/// Looks until `stop`.
pub async fn run(replica: Replica, stop: Shutdown) {
    let mut next = Instant::now() + REST_MIN;
    while stop.pause(FILES_EVERY).await {
        if replica.table.is_rebuilding() {
            continue;
        }
        if !replica.has_its_files() {
            let why = "its files were taken away or replaced".to_owned();
            replica.doubt(Doubt::Database(why));
            continue;
        }
        let began = Instant::now();
        if began < next {
            continue;
        }
        let looking = replica.clone();
        match tokio::task::spawn_blocking(move || look(&looking)).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(doubt))) => replica.doubt(doubt),
            Ok(Err(error)) => {
                replica.metrics.alarm(Alarm::Storage);
                tracing::warn!(%error, "cannot look the database over now");
            }
            Err(error) => tracing::error!(%error, "looking the database over ended badly"),
        }
        next = Instant::now() + (began.elapsed() * REST).max(REST_MIN);
    }
}

/// What is wrong.
///
/// # Errors
/// When it could not be looked at, which says nothing about it.
fn look(replica: &Replica) -> Result<Option<Doubt>, TableError> {
    let before = replica.table.status().head;
    let mut odd = None;
    let compare = |head: Head, address: Address, state: State| {
        if odd.is_none() && !replica.table.agrees(head, &address, &state) {
            odd = Some(format!("{address:?} answers otherwise than it is committed"));
        }
    };
    let found = storage::look_over(replica.data_dir(), compare);
    let after = replica.table.status();
    if after.kept != after.head {
        // It is being replaced already.
        return Ok(None);
    }
    match found {
        Ok(head) => Ok(went_back(before, head).map(Doubt::Database).or(odd.map(Doubt::Memory))),
        Err(error) if error.is_damage() => Ok(Some(Doubt::Database(error.to_string()))),
        Err(error) => Err(error),
    }
}

/// What answers is committed before, so the disk must have come as far, by the same way.
fn went_back(answers: Head, disk: Head) -> Option<String> {
    if disk.watermark < answers.watermark {
        return Some(format!("it went back from position {} to {}", answers.watermark, disk.watermark));
    }
    let same = disk.watermark > answers.watermark || disk == answers;
    (!same).then(|| format!("at position {} it is another than what answers", disk.watermark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_wire::chain::Chain;

    #[test]
    fn a_disk_that_is_behind_or_elsewhere_is_noticed_and_one_ahead_is_not() {
        let at = |watermark, byte| Head { watermark, chain: Chain([byte; 32]), ..Head::default() };
        assert_eq!(went_back(at(7, 1), at(7, 1)), None);
        assert_eq!(went_back(at(7, 1), at(8, 2)), None, "it commits first");
        assert!(went_back(at(7, 1), at(6, 1)).is_some());
        assert!(went_back(at(7, 1), at(7, 2)).is_some());
    }
}
