//! From what was seen to what is wrong and what to do next: plain functions, which ask nobody.

mod bus;
mod edges;

use super::facts::{DiskFact, Facts, FileFact};
use super::finding::Finding;
use crate::summary::shell;
use std::path::Path;

const MIB: u64 = 1024 * 1024;
/// Less than this is as good as nothing: a snapshot or a stream's block does not fit.
const FULL_BELOW: u64 = 64 * MIB;
/// Less than this is to be looked after.
const LOW_BELOW: u64 = 1024 * MIB;
/// A clock that is farther off changes when keys expire (RELIABILITY, rule 5).
pub(super) const CLOCK_OFF_MS: u64 = 2000;
/// `keywheel up` renews what ends sooner.
const RENEWED_BEFORE_SECS: i64 = 30 * 24 * 3600;

/// Everything that is to be said, in the order in which it is to be read.
pub(super) fn diagnose(facts: &Facts) -> Vec<Finding> {
    let mut findings = bus::diagnose(facts);
    findings.extend(edges::diagnose(facts));
    findings.extend(credentials(facts));
    findings.extend(signers(facts));
    findings.extend(certificates(facts));
    findings.extend(disks(facts));
    findings
}

impl Facts {
    /// A command about the home.
    fn stack(&self, command: &str) -> String {
        let home = if self.is_named { format!(" --home {}", shell(&self.home)) } else { String::new() };
        format!("keywheel {command}{home}")
    }

    /// An operator's command.
    fn operator(&self, command: &str) -> String {
        match &self.context {
            Some(context) => format!("keywheel --context {} {command}", shell(context)),
            None if self.is_named => {
                format!("keywheel --context {} {command}", shell(&self.home.join("context.json")))
            }
            None => format!("keywheel {command}"),
        }
    }

    /// What shows why a process does not work.
    fn log_of(&self, process: &str) -> String {
        match self.up_runs {
            Some(true) => {
                let log = self.home.join("logs").join(format!("{process}.log"));
                format!("tail -n 20 {}", shell(&log))
            }
            Some(false) => self.stack("up"),
            None => format!("read the log of `keywheel run` of {process}, on its machine"),
        }
    }

    /// What makes everything that is missing.
    fn start_again(&self) -> String {
        match self.up_runs {
            Some(false) => self.stack("up"),
            Some(true) => format!("stop `keywheel up` with Ctrl-C, then {}", self.stack("up")),
            None => format!("keywheel up --nats-url {} --admin-credentials FILE", self.url),
        }
    }
}

fn credentials(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for FileFact { path, mode, is_public, damage } in &facts.files {
        let about = path.display().to_string();
        let Some(mode) = mode else {
            let next = format!("put it back, or make another: {}", facts.start_again());
            findings.push(Finding::wrong("credential_missing", about, "there is no such file", next));
            continue;
        };
        if let Some(damage) = damage {
            let next = format!("put back the seed, or take the file away and {}", facts.start_again());
            findings.push(Finding::wrong("credential_damaged", about.clone(), damage.clone(), next));
        }
        if *is_public {
            let what = format!("others can read this seed: its mode is {mode:04o}");
            let next = format!("chmod 600 {}", shell(path));
            findings.push(Finding::wrong("credential_public", about, what, next));
        }
    }
    if findings.is_empty() && !facts.files.is_empty() {
        let what = format!("{} files with a seed, for their owner alone", facts.files.len());
        findings.push(Finding::ok("credentials", "credentials", what));
    }
    findings
}

fn signers(facts: &Facts) -> Vec<Finding> {
    let about = "signers file";
    if let Some(why) = &facts.signers {
        let next = "put the installation's signers file back: without it no event is believed";
        return vec![Finding::wrong("signers_unusable", about, why.clone(), next)];
    }
    let lacks = facts.unlisted.iter().map(|(service, public)| {
        let role = service.name();
        let what = format!(
            "{public} is not believed as {role}: the file does not list it and no event introduces it, or one withdrew it"
        );
        let next = format!("keywheel signer add {role} --key {public}; if the file lost its line, {}", facts.start_again());
        Finding::wrong("signers_lack", about, what, next)
    });
    let mut findings: Vec<Finding> = lacks.collect();
    if findings.is_empty() {
        findings.push(Finding::ok("signers", about, "the key of each service of this home is believed"));
    }
    findings
}

fn certificates(facts: &Facts) -> Vec<Finding> {
    let now = i64::try_from(facts.now / 1000).unwrap_or(i64::MAX);
    let days = |ends: i64| (ends - now) / (24 * 3600);
    let mut findings = Vec::new();
    for (path, ends) in &facts.certificates {
        let about = path.display().to_string();
        let renew = || facts.start_again();
        match ends {
            Err(why) => findings.push(Finding::wrong("certificate_damaged", about, why.clone(), renew())),
            Ok(ends) if *ends <= now => {
                let what = format!("it ended {} days ago: nobody is let in with it", -days(*ends));
                findings.push(Finding::wrong("certificate_ended", about, what, renew()));
            }
            Ok(ends) if *ends < now + RENEWED_BEFORE_SECS => {
                let what = format!("it ends in {} days", days(*ends));
                findings.push(Finding::warning("certificate_ends", about, what, renew()));
            }
            Ok(_) => {}
        }
    }
    let soonest = facts.certificates.iter().filter_map(|(_, ends)| ends.as_ref().ok()).min();
    if let (true, Some(soonest)) = (findings.is_empty(), soonest) {
        let what = format!("{}, the first ends in {} days", facts.certificates.len(), days(*soonest));
        findings.push(Finding::ok("certificates", "certificates", what));
    }
    findings
}

fn disks(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.disks.iter().flat_map(|fact| disk(fact, &facts.home)).collect();
    let least = facts.disks.iter().filter_map(|disk| disk.free).map(|(free, _)| free).min();
    if let (true, Some(least)) = (findings.is_empty(), least) {
        let what = format!("{} MiB free, everything can be written", least / MIB);
        findings.push(Finding::ok("disks", "disks", what));
    }
    findings
}

fn disk(DiskFact { path, free, refusal }: &DiskFact, home: &Path) -> Vec<Finding> {
    let about = path.display().to_string();
    let mut findings = Vec::new();
    if let Some(why) = refusal {
        let next = format!("chown -R \"$USER\" {0} && chmod -R u+rwX {0}", shell(path));
        findings.push(Finding::wrong(
            "not_writable",
            about.clone(),
            format!("cannot be written: {why}"),
            next,
        ));
    }
    let Some((free, all)) = *free else { return findings };
    let what = format!("{} of {} MiB are free", free / MIB, all / MIB);
    let next = format!("make room there; what takes it: du -xh --max-depth=2 {}", shell(home));
    if free < FULL_BELOW {
        let what = format!("{what}: edges verify on, but apply nothing more");
        findings.push(Finding::wrong("disk_full", about, what, next));
    } else if free < LOW_BELOW && path == home {
        findings.push(Finding::warning("disk_low", about, what, next));
    }
    findings
}

#[cfg(test)]
mod tests;
