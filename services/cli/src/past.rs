//! Histories as questions about the past need them: read by pages, and cut at a moment.

use crate::arguments;
use crate::cache::Cache;
use crate::doubt_words;
use crate::failure::Failure;
use crate::session::{Session, now};
use crate::words::second;
use clap::Args;
use keywheel_bus::Bus;
use keywheel_bus::log::Pages;
use keywheel_domain::{Address, At, Cut, State, Tenant, Version, evolve};
use keywheel_table::History;
use keywheel_table::history::{Happened, judge_all};
use keywheel_wire::belief::Doubt;
use keywheel_wire::body::type_word;
use keywheel_wire::subject;
use keywheel_wire::text::moment;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The moment that is asked about.
#[derive(Args, Clone, Copy, Debug)]
#[group(required = true, multiple = false)]
pub struct When {
    /// As of this time: the events that were decided by then, up to the first later one
    #[arg(long, value_name = "TS", value_parser = arguments::moment)]
    at: Option<At>,
    /// As of this position of the log
    #[arg(long, value_name = "N", value_parser = arguments::position)]
    at_seq: Option<u64>,
}

impl When {
    /// Where the histories end.
    pub fn cut(self) -> Cut {
        match (self.at_seq, self.at) {
            (Some(seq), _) => Cut::Seq(seq),
            (None, at) => Cut::Time(at.unwrap_or_default()),
        }
    }
}

/// A moment as it was asked for and as it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Where the histories end.
    pub cut: Cut,
    /// The time by which what only time brings is judged.
    pub at: At,
}

impl Moment {
    /// Finds the time of a position; refuses what has not come yet.
    pub async fn of(session: &Session<'_>, cut: Cut) -> Result<Self, Failure> {
        let at = match cut {
            Cut::Time(at) if at > now() => {
                let detail = format!("{} has not come yet; `keywheel status` says what is due", moment(at));
                return Err(Failure::refused("not_yet", detail));
            }
            Cut::Time(at) => at,
            Cut::Seq(seq) => time_of(&session.bus, seq).await?,
        };
        Ok(Self { cut, at })
    }

    /// In words.
    pub fn words(self) -> String {
        match self.cut {
            Cut::Time(at) => moment(at).replace(".000Z", "Z"),
            Cut::Seq(seq) => format!("position {seq} ({})", second(self.at)),
        }
    }

    /// For programs: what was asked, and the time by which it is judged.
    pub fn to_json(self) -> Value {
        let seq = match self.cut {
            Cut::Seq(seq) => Some(seq),
            Cut::Time(_) => None,
        };
        json!({ "time": moment(self.at), "seq": seq })
    }
}

/// When the event at a position was decided; of what is no event, when it was stored.
async fn time_of(bus: &Bus, seq: u64) -> Result<At, Failure> {
    let found = bus.message_at(seq).await?;
    let beyond = || {
        Failure::refused(
            "beyond_log",
            format!("the log has no position {seq} yet; `keywheel log` shows what it has"),
        )
    };
    let found = [found.ok_or_else(beyond)?];
    let judged = judge_all(&found, &bus.signers());
    let decided = judged.first().and_then(|judged| judged.event()).map(|event| event.at);
    Ok(decided.unwrap_or(found[0].1))
}

/// Reads an address's history, as far as the cut needs it or all of it; what the home keeps of it is not read again.
pub(crate) async fn read(
    session: &Session<'_>,
    address: &Address,
    cut: Option<Cut>,
) -> Result<History, Failure> {
    let bus = &session.bus;
    let cache = session.cache_folder().map(|home| Cache::of(home, address, &bus.signers()));
    let mut kept = cache.as_ref().map(Cache::read).unwrap_or_default();
    let known = kept.last().map(|newest| newest.seq);
    let history = bus.history_beyond(address, &mut kept, cut).await?;
    let is_new = kept.last().map(|newest| newest.seq) != known;
    if let Some(cache) = cache.filter(|_| is_new && history.is_believed()) {
        cache.write(&kept);
    }
    Ok(history)
}

/// Reads the histories of a tenant and of all its clients.
pub(crate) async fn read_tenant(
    session: &Session<'_>,
    tenant: &Tenant,
) -> Result<BTreeMap<Address, History>, Failure> {
    let (bus, live) = (&session.bus, session.screen.live());
    let (mut histories, mut from) = (BTreeMap::new(), 1);
    loop {
        let page = bus.page_stored(from, Pages::Tenant(tenant)).await?;
        let Some((last, _)) = page.last() else { return Ok(histories) };
        live.say(&format!("reading what happened in {tenant}: position {}", last.seq));
        from = last.seq + 1;
        for judged in judge_all(&page, &bus.signers()) {
            let Ok(address) = subject::parse_event(judged.subject()) else { continue };
            let empty = || History::new(bus.signers());
            histories.entry(address).or_insert_with(empty).add(judged);
        }
    }
}

/// A state with since when each version is in its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dated {
    pub state: State,
    pub since: BTreeMap<Version, At>,
}

impl Dated {
    /// After these events.
    pub fn after(events: &[Happened]) -> Self {
        let mut dated = Self::default();
        for Happened { recorded, stored: _ } in events {
            let word = |state: &State, version| state.keys.get(version).map(|key| key.state.word());
            let versions = recorded.event.fact.changes();
            let before: Vec<_> = versions.iter().map(|version| word(&dated.state, version)).collect();
            dated.state = evolve(dated.state, recorded);
            for (version, _) in
                versions.iter().zip(before).filter(|(version, before)| word(&dated.state, version) != *before)
            {
                dated.since.insert(*version, recorded.event.at);
            }
        }
        dated
    }
}

/// An event for programs: what it is, where it stands, who asked for it.
pub(crate) fn event_to_json(happened: &Happened) -> Value {
    let event = &happened.recorded.event;
    json!({
        "seq": happened.recorded.seq,
        "at": moment(event.at),
        "type": type_word(event.fact.kind()),
        "version": event.fact.version().map(|version| version.0),
        "actor": event.actor.as_str(),
        "id": keywheel_wire::text::id(event.id.0),
        "command_id": keywheel_wire::text::id(event.command.0),
    })
}

/// The messages of a history that did not count by then.
pub(crate) struct Doubts<'h> {
    newest_first: Vec<(u64, &'h Doubt)>,
}

impl<'h> Doubts<'h> {
    /// Of several histories.
    pub fn of(histories: impl IntoIterator<Item = &'h History>, cut: Cut) -> Self {
        let all = histories.into_iter().flat_map(|history| history.doubts_until(cut));
        let mut newest_first: Vec<_> = all.map(|doubted| (doubted.seq, &doubted.doubt)).collect();
        newest_first.sort_unstable_by_key(|(seq, _)| std::cmp::Reverse(*seq));
        Self { newest_first }
    }

    /// The first position that froze one of them.
    pub fn frozen_at(&self) -> Option<u64> {
        let freezes = |(seq, doubt): &(u64, &Doubt)| doubt.freezes().then_some(*seq);
        self.newest_first.iter().rev().find_map(freezes)
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        doubt_words::all_to_json(&self.newest_first)
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        doubt_words::lines(&self.newest_first)
    }
}
