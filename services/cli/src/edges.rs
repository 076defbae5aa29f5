//! `keywheel edges`: the roster, and what each edge's pulses tell.

use crate::alarms;
use crate::failure::Failure;
use crate::fleet::{Fleet, Heard, Picture, boot_now};
use crate::replay::each_message;
use crate::screen::{Mood, Shown};
use crate::session::{self, Session};
use crate::words::ago;
use clap::Args;
use keywheel_bus::Bus;
use keywheel_domain::{At, EdgeId, Span};
use keywheel_runtime::exit;
use keywheel_wire::chain::Chain;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The options of `edges`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  keywheel edges --output json")]
pub struct Edges {
    /// How long to listen for pulses; one that is not heard by then is called silent
    #[arg(long, value_name = "D", value_parser = Span::parse, default_value = "1500ms")]
    listen: Span,
}

const HEADER: [&str; 9] =
    ["edge", "state", "watermark", "lag", "log hash", "keys", "clock", "version", "last pulse"];

impl Edges {
    /// Listens for a moment and shows the fleet.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let mut fleet = Fleet::listen(&session.bus).await?;
        let live = session.screen.live();
        live.say("listening to the edges' pulses");
        fleet.hear(Duration::from_millis(self.listen.0)).await;
        fleet.read_roster(&session.bus).await?;
        let now = boot_now();
        let picture = fleet.picture();
        let head = session.bus.head().await?.seq;
        live.say("comparing the edges' hashes with the log");
        let chains = chains(&session.bus, picture).await?;
        let alarms = alarms::standing(&session.bus).await?;
        drop(live);
        let views = views(picture, head, &chains);
        let edges: Vec<Value> = views.iter().map(|view| view.to_json(now)).collect();
        let document = json!({ "head": head, "edges": edges, "alarms": alarms::to_json(&alarms) });
        let table = match views.len() {
            0 => "no edge is on the roster and none is heard; `keywheel edge add ID` adds one".to_owned(),
            _ => session.screen.table(&HEADER, views.iter().map(|view| view.row(now)).collect()),
        };
        let lines = alarms::lines(&alarms, session::now());
        let lines: Vec<String> = std::iter::once(table).chain(lines).collect();
        session.screen.show(&document, &lines.join("\n"))?;
        Ok(exit::DONE)
    }
}

/// The log's own running hash at each watermark that an edge showed.
async fn chains(bus: &Bus, picture: &Picture) -> Result<BTreeMap<u64, Chain>, Failure> {
    let wanted: BTreeSet<u64> = picture.heard.values().map(|heard| heard.pulse.watermark).collect();
    let mut at = BTreeMap::from([(0, Chain::default())]);
    let mut chain = Chain::default();
    each_message(bus, None, 1, |message, _| {
        chain = chain.next(message.seq, &message.subject, &message.payload);
        if wanted.contains(&message.seq) {
            at.insert(message.seq, chain);
        }
    })
    .await?;
    Ok(at)
}

/// Whether an edge's running hash is the log's at the same position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreement {
    Agrees,
    Differs,
    BeyondLog,
    /// A replica of the log answered that has not got so far itself.
    NotRead,
}

impl Agreement {
    fn of(heard: &Heard, head: u64, chains: &BTreeMap<u64, Chain>) -> Self {
        match chains.get(&heard.pulse.watermark) {
            Some(chain) if chain.0 == heard.pulse.chain.0 => Agreement::Agrees,
            Some(_) => Agreement::Differs,
            None if heard.pulse.watermark > head => Agreement::BeyondLog,
            None => Agreement::NotRead,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Agreement::Agrees => "agrees",
            Agreement::Differs => "differs",
            Agreement::BeyondLog => "beyond_log",
            Agreement::NotRead => "not_read",
        }
    }

    fn mood(self) -> Mood {
        match self {
            Agreement::Agrees => Mood::Good,
            Agreement::Differs | Agreement::BeyondLog => Mood::Bad,
            Agreement::NotRead => Mood::Pending,
        }
    }
}

struct View<'a> {
    edge: &'a EdgeId,
    on_roster: bool,
    head: u64,
    heard: Option<(&'a Heard, Agreement)>,
}

fn views<'a>(picture: &'a Picture, head: u64, chains: &BTreeMap<u64, Chain>) -> Vec<View<'a>> {
    let all: BTreeSet<&EdgeId> = picture.roster.iter().chain(picture.heard.keys()).collect();
    let view = |edge: &'a EdgeId| View {
        edge,
        on_roster: picture.roster.contains(edge),
        head,
        heard: picture.heard.get(edge).map(|heard| (heard, Agreement::of(heard, head, chains))),
    };
    all.into_iter().map(view).collect()
}

impl View<'_> {
    fn state(&self) -> (&'static str, Mood) {
        match (self.on_roster, &self.heard) {
            (true, Some(_)) => ("heard", Mood::Good),
            (true, None) => ("silent", Mood::Bad),
            (false, _) => ("not on the roster", Mood::Pending),
        }
    }

    /// An edge may have applied more than the head that was read a moment before.
    fn lag(&self, heard: &Heard) -> u64 {
        self.head.saturating_sub(heard.pulse.watermark)
    }

    fn row(&self, now: At) -> Vec<Shown> {
        let (word, mood) = self.state();
        let mut row = vec![Shown::plain(self.edge), Shown::with(word, mood)];
        let Some((heard, agreement)) = &self.heard else {
            row.extend((2..HEADER.len()).map(|_| Shown::plain("-")));
            return row;
        };
        let lag = self.lag(heard);
        row.extend([
            Shown::plain(heard.pulse.watermark),
            Shown::with(lag, if lag == 0 { Mood::Plain } else { Mood::Pending }),
            Shown::with(agreement.word().replace('_', " "), agreement.mood()),
            Shown::plain(heard.pulse.keys),
            Shown::plain(clock_words(heard.clock_ahead_ms)),
            Shown::plain(&heard.pulse.version),
            Shown::plain(ago(now, heard.at)),
        ]);
        row
    }

    fn to_json(&self, now: At) -> Value {
        let mut document =
            json!({ "id": self.edge.as_str(), "on_roster": self.on_roster, "silent": self.heard.is_none() });
        if let (Some((heard, agreement)), Value::Object(fields)) = (&self.heard, &mut document) {
            let pulse = &heard.pulse;
            let more = json!({
                "watermark": pulse.watermark,
                "lag": self.lag(heard),
                "chain": pulse.chain,
                "chain_agrees": *agreement == Agreement::Agrees,
                "log_hash": agreement.word(),
                "digest": pulse.digest,
                "keys": pulse.keys,
                "clock_offset_ms": heard.clock_ahead_ms,
                "version": pulse.version,
                "lease_ms": pulse.lease_ms,
                "pulse_age_ms": now.since(heard.at).0,
            });
            fields.extend(more.as_object().cloned().unwrap_or_default());
        }
        document
    }
}

/// An edge's clock beside this machine's; the way of the pulse is in it.
fn clock_words(ahead_ms: i64) -> String {
    match ahead_ms {
        0 => "0ms".to_owned(),
        ms => format!("{ms:+}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Output;
    use crate::fleet::tests::picture;
    use crate::screen::Screen;
    use expect_test::expect;

    #[test]
    fn each_edge_has_its_row() {
        let heard =
            [("edge-a", 41, 2), ("edge-b", 39, 2), ("edge-x", 50, 2), ("edge-d", 38, 2), ("edge-e", 40, 2)];
        let picture = picture(&["edge-a", "edge-b", "edge-c", "edge-d", "edge-e"], &heard);
        let chains = BTreeMap::from([(41, Chain([0; 32])), (39, Chain([0; 32])), (38, Chain([9; 32]))]);
        let views = views(&picture, 41, &chains);
        let now = At(2_500);
        let rows = views.iter().map(|view| view.row(now)).collect();
        expect![[r#"
            EDGE    STATE              WATERMARK  LAG  LOG HASH    KEYS  CLOCK    VERSION  LAST PULSE
            edge-a  heard              41         0    agrees      3     +1000ms  0.1.0    500ms ago
            edge-b  heard              39         2    agrees      3     +1000ms  0.1.0    500ms ago
            edge-c  silent             -          -    -           -     -        -        -
            edge-d  heard              38         3    differs     3     +1000ms  0.1.0    500ms ago
            edge-e  heard              40         1    not read    3     +1000ms  0.1.0    500ms ago
            edge-x  not on the roster  50         0    beyond log  3     +1000ms  0.1.0    500ms ago"#]]
        .assert_eq(&Screen::new(Output::Text).table(&HEADER, rows));
        expect![[r#"
            {"chain":"0000000000000000000000000000000000000000000000000000000000000000","chain_agrees":true,"clock_offset_ms":1000,"digest":"0000000000000000000000000000000000000000000000000000000000000000","id":"edge-a","keys":3,"lag":0,"lease_ms":15000,"log_hash":"agrees","on_roster":true,"pulse_age_ms":500,"silent":false,"version":"0.1.0","watermark":41}
            {"id":"edge-c","on_roster":true,"silent":true}"#]].assert_eq(&format!("{}\n{}", views[0].to_json(now), views[2].to_json(now)));
    }
}
