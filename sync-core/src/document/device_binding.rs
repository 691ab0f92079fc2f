//! Entries of a `device-binding` document.

use super::field::{Code, Label, ensure, entry, text_enum};
use crate::{ChangeHash, DeviceKey, Refusal, signing};

text_enum! {
    /// What a device asks for.
    RequestPurpose {
        /// To be the user's first device.
        Bind = "bind",
        /// To replace the user's present device.
        Reset = "reset",
    }
}

text_enum! {
    /// Where the device keeps its key.
    KeyLevel {
        /// In the app's own storage.
        Software = "software",
        /// In the platform's keystore.
        Hardware = "hardware",
    }
}

text_enum! {
    /// What is done with a key.
    BindingAction {
        /// It belongs to the user from now on.
        Bind = "bind",
        /// It belongs to nobody from now on.
        Revoke = "revoke",
        /// The request was refused.
        Deny = "deny",
    }
}

text_enum! {
    /// The answer to a reset request.
    ResetAction {
        /// The new key replaces the old one.
        Approve = "approve",
        /// Nothing changes.
        Deny = "deny",
    }
}

entry! {
    /// A request to be bound, signed by the key that it names.
    Request {
        /// The key; it must be the writer.
        key: DeviceKey,
        /// What is asked.
        purpose: RequestPurpose,
        /// The platform, such as `android`.
        platform: Code,
        /// The phone's model.
        model: Option<Label>,
        /// Where the key is kept.
        level: KeyLevel,
        /// Salted SHA-256 of a legacy identifier such as an IMEI.
        legacy_id_hash: Option<[u8; 32]>,
        /// [`crate::time::session_code::CodeKey::commitment`] of the device's code key, which is shared with the server once, beside the request.
        code_key_hash: Option<[u8; 32]>,
    }
}

entry! {
    /// What became of a key.
    Binding {
        /// The key.
        key: DeviceKey,
        /// What is done.
        action: BindingAction,
        /// The request that it answers.
        of: Option<ChangeHash>,
        /// Why.
        reason: Option<Code>,
        /// The admin, never the user of the document.
        by: Label,
    }
}

entry! {
    /// The answer to a reset request.
    Reset {
        /// The request.
        of: ChangeHash,
        /// The answer.
        action: ResetAction,
        /// Why.
        reason: Option<Code>,
        /// The admin, never the user of the document.
        by: Label,
    }
}

impl Request {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        ensure(signing::is_strong(&self.key), "key", "is weak or not a key")
    }
}

impl Binding {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let harmless = self.action != BindingAction::Bind || signing::is_strong(&self.key);
        ensure(harmless, "key", "is weak or not a key")
    }
}

impl Reset {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        Ok(())
    }
}
