//! What many rows have in common and say by reference: what keys permit, and how long rotations last.

use crate::pack::{Unpack, put_bytes, put_count, put_number, wrong};
use keywheel_domain::policy::{AutoRollback, Class, OnOverlapMax, Policy, PolicyPatch};
use keywheel_domain::{KeySpec, Span};
use keywheel_wire::Malformed;
use sha2::{Digest, Sha256};
use std::sync::Arc;

const GRANT: u8 = 1;
const POLICY: u8 = 2;

/// What a key permits, as far as keys share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Scopes.
    pub scopes: Vec<String>,
    /// Address ranges.
    pub cidrs: Vec<String>,
}

/// What a part says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// What a key permits.
    Grant(Grant),
    /// How long a rotation lasts.
    Policy(Policy),
}

/// A part: its content, the hash by which rows count it, and what it says.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it says, packed.
    pub bytes: Arc<[u8]>,
    /// SHA-256 of that.
    pub hash: [u8; 32],
    /// What it says.
    pub meaning: Meaning,
}

impl Part {
    /// Reads a part.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn read(bytes: &[u8]) -> Result<Part, Malformed> {
        let mut unpack = Unpack(bytes);
        let meaning = match unpack.array()? {
            [GRANT] => Meaning::Grant(Grant { scopes: texts(&mut unpack)?, cidrs: texts(&mut unpack)? }),
            [POLICY] => {
                let patch = read_patch(&mut unpack)?;
                if patch_of(&Policy::default().overlaid(&patch)) != patch {
                    return Err(wrong("a policy leaves something open"));
                }
                Meaning::Policy(Policy::default().overlaid(&patch))
            }
            _ => return Err(wrong("a part of unknown kind")),
        };
        unpack.end()?;
        Ok(Part { bytes: bytes.into(), hash: Sha256::digest(bytes).into(), meaning })
    }
}

/// Packs what a key permits.
pub(crate) fn grant(spec: &KeySpec) -> Vec<u8> {
    let mut bytes = vec![GRANT];
    for texts in [&spec.scopes, &spec.cidrs] {
        put_count(&mut bytes, texts.len());
        texts.iter().for_each(|text| put_bytes(&mut bytes, text.as_bytes()));
    }
    bytes
}

/// Packs how long a rotation lasts.
pub(crate) fn policy(policy: &Policy) -> Vec<u8> {
    let mut bytes = vec![POLICY];
    put_patch(&mut bytes, &patch_of(policy));
    bytes
}

fn texts(unpack: &mut Unpack<'_>) -> Result<Vec<String>, Malformed> {
    let count = unpack.count()?;
    (0..count).map(|_| unpack.text().map(str::to_owned)).collect()
}

fn patch_of(policy: &Policy) -> PolicyPatch {
    PolicyPatch {
        overlap_min: Some(policy.overlap_min),
        overlap_max: Some(policy.overlap_max),
        on_overlap_max: Some(policy.on_overlap_max),
        quiet: Some(policy.quiet),
        class: Some(policy.class),
        stale_max: Some(policy.stale_max),
        max_active: Some(policy.max_active),
        every: Some(policy.every),
        jitter: Some(policy.jitter),
        recipient: Some(policy.recipient.clone()),
        delivery_kept: Some(policy.delivery_kept),
        auto_rollback: Some(policy.auto_rollback),
    }
}

/// A field that is set is a mark and, where it has more than one value, that value. The marks go first.
struct Fields {
    marks: u64,
    next: u32,
    values: Vec<u8>,
}

impl Fields {
    fn mark(&mut self, is_set: bool) -> bool {
        self.marks |= u64::from(is_set) << self.next;
        self.next += 1;
        is_set
    }

    fn number(&mut self, number: Option<u64>) {
        if self.mark(number.is_some()) {
            number.iter().for_each(|number| put_number(&mut self.values, *number));
        }
    }
}

/// Appends a patch.
pub(crate) fn put_patch(to: &mut Vec<u8>, patch: &PolicyPatch) {
    let mut fields = Fields { marks: 0, next: 0, values: Vec::new() };
    for span in [patch.overlap_min, patch.overlap_max, patch.quiet, patch.stale_max] {
        fields.number(span.map(|span| span.0));
    }
    for span in [patch.jitter, patch.delivery_kept] {
        fields.number(span.map(|span| span.0));
    }
    fields.number(patch.max_active.map(u64::from));
    fields.mark(patch.on_overlap_max.is_some());
    fields.mark(patch.on_overlap_max == Some(OnOverlapMax::Retire));
    fields.mark(patch.class.is_some());
    fields.mark(patch.class == Some(Class::Strict));
    fields.mark(patch.every.is_some());
    fields.number(patch.every.flatten().map(|span| span.0));
    fields.mark(patch.recipient.is_some());
    let recipient = patch.recipient.as_ref().and_then(Option::as_ref);
    fields.mark(recipient.is_some());
    if let Some(recipient) = recipient {
        put_bytes(&mut fields.values, recipient.as_bytes());
    }
    put_auto(&mut fields, patch.auto_rollback);
    put_number(to, fields.marks);
    to.extend(fields.values);
}

fn put_auto(fields: &mut Fields, auto: Option<Option<AutoRollback>>) {
    fields.mark(auto.is_some());
    let auto = auto.flatten();
    fields.number(auto.map(|auto| u64::from(auto.refused_permille)));
    for number in auto.iter().flat_map(|auto| [auto.min_refused, auto.window.0]) {
        put_number(&mut fields.values, number);
    }
}

fn read_auto(permille: Span, unpack: &mut Unpack<'_>) -> Result<AutoRollback, Malformed> {
    let refused_permille = u32::try_from(permille.0).map_err(|_| wrong("a number is too large"))?;
    Ok(AutoRollback { refused_permille, min_refused: unpack.number()?, window: Span(unpack.number()?) })
}

/// Takes a patch.
pub(crate) fn read_patch(unpack: &mut Unpack<'_>) -> Result<PolicyPatch, Malformed> {
    let mut marks = unpack.number()?;
    let mut mark = || {
        let is_set = marks & 1 == 1;
        marks >>= 1;
        is_set
    };
    let mut span = |is_set: bool| is_set.then(|| unpack.number().map(Span)).transpose();
    let (overlap_min, overlap_max) = (span(mark())?, span(mark())?);
    let (quiet, stale_max) = (span(mark())?, span(mark())?);
    let (jitter, delivery_kept) = (span(mark())?, span(mark())?);
    let max_active = span(mark())?.map(|Span(most)| u32::try_from(most)).transpose();
    let on_overlap_max = pair(mark(), mark(), OnOverlapMax::Hold, OnOverlapMax::Retire)?;
    let class = pair(mark(), mark(), Class::Available, Class::Strict)?;
    let every = within(mark(), span(mark())?)?;
    let (has_recipient, is_somebody) = (mark(), mark());
    let recipient = is_somebody.then(|| unpack.text().map(str::to_owned)).transpose()?;
    let recipient = within(has_recipient, recipient)?;
    let (has_auto, permille) = (mark(), mark().then(|| unpack.number().map(Span)).transpose()?);
    let auto_rollback = within(has_auto, permille.map(|permille| read_auto(permille, unpack)).transpose()?)?;
    if marks != 0 {
        return Err(wrong("a policy has unknown fields"));
    }
    let max_active = max_active.map_err(|_| wrong("a number is too large"))?;
    Ok(PolicyPatch {
        overlap_min,
        overlap_max,
        on_overlap_max,
        quiet,
        class,
        stale_max,
        max_active,
        every,
        jitter,
        recipient,
        delivery_kept,
        auto_rollback,
    })
}

fn pair<T>(is_set: bool, is_second: bool, first: T, second: T) -> Result<Option<T>, Malformed> {
    match (is_set, is_second) {
        (false, false) => Ok(None),
        (true, false) => Ok(Some(first)),
        (true, true) => Ok(Some(second)),
        (false, true) => Err(wrong("a field is and is not set")),
    }
}

fn within<T>(is_set: bool, value: Option<T>) -> Result<Option<Option<T>>, Malformed> {
    match (is_set, value) {
        (false, Some(_)) => Err(wrong("a field is and is not set")),
        (false, None) => Ok(None),
        (true, value) => Ok(Some(value)),
    }
}
