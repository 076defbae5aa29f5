//! How long to wait before the next attempt. Draws no random number and waits for nothing itself.

use std::time::Duration;

/// Waits that double from `first` up to `cap`, for loops that reconnect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    upcoming: Duration,
}

impl Backoff {
    /// Begins with `first`; never longer than `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, upcoming: first.min(cap) }
    }

    /// The wait before the next attempt. The one after that is twice as long.
    pub fn delay(&mut self) -> Duration {
        let delay = self.upcoming;
        self.upcoming = delay.saturating_mul(2).min(self.cap);
        delay
    }

    /// As [`Backoff::delay`], shortened so that many clients do not come back in step: `jitter` between
    /// 0 and 1 gives between half the wait and the whole of it.
    pub fn jittered(&mut self, jitter: f64) -> Duration {
        self.delay().mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// Begins anew, after an attempt that went well.
    pub fn reset(&mut self) {
        self.upcoming = self.first.min(self.cap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let mut backoff = Backoff::new(ms(100), ms(500));
        assert_eq!([(); 5].map(|()| backoff.delay()), [ms(100), ms(200), ms(400), ms(500), ms(500)]);
        backoff.reset();
        assert_eq!(backoff.delay(), ms(100));
    }

    #[test]
    fn the_cap_holds_from_the_start_and_for_ever() {
        let mut backoff = Backoff::new(ms(900), ms(500));
        assert!((0..200).all(|_| backoff.delay() == ms(500)));
        let mut endless = Backoff::new(ms(1), Duration::MAX);
        assert!((0..200).map(|_| endless.delay()).is_sorted());
    }

    #[test]
    fn jitter_takes_away_at_most_half() {
        for (jitter, expected) in [(0.0, 50), (0.5, 75), (1.0, 100), (7.0, 100), (-1.0, 50)] {
            assert_eq!(Backoff::new(ms(100), ms(500)).jittered(jitter), ms(expected));
        }
    }
}
