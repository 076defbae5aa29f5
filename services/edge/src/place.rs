//! Where an edge is told to listen: an address and port, or a Unix socket.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

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
}
