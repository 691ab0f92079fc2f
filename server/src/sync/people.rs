//! Whom a change is about and who sent it, by name and number: an id alone tells nobody whom to ask.

use muster_sync_core::DocumentName;
use serde::Serialize;
use utoipa::ToSchema;

use super::budget::subject_of;
use crate::auth::{self, ShownUser};
use crate::db::{DbError, Tx};
use crate::ids::TenantId;

/// The people of a row.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Involved {
    /// Who sent it; missing if the account is gone.
    sender: Option<ShownUser>,
    /// Whose record or device it is about; missing if it is about nobody whom the server knows.
    about: Option<ShownUser>,
}

impl Involved {
    /// Of a change in the document of this name.
    pub(super) fn of(
        tx: &Tx<'_>,
        tenant: &TenantId,
        sender_id: &str,
        (kind, key1, key2): (u8, &str, &str),
    ) -> Result<Self, DbError> {
        let about = match DocumentName::from_parts(kind, [key1, key2]) {
            Ok(name) => auth::shown(tx, tenant, subject_of(&name))?,
            Err(_) => None,
        };
        Ok(Self { sender: auth::shown(tx, tenant, sender_id)?, about })
    }
}
