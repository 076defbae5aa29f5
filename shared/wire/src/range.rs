//! Address ranges as keys carry them, and whether an address lies in one: one reading for whoever checks a key
//! and whoever asks about it later.

use ipnet::{IpNet, Ipv4Net};
use std::net::IpAddr;

/// Reads `10.0.0.0/8` or a plain address.
pub fn parse_range(text: &str) -> Option<IpNet> {
    let range = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    Some(canonical(range))
}

/// The same range of IPv4 addresses where it was written in IPv6: addresses are compared in that form.
fn canonical(range: IpNet) -> IpNet {
    let mapped = match range {
        IpNet::V4(_) => None,
        IpNet::V6(range) => range.addr().to_ipv4_mapped().zip(range.prefix_len().checked_sub(96)),
    };
    mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(range, IpNet::V4)
}

/// Whether a key with these ranges may be used from `from`. No ranges: from anywhere. An address that
/// is not known lies in no range, and a range that cannot be read contains nothing.
pub fn is_allowed(cidrs: &[String], from: Option<IpAddr>) -> bool {
    if cidrs.is_empty() {
        return true;
    }
    let Some(from) = from.map(|address| address.to_canonical()) else { return false };
    cidrs.iter().any(|text| parse_range(text).is_some_and(|range| range.contains(&from)))
}
