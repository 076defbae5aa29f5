//! Whole histories of single addresses: the next page is asked for while one is checked.

use crate::log::Pages;
use crate::{Bus, BusError};
use keywheel_domain::{Address, At, Cut};
use keywheel_table::history::{Judged, judge_all};
use keywheel_table::{History, Message};
use std::sync::Arc;

impl Bus {
    /// An address's history: up to a moment (and perhaps some of what is later), or all of it. Not read after
    /// write.
    ///
    /// # Errors
    /// When the bus cannot be asked or stops in the middle.
    pub async fn history(&self, address: &Address, until: Option<Cut>) -> Result<History, BusError> {
        let mut history = History::new(Arc::clone(self.signers()));
        let mut page = self.page_stored(1, Pages::Address(address)).await?;
        while let Some((last, _)) = page.last() {
            let next = self.page_stored(last.seq + 1, Pages::Address(address));
            let (judged, next) = tokio::join!(self.judge(page), next);
            judged?.into_iter().for_each(|judged| history.add(judged));
            if until.is_some_and(|until| history.is_past(until)) {
                break;
            }
            page = next?;
        }
        Ok(history)
    }

    async fn judge(&self, page: Vec<(Message, At)>) -> Result<Vec<Judged>, BusError> {
        let signers = Arc::clone(self.signers());
        let judging = tokio::task::spawn_blocking(move || judge_all(&page, &signers));
        judging.await.map_err(|error| BusError::Failed {
            what: "checking a page of the log",
            detail: error.to_string(),
        })
    }
}
