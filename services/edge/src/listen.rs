//! Listening: on a port, or on a Unix socket that only those may open who the file's mode lets.

use crate::address::Peer;
use crate::place::{Mode, Place};
use anyhow::{Context as _, bail};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

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
