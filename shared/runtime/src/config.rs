//! A service's configuration: a TOML file, overlaid by environment variables, checked before anything starts.
//!
//! `KEYWHEEL_BUS__URL` sets `url` in the table `bus`. Secrets are never configured: only the paths of the
//! files that hold them.

mod overlay;

use crate::error::{ConfigError, Place};
use overlay::Overlay;
use serde::de::DeserializeOwned;
use std::io::Read as _;
use std::path::Path;
use toml::Table;

/// Largest configuration file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 64 * 1024;

/// Longest value that a variable may set, in bytes.
pub const VALUE_BYTES_MAX: usize = 16 * 1024;

/// Longest part of an error that is told, in bytes: it may repeat what was written.
const TOLD_BYTES_MAX: usize = 640;

/// Reads `file`, if there is one, and overlays what `env` has of [`environment`].
///
/// A variable's text is taken as a string where the field takes one, else as the TOML number, boolean or
/// array that it spells. Let `T` deny unknown fields, so that a mistyped setting is an error.
///
/// # Errors
/// Names the setting, where it stands and what to do.
pub fn load<T: DeserializeOwned>(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let written = file.map(read_file).transpose()?.unwrap_or_default();
    assemble(file, written, env)
}

/// The same with the text of `file` already read.
///
/// # Errors
/// As [`load`].
pub fn parse<T: DeserializeOwned>(
    file: &Path,
    text: &str,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    assemble(Some(file), table(file, text)?, env)
}

fn assemble<T: DeserializeOwned>(
    file: Option<&Path>,
    written: Table,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let mut overlay = Overlay::read(env)?;
    let mut tree = written.clone();
    overlay.apply(&mut tree)?;
    loop {
        let fault = match decode::<T>(&tree) {
            Ok(config) => return Ok(config),
            Err(fault) => fault,
        };
        if fault.is_missing() {
            let field = innermost_missing::<T>(fault.field, tree);
            let variable = overlay::variable_for(&field);
            return Err(ConfigError::Missing { field, variable, file: file.map(Path::to_owned) });
        }
        if !(fault.is_about_a_string() && overlay.retype(&fault.field, &mut tree)) {
            return Err(explain(fault, file, &written, &overlay));
        }
    }
}

/// The variables of this process that can be settings, for [`load`]: those that begin with `KEYWHEEL_`.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(overlay::PREFIX))
        .collect()
}

/// One variable that is no setting, such as `NO_COLOR` or `KEYWHEEL_HOME`. `None` where it is unset or empty.
pub fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    (!value.is_empty()).then_some(value)
}

/// A small text file, such as a configuration or a credential; an error where it is larger than `bytes_max`.
///
/// # Errors
/// What the operating system says, or that it is too large or no text.
pub fn read_text(file: &Path, bytes_max: usize) -> std::io::Result<String> {
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let file = std::fs::File::open(file)?;
    // With room for all of it, so that a secret leaves no copies behind where the text had to grow.
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(bytes_max).min(bytes_max);
    let mut text = String::with_capacity(length + 1);
    file.take(limit.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() > bytes_max { Err(std::io::Error::other(too_large(bytes_max))) } else { Ok(text) }
}

fn too_large(bytes_max: usize) -> String {
    format!("it has more than {bytes_max} bytes")
}

fn read_file(file: &Path) -> Result<Table, ConfigError> {
    let text = read_text(file, FILE_BYTES_MAX)
        .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
    table(file, &text)
}

fn table(file: &Path, text: &str) -> Result<Table, ConfigError> {
    let syntax = |detail: &str| ConfigError::Syntax { file: file.to_owned(), detail: told(detail) };
    if text.len() > FILE_BYTES_MAX {
        return Err(syntax(&too_large(FILE_BYTES_MAX)));
    }
    text.parse().map_err(|error: toml::de::Error| {
        // The error's own text quotes the line, and somebody may have put a secret there.
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
        let (line, column) = (before.split('\n').count(), before.rsplit('\n').next().map_or(0, str::len) + 1);
        syntax(&format!("line {line}, column {column}: {}", error.message()))
    })
}

/// Text that may repeat what was written, cut where it is long.
fn told(text: &str) -> String {
    if text.len() <= TOLD_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(TOLD_BYTES_MAX);
    format!("{}…", &text[..end])
}

/// What serde says quotes the value. Of one that is long enough for a key or a seed, only the size is told.
fn without_secrets(detail: &str) -> String {
    const LONG: usize = 33;
    let told = |word: &str| match word.len() {
        LONG.. => format!("({} bytes)", word.len()),
        0..LONG => word.to_owned(),
    };
    let is_apart = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    detail
        .split_inclusive(is_apart)
        .map(|part| match part.char_indices().next_back() {
            Some((at, end)) if is_apart(end) => format!("{}{end}", told(&part[..at])),
            Some(_) | None => told(part),
        })
        .collect()
}

/// What serde says of a configuration, and of which field.
struct Fault {
    field: String,
    detail: String,
}

impl Fault {
    const MISSING: &str = "missing field ";
    const UNKNOWN: &str = "unknown field ";

    fn new(path: &str, detail: &str) -> Self {
        // A missing field is told of the table that lacks it, an unknown one of the field itself.
        let field = match quoted(detail, Self::MISSING) {
            Some(name) if path == "." => name.to_owned(),
            Some(name) => format!("{path}.{name}"),
            None => path.to_owned(),
        };
        Self { field: told(&field), detail: told(detail) }
    }

    fn is_missing(&self) -> bool {
        self.detail.starts_with(Self::MISSING)
    }

    fn is_unknown(&self) -> bool {
        self.detail.starts_with(Self::UNKNOWN)
    }

    /// Whether it may come from a variable's text having been offered as a string.
    fn is_about_a_string(&self) -> bool {
        self.detail.starts_with("invalid type: string")
            || self.detail.starts_with("data did not match any variant")
    }
}

fn decode<T: DeserializeOwned>(tree: &Table) -> Result<T, Fault> {
    serde_path_to_error::deserialize(tree.clone())
        .map_err(|error| Fault::new(&error.path().to_string(), error.inner().message()))
}

/// Where a whole table is missing, the first field that is missing within it: that one can be set.
fn innermost_missing<T: DeserializeOwned>(mut field: String, mut tree: Table) -> String {
    loop {
        let path: Vec<String> = field.split('.').map(str::to_owned).collect();
        if overlay::set(&mut tree, &path, Table::new().into()).is_err() {
            return field;
        }
        match decode::<T>(&tree) {
            Err(fault) if fault.is_missing() && fault.field.starts_with(&format!("{field}.")) => {
                field = fault.field
            }
            Ok(_) | Err(_) => return field,
        }
    }
}

fn explain(fault: Fault, file: Option<&Path>, written: &Table, overlay: &Overlay) -> ConfigError {
    let place = overlay.source(&fault.field, written).map_or_else(
        || file.map_or(Place::Unset, |file| Place::File(file.to_owned())),
        |variable| Place::Variable(variable.to_owned()),
    );
    let is_unknown = fault.is_unknown();
    let Fault { field, detail } = fault;
    let (field, detail) = (without_secrets(&field), without_secrets(&detail));
    if is_unknown {
        ConfigError::Unknown { field, detail, place }
    } else {
        ConfigError::Invalid { field, detail, place }
    }
}

/// The name in backquotes after `start`, where `detail` begins with it.
fn quoted<'a>(detail: &'a str, start: &str) -> Option<&'a str> {
    detail.strip_prefix(start)?.strip_prefix('`')?.split('`').next()
}
