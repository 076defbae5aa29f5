//! Who asks over HTTP: wrk, with 64 connections and another key for every request.

use crate::figure::Scale;
use crate::keys::Text;
use anyhow::{Context as _, ensure};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

const CONNECTIONS: &str = "64";
/// Of so many keys one is shown after the other: enough that none is still at hand when it comes again.
const SHOWN_MAX: usize = 200_000;

/// Asks on a core of its own.
pub struct Wrk {
    program: PathBuf,
    script: PathBuf,
    core: Option<usize>,
    seconds: u32,
}

/// A program in the folder that `deploy/get-gateways.sh` prints, which `$KEYWHEEL_TEST_GATEWAYS` names.
#[allow(clippy::disallowed_methods, reason = "a bench is configured by its environment alone")]
pub fn program(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("KEYWHEEL_TEST_GATEWAYS").map(PathBuf::from)?;
    Some(folder.join(name)).filter(|program| program.is_file())
}

impl Wrk {
    /// Its script goes into `folder`. Nothing where there is no wrk.
    pub fn new(
        folder: &Path,
        shown: &[Text],
        core: Option<usize>,
        scale: &Scale,
    ) -> anyhow::Result<Option<Wrk>> {
        let Some(program) = program("wrk") else { return Ok(None) };
        let mut keys = String::new();
        for text in shown.iter().take(SHOWN_MAX) {
            writeln!(keys, "{}", std::str::from_utf8(text)?)?;
        }
        std::fs::write(folder.join("keys.txt"), keys)?;
        let script = folder.join("ask.lua");
        let text = format!(
            "local heads, at = {{}}, 0\n\
             function init()\n  for key in io.lines('{}/keys.txt') do\n    \
             heads[#heads + 1] = wrk.format('GET', '/v1/check', {{ ['X-API-Key'] = key }})\n  end\nend\n\
             function request()\n  at = at % #heads + 1\n  return heads[at]\nend\n",
            folder.display()
        );
        std::fs::write(&script, text)?;
        Ok(Some(Wrk { program, script, core, seconds: scale.pick(3, 1) }))
    }

    /// Answers in a second.
    ///
    /// # Errors
    /// When any was no 2xx.
    pub fn rate(&self, server: SocketAddr) -> anyhow::Result<f64> {
        let mut command = match self.core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command.args(["-t", "1", "-c", CONNECTIONS, "-d", &format!("{}s", self.seconds)]);
        let ended = command.arg("-s").arg(&self.script).arg(format!("http://{server}/v1/check")).output()?;
        let said = String::from_utf8_lossy(&ended.stdout);
        let complaint = || format!("{said}{}", String::from_utf8_lossy(&ended.stderr));
        ensure!(ended.status.success() && !said.contains("Non-2xx"), "{}", complaint());
        let rate =
            said.lines().find_map(|line| line.strip_prefix("Requests/sec:")).with_context(complaint)?;
        Ok(rate.trim().parse()?)
    }
}
