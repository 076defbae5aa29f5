//! Whose the rows are: a name beside each row, and the tenants with their policies.

use super::terms::Own;
use keywheel_domain::{PolicyPatch, Tenant};
use std::collections::HashMap;

/// Bytes of a client's name that lie in the row itself, where they come from memory together with what
/// is compared. Longer ones, which are rare, lie apart.
const INSIDE_BYTES: usize = 31;

/// Whose a row is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    /// Its tenant's place.
    tenant: u32,
    length: u8,
    /// The client's name, or, of a longer one, its place among the long ones.
    text: [u8; INSIDE_BYTES],
}

/// The tenants, and the names that do not fit into labels.
#[derive(Debug, Default)]
pub(super) struct Names {
    tenants: Vec<TenantEntry>,
    by_tenant: HashMap<Box<str>, u32>,
    long: Vec<Box<str>>,
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

    /// A label with this name: at most 255 bytes of the client's, which are far more than a client may have.
    pub fn label(&mut self, tenant: u32, client: &str) -> Label {
        let length = u8::try_from(client.len()).expect("a client's name has at most 63 bytes");
        let mut text = [0; INSIDE_BYTES];
        if let Some(inside) = text.get_mut(..client.len()) {
            inside.copy_from_slice(client.as_bytes());
        } else {
            let place = u32::try_from(self.long.len()).expect("a table has no 2^32 rows");
            *text.first_chunk_mut().expect("there is room for a place") = place.to_le_bytes();
            self.long.push(client.into());
        }
        Label { tenant, length, text }
    }

    /// The tenant of a label.
    pub fn tenant_of(&self, label: &Label) -> &TenantEntry {
        &self.tenants[label.tenant as usize]
    }

    /// The client's name on a label.
    pub fn client<'a>(&'a self, label: &'a Label) -> &'a str {
        match label.text.get(..usize::from(label.length)) {
            Some(inside) => std::str::from_utf8(inside).unwrap_or_default(),
            None => {
                let place = label.text.first_chunk().expect("there is room for a place");
                &self.long[u32::from_le_bytes(*place) as usize]
            }
        }
    }

    /// Whether a label says this.
    pub fn is(&self, label: &Label, tenant: u32, client: &str) -> bool {
        label.tenant == tenant && self.client(label) == client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_what_was_put_on_them_whatever_its_length() {
        let mut names = Names::default();
        let tenants: Vec<u32> = (0..3).map(|n| names.tenant(&format!("t-{n}"))).collect();
        assert_eq!(names.tenant("t-1"), tenants[1]);
        let client = |n: usize| format!("{}{n}", "c".repeat(n % 63));
        let labels: Vec<Label> = (0..1000).map(|n| names.label(tenants[n % 3], &client(n))).collect();
        for (n, label) in labels.iter().enumerate() {
            assert_eq!(&*names.tenant_of(label).name, format!("t-{}", n % 3));
            assert_eq!(names.client(label), client(n));
            assert!(names.is(label, tenants[n % 3], &client(n)));
            assert!(!names.is(label, tenants[(n + 1) % 3], &client(n)));
            assert!(!names.is(label, tenants[n % 3], &client(n + 1)));
        }
        let is_long = |n: &usize| client(*n).len() > INSIDE_BYTES;
        assert_eq!(names.long.len(), (0..1000).filter(is_long).count());
    }
}
