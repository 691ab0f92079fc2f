//! `POST /auth/mfa/backup-codes/regenerate`, and what a backup code is: 60 random bits, kept as a keyed hash.

use axum::extract::State;
use muster_sync_core::typed::{self, CROCKFORD};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::factor::{self, Given, Judgement, refused};
use super::limits::{BACKUP_CODE_CHARS, BACKUP_CODE_GROUP_CHARS};
use super::queries::{self, Owner};
use super::{active_enrolment, owner_of};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::current_user::CurrentUser;
use crate::auth::notify;
use crate::auth::state::AuthState;
use crate::config::Secret;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, RequestId};
use crate::mail::Notice;

/// Bits of a character.
const CHAR_BITS: usize = 5;

/// Proof that the app is at hand.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Regenerate {
    /// The code that the authenticator app shows.
    #[schema(value_type = String)]
    code: Secret,
}

/// Codes that are shown once.
#[derive(Serialize, ToSchema)]
pub(super) struct BackupCodes {
    /// Each completes one sign-in without the app.
    #[schema(example = json!(["4Q7K-1XBN-9ZD2"]))]
    pub(super) backup_codes: Vec<String>,
}

/// Makes new backup codes; the old ones open nothing more.
#[utoipa::path(
    post, path = "/auth/mfa/backup-codes/regenerate", tag = "auth", request_body = Regenerate,
    responses(
        (status = 200, body = BackupCodes),
        (status = 403, description = "the code is wrong or was used before", body = ErrorEnvelope),
        (status = 409, description = "there is no second factor", body = ErrorEnvelope),
        (status = 429, description = "too many wrong codes", body = ErrorEnvelope)
    )
)]
pub(super) async fn regenerate(
    State(app): State<App>,
    current: CurrentUser,
    request: RequestId,
    Json(body): Json<Regenerate>,
) -> AppResult<Json<BackupCodes>> {
    let owner = owner_of(&current);
    let enrolment = active_enrolment(&app, &owner).await?;
    let attempt = factor::prepare(&app, &owner, &enrolment, &Given::Code(body.code))?;
    let (codes, hashes) = draw(&app, &owner)?;
    let (actor, now_ms) = (current.actor(&request), app.now_ms());
    let judged = app
        .db
        .write(move |tx| {
            let judged = attempt.judge(tx)?;
            if judged == Judgement::Right {
                queries::replace_codes(tx, &attempt.owner, &hashes, now_ms)?;
                notify(tx, &owner.tenant, owner.user, Notice::BackupCodesRegenerated, now_ms)?;
            }
            let result = match judged {
                Judgement::Right => "ok",
                Judgement::Wrong => "wrong_code",
                Judgement::TooMany { .. } => return Ok::<_, AppError>(judged),
            };
            let event =
                Event { action: Action::MfaBackupRegenerate, kind: "user", id: &actor.id, reason: None, result };
            audit::record(tx, &actor, &event, now_ms)?;
            Ok(judged)
        })
        .await?;
    judged.tell(&app, request.as_str(), &current.id.to_string());
    judged.or(refused)?;
    app.wake_jobs();
    Ok(Json(BackupCodes { backup_codes: codes }))
}

/// As many codes as the settings say, and what is kept of them.
pub(super) fn draw(app: &App, owner: &Owner) -> AppResult<(Vec<String>, Vec<[u8; 32]>)> {
    let state = AuthState::of(app)?;
    let codes: Vec<String> = (0..app.config.mfa.mfa_backup_codes_count)
        .map(|_| {
            let mut bytes = Zeroizing::new([0; 8]);
            app.entropy.fill(&mut *bytes);
            code_of(u64::from_be_bytes(*bytes))
        })
        .collect();
    let hashes = codes.iter().map(|code| hash(state, owner, &Secret::new(code.clone()))).collect();
    Ok((codes, hashes))
}

/// Takes the lower 60 bits.
fn code_of(bits: u64) -> String {
    let mut code = String::with_capacity(BACKUP_CODE_CHARS + BACKUP_CODE_CHARS / BACKUP_CODE_GROUP_CHARS);
    for index in 0..BACKUP_CODE_CHARS {
        if index > 0 && index % BACKUP_CODE_GROUP_CHARS == 0 {
            code.push('-');
        }
        code.push(char::from(CROCKFORD[(bits >> (CHAR_BITS * index)) as usize % CROCKFORD.len()]));
    }
    code
}

/// What is kept of a code, however it was typed. It depends on the pepper and on whose code it is.
pub(super) fn hash(state: &AuthState, owner: &Owner, code: &Secret) -> [u8; 32] {
    let code = Zeroizing::new(normal(code.reveal()));
    let user = owner.user.to_string();
    let message = Zeroizing::new([owner.tenant.as_str(), &user, &code].join("\0"));
    state.mfa.backup_codes.hash(message.as_bytes())
}

/// The characters alone; what is no code becomes an empty text, which no code has.
fn normal(text: &str) -> String {
    typed::code(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_sixty_bits_in_three_groups() {
        assert_eq!(code_of(0), "0000-0000-0000");
        assert_eq!(code_of(u64::MAX), "ZZZZ-ZZZZ-ZZZZ");
        assert_eq!(code_of(1 << 59), "0000-0000-000G");
        assert_eq!(code_of(1 << 60), "0000-0000-0000");
    }

    #[test]
    fn a_code_may_be_typed_as_people_type() {
        let code = "4Q7K-1XB0-9ZD2";
        for typed in
            ["4q7k1xb09zd2", "4Q7K 1XB0 9ZD2", " 4q7k-ixbo-9zd2 ", "4Q7K-LXBO-9ZD2", "4Q7K\u{2013}1XB0\u{2014}9ZD2"]
        {
            assert_eq!(normal(typed), normal(code), "{typed}");
        }
        assert_eq!(normal(&"4".repeat(65)), "");
    }
}
