//! Starts child processes that end with this one, also when it is killed and can do nothing more.
//!
//! The system ties a child to the *thread* that started it, so one thread starts them all and stays.

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use std::io;
use std::process::Command;
use std::sync::mpsc;
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

struct Request {
    command: Command,
    started: oneshot::Sender<io::Result<Child>>,
}

/// The thread that starts children; they end when it does.
#[derive(Clone, Debug)]
pub struct Spawner(mpsc::Sender<Request>);

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start() -> Result<Spawner> {
        let (sender, requests) = mpsc::channel::<Request>();
        let runtime = Handle::current();
        let work = move || {
            let _entered = runtime.enter();
            for Request { command, started } in requests {
                let child = tokio::process::Command::from(command).kill_on_drop(true).spawn();
                // Whoever asked may be gone; then the child is dropped and so ended.
                let _ = started.send(child);
            }
        };
        std::thread::Builder::new()
            .name("children".to_owned())
            .spawn(work)
            .context("cannot start a thread")?;
        Ok(Spawner(sender))
    }

    /// Starts `command` in a process group of its own, so that Ctrl-C reaches this process alone. It is sent
    /// `at_our_end` when this process ends.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn spawn(&self, mut command: Command, at_our_end: Signal) -> io::Result<Child> {
        use std::os::unix::process::CommandExt as _;
        command.process_group(0);
        end_with_us(&mut command, at_our_end);
        let (started, child) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts children has ended");
        self.0.send(Request { command, started }).map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "only between fork and exec can a child ask to end with its parent")]
fn end_with_us(command: &mut Command, signal: Signal) {
    use std::os::unix::process::CommandExt as _;
    let us = nix::unistd::getpid();
    let prepare = move || {
        nix::sys::prctl::set_pdeathsig(signal)?;
        // We may have ended before that call: then nothing would ever end the child.
        if nix::unistd::getppid() == us { Ok(()) } else { Err(nix::errno::Errno::ESRCH.into()) }
    };
    // SAFETY: `prepare` runs between fork and exec, where only async-signal-safe calls are allowed: it makes two
    // system calls, allocates nothing and takes no lock.
    unsafe { command.pre_exec(prepare) };
}

/// Elsewhere children are ended when `up` stops in good order, and when their handles are dropped.
#[cfg(not(target_os = "linux"))]
fn end_with_us(_command: &mut Command, _signal: Signal) {}
