//! `keywheel log`: the events as they stand in the log, and as they come.

use crate::arguments::{self, Output};
use crate::deadline::Deadline;
use crate::doubt_words;
use crate::failure::Failure;
use crate::log_words;
use crate::outage::Outage;
use crate::replay::World;
use crate::screen::Live;
use crate::session::Session;
use clap::Args;
use keywheel_domain::{Address, Recorded, Span};
use keywheel_runtime::exit;
use keywheel_table::Message;
use keywheel_wire::belief::Doubt;
use keywheel_wire::{event, subject};
use serde_json::json;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The options of `log`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  keywheel log acme/checkout
  keywheel log --follow --output json --from-seq 100")]
pub struct Log {
    /// Of whom: tenant, or tenant/client [default: everything]
    #[arg(value_name = "T[/C]", value_parser = arguments::tenant_or_keyring)]
    address: Option<Address>,
    /// Go on with what comes
    #[arg(long, short)]
    follow: bool,
    /// Begin at this position
    #[arg(long, value_name = "N", default_value_t = 1)]
    from_seq: u64,
}

impl Log {
    /// Shows the events.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let filter = self.address.as_ref().filter(|address| address.keyring().is_some());
        let (mut from, mut outage, live) = (self.from_seq, Outage::default(), Live::silent());
        let mut world = World::new(&session.bus.signers());
        let deadline = if self.follow { Deadline::within_or_never(None) } else { Deadline::within(Span(0)) };
        loop {
            let page = session.bus.page(from, filter).await.map_err(Failure::from);
            let Some(page) = outage.bridge(page, deadline, &live).await? else { continue };
            if !page.is_empty() {
                world.believe(&session.bus.meet().await?);
            }
            for message in page.iter().filter(|message| self.is_meant(message)) {
                if self.from_seq > 1 {
                    world.catch_up(&session.bus, message).await?;
                }
                session.screen.line(&line(message, &world.take(message), session.screen.output))?;
            }
            match page.last() {
                Some(last) => from = last.seq + 1,
                None if !self.follow => return Ok(exit::DONE),
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// A tenant has no subject of its own that holds its clients', so its events are picked out here.
    fn is_meant(&self, message: &Message) -> bool {
        let Some(meant) = &self.address else { return true };
        let address = subject::parse_event(&message.subject);
        address.is_ok_and(|address| match meant {
            Address::Keyring(_) | Address::Installation => address == *meant,
            Address::Tenant(tenant) => address.tenant() == Some(tenant),
        })
    }
}

fn line(message: &Message, taken: &Result<Recorded, Doubt>, output: Output) -> String {
    match (taken, output) {
        (Ok(recorded), Output::Text) => log_words::line(recorded),
        (Ok(_), Output::Json) => json_line(message),
        (Err(doubt), Output::Text) => doubt_words::line(message.seq, doubt),
        (Err(doubt), Output::Json) => doubt_words::to_json(message, doubt).to_string(),
    }
}

/// The event word for word as it stands in the log, also the fields that this version does not know.
fn json_line(message: &Message) -> String {
    let document = event::to_json(&message.payload).ok().filter(serde_json::Value::is_object);
    let mut document = document.unwrap_or_default();
    document["seq"] = json!(message.seq);
    document.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{signed, signers};
    use keywheel_domain::event::{CommandId, EventId, Fact};
    use keywheel_domain::{Actor, At, EdgeId, Event};
    use keywheel_wire::event::{Link, write};
    use keywheel_wire::subject::Service;

    fn edge_added() -> Message {
        let event = Event {
            id: EventId(1),
            address: Address::Installation,
            at: At(1_800_000_000_000),
            actor: Actor::parse("alice").unwrap(),
            command: CommandId(1),
            rotation: None,
            fact: Fact::EdgeAdded(EdgeId::parse("edge-1").unwrap()),
        };
        let payload = write(&event, Link { revision: 1, prev: None }, signers().installation()).unwrap();
        signed(Service::Propagator, 7, "kw.evt._._", payload)
    }

    fn lines(message: &Message) -> (String, serde_json::Value) {
        let taken = || World::new(&signers()).take(message);
        let json = line(message, &taken(), Output::Json);
        (line(message, &taken(), Output::Text), serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn a_line_is_a_sentence_or_a_document() {
        let (text, document) = lines(&edge_added());
        assert_eq!(
            text,
            "2027-01-15T08:00:00Z       7  the installation  EdgeAdded  edge-1 is on the roster (by alice)"
        );
        assert_eq!((&document["seq"], &document["type"]), (&json!(7), &json!("EdgeAdded")));
        assert_eq!(document["body"]["edge"], "edge-1");
    }

    #[test]
    fn a_forged_message_is_no_event() {
        let forged = Message { signed: None, ..edge_added() };
        let (text, document) = lines(&forged);
        assert_eq!(text, "     7  NOT BELIEVED  kw.evt._._: it is not signed");
        assert_eq!((&document["type"], &document["freezes"]), (&json!(null), &json!(false)));
        assert_eq!(document["claims"]["body"]["edge"], "edge-1");
    }

    #[test]
    fn what_cannot_be_understood_is_shown_as_such() {
        for payload in [vec![0xc1], vec![1]] {
            let odd = signed(Service::Issuer, 7, "kw.evt.acme.app", payload);
            let (text, document) = lines(&odd);
            assert!(text.starts_with("     7  FROZEN  kw.evt.acme.app cannot be understood: "), "{text}");
            assert_eq!((&document["seq"], &document["subject"]), (&json!(7), &json!("kw.evt.acme.app")));
            assert_eq!((&document["freezes"], &document["claims"]), (&json!(true), &json!(null)));
        }
    }

    #[test]
    fn a_tenants_events_are_its_own_and_its_clients() {
        let meant = |address: &str, subject: &str| {
            let address = Some(arguments::tenant_or_keyring(address).unwrap());
            Log { address, follow: false, from_seq: 1 }.is_meant(&signed(
                Service::Issuer,
                7,
                subject,
                Vec::new(),
            ))
        };
        assert!(meant("acme", "kw.evt.acme.app") && meant("acme", "kw.evt.acme._"));
        assert!(!meant("acme", "kw.evt.other.app") && !meant("acme", "kw.evt._._"));
        assert!(meant("acme/app", "kw.evt.acme.app") && !meant("acme/app", "kw.evt.acme.other"));
    }
}
