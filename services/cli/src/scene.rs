//! What the tests share: services with keys of their own, and the file that names them.

use keywheel_table::Message;
use keywheel_token::Credential;
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::{Installation, Signers};
use keywheel_wire::subject::Service;
use std::sync::{Arc, LazyLock};

static SIGNERS: LazyLock<Vec<(Service, Signer)>> = LazyLock::new(|| {
    let fresh = |service| (service, Signer::from_seed(Credential::fresh().seed().expose()).unwrap());
    Service::ALL.map(fresh).into()
});

pub(crate) fn signers() -> Arc<Signers> {
    let keys = SIGNERS.iter().map(|(service, signer)| (signer.public().to_owned(), *service));
    Arc::new(Signers::of(Installation(7), keys).unwrap())
}

/// A message of the log as a service wrote it.
pub(crate) fn signed(by: Service, seq: u64, subject: &str, payload: Vec<u8>) -> Message {
    let (_, signer) = SIGNERS.iter().find(|(service, _)| *service == by).unwrap();
    let signed = Some(signer.sign(subject, &payload).unwrap());
    Message { seq, subject: subject.to_owned(), payload, signed }
}
