//! What runs while power fails: an owner for each keyring, who issues, rotates, retires and revokes at random, and clients
//! who use the newest key. All that they are told goes into the record in the moment in which they are told it.

use crate::record::{Held, Record, Sent};
use anyhow::Context as _;
use futures_util::StreamExt;
use keywheel_domain::event::CommandId;
use keywheel_domain::{Address, KeyringId, Version};
use keywheel_tests::Operator;
use keywheel_tests::hostile::chance::Chance;
use keywheel_tests::traffic::{Holder, Traffic};
use keywheel_token::{id, mint};
use keywheel_wire::notice::{Notice, Receipt};
use keywheel_wire::outcome::{Outcome, Word};
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

/// One keyring's owner.
#[derive(Clone)]
pub struct Owner {
    pub operator: Arc<Operator>,
    pub record: Record,
    pub ring: KeyringId,
    pub holder: Holder,
}

/// Everything that runs.
pub struct Load {
    tasks: JoinSet<()>,
    traffic: Traffic,
}

impl Load {
    pub fn begin(owners: &[Owner], edges: &[String], chance: &mut Chance) -> Load {
        let mut tasks = JoinSet::new();
        for owner in owners {
            let (owner, mut chance) = (owner.clone(), chance.branch());
            tasks.spawn(async move {
                loop {
                    if let Err(error) = owner.act(&mut chance).await {
                        // When the bus is away; what was asked is in the record.
                        eprintln!("{}: {error:#}", owner.ring);
                    }
                    tokio::time::sleep(Duration::from_millis(chance.within(0, 120))).await;
                }
            });
        }
        if let Some(Owner { operator, record, .. }) = owners.first().cloned() {
            tasks.spawn(hear_pulses(operator, record));
        }
        let clients = owners.iter().map(|owner| (owner.ring.to_string(), Arc::clone(&owner.holder)));
        let traffic = Traffic::start(clients.collect(), edges, Duration::from_millis(40));
        Load { tasks, traffic }
    }

    /// Ends it at once, also what waits for an answer.
    pub fn end(mut self) -> Traffic {
        self.tasks.abort_all();
        self.traffic
    }
}

/// A pulse that is published is not yet acknowledged; the one before it is.
async fn hear_pulses(operator: Arc<Operator>, record: Record) {
    let Ok(mut pulses) = operator.bus.pulses().await else { return };
    while let Some(pulse) = pulses.next().await {
        if let Ok(pulse) = pulse {
            record.lock().pulses.insert(pulse.id.clone(), pulse);
        }
    }
}

impl Owner {
    pub fn new(operator: &Arc<Operator>, record: &Record, client: &str) -> Owner {
        let ring = KeyringId::parse(&format!("acme/{client}")).unwrap();
        // Until a key is delivered its client shows one that nobody knows.
        let holder = Arc::new(Mutex::new(Arc::new(mint(&keywheel_token::Brand::default()).text)));
        Owner { operator: Arc::clone(operator), record: record.clone(), ring, holder }
    }

    fn address(&self) -> Address {
        Address::Keyring(self.ring.clone())
    }

    async fn act(&self, chance: &mut Chance) -> anyhow::Result<()> {
        let living = self.record.lock().living(&self.ring);
        let Some(newest) = living.last() else { return self.new_key(Verb::Issue).await };
        match chance.index(8) {
            0 | 1 => self.revoke(living[chance.index(living.len())]).await,
            2 if living.len() > 1 => self.retire(living[0]).await,
            3 => self.revoke(*newest).await,
            _ => self.new_key(Verb::Rotate).await,
        }
    }

    /// Sends a command; what is known of it stands in the record whenever this is given up.
    async fn command(&self, verb: Verb, mut document: Value) -> anyhow::Result<Outcome> {
        let id = id::fresh();
        document["id"] = json!(text::id(id));
        document["actor"] = json!("owner");
        let at = {
            let sent = Sent {
                id,
                ring: self.ring.clone(),
                verb,
                document: document.clone(),
                acknowledged: false,
                outcome: None,
            };
            let mut told = self.record.lock();
            told.commands.push(sent);
            told.commands.len() - 1
        };
        self.operator.bus.send_command(&self.address(), verb, &document).await?;
        self.record.lock().commands[at].acknowledged = true;
        let outcome = self.operator.bus.await_outcome(CommandId(id), Duration::from_secs(30)).await?;
        let outcome = outcome.context("no outcome in time")?;
        self.record.lock().commands[at].outcome = Some(outcome.clone());
        Ok(outcome)
    }

    pub async fn new_key(&self, verb: Verb) -> anyhow::Result<()> {
        let document = json!({ "recipient": self.operator.recipient() });
        let outcome = self.command(verb, document).await?;
        let Some(version) = outcome.version.filter(|_| outcome.outcome == Word::Accepted) else {
            return Ok(());
        };
        let version = Version(version);
        let text = Arc::new(self.operator.delivered(&self.ring, version).await?);
        *self.holder.lock().unwrap() = Arc::clone(&text);
        let ring = self.ring.clone();
        self.record.lock().keys.push(Held { ring, version, text, ending: false, receipt: None });
        Ok(())
    }

    fn note(&self, version: Version, change: impl FnOnce(&mut Held)) {
        let mut told = self.record.lock();
        if let Some(key) = told.keys.iter_mut().find(|key| key.ring == self.ring && key.version == version) {
            change(key);
        }
    }

    async fn retire(&self, version: Version) -> anyhow::Result<()> {
        self.note(version, |key| key.ending = true);
        self.command(Verb::Retire, json!({ "version": version.0 })).await.map(drop)
    }

    pub async fn revoke(&self, version: Version) -> anyhow::Result<()> {
        self.note(version, |key| key.ending = true);
        let fields = json!({ "version": version.0, "reason": "leaked" });
        let outcome = self.command(Verb::Revoke, fields).await?;
        let Some(event) = outcome.event else { return Ok(()) };
        let receipt = self.receipt(event.seq).await?;
        self.note(version, |key| key.receipt = Some(receipt));
        Ok(())
    }

    async fn receipt(&self, seq: u64) -> anyhow::Result<Receipt> {
        loop {
            let notices = self.operator.bus.notices(&self.address(), "receipt").await?;
            let found = notices.into_iter().find_map(|(notice, _)| match notice {
                Notice::Receipt(receipt) if receipt.seq == seq => Some(receipt),
                Notice::Receipt(_) | Notice::Alarm(_) | Notice::Head(_) => None,
            });
            if let Some(receipt) = found {
                return Ok(receipt);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
