//! Waiting goes on when the bus is away for a while: it restarts, and what was waited for is still there.

use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::screen::Live;
use keywheel_runtime::exit;
use std::time::Duration;
use tokio::time::Instant;

/// How long the bus may be away before a waiting ends, however long it may take otherwise.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(300);

/// Since when the bus has not answered.
#[derive(Default)]
pub(crate) struct Outage {
    since: Option<Instant>,
}

impl Outage {
    /// Passes a result on, but for a failure to reach the bus that may pass: then, after a pause,
    /// there is nothing, and it is to be tried again.
    pub async fn bridge<T>(
        &mut self,
        tried: Result<T, Failure>,
        deadline: Deadline,
        live: &Live,
    ) -> Result<Option<T>, Failure> {
        match tried {
            Ok(value) => {
                self.since = None;
                Ok(Some(value))
            }
            Err(failure) if failure.exit == exit::UNREACHABLE && self.may_pass(deadline) => {
                live.say("the bus does not answer; trying again");
                tokio::time::sleep(PAUSE.min(deadline.left())).await;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    fn may_pass(&mut self, deadline: Deadline) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        since.elapsed() < PATIENCE && !deadline.has_passed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Output;
    use crate::screen::Screen;
    use keywheel_domain::Span;

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_bridged_for_a_while_and_a_refusal_never() {
        let live = Screen::new(Output::Json).live();
        let never = Deadline::within_or_never(None);
        let away = || Err::<(), _>(Failure::unreachable("away"));
        let mut outage = Outage::default();
        assert_eq!(outage.bridge(Ok(7), never, &live).await, Ok(Some(7)));
        assert_eq!(outage.bridge(away(), never, &live).await, Ok(None));
        tokio::time::advance(PATIENCE).await;
        assert_eq!(outage.bridge(away(), never, &live).await, away().map(Some));
        assert_eq!(outage.bridge(Ok(7), never, &live).await, Ok(Some(7)));
        assert_eq!(outage.bridge(away(), never, &live).await, Ok(None));
        assert_eq!(outage.bridge(away(), Deadline::within(Span(0)), &live).await, away().map(Some));
        let refused = || Err::<(), _>(Failure::refused("x", "y"));
        assert_eq!(outage.bridge(refused(), never, &live).await, refused().map(Some));
    }
}
