//! Where a request comes from, and whether a key may be used from there.

use ipnet::IpNet;
pub use keywheel_wire::range::{is_allowed, parse_range};
use std::net::{IpAddr, SocketAddr};

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Somebody at this address.
    At(IpAddr),
    /// Somebody who may open our Unix socket: a gateway on this machine, believed like a trusted proxy.
    Local,
}

/// The client's address: the peer, or, where that is a trusted proxy, the rightmost forwarded address
/// that is none. What stands left of it anybody may have written. `None` where it cannot be read, or
/// nobody told it.
pub fn of_client<'a>(
    peer: Peer,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpNet],
) -> Option<IpAddr> {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|range| range.contains(address));
    let mut hops = forwarded.flat_map(|header| header.split(',')).rev().map(str::trim);
    let mut nearest = match peer {
        Peer::At(address) => address.to_canonical(),
        Peer::Local => parse_hop(hops.next()?)?,
    };
    while is_trusted(&nearest) {
        match hops.next() {
            None => return Some(nearest),
            Some(hop) => nearest = parse_hop(hop)?,
        }
    }
    Some(nearest)
}

/// An address as proxies write it: some add the port, some put brackets around it.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    let address = plain.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_decide_who_may() {
        let cidrs =
            ["10.0.0.0/8", "192.168.1.7", "fd00::/8", "nonsense", "::ffff:9.9.9.9", "::ffff:8.8.0.0/112"];
        let cidrs = cidrs.map(String::from);
        for (from, allowed) in [
            ("10.200.0.1", true),
            ("11.0.0.1", false),
            ("192.168.1.7", true),
            ("192.168.1.8", false),
            ("fd00::1", true),
            ("fe00::1", false),
            ("::ffff:10.0.0.1", true),
            ("9.9.9.9", true),
            ("8.8.4.4", true),
            ("8.9.4.4", false),
        ] {
            assert_eq!(is_allowed(&cidrs, Some(ip(from))), allowed, "{from}");
        }
        assert!(!is_allowed(&cidrs, None), "an unknown address lies in no range");
        assert!(is_allowed(&[], None));
        assert!(!is_allowed(&["nonsense".to_owned()], Some(ip("10.0.0.1"))));
    }

    #[test]
    fn the_client_is_the_rightmost_that_nobody_vouches_for() {
        let trusted = ["127.0.0.1/32".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        for (peer, forwarded, client) in [
            ("203.0.113.9", &["1.2.3.4"][..], Some("203.0.113.9")),
            ("127.0.0.1", &[], Some("127.0.0.1")),
            ("::ffff:127.0.0.1", &["1.2.3.4"], Some("1.2.3.4")),
            ("127.0.0.1", &["6.6.6.6, 1.2.3.4"], Some("1.2.3.4")),
            ("127.0.0.1", &["6.6.6.6, 1.2.3.4, 10.9.9.9"], Some("1.2.3.4")),
            ("127.0.0.1", &["6.6.6.6", "1.2.3.4,10.9.9.9"], Some("1.2.3.4")),
            ("127.0.0.1", &["10.1.1.1"], Some("10.1.1.1")),
            ("127.0.0.1", &["1.2.3.4:5678"], Some("1.2.3.4")),
            ("127.0.0.1", &["[2001:db8::1]:443"], Some("2001:db8::1")),
            ("127.0.0.1", &["[2001:db8::1]"], Some("2001:db8::1")),
            ("127.0.0.1", &["1.2.3.4, unknown"], None),
            ("127.0.0.1", &[""], None),
        ] {
            let found = of_client(Peer::At(ip(peer)), forwarded.iter().copied(), &trusted);
            assert_eq!(found, client.map(ip), "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn behind_a_socket_the_gateway_says_where_the_client_is() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        for (forwarded, client) in [
            (&["6.6.6.6, 1.2.3.4"][..], Some("1.2.3.4")),
            (&["6.6.6.6, 1.2.3.4, 10.9.9.9"], Some("1.2.3.4")),
            (&["10.9.9.9"], Some("10.9.9.9")),
            (&["unix:"], None),
            (&[], None),
        ] {
            let found = of_client(Peer::Local, forwarded.iter().copied(), &trusted);
            assert_eq!(found, client.map(ip), "{forwarded:?}");
        }
    }
}
