//! `keywheel recipient`: the operator's own curve key, made here and kept in a file.

use crate::arguments::GlobalOptions;
use crate::context::{Context, RECIPIENT_FILE, own_file, read_opener};
use crate::failure::Failure;
use crate::screen::Screen;
use crate::seed_file;
use clap::{Args, Subcommand};
use keywheel_runtime::exit;
use keywheel_token::Opener;
use serde_json::json;
use std::path::PathBuf;

/// The commands of `recipient`.
#[derive(Debug, Subcommand)]
pub enum Recipient {
    /// Make a new pair: the seed into a file of mode 0600, the public half to standard output
    #[command(after_help = "Example:\n  keywheel recipient new --file ~/keys/me.xk")]
    New(SeedFile),
    /// Show the public half
    #[command(after_help = "Example:\n  keywheel recipient show")]
    Show(SeedFile),
}

/// Which file is meant.
#[derive(Args, Debug)]
pub struct SeedFile {
    /// The file with the seed [default: the context's, else recipient.xk in the home]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Recipient {
    /// Makes or shows a recipient.
    pub(crate) fn run(self, options: &GlobalOptions, screen: &Screen) -> Result<u8, Failure> {
        let (file, opener) = match self {
            Recipient::New(seed) => {
                let file = seed.path(options)?;
                let opener = Opener::fresh();
                seed_file::write(&file, &opener.seed(), "`keywheel recipient show` shows its public half")?;
                (file, opener)
            }
            Recipient::Show(seed) => {
                let file = seed.path(options)?;
                let missing = || Failure::refused("no_recipient", format!("there is no {}", file.display()));
                let opener = read_opener(&file)?.ok_or_else(missing)?;
                (file, opener)
            }
        };
        screen.note(&format!("seed: {}", file.display()));
        screen.show(&json!({ "recipient": opener.public(), "file": file }), opener.public())?;
        Ok(exit::DONE)
    }
}

impl SeedFile {
    fn path(self, options: &GlobalOptions) -> Result<PathBuf, Failure> {
        self.file.map_or_else(|| own_file(options, RECIPIENT_FILE, Context::recipient_file), Ok)
    }
}
