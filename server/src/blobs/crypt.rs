//! Sealing: what is kept about a person is encrypted under that person's key, and bound to what it is and whose it is.
//! Where the master key comes from is in `master_key.rs`.
//!
//! A sealed value is `version (1 byte) ‖ nonce (24) ‖ ciphertext ‖ tag (16)`, XChaCha20-Poly1305. The version, purpose,
//! tenant, subject and name are authenticated with it, so a sealed value moved anywhere else does not open.
//! A subject's key is itself kept sealed under the [`MasterKey`]: deleting that one row makes everything sealed under
//! it unreadable, in every backup too.

use std::fmt;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Length of every key here, in bytes.
pub const KEY_BYTES: usize = 32;
/// How many bytes longer a sealed value is than its plain one: version, nonce and tag.
pub const SEALED_EXTRA_BYTES: usize = 1 + NONCE_BYTES + TAG_BYTES;
/// Length of a wrapped [`SubjectKey`], in bytes.
pub const WRAPPED_KEY_BYTES: usize = KEY_BYTES + SEALED_EXTRA_BYTES;

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const VERSION: u8 = 1;
const AAD_CONTEXT: &[u8] = b"muster/sealed";
const KEY_ID_CONTEXT: &[u8] = b"muster/master-key-id/v1";

/// A source of random bytes that fills the whole slice. Pass the operating system's.
pub type Fill<'a> = &'a dyn Fn(&mut [u8]);

/// What a sealed value is for. A value sealed for one purpose does not open for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A picture or another file in a blob store.
    Blob,
    /// The evidence manifest beside a submission.
    Manifest,
    /// A face template.
    FaceTemplate,
    /// Free text that a person wrote.
    Note,
    /// What a message in the outbox says.
    Mail,
    /// The key from which the codes of a lecturer's class sessions derive.
    CodeKey,
    /// The secret of an authenticator app.
    MfaSecret,
    /// A subject's key under the master key.
    SubjectKey,
    /// A copy of the server's keys under a passphrase.
    KeyBundle,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Manifest => "manifest",
            Self::FaceTemplate => "face-template",
            Self::Note => "note",
            Self::Mail => "mail",
            Self::CodeKey => "code-key",
            Self::MfaSecret => "mfa-secret",
            Self::SubjectKey => "subject-key",
            Self::KeyBundle => "key-bundle",
        }
    }
}

/// Where a sealed value belongs; the same context opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context<'a> {
    /// What it is.
    pub purpose: Purpose,
    /// The tenant that it belongs to.
    pub tenant: &'a str,
    /// The person whom it is about.
    pub subject: &'a str,
    /// Which one of that person's values: a hash or a row id.
    pub name: &'a str,
}

impl Context<'_> {
    /// Every part with its length before it, so that no two contexts give the same bytes.
    fn aad(&self, version: u8) -> Vec<u8> {
        let mut aad = AAD_CONTEXT.to_vec();
        aad.push(version);
        for part in [self.purpose.label(), self.tenant, self.subject, self.name] {
            aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
            aad.extend_from_slice(part.as_bytes());
        }
        aad
    }
}

/// Why sealed bytes do not open. It does not say which part was wrong: the cipher cannot know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short to be a sealed value.
    #[error("sealed value of {0} bytes is too short")]
    TooShort(usize),
    /// Written by a version that this code does not know.
    #[error("sealed value has unknown version {0}")]
    UnknownVersion(u8),
    /// Another key, another context, or other bytes than were sealed.
    #[error("sealed value does not open under this key and context")]
    NotAuthentic,
}

/// The key of one person's evidence, random. Cleared from memory when dropped.
#[derive(Clone)]
pub struct SubjectKey(Zeroizing<[u8; KEY_BYTES]>);

/// The key that wraps every [`SubjectKey`]. Cleared from memory when dropped.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; KEY_BYTES]>);

impl SubjectKey {
    /// Takes the key from its bytes, where somebody else keeps them.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Makes a new key.
    pub fn generate(fill: Fill<'_>) -> Self {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        fill(key.as_mut_slice());
        Self(key)
    }

    /// Encrypts `plain` so that only this key and this context open it.
    pub fn seal(&self, context: &Context<'_>, plain: &[u8], fill: Fill<'_>) -> Vec<u8> {
        seal(&self.0, context, plain, fill)
    }

    /// Decrypts what [`SubjectKey::seal`] made in the same context.
    ///
    /// # Errors
    /// If anything at all differs.
    pub fn open(&self, context: &Context<'_>, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        open(&self.0, context, sealed)
    }
}

impl MasterKey {
    /// Takes the key from its bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Encrypts a subject's key, for the table of subject keys.
    pub fn wrap(&self, tenant: &str, subject: &str, key: &SubjectKey, fill: Fill<'_>) -> Vec<u8> {
        seal(&self.0, &wrapping(tenant, subject), key.0.as_slice(), fill)
    }

    /// Decrypts the key of this subject.
    ///
    /// # Errors
    /// If it was wrapped by another master key or for another subject, or was changed.
    pub fn unwrap_key(&self, tenant: &str, subject: &str, wrapped: &[u8]) -> Result<SubjectKey, OpenError> {
        let plain = Zeroizing::new(open(&self.0, &wrapping(tenant, subject), wrapped)?);
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        if plain.len() != KEY_BYTES {
            return Err(OpenError::NotAuthentic);
        }
        key.copy_from_slice(&plain);
        Ok(SubjectKey(key))
    }

    /// Encrypts a value that belongs to no subject's key, so that only this key and this context open it.
    pub fn seal(&self, context: &Context<'_>, plain: &[u8], fill: Fill<'_>) -> Vec<u8> {
        seal(&self.0, context, plain, fill)
    }

    /// Decrypts what [`MasterKey::seal`] made in the same context.
    ///
    /// # Errors
    /// If anything at all differs.
    pub fn open(&self, context: &Context<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        open(&self.0, context, sealed).map(Zeroizing::new)
    }

    /// A key for another use; neither tells anything about the other one.
    pub fn derive(&self, usage: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
        let mut derived = Zeroizing::new([0; KEY_BYTES]);
        let expanded = Hkdf::<Sha256>::new(None, self.0.as_slice()).expand(usage, derived.as_mut_slice());
        expanded.expect("32 bytes are below the limit of HKDF");
        derived
    }

    /// Tells master keys apart without revealing them: kept in the database, it notices a server that was started with
    /// another key before anything is wrapped under the wrong one.
    pub fn id(&self) -> [u8; 8] {
        let digest = Sha256::new().chain_update(KEY_ID_CONTEXT).chain_update(self.0.as_slice()).finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        id
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(..)")
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

fn wrapping<'a>(tenant: &'a str, subject: &'a str) -> Context<'a> {
    Context { purpose: Purpose::SubjectKey, tenant, subject, name: "" }
}

fn seal(key: &[u8; KEY_BYTES], context: &Context<'_>, plain: &[u8], fill: Fill<'_>) -> Vec<u8> {
    let mut nonce = [0; NONCE_BYTES];
    fill(&mut nonce);
    let payload = Payload { msg: plain, aad: &context.aad(VERSION) };
    let ciphertext = XChaCha20Poly1305::new(key.into())
        .encrypt(&XNonce::from(nonce), payload)
        .expect("a slice in memory is below the cipher's limit of 256 GiB");
    let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + ciphertext.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&ciphertext);
    sealed
}

fn open(key: &[u8; KEY_BYTES], context: &Context<'_>, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let (version, rest) = sealed.split_first().ok_or(OpenError::TooShort(0))?;
    if *version != VERSION {
        return Err(OpenError::UnknownVersion(*version));
    }
    if sealed.len() < SEALED_EXTRA_BYTES {
        return Err(OpenError::TooShort(sealed.len()));
    }
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError::TooShort(sealed.len()))?;
    XChaCha20Poly1305::new(key.into())
        .decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad: &context.aad(VERSION) })
        .map_err(|_| OpenError::NotAuthentic)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const CONTEXT: Context<'static> =
        Context { purpose: Purpose::Blob, tenant: "uni-a", subject: "student-1", name: "selfie" };

    /// Bytes that differ on every call, and are the same in every run.
    fn counting() -> impl Fn(&mut [u8]) {
        let next = Cell::new(1_u64);
        move |bytes| {
            for chunk in bytes.chunks_mut(8) {
                let value = next.replace(next.get() + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
                chunk.copy_from_slice(&value[..chunk.len()]);
            }
        }
    }

    #[test]
    fn what_was_sealed_opens_in_the_same_context() {
        let fill = counting();
        let key = SubjectKey::generate(&fill);
        for plain in [&b""[..], b"x", &[0xAB; 100_000]] {
            let sealed = key.seal(&CONTEXT, plain, &fill);
            assert_eq!(sealed.len(), plain.len() + SEALED_EXTRA_BYTES);
            assert_eq!(key.open(&CONTEXT, &sealed).unwrap(), plain);
        }
    }

    #[test]
    fn another_subject_tenant_purpose_or_name_does_not_open_it() {
        let fill = counting();
        let key = SubjectKey::generate(&fill);
        let sealed = key.seal(&CONTEXT, b"evidence", &fill);
        let others = [
            Context { subject: "student-2", ..CONTEXT },
            Context { tenant: "uni-b", ..CONTEXT },
            Context { purpose: Purpose::Manifest, ..CONTEXT },
            Context { name: "selfi", ..CONTEXT },
            // The same letters, cut elsewhere.
            Context { tenant: "uni-", subject: "astudent-1", ..CONTEXT },
            Context { subject: "student-1s", name: "elfie", ..CONTEXT },
        ];
        for other in others {
            assert_eq!(key.open(&other, &sealed), Err(OpenError::NotAuthentic), "{other:?}");
        }
        assert_eq!(SubjectKey::generate(&fill).open(&CONTEXT, &sealed), Err(OpenError::NotAuthentic));
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        let fill = counting();
        let key = SubjectKey::generate(&fill);
        let sealed = key.seal(&CONTEXT, b"evidence", &fill);
        for index in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[index / 8] ^= 1 << (index % 8);
            assert!(key.open(&CONTEXT, &changed).is_err(), "bit {index}");
        }
    }

    #[test]
    fn any_other_length_is_refused() {
        let fill = counting();
        let key = SubjectKey::generate(&fill);
        let mut sealed = key.seal(&CONTEXT, b"", &fill);
        for length in 0..sealed.len() {
            assert!(key.open(&CONTEXT, &sealed[..length]).is_err(), "{length} bytes");
        }
        sealed.push(0);
        assert_eq!(key.open(&CONTEXT, &sealed), Err(OpenError::NotAuthentic));
        assert_eq!(key.open(&CONTEXT, &[]), Err(OpenError::TooShort(0)));
        assert_eq!(key.open(&CONTEXT, &[2; 80]), Err(OpenError::UnknownVersion(2)));
    }

    #[test]
    fn sealing_twice_never_gives_the_same_bytes() {
        let fill = counting();
        let key = SubjectKey::generate(&fill);
        assert_ne!(key.seal(&CONTEXT, b"same", &fill), key.seal(&CONTEXT, b"same", &fill));
    }

    #[test]
    fn a_wrapped_key_opens_only_for_its_subject_under_its_master_key() {
        let fill = counting();
        let master = MasterKey::new([7; KEY_BYTES]);
        let key = SubjectKey::generate(&fill);
        let wrapped = master.wrap("uni-a", "student-1", &key, &fill);
        assert_eq!(wrapped.len(), WRAPPED_KEY_BYTES);

        let sealed = key.seal(&CONTEXT, b"evidence", &fill);
        let back = master.unwrap_key("uni-a", "student-1", &wrapped).unwrap();
        assert_eq!(back.open(&CONTEXT, &sealed).unwrap(), b"evidence");

        assert!(master.unwrap_key("uni-a", "student-2", &wrapped).is_err());
        assert!(master.unwrap_key("uni-b", "student-1", &wrapped).is_err());
        assert!(MasterKey::new([8; KEY_BYTES]).unwrap_key("uni-a", "student-1", &wrapped).is_err());
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        let shown = format!("{:?} {:?}", MasterKey::new([7; KEY_BYTES]), SubjectKey::generate(&|b| b.fill(9)));
        assert_eq!(shown, "MasterKey(..) SubjectKey(..)");
        assert_ne!(MasterKey::new([7; KEY_BYTES]).id(), MasterKey::new([8; KEY_BYTES]).id());
    }

    #[test]
    fn the_format_of_version_1_is_fixed() {
        let key = SubjectKey::generate(&|bytes| bytes.fill(0x42));
        let sealed = key.seal(&CONTEXT, b"golden", &|bytes| bytes.fill(0x24));
        // Computed outside this program, from the draft of XChaCha20-Poly1305 and the layout in the module's docs.
        let expected = format!("01{}{}", "24".repeat(24), "c231bb010b4a001aeb43f849b4830074a15cddbdbef1");
        assert_eq!(data_encoding::HEXLOWER.encode(&sealed), expected);
    }
}
