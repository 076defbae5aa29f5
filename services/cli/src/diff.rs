//! `keywheel diff`: what changed between two moments of the past, and by whose doing.

use crate::arguments;
use crate::difference::{Difference, End, HEADER};
use crate::failure::Failure;
use crate::log_words;
use crate::past::{Doubts, Moment, read, read_tenant};
use crate::receipt_words::addressed;
use crate::screen::Shown;
use crate::session::{Session, now};
use clap::Args;
use keywheel_domain::{Address, Cut, KeyringId, Tenant};
use keywheel_runtime::exit;
use keywheel_table::History;
use keywheel_table::history::Happened;
use serde_json::Value;

/// The options of `diff`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  keywheel diff acme/checkout --from 2026-01-31T00:00:00Z --to 2026-01-31T12:00:00Z
  keywheel diff acme --from 1204 --output json")]
pub struct Diff {
    /// Of whom: tenant, or tenant/client
    #[arg(value_name = "T[/C]", value_parser = arguments::tenant_or_keyring)]
    address: Address,
    /// The earlier moment: a time, or a position of the log
    #[arg(long, value_name = "TS|N", value_parser = arguments::cut)]
    from: Cut,
    /// The later one [default: now]
    #[arg(long, value_name = "TS|N", value_parser = arguments::cut)]
    to: Option<Cut>,
}

/// The two moments.
#[derive(Clone, Copy)]
struct Between {
    from: Moment,
    to: Moment,
}

impl Between {
    fn ends(self) -> (End, End) {
        ((self.from.cut, self.from.at), (self.to.cut, self.to.at))
    }

    fn difference<'h>(self, own: &'h History, tenant: Option<&History>) -> Result<Difference<'h>, Failure> {
        let (from, to) = self.ends();
        Difference::between(own, tenant, from, to).ok_or_else(backwards)
    }

    fn put(self, document: &mut Value) {
        document["from"] = self.from.to_json();
        document["to"] = self.to.to_json();
    }
}

fn backwards() -> Failure {
    Failure::usage("--from lies after --to; name the earlier moment with --from")
}

impl Diff {
    /// Shows what changed.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let from = Moment::of(session, self.from).await?;
        let to = match self.to {
            Some(to) => Moment::of(session, to).await?,
            None => Moment { cut: Cut::Seq(session.bus.head().await?.seq), at: now() },
        };
        let is_backwards = match (from.cut, to.cut) {
            (Cut::Seq(from), Cut::Seq(to)) => from > to,
            (Cut::Time(from), Cut::Time(to)) => from > to,
            (Cut::Seq(_), Cut::Time(_)) | (Cut::Time(_), Cut::Seq(_)) => false,
        };
        if is_backwards {
            return Err(backwards());
        }
        let between = Between { from, to };
        match &self.address {
            Address::Keyring(keyring) => one(session, keyring, between).await,
            Address::Tenant(tenant) => many(session, tenant, between).await,
            Address::Installation => Err(Failure::usage("name a tenant or a keyring")),
        }
    }
}

async fn one(session: &Session<'_>, keyring: &KeyringId, between: Between) -> Result<u8, Failure> {
    let (address, tenant) = (Address::Keyring(keyring.clone()), Address::Tenant(keyring.tenant.clone()));
    let cut = Some(between.to.cut);
    let (own, above) = tokio::try_join!(read(session, &address, cut), read(session, &tenant, cut))?;
    if own.events().is_empty() {
        return Err(Failure::refused("no_key", format!("{keyring} never had a key")));
    }
    let (own_changes, policies) =
        (between.difference(&own, Some(&above))?, between.difference(&above, None)?);
    let doubts = Doubts::of([&own, &above], between.to.cut);
    let mut document = addressed(&address);
    between.put(&mut document);
    merge(&mut document, own_changes.to_json());
    document["tenant_events"] = policies.to_json()["events"].take();
    document["not_believed"] = doubts.to_json();
    let mut lines = vec![head_words(&keyring.to_string(), between)];
    if own_changes.is_empty() && policies.is_empty() {
        lines.push("nothing changed".to_owned());
    }
    let rows = own_changes.rows();
    if !rows.is_empty() {
        lines.push(session.screen.table(&HEADER, rows));
    }
    lines.extend(own_changes.policy_lines());
    lines.extend(event_lines([own_changes.events, policies.events]));
    lines.extend(doubts.lines());
    session.screen.show(&document, &lines.join("\n"))?;
    Ok(exit::DONE)
}

async fn many(session: &Session<'_>, tenant: &Tenant, between: Between) -> Result<u8, Failure> {
    let histories = read_tenant(session, tenant).await?;
    let address = Address::Tenant(tenant.clone());
    let none = History::new(session.bus.signers());
    let above = histories.get(&address).unwrap_or(&none);
    let own_changes = between.difference(above, None)?;
    let (mut rows, mut documents, mut events) = (Vec::new(), Vec::new(), vec![own_changes.events]);
    for (address, history) in &histories {
        let Some(keyring) = address.keyring() else { continue };
        let changes = between.difference(history, Some(above))?;
        if changes.is_empty() {
            continue;
        }
        events.push(changes.events);
        let named = |mut row: Vec<Shown>| {
            row.insert(0, Shown::plain(keyring));
            row
        };
        rows.extend(changes.rows().into_iter().map(named));
        let mut document = addressed(address);
        merge(&mut document, changes.to_json());
        documents.push(document);
    }
    let doubts = Doubts::of(histories.values(), between.to.cut);
    let mut document = addressed(&address);
    between.put(&mut document);
    let own = own_changes.to_json();
    document["policy"] = own["policy"].clone();
    document["tenant_events"] = own["events"].clone();
    document["keyrings"] = Value::Array(documents);
    document["not_believed"] = doubts.to_json();
    let header: Vec<&str> = ["keyring"].into_iter().chain(HEADER).collect();
    let mut lines = vec![head_words(tenant.as_str(), between)];
    lines.push(match rows.len() {
        0 => "no key changed".to_owned(),
        _ => session.screen.table(&header, rows),
    });
    lines.extend(own_changes.policy_lines());
    lines.extend(event_lines(events));
    lines.extend(doubts.lines());
    session.screen.show(&document, &lines.join("\n"))?;
    Ok(exit::DONE)
}

fn merge(document: &mut Value, more: Value) {
    if let (Value::Object(document), Value::Object(more)) = (document, more) {
        document.extend(more);
    }
}

fn head_words(whose: &str, between: Between) -> String {
    format!("{whose} from {} to {}", between.from.words(), between.to.words())
}

/// Who did it: the events in between as the log shows them, in its order.
fn event_lines<'h>(events: impl IntoIterator<Item = &'h [Happened]>) -> Vec<String> {
    let mut all: Vec<&Happened> = events.into_iter().flatten().collect();
    all.sort_unstable_by_key(|happened| happened.recorded.seq);
    all.into_iter().map(|happened| log_words::line(&happened.recorded)).collect()
}
