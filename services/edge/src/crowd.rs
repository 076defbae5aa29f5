//! Who is connected to a listener, and who has to leave when it is full: whoever has asked nothing for longest.
//! So a flood of connections that ask nothing keeps nobody out who does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// When it is full this part of all connections is made to leave at once, if so many idle: to look for them costs
/// as much for many as for one.
const PART: usize = 16;
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Whoever connects asks at once, so that one who has not asked yet has this part of the grace alone.
const NEWCOMER: u32 = 4;

/// The connections of one listener.
#[derive(Clone)]
pub struct Crowd(Arc<Shared>);

struct Shared {
    most: usize,
    grace: Duration,
    began: Instant,
    guests: Mutex<Guests>,
    left: Notify,
    on_crowded_out: Box<dyn Fn(usize) + Send + Sync>,
}

#[derive(Default)]
struct Guests {
    last: u64,
    present: BTreeMap<u64, Arc<Seat>>,
}

/// What is known of one connection.
struct Seat {
    began: Instant,
    /// Its last answer, in milliseconds of the crowd's clock; of a newcomer as if that were a while ago.
    since: AtomicU64,
    /// Requests that are answered now.
    asked: AtomicU32,
    leave: Notify,
}

/// A connection that was admitted; its place is free again on drop.
pub struct Guest {
    crowd: Crowd,
    number: u64,
    seat: Arc<Seat>,
}

/// A request under way.
pub struct Asking(Arc<Seat>);

impl Crowd {
    /// Of at most `most`. Whoever has asked nothing for `grace` may have to leave; `on_crowded_out` is told how many
    /// had to.
    pub fn new(
        most: usize,
        grace: Duration,
        on_crowded_out: impl Fn(usize) + Send + Sync + 'static,
    ) -> Crowd {
        Crowd(Arc::new(Shared {
            most: most.max(1),
            grace,
            began: Instant::now(),
            guests: Mutex::default(),
            left: Notify::new(),
            on_crowded_out: Box::new(on_crowded_out),
        }))
    }

    /// A place for a new connection, once there is one.
    pub async fn admit(&self) -> Guest {
        loop {
            let left = self.0.left.notified();
            if let Some(guest) = self.try_admit() {
                return guest;
            }
            self.make_room();
            // Those who are told to leave do so at once; else somebody may idle long enough soon.
            let _ = tokio::time::timeout(LOOK_AGAIN, left).await;
        }
    }

    /// Tells those to leave who have asked nothing for longest. Also what to do when descriptors run out.
    pub fn make_room(&self) {
        let now = millis(self.0.began.elapsed());
        let grace = millis(self.0.grace);
        let guests = self.guests();
        let mut idle: Vec<(u64, &Arc<Seat>)> = guests
            .present
            .values()
            .filter(|seat| seat.asked.load(Ordering::Acquire) == 0)
            .map(|seat| (seat.since.load(Ordering::Relaxed), seat))
            .filter(|(since, _)| since.saturating_add(grace) < now)
            .collect();
        let leaving = (self.0.most / PART).max(1).min(idle.len());
        if leaving == 0 {
            return;
        }
        idle.select_nth_unstable_by_key(leaving - 1, |(since, _)| *since);
        idle[..leaving].iter().for_each(|(_, seat)| seat.leave.notify_one());
        drop(guests);
        (self.0.on_crowded_out)(leaving);
    }

    fn try_admit(&self) -> Option<Guest> {
        let (began, grace) = (self.0.began, self.0.grace);
        let mut guests = self.guests();
        if guests.present.len() >= self.0.most {
            return None;
        }
        let since = millis((began.elapsed() + grace / NEWCOMER).saturating_sub(grace));
        let seat = Seat { began, since: since.into(), asked: 0.into(), leave: Notify::new() };
        let seat = Arc::new(seat);
        guests.last += 1;
        let number = guests.last;
        guests.present.insert(number, Arc::clone(&seat));
        Some(Guest { crowd: self.clone(), number, seat })
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.0.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// A request began; it ends on drop.
    pub fn asks(&self) -> Asking {
        self.seat.asked.fetch_add(1, Ordering::AcqRel);
        Asking(Arc::clone(&self.seat))
    }

    /// Whether a request is under way.
    pub fn is_asking(&self) -> bool {
        self.seat.asked.load(Ordering::Acquire) > 0
    }

    /// Resolves once it has to leave.
    pub async fn told_to_leave(&self) {
        self.seat.leave.notified().await;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.since.store(millis(self.0.began.elapsed()), Ordering::Relaxed);
        self.0.asked.fetch_sub(1, Ordering::AcqRel);
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.crowd.guests().present.remove(&self.number);
        self.crowd.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_GRACE: Duration = Duration::ZERO;

    fn left(guest: &Guest) -> bool {
        use std::pin::pin;
        use std::task::{Context, Poll, Waker};
        let mut context = Context::from_waker(Waker::noop());
        matches!(pin!(guest.told_to_leave()).as_mut().poll(&mut context), Poll::Ready(()))
    }

    fn pass(crowd: &Crowd) {
        let now = millis(crowd.0.began.elapsed());
        while millis(crowd.0.began.elapsed()) <= now + 1 {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn whoever_has_asked_nothing_for_longest_leaves_and_nobody_who_is_asking() {
        let crowd = Crowd::new(3, NO_GRACE, |_| ());
        let busy = crowd.try_admit().unwrap();
        let asking = busy.asks();
        let asked = crowd.try_admit().unwrap();
        let silent = crowd.try_admit().unwrap();
        assert!(crowd.try_admit().is_none(), "it is full");
        pass(&crowd);
        drop(asked.asks());
        pass(&crowd);
        crowd.make_room();
        assert_eq!([&busy, &asked, &silent].map(left), [false, false, true]);
        drop(silent);
        let fresh = crowd.try_admit().unwrap();
        pass(&crowd);
        crowd.make_room();
        assert_eq!([&busy, &asked, &fresh].map(left), [false, true, false]);
        drop(asking);
        assert!(!busy.is_asking());
    }

    #[test]
    fn nobody_leaves_within_the_grace() {
        let crowd = Crowd::new(1, Duration::from_secs(3600), |_| unreachable!());
        let guest = crowd.try_admit().unwrap();
        pass(&crowd);
        crowd.make_room();
        assert!(!left(&guest));
    }

    #[test]
    fn a_part_leaves_at_once() {
        let crowd = Crowd::new(64, NO_GRACE, |many| assert_eq!(many, 4));
        let guests: Vec<Guest> = (0..64).map(|_| crowd.try_admit().unwrap()).collect();
        pass(&crowd);
        crowd.make_room();
        assert_eq!(guests.iter().filter(|guest| left(guest)).count(), 4);
    }

    #[tokio::test]
    async fn who_waits_comes_in_as_soon_as_somebody_leaves() {
        let crowd = Crowd::new(1, Duration::from_secs(3600), |_| ());
        let first = crowd.admit().await;
        let waiting = tokio::spawn({
            let crowd = crowd.clone();
            async move { crowd.admit().await.number }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        let admitted = tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("a place");
        assert_eq!(admitted.unwrap(), 2);
    }
}
