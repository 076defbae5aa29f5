//! Whose the rows are: the names of keyrings one after the other, and the tenants with their policies.

use super::terms::Own;
use keywheel_domain::{PolicyPatch, Tenant};
use std::collections::HashMap;

/// Names lie in pieces, so that no growth copies what is there.
const PIECE_BITS: u32 = 20;
const PIECE_BYTES: usize = 1 << PIECE_BITS;
const HEAD_BYTES: usize = 5;

/// Names of keyrings, each at a place that stays.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// One name: its tenant's place (4 bytes), the client's length (1 byte), the client.
    pieces: Vec<Vec<u8>>,
    count: usize,
    tenants: Vec<TenantEntry>,
    by_tenant: HashMap<Box<str>, u32>,
}

#[derive(Debug)]
pub(super) struct TenantEntry {
    pub name: Box<str>,
    pub own: Own,
}

impl Names {
    /// The place of a tenant.
    pub fn tenant(&mut self, name: &str) -> u32 {
        if let Some(&place) = self.by_tenant.get(name) {
            return place;
        }
        let place = u32::try_from(self.tenants.len()).expect("fewer tenants than rows");
        self.tenants.push(TenantEntry { name: name.into(), own: Own::default() });
        self.by_tenant.insert(name.into(), place);
        place
    }

    pub fn set_policy(&mut self, tenant: &Tenant, policy: &PolicyPatch) {
        let place = self.tenant(tenant.as_str());
        self.tenants[place as usize].own = Own::of(policy);
    }

    /// What a tenant has set; the same as nothing where it was never heard of.
    pub fn policy(&self, tenant: &Tenant) -> Own {
        let place = self.by_tenant.get(tenant.as_str());
        place.map_or(Own::default(), |place| self.tenants[*place as usize].own)
    }

    /// Adds a name: at most 255 bytes of the client's, which are far more than a client may have.
    pub fn add(&mut self, tenant: u32, client: &str) -> u32 {
        let length = u8::try_from(client.len()).expect("a client's name has at most 63 bytes");
        let needed = HEAD_BYTES + client.len();
        if self.pieces.last().is_none_or(|piece| piece.len() + needed > PIECE_BYTES) {
            self.pieces.push(Vec::with_capacity(PIECE_BYTES));
        }
        let number = self.pieces.len() - 1;
        let piece = self.pieces.last_mut().expect("there is room in the last piece");
        let place = (number << PIECE_BITS) | piece.len();
        piece.extend(tenant.to_le_bytes());
        piece.push(length);
        piece.extend(client.bytes());
        self.count += 1;
        u32::try_from(place).expect("4 GiB of names are more than there are rows")
    }

    /// The tenant and the client at a place.
    pub fn at(&self, place: u32) -> (&TenantEntry, &str) {
        let (tenant, client) = self.raw(place);
        (&self.tenants[tenant as usize], std::str::from_utf8(client).unwrap_or_default())
    }

    /// Whether this name stands at a place.
    pub fn is_at(&self, place: u32, tenant: u32, client: &str) -> bool {
        self.raw(place) == (tenant, client.as_bytes())
    }

    fn raw(&self, place: u32) -> (u32, &[u8]) {
        let piece = &self.pieces[(place >> PIECE_BITS) as usize];
        let name = &piece[place as usize & (PIECE_BYTES - 1)..];
        let (head, rest) = name.split_first_chunk::<HEAD_BYTES>().expect("a name has its head");
        let [a, b, c, d, length] = *head;
        (u32::from_le_bytes([a, b, c, d]), &rest[..usize::from(length)])
    }

    /// How many names there are.
    pub fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_added_across_pieces() {
        let mut names = Names::default();
        let tenants: Vec<u32> = (0..3).map(|n| names.tenant(&format!("t-{n}"))).collect();
        assert_eq!(names.tenant("t-1"), tenants[1]);
        let client = |n: usize| format!("{}{n}", "c".repeat(n % 50));
        let places: Vec<u32> = (0..60_000).map(|n| names.add(tenants[n % 3], &client(n))).collect();
        assert!(names.pieces.len() > 1 && names.pieces.iter().all(|piece| piece.len() <= PIECE_BYTES));
        for (n, place) in places.iter().enumerate() {
            let (tenant, name) = names.at(*place);
            assert_eq!((&*tenant.name, name), (format!("t-{}", n % 3).as_str(), client(n).as_str()));
            assert!(names.is_at(*place, tenants[n % 3], &client(n)));
            assert!(!names.is_at(*place, tenants[(n + 1) % 3], &client(n)));
        }
        assert_eq!(names.count(), 60_000);
    }
}
