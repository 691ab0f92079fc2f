//! Brings texts about people that were stored before texts had one form into that form, so that who signed up under the
//! other one is found. A job of bounded steps, which a migration asks for.

use super::fields::{Username, sign_in_name};
use super::limits;
use super::queries;
use super::registry::{KnownUser, page, set_forms};
use super::users::{Person, Profile};
use crate::app::App;
use crate::db::{Db, DbError, Tx};
use crate::ids::{TenantId, UserId};
use crate::jobs::{self, Job};
use crate::text;

/// The job that looks at a number of accounts. Its subject is the id of the one before them, and empty at the beginning.
pub const FORMS_JOB: &str = "user_text_forms";

/// Does the steps of these jobs, each in a transaction of its own.
pub async fn forms_batch(app: App, jobs: Vec<Job>) -> Vec<Result<(), String>> {
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        let now_ms = app.now_ms();
        let done: Result<(), DbError> = app.db.write(move |tx| step(tx, &job, now_ms)).await;
        results.push(done.map_err(|error| error.to_string()));
    }
    results
}

/// Brings every account of a tenant into form, step by step, for a command that cannot wait for the job. Blocks.
///
/// # Errors
/// When the database fails.
pub fn settle_forms(db: &Db, tenant: &TenantId, now_ms: i64) -> Result<(), DbError> {
    let mut after = None;
    loop {
        let asked = tenant.clone();
        let last = db.write_blocking::<_, DbError, _>(move |tx| settle_after(tx, &asked, after, now_ms))?;
        match last {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

fn step(tx: &Tx<'_>, job: &Job, now_ms: i64) -> Result<(), DbError> {
    let after = std::str::from_utf8(&job.subject).ok().and_then(|text| text.parse::<UserId>().ok());
    match settle_after(tx, &job.tenant, after, now_ms)? {
        Some(last) => jobs::enqueue(tx, &job.tenant, FORMS_JOB, last.to_string().as_bytes(), now_ms),
        None => Ok(()),
    }
}

/// The next accounts; the last of them, if there may be more.
fn settle_after(tx: &Tx<'_>, tenant: &TenantId, after: Option<UserId>, now_ms: i64) -> Result<Option<UserId>, DbError> {
    let users = page(tx, tenant, after, limits::FORMS_PER_STEP)?;
    for user in &users {
        settle(tx, tenant, user, now_ms)?;
    }
    let more = users.len() >= limits::FORMS_PER_STEP as usize;
    Ok(users.last().filter(|_| more).map(|last| last.id))
}

fn settle(tx: &Tx<'_>, tenant: &TenantId, user: &KnownUser, now_ms: i64) -> Result<(), DbError> {
    let old = &user.profile;
    let mut new = in_form(old);
    if new != *old && queries::is_taken(tx, tenant, user.id, &new)? {
        // Two accounts that look the same. Which of them is whose, only a person can say.
        tracing::warn!(user.id = %user.id, "An account has the address, user name or id of another one in other signs");
        new.email.clone_from(&old.email);
        new.username.clone_from(&old.username);
        new.person.external_id.clone_from(&old.person.external_id);
    }
    // What a search looks through was made by the database, which knows the small letters of ASCII only.
    if new == *old && new.search_text().is_ascii() {
        return Ok(());
    }
    set_forms(tx, tenant, user.id, &new, now_ms)
}

fn in_form(profile: &Profile) -> Profile {
    let Profile { email, username, display_name, person } = profile;
    let shown = |text: &Option<String>| text.as_deref().map(text::shown).filter(|text| !text.is_empty());
    let name =
        |name: &str| Username::parse(name).map_or_else(|_| text::signed_in_by(name), |name| name.as_str().to_owned());
    Profile {
        email: sign_in_name(email),
        username: username.as_deref().map(name),
        display_name: Some(text::shown(display_name)).filter(|name| !name.is_empty()).unwrap_or_else(|| email.clone()),
        person: Person {
            given_name: shown(&person.given_name),
            family_name: shown(&person.family_name),
            section: shown(&person.section),
            external_id: shown(&person.external_id),
        },
    }
}
