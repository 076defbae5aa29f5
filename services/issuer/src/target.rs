//! The keyring as it was at an earlier position, found by replaying its own events.

use keywheel_bus::Bus;
use keywheel_bus::intake::Refusal;
use keywheel_domain::{Address, Recorded, State};
use keywheel_table::Replay;
use keywheel_wire::command::RollbackTo;
use std::sync::Arc;

/// The state before the first event that lies past the mark, with the position up to which it holds.
///
/// # Errors
/// When the log cannot be read, or the mark names a rotation that the keyring never had.
pub async fn find(bus: &Bus, address: &Address, to: RollbackTo) -> Result<(u64, State), Refusal> {
    let mut replay = Replay::new(Arc::clone(bus.signers()));
    let (mut position, mut from) = (0, 1);
    loop {
        let page = bus.page(from, Some(address)).await?;
        let Some(last) = page.last() else {
            return ended(to, position, replay.state);
        };
        from = last.seq + 1;
        for message in &page {
            let before = replay.state.clone();
            match replay.take(message) {
                Ok(recorded) if is_past(&recorded, to) => return Ok((position, before)),
                Ok(_) => position = message.seq,
                Err(_) => {}
            }
        }
    }
}

fn is_past(recorded: &Recorded, to: RollbackTo) -> bool {
    match to {
        RollbackTo::Rotation(rotation) => recorded.event.rotation == Some(rotation),
        RollbackTo::Seq(seq) => recorded.seq > seq,
        RollbackTo::Time(at) => recorded.event.at > at,
    }
}

/// The log ended before the mark: what holds now is the target, unless a rotation was meant.
fn ended(to: RollbackTo, position: u64, state: State) -> Result<(u64, State), Refusal> {
    match to {
        RollbackTo::Rotation(_) => Err(Refusal::Rejected {
            code: "unknown_rotation",
            detail: "rotation_id: the keyring never had this rotation".to_owned(),
        }),
        RollbackTo::Seq(_) | RollbackTo::Time(_) if state.keys.is_empty() => {
            Err(Refusal::Rejected { code: "no_key", detail: "the keyring has no key".to_owned() })
        }
        RollbackTo::Seq(_) | RollbackTo::Time(_) => Ok((position, state)),
    }
}
