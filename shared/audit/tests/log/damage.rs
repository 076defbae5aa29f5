//! A hundred random damages of each kind to a log: an inspection finds each, and so does an edge's fold that had
//! applied a part of it, before it applies anything that was not in the log that it knew.
//!
//! What nobody can see in the messages alone, such as a log whose end is missing, is seen by whoever saw more: here an
//! edge that had applied more, and a witness.

use crate::scene::{Log, chain, codes, inspect_as, signers, witness};
use keywheel_audit::inspect::{Scope, Witness};
use keywheel_domain::{Address, Event, State};
use keywheel_table::{Fold, Message, Options, TableError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const TRIALS: usize = 100;

/// Numbers that follow from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

#[allow(clippy::disallowed_methods, reason = "a seed is any number that differs from run to run")]
fn seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into()
}

/// A damage: what was done, and the messages after it.
type Damage = fn(&mut Dice, &[Message]) -> Vec<Message>;

fn renumbered(messages: Vec<Message>, first: u64) -> Vec<Message> {
    (first..).zip(messages).map(|(seq, message)| Message { seq, ..message }).collect()
}

fn altered(dice: &mut Dice, log: &[Message]) -> Vec<Message> {
    let mut log = log.to_vec();
    let at = dice.below(log.len());
    let payload = &mut log[at].payload;
    let byte = dice.below(payload.len());
    payload[byte] ^= 1 << dice.below(8);
    log
}

fn signed_anew(dice: &mut Dice, log: &[Message]) -> Vec<Message> {
    let mut log = log.to_vec();
    let at = dice.below(log.len());
    let other = log[(at + 1 + dice.below(log.len() - 1)) % log.len()].signed.clone();
    log[at].signed = other;
    log
}

fn dropped(dice: &mut Dice, log: &[Message]) -> Vec<Message> {
    let mut log = log.to_vec();
    log.remove(dice.below(log.len() - 1));
    log
}

fn dropped_and_renumbered(dice: &mut Dice, log: &[Message]) -> Vec<Message> {
    renumbered(dropped(dice, log), 1)
}

fn swapped(dice: &mut Dice, log: &[Message]) -> Vec<Message> {
    let mut log = log.to_vec();
    let (one, two) = (dice.below(log.len()), dice.below(log.len() - 1));
    log.swap(one, if two >= one { two + 1 } else { two });
    renumbered(log, 1)
}

fn doubled(dice: &mut Dice, log: &[Message]) -> Vec<Message> {
    let mut log = log.to_vec();
    let (from, to) = (dice.below(log.len()), dice.below(log.len() + 1));
    log.insert(to, log[from].clone());
    renumbered(log, 1)
}

fn strangers(dice: &mut Dice, log: &[Message]) -> Vec<Message> {
    let mut log = log.to_vec();
    let mut stranger = log[dice.below(log.len())].clone();
    let key = nkeys::KeyPair::new_user();
    let signer = keywheel_wire::signature::Signer::from_seed(&key.seed().unwrap()).unwrap();
    stranger.signed = Some(signer.sign(&stranger.subject, &stranger.payload).unwrap());
    log.insert(dice.below(log.len() + 1), stranger);
    renumbered(log, 1)
}

fn truncated(dice: &mut Dice, log: &[Message]) -> Vec<Message> {
    log[..dice.below(log.len())].to_vec()
}

fn recreated(dice: &mut Dice, log: &[Message]) -> Vec<Message> {
    log[1 + dice.below(log.len() - 1)..].to_vec()
}

/// An old copy of the store on which services went on: each message is sound, and it is another history.
fn restored(dice: &mut Dice, log: &[Message]) -> Vec<Message> {
    let kept = 1 + dice.below(log.len() - 2);
    let mut other = Log::continuing(&log[..kept]);
    while other.messages.len() <= log.len() {
        other.add_edge();
    }
    other.messages
}

const DAMAGES: [(&str, Damage); 10] = [
    ("altered", altered),
    ("signed by another", signed_anew),
    ("dropped", dropped),
    ("dropped and renumbered", dropped_and_renumbered),
    ("swapped", swapped),
    ("doubled", doubled),
    ("a stranger's put in", strangers),
    ("truncated", truncated),
    ("recreated with a first sequence", recreated),
    ("an old copy restored and gone on with", restored),
];

#[test]
fn an_inspection_finds_every_damage() {
    let (seed, log) = (seed(), Log::plain().messages);
    let mut dice = Dice(seed);
    for (name, damage) in DAMAGES {
        for trial in 0..TRIALS {
            let damaged = damage(&mut dice, &log);
            // What an edge had applied when the damage was done.
            let seen = witness("edge e1", &log);
            let found = inspect_as(Scope::WHOLE, &damaged, std::slice::from_ref(&seen));
            let at = format!("seed {seed}, {name}, trial {trial}");
            assert!(!found.findings.is_empty(), "{at}: nothing was found");
            let first = found.findings.first_seq().unwrap();
            let parts = log.iter().zip(&damaged).take_while(|(a, b)| same(a, b)).count() as u64;
            // A witness tells of the place that it saw, the messages of their own.
            assert!(
                first >= 1 && first <= parts.max(seen.seq) + 2,
                "{at}: {first} for {parts}: {:?}",
                codes(&found)
            );
        }
    }
    println!("seed {seed}: {} damages of {} kinds, each found", DAMAGES.len() * TRIALS, DAMAGES.len());
}

fn same(a: &Message, b: &Message) -> bool {
    (a.seq, &a.subject, &a.payload, &a.signed) == (b.seq, &b.subject, &b.payload, &b.signed)
}

/// Without a witness all is found but what only a witness can tell of.
#[test]
fn the_messages_alone_tell_of_all_but_a_sound_history() {
    let (seed, log) = (seed(), Log::plain().messages);
    let mut dice = Dice(seed);
    for (name, damage) in DAMAGES {
        let mut missed = 0;
        for _ in 0..TRIALS {
            let damaged = damage(&mut dice, &log);
            missed += usize::from(inspect_as(Scope::WHOLE, &damaged, &[]).findings.is_empty());
        }
        let sound_in_itself = ["truncated", "an old copy restored and gone on with"].contains(&name);
        // The last of a keyring can be taken, or exchanged with another's, and nothing that is left says so.
        let may_be_sound = ["dropped and renumbered", "swapped"].contains(&name);
        assert_eq!(missed == TRIALS, sound_in_itself, "seed {seed}, {name}: {missed} missed");
        assert!(missed == 0 || sound_in_itself || may_be_sound, "seed {seed}, {name}: {missed} missed");
    }
}

const OPTIONS: Options = Options { commands: false, pending: no, doubts: false };

fn no(_: &Event) -> bool {
    false
}

fn fold() -> Fold {
    Fold::open(std::path::Path::new(":memory:"), OPTIONS, Arc::new(signers())).unwrap()
}

fn states(fold: &Fold) -> BTreeMap<Address, State> {
    let mut states = BTreeMap::new();
    fold.each(|address, state| drop(states.insert(address, state))).unwrap();
    states
}

/// An edge that had applied some of the log meets the damaged one: it stops, or tells of each message that it skips and
/// stands where the rest of the true log alone would have brought it. A fold that was at the end of the log meets
/// every other log as one that contradicts it.
#[test]
fn an_edge_notices_before_it_applies_anything_else() {
    let (seed, log) = (seed(), Log::plain().messages);
    let mut dice = Dice(seed);
    let (mut stopped, mut skipped) = (0, 0);
    for (name, damage) in DAMAGES {
        for trial in 0..TRIALS {
            let damaged = damage(&mut dice, &log);
            let known = dice.below(log.len()) + 1;
            let at = format!("seed {seed}, {name}, trial {trial}, known {known}");
            let mut edge = fold();
            edge.apply(&log[..known], &[]).unwrap();
            let before = (edge.head(), states(&edge));
            let from = damaged.iter().position(|message| message.seq >= known as u64);
            // The follower compares the stream's end, and begins at the watermark itself.
            let Some(from) = from else {
                assert!(damaged.last().map_or(0, |last| last.seq) < known as u64, "{at}");
                stopped += 1;
                continue;
            };
            let met = &damaged[from..];
            if met[0].seq > known as u64 {
                // The follower began at the watermark, and the message there did not come.
                stopped += 1;
                continue;
            }
            if same(&met[0], &log[known - 1]) {
                skipped += usize::from(goes_on(&mut edge, &log, known, met, &at));
            } else {
                let error = edge.apply(met, &[]).map(drop);
                let is_noticed = matches!(error, Err(TableError::Gap { .. } | TableError::Diverged { .. }));
                // Only who signed it is another: what was applied there stays what it was.
                let unhashed = chain_at(met) == chain_at(&log[known - 1..]);
                assert!(is_noticed || unhashed, "{at}: {error:?}");
                stopped += usize::from(is_noticed);
                if is_noticed {
                    assert_eq!((edge.head(), states(&edge)), before, "{at}: something was applied");
                }
            }
        }
    }
    println!("seed {seed}: {stopped} stopped at the damage, {skipped} skipped it and said so");
    assert!(stopped > 0 && skipped > 0);
}

fn chain_at(messages: &[Message]) -> keywheel_wire::chain::Chain {
    chain(&messages[..1])
}

/// The damage lies after what it knew. Whether anything was skipped.
fn goes_on(edge: &mut Fold, log: &[Message], known: usize, met: &[Message], at: &str) -> bool {
    let before = states(edge);
    match edge.apply(met, &[]) {
        Err(TableError::Gap { .. } | TableError::Diverged { .. }) => {
            assert_eq!(states(edge), before, "{at}: something was applied");
            false
        }
        Err(error) => panic!("{at}: {error}"),
        Ok(applied) => {
            // Whatever it applied, services wrote in this order: in the true log, or in the other history.
            let originals = log[known..].iter().map(|message| &message.payload).collect::<Vec<_>>();
            let is_true = |seq: u64| met.iter().any(|it| it.seq == seq && originals.contains(&&it.payload));
            let strange = applied.events.iter().filter(|recorded| !is_true(recorded.seq)).count();
            let missing = log.len() - known - (applied.events.len() - strange).min(log.len() - known);
            assert!(strange == 0 || at.contains("restored"), "{at}: applied what services never wrote there");
            assert!(
                !applied.alarms.is_empty() || missing == 0 || at.contains("restored") || lost_an_end(at),
                "{at}: {missing} missing without a word"
            );
            !applied.alarms.is_empty()
        }
    }
}

/// Damages that can leave a shorter history which is sound in itself: then it is no edge's to know that there was more
/// than it ever saw.
fn lost_an_end(at: &str) -> bool {
    ["truncated", "dropped and renumbered", "swapped"].iter().any(|name| at.contains(name))
}

/// What a witness needs to have seen for a damage to show: the place itself.
#[test]
fn a_witness_tells_of_what_it_saw_and_of_no_more() {
    let log = Log::plain().messages;
    let mut other = Log::continuing(&log[..10]);
    other.add_edge();
    let saw = |upto: usize| -> Vec<Witness> { vec![witness("edge e1", &log[..upto])] };
    assert_eq!(codes(&inspect_as(Scope::WHOLE, &other.messages, &saw(10))), []);
    assert_eq!(codes(&inspect_as(Scope::WHOLE, &other.messages, &saw(11))), [(11, "contradicted")]);
}
