//! Tells the operator of each message in the log that no reader applies: one alarm each, also when the bus
//! or this process was away meanwhile.

use keywheel_bus::{BusError, Gate};
use keywheel_domain::{Address, At};
use keywheel_runtime::Shutdown;
use keywheel_table::Doubted;
use keywheel_wire::notice::{Alarm, Notice};
use keywheel_wire::subject;
use keywheel_wire::text::Moment;
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(250);
/// Most alarms in one look: whoever floods the log with forgeries must not fill our memory as well.
const AT_ONCE: usize = 64;

/// Tells until `shutdown`.
///
/// # Errors
/// When the database fails; the bus being away is waited for.
pub async fn run(gate: &Gate, shutdown: &Shutdown) -> Result<(), BusError> {
    while shutdown.pause(EVERY).await {
        let doubted = gate.fold().lock().doubted(AT_ONCE)?;
        for doubted in doubted {
            let (address, id, notice) = alarm(&doubted, gate.now());
            if let Err(error) = gate.bus().notify(&address, &id, &notice).await {
                tracing::warn!(%error, "an alarm could not be published; trying again");
                break;
            }
            gate.fold().lock().told(doubted.seq)?;
        }
    }
    Ok(())
}

/// What is said about it, and where. The id makes replicas say it once.
fn alarm(doubted: &Doubted, now: At) -> (Address, String, Notice) {
    let Doubted { seq, subject, doubt } = doubted;
    let (code, means) = if doubt.freezes() {
        ("frozen", "nothing more happens to it until every program here understands this message")
    } else {
        ("not_believed", "no edge and no service applies it; find out who could write it")
    };
    let detail = format!("position {seq}: {doubt}; {means}");
    let alarm = Alarm { code: code.to_owned(), detail, at: Moment(now), seq: Some(*seq) };
    let address = subject::parse_event(subject).unwrap_or(Address::Installation);
    (address, format!("doubted-{seq}"), Notice::Alarm(alarm))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_domain::KeyringId;
    use keywheel_wire::belief::Doubt;

    fn told(subject: &str, doubt: Doubt) -> (Address, String, Alarm) {
        let doubted = Doubted { seq: 7, subject: subject.to_owned(), doubt };
        let (address, id, notice) = alarm(&doubted, At(1));
        let Notice::Alarm(alarm) = notice else { panic!("an alarm") };
        (address, id, alarm)
    }

    #[test]
    fn an_alarm_names_position_reason_and_what_follows() {
        let (address, id, alarm) = told("kw.evt.acme.app", Doubt::Skip("it is not signed".to_owned()));
        assert_eq!(address, Address::Keyring(KeyringId::parse("acme/app").unwrap()));
        assert_eq!((id.as_str(), alarm.code.as_str(), alarm.seq), ("doubted-7", "not_believed", Some(7)));
        assert!(alarm.detail.starts_with("position 7: it is not signed; no edge"), "{}", alarm.detail);
        let (address, _, alarm) = told("kw.evt.NO.KEYRING", Doubt::Freeze("newer".to_owned()));
        assert_eq!((address, alarm.code.as_str()), (Address::Installation, "frozen"));
    }
}
