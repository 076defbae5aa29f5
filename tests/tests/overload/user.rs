//! A client of an edge inside this process, which writes down when it was served.

use keywheel_domain::At;
use keywheel_edge::Verifier;
use keywheel_token::KeyText;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;

const PAUSE: Duration = Duration::from_millis(20);

/// Shows one key again and again.
pub struct User {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<(At, At)>>,
}

impl User {
    pub fn begin(verifier: &Verifier, key: &KeyText) -> User {
        let stop = Arc::new(AtomicBool::new(false));
        let (verifier, stopped) = (verifier.clone(), Arc::clone(&stop));
        let key = key.expose().to_owned();
        let task = tokio::spawn(async move {
            let mut served = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                let before = now();
                if verifier.verify(&key, &[], None).outcome.is_ok() {
                    served.push((before, now()));
                }
                tokio::time::sleep(PAUSE).await;
            }
            served
        });
        User { stop, task }
    }

    /// Stops, and gives for each accepted use the times between which it was.
    pub async fn end(self) -> Vec<(At, At)> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap()
    }
}

fn now() -> At {
    At(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
}
