//! Refresh tokens: which session, how far along its chain, and a secret from which the next one follows.
//!
//! The next token is a keyed hash of the one before. So a client that lost an answer and asks again gets the same successor,
//! although no token is stored anywhere; and an older token proves that it is one by leading to the newest.

use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use crate::auth::pepper::{HashKey, Pepper};
use crate::clock::Entropy;
use crate::config::Secret;
use crate::ids::AuthSessionId;

/// Tells scanners for leaked secrets what this is.
const PREFIX: &str = "mrt_";
/// Session, generation and secret.
const TOKEN_BYTES: usize = 16 + 4 + 32;

/// The keys of refresh tokens.
#[derive(Clone)]
pub(in crate::auth) struct RefreshKeys {
    hash: HashKey,
    child: HashKey,
}

impl RefreshKeys {
    pub(in crate::auth) fn new(pepper: &Pepper) -> Self {
        Self { hash: pepper.key("refresh-token"), child: pepper.key("refresh-token/child") }
    }
}

/// One token.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RefreshToken(Zeroizing<[u8; TOKEN_BYTES]>);

impl RefreshToken {
    /// The first token of a session.
    pub(super) fn first(session: AuthSessionId, entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        bytes[..16].copy_from_slice(session.as_bytes());
        entropy.fill(&mut bytes[20..]);
        Self(bytes)
    }

    /// Reads what a client sent; `None` if nobody ever made such a token.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let encoded = text.strip_prefix(PREFIX)?.as_bytes();
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        if BASE64URL_NOPAD.decode_len(encoded.len()) != Ok(TOKEN_BYTES) {
            return None;
        }
        BASE64URL_NOPAD.decode_mut(encoded, &mut *bytes).ok()?;
        Some(Self(bytes))
    }

    /// As clients see it.
    pub(super) fn to_text(&self) -> Secret {
        Secret::new(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&*self.0)))
    }

    /// The session that it claims to be of.
    pub(super) fn session(&self) -> AuthSessionId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.0[..16]);
        AuthSessionId::from_bytes(id)
    }

    /// How many tokens came before it, as it claims.
    pub(super) fn generation(&self) -> u32 {
        u32::from_be_bytes([self.0[16], self.0[17], self.0[18], self.0[19]])
    }

    /// What is stored of it.
    pub(super) fn hash(&self, keys: &RefreshKeys) -> [u8; 32] {
        keys.hash.hash(&*self.0)
    }

    /// Its successor.
    pub(super) fn child(&self, keys: &RefreshKeys) -> Self {
        let mut bytes = self.0.clone();
        bytes[16..20].copy_from_slice(&self.generation().wrapping_add(1).to_be_bytes());
        bytes[20..].copy_from_slice(&keys.child.hash(&*self.0));
        Self(bytes)
    }

    /// Whether it leads to the newest token of its session, which has this hash and generation, within `steps_max`.
    pub(super) fn leads_to(&self, newest: &[u8; 32], generation: u32, steps_max: u32, keys: &RefreshKeys) -> bool {
        let Some(steps) = generation.checked_sub(self.generation()).filter(|steps| *steps <= steps_max) else {
            return false;
        };
        let reached = (0..steps).fold(self.clone(), |token, _| token.child(keys));
        reached.hash(keys) == *newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededEntropy;

    fn keys() -> RefreshKeys {
        RefreshKeys::new(&Pepper::new(b"0123456789abcdef0123456789abcdef"))
    }

    #[test]
    fn a_token_survives_its_text_form() {
        let token = RefreshToken::first(AuthSessionId::from_bytes([7; 16]), &SeededEntropy::new(1));
        let text = token.to_text();
        assert_eq!(text.reveal().len(), 74);
        let read = RefreshToken::parse(text.reveal()).unwrap();
        assert!(read == token);
        assert_eq!((read.session(), read.generation()), (AuthSessionId::from_bytes([7; 16]), 0));
        let twice = format!("{}A", text.reveal());
        for text in ["", "mrt_", &text.reveal()[4..], &text.reveal()[..73], &twice, "mrt_é"] {
            assert!(RefreshToken::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_successor_follows_from_its_token_and_the_keys_alone() {
        let (keys, session) = (keys(), AuthSessionId::from_bytes([7; 16]));
        let first = RefreshToken::first(session, &SeededEntropy::new(1));
        let child = first.child(&keys);
        assert!(child == first.child(&keys) && child != first);
        assert_eq!((child.session(), child.generation()), (session, 1));
        let others = RefreshKeys::new(&Pepper::new(b"another pepper of thirty-two byt"));
        assert!(child != first.child(&others));
    }

    #[test]
    fn an_older_token_leads_to_the_newest_and_a_forged_one_does_not() {
        let (keys, session) = (keys(), AuthSessionId::from_bytes([7; 16]));
        let first = RefreshToken::first(session, &SeededEntropy::new(1));
        let newest = (0..5).fold(first.clone(), |token, _| token.child(&keys));
        let hash = newest.hash(&keys);
        assert!(first.leads_to(&hash, 5, 100, &keys));
        assert!(newest.leads_to(&hash, 5, 100, &keys));
        assert!(!first.leads_to(&hash, 5, 4, &keys));
        assert!(!newest.child(&keys).leads_to(&hash, 5, 100, &keys));
        let forged = RefreshToken::first(session, &SeededEntropy::new(2));
        assert!(!forged.leads_to(&hash, 5, 100, &keys));
    }
}
