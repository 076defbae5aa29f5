//! A link that can be cut: a TCP relay between one process and the bus.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Relays connections to one address until it is cut; open again, it takes new ones.
pub struct Link {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    taken: Arc<AtomicUsize>,
}

impl Link {
    /// Listens on a free port of loopback and relays to `target` (`host:port`).
    ///
    /// # Errors
    /// When no port is to be had.
    pub fn to(target: &str) -> io::Result<Link> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let link = Link {
            address: listener.local_addr()?,
            cut: Arc::new(AtomicBool::new(false)),
            open: Arc::new(Mutex::new(Vec::new())),
            taken: Arc::default(),
        };
        let (cut, open, target) = (Arc::clone(&link.cut), Arc::clone(&link.open), target.to_owned());
        let taken = Arc::clone(&link.taken);
        thread::spawn(move || {
            for inward in listener.incoming().flatten() {
                if cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(outward) = TcpStream::connect(&target) else { continue };
                taken.fetch_add(1, Ordering::SeqCst);
                let mut kept = open.lock().unwrap_or_else(PoisonError::into_inner);
                for (from, to) in [(&inward, &outward), (&outward, &inward)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    kept.extend(from.try_clone());
                    thread::spawn(move || relay(from, to));
                }
            }
        });
        Ok(link)
    }

    /// Where to connect instead.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has taken so far.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    /// Ends every connection and takes no new one.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream) {
    // However it ends, both ways end.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
