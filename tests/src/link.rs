//! A link that can be harmed: a TCP relay between one process and the bus.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// Bytes that trickle arrive so many at a time.
const PIECE: u32 = 64;

/// What becomes of bytes in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They arrive.
    Open,
    /// They arrive later, by this time and up to twice it.
    Slow(Duration),
    /// They arrive one after another, so many in a second; the rest waits.
    Trickle(u32),
    /// They wait, and arrive when it flows again; nobody is told, as where packets are lost.
    Held,
    /// They are taken and never arrive; nobody is told, as where the other machine is gone.
    Lost,
}

/// A direction, as the process sees it that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the process to the bus.
    Out,
    /// From the bus to the process.
    In,
}

impl Way {
    /// The other one.
    #[must_use]
    pub fn back(self) -> Way {
        match self {
            Way::Out => Way::In,
            Way::In => Way::Out,
        }
    }
}

/// Relays connections to one address until it is cut; open again, it takes new ones.
pub struct Link {
    address: SocketAddr,
    state: Arc<State>,
    taken: Arc<AtomicUsize>,
}

struct State {
    now: Mutex<Now>,
    changed: Condvar,
}

struct Now {
    cut: bool,
    /// By [`Way`].
    flows: [Flow; 2],
    open: Vec<Weak<TcpStream>>,
    /// Connections in whose middle bytes were lost.
    torn: Vec<Weak<TcpStream>>,
}

impl Link {
    /// Listens on a free port of loopback and relays to `target` (`host:port`).
    ///
    /// # Errors
    /// When no port is to be had.
    pub fn to(target: &str) -> io::Result<Link> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let now = Now { cut: false, flows: [Flow::Open; 2], open: Vec::new(), torn: Vec::new() };
        let state = Arc::new(State { now: Mutex::new(now), changed: Condvar::new() });
        let link = Link { address: listener.local_addr()?, state: Arc::clone(&state), taken: Arc::default() };
        let (target, taken) = (target.to_owned(), Arc::clone(&link.taken));
        thread::spawn(move || {
            for inward in listener.incoming().flatten() {
                if state.is_cut() {
                    continue;
                }
                let Ok(outward) = TcpStream::connect(&target) else { continue };
                taken.fetch_add(1, Ordering::SeqCst);
                let (inward, outward) = (Arc::new(inward), Arc::new(outward));
                for (from, to, way) in [(&inward, &outward, Way::Out), (&outward, &inward, Way::In)] {
                    state.keep(from);
                    let (state, from, to) = (Arc::clone(&state), Arc::clone(from), Arc::clone(to));
                    thread::spawn(move || relay(&state, way, &from, &to));
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
        let mut now = self.state.lock();
        now.cut = true;
        now.open.drain(..).filter_map(|stream| stream.upgrade()).for_each(|stream| end(&stream));
        self.state.changed.notify_all();
    }

    /// From here on bytes go that way so.
    pub fn flow(&self, way: Way, flow: Flow) {
        self.state.lock().flows[way as usize] = flow;
        self.state.changed.notify_all();
    }

    /// Takes connections again and lets everything flow. Connections that have lost bytes end.
    pub fn mend(&self) {
        let mut now = self.state.lock();
        now.cut = false;
        now.flows = [Flow::Open; 2];
        now.torn.drain(..).filter_map(|stream| stream.upgrade()).for_each(|stream| end(&stream));
        self.state.changed.notify_all();
    }
}

impl State {
    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cut(&self) -> bool {
        self.lock().cut
    }

    fn keep(&self, stream: &Arc<TcpStream>) {
        let mut now = self.lock();
        now.open.retain(|other| other.strong_count() > 0);
        now.open.push(Arc::downgrade(stream));
    }

    /// What becomes of bytes that came just now; returns when they are held no longer.
    fn decide(&self, way: Way, from: &Arc<TcpStream>) -> Flow {
        let mut now = self.lock();
        while now.flows[way as usize] == Flow::Held && !now.cut {
            now = self.changed.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
        let flow = now.flows[way as usize];
        if flow == Flow::Lost {
            now.torn.push(Arc::downgrade(from));
        }
        flow
    }
}

fn end(stream: &TcpStream) {
    // It may have ended by itself.
    let _ = stream.shutdown(Shutdown::Both);
}

fn relay(state: &State, way: Way, from: &Arc<TcpStream>, to: &TcpStream) {
    let (mut bytes, mut to) = ([0; 16 * 1024], to);
    while let Ok(read) = from.as_ref().read(&mut bytes) {
        // The end of a connection is told no sooner than its last bytes.
        match state.decide(way, from) {
            Flow::Open | Flow::Held => {}
            Flow::Slow(time) => thread::sleep(time),
            Flow::Trickle(_) if read > 0 => {
                if trickle(state, way, &bytes[..read], to).is_err() {
                    break;
                }
                continue;
            }
            Flow::Trickle(_) => {}
            Flow::Lost if read > 0 => continue,
            // Where everything is lost, so is its end.
            Flow::Lost => return,
        }
        if read == 0 || to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // However it ends, both ways end.
    end(to);
    end(from);
}

/// Passes bytes on at the pace of the flow, until they are through or it flows otherwise: then the rest at once.
fn trickle(state: &State, way: Way, mut bytes: &[u8], mut to: &TcpStream) -> io::Result<()> {
    while let (Flow::Trickle(pace), false) = (state.lock().flows[way as usize], bytes.is_empty()) {
        let (now, rest) = bytes.split_at(bytes.len().min(PIECE as usize));
        thread::sleep(Duration::from_secs(1) * PIECE / pace);
        to.write_all(now)?;
        bytes = rest;
    }
    to.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(20);

    /// Who is there, a link to it, and a connection over that by both ends.
    fn connected() -> (TcpListener, Link, TcpStream, TcpStream) {
        let there = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Link::to(&there.local_addr().unwrap().to_string()).unwrap();
        let near = TcpStream::connect(link.address()).unwrap();
        let (far, _) = there.accept().unwrap();
        (there, link, near, far)
    }

    fn hears(mut end: &TcpStream, within: Duration) -> Option<u8> {
        let mut byte = [0];
        end.set_read_timeout(Some(within)).unwrap();
        end.read_exact(&mut byte).ok().map(|()| byte[0])
    }

    #[test]
    fn what_is_held_comes_when_it_is_mended_and_the_other_way_flows() {
        let (_there, link, mut near, mut far) = connected();
        link.flow(Way::Out, Flow::Held);
        near.write_all(b"a").unwrap();
        far.write_all(b"b").unwrap();
        assert_eq!(hears(&near, LONG), Some(b'b'));
        assert_eq!(hears(&far, SHORT), None);
        link.mend();
        assert_eq!(hears(&far, LONG), Some(b'a'));
    }

    #[test]
    fn what_is_lost_never_comes_and_nobody_is_told_until_it_is_mended() {
        let (_there, link, mut near, far) = connected();
        link.flow(Way::Out, Flow::Lost);
        near.write_all(b"a").unwrap();
        assert_eq!(hears(&far, SHORT), None);
        assert_eq!(near.take_error().unwrap().map(|error| error.to_string()), None);
        link.mend();
        let mut rest = Vec::new();
        (&far).read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "a connection that has lost bytes ends");
    }

    #[test]
    fn what_trickles_arrives_slowly_and_whole_and_the_rest_at_once_when_it_is_mended() {
        let (_there, link, mut near, mut far) = connected();
        link.flow(Way::Out, Flow::Trickle(400));
        near.write_all(&[7; 10_000]).unwrap();
        let begun = std::time::Instant::now();
        far.read_exact(&mut [0; 20]).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(150), "{:?}", begun.elapsed());
        link.mend();
        near.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), 10_000 - 20);
        assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_cut_link_ends_connections_and_takes_none_until_it_is_mended() {
        let (there, link, near, far) = connected();
        link.cut();
        assert_eq!((hears(&near, LONG), hears(&far, LONG)), (None, None));
        let refused = TcpStream::connect(link.address()).unwrap();
        assert_eq!(hears(&refused, LONG), None);
        assert_eq!(link.taken(), 1);
        link.mend();
        let mut again = TcpStream::connect(link.address()).unwrap();
        again.write_all(b"a").unwrap();
        let (far, _) = there.accept().unwrap();
        assert_eq!((hears(&far, LONG), link.taken()), (Some(b'a'), 2));
    }
}
