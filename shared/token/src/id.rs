//! Identifiers: fresh ones, and ones that follow from what they name, so that a retry names the same thing.

use uuid::Uuid;

/// The namespace of derived ids. Part of the contract with ourselves: changing it makes every retry new.
const NAMESPACE: Uuid = Uuid::from_u128(0x788d_f6bb_ade8_4cc5_9acc_88b4_d2d2_e5ca);

/// A new identifier: a random UUID (version 4), 122 random bits.
#[allow(clippy::disallowed_methods, reason = "this is the one place that draws random ids")]
pub fn fresh() -> u128 {
    Uuid::new_v4().as_u128()
}

/// The identifier that follows from `parts`: a UUID of version 5 in a namespace of ours.
///
/// Each part goes in with its length before it, so `["ab", "c"]` and `["a", "bc"]` differ.
pub fn derived(parts: &[&str]) -> u128 {
    let joined = parts.iter().fold(String::new(), |joined, part| format!("{joined}{}:{part}", part.len()));
    Uuid::new_v5(&NAMESPACE, joined.as_bytes()).as_u128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_follow_from_their_parts() {
        // Computed by another program.
        assert_eq!(derived(&["event", "a:b", ""]), 0xe99a_609b_b8fc_5d31_9b89_a5b7_163f_c5b3);
        assert_eq!(derived(&[]), 0x7e7e_8bed_71d4_56da_a6e6_9010_ad52_3a4a);
        assert_ne!(derived(&["ab", "c"]), derived(&["a", "bc"]));
        assert_ne!(derived(&["a"]), derived(&["a", ""]));
        assert_ne!(derived(&["1:a"]), derived(&["", "a"]));
    }

    #[test]
    fn fresh_ids_are_random_uuids() {
        let (one, two) = (Uuid::from_u128(fresh()), Uuid::from_u128(fresh()));
        assert_ne!(one, two);
        assert_eq!(one.get_version_num(), 4);
    }
}
