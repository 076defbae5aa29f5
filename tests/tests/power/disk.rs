//! Disks whose power can be cut: ext4 on loop-mounted image files, and pictures of them.
//!
//! A picture has to be what a disk holds at one moment: all that was written to the device, nothing that was in memory
//! alone. A copy of the image file has the second by itself, since what is not yet written to the loop device is not in
//! the file. One moment it is because every writer was stopped before: SIGSTOP writes nothing back, as unmounting,
//! `fsfreeze` or a sync would. The kernel goes on by itself (the journal's commits, old pages); so the device's own
//! count of writes is read before and after the copy, and a copy during which anything was written is made again.
//!
//! Not staged: a cut in the middle of one sync (a stopped process finishes the call that it is in), and a disk that
//! loses what it has taken and not been told to flush.

use anyhow::{Context as _, ensure};
use nix::sched::{CloneFlags, unshare};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Sparse: what is not used takes no room.
const SIZE: &str = "512M";
const PATIENCE: Duration = Duration::from_secs(20);

/// Gives this thread, and all that it starts, mounts of its own: they are gone with it, however it ends.
pub fn own_mounts() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("mounts of one's own")?;
    run("mount", &["--make-rprivate", "/"])
}

/// A mounted image.
pub struct Disk {
    image: PathBuf,
    at: PathBuf,
    picture: Option<PathBuf>,
}

impl Disk {
    /// An empty one at `at`, in an image beside it that `name` names.
    pub fn make(name: &str, images: &Path, at: &Path) -> anyhow::Result<Disk> {
        std::fs::create_dir_all(images)?;
        std::fs::create_dir_all(at)?;
        let image = images.join(format!("{name}.img"));
        run("truncate", &["-s", SIZE, text(&image)?])?;
        run("mkfs.ext4", &["-q", text(&image)?])?;
        let disk = Disk { image, at: at.to_owned(), picture: None };
        disk.mount(5)?;
        Ok(disk)
    }

    /// `commit`: every how many seconds the kernel commits by itself what nobody synced.
    fn mount(&self, commit: u32) -> anyhow::Result<()> {
        run("mount", &["-o", &format!("loop,commit={commit}"), text(&self.image)?, text(&self.at)?])
    }

    /// Takes a picture. Whoever writes must have been stopped.
    pub fn picture(&mut self) -> anyhow::Result<()> {
        let copy = self.image.with_extension("picture");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = self.writes()?;
            run("cp", &["--sparse=always", text(&self.image)?, text(&copy)?])?;
            if before.is_some() && before == self.writes()? {
                self.picture = Some(copy);
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} is written to all the time", self.at.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many writes the device has done; none while one is under way.
    fn writes(&self) -> anyhow::Result<Option<u64>> {
        let device = std::fs::metadata(&self.at)?.dev();
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        let stat = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat"))?;
        let fields: Vec<u64> = stat.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        Ok((fields[8] == 0).then_some(fields[4]))
    }

    /// Has everything that was written so far reach the disk, as the kernel does by itself sooner or later.
    pub fn sync(&self) -> anyhow::Result<()> {
        run("sync", &["--file-system", text(&self.at)?])
    }

    /// Takes the disk out as soon as nobody has a file open on it: whoever had was killed.
    pub fn remove(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while let Err(busy) = run("umount", &[text(&self.at)?]) {
            ensure!(Instant::now() < deadline, busy);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Puts the picture in the disk's place: what the machine finds when it is switched on again.
    pub fn return_as_pictured(&mut self, commit: u32) -> anyhow::Result<()> {
        let picture = self.picture.take().context("no picture was taken")?;
        std::fs::rename(picture, &self.image)?;
        self.mount(commit)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It may not be mounted now; those above it are gone first or with it.
        let _ = Command::new("umount").args(["--lazy", "--quiet"]).arg(&self.at).output();
    }
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path in UTF-8")
}

fn run(program: &str, words: &[&str]) -> anyhow::Result<()> {
    let ended = Command::new(program).args(words).output().with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{program} {}: {}", words.join(" "), said.trim());
    Ok(())
}
