//! The log for other people's programs: a row of CSV or a CloudEvent for each message. What they say was checked
//! before they were written; afterwards nobody can check it in them, which is what [`crate::line`] is for.

use crate::examine::Examined;
use keywheel_domain::{Address, Event};
use keywheel_table::Record;
use keywheel_wire::body::type_word;
use keywheel_wire::signers::Installation;
use keywheel_wire::{event, text};
use serde_json::{Value, json};

/// The columns of the CSV format. `doubt` is empty for what counts; a row with one is no fact.
pub const COLUMNS: [&str; 15] = [
    "seq",
    "stored_at",
    "decided_at",
    "tenant",
    "client",
    "type",
    "version",
    "kid",
    "actor",
    "rotation_id",
    "command_id",
    "revision",
    "signer",
    "body",
    "doubt",
];

/// One message as cells for [`COLUMNS`].
pub fn row(record: &Record, examined: &Examined, counts: bool) -> Vec<String> {
    let message = &record.message;
    let signer = message.signed.as_ref().map(|signed| signed.by.clone()).unwrap_or_default();
    let mut cells = vec![message.seq.to_string(), text::moment(record.at)];
    match &examined.read {
        Ok(read) if counts => {
            let event = &read.event;
            let (tenant, client) = names(&event.address);
            let version = event.fact.version().map(|version| version.0.to_string()).unwrap_or_default();
            let kid = event.fact.issues().map(|kid| kid.to_string()).unwrap_or_default();
            let rotation = event.rotation.map(|id| text::id(id.0)).unwrap_or_default();
            cells.extend([text::moment(event.at), tenant, client]);
            cells.extend([type_word(event.fact.kind()).to_owned(), version, kid]);
            cells.extend([event.actor.as_str().to_owned(), rotation, text::id(event.command.0)]);
            cells.extend([read.link.revision.to_string(), signer, body(&message.payload).to_string()]);
            cells.push(String::new());
        }
        Ok(_) | Err(_) => {
            cells.resize(COLUMNS.len() - 3, String::new());
            cells.extend([signer, String::new(), doubt(record, examined)]);
        }
    }
    cells.into_iter().map(|cell| inert(&cell)).collect()
}

/// What a spreadsheet may take for the beginning of a formula, also in the wide forms.
const FORMULA: [char; 10] = ['=', '+', '-', '@', '|', '%', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// A cell that a spreadsheet takes for text, whatever stands in it.
pub fn inert(cell: &str) -> String {
    let begins = cell.trim_start().starts_with(FORMULA) || cell.starts_with(['\t', '\r', '\n']);
    if begins { format!("'{cell}") } else { cell.to_owned() }
}

/// One message as a CloudEvent (1.0, JSON format). What does not count is one of a type of its own, so that nobody
/// takes it for a fact.
pub fn cloud_event(record: &Record, examined: &Examined, counts: bool, of: Installation) -> Value {
    let message = &record.message;
    let mut document = json!({
        "specversion": "1.0",
        "source": format!("urn:uuid:{}", text::id(of.0)),
        "sequence": format!("{:020}", message.seq),
        "datacontenttype": "application/json",
    });
    match &examined.read {
        Ok(read) if counts => {
            let Event { id, address, at, fact, .. } = &read.event;
            document["id"] = json!(text::id(id.0));
            document["type"] =
                json!(format!("io.keywheel.{}.v{}", type_word(fact.kind()), event::ENVELOPE_V));
            document["time"] = json!(text::moment(*at));
            document["subject"] = json!(address.to_string());
            document["kwsigner"] = json!(message.signed.as_ref().map(|signed| &signed.by));
            document["data"] = event::to_json(&message.payload).unwrap_or_default();
        }
        Ok(_) | Err(_) => {
            document["id"] = json!(format!("seq-{}", message.seq));
            document["type"] = json!("io.keywheel.NotBelieved.v1");
            document["time"] = json!(text::moment(record.at));
            document["subject"] = json!(message.subject);
            document["data"] = json!({ "doubt": doubt(record, examined) });
        }
    }
    document
}

fn doubt(record: &Record, examined: &Examined) -> String {
    match &examined.read {
        Err(doubt) => doubt.reason().to_owned(),
        Ok(_) => format!("{}: it does not continue its keyring's history", record.message.subject),
    }
}

fn names(address: &Address) -> (String, String) {
    let tenant = address.tenant().map(ToString::to_string).unwrap_or_default();
    let client = address.keyring().map(|id| id.client.to_string()).unwrap_or_default();
    (tenant, client)
}

fn body(payload: &[u8]) -> Value {
    let mut document = event::to_json(payload).unwrap_or_default();
    document["body"].take()
}
