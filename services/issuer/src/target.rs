//! The keyring as it was at an earlier position, read from the log.

use keywheel_bus::Bus;
use keywheel_bus::intake::Refusal;
use keywheel_domain::Address;
use keywheel_table::target::{Search, Target};
use keywheel_wire::command::RollbackTo;

/// The state before the first event that lies past the mark, with the position up to which it holds.
///
/// # Errors
/// When the log cannot be read, or the mark names a rotation that the keyring never had.
pub async fn find(bus: &Bus, address: &Address, to: RollbackTo) -> Result<Target, Refusal> {
    let mut search = Search::new(bus.signers(), to);
    let mut from = 1;
    while !search.is_found() {
        let page = bus.page(from, Some(address)).await?;
        let Some(last) = page.last() else { break };
        from = last.seq + 1;
        // What is not believed is no part of the keyring.
        page.iter().for_each(|message| drop(search.take(message)));
    }
    let refused = |none: keywheel_table::target::NoTarget| Refusal::Rejected {
        code: none.code(),
        detail: none.detail().to_owned(),
    };
    search.target().map_err(refused)
}
