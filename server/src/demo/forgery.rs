//! What the real client never sends: changes made by hand, as a cheat with a laptop would make them.

use muster_sync_core::change::{Author, SignedChange};
use muster_sync_core::document::{Code, Entry, Outcome, Verdict};
use muster_sync_core::evidence::Checks;
use muster_sync_core::signing::{SignError, SigningKey, SoftwareKey};
use muster_sync_core::sync::client::Answer;
use muster_sync_core::sync::message::{Fate, FateKind, PROTOCOL_VERSION, Push, Request, Response, WireName};
use muster_sync_core::{ChangeHash, DeviceKey, DocumentName, Locator};

use super::DemoError;
use super::network::Network;
use super::phones::Phone;

/// Claims to be another key, and signs with its own.
struct Impostor<'a> {
    claims: DeviceKey,
    has: &'a SoftwareKey,
}

impl SigningKey for Impostor<'_> {
    fn public_key(&self) -> DeviceKey {
        self.claims
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.has.sign(message)
    }
}

/// A verdict that says that everything was fine.
fn verdict() -> Result<Entry, DemoError> {
    let policy = Code::new("v1").ok_or_else(|| DemoError::Story("the policy is no code".to_owned()))?;
    let of = ChangeHash([7; 32]);
    let checks = Checks::default().to_bytes();
    Ok(Verdict { of, outcome: Outcome::Accepted, risk: 0, checks, policy, model: None }.into())
}

/// Writes into the record of `victim` under the victim's key, of which the phone has only the public half.
pub(super) async fn forge(
    phone: &Phone,
    network: &Network,
    victim: &Phone,
    locator: Locator,
) -> Result<Vec<String>, DemoError> {
    let name = DocumentName::Attendance { locator, student: victim.user.id.clone() };
    let claims = SigningKey::public_key(&victim.key);
    push(phone, network, &name, &verdict()?, &Impostor { claims, has: &phone.key }).await
}

/// Writes a verdict into the phone's own record, rightly signed: only the server may write there.
pub(super) async fn overreach(phone: &Phone, network: &Network, locator: Locator) -> Result<Vec<String>, DemoError> {
    let name = DocumentName::Attendance { locator, student: phone.user.id.clone() };
    push(phone, network, &name, &verdict()?, &phone.key).await
}

async fn push(
    phone: &Phone,
    network: &Network,
    name: &DocumentName,
    entry: &Entry,
    key: &dyn SigningKey,
) -> Result<Vec<String>, DemoError> {
    let tenant = phone.store.account()?.tenant;
    let author = Author { key, tenant: &tenant, name, tip: None, time_s: phone.clocks().wall_ms / 1000 };
    let (signed, _) = author.append(entry).map_err(|error| DemoError::Story(error.to_string()))?;
    let body = body(name, &signed)?;
    let token = phone.token.clone().unwrap_or_default();
    let answer = network.exchange(&phone.dice, &token, body).await;
    let answer = answer.ok_or_else(|| DemoError::Story("the server did not answer a cheat".to_owned()))?;
    Ok(fates(&answer)?.iter().map(in_words).collect())
}

fn body(name: &DocumentName, signed: &SignedChange) -> Result<Vec<u8>, DemoError> {
    let push = Push {
        name: WireName::new(name),
        change: &signed.bytes,
        signature: signed.signature,
        manifest: None,
        code_key: None,
        sealed_manifest: None,
        receipt: None,
    };
    let request = Request {
        version: PROTOCOL_VERSION,
        device: None,
        nonce: None,
        cursors: Vec::new(),
        pushes: vec![push],
        pull: false,
        log: None,
    };
    minicbor::to_vec(&request).map_err(|error| DemoError::Story(error.to_string()))
}

/// The fates in an answer of the sync endpoint.
pub(super) fn fates(answer: &Answer) -> Result<Vec<Fate>, DemoError> {
    if answer.status != 200 {
        return Err(DemoError::Story(format!("the server answered a push with status {}", answer.status)));
    }
    Ok(Response::decode(&answer.body).map_err(|error| DemoError::Story(error.to_string()))?.fates)
}

/// A fate as the table shows it.
fn in_words(fate: &Fate) -> String {
    match (&fate.reason, fate.kind) {
        (Some(reason), kind) if kind != FateKind::Accepted => format!("{} {reason}", kind.as_str()),
        (_, kind) => kind.as_str().to_owned(),
    }
}
