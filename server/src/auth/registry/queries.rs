//! The SQL about many users at once.

use super::super::users::{Person, Profile, Status};
use super::KnownUser;
use crate::db::{DbError, Tx};
use crate::ids::{TenantId, UserId};
use crate::params;

/// Users in the order of their ids.
pub(in crate::auth) fn page(
    tx: &Tx<'_>,
    tenant: &TenantId,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<KnownUser>, DbError> {
    let sql = "SELECT id, email, username, display_name, given_name, family_name, section, external_id, role, status,
            email_confirmed_by, updated_at, external_id_by
        FROM users
        WHERE tenant_id = ?1 AND id > ?2
        ORDER BY id
        LIMIT ?3";
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    tx.query(sql, params![tenant.as_str(), &after, limit], |row| {
        let person = Person {
            given_name: row.get(4)?,
            family_name: row.get(5)?,
            section: row.get(6)?,
            external_id: row.get(7)?,
        };
        let status: Status = row.get(9)?;
        Ok(KnownUser {
            id: row.get(0)?,
            profile: Profile { email: row.get(1)?, username: row.get(2)?, display_name: row.get(3)?, person },
            role: row.get(8)?,
            status,
            confirmed_by: row.get(10)?,
            external_id_by: row.get(12)?,
            updated_at_ms: row.get(11)?,
        })
    })
}

pub(super) fn count(tx: &Tx<'_>, tenant: &TenantId) -> Result<u64, DbError> {
    let sql = "SELECT count(*) FROM users WHERE tenant_id = ?1";
    tx.count(sql, params![tenant.as_str()])
}

pub(super) fn is_unchanged(tx: &Tx<'_>, tenant: &TenantId, id: UserId, seen_at_ms: i64) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM users WHERE tenant_id = ?1 AND id = ?2 AND updated_at = ?3";
    let id = id.to_string();
    Ok(tx.query_one(sql, params![tenant.as_str(), &id, seen_at_ms], |row| row.get::<i64>(0))?.is_some())
}

/// Takes away what is unique about a user. The address stays if it is theirs afterwards, and with it that it was confirmed.
pub(super) fn make_room(tx: &Tx<'_>, tenant: &TenantId, id: UserId, email: &str) -> Result<(), DbError> {
    let sql = "UPDATE users
        SET email = CASE WHEN email = ?3 THEN email ELSE '~' || id END, username = NULL, external_id = NULL
        WHERE tenant_id = ?1 AND id = ?2";
    tx.send(sql, params![tenant.as_str(), &id.to_string(), email])
}

/// Writes what describes a user in another form. The mailbox is the same, so that it stays confirmed.
pub(in crate::auth) fn set_forms(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: UserId,
    profile: &Profile,
    now_ms: i64,
) -> Result<(), DbError> {
    let sql = "UPDATE users
        SET email = ?3, username = ?4, display_name = ?5, given_name = ?6, family_name = ?7, section = ?8,
            external_id = ?9, search = ?10, updated_at = ?11
        WHERE tenant_id = ?1 AND id = ?2";
    let (person, id, search) = (&profile.person, id.to_string(), profile.search_text());
    let params = params![
        tenant.as_str(),
        &id,
        &profile.email,
        profile.username.as_deref(),
        &profile.display_name,
        person.given_name.as_deref(),
        person.family_name.as_deref(),
        person.section.as_deref(),
        person.external_id.as_deref(),
        &search,
        now_ms
    ];
    tx.send(sql, params)
}
