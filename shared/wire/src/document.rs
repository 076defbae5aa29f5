//! Reading JSON documents from outside: an object, to the payload's end, and no field of it twice.

use crate::Malformed;
use crate::malformed::FIELD_BYTES_MAX;
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

/// Reads a document of which only the fields matter.
pub(crate) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Malformed> {
    let mut reader = serde_json::Deserializer::from_slice(payload);
    let mut track = serde_path_to_error::Track::new();
    let read = object(serde_path_to_error::Deserializer::new(&mut reader, &mut track));
    read.and_then(|document| reader.end().map(|()| document))
        .map_err(|error| Malformed::from_json(&serde_path_to_error::Error::new(track.path(), error)))
}

/// Reads a struct from an object alone: serde would take an array for one too.
pub(crate) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(reader: D) -> Result<T, D::Error> {
    reader.deserialize_map(Fields(PhantomData))
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// A JSON object that was read to its end.
pub(crate) struct Object {
    /// Its fields; of one that stands twice, the last.
    pub value: Value,
    /// Path of the first field that stands twice: two readers could see two documents.
    pub twice: Option<String>,
}

impl Object {
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let twice = RefCell::new(None);
        let mut reader = serde_json::Deserializer::from_slice(payload);
        let read = Once { path: String::new(), twice: &twice }.deserialize(&mut reader);
        let value = read
            .and_then(|value| reader.end().map(|()| value))
            .map_err(|error| Malformed::new("", format!("a command is one JSON object: {error}")))?;
        if !value.is_object() {
            return Err(Malformed::new("", "a command is one JSON object"));
        }
        Ok(Self { value, twice: twice.into_inner() })
    }
}

/// Reads any value and notes the first field that stands twice.
struct Once<'a> {
    path: String,
    twice: &'a RefCell<Option<String>>,
}

impl Once<'_> {
    fn at(&self, name: &str) -> Self {
        // A name can be as long as the document; repeated for each field within, it would cost its square.
        if self.path.len() + name.len() > FIELD_BYTES_MAX {
            return Once { path: "…".to_owned(), twice: self.twice };
        }
        let dot = if self.path.is_empty() { "" } else { "." };
        Once { path: format!("{}{dot}{name}", self.path), twice: self.twice }
    }
}

impl<'de> DeserializeSeed<'de> for Once<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.at(&list.len().to_string()))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let inner = self.at(&name);
            if map.contains_key(&name) {
                self.twice.borrow_mut().get_or_insert_with(|| inner.path.clone());
            }
            map.insert(name, entries.next_value_seed(inner)?);
        }
        Ok(Value::Object(map))
    }
}
