//! Policies in commands (a change) and in events (the whole).

use crate::Malformed;
use crate::command::{check_length, check_recipient};
use crate::text::Length;
use keywheel_domain::policy::{AutoRollback, Change, Class, OnOverlapMax, Policy, PolicyChange, PolicyPatch};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireClass {
    Available,
    Strict,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireOnMax {
    Hold,
    Retire,
}

/// A policy patch: what is absent falls back.
#[derive(Default, Serialize, Deserialize)]
pub struct WirePatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    overlap_min: Option<Length>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overlap_max: Option<Length>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_overlap_max: Option<WireOnMax>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quiet: Option<Length>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<WireClass>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_max: Option<Length>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_active: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<Length>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<Length>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_kept: Option<Length>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_rollback: Option<WireAutoRollback>,
}

/// A part of all, in thousandths; on the wire a number from 0 to 1.
#[derive(Clone, Copy)]
struct Ratio(u32);

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let part = f64::deserialize(deserializer)?;
        if (0.0..=1.0).contains(&part) {
            Ok(Self((part * 1000.0).round() as u32))
        } else {
            Err(D::Error::custom("expected a part of all requests: from 0 (never) to 1, such as 0.05"))
        }
    }
}

/// When a rotation is undone by itself; a ratio of 0 is never.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct WireAutoRollback {
    refused_ratio: Ratio,
    min_refused: u64,
    window: Length,
}

/// The same as it is asked for: nothing in it is passed over.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedAutoRollback {
    refused_ratio: Ratio,
    min_refused: u64,
    window: Length,
}

impl From<&AutoRollback> for WireAutoRollback {
    fn from(auto: &AutoRollback) -> Self {
        let AutoRollback { refused_permille, min_refused, window } = *auto;
        Self { refused_ratio: Ratio(refused_permille), min_refused, window: Length(window) }
    }
}

impl From<WireAutoRollback> for AutoRollback {
    fn from(wire: WireAutoRollback) -> Self {
        let WireAutoRollback { refused_ratio, min_refused, window } = wire;
        Self { refused_permille: refused_ratio.0, min_refused, window: window.0 }
    }
}

impl From<AskedAutoRollback> for AutoRollback {
    fn from(asked: AskedAutoRollback) -> Self {
        let AskedAutoRollback { refused_ratio, min_refused, window } = asked;
        Self { refused_permille: refused_ratio.0, min_refused, window: window.0 }
    }
}

impl From<&PolicyPatch> for WirePatch {
    fn from(patch: &PolicyPatch) -> Self {
        Self {
            overlap_min: patch.overlap_min.map(Length),
            overlap_max: patch.overlap_max.map(Length),
            on_overlap_max: patch.on_overlap_max.map(on_max_out),
            quiet: patch.quiet.map(Length),
            class: patch.class.map(class_out),
            stale_max: patch.stale_max.map(Length),
            max_active: patch.max_active,
            every: patch.every.flatten().map(Length),
            jitter: patch.jitter.map(Length),
            recipient: patch.recipient.clone().flatten(),
            delivery_kept: patch.delivery_kept.map(Length),
            auto_rollback: patch.auto_rollback.flatten().as_ref().map(WireAutoRollback::from),
        }
    }
}

impl From<WirePatch> for PolicyPatch {
    fn from(wire: WirePatch) -> Self {
        Self {
            overlap_min: wire.overlap_min.map(|l| l.0),
            overlap_max: wire.overlap_max.map(|l| l.0),
            on_overlap_max: wire.on_overlap_max.map(on_max_in),
            quiet: wire.quiet.map(|l| l.0),
            class: wire.class.map(class_in),
            stale_max: wire.stale_max.map(|l| l.0),
            max_active: wire.max_active,
            every: wire.every.map(|l| Some(l.0)),
            jitter: wire.jitter.map(|l| l.0),
            recipient: wire.recipient.map(Some),
            delivery_kept: wire.delivery_kept.map(|l| l.0),
            auto_rollback: wire.auto_rollback.map(|auto| Some(auto.into())),
        }
    }
}

/// A whole policy as a patch that sets every field, which is how `KeyIssued` carries it.
pub fn whole(policy: &Policy) -> WirePatch {
    WirePatch {
        overlap_min: Some(Length(policy.overlap_min)),
        overlap_max: Some(Length(policy.overlap_max)),
        on_overlap_max: Some(on_max_out(policy.on_overlap_max)),
        quiet: Some(Length(policy.quiet)),
        class: Some(class_out(policy.class)),
        stale_max: Some(Length(policy.stale_max)),
        max_active: Some(policy.max_active),
        every: policy.every.map(Length),
        jitter: Some(Length(policy.jitter)),
        recipient: policy.recipient.clone(),
        delivery_kept: Some(Length(policy.delivery_kept)),
        auto_rollback: policy.auto_rollback.as_ref().map(WireAutoRollback::from),
    }
}

fn class_out(class: Class) -> WireClass {
    match class {
        Class::Available => WireClass::Available,
        Class::Strict => WireClass::Strict,
    }
}

fn class_in(class: WireClass) -> Class {
    match class {
        WireClass::Available => Class::Available,
        WireClass::Strict => Class::Strict,
    }
}

fn on_max_out(on: OnOverlapMax) -> WireOnMax {
    match on {
        OnOverlapMax::Hold => WireOnMax::Hold,
        OnOverlapMax::Retire => WireOnMax::Retire,
    }
}

fn on_max_in(on: WireOnMax) -> OnOverlapMax {
    match on {
        WireOnMax::Hold => OnOverlapMax::Hold,
        WireOnMax::Retire => OnOverlapMax::Retire,
    }
}

/// A change as a command carries it: absent keeps, null clears.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireChange {
    #[serde(default, deserialize_with = "mentioned")]
    overlap_min: Option<Option<Length>>,
    #[serde(default, deserialize_with = "mentioned")]
    overlap_max: Option<Option<Length>>,
    #[serde(default, deserialize_with = "mentioned")]
    on_overlap_max: Option<Option<WireOnMax>>,
    #[serde(default, deserialize_with = "mentioned")]
    quiet: Option<Option<Length>>,
    #[serde(default, deserialize_with = "mentioned")]
    class: Option<Option<WireClass>>,
    #[serde(default, deserialize_with = "mentioned")]
    stale_max: Option<Option<Length>>,
    #[serde(default, deserialize_with = "mentioned")]
    max_active: Option<Option<u32>>,
    #[serde(default, deserialize_with = "mentioned")]
    every: Option<Option<Length>>,
    #[serde(default, deserialize_with = "mentioned")]
    jitter: Option<Option<Length>>,
    #[serde(default, deserialize_with = "mentioned")]
    recipient: Option<Option<String>>,
    #[serde(default, deserialize_with = "mentioned")]
    delivery_kept: Option<Option<Length>>,
    #[serde(default, deserialize_with = "mentioned")]
    auto_rollback: Option<Option<AskedAutoRollback>>,
}

fn mentioned<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

fn change<T, U>(field: Option<Option<T>>, read: impl Fn(T) -> U) -> Change<U> {
    match field {
        None => Change::Keep,
        Some(None) => Change::Clear,
        Some(Some(value)) => Change::Set(read(value)),
    }
}

impl WireChange {
    /// The change, its recipient checked.
    ///
    /// # Errors
    /// Names the field.
    pub fn read(self) -> Result<PolicyChange, Malformed> {
        if let Some(Some(recipient)) = &self.recipient {
            check_recipient("policy.recipient", recipient)?;
        }
        let lengths = [
            ("policy.overlap_min", self.overlap_min),
            ("policy.overlap_max", self.overlap_max),
            ("policy.quiet", self.quiet),
            ("policy.stale_max", self.stale_max),
            ("policy.every", self.every),
            ("policy.jitter", self.jitter),
            ("policy.delivery_kept", self.delivery_kept),
            ("policy.auto_rollback.window", self.auto_rollback.map(|auto| auto.map(|auto| auto.window))),
        ];
        for (field, length) in lengths {
            length.flatten().map_or(Ok(()), |length| check_length(field, length))?;
        }
        Ok(PolicyChange {
            overlap_min: change(self.overlap_min, |l| l.0),
            overlap_max: change(self.overlap_max, |l| l.0),
            on_overlap_max: change(self.on_overlap_max, on_max_in),
            quiet: change(self.quiet, |l| l.0),
            class: change(self.class, class_in),
            stale_max: change(self.stale_max, |l| l.0),
            max_active: change(self.max_active, |n| n),
            every: change(self.every, |l| Some(l.0)),
            jitter: change(self.jitter, |l| l.0),
            recipient: change(self.recipient, Some),
            delivery_kept: change(self.delivery_kept, |l| l.0),
            auto_rollback: change(self.auto_rollback, |auto| Some(auto.into())),
        })
    }
}
