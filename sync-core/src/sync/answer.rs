//! Checks a whole answer before any of it is kept: an answer that is wrong in one place is not trusted in another.

use super::{
    client::Arrival,
    message::{Fate, FateKind, Pulled, RequestError, Response},
};
use crate::{
    DeviceKey, Refusal,
    change::validate,
    document::Entry,
    limits,
    store::{CarriedRow, PulledChange, PushRow, SettledExchange},
    time::AnchorReading,
};

/// What was wrong with an answer. It changed nothing on the phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There was nothing under way that it could answer.
    #[error("an answer to nothing that was asked")]
    NotAsked,
    /// Another status than success.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// The body is not a response.
    #[error("the answer is not a sync response: {0}")]
    Malformed(RequestError),
    /// Not one fate for each push.
    #[error("{got} fates for {asked} pushes")]
    FateCount {
        /// How many came.
        got: usize,
        /// How many were pushed.
        asked: usize,
    },
    /// A change is said to be accepted, without a receipt or with one that does not verify.
    #[error("an accepted change without a valid receipt")]
    ReceiptInvalid,
    /// A pulled change is forged, damaged or written by somebody who may not write it.
    #[error("a pulled change is not valid: {0}")]
    PulledInvalid(Refusal),
    /// The anchor is for another device or nonce, or does not verify.
    #[error("the anchor does not verify")]
    AnchorInvalid,
    /// A success that does not name the uploaded image: not the server's.
    #[error("the answer does not name the uploaded image")]
    UploadUnproven,
    /// The head of the log does not verify.
    #[error("the head of the log does not verify")]
    HeadInvalid,
}

/// What a right answer must fit.
pub(super) struct Expected<'a> {
    pub(super) tenant: String,
    pub(super) server_key: Option<DeviceKey>,
    pub(super) device: DeviceKey,
    pub(super) pushes: &'a [PushRow],
    pub(super) carried: &'a [CarriedRow],
    pub(super) nonce: [u8; 16],
}

/// The checked answer, and how many changes of a newer protocol were left out.
pub(super) fn check<'a>(
    body: &[u8],
    expected: &Expected<'a>,
    arrival: Arrival,
) -> Result<(SettledExchange<'a>, usize), Problem> {
    let response = Response::decode(body).map_err(Problem::Malformed)?;
    let server_key = expected.server_key.ok_or(Problem::AnchorInvalid)?;
    let (fates, carried) = check_fates(response.fates, expected, &server_key)?;
    let anchor = match response.anchor {
        Some(anchor) => {
            let own = anchor.device == expected.device && anchor.nonce == expected.nonce;
            if !own || anchor.verify(&server_key).is_err() {
                return Err(Problem::AnchorInvalid);
            }
            Some(AnchorReading { anchor, monotonic_ms: arrival.monotonic_ms, boot_id: arrival.boot_id })
        }
        None => None,
    };
    if response.log.as_ref().is_some_and(|head| head.verify(&server_key).is_err()) {
        return Err(Problem::HeadInvalid);
    }
    let n_changes = response.changes.len();
    let mut pulled = Vec::with_capacity(n_changes);
    for change in &response.changes {
        pulled.extend(check_pulled(change, &expected.tenant, &server_key)?);
    }
    let skipped = n_changes - pulled.len();
    let exchange = SettledExchange {
        fates,
        carried,
        pulled,
        cursors: response.cursors.iter().map(|cursor| (cursor.channel.to_owned(), cursor.number)).collect(),
        more: response.more,
        anchor,
        log: response.log,
        wanted: response.wanted.iter().take(limits::PUSHES_PER_REQUEST_MAX).map(|sha256| sha256.0).collect(),
        ask_again: response.ask_again.unwrap_or_default(),
    };
    Ok((exchange, skipped))
}

type Fates<'a> = (Vec<(&'a PushRow, Fate)>, Vec<(&'a CarriedRow, Fate)>);

/// The fates of own changes, and after them those of what was carried for others.
fn check_fates<'a>(mut fates: Vec<Fate>, expected: &Expected<'a>, server: &DeviceKey) -> Result<Fates<'a>, Problem> {
    let (pushes, carried) = (expected.pushes, expected.carried);
    if fates.len() != pushes.len() + carried.len() {
        return Err(Problem::FateCount { got: fates.len(), asked: pushes.len() + carried.len() });
    }
    let own = pushes.iter().map(|push| (push.document, push.hash));
    let pushed = own.chain(carried.iter().map(|row| (row.document, row.hash)));
    for ((document, hash), fate) in pushed.zip(&fates) {
        let proven = |receipt: &crate::time::Receipt| receipt.verify(server, document, hash).is_ok();
        if fate.kind == FateKind::Accepted && !fate.receipt.as_ref().is_some_and(proven) {
            return Err(Problem::ReceiptInvalid);
        }
    }
    let of_carried = fates.split_off(pushes.len());
    Ok((pushes.iter().zip(fates).collect(), carried.iter().zip(of_carried).collect()))
}

/// A valid change, `None` for one of a newer protocol, and an error for one that no honest server passes on.
fn check_pulled(pulled: &Pulled<'_>, tenant: &str, server_key: &DeviceKey) -> Result<Option<PulledChange>, Problem> {
    // A kind of document that this version does not know.
    let Ok(name) = pulled.name.parse() else { return Ok(None) };
    let valid = match validate(tenant, &name, pulled.change, &pulled.signature) {
        Ok(valid) => valid,
        // The signature is checked before the schema: these are entries of a newer schema.
        Err(Refusal::Scope { what: "the document has no such container" } | Refusal::Field { .. }) => return Ok(None),
        Err(refusal) => return Err(Problem::PulledInvalid(refusal)),
    };
    // Verdicts are the server's own. Who else may write what, the server has judged before it took the change.
    if matches!(valid.entry, Entry::Verdicts(_)) && valid.writer != *server_key {
        return Err(Problem::PulledInvalid(Refusal::WriterNotAllowed { container: "verdicts" }));
    }
    Ok(Some(PulledChange {
        name,
        valid,
        bytes: pulled.change.to_vec(),
        signature: pulled.signature,
        log_index: pulled.log_index,
        received_at_ms: pulled.received_at_ms,
    }))
}
