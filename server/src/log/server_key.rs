//! The server's own device key: it signs verdicts, what people do over HTTP, receipts and anchors.

use std::path::Path;

use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentId, Refusal,
    sealing::{self, OpeningKey},
    signing::{SigningKey, SoftwareKey},
    time::{Anchor, Receipt, session_code::CodeKey},
};
use zeroize::Zeroizing;

use crate::app::App;
use crate::clock::Entropy;
use crate::error::{AppError, AppResult};
use crate::keys::{self, KeyFile};

/// The key pair and the server's own code key, from which the codes of sessions planned over HTTP derive.
pub struct ServerKey {
    key: SoftwareKey,
    opening: OpeningKey,
    public: DeviceKey,
    code_key: CodeKey,
}

impl ServerKey {
    /// Reads the keys from a folder, or makes them.
    ///
    /// # Errors
    /// When a file cannot be read, is torn, or cannot be stored.
    pub fn load_or_create(dir: &Path, entropy: &dyn Entropy) -> std::io::Result<Self> {
        let seed = keys::load_or_create(dir, KeyFile::Server, entropy)?;
        let code = keys::load_or_create(dir, KeyFile::SessionCode, entropy)?;
        Self::from_bytes(&seed, &code)
    }

    /// Reads the keys from a folder, and makes none.
    ///
    /// # Errors
    /// When a file is not there, cannot be read, or is torn.
    pub fn load(dir: &Path) -> std::io::Result<Self> {
        if !dir.join(KeyFile::Server.file_name()).exists() {
            let text = "there is none; the first start of the server makes it, and DATA_DIR says where";
            return Err(std::io::Error::new(std::io::ErrorKind::NotFound, text));
        }
        Self::from_bytes(&keys::load(dir, KeyFile::Server)?, &keys::load(dir, KeyFile::SessionCode)?)
    }

    fn from_bytes(seed: &[u8], code: &[u8]) -> std::io::Result<Self> {
        let whole = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map_err(std::io::Error::other);
        let key = SoftwareKey::from_seed(&Zeroizing::new(whole(seed)?));
        let public = key.public_key();
        Ok(Self { opening: OpeningKey::of_signer(&key), key, public, code_key: CodeKey(whole(code)?) })
    }

    /// The key of a running server.
    ///
    /// # Errors
    /// 500 when the server was built without one.
    pub fn of(app: &App) -> AppResult<&Self> {
        app.slice::<Self>().ok_or_else(|| AppError::internal("the server has no key"))
    }

    /// The public half, which phones pin.
    pub fn public(&self) -> DeviceKey {
        self.public
    }

    /// To sign changes with.
    pub fn signer(&self) -> &dyn SigningKey {
        &self.key
    }

    /// The key of session codes that the server shows for lecturers without a phone.
    pub fn code_key(&self) -> &CodeKey {
        &self.code_key
    }

    /// The receipt of a change in the log; the same facts always give the same bytes.
    pub fn receipt(&self, document: DocumentId, hash: ChangeHash, log_index: i64, received_at_ms: i64) -> Receipt {
        Receipt::sign(&self.key, document, hash, log_index.unsigned_abs(), received_at_ms)
            .expect("a key in memory always signs")
    }

    /// A manifest that was sealed to this server for a submission, and came through somebody else's phone.
    ///
    /// # Errors
    /// [`Refusal::ManifestSealed`] if it was sealed to another key or for another submission, or was changed.
    pub fn open_manifest(
        &self,
        document: DocumentId,
        commitment: &[u8; 32],
        sealed: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        sealing::open_manifest(&self.opening, document, commitment, sealed)
    }

    /// An anchor for a device's nonce.
    pub fn anchor(&self, time_ms: i64, device: DeviceKey, nonce: [u8; 16]) -> Anchor {
        Anchor::sign(&self.key, time_ms, device, nonce).expect("a key in memory always signs")
    }
}
