//! From a sealed delivery to the key's text, checked against what the log says of the key.

use crate::context::read_opener;
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::key_input::reading_of;
use crate::outage::Outage;
use crate::session::Session;
use clap::Args;
use keywheel_domain::{Key, KeyringId, Version};
use keywheel_token::{KeyText, Opener, Presented, Recipient};
use keywheel_wire::delivery::Sealed;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

/// To whom the secret is sealed.
#[derive(Args, Debug, Default)]
pub struct RecipientOptions {
    /// Public curve key (X…) to seal the secret to [default: your own, from the context]
    #[arg(long, value_name = "XKEY", conflicts_with = "standing_recipient")]
    recipient: Option<String>,
    /// Seal the secret to the recipient in the keyring's policy instead of your own
    #[arg(long)]
    standing_recipient: bool,
    /// File with the seed that opens the delivery [default: from the context]
    #[arg(long, value_name = "FILE", conflicts_with = "standing_recipient")]
    recipient_file: Option<PathBuf>,
}

/// Whom the command names, and what opens the delivery here.
pub(crate) struct Owner {
    /// The public key; `None` for the keyring's standing recipient.
    pub public: Option<String>,
    opener: Option<Opener>,
}

impl RecipientOptions {
    /// Decides to whom the secret is sealed.
    pub(crate) fn owner(&self, session: &Session<'_>) -> Result<Owner, Failure> {
        if self.standing_recipient {
            return Ok(Owner { public: None, opener: None });
        }
        let named = self.recipient.as_deref().map(Recipient::parse).transpose();
        let named = named.map_err(Failure::usage)?.map(|recipient| recipient.as_str().to_owned());
        let opener = own_opener(session, self.recipient_file.as_ref())?;
        let opener = opener.filter(|opener| named.as_deref().is_none_or(|named| named == opener.public()));
        let public = named.or_else(|| opener.as_ref().map(|opener| opener.public().to_owned()));
        Ok(Owner { public, opener })
    }
}

/// The opener in `file`, which must exist; else the context's, if there is one.
pub(crate) fn own_opener(session: &Session<'_>, file: Option<&PathBuf>) -> Result<Option<Opener>, Failure> {
    match file {
        None => read_opener(&session.context.recipient_file()),
        Some(file) => match read_opener(file)? {
            Some(opener) => Ok(Some(opener)),
            None => Err(Failure::config("recipient", format!("there is no {}", file.display()))),
        },
    }
}

impl Owner {
    /// Who can open a delivery with `opener`.
    pub fn with(opener: Opener) -> Self {
        Self { public: Some(opener.public().to_owned()), opener: Some(opener) }
    }

    /// Fetches and opens the delivery of an activated version. `None` where it is somebody else's.
    pub async fn take(
        &self,
        session: &Session<'_>,
        keyring: &KeyringId,
        version: Version,
        key: &Key,
        deadline: Deadline,
    ) -> Result<Option<KeyText>, Failure> {
        let Some(opener) = &self.opener else { return Ok(None) };
        let sealed = await_delivery(session, keyring, version, deadline).await?;
        open(opener, &sealed, key).map(Some)
    }

    /// Where the secret is, for whoever cannot open it here.
    pub fn whereabouts(&self, keyring: &KeyringId, version: Version) -> String {
        let whom = self.public.as_deref().unwrap_or("the keyring's standing recipient");
        format!(
            "its secret is sealed to {whom}, who opens it with \
             `keywheel fetch {keyring} --version {} --recipient-file FILE`",
            version.0
        )
    }
}

/// An object's text with the key in it; every copy is wiped.
pub(crate) fn with_key(document: &Value, key: Option<&KeyText>) -> Zeroizing<String> {
    let key = serde_json::to_string(&key.map(KeyText::expose));
    let key = Zeroizing::new(key.expect("a text is a JSON document"));
    let text = document.to_string();
    let rest = text.strip_prefix('{').unwrap_or(&text);
    Zeroizing::new(format!("{{\"key\":{},{rest}", *key))
}

/// A release follows the activation at once; a crash between the two is mended when the propagator starts.
async fn await_delivery(
    session: &Session<'_>,
    keyring: &KeyringId,
    version: Version,
    deadline: Deadline,
) -> Result<Sealed, Failure> {
    let (live, mut outage) = (session.screen.live(), Outage::default());
    loop {
        let asked = session.bus.delivery(keyring, version).await.map_err(Failure::from);
        if let Some(sealed) = outage.bridge(asked, deadline, &live).await?.flatten() {
            return Ok(sealed);
        }
        live.say(&format!("waiting for the delivery of {keyring} {version}"));
        if deadline.has_passed() {
            return Err(Failure::unfinished(format!(
                "{keyring} {version} is active, but no delivery lies there after {}: it was not released \
                 yet (does the propagator run?), or it is no longer kept",
                deadline.given()
            )));
        }
        tokio::time::sleep(Duration::from_millis(25).min(deadline.left())).await;
    }
}

/// Opens a delivery and checks that the text is the very key that the log tells of.
fn open(opener: &Opener, sealed: &Sealed, key: &Key) -> Result<KeyText, Failure> {
    let text = opener.open(&sealed.bytes()?, &sealed.sender).map_err(|error| {
        let detail = format!("{error}: it is not sealed to {}", opener.public());
        Failure::refused("not_your_delivery", detail)
    })?;
    match reading_of(&text) {
        Some(Presented::Ours { kid, digest }) if kid == key.kid && digest == key.digest => Ok(text),
        Some(Presented::Ours { .. } | Presented::Foreign { .. }) | None => Err(Failure::refused(
            "wrong_delivery",
            format!("the delivery holds another key than {}; do not use it", key.kid),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_domain::event::RotationId;
    use keywheel_domain::key::Origin;
    use keywheel_domain::{At, KeySpec, KeyState};
    use keywheel_token::{Brand, Fresh, mint, seal};

    fn key_of(fresh: &Fresh) -> Key {
        Key {
            kid: fresh.kid,
            digest: fresh.digest,
            spec: KeySpec::default(),
            origin: Origin::Minted,
            issued_at: At(1),
            rotation: RotationId(1),
            replaces: None,
            state: KeyState::Active,
            was_activated: true,
            seen: None,
            quiet: None,
        }
    }

    fn sealed_for(opener: &Opener, fresh: &Fresh) -> Sealed {
        let sealed = seal(&opener.recipient(), &fresh.text);
        Sealed::new(fresh.kid.as_str(), 1, &sealed.bytes, &sealed.sender)
    }

    #[test]
    fn a_delivery_opens_for_its_owner_and_must_hold_the_key_of_the_log() {
        let (opener, stranger) = (Opener::fresh(), Opener::fresh());
        let brand = Brand::parse("acme", "test").unwrap();
        let (fresh, other) = (mint(&brand), mint(&brand));
        let sealed = sealed_for(&opener, &fresh);
        let text = open(&opener, &sealed, &key_of(&fresh)).unwrap();
        assert_eq!(text.expose(), fresh.text.expose());
        assert_eq!(open(&stranger, &sealed, &key_of(&fresh)).unwrap_err().code, "not_your_delivery");
        assert_eq!(open(&opener, &sealed, &key_of(&other)).unwrap_err().code, "wrong_delivery");
    }
}
