//! One of something for each of a few threads, so that threads on different cores do not wait for one
//! another's cache line.

use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicUsize, Ordering};

const STRIPES: usize = 16;

/// As many as there are stripes; threads beyond that share them.
#[derive(Debug)]
pub struct Stripes<T>([CachePadded<T>; STRIPES]);

impl<T: Default> Default for Stripes<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| CachePadded::default()))
    }
}

impl<T> Stripes<T> {
    /// The calling thread's.
    pub fn own(&self) -> &T {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
        }
        &self.0[OWN.with(|own| *own)]
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|stripe| &**stripe)
    }
}
