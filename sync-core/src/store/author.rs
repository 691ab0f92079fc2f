//! Writes an own change: signed, chained, kept and queued, inside the caller's transaction.

use super::{DeviceStore, StoreError, account, changes, outbox, set_code_key};
use crate::{
    ChangeHash, DocumentName,
    change::{self, Author},
    document::{Code, Entry, KeyLevel, Label, Request, RequestPurpose},
    limits,
    signing::SigningKey,
    time::session_code::CodeKey,
};
use rusqlite::Transaction;

/// What an own change says, and what travels beside it.
pub(super) struct Draft<'a> {
    pub(super) name: &'a DocumentName,
    pub(super) entry: Entry,
    pub(super) wall_ms: i64,
    pub(super) manifest: Option<&'a [u8]>,
    pub(super) code_key: Option<&'a CodeKey>,
}

/// Facts about a device that asks to be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingFacts {
    /// The platform, such as `android`.
    pub platform: Code,
    /// The phone's model.
    pub model: Option<Label>,
    /// Where the key is kept.
    pub level: KeyLevel,
    /// Salted SHA-256 of a legacy identifier.
    pub legacy_id_hash: Option<[u8; 32]>,
}

impl DeviceStore {
    /// Asks for the signer's key to be bound to the account's user; sent with the next exchange.
    ///
    /// A lecturer's device gives its code key: it is kept here, and shared with the server once, beside the request.
    ///
    /// # Errors
    /// [`StoreError::NoAccount`], a signer that does not sign, or a full or damaged store.
    pub fn bind_request(
        &mut self,
        signer: &dyn SigningKey,
        facts: &BindingFacts,
        purpose: RequestPurpose,
        code_key: Option<&CodeKey>,
        wall_ms: i64,
    ) -> Result<ChangeHash, StoreError> {
        self.write(|tx| {
            let name = DocumentName::DeviceBinding { user: account(tx)?.user };
            let entry = Request {
                key: signer.public_key(),
                purpose,
                platform: facts.platform.clone(),
                model: facts.model.clone(),
                level: facts.level,
                legacy_id_hash: facts.legacy_id_hash,
                code_key_hash: code_key.map(CodeKey::commitment),
            };
            if let Some(key) = code_key {
                set_code_key(tx, &signer.public_key(), key)?;
            }
            let draft = Draft { name: &name, entry: entry.into(), wall_ms, manifest: None, code_key };
            Ok(append(tx, signer, &draft)?.1)
        })
    }
}

/// Appends to the signer's chain and queues the change: outbox row and hash.
pub(super) fn append(
    tx: &Transaction<'_>,
    signer: &dyn SigningKey,
    draft: &Draft<'_>,
) -> Result<(i64, ChangeHash), StoreError> {
    let tenant = account(tx)?.tenant;
    let document = draft.name.id(&tenant);
    let writer = signer.public_key();
    let time_s = sane_ms(draft.wall_ms) / 1000;
    let tip = changes::tip(tx, document, &writer)?;
    let author = Author { key: signer, tenant: &tenant, name: draft.name, tip, time_s };
    let (signed, tip) = author.append(&draft.entry)?;
    // A keystore that signs with another key than it names would make a chain that nobody can verify.
    let valid = change::validate(&tenant, draft.name, &signed.bytes, &signed.signature)?;
    changes::insert(tx, draft.name, &valid, &signed.bytes, &signed.signature, None)?;
    changes::set_tip(tx, document, draft.name, &writer, Some(tip))?;
    let id = outbox::insert(tx, &valid, draft.manifest, draft.code_key)?;
    Ok((id, tip.hash))
}

/// A wrong clock never stops a capture: what no document can hold is cut to what it can.
pub(super) fn sane_ms(wall_ms: i64) -> i64 {
    wall_ms.clamp(0, limits::CHANGE_TIME_S_MAX * 1000)
}
