//! What is checked before the transaction, in parallel with it: everything that needs no state.

use muster_sync_core::{
    DocumentName, Refusal,
    change::{self, SignedChange, Valid},
    document::{ChainTip, Entry, genesis},
    evidence::{Manifest, commitment},
    time::{Receipt, session_code::CodeKey},
};

use super::ingest::Sender;
use crate::accounts;
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::devices;
use crate::error::{AppError, AppResult};
use crate::evidence::{self, SealedManifest};
use crate::log::ServerKey;

/// Changes between two chances for other requests to run.
const CHANGES_PER_TURN: usize = 8;

/// A change as it was pushed.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The document, if its name could be read.
    pub name: Result<DocumentName, Refusal>,
    /// The change and its signature.
    pub signed: SignedChange,
    /// The manifest that a submission commits to.
    pub manifest: Option<Vec<u8>>,
    /// The same manifest, sealed to the server, when a relay brings it.
    pub sealed_manifest: Option<Vec<u8>>,
    /// The code key that a binding request commits to.
    pub code_key: Option<[u8; 32]>,
    /// A receipt of this server, from a log that lost the change.
    pub receipt: Option<Receipt>,
}

/// A change that passed every check without state.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) name: DocumentName,
    pub(super) valid: Valid,
    pub(super) genesis: Option<ChainTip>,
    pub(super) evidence: Option<SealedManifest>,
    /// The code key of a binding request, sealed for its user.
    pub(super) code_key: Option<Vec<u8>>,
    /// When the server had it first, by its own receipt; the log lost it since.
    pub(super) first_received_ms: Option<i64>,
}

/// A pushed change, checked or refused.
#[derive(Debug)]
pub struct Prepared {
    pub(super) signed: SignedChange,
    pub(super) checked: Result<Checked, (&'static str, String)>,
}

/// Checks and seals, change by change; one bad change never spoils another.
///
/// # Errors
/// When the vault or the database fails.
pub async fn prepare(app: &App, sender: &Sender, incoming: Vec<Incoming>) -> AppResult<Vec<Prepared>> {
    let mut prepared = Vec::with_capacity(incoming.len());
    for (index, change) in incoming.into_iter().enumerate() {
        if index % CHANGES_PER_TURN == CHANGES_PER_TURN - 1 {
            tokio::task::yield_now().await;
        }
        let checked = check(app, sender, &change).await?;
        prepared.push(Prepared { signed: change.signed, checked });
    }
    Ok(prepared)
}

type Verdict<T> = Result<T, (&'static str, String)>;

async fn check(app: &App, sender: &Sender, incoming: &Incoming) -> AppResult<Verdict<Checked>> {
    let in_words = |refusal: Refusal| (refusal.code(), refusal.to_string());
    let name = match &incoming.name {
        Ok(name) => name.clone(),
        Err(refusal) => return Ok(Err(in_words(*refusal))),
    };
    let tenant = sender.tenant.as_str();
    let valid = match change::validate(tenant, &name, &incoming.signed.bytes, &incoming.signed.signature) {
        Ok(valid) => valid,
        Err(refusal) => return Ok(Err(in_words(refusal))),
    };
    let evidence = match seal_evidence(app, sender, &name, &valid, incoming).await? {
        Ok(evidence) => evidence,
        Err(refused) => return Ok(Err(refused)),
    };
    let code_key = seal_code_key(app, sender, &name, &valid, incoming.code_key).await?;
    let genesis = (valid.seq == 1).then(|| genesis::tip(valid.document, name.kind()));
    let server = ServerKey::of(app)?.public();
    let proven = |receipt: &&Receipt| receipt.verify(&server, valid.document, valid.hash).is_ok();
    let first_received_ms = incoming.receipt.as_ref().filter(proven).map(|receipt| receipt.received_at_ms);
    Ok(Ok(Checked { name, valid, genesis, evidence, code_key, first_received_ms }))
}

/// Reads the manifest of a submission, compares it with the commitment, and seals it for the student: whoever brought
/// it, and also if it came sealed through somebody else's phone.
async fn seal_evidence(
    app: &App,
    sender: &Sender,
    name: &DocumentName,
    valid: &Valid,
    incoming: &Incoming,
) -> AppResult<Verdict<Option<SealedManifest>>> {
    let (Entry::Submissions(submission), DocumentName::Attendance { student, .. }) = (&valid.entry, name) else {
        return Ok(Ok(None));
    };
    let opened = match (&incoming.manifest, &incoming.sealed_manifest) {
        (Some(bytes), _) => Ok(bytes.clone()),
        (None, Some(sealed)) => ServerKey::of(app)?.open_manifest(valid.document, &submission.commitment, sealed),
        (None, None) => return Ok(Ok(None)),
    };
    let (bytes, manifest) = match opened.and_then(|bytes| Ok((Manifest::from_bytes(&bytes)?, bytes))) {
        Ok((manifest, bytes)) => (bytes, manifest),
        Err(refusal) => return Ok(Err((refusal.code(), refusal.to_string()))),
    };
    if commitment(&bytes) != submission.commitment {
        let sentence = "the manifest is not the one that the submission commits to";
        return Ok(Err(("manifest_mismatch", sentence.to_owned())));
    }
    if !is_known(app, sender, student).await? {
        return Ok(Err(("student_unknown", "nobody here has this student id".to_owned())));
    }
    let sealed = evidence::seal_manifest(app, &sender.tenant, student, &bytes, manifest.images).await?;
    Ok(Ok(Some(sealed)))
}

/// Keys are made for people who exist only, so that nobody can make the server collect keys for invented ones.
async fn is_known(app: &App, sender: &Sender, student: &str) -> AppResult<bool> {
    let Ok(student) = student.parse() else { return Ok(false) };
    if student == sender.user {
        return Ok(true);
    }
    let tenant = sender.tenant.clone();
    let found = app.db.read(move |tx: &Tx<'_>| accounts::find(tx, &tenant, student)).await;
    Ok(found.map_err(|error: DbError| AppError::from(error))?.is_some())
}

/// Seals the code key beside the sender's own request.
async fn seal_code_key(
    app: &App,
    sender: &Sender,
    name: &DocumentName,
    valid: &Valid,
    code_key: Option<[u8; 32]>,
) -> AppResult<Option<Vec<u8>>> {
    let is_own = matches!(name, DocumentName::DeviceBinding { user } if *user == sender.user.to_string());
    match code_key.filter(|_| is_own) {
        Some(key) => devices::seal_code_key(app, &sender.tenant, name, valid, &CodeKey(key)).await,
        None => Ok(None),
    }
}
