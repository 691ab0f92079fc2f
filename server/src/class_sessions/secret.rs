//! The secret of a session: derived from the code key of whoever planned it.

use muster_sync_core::DeviceKey;
use muster_sync_core::time::session_code::{CodeKey, SessionSecret};

use super::session::ClassSession;
use crate::app::App;
use crate::devices;
use crate::error::AppResult;
use crate::ids::TenantId;
use crate::log::ServerKey;

/// The secrets of a session by one of its planner's keys, each by its epoch; `None` if that phone never shared its code
/// key.
///
/// # Errors
/// When the code key cannot be read.
pub async fn secrets_of(
    app: &App,
    tenant: &TenantId,
    session: &ClassSession,
    planned_by: &DeviceKey,
) -> AppResult<Option<impl Fn(u64) -> SessionSecret + use<>>> {
    let server = ServerKey::of(app)?;
    let key = if *planned_by == server.public() {
        Some(server.code_key().clone())
    } else {
        devices::code_key(app, tenant, planned_by).await?
    };
    let (document, code_mode, step_s) = (session.document, session.code_mode, session.step_s);
    Ok(key.map(|key: CodeKey| move |epoch| SessionSecret::derive(&key, document, code_mode, step_s, epoch)))
}
