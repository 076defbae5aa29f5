//! Keys by the hundred: issued and rotated by the operator, opened as their owners would.

use futures_util::StreamExt;
use keywheel_domain::{Address, KeyringId};
use keywheel_tests::Operator;
use keywheel_tests::operator::PATIENCE;
use keywheel_token::KeyText;
use keywheel_wire::outcome::Word;
use keywheel_wire::subject::Verb;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Commands under way at once.
const AT_ONCE: usize = 64;

/// What was minted so far: the owners' own hands.
#[derive(Clone, Default)]
pub struct Owners(Arc<Mutex<Vec<Arc<KeyText>>>>);

impl Owners {
    pub fn take(&self, key: KeyText) {
        self.0.lock().unwrap().push(Arc::new(key));
    }

    pub fn get(&self, at: usize) -> Option<Arc<KeyText>> {
        self.0.lock().unwrap().get(at).cloned()
    }

    pub fn all(&self) -> Vec<Arc<KeyText>> {
        self.0.lock().unwrap().clone()
    }
}

/// Mints `count` keys, half by issuing, half by rotating; says when the last one was minted at the latest.
pub async fn mint(operator: &Operator, owners: &Owners, phase: &str, count: usize) -> Instant {
    let rings = (0..count / 2).map(|n| KeyringId::parse(&format!("acme/{phase}-{n}")).unwrap());
    let minted = futures_util::stream::iter(rings)
        .map(|ring| async move {
            let (_, first) = operator.issue(&ring).await.unwrap();
            owners.take(first);
            let version = operator.rotate(&ring).await.unwrap();
            let minted = Instant::now();
            owners.take(operator.delivered(&ring, version).await.unwrap());
            minted
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    minted.into_iter().max().unwrap()
}

/// A command that is stored while no issuer runs, and is carried out by the next one.
pub async fn outlast(operator: &Operator, owners: &Owners, ring: &str, strike: impl FnOnce()) {
    let ring = KeyringId::parse(ring).unwrap();
    let address = Address::Keyring(ring.clone());
    let (issued, ()) = tokio::join!(
        operator.command(&address, Verb::Issue, json!({ "recipient": operator.recipient() })),
        async { strike() }
    );
    let issued = issued.unwrap();
    assert_eq!(issued.outcome, Word::Accepted);
    let delivered = operator.delivered(&ring, keywheel_domain::Version(issued.version.unwrap()));
    owners.take(tokio::time::timeout(PATIENCE, delivered).await.unwrap().unwrap());
}
