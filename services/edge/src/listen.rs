//! Where an edge listens: an address and port, or a Unix socket that only those may open who the file's
//! mode lets.

use crate::address::Peer;
use anyhow::{Context as _, bail};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

const SOCKET: &str = "unix:";

/// A place to listen at: `127.0.0.1:8081` or `unix:/run/keywheel/edge.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Address and port; port 0 takes a free one.
    Port(SocketAddr),
    /// The socket's file.
    Socket(PathBuf),
}

impl Place {
    /// Reads it.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn parse(text: &str) -> Result<Place, String> {
        let wrong =
            || format!("`{text}` is no place to listen at; write 127.0.0.1:8081 or unix:/run/edge.sock");
        match text.strip_prefix(SOCKET) {
            Some(path) if path.starts_with('/') => Ok(Place::Socket(path.into())),
            Some(_) => Err(wrong()),
            None => text.parse().map(Place::Port).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Port(address) => write!(f, "{address}"),
            Place::Socket(path) => write!(f, "{SOCKET}{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Place::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Permissions of a socket's file, in octal digits such as `0660`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Default for Mode {
    /// Owner and group: put the gateway's user into the edge's group.
    fn default() -> Self {
        Mode(0o660)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
        mode.map(Mode).ok_or_else(|| {
            D::Error::custom(format!("`{text}` is no file mode; write \"0660\", in octal digits"))
        })
    }
}

/// Something that accepts connections. A socket's file goes when this does.
#[derive(Debug)]
pub enum Listener {
    /// On a port.
    Port(TcpListener),
    /// On a socket.
    Socket(UnixListener, SocketFile),
}

/// A connection.
pub enum Stream {
    /// Over a port.
    Port(TcpStream),
    /// Over a socket.
    Socket(UnixStream),
}

/// The file of a socket; removed on drop.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Begins to listen. A socket file that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// When the place is taken or the system refuses.
    pub async fn bind(place: &Place, mode: Mode) -> anyhow::Result<Listener> {
        let cannot = || format!("cannot listen on {place}");
        match place {
            Place::Port(address) => {
                Ok(Listener::Port(TcpListener::bind(address).await.with_context(cannot)?))
            }
            Place::Socket(path) => bind_socket(path, mode).await.with_context(cannot),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn place(&self) -> io::Result<Place> {
        match self {
            Listener::Port(listener) => listener.local_addr().map(Place::Port),
            Listener::Socket(_, file) => Ok(Place::Socket(file.0.clone())),
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// Mostly for want of descriptors.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Listener::Port(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are one small packet: waiting to fill it would only cost time.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Port(stream), Peer::At(peer.ip())))
            }
            Listener::Socket(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Socket(stream), Peer::Local))
            }
        }
    }
}

async fn bind_socket(path: &Path, mode: Mode) -> anyhow::Result<Listener> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            bail!("there is a file that is no socket; move it away or name another place");
        }
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Ok(_) => bail!("another process listens there"),
            Err(error) => return Err(error.into()),
        }
    }
    // Made under another name and with its mode, then moved: nobody who must not can connect in between.
    let draft = path.with_extension("new");
    let _ = std::fs::remove_file(&draft);
    let listener = UnixListener::bind(&draft)?;
    std::fs::set_permissions(&draft, Permissions::from_mode(mode.0))?;
    std::fs::rename(&draft, path)?;
    Ok(Listener::Socket(listener, SocketFile(path.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ports_or_sockets() {
        for text in ["127.0.0.1:8081", "[::1]:0", "unix:/run/keywheel/edge.sock"] {
            assert_eq!(Place::parse(text).unwrap().to_string(), text);
        }
        for text in ["8081", "localhost:1", "unix:", "unix:edge.sock", "/run/edge.sock", ""] {
            assert!(Place::parse(text).unwrap_err().contains("unix:/run/edge.sock"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_socket_has_its_mode_replaces_a_dead_one_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.sock");
        let place = Place::Socket(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::bind(&place, Mode(0o600)).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(listener.place().unwrap(), place);
        let (_asking, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
        assert_eq!(accepted.unwrap().1, Peer::Local);

        let second = Listener::bind(&place, Mode::default()).await.unwrap_err();
        assert!(format!("{second:#}").contains("another process listens there"), "{second:#}");
        drop(listener);
        assert!(!path.exists());

        std::fs::write(&path, "not a socket").unwrap();
        let refused = Listener::bind(&place, Mode::default()).await.unwrap_err();
        assert!(format!("{refused:#}").contains("no socket"), "{refused:#}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a socket");
    }
}
