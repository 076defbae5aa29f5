//! What was read of long histories, kept in the home so that a question costs only what is new since. Trusted as the
//! home is, like its signers file: each kept event is held to the hash that the next one names and the newest to the
//! log itself, but positions and times only to a checksum. What is damaged or of others is passed over and read anew.

use keywheel_domain::{Address, At};
use keywheel_table::history::Kept;
use keywheel_wire::chain::payload_hash;
use keywheel_wire::signers::Signers;
use keywheel_wire::subject;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A shorter history is read faster than it is looked for.
const EVENTS_MIN: usize = 200;
/// A longer one is not kept.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The histories that were written last stay.
const FILES_MAX: usize = 16;
const MAGIC: &[u8] = b"keywheel history 1\n";
const HASH: usize = 32;

/// One address's kept history.
pub(crate) struct Cache {
    folder: PathBuf,
    name: String,
    key: [u8; HASH],
}

impl Cache {
    /// Of an address, in a home: of others' installations and of those who believe other signers it is another one.
    pub fn of(home: &Path, address: &Address, signers: &Signers) -> Self {
        let mut whose = format!("{:032x} {}", signers.installation().0, subject::event(address));
        for (public, service) in signers.keys() {
            whose += &format!(" {public} {}", service.name());
        }
        let key = payload_hash(whose.as_bytes());
        let name = key[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { folder: home.join("cache"), name, key }
    }

    /// What is kept; nothing where there is nothing whole.
    pub fn read(&self) -> Vec<Kept> {
        let path = self.folder.join(&self.name);
        let is_small = fs::metadata(&path).is_ok_and(|found| found.len() <= BYTES_MAX);
        let bytes = is_small.then(|| fs::read(&path).ok()).flatten().unwrap_or_default();
        self.decode(&bytes).unwrap_or_default()
    }

    /// Keeps a history, if that is worth it. What cannot be written is only slower the next time.
    pub fn write(&self, kept: &[Kept]) {
        if kept.len() < EVENTS_MIN {
            return;
        }
        let bytes = self.encode(kept);
        if bytes.len() as u64 <= BYTES_MAX {
            // Nobody is left to be told: the answer is there.
            let _ = self.store(&bytes).and_then(|()| self.thin());
        }
    }

    fn encode(&self, kept: &[Kept]) -> Vec<u8> {
        let mut bytes = [MAGIC, &self.key].concat();
        for Kept { seq, stored, payload } in kept {
            bytes.extend(seq.to_be_bytes());
            bytes.extend(stored.0.to_be_bytes());
            bytes.extend((payload.len() as u64).to_be_bytes());
            bytes.extend(payload);
        }
        let sum = payload_hash(&bytes);
        bytes.extend(sum);
        bytes
    }

    fn decode(&self, bytes: &[u8]) -> Option<Vec<Kept>> {
        let (whole, sum) = bytes.split_at_checked(bytes.len().checked_sub(HASH)?)?;
        let mut rest = whole.strip_prefix(MAGIC)?.strip_prefix(&self.key)?;
        if payload_hash(whole) != *sum {
            return None;
        }
        let mut kept = Vec::new();
        while !rest.is_empty() {
            let (seq, stored) = (number(&mut rest)?, number(&mut rest)?);
            let length = usize::try_from(number(&mut rest)?).ok()?;
            let (payload, after) = rest.split_at_checked(length)?;
            kept.push(Kept { seq, stored: At(stored), payload: payload.to_vec() });
            rest = after;
        }
        Some(kept)
    }

    /// Whole or not at all, and for nobody else's eyes.
    fn store(&self, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let draft = self.folder.join(format!("{}.{}", self.name, std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        fs::rename(&draft, self.folder.join(&self.name))
    }

    fn thin(&self) -> io::Result<()> {
        let written = |entry: &fs::DirEntry| entry.metadata().and_then(|found| found.modified());
        let mut files: Vec<(SystemTime, PathBuf)> = fs::read_dir(&self.folder)?
            .filter_map(Result::ok)
            .filter_map(|entry| Some((written(&entry).ok()?, entry.path())))
            .collect();
        files.sort_unstable();
        let over = files.len().saturating_sub(FILES_MAX);
        files.into_iter().take(over).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{activated, issued, keyring, messages, seen, signers, tenant};
    use crate::waiting_words::tests::NOW;
    use keywheel_domain::event::IssueReason;
    use keywheel_table::History;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    fn kept() -> Vec<Kept> {
        let uses = (0..EVENTS_MIN as u64).map(|_| seen(1, NOW));
        let facts = [issued(1, IssueReason::Issue), activated(1, Vec::new())].into_iter().chain(uses);
        let of = |message: keywheel_table::Message| Kept {
            seq: message.seq,
            stored: NOW,
            payload: message.payload,
        };
        messages(facts.collect(), NOW).into_iter().map(of).collect()
    }

    fn resume(kept: &[Kept]) -> Option<usize> {
        let history = History::resume(Arc::clone(&signers()), &subject::event(&keyring()), kept);
        history.map(|history| history.events().len())
    }

    #[test]
    fn what_is_kept_is_read_again_and_of_no_use_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::of(folder.path(), &keyring(), &signers());
        assert!(cache.read().is_empty());
        cache.write(&kept()[..EVENTS_MIN - 1]);
        assert!(cache.read().is_empty(), "short ones are not worth it");
        cache.write(&kept());
        assert_eq!(cache.read(), kept());
        assert_eq!(resume(&kept()), Some(EVENTS_MIN + 2));

        let path = cache.folder.join(&cache.name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&cache.folder).unwrap().permissions().mode() & 0o777, 0o700);
        let other = Cache::of(folder.path(), &tenant(), &signers());
        fs::copy(&path, other.folder.join(&other.name)).unwrap();
        assert!(other.read().is_empty(), "of another address");

        let whole = fs::read(&path).unwrap();
        for at in [0, MAGIC.len(), MAGIC.len() + HASH + 3, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert!(cache.read().is_empty(), "{at}");
        }
        fs::write(&path, &whole[..whole.len() - 40]).unwrap();
        assert!(cache.read().is_empty());
    }

    #[test]
    fn an_altered_missing_or_swapped_event_breaks_the_history() {
        let mut altered = kept();
        let payload = &mut altered[5].payload;
        let uses = payload.windows(5).position(|bytes| bytes == b"uses\x03").expect("it tells of three uses");
        payload[uses + 4] = 4;
        assert_eq!(resume(&altered), None);
        let mut missing = kept();
        missing.remove(7);
        assert_eq!(resume(&missing), None);
        let mut swapped = kept();
        swapped.swap(8, 9);
        assert_eq!(resume(&swapped), None);
    }

    #[test]
    fn only_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::of(folder.path(), &keyring(), &signers());
        cache.write(&kept());
        for n in 0..FILES_MAX + 3 {
            fs::write(cache.folder.join(n.to_string()), "another").unwrap();
        }
        cache.write(&kept());
        assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), FILES_MAX);
        assert_eq!(cache.read(), kept());
    }
}
