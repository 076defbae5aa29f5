//! What can be wrong with a configuration, worded for whoever has to put it right.

use std::fmt;
use std::path::PathBuf;

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The configuration file.
    File(PathBuf),
    /// An environment variable, by its name.
    Variable(String),
    /// Nowhere: no file was given and no variable was set.
    Unset,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(file) => write!(f, "it in {}", file.display()),
            Place::Variable(name) => f.write_str(name),
            Place::Unset => f.write_str("it"),
        }
    }
}

/// Why a service cannot start with the configuration it was given. Exit code 64.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}; check its path and its permissions", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{} is not valid TOML: {detail}", file.display())]
    Syntax {
        /// Which file.
        file: PathBuf,
        /// Line, column and cause.
        detail: String,
    },
    /// A setting that must be there is not.
    #[error("{field}: missing; set {variable}{}", or_file(file.as_ref()))]
    Missing {
        /// Its path, such as `bus.url`.
        field: String,
        /// The variable that would set it.
        variable: String,
        /// The file that was read, if any.
        file: Option<PathBuf>,
    },
    /// A setting that nothing asks for.
    #[error("{field}: {detail}; remove {place}")]
    Unknown {
        /// Its path.
        field: String,
        /// What is known instead.
        detail: String,
        /// Where it stands.
        place: Place,
    },
    /// A setting of the wrong type, out of bounds or contradictory.
    #[error("{field}: {detail}; correct {place}")]
    Invalid {
        /// Its path.
        field: String,
        /// What is wrong with it.
        detail: String,
        /// Where it stands.
        place: Place,
    },
    /// A variable whose name is no path.
    #[error("{variable}: not a setting; write KEYWHEEL_TABLE__FIELD in capitals, or unset it")]
    Name {
        /// The variable.
        variable: String,
    },
}

impl ConfigError {
    /// For what only the service itself can check, such as a file named in `field` that has no seed in it.
    pub fn invalid(field: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::Invalid { field: field.into(), detail: detail.to_string(), place: Place::Unset }
    }
}

fn or_file(file: Option<&PathBuf>) -> String {
    match file {
        Some(file) => format!(" or write it in {}", file.display()),
        None => " or name a configuration file that has it".to_owned(),
    }
}
