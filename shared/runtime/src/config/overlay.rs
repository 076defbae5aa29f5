//! Environment variables as settings: which table and field each one means, and which of them a fault is about.

use crate::error::{ConfigError, Place};
use toml::{Table, Value};

pub(super) const PREFIX: &str = "KEYWHEEL_";
/// Variables with the prefix that are no settings: they belong to the command line.
const NOT_SETTINGS: [&str; 2] = ["KEYWHEEL_HOME", "KEYWHEEL_CONTEXT"];

struct Variable {
    name: String,
    path: Vec<String>,
    text: String,
    is_retyped: bool,
}

impl Variable {
    fn read(name: String, text: String) -> Result<Self, ConfigError> {
        let rest = name.strip_prefix(PREFIX).unwrap_or_default();
        let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        let is_capital = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if path.iter().any(String::is_empty) || !rest.bytes().all(is_capital) {
            return Err(ConfigError::Name { variable: super::told(&name) });
        }
        if text.len() > super::VALUE_BYTES_MAX {
            return Err(ConfigError::Invalid {
                field: super::told(&path.join(".")),
                detail: super::too_large(super::VALUE_BYTES_MAX),
                place: Place::Variable(super::told(&name)),
            });
        }
        Ok(Self { name, path, text, is_retyped: false })
    }

    fn field(&self) -> String {
        self.path.join(".")
    }
}

/// The settings that the environment has.
pub(super) struct Overlay(Vec<Variable>);

impl Overlay {
    pub(super) fn read(env: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut variables = env
            .into_iter()
            .filter(|(name, _)| name.starts_with(PREFIX) && !NOT_SETTINGS.contains(&name.as_str()))
            .map(|(name, text)| Variable::read(name, text))
            .collect::<Result<Vec<_>, _>>()?;
        // The environment has no order; errors should not change from run to run.
        variables.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self(variables))
    }

    /// Puts each variable into `tree`, as a string.
    pub(super) fn apply(&self, tree: &mut Table) -> Result<(), ConfigError> {
        for variable in &self.0 {
            set(tree, &variable.path, Value::String(variable.text.clone())).map_err(|depth| {
                ConfigError::Invalid {
                    field: variable.field(),
                    detail: format!("{} is a single value, not a table", variable.path[..depth].join(".")),
                    place: Place::Variable(variable.name.clone()),
                }
            })?;
        }
        Ok(())
    }

    /// Puts what the variable behind `field` spells in place of its text, once. Whether it did.
    pub(super) fn retype(&mut self, field: &str, tree: &mut Table) -> bool {
        let mut behind =
            self.0.iter_mut().filter(|variable| !variable.is_retyped && variable.field() == field);
        let Some((variable, value)) =
            behind.find_map(|found| spelled(&found.text).map(|value| (found, value)))
        else {
            return false;
        };
        variable.is_retyped = true;
        set(tree, &variable.path, value).is_ok()
    }

    /// The variable that a fault in `field` is about, if it is not about the file: one that sets it or
    /// something around it, or else something within it that the file does not have.
    pub(super) fn source(&self, field: &str, written: &Table) -> Option<&str> {
        let around = self.0.iter().find(|variable| covers(&variable.field(), field));
        let found = around.or_else(|| {
            let is_written = has(written, field);
            self.0.iter().find(|variable| !is_written && covers(field, &variable.field()))
        });
        found.map(|variable| variable.name.as_str())
    }
}

/// The variable that would set `field`, or the whole array that it is in.
pub(super) fn variable_for(field: &str) -> String {
    let (field, _) = field.split_once('[').unwrap_or((field, ""));
    format!("{PREFIX}{}", field.replace('.', "__").to_ascii_uppercase())
}

/// A number, boolean, array or table in TOML; a string or a date is what it was before.
fn spelled(text: &str) -> Option<Value> {
    let value = format!("it = {text}").parse::<Table>().ok()?.remove("it")?;
    match value {
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Array(_) | Value::Table(_) => {
            Some(value)
        }
        Value::String(_) | Value::Datetime(_) => None,
    }
}

/// Sets the value at `path`; else says after how many steps something other than a table is in the way.
pub(super) fn set(tree: &mut Table, path: &[String], value: Value) -> Result<(), usize> {
    let (last, tables) = path.split_last().expect("a split gives at least one part");
    let mut table = tree;
    for (depth, name) in tables.iter().enumerate() {
        let inner = table.entry(name.as_str()).or_insert_with(|| Value::Table(Table::new()));
        table = inner.as_table_mut().ok_or(depth + 1)?;
    }
    table.insert(last.clone(), value);
    Ok(())
}

fn has(tree: &Table, field: &str) -> bool {
    let mut names = field.split('.');
    let first = names.next().and_then(|name| tree.get(name));
    names.fold(first, |found, name| found.and_then(|value| value.get(name))).is_some()
}

/// Whether `inner` is `outer` or lies within it, as a field of a table or an element of an array.
fn covers(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
