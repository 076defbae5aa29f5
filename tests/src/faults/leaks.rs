//! Looks for key texts where none may be: in every file that the installation wrote.

use super::ledger::Entry;
use super::scene::Scene;
use aho_corasick::AhoCorasick;
use anyhow::Context as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Where the last part of a key's text has its secret: the check digits come after it.
const SECRET: std::ops::Range<usize> = 0..43;
const CHUNK: usize = 1 << 20;

/// Searches every file below `home`, and writes down what it finds. Gives how many keys were looked for in how many
/// bytes.
///
/// # Errors
/// When a file cannot be read.
pub fn search(scene: &Scene, home: &Path) -> anyhow::Result<(usize, u64)> {
    let (mut needles, mut names) = (Vec::new(), Vec::new());
    for ring in &scene.rings {
        for (version, key) in &ring.book().held {
            let secret = key.expose().rsplit('_').next().and_then(|last| last.get(SECRET));
            needles.push(secret.context("a key's text has a secret")?.to_owned());
            names.push(format!("{} version {version}", ring.name));
        }
    }
    let finder = AhoCorasick::new(&needles)?;
    let (mut files, mut bytes) = (vec![home.to_owned()], 0);
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path)?;
            files.extend(entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path()));
        } else if path.is_file() {
            bytes += search_file(&path, &finder, |found| {
                let place = format!("{}: {}", path.display(), names[found]);
                scene.write(&Entry::Leak { place });
            })?;
        }
    }
    Ok((needles.len(), bytes))
}

fn search_file(path: &PathBuf, finder: &AhoCorasick, mut found: impl FnMut(usize)) -> anyhow::Result<u64> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let (mut window, mut bytes) = (Vec::with_capacity(2 * CHUNK), 0);
    loop {
        let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut window)?;
        if read == 0 {
            return Ok(bytes);
        }
        bytes += read as u64;
        for hit in finder.find_iter(&window) {
            found(hit.pattern().as_usize());
        }
        // What may have begun at the end is seen again with what follows.
        let keep = window.len().saturating_sub(SECRET.len() - 1);
        window.drain(..keep);
    }
}
