//! `POST /auth/oauth/exchange`: the code that a browser brought, once, for tokens.

use axum::extract::State;
use axum::http::StatusCode;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use super::flow;
use super::queries::{self, Code};
use super::refusal::Refusal;
use crate::app::App;
use crate::auth::{self, Method, SignIn, SignInReply, Status, complete_sign_in};
use crate::config::Secret;
use crate::db::DbError;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, RequestId};

/// The code, and what proves that its browser was sent by the same app.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Exchange {
    /// What stood after `#code=`.
    #[schema(value_type = String)]
    code: Secret,
    /// Whose SHA-256 was the `code_challenge`, if there was one.
    #[schema(value_type = Option<String>)]
    code_verifier: Option<Secret>,
}

/// Gives tokens for a code, within a minute and once.
#[utoipa::path(
    post, path = "/auth/oauth/exchange", tag = "oauth", security(()), request_body = Exchange,
    responses(
        (status = 200, body = SignInReply),
        (status = 400, description = "OAUTH_CODE_INVALID: unknown, used, too old, or the wrong verifier", body = ErrorEnvelope)
    )
)]
pub(super) async fn exchange(
    State(app): State<App>,
    request: RequestId,
    Json(exchange): Json<Exchange>,
) -> AppResult<Json<SignInReply>> {
    let (hash, now_ms) = (flow::hash(exchange.code.reveal()), app.now_ms());
    let found = app.db.write(move |tx| {
        let Some(code) = queries::take_code(tx, &hash)? else { return Ok(None) };
        let user = auth::find(tx, &code.tenant, code.user)?;
        Ok(user.map(|user| (code, user)))
    });
    let found = found.await.map_err(|error: DbError| AppError::from(error))?;
    let user = found.and_then(|(code, user)| {
        let good = now_ms < code.expires_at_ms
            && user.epoch == code.epoch
            && user.status == Status::Active
            && shown(&code, exchange.code_verifier.as_ref());
        good.then_some((code, user))
    });
    let Some((code, user)) = user else {
        let message = "this code is unknown, was used, or is too old; sign in again";
        let error = AppError::new(StatusCode::BAD_REQUEST, "OAUTH_CODE_INVALID", message);
        let refusal = Refusal::new("bad_code", error);
        refusal.log(&app, "-", &request);
        return Err(refusal.error);
    };
    let sign_in = SignIn { class: code.client, method: Method::Oauth, request };
    complete_sign_in(&app, &user, sign_in).await.map(Json)
}

fn shown(code: &Code, verifier: Option<&Secret>) -> bool {
    match (&code.challenge, verifier) {
        (None, None) => true,
        (Some(challenge), Some(verifier)) => {
            let digest = BASE64URL_NOPAD.encode(&Sha256::digest(verifier.reveal().as_bytes()));
            digest.as_bytes().ct_eq(challenge.as_bytes()).into()
        }
        // A verifier without a challenge means that somebody else began.
        (None, Some(_)) | (Some(_), None) => false,
    }
}
