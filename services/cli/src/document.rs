//! A command's document: its id, who asks, and the fields that were given.

use keywheel_domain::KeyringId;
use keywheel_domain::event::CommandId;
use keywheel_token::id;
use keywheel_wire::text;
use serde::Serialize;
use serde_json::{Map, Value};

/// The id of one keyring's part in a command for many: the same for the same `batch`.
pub(crate) fn derived_id(name: &str, batch: u128, keyring: &KeyringId) -> CommandId {
    CommandId(id::derived(&[name, &text::id(batch), &keyring.to_string()]))
}

/// The JSON object that is published as a command.
pub(crate) struct Document {
    /// Chosen here, or by whoever may want to ask again.
    pub id: CommandId,
    fields: Map<String, Value>,
}

impl Document {
    /// With nothing but its id and who asks.
    pub fn new(id: u128, actor: &str) -> Self {
        let document = Self { id: CommandId(id), fields: Map::new() };
        document.with("id", Some(text::id(id))).with("actor", Some(actor))
    }

    /// With a field, where there is something to say.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<impl Serialize>) -> Self {
        if let Some(value) = value {
            let value = serde_json::to_value(value).expect("fields have text keys");
            self.fields.insert(name.to_owned(), value);
        }
        self
    }

    /// With all of `fields`.
    #[must_use]
    pub fn with_all(mut self, fields: Map<String, Value>) -> Self {
        self.fields.extend(fields);
        self
    }

    /// As it is published.
    pub fn into_value(self) -> Value {
        Value::Object(self.fields)
    }
}
