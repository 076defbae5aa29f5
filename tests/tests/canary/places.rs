//! Where keys are searched for: files, what edges tell everybody, and processes.

use crate::needles::Needles;
use keywheel_tests::Stack;
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Memory is read in pieces of this size.
const CHUNK: usize = 4 << 20;

/// What was searched, and what was found.
#[derive(Default)]
pub struct Searched {
    pub places: usize,
    pub bytes: usize,
    pub leaks: Vec<String>,
    /// Processes whose memory the system did not let us read.
    pub closed: Vec<String>,
}

impl Searched {
    /// Searches one place.
    pub fn place(&mut self, needles: &Needles, name: &str, bytes: &[u8]) {
        self.places += 1;
        self.bytes += bytes.len();
        for found in needles.find(bytes) {
            self.leaks.push(format!("{name}: key {}: …{}…", found.secret, found.around));
        }
    }

    /// Every file below a folder, names included; `is_owners` says which are left out.
    pub fn files(&mut self, needles: &Needles, folder: &Path, is_owners: &dyn Fn(&Path) -> bool) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.display().to_string();
            self.place(needles, "a file's name", name.as_bytes());
            if is_owners(&path) {
                continue;
            }
            if path.is_dir() {
                self.files(needles, &path, is_owners);
                continue;
            }
            // Files that live for a moment may be gone by now.
            if let Ok(bytes) = fs::read(&path) {
                self.place(needles, &name, &bytes);
            }
        }
    }

    /// What an edge tells everybody who asks.
    pub async fn told(&mut self, needles: &Needles, http: &reqwest::Client, edge: &str) {
        for path in ["/metrics", "/v1/info", "/readyz"] {
            let url = format!("{edge}{path}");
            let bytes = http.get(&url).send().await.unwrap().bytes().await.unwrap();
            self.place(needles, &url, &bytes);
        }
    }

    /// Environment, arguments and memory of a process.
    pub fn process(&mut self, needles: &Needles, name: &str, pid: Pid) {
        for part in ["environ", "cmdline"] {
            let path = format!("/proc/{pid}/{part}");
            match fs::read(&path) {
                Ok(bytes) => self.place(needles, &format!("{part} of {name}"), &bytes),
                Err(error) => self.closed.push(format!("{part} of {name}: {error}")),
            }
        }
        match memory(pid) {
            Ok(mapped) => {
                for (what, bytes) in mapped {
                    self.place(needles, &format!("memory of {name}, {what}"), &bytes);
                }
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.closed.push(format!("memory of {name}: {error}"));
            }
            Err(error) => panic!("memory of {name}: {error}"),
        }
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let mut line = format!("{} places, {} MiB", self.places, self.bytes >> 20);
        if !self.closed.is_empty() {
            let _ = write!(line, "; NOT SEARCHED: {}", self.closed.join(", "));
        }
        line
    }
}

/// The processes of a stack by name, `up` among them.
pub fn processes(stack: &Stack) -> Vec<(String, Pid)> {
    let mut names: Vec<String> =
        ["nats", "issuer", "propagator", "usage-tracker", "retirer"].map(str::to_owned).into();
    names.extend(stack.context.edges.iter().map(|edge| format!("edge-{}", edge.id)));
    let mut all: Vec<_> = names.into_iter().map(|name| (name.clone(), stack.pid(&name).unwrap())).collect();
    all.push(("up".to_owned(), Pid::from_raw(i32::try_from(stack.id()).unwrap())));
    all
}

/// What a process can write to and read. What it only reads stands as it is in the file that it came from.
fn memory(pid: Pid) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut mapped = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        let what = words.nth(3).unwrap_or("heap or stack of a thread");
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let bytes = read_range(&memory, from, to)?;
        if !bytes.is_empty() {
            mapped.push((format!("{what} at {from:x}"), bytes));
        }
    }
    Ok(mapped)
}

fn read_range(memory: &File, from: u64, to: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
    let mut filled = 0;
    while filled < bytes.len() {
        let end = (filled + CHUNK).min(bytes.len());
        match memory.read_at(&mut bytes[filled..end], from + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(error),
            // It was unmapped meanwhile, or is a device's.
            Err(_) => break,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[test]
fn a_key_in_memory_is_found_there() {
    let key = keywheel_token::mint(&keywheel_token::Brand::default()).text;
    let needles = Needles::new([crate::needles::secret(key.expose())]);
    let mut searched = Searched::default();
    searched.process(&needles, "this test", Pid::this());
    assert!(
        searched.leaks.iter().any(|leak| leak.starts_with("memory of this test"))
            || !searched.closed.is_empty(),
        "{}",
        searched.summary()
    );
}
