//! What is to be imported, read from a file: a CSV table, or one digest per line. Every row is checked before
//! anything is sent, as the issuer would. What is wrong is named by line and field, and never shown: it
//! may be a key.

use keywheel_domain::event::CommandId;
use keywheel_domain::name::shown;
use keywheel_domain::{At, KeyringId, Span};
use keywheel_token::{id, parse_digest_hex};
use keywheel_wire::subject::Verb;
use keywheel_wire::{command, text};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Most rows of one file.
pub const ROWS_MAX: usize = 1_000_000;

const COLUMNS: [&str; 8] =
    ["tenant", "client", "digest", "label", "scopes", "cidrs", "expires_at", "expires_in"];

/// What a file says.
#[derive(Debug, Default)]
pub struct Sheet {
    /// The rows that can be imported.
    pub rows: Vec<Row>,
    /// Those that cannot, and why.
    pub skipped: Vec<Skipped>,
    first: HashMap<Value, u64>,
}

/// A key to be adopted.
#[derive(Debug)]
pub struct Row {
    /// Its line in the file, from 1.
    pub line: u64,
    /// Whose it is.
    pub keyring: KeyringId,
    /// The fields of its command.
    pub fields: Map<String, Value>,
}

impl Row {
    /// The id of the command that adopts the key: it follows from what the row says (and from `again`), so that the same
    /// row never has a second effect.
    pub fn command_id(&self, again: &str) -> CommandId {
        let fields = Value::Object(self.fields.clone()).to_string();
        CommandId(id::derived(&["import", again, &self.keyring.to_string(), &fields]))
    }
}

/// A row that was not imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its line in the file, from 1.
    pub line: u64,
    /// Whose key it is, where that could be read.
    pub tenant: String,
    /// Whose key it is, where that could be read.
    pub client: String,
    /// Why, for programs.
    pub code: String,
    /// Why, for people: the field first.
    pub detail: String,
}

/// Why a row is skipped: code and detail.
type Fault = (&'static str, String);

fn malformed(detail: impl Into<String>) -> Fault {
    ("malformed", detail.into())
}

/// Reads a CSV table with a header row. `now` tells which keys have expired.
///
/// # Errors
/// When it is no such table at all; says what to write.
pub fn read_csv(bytes: &[u8], now: At) -> Result<Sheet, String> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(bytes);
    let header = reader.byte_headers().map_err(|error| error.to_string())?.clone();
    let columns = columns(&header)?;
    let (mut sheet, mut lines) = (Sheet::default(), Lines { bytes, at: 0, line: 1 });
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| error.to_string())? {
        let line = lines.beginning_at(record.position().map_or(0, csv::Position::byte));
        sheet.check_room()?;
        sheet.take(line, cells(&columns, &record), now);
    }
    Ok(sheet)
}

/// Counts lines. The reader's own count is that of an empty line before a record.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line on which the record begins that the reader found at or after `byte`; records come in order.
    fn beginning_at(&mut self, byte: u64) -> u64 {
        let from = usize::try_from(byte).unwrap_or(usize::MAX).clamp(self.at, self.bytes.len());
        let empty = self.bytes[from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = self.bytes[self.at..from + empty].iter().filter(|byte| **byte == b'\n').count();
        (self.at, self.line) = (from + empty, self.line + passed as u64);
        self.line
    }
}

/// Reads one digest per line for one keyring: the first word of each, so that what `sha256sum` prints can be taken
/// as it is. Empty lines, and those that begin with `#`, say nothing. `common` are the fields of all.
///
/// # Errors
/// When there are too many.
pub fn read_digests(bytes: &[u8], keyring: &KeyringId, common: &Map<String, Value>) -> Result<Sheet, String> {
    let mut sheet = Sheet::default();
    for (line, words) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let text = String::from_utf8_lossy(words);
        let Some(word) = text.split_whitespace().next().filter(|word| !word.starts_with('#')) else {
            continue;
        };
        sheet.check_room()?;
        let mut fields = common.clone();
        let read = digest(word).and_then(|digest| {
            fields.insert("digest".to_owned(), json!(digest));
            check(&fields)
        });
        match read {
            Ok(()) => sheet.put(Row { line, keyring: keyring.clone(), fields }),
            Err((code, detail)) => {
                sheet.skip(line, keyring.tenant.as_str(), keyring.client.as_str(), code, detail)
            }
        }
    }
    Ok(sheet)
}

fn columns(header: &csv::ByteRecord) -> Result<Vec<String>, String> {
    let known = |name: &str| {
        COLUMNS.contains(&name) || name.strip_prefix("meta.").is_some_and(|rest| !rest.is_empty())
    };
    let must = "the first line names the columns: tenant,client,digest, and where wanted label, scopes, cidrs, \
                expires_at or expires_in, and meta.NAME";
    let mut columns: Vec<String> = Vec::new();
    for (at, name) in header.iter().enumerate() {
        let name = std::str::from_utf8(name).unwrap_or_default();
        if !known(name) {
            return Err(format!("column {} has a name that is not known; {must}", at + 1));
        }
        if columns.iter().any(|other| other == name) {
            return Err(format!("column {} has the name of another one: {}", at + 1, shown(name)));
        }
        columns.push(name.to_owned());
    }
    for needed in &COLUMNS[..3] {
        if !columns.iter().any(|name| name == needed) {
            return Err(format!("there is no column {needed}; {must}"));
        }
    }
    Ok(columns)
}

/// A row's cells by column.
type Cells<'a> = HashMap<&'a str, &'a str>;

fn cells<'a>(columns: &'a [String], record: &'a csv::ByteRecord) -> Result<Cells<'a>, Fault> {
    if record.len() != columns.len() {
        let (has, names) = (record.len(), columns.len());
        return Err(malformed(format!("the row has {has} cells, and the header names {names} columns")));
    }
    let mut cells = HashMap::new();
    for (name, cell) in columns.iter().zip(record) {
        let cell = std::str::from_utf8(cell).map_err(|_| malformed(format!("{name}: no UTF-8 text")))?;
        if !cell.is_empty() {
            cells.insert(name.as_str(), cell);
        }
    }
    Ok(cells)
}

impl Sheet {
    /// How many rows were read.
    pub fn read(&self) -> usize {
        self.rows.len() + self.skipped.len()
    }

    fn check_room(&self) -> Result<(), String> {
        if self.read() < ROWS_MAX {
            Ok(())
        } else {
            Err(format!("more than {ROWS_MAX} rows: split the file"))
        }
    }

    fn take(&mut self, line: u64, cells: Result<Cells<'_>, Fault>, now: At) {
        let names = cells.as_ref().ok().map(|cells| {
            let part = |name: &str| cells.get(name).copied().unwrap_or_default();
            (part("tenant").to_owned(), part("client").to_owned())
        });
        let (tenant, client) = names.unwrap_or_default();
        let keyring = KeyringId::parse(&format!("{tenant}/{client}"));
        let read = cells.and_then(|cells| fields(&cells, now));
        match (keyring, read) {
            (Ok(keyring), Ok(fields)) => self.put(Row { line, keyring, fields }),
            (Ok(_), Err((code, detail))) => self.skip(line, &tenant, &client, code, detail),
            (Err(_), Err((code, detail))) => self.skip(line, "", "", code, detail),
            (Err(_), Ok(_)) => {
                let detail =
                    "tenant, client: each 1 to 63 of a-z, 0-9, - and _, beginning with a letter or digit";
                self.skip(line, "", "", "malformed", detail.to_owned());
            }
        }
    }

    /// Of two rows with one digest the first is taken: one key has one owner.
    fn put(&mut self, row: Row) {
        let digest = row.fields.get("digest").cloned().unwrap_or_default();
        if let Some(first) = self.first.get(&digest).copied() {
            let detail = format!("digest: the same as in line {first}");
            self.skip(row.line, row.keyring.tenant.as_str(), row.keyring.client.as_str(), "doubled", detail);
        } else {
            self.first.insert(digest, row.line);
            self.rows.push(row);
        }
    }

    fn skip(&mut self, line: u64, tenant: &str, client: &str, code: &str, detail: String) {
        let (tenant, client, code) = (tenant.to_owned(), client.to_owned(), code.to_owned());
        self.skipped.push(Skipped { line, tenant, client, code, detail });
    }
}

fn digest(cell: &str) -> Result<String, Fault> {
    let detail = "digest: expected the SHA-256 of the key's text as 64 hexadecimal digits; if the key itself stands \
                  here, take it out of the file and write what this prints: printf %s \"$KEY\" | sha256sum";
    let digest = parse_digest_hex(cell).map_err(|_| ("not_a_digest", detail.to_owned()))?;
    Ok(keywheel_token::digest_hex(&digest))
}

fn fields(cells: &Cells<'_>, now: At) -> Result<Map<String, Value>, Fault> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("digest", json!(digest(cells.get("digest").copied().unwrap_or_default())?));
    if let Some(label) = cells.get("label") {
        put("label", json!(label));
    }
    for name in ["scopes", "cidrs"] {
        if let Some(cell) = cells.get(name) {
            let parts = cell.split([' ', ';']).filter(|part| !part.is_empty());
            put(name, json!(parts.collect::<Vec<_>>()));
        }
    }
    if let Some(cell) = cells.get("expires_in") {
        let span = Span::parse(cell).map_err(|_| malformed("expires_in: write a length of time as 90d"))?;
        put("expires_in", json!(span.to_string()));
    }
    if let Some(cell) = cells.get("expires_at") {
        let at = text::parse_moment(cell);
        let at = at.map_err(|_| malformed("expires_at: write a time as 2027-01-31T12:00:00Z"))?;
        if at <= now {
            return Err(("expired", "expires_at: the key has expired already".to_owned()));
        }
        put("expires_at", json!(text::moment(at)));
    }
    let meta =
        cells.iter().filter_map(|(name, cell)| Some((name.strip_prefix("meta.")?.to_owned(), json!(cell))));
    let meta: Map<String, Value> = meta.collect();
    if !meta.is_empty() {
        put("meta", Value::Object(meta));
    }
    check(&fields)?;
    Ok(fields)
}

/// Whether the issuer would understand the command. What it says of a field does not quote it.
fn check(fields: &Map<String, Value>) -> Result<(), Fault> {
    let mut document = fields.clone();
    document.insert("id".to_owned(), json!(text::id(0)));
    document.insert("actor".to_owned(), json!("import"));
    let read = command::read(Verb::Import, Value::Object(document).to_string().as_bytes());
    read.map(|_| ()).map_err(|bad| malformed(bad.error.to_string()))
}

#[cfg(test)]
mod tests;
