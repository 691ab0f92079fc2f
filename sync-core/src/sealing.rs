//! Sealing: bytes that only one key pair opens, by HPKE (RFC 9180) with X25519, HKDF-SHA-256 and ChaCha20-Poly1305.
//!
//! A manifest that travels through somebody else's phone is sealed to the server: its key pair is the one that phones
//! pin, mapped from Ed25519 to X25519. Two phones that meet seal to fresh keys, so that nobody beside them reads along.

use crate::{DeviceKey, DocumentId, Refusal, evidence, limits, signing::SoftwareKey};
use ed25519_dalek::VerifyingKey;
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, Serializable,
    aead::ChaCha20Poly1305,
    kdf::HkdfSha256,
    kem::X25519HkdfSha256,
    rand_core::{TryCryptoRng, TryRng},
    single_shot_open, single_shot_seal_with_rng,
};
use std::convert::Infallible;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// Bytes that sealing adds: the encapsulated key in front, the tag at the end.
pub const SEAL_OVERHEAD_BYTES: usize = 32 + 16;
/// What stands behind a manifest before the zeros that fill its last block.
const PADDING_START: u8 = 0x80;
/// What a sealed manifest is for; the same words never stand for anything else.
const MANIFEST_INFO: &[u8] = b"muster/manifest-seal/v1";

/// The private half of an X25519 key pair; wiped when it is dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct OpeningKey([u8; 32]);

impl std::fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpeningKey(..)")
    }
}

impl OpeningKey {
    /// A key pair of 32 fresh random bytes (`DeriveKeyPair` of RFC 9180).
    #[must_use]
    pub fn from_random(random: &[u8; 32]) -> Self {
        let (private, _) = X25519HkdfSha256::derive_keypair(random);
        Self(private.to_bytes().into())
    }

    /// The key pair of a signing key, mapped to X25519: what is sealed to [`SealingKey::of_signer`] opens with it.
    #[must_use]
    pub fn of_signer(key: &SoftwareKey) -> Self {
        Self(*key.agreement_secret())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> SealingKey {
        SealingKey(X25519HkdfSha256::sk_to_pk(&self.private()).to_bytes().into())
    }

    fn private(&self) -> PrivateKey {
        PrivateKey::from_bytes(&self.0).expect("32 bytes are an X25519 key")
    }
}

/// The public half of an X25519 key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealingKey(pub [u8; 32]);

impl SealingKey {
    /// The X25519 form of an Ed25519 key.
    ///
    /// # Errors
    /// [`Refusal::KeyWeak`].
    pub fn of_signer(key: &DeviceKey) -> Result<Self, Refusal> {
        let point = VerifyingKey::from_bytes(&key.0).map_err(|_| Refusal::KeyWeak)?;
        if point.is_weak() {
            return Err(Refusal::KeyWeak);
        }
        Ok(Self(point.to_montgomery().to_bytes()))
    }

    fn public(self) -> PublicKey {
        PublicKey::from_bytes(&self.0).expect("32 bytes are an X25519 key")
    }
}

/// The 32 random bytes of one sealing, as the generator that HPKE wants. It asks for exactly these.
struct Given(Zeroizing<[u8; 32]>);

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, filled: &mut [u8]) -> Result<(), Infallible> {
        use sha2::{Digest, Sha256};
        for block in filled.chunks_mut(32) {
            block.copy_from_slice(&self.0[..block.len()]);
            // Whatever a later version may ask for beyond the first 32 bytes is still fresh.
            *self.0 = Sha256::digest(*self.0).into();
        }
        Ok(())
    }
}

impl TryCryptoRng for Given {}

fn seal(
    mode: &OpModeS<'_, X25519HkdfSha256>,
    to: SealingKey,
    info: &[u8],
    aad: &[u8],
    plain: &[u8],
    random: &[u8; 32],
) -> Option<Vec<u8>> {
    let mut given = Given(Zeroizing::new(*random));
    let sealed = single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        mode,
        &to.public(),
        info,
        plain,
        aad,
        &mut given,
    );
    let (key, text) = sealed.ok()?;
    Some([key.to_bytes().as_slice(), &text].concat())
}

fn open(
    mode: &OpModeR<'_, X25519HkdfSha256>,
    key: &OpeningKey,
    info: &[u8],
    aad: &[u8],
    sealed: &[u8],
) -> Option<Vec<u8>> {
    let (encapped, text) = sealed.split_at_checked(32)?;
    let encapped = EncappedKey::from_bytes(encapped).ok()?;
    single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(mode, &key.private(), &encapped, info, text, aad)
        .ok()
}

/// Seals bytes from one phone to another one, each known to the other by a fresh key; `None` for a weak peer key.
pub(crate) fn seal_between(
    own: &OpeningKey,
    peer: SealingKey,
    info: &[u8],
    plain: &[u8],
    random: &[u8; 32],
) -> Option<Vec<u8>> {
    let mode = OpModeS::Auth((own.private(), own.public().public()));
    seal(&mode, peer, info, &[], plain, random)
}

/// Opens what [`seal_between`] made; `None` if it is not from that peer, not for this key, or was changed.
pub(crate) fn open_between(own: &OpeningKey, peer: SealingKey, info: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    open(&OpModeR::Auth(peer.public()), own, info, &[], sealed)
}

/// The place of a manifest: its document and its commitment. A sealed manifest opens nowhere else.
fn manifest_place(document: DocumentId, commitment: &[u8; 32]) -> [u8; 48] {
    let mut place = [0; 48];
    place[..16].copy_from_slice(&document.0);
    place[16..].copy_from_slice(commitment);
    place
}

/// Seals a manifest to the server whose key is pinned. Its length is hidden in blocks of
/// [`limits::SEALED_MANIFEST_BLOCK_BYTES`]: it would tell how many pictures there are and whether there is a position.
///
/// # Errors
/// [`Refusal::KeyWeak`] for a server key that nobody may pin, [`Refusal::Manifest`] for one over its limit.
pub fn seal_manifest(
    server: &DeviceKey,
    document: DocumentId,
    manifest: &[u8],
    random: &[u8; 32],
) -> Result<Vec<u8>, Refusal> {
    if manifest.len() > limits::MANIFEST_SIZE_BYTES_MAX {
        return Err(Refusal::Manifest { what: "larger than 4096 bytes" });
    }
    let place = manifest_place(document, &evidence::commitment(manifest));
    let blocks = (manifest.len() + 1).div_ceil(limits::SEALED_MANIFEST_BLOCK_BYTES);
    let mut plain = Zeroizing::new(Vec::with_capacity(blocks * limits::SEALED_MANIFEST_BLOCK_BYTES));
    plain.extend_from_slice(manifest);
    plain.push(PADDING_START);
    plain.resize(blocks * limits::SEALED_MANIFEST_BLOCK_BYTES, 0);
    let server = SealingKey::of_signer(server)?;
    seal(&OpModeS::Base, server, MANIFEST_INFO, &place, &plain, random).ok_or(Refusal::KeyWeak)
}

/// Opens a manifest that was sealed for the server with `key`, for this document and commitment.
///
/// # Errors
/// [`Refusal::ManifestSealed`].
pub fn open_manifest(
    key: &OpeningKey,
    document: DocumentId,
    commitment: &[u8; 32],
    sealed: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let refused = |what| Refusal::ManifestSealed { what };
    if !is_sealed_manifest_size(sealed.len()) {
        return Err(refused("not of the size that a sealed manifest has"));
    }
    let place = manifest_place(document, commitment);
    let mut plain = open(&OpModeR::Base, key, MANIFEST_INFO, &place, sealed)
        .ok_or(refused("does not open under the server's key for this submission"))?;
    let end = plain.iter().rposition(|byte| *byte != 0).filter(|end| plain[*end] == PADDING_START);
    plain.truncate(end.ok_or(refused("is not padded as it should be"))?);
    Ok(plain)
}

/// Whether a sealed manifest may have this size: whole blocks, and not too many.
#[must_use]
pub fn is_sealed_manifest_size(size_bytes: usize) -> bool {
    let padded = size_bytes.checked_sub(SEAL_OVERHEAD_BYTES).filter(|padded| *padded > 0);
    size_bytes <= limits::SEALED_MANIFEST_BYTES_MAX
        && padded.is_some_and(|padded| padded.is_multiple_of(limits::SEALED_MANIFEST_BLOCK_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::SigningKey;

    fn server(seed: u8) -> SoftwareKey {
        SoftwareKey::from_seed(&Zeroizing::new([seed; 32]))
    }

    const DOCUMENT: DocumentId = DocumentId([4; 16]);

    #[test]
    fn only_the_server_opens_a_manifest_and_only_in_its_place() {
        let manifest = vec![7; 300];
        let commitment = evidence::commitment(&manifest);
        let sealed = seal_manifest(&server(1).public_key(), DOCUMENT, &manifest, &[9; 32]).unwrap();
        let key = OpeningKey::of_signer(&server(1));
        assert_eq!(open_manifest(&key, DOCUMENT, &commitment, &sealed), Ok(manifest));
        let failed = Err(Refusal::ManifestSealed { what: "does not open under the server's key for this submission" });
        assert_eq!(open_manifest(&OpeningKey::of_signer(&server(2)), DOCUMENT, &commitment, &sealed), failed);
        assert_eq!(open_manifest(&key, DocumentId([5; 16]), &commitment, &sealed), failed);
        assert_eq!(open_manifest(&key, DOCUMENT, &[0; 32], &sealed), failed);
        for at in [0, 40, sealed.len() - 1] {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(open_manifest(&key, DOCUMENT, &commitment, &altered), failed, "byte {at}");
        }
    }

    #[test]
    fn the_length_says_nothing_within_a_block_and_every_length_comes_back() {
        let key = OpeningKey::of_signer(&server(1));
        let sizes = [0, 1, 255, 1022, 1023, 1024, 4095, limits::MANIFEST_SIZE_BYTES_MAX];
        let sealed = sizes.map(|size| {
            // Ends like its own padding, which must not confuse it.
            let mut manifest = vec![3; size];
            manifest.iter_mut().rev().take(3).for_each(|byte| *byte = 0x80);
            let sealed = seal_manifest(&server(1).public_key(), DOCUMENT, &manifest, &[size as u8; 32]).unwrap();
            assert!(is_sealed_manifest_size(sealed.len()));
            let commitment = evidence::commitment(&manifest);
            assert_eq!(open_manifest(&key, DOCUMENT, &commitment, &sealed), Ok(manifest));
            sealed.len()
        });
        assert_eq!(sealed[..5], [1072; 5]);
        assert_eq!(sealed[7], limits::SEALED_MANIFEST_BYTES_MAX);
        let large = vec![0; limits::MANIFEST_SIZE_BYTES_MAX + 1];
        assert!(seal_manifest(&server(1).public_key(), DOCUMENT, &large, &[1; 32]).is_err());
        for size in [0, SEAL_OVERHEAD_BYTES, 1071, 1073, limits::SEALED_MANIFEST_BYTES_MAX + 1024] {
            assert!(!is_sealed_manifest_size(size), "{size}");
        }
    }

    #[test]
    fn phones_that_meet_read_each_other_and_nobody_else() {
        let [giver, carrier, other] = [1, 2, 3].map(|seed| OpeningKey::from_random(&[seed; 32]));
        let sealed = seal_between(&giver, carrier.public(), b"page", b"plain", &[4; 32]).unwrap();
        assert_eq!(open_between(&carrier, giver.public(), b"page", &sealed).as_deref(), Some(&b"plain"[..]));
        assert_eq!(open_between(&carrier, giver.public(), b"state", &sealed), None);
        assert_eq!(open_between(&carrier, other.public(), b"page", &sealed), None);
        assert_eq!(open_between(&other, giver.public(), b"page", &sealed), None);
        assert_eq!(seal_between(&giver, SealingKey([0; 32]), b"page", b"plain", &[4; 32]), None);
        assert_eq!(open_between(&carrier, SealingKey([0; 32]), b"page", &sealed), None);
    }
}
