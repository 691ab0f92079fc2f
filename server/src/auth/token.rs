//! Access tokens: short, signed, and refused unless every claim is there and of its type.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::limits;
use super::role::Role;
use crate::error::{AppError, AppResult};
use crate::ids::{TenantId, UserId};

/// Who makes the tokens, and for whom.
const ISSUER: &str = "muster";
const AUDIENCE: &str = "muster";

/// The key, prepared for both directions.
pub(super) struct TokenKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
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
    iss: String,
    aud: String,
}

/// What a valid token says.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) user: UserId,
    pub(super) tenant: String,
    pub(super) role: Role,
    pub(super) epoch: i64,
}

impl TokenKey {
    pub(super) fn new(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // The library would ask the system clock; `verify` checks both against ours.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self { encoding: EncodingKey::from_secret(secret), decoding: DecodingKey::from_secret(secret), validation }
    }

    pub(super) fn issue(
        &self,
        user: UserId,
        tenant: &TenantId,
        role: Role,
        epoch: i64,
        now_s: i64,
        lifetime_s: i64,
    ) -> AppResult<String> {
        let claims = Claims {
            sub: user,
            tid: tenant.to_string(),
            role,
            ep: epoch,
            nbf: now_s,
            exp: now_s + lifetime_s,
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
        };
        let header = Header { typ: None, ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &self.encoding).map_err(AppError::internal)
    }

    pub(super) fn verify(&self, token: &str, now_s: i64) -> AppResult<Verified> {
        let invalid = || AppError::unauthorized("TOKEN_INVALID", "the access token is not valid");
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(invalid());
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation)
            .map_err(|error| invalid().with_cause(error))?
            .claims;
        if claims.nbf > now_s.saturating_add(limits::TOKEN_LEEWAY_S) {
            return Err(invalid().with_cause("not valid yet"));
        }
        if claims.exp.saturating_add(limits::TOKEN_LEEWAY_S) <= now_s {
            return Err(AppError::unauthorized("TOKEN_EXPIRED", "the access token has expired"));
        }
        Ok(Verified { user: claims.sub, tenant: claims.tid, role: claims.role, epoch: claims.ep })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: i64 = 1_763_640_000;

    fn claims() -> Value {
        json!({
            "sub": "0190e1f4-0000-7000-8000-000000000001", "tid": "default", "role": "student", "ep": 0,
            "nbf": NOW, "exp": NOW + 900, "iss": "muster", "aud": "muster",
        })
    }

    fn verify(header: &Header, claims: &Value, secret: &[u8]) -> Result<Verified, &'static str> {
        let token = jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(secret)).unwrap();
        TokenKey::new(SECRET).verify(&token, NOW).map_err(|error| error.code())
    }

    #[test]
    fn what_was_issued_is_accepted_and_short() {
        let key = TokenKey::new(SECRET);
        let user = UserId::from_bytes([7; 16]);
        let tenant = TenantId::default_tenant();
        let token = key.issue(user, &tenant, Role::Student, 3, NOW, 900).unwrap();
        assert!(token.len() <= 290, "{} bytes", token.len());
        let verified = key.verify(&token, NOW + 899).unwrap();
        assert_eq!((verified.user, verified.epoch), (user, 3));
        assert_eq!(key.verify(&token, NOW + 906).unwrap_err().code(), "TOKEN_EXPIRED");
        assert_eq!(key.verify(&token, NOW - 6).unwrap_err().code(), "TOKEN_INVALID");
        assert!(key.verify(&token, NOW - 5).is_ok());
    }

    #[test]
    fn every_claim_is_required_and_typed() {
        let header = Header::new(Algorithm::HS256);
        assert!(verify(&header, &claims(), SECRET).is_ok());
        for name in ["sub", "tid", "role", "ep", "nbf", "exp", "iss", "aud"] {
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
        ];
        for (name, value) in wrong {
            let mut changed = claims();
            changed[name] = value.clone();
            assert_eq!(verify(&header, &changed, SECRET).unwrap_err(), "TOKEN_INVALID", "{name} = {value}");
        }
    }

    #[test]
    fn another_key_or_algorithm_is_refused() {
        assert!(verify(&Header::new(Algorithm::HS256), &claims(), b"another key of thirty-two bytes!").is_err());
        assert!(verify(&Header::new(Algorithm::HS512), &claims(), SECRET).is_err());
        let unsigned = "eyJhbGciOiJub25lIn0.e30.";
        for token in [unsigned, "", ".", "..", "a.b.c", &"x".repeat(5000)] {
            assert_eq!(TokenKey::new(SECRET).verify(token, NOW).unwrap_err().code(), "TOKEN_INVALID");
        }
    }
}
