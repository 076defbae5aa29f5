//! Sealed secrets: staged before `KeyIssued`, delivered after `KeyActivated`, withdrawn otherwise.

use crate::batch::Letter;
use crate::error::Trying;
use crate::queue::side_by_side;
use crate::{Bus, BusError};
use async_nats::header::NATS_MESSAGE_TTL;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::DirectGetErrorKind;
use keywheel_domain::{KeyringId, Kid, Span, Version};
use keywheel_wire::delivery::{self, Sealed};
use keywheel_wire::subject;
use serde_json::{Value, json};

const WITHDRAWING: &str = "withdrawing a staged secret";

/// A sealed secret on the way to its owner.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Whose.
    pub keyring: KeyringId,
    /// Which version's.
    pub version: Version,
    /// The box.
    pub sealed: Sealed,
    /// How long it is kept from now on.
    pub kept: Span,
}

impl Parcel {
    fn letter(&self) -> Result<Letter, BusError> {
        let payload = serde_json::to_vec(&self.sealed).trying("delivering a secret")?;
        let mut letter = Letter::new(subject::delivery(&self.keyring, self.version), payload, None);
        let seconds = (self.kept.0 / 1000).max(1);
        letter.headers.insert(NATS_MESSAGE_TTL, seconds.to_string());
        Ok(letter)
    }
}

impl Bus {
    /// Stages a sealed secret under its kid; acknowledged, it survives everything.
    ///
    /// # Errors
    /// When it is not certain that it was stored.
    pub async fn stage(&self, kid: Kid, sealed: &Sealed) -> Result<(), BusError> {
        let payload = serde_json::to_vec(sealed).trying("staging a secret")?;
        let sent = self.context().publish(subject::stage(kid), payload.into()).await;
        sent.trying("staging a secret")?.await.trying("staging a secret")?;
        Ok(())
    }

    /// Stages many; false when it is not certain that all were stored.
    pub(crate) async fn stage_batch(&self, parcels: &[(Kid, &Sealed)]) -> bool {
        let letter = |(kid, sealed): &(Kid, &Sealed)| {
            Some(Letter::new(subject::stage(*kid), serde_json::to_vec(sealed).ok()?, None))
        };
        let Some(letters) = parcels.iter().map(letter).collect::<Option<Vec<_>>>() else { return false };
        self.send_batch("staging secrets", &letters).await.is_some()
    }

    /// The staged secret of a kid, if there is one.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn staged(&self, kid: Kid) -> Result<Option<Sealed>, BusError> {
        let message = self.last_message(subject::STAGE, &subject::stage(kid)).await?;
        Ok(message.map(|message| delivery::read(&message.payload)).transpose()?)
    }

    /// Removes a staged secret. By its sequence and not by a purge: an empty request purges a whole stream, and who
    /// names a call as the reply of another has the server send it an empty answer. The place where it lay is not
    /// overwritten, which takes the server ten times as long: what lay there is sealed, and what was delivered and has
    /// run out is not overwritten either.
    ///
    /// # Errors
    /// When the bus refuses.
    pub async fn withdraw(&self, kid: Kid) -> Result<(), BusError> {
        let subject = subject::stage(kid);
        let Some(staged) = self.last_message(subject::STAGE, &subject).await? else { return Ok(()) };
        let request = json!({ "seq": staged.sequence, "no_erase": true });
        let call = format!("STREAM.MSG.DELETE.{}", subject::STAGE);
        let error = match self.context().request(call, &request).await {
            Ok(Response::<Value>::Ok(_)) => return Ok(()),
            Ok(Response::Err { error }) => BusError::failed(WITHDRAWING)(&error),
            Err(error) => BusError::failed(WITHDRAWING)(&error),
        };
        // A replica may have been faster.
        match self.last_message(subject::STAGE, &subject).await? {
            Some(_) => Err(error),
            None => Ok(()),
        }
    }

    /// Puts sealed secrets where their owners find them, in one batch where that is possible; says of each whether
    /// it is certain that it was stored. At most [`crate::batch::BATCH_MAX`] at a time.
    pub async fn deliver_all(&self, parcels: &[Parcel]) -> Vec<Result<(), BusError>> {
        let letters = parcels.iter().map(|parcel| parcel.letter().ok()).collect::<Option<Vec<_>>>();
        if let Some(letters) = letters.filter(|letters| letters.len() > 1)
            && self.send_batch("delivering secrets", &letters).await.is_some()
        {
            return parcels.iter().map(|_| Ok(())).collect();
        }
        side_by_side(parcels.iter().map(|parcel| self.deliver(parcel)).collect()).await
    }

    /// Puts one sealed secret where its owner finds it.
    ///
    /// # Errors
    /// When it is not certain that it was stored.
    pub async fn deliver(&self, parcel: &Parcel) -> Result<(), BusError> {
        let Letter { subject, headers, payload, expects: _ } = parcel.letter()?;
        let message = PublishMessage::build().headers(headers).payload(payload);
        let sent = self.context().send_publish(subject, message).await;
        sent.trying("delivering a secret")?.await.trying("delivering a secret")?;
        Ok(())
    }

    /// The delivery of a version, while it is kept.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn delivery(&self, keyring: &KeyringId, version: Version) -> Result<Option<Sealed>, BusError> {
        let stream = self.stream(subject::DELIVERY).await?;
        match stream.direct_get_last_for_subject(subject::delivery(keyring, version)).await {
            Ok(message) => Ok(Some(delivery::read(&message.payload)?)),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).trying("reading a delivery"),
        }
    }
}
