//! The log read page by page, the next one while this one is worked on.

use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::outage::Outage;
use crate::screen::Live;
use keywheel_audit::examine::{Examined, Examiner};
use keywheel_bus::{Bus, BusError};
use keywheel_domain::Tenant;
use keywheel_table::Record;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use tokio::task::{JoinHandle, block_in_place};

/// Reads ahead by one page.
pub(crate) struct Pages {
    bus: Bus,
    tenant: Option<Tenant>,
    from: u64,
    next: Option<JoinHandle<Result<Vec<Record>, BusError>>>,
    outage: Outage,
}

impl Pages {
    /// From the beginning, of one tenant or of all.
    pub fn new(bus: Bus, tenant: Option<Tenant>) -> Self {
        Self { bus, tenant, from: 1, next: None, outage: Outage::default() }
    }

    /// The next page; an empty one where the log has no more now. An outage of the bus is waited out.
    pub async fn next(&mut self, live: &Live) -> Result<Vec<Record>, Failure> {
        loop {
            let reading = self.next.take().unwrap_or_else(|| self.read());
            let read = reading.await.map_err(Failure::unreachable)?.map_err(Failure::from);
            let never = Deadline::within_or_never(None);
            let Some(page) = self.outage.bridge(read, never, live).await? else { continue };
            if let Some(last) = page.last() {
                self.from = last.message.seq + 1;
                self.next = Some(self.read());
            }
            return Ok(page);
        }
    }

    fn read(&self) -> JoinHandle<Result<Vec<Record>, BusError>> {
        let (bus, tenant, from) = (self.bus.clone(), self.tenant.clone(), self.from);
        tokio::spawn(async move { bus.records(from, tenant.as_ref()).await })
    }
}

/// Examines a page on every core.
pub(crate) fn examined(examiner: &mut Examiner, page: &[Record]) -> Vec<Examined> {
    let threads = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    block_in_place(|| examiner.examine(page, threads))
}
