//! The secret of a session: derived from the code key of whoever planned it.

use muster_sync_core::DeviceKey;
use muster_sync_core::time::session_code::{CodeKey, SessionSecret};

use super::session::ClassSession;
use crate::app::App;
use crate::devices;
use crate::error::AppResult;
use crate::ids::TenantId;
use crate::log::ServerKey;

/// The secret of a session in one epoch by one of its planner's keys; `None` if that phone never shared its code key.
///
/// # Errors
/// When the code key cannot be read.
pub async fn secret_for(
    app: &App,
    tenant: &TenantId,
    session: &ClassSession,
    planned_by: &DeviceKey,
    epoch: u64,
) -> AppResult<Option<SessionSecret>> {
    let server = ServerKey::of(app)?;
    let derive = |key: &CodeKey| SessionSecret::derive(key, session.document, session.code_mode, session.step_s, epoch);
    if *planned_by == server.public() {
        return Ok(Some(derive(server.code_key())));
    }
    let key = devices::code_key(app, tenant, planned_by).await?;
    Ok(key.as_ref().map(derive))
}
