//! How long one verification takes while the log is replayed at full speed into the same table.

use crate::figure::{Aim, Figure, Scale};
use crate::keys::{self, Keys};
use crate::samples::Samples;
use crate::verify::size;
use keywheel_domain::command::{Minted, SpecAsked};
use keywheel_domain::event::{CommandId, EventId, RotationId};
use keywheel_domain::{
    Act, Actor, Address, At, Command, Digest, KeyringId, Kid, Policy, State, Version, decide,
};
use keywheel_edge::http::App;
use keywheel_table::{Fold, Message, Options};
use keywheel_token::Credential;
use keywheel_wire::event::{self, Link};
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::{Installation, Signers};
use keywheel_wire::subject::{self, Service};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const OURS: Installation = Installation(7);
/// As many as the edge applies in one transaction at most.
const BATCH: usize = 1000;
const OPTIONS: Options = Options { commands: false, pending: |_| false, doubts: false };

/// Measures one thread that verifies, first alone and then beside one that replays.
pub fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let count = scale.pick(1_000_000, 1000);
    let keys = Keys::new(count, scale.seed);
    let app = keys::app(keys.table(keys::common));
    let events = scale.pick(100_000, 500);
    let signer = Signer::from_seed(Credential::fresh().seed().expose())?;
    let log: Vec<Message> = (1..=events).map(|seq| issued(seq, &signer)).collect::<anyhow::Result<_>>()?;
    let signers = Signers::of(OURS, [(signer.public().to_owned(), Service::Issuer)])?;
    let folder = tempfile::tempdir()?;
    let mut fold = Fold::open(&folder.path().join("edge.db"), OPTIONS, Arc::new(signers))?;

    let quiet = timed(&app, &keys, scale.pick(Duration::from_secs(4), Duration::from_millis(50)), || Ok(()))?;
    let mut took = Duration::ZERO;
    let busy = timed(&app, &keys, Duration::ZERO, || {
        let began = Instant::now();
        for batch in log.chunks(BATCH) {
            let applied = fold.apply(batch, &[])?;
            app.table.apply(&applied.changed, fold.head(), None);
        }
        took = began.elapsed();
        Ok(())
    })?;
    let held = app.table.status().keys;
    anyhow::ensure!(held == count + events as usize, "every event has put a key into the table, not {held}");
    let rate = events as f64 / took.as_secs_f64();
    println!("{} checks quiet, {} beside {rate:.0} events/s", quiet.count(), busy.count());
    let figure = |what: &str, quiet: f64, busy: f64, aim| Figure {
        what: format!("verify while replaying, {} keys, {what}", size(count)),
        unit: "µs",
        ours: busy * 1e3,
        floor: Some(("quiet".to_owned(), quiet * 1e3)),
        aim,
    };
    let aim = if scale.quick { Aim::Report } else { Aim::RatioAtMost(2.0) };
    Ok(vec![
        figure("p50", quiet.p50_ms(), busy.p50_ms(), Aim::Report),
        figure("p99", quiet.p99_ms(), busy.p99_ms(), aim),
    ])
}

/// Verifies for at least `least` and as long as `work` works, which is done beside.
fn timed(
    app: &App,
    keys: &Keys,
    least: Duration,
    work: impl FnOnce() -> anyhow::Result<()> + Send,
) -> anyhow::Result<Samples> {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            let done = work();
            is_done.store(true, Ordering::Release);
            done
        });
        let (mut samples, began) = (Samples::default(), Instant::now());
        for text in keys.shown.iter().cycle() {
            let asked = Instant::now();
            assert!(keys::ask(app, text), "every key is known");
            samples.push(asked.elapsed());
            if is_done.load(Ordering::Acquire) && began.elapsed() >= least {
                break;
            }
        }
        working.join().expect("the work does not panic")?;
        Ok(samples)
    })
}

/// A key of a new client, as an issuer writes it.
fn issued(seq: u64, signer: &Signer) -> anyhow::Result<Message> {
    let address = Address::Keyring(KeyringId::parse(&format!("replayed/client-{seq}"))?);
    let mut digest = [7; 32];
    digest[..8].copy_from_slice(&seq.to_le_bytes());
    let minted =
        Minted { kid: Kid::of_number(seq), digest: Digest(digest), rotation: RotationId(u128::from(seq)) };
    let spec = SpecAsked { scopes: Some(keys::common(0)), ..SpecAsked::default() };
    let command = Command {
        id: CommandId(u128::from(seq)),
        address: address.clone(),
        actor: Actor::service("issuer"),
        at: At(1_800_000_000_000 + seq),
        event_id: EventId(u128::from(seq) << 64),
        act: Act::Issue { minted, spec, policy: Policy::default() },
    };
    let event = decide(&State::default(), &command).ok().flatten();
    let event = event.ok_or_else(|| anyhow::anyhow!("version {} can be issued", Version(1)))?;
    let payload = event::write(&event, Link { revision: 1, prev: None }, OURS)?;
    let subject = subject::event(&address);
    let signed = Some(signer.sign(&subject, &payload)?);
    Ok(Message { seq, subject, payload, signed })
}
