//! Brings codes and titles that were stored before texts had one form into that form. A job, which a migration asks for.

use super::{create, queries};
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::ids::TenantId;
use crate::jobs::Job;
use crate::text;

/// The job that looks at the courses of a tenant.
pub const FORMS_JOB: &str = "course_text_forms";

/// Does it for the tenants of these jobs.
pub async fn forms_batch(app: App, jobs: Vec<Job>) -> Vec<Result<(), String>> {
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        let done: Result<(), DbError> = app.db.write(move |tx| settle_forms(tx, &job.tenant)).await;
        results.push(done.map_err(|error| error.to_string()));
    }
    results
}

/// Does it for one tenant.
///
/// # Errors
/// When the database fails.
pub fn settle_forms(tx: &Tx<'_>, tenant: &TenantId) -> Result<(), DbError> {
    for known in queries::known(tx, tenant)? {
        let code = create::code(&known.code).unwrap_or_else(|_| known.code.clone());
        let title = Some(text::shown(&known.title)).filter(|title| !title.is_empty()).unwrap_or_else(|| code.clone());
        if (&code, &title) == (&known.code, &known.title) {
            continue;
        }
        let Some(mut course) = queries::by_id(tx, tenant, known.id)? else { continue };
        if queries::by_code(tx, tenant, &code)?.is_none_or(|other| other.id == known.id) {
            course.code = code;
        } else {
            tracing::warn!(course.id = %known.id, "A course has the code of another one in other signs");
        }
        course.title = title;
        queries::rename(tx, tenant, &course)?;
    }
    Ok(())
}
