//! One key per person, made when the first thing about the person has to be sealed.

use std::sync::Arc;

use data_encoding::HEXLOWER;

use super::{queries, vault};
use crate::app::App;
use crate::blobs::crypt::SubjectKey;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::ids::TenantId;

/// The person's key; a new one if there is none.
///
/// # Errors
/// When the database fails, or when the stored key was wrapped under another master key.
pub async fn subject_key(app: &App, tenant: &TenantId, subject: &str) -> AppResult<Arc<SubjectKey>> {
    let vault = vault(app)?;
    let cached = (tenant.clone(), subject.to_owned());
    if let Some(key) = vault.keys.get(&cached) {
        return Ok(key);
    }
    let wrapped = wrapped_key(app, tenant, subject).await?;
    let key = vault.master.unwrap_key(tenant.as_str(), subject, &wrapped);
    let key = Arc::new(key.map_err(AppError::internal)?);
    vault.keys.insert(cached, Arc::clone(&key));
    Ok(key)
}

/// Reads the wrapped key, or stores a fresh one; of two at once, one wins and both use it.
async fn wrapped_key(app: &App, tenant: &TenantId, subject: &str) -> AppResult<Vec<u8>> {
    let (asked_tenant, asked_subject) = (tenant.clone(), subject.to_owned());
    let found = app.db.read(move |tx: &Tx<'_>| queries::wrapped_key(tx, &asked_tenant, &asked_subject)).await;
    if let Some(wrapped) = found.map_err(|error: DbError| AppError::from(error))? {
        return Ok(wrapped);
    }
    let master = &vault(app)?.master;
    let fresh = {
        let fill = |bytes: &mut [u8]| app.entropy.fill(bytes);
        master.wrap(tenant.as_str(), subject, &SubjectKey::generate(&fill), &fill)
    };
    let master_id = HEXLOWER.encode(&master.id());
    let (tenant, subject, now_ms) = (tenant.clone(), subject.to_owned(), app.now_ms());
    let stored = app.db.write(move |tx: &Tx<'_>| {
        queries::insert_wrapped_key(tx, (&tenant, &subject), &fresh, &master_id, now_ms)?;
        queries::wrapped_key(tx, &tenant, &subject)
    });
    let stored = stored.await.map_err(|error: DbError| AppError::from(error))?;
    let text = "the master key was rotated while this server ran: start it again with the key of today";
    stored.ok_or_else(|| AppError::internal(text))
}
