//! Access tokens: short, signed, and refused unless every claim is there and of its type.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::limits;
use super::role::Role;
use crate::error::{AppError, AppResult};
use crate::ids::{AuthSessionId, TenantId, UserId};

/// Who makes the tokens, and for whom.
const ISSUER: &str = "muster";
const AUDIENCE: &str = "muster";
/// Bytes of a secret's digest that name it.
const KID_BYTES: usize = 6;
/// Bytes of a `jti`: the session, and what tells its tokens apart.
const JTI_BYTES: usize = 16 + 4;

/// The secret that signs, and those that signed before it and still verify.
pub(super) struct TokenKey {
    encoding: EncodingKey,
    header: Header,
    decoding: Vec<Verifying>,
    validation: Validation,
}

/// A secret that verifies.
struct Verifying {
    kid: String,
    key: DecodingKey,
    /// Unix seconds; whatever it signed has ended then, and what it signs later was signed by a thief.
    until_s: Option<i64>,
}

impl Verifying {
    fn of(secret: &[u8], until_s: Option<i64>) -> Self {
        Self { kid: kid(secret), key: DecodingKey::from_secret(secret), until_s }
    }
}

/// The claims. Names are short because a token travels with every request; `nbf` is also the time of issue.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: UserId,
    tid: String,
    role: Role,
    ep: i64,
    nbf: i64,
    exp: i64,
    jti: String,
    iss: String,
    aud: String,
}

/// For whom a token is.
pub(super) struct Subject<'a> {
    pub(super) user: UserId,
    pub(super) tenant: &'a TenantId,
    pub(super) role: Role,
    pub(super) epoch: i64,
    pub(super) session: AuthSessionId,
}

/// What a valid token says.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) user: UserId,
    pub(super) tenant: String,
    pub(super) role: Role,
    pub(super) epoch: i64,
    pub(super) session: AuthSessionId,
    pub(super) expires_at_s: i64,
}

impl TokenKey {
    /// `secret` signs; tokens that one of `previous` signed are good until they expire.
    pub(super) fn new<'a>(secret: &'a [u8], previous: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // The library would ask the system clock; `verify` checks both against ours.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let header = Header { typ: None, kid: Some(kid(secret)), ..Header::new(Algorithm::HS256) };
        let secrets = std::iter::once(secret).chain(previous);
        let decoding = secrets.map(|secret| Verifying::of(secret, None)).collect();
        Self { encoding: EncodingKey::from_secret(secret), header, decoding, validation }
    }

    /// One more secret that signed before, and verifies until then.
    pub(super) fn and_until(mut self, secret: &[u8], until_s: i64) -> Self {
        self.decoding.push(Verifying::of(secret, Some(until_s)));
        self
    }

    /// `draw` tells this token from others of its session.
    pub(super) fn issue(&self, subject: &Subject<'_>, draw: [u8; 4], now_s: i64, lifetime_s: i64) -> AppResult<String> {
        let mut jti = [0; JTI_BYTES];
        jti[..16].copy_from_slice(subject.session.as_bytes());
        jti[16..].copy_from_slice(&draw);
        let claims = Claims {
            sub: subject.user,
            tid: subject.tenant.to_string(),
            role: subject.role,
            ep: subject.epoch,
            nbf: now_s,
            exp: now_s + lifetime_s,
            jti: BASE64URL_NOPAD.encode(&jti),
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
        };
        jsonwebtoken::encode(&self.header, &claims, &self.encoding).map_err(AppError::internal)
    }

    pub(super) fn verify(&self, token: &str, now_s: i64) -> AppResult<Verified> {
        let invalid = || AppError::unauthorized("TOKEN_INVALID", "the access token is not valid; sign in again");
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(invalid());
        }
        let key = self.key_of(token, now_s).ok_or_else(|| invalid().with_cause("no key has this kid"))?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation)
            .map_err(|error| invalid().with_cause(error))?
            .claims;
        let session = session_of(&claims.jti).ok_or_else(|| invalid().with_cause("jti names no session"))?;
        if claims.nbf > now_s.saturating_add(limits::TOKEN_LEEWAY_S) {
            return Err(invalid().with_cause("not valid yet"));
        }
        if claims.exp.saturating_add(limits::TOKEN_LEEWAY_S) <= now_s {
            return Err(AppError::unauthorized(
                "TOKEN_EXPIRED",
                "the access token has expired; renew it by POST /auth/refresh",
            ));
        }
        Ok(Verified {
            user: claims.sub,
            tenant: claims.tid,
            role: claims.role,
            epoch: claims.ep,
            session,
            expires_at_s: claims.exp,
        })
    }

    /// The key that a token's header names. Whether the token is of that key is for the signature to say.
    fn key_of(&self, token: &str, now_s: i64) -> Option<&DecodingKey> {
        let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
        let known = self.decoding.iter().find(|known| known.kid == kid)?;
        known.until_s.is_none_or(|until_s| now_s < until_s).then_some(&known.key)
    }
}

/// Names a secret without telling anything about it.
fn kid(secret: &[u8]) -> String {
    let digest = Sha256::new().chain_update(b"muster/kid/v1").chain_update(secret).finalize();
    BASE64URL_NOPAD.encode(&digest[..KID_BYTES])
}

fn session_of(jti: &str) -> Option<AuthSessionId> {
    let mut bytes = [0; JTI_BYTES];
    if BASE64URL_NOPAD.decode_len(jti.len()) != Ok(JTI_BYTES) {
        return None;
    }
    BASE64URL_NOPAD.decode_mut(jti.as_bytes(), &mut bytes).ok()?;
    bytes[..16].try_into().ok().map(AuthSessionId::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const OTHER: &[u8] = b"another key of thirty-two bytes!";
    const NOW: i64 = 1_763_640_000;

    fn key(secret: &[u8]) -> TokenKey {
        TokenKey::new(secret, [])
    }

    fn header(algorithm: Algorithm, secret: &[u8]) -> Header {
        Header { kid: Some(kid(secret)), ..Header::new(algorithm) }
    }

    fn claims() -> Value {
        json!({
            "sub": "0190e1f4-0000-7000-8000-000000000001", "tid": "default", "role": "student", "ep": 0,
            "nbf": NOW, "exp": NOW + 900, "iss": "muster", "aud": "muster", "jti": "AAAAAAAAAAAAAAAAAAAAAAAAAAA",
        })
    }

    fn verify(header: &Header, claims: &Value, secret: &[u8]) -> Result<Verified, &'static str> {
        let token = jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(secret)).unwrap();
        key(SECRET).verify(&token, NOW).map_err(|error| error.code())
    }

    fn issue(key: &TokenKey) -> String {
        let (tenant, session) = (TenantId::default_tenant(), AuthSessionId::from_bytes([9; 16]));
        let user = UserId::from_bytes([7; 16]);
        let subject = Subject { user, tenant: &tenant, role: Role::Student, epoch: 3, session };
        key.issue(&subject, [1; 4], NOW, 900).unwrap()
    }

    #[test]
    fn what_was_issued_is_accepted_and_short() {
        let key = key(SECRET);
        let token = issue(&key);
        assert!(token.len() <= 360, "{} bytes", token.len());
        let verified = key.verify(&token, NOW + 899).unwrap();
        assert_eq!((verified.user, verified.epoch), (UserId::from_bytes([7; 16]), 3));
        assert_eq!((verified.session, verified.expires_at_s), (AuthSessionId::from_bytes([9; 16]), NOW + 900));
        assert!(key.verify(&token, NOW + 904).is_ok());
        assert_eq!(key.verify(&token, NOW + 905).unwrap_err().code(), "TOKEN_EXPIRED");
        assert_eq!(key.verify(&token, NOW - 6).unwrap_err().code(), "TOKEN_INVALID");
        assert!(key.verify(&token, NOW - 5).is_ok());
    }

    #[test]
    fn every_claim_is_required_and_typed() {
        let header = header(Algorithm::HS256, SECRET);
        assert!(verify(&header, &claims(), SECRET).is_ok());
        for name in ["sub", "tid", "role", "ep", "nbf", "exp", "iss", "aud", "jti"] {
            let mut missing = claims();
            missing.as_object_mut().unwrap().remove(name);
            assert_eq!(verify(&header, &missing, SECRET).unwrap_err(), "TOKEN_INVALID", "without {name}");
        }
        let wrong = [
            ("nbf", json!("1763640000")),
            ("exp", json!("1763640900")),
            ("exp", json!(1e30)),
            ("iss", json!("somebody")),
            ("aud", json!("something")),
            ("aud", json!(["muster"])),
            ("role", json!("root")),
            ("sub", json!("1")),
            ("ep", json!(null)),
            ("jti", json!("")),
            ("jti", json!("AAAA")),
            ("jti", json!(7)),
        ];
        for (name, value) in wrong {
            let mut changed = claims();
            changed[name] = value.clone();
            assert_eq!(verify(&header, &changed, SECRET).unwrap_err(), "TOKEN_INVALID", "{name} = {value}");
        }
    }

    #[test]
    fn another_key_or_algorithm_is_refused() {
        assert!(verify(&header(Algorithm::HS256, SECRET), &claims(), SECRET).is_ok());
        assert!(verify(&header(Algorithm::HS256, SECRET), &claims(), OTHER).is_err());
        assert!(verify(&header(Algorithm::HS256, OTHER), &claims(), SECRET).is_err());
        assert!(verify(&header(Algorithm::HS512, SECRET), &claims(), SECRET).is_err());
        assert!(verify(&Header::new(Algorithm::HS256), &claims(), SECRET).is_err());
        let unsigned = "eyJhbGciOiJub25lIn0.e30.";
        for token in [unsigned, "", ".", "..", "a.b.c", &"x".repeat(5000)] {
            assert_eq!(key(SECRET).verify(token, NOW).unwrap_err().code(), "TOKEN_INVALID");
        }
    }

    #[test]
    fn a_previous_secret_verifies_and_signs_no_more() {
        let (before, after) = (key(OTHER), TokenKey::new(SECRET, [OTHER]));
        let (old, new) = (issue(&before), issue(&after));
        assert!(after.verify(&old, NOW).is_ok());
        assert!(after.verify(&new, NOW).is_ok());
        assert_eq!(before.verify(&new, NOW).unwrap_err().code(), "TOKEN_INVALID");
        assert_eq!(key(SECRET).verify(&old, NOW).unwrap_err().code(), "TOKEN_INVALID");
        let until = TokenKey::new(SECRET, []).and_until(OTHER, NOW + 60);
        assert!(until.verify(&old, NOW + 59).is_ok());
        assert_eq!(until.verify(&old, NOW + 60).unwrap_err().code(), "TOKEN_INVALID");
        let kid_of = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
        assert_ne!(kid_of(&old), kid_of(&new));
        assert_eq!(kid_of(&new), kid(SECRET));
    }
}
