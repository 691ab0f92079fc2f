//! All SQL about `users`.

use super::role::Role;
use super::state::Principal;
use super::users::{NewUser, Person, Status, User};
use crate::db::{DbError, Row, Tx};
use crate::ids::{TenantId, UserId};
use crate::params;

const COLUMNS: &str = "id, tenant_id, email, username, display_name, role, status, epoch, created_at, given_name, \
    family_name, section, external_id, email_confirmed_at";
/// How many they are; what a query adds stands behind them.
const COLUMNS_COUNT: usize = 14;

fn user(row: &Row<'_>) -> Result<User, DbError> {
    Ok(User {
        id: row.get(0)?,
        tenant: row.get(1)?,
        email: row.get(2)?,
        username: row.get(3)?,
        display_name: row.get(4)?,
        role: row.get(5)?,
        status: row.get(6)?,
        epoch: row.get(7)?,
        created_at_ms: row.get(8)?,
        person: Person {
            given_name: row.get(9)?,
            family_name: row.get(10)?,
            section: row.get(11)?,
            external_id: row.get(12)?,
        },
        email_confirmed_at_ms: row.get(13)?,
    })
}

pub(super) fn principal(tx: &Tx<'_>, id: UserId) -> Result<Option<Principal>, DbError> {
    let sql = "SELECT tenant_id, role, epoch, status FROM users WHERE id = ?1";
    tx.query_one(sql, params![&id.to_string()], |row| {
        let status: Status = row.get(3)?;
        Ok(Principal { tenant: row.get(0)?, role: row.get(1)?, epoch: row.get(2)?, active: status == Status::Active })
    })
}

/// An empty text stands for no password.
fn password(hash: String) -> Option<String> {
    Some(hash).filter(|hash| !hash.is_empty())
}

/// The user with this e-mail address or user name, and the hash of the password.
pub(super) fn by_login(tx: &Tx<'_>, tenant: &TenantId, login: &str) -> Result<Option<(User, Option<String>)>, DbError> {
    let column = if login.contains('@') { "email" } else { "username" };
    let sql = format!("SELECT {COLUMNS}, password_hash FROM users WHERE tenant_id = ?1 AND {column} = ?2");
    tx.query_one(&sql, params![tenant.as_str(), login], |row| Ok((user(row)?, password(row.get(COLUMNS_COUNT)?))))
}

/// The hash of a user's password.
pub(super) fn password_hash(tx: &Tx<'_>, tenant: &TenantId, id: UserId) -> Result<Option<String>, DbError> {
    let sql = "SELECT password_hash FROM users WHERE tenant_id = ?1 AND id = ?2";
    tx.query_one(sql, params![tenant.as_str(), &id.to_string()], |row| row.get(0)).map(|hash| hash.and_then(password))
}

/// The hashes of the passwords that accounts with this address have, in all tenants.
pub(super) fn password_hashes(tx: &Tx<'_>, email: &str) -> Result<Vec<String>, DbError> {
    let sql = "SELECT password_hash FROM users WHERE email = ?1 AND password_hash <> '' LIMIT ?2";
    tx.query(sql, params![email, crate::limits::PAGE_ROWS_MAX], |row| row.get(0))
}

pub(super) fn by_id(tx: &Tx<'_>, tenant: &TenantId, id: UserId) -> Result<Option<User>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE tenant_id = ?1 AND id = ?2");
    tx.query_one(&sql, params![tenant.as_str(), &id.to_string()], user)
}

pub(super) fn by_email(tx: &Tx<'_>, tenant: &TenantId, email: &str) -> Result<Option<User>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE tenant_id = ?1 AND email = ?2");
    tx.query_one(&sql, params![tenant.as_str(), email], user)
}

/// A page of users in the order of their ids.
pub(super) fn page(
    tx: &Tx<'_>,
    tenant: &TenantId,
    role: Option<Role>,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<User>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM users
         WHERE tenant_id = ?1 AND (?2 = '' OR role = ?2) AND id > ?3
         ORDER BY id
         LIMIT ?4"
    );
    let role = role.map_or("", Role::as_str);
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    tx.query(&sql, params![tenant.as_str(), role, &after, limit], user)
}

pub(super) fn any(tx: &Tx<'_>) -> Result<bool, DbError> {
    Ok(tx.query_one("SELECT 1 FROM users LIMIT 1", &[], |row| row.get::<i64>(0))?.is_some())
}

/// Whether the row was new.
pub(super) fn insert(tx: &Tx<'_>, new: &NewUser) -> Result<bool, DbError> {
    let sql = "INSERT INTO users
            (id, tenant_id, email, username, display_name, role, password_hash, status, epoch, created_at, updated_at,
             given_name, family_name, section, external_id)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'active', 0, ?8, ?8, ?9, ?10, ?11, ?12)
        ON CONFLICT DO NOTHING";
    let inserted = tx.execute(
        sql,
        params![
            &new.id.to_string(),
            new.tenant.as_str(),
            new.email.as_str(),
            new.username.as_ref().map(|username| username.as_str()),
            new.display_name.as_str(),
            new.role.as_str(),
            new.password_hash.as_deref().unwrap_or(""),
            new.created_at_ms,
            new.person.given_name.as_deref(),
            new.person.family_name.as_deref(),
            new.person.section.as_deref(),
            new.person.external_id.as_deref()
        ],
    )?;
    Ok(inserted == 1)
}

/// Changes role and status and ends every token.
pub(super) fn set_role_and_status(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: UserId,
    role: Role,
    status: Status,
    now_ms: i64,
) -> Result<bool, DbError> {
    let sql = "UPDATE users
        SET role = ?3, status = ?4, epoch = epoch + 1, updated_at = ?5
        WHERE tenant_id = ?1 AND id = ?2";
    let id = id.to_string();
    Ok(tx.execute(sql, params![tenant.as_str(), &id, role.as_str(), status.as_str(), now_ms])? == 1)
}

pub(super) fn set_display_name(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: UserId,
    display_name: &str,
    now_ms: i64,
) -> Result<bool, DbError> {
    let sql = "UPDATE users SET display_name = ?3, updated_at = ?4 WHERE tenant_id = ?1 AND id = ?2";
    Ok(tx.execute(sql, params![tenant.as_str(), &id.to_string(), display_name, now_ms])? == 1)
}

/// Replaces the password that had `old_hash` and ends every token; false when somebody else was faster.
pub(super) fn replace_password(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: UserId,
    old_hash: &str,
    new_hash: &str,
    now_ms: i64,
) -> Result<bool, DbError> {
    let sql = "UPDATE users
        SET password_hash = ?4, epoch = epoch + 1, updated_at = ?5
        WHERE tenant_id = ?1 AND id = ?2 AND password_hash = ?3";
    Ok(tx.execute(sql, params![tenant.as_str(), &id.to_string(), old_hash, new_hash, now_ms])? == 1)
}
