//! Whole histories of single addresses: the next page is asked for while one is checked.

use crate::log::Pages;
use crate::{Bus, BusError};
use keywheel_domain::{Address, At, Cut};
use keywheel_table::history::{Judged, Kept, judge_all};
use keywheel_table::{History, Message};
use keywheel_wire::subject;

type Page = Vec<(Message, At)>;

impl Bus {
    /// An address's history: up to a moment (and perhaps some of what is later), or all of it. Not read after
    /// write.
    ///
    /// # Errors
    /// When the bus cannot be asked or stops in the middle.
    pub async fn history(&self, address: &Address, until: Option<Cut>) -> Result<History, BusError> {
        self.history_beyond(address, &mut Vec::new(), until).await
    }

    /// The same where its beginning was `kept`: what comes after is read and kept as well. What was kept counts only
    /// while the log has its newest event at the same place; else all is read anew.
    ///
    /// # Errors
    /// When the bus cannot be asked or stops in the middle.
    pub async fn history_beyond(
        &self,
        address: &Address,
        kept: &mut Vec<Kept>,
        until: Option<Cut>,
    ) -> Result<History, BusError> {
        let (mut history, mut page) = match self.resumed(address, kept).await? {
            Some(resumed) => resumed,
            None => {
                kept.clear();
                let first = self.page_stored(1, Pages::Address(address)).await?;
                (History::new(self.signers()), first)
            }
        };
        while let Some((last, _)) = page.last() {
            let next = self.page_stored(last.seq + 1, Pages::Address(address));
            let (judged, next) = tokio::join!(self.judge(page), next);
            let (judged, read) = judged?;
            for (judged, (message, stored)) in judged.into_iter().zip(read) {
                let before = history.events().len();
                history.add(judged);
                if history.events().len() > before {
                    kept.push(Kept { seq: message.seq, stored, payload: message.payload });
                }
            }
            if until.is_some_and(|until| history.is_past(until)) {
                break;
            }
            page = next?;
        }
        Ok(history)
    }

    /// What was kept, with the first page of what comes after; nothing where the log does not confirm it.
    async fn resumed(&self, address: &Address, kept: &[Kept]) -> Result<Option<(History, Page)>, BusError> {
        let Some(newest) = kept.last() else { return Ok(None) };
        let mut page = self.page_stored(newest.seq, Pages::Address(address)).await?;
        if page.is_empty() {
            return Ok(None);
        }
        let found = [page.remove(0)];
        let signers = self.meet().await?;
        let is_same = found[0].0.seq == newest.seq && found[0].0.payload == newest.payload;
        let is_believed = || judge_all(&found, &signers).iter().all(|judged| judged.event().is_some());
        if !(is_same && is_believed()) {
            return Ok(None);
        }
        let history = History::resume(signers.clone(), &subject::event(address), kept);
        Ok(history.map(|history| (history, page)))
    }

    async fn judge(&self, page: Page) -> Result<(Vec<Judged>, Page), BusError> {
        let signers = self.meet().await?;
        let judging = tokio::task::spawn_blocking(move || (judge_all(&page, &signers), page));
        judging.await.map_err(|error| BusError::Failed {
            what: "checking a page of the log",
            detail: error.to_string(),
        })
    }
}
