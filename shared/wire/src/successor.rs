//! The statement that makes a stream the log which was lost: told with the stream itself, signed by the propagator, which
//! signs the log's heads too. Whoever administers the bus alone cannot put another log in its place.

use crate::Malformed;
use crate::signature::{Signed, Signer};
use crate::signers::{Signers, When};
use crate::subject::{self, Service};
use crate::text::{Hex32, Id, Moment};
use keywheel_domain::At;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The stream's note while it is filled, and no log yet: which copy of the log it is filled from.
pub const RESTORING: &str = "kw-restoring";
const STATEMENT: &str = "kw-successor";
const SIGNER: &str = "kw-signer";
const SIGNATURE: &str = "kw-signature";

/// Which log a stream continues, and how far it was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Successor {
    /// Whose log.
    pub installation: Id,
    /// When the log was created that it continues: its identity, which readers keep.
    pub log_created: Moment,
    /// When this stream was created: the statement is about no other.
    pub stream_created: Moment,
    /// The last position that was restored.
    pub seq: u64,
    /// The running hash there.
    pub chain: Hex32,
    /// When, by the clock of whoever restored it.
    pub at: Moment,
}

impl Successor {
    /// As notes of the stream, signed.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn notes(&self, signer: &Signer) -> Result<HashMap<String, String>, Malformed> {
        let text = serde_json::to_string(self).map_err(|error| Malformed::new(STATEMENT, error))?;
        let Signed { by, signature } = signer.sign(subject::SUCCESSOR, text.as_bytes())?;
        let notes = [(STATEMENT, text), (SIGNER, by), (SIGNATURE, signature)];
        Ok(notes.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// What the notes of a stream created at `stream_created` say; nothing where they say nothing of it.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn read(
        notes: &HashMap<String, String>,
        signers: &Signers,
        stream_created: At,
    ) -> Result<Option<Successor>, String> {
        let Some(text) = notes.get(STATEMENT) else { return Ok(None) };
        let note = |name| notes.get(name).cloned();
        let read: Successor = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let signed = note(SIGNER).zip(note(SIGNATURE)).map(|(by, signature)| Signed { by, signature });
        let when = When::About(read.seq);
        let author = signers.author(when, signed.as_ref(), subject::SUCCESSOR, text.as_bytes())?;
        if author != Service::Propagator {
            return Err(format!("the {} may not say which log a stream is", author.name()));
        }
        if read.installation.0 != signers.installation().0 {
            return Err("it belongs to another installation".to_owned());
        }
        if read.stream_created.0 != stream_created {
            return Err("it speaks of another stream".to_owned());
        }
        Ok(Some(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signers::Installation;
    use keywheel_domain::At;
    use nkeys::KeyPair;

    fn signer() -> Signer {
        Signer::from_seed(&KeyPair::new_user().seed().unwrap()).unwrap()
    }

    fn statement() -> Successor {
        Successor {
            installation: Id(1),
            log_created: Moment(At(5)),
            stream_created: Moment(At(9)),
            seq: 4,
            chain: Hex32([3; 32]),
            at: Moment(At(10)),
        }
    }

    #[test]
    fn only_the_propagator_of_this_installation_says_it_of_this_stream() {
        let (propagator, retirer, stranger) = (signer(), signer(), signer());
        let listed = [(propagator.public(), Service::Propagator), (retirer.public(), Service::Retirer)];
        let listed = listed.map(|(public, service)| (public.to_owned(), service));
        let signers = Signers::of(Installation(1), listed).unwrap();
        let read = |notes: &HashMap<String, String>| Successor::read(notes, &signers, At(9));
        let notes = statement().notes(&propagator).unwrap();
        assert_eq!(read(&notes), Ok(Some(statement())));
        assert_eq!(read(&HashMap::new()), Ok(None));
        assert!(Successor::read(&notes, &signers, At(8)).unwrap_err().contains("another stream"));
        assert!(read(&statement().notes(&retirer).unwrap()).unwrap_err().contains("may not say"));
        assert!(
            read(&statement().notes(&stranger).unwrap()).unwrap_err().contains("neither in the signers file")
        );
        let foreign = Successor { installation: Id(2), ..statement() };
        assert!(read(&foreign.notes(&propagator).unwrap()).unwrap_err().contains("another installation"));
        let mut altered = notes.clone();
        altered.insert(STATEMENT.to_owned(), notes[STATEMENT].replace("\"seq\":4", "\"seq\":3"));
        assert!(read(&altered).unwrap_err().contains("its signature"));
        let mut unsigned = notes;
        unsigned.remove(SIGNATURE);
        assert!(read(&unsigned).unwrap_err().contains("not signed"));
    }
}
