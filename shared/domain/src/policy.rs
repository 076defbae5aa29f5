//! How long things last. A keyring's policy falls back to its tenant's, then to the built-in one.

use crate::time::Span;

/// What happens when an overlap reaches `overlap_max` and the old version was not quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOverlapMax {
    /// Keep accepting it and raise an alarm.
    Hold,
    /// Retire it although somebody may still use it: the one exception to retiring on evidence alone.
    Retire,
}

/// What an edge does with a keyring once its lease has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Go on serving what it knows, until `stale_max`.
    Available,
    /// Refuse at once.
    Strict,
}

/// When a rotation is undone by itself: its old version retired, and clients are refused with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoRollback {
    /// How many of a thousand requests of the keyring must be refused with the retired version; 0: never.
    pub refused_permille: u32,
    /// How many must be refused with it at least.
    pub min_refused: u64,
    /// For how long after the retirement that counts.
    pub window: Span,
}

macro_rules! policy {
    ($($(#[$doc:meta])* $field:ident : $type:ty = $default:expr),* $(,)?) => {
        /// Every field resolved: what holds for one keyring.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Policy { $($(#[$doc])* pub $field: $type,)* }

        /// What one address sets; the rest falls back.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct PolicyPatch { $($(#[$doc])* pub $field: Option<$type>,)* }

        /// What a command asks to change; the rest stays.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct PolicyChange { $($(#[$doc])* pub $field: Change<$type>,)* }

        impl Default for Policy {
            fn default() -> Self { Self { $($field: $default,)* } }
        }

        impl Policy {
            /// This policy with what `patch` sets put over it.
            #[must_use]
            pub fn overlaid(mut self, patch: &PolicyPatch) -> Self {
                $(if let Some(value) = &patch.$field { self.$field = value.clone(); })*
                self
            }
        }

        impl PolicyPatch {
            /// A patch that sets nothing.
            pub const NONE: PolicyPatch = PolicyPatch { $($field: None,)* };

            /// This patch after a change.
            #[must_use]
            pub fn changed(mut self, change: &PolicyChange) -> Self {
                $(match &change.$field {
                    Change::Keep => {}
                    Change::Set(value) => self.$field = Some(value.clone()),
                    Change::Clear => self.$field = None,
                })*
                self
            }
        }
    };
}

/// What a command does to one field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// Not mentioned.
    #[default]
    Keep,
    /// Set to this.
    Set(T),
    /// Taken back to what it falls back to.
    Clear,
}

policy! {
    /// An overlap lasts at least this long.
    overlap_min: Span = Span::hours(24),
    /// An overlap that lasts longer raises an alarm, or ends (`on_overlap_max`).
    overlap_max: Span = Span::days(30),
    /// What happens at `overlap_max`.
    on_overlap_max: OnOverlapMax = OnOverlapMax::Hold,
    /// How long an old version must be unseen before it may retire.
    quiet: Span = Span::hours(1),
    /// What a stale edge does.
    class: Class = Class::Available,
    /// How long a stale edge serves an available keyring.
    stale_max: Span = Span::hours(24),
    /// How many versions may be active or issued at once.
    max_active: u32 = 5,
    /// How often a rotation starts by itself; nothing at all (`0s`) is never, also where a tenant has a schedule.
    every: Option<Span> = None,
    /// By how much such a start may be moved, so that not all start together.
    jitter: Span = Span(0),
    /// The public xkey to which a secret is sealed when the command names none.
    recipient: Option<String> = None,
    /// How long a sealed delivery is kept from its release on.
    delivery_kept: Span = Span::days(7),
    /// When a rotation is undone by itself.
    auto_rollback: Option<AutoRollback> = None,
}

impl Policy {
    /// How long an edge without contact may go on accepting this keyring's keys, counted from its
    /// last proof of freshness: the lease for a strict keyring, `stale_max` for an available one.
    pub fn horizon(&self, lease: Span) -> Span {
        match self.class {
            Class::Strict => lease,
            Class::Available => self.stale_max.max(lease),
        }
    }
}
