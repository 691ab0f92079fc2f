//! All SQL about `users`.

use super::auth_session;
use super::limits;
use super::mailed_token::{self, Purpose};
use super::role::Role;
use super::state::Principal;
use super::users::{Filter, NO_SECTION, NewUser, Person, Profile, Status, User};
use super::voucher::Voucher;
use crate::db::{DbError, Row, Tx, Value};
use crate::ids::{TenantId, UserId};
use crate::params;

const COLUMNS: &str = "id, tenant_id, email, username, display_name, role, status, epoch, created_at, given_name, \
    family_name, section, external_id, email_confirmed_at, email_confirmed_by, email_lost_at, external_id_by, \
    waits_for_confirmation";
/// How many they are; what a query adds stands behind them.
const COLUMNS_COUNT: usize = 18;

fn user(row: &Row<'_>) -> Result<User, DbError> {
    let (role, section): (Role, Option<String>) = (row.get(5)?, row.get(11)?);
    let section = section.or_else(|| (role == Role::Student).then(|| NO_SECTION.to_owned()));
    Ok(User {
        id: row.get(0)?,
        tenant: row.get(1)?,
        email: row.get(2)?,
        username: row.get(3)?,
        display_name: row.get(4)?,
        role,
        status: row.get(6)?,
        epoch: row.get(7)?,
        created_at_ms: row.get(8)?,
        person: Person { given_name: row.get(9)?, family_name: row.get(10)?, section, external_id: row.get(12)? },
        email_confirmed_at_ms: row.get(13)?,
        email_confirmed_by: row.get(14)?,
        email_lost_at_ms: row.get(15)?,
        external_id_by: row.get(16)?,
        waits_for_confirmation: row.get(17)?,
    })
}

/// The section as it is stored: the one that every student has is none.
fn section(person: &Person) -> Option<&str> {
    person.section.as_deref().filter(|section| *section != NO_SECTION)
}

/// What tokens of a user are checked against.
pub(super) fn principal(tx: &Tx<'_>, id: UserId) -> Result<Option<Principal>, DbError> {
    let sql = "SELECT u.tenant_id, u.role, u.epoch, u.status, s.id
        FROM users u
        LEFT JOIN auth_sessions s ON s.user_id = u.id AND s.epoch = u.epoch AND s.revoked_at IS NOT NULL
        WHERE u.id = ?1
        LIMIT ?2";
    let mut principal = None;
    tx.query(sql, params![&id.to_string(), limits::REVOKED_SESSIONS_MAX], |row| {
        let status: Status = row.get(3)?;
        let principal = principal.get_or_insert(Principal {
            tenant: row.get(0)?,
            role: row.get(1)?,
            epoch: row.get(2)?,
            active: status == Status::Active,
            revoked: Some(Vec::new()),
        });
        if let (Some(revoked), Some(session)) = (&mut principal.revoked, row.get(4)?) {
            revoked.push(session);
        }
        Ok(())
    })?;
    Ok(principal)
}

/// Ends every token of a user.
pub(super) fn raise_epoch(tx: &Tx<'_>, tenant: &TenantId, id: UserId, now_ms: i64) -> Result<bool, DbError> {
    let sql = "UPDATE users SET epoch = epoch + 1, updated_at = ?3 WHERE tenant_id = ?1 AND id = ?2";
    Ok(tx.execute(sql, params![tenant.as_str(), &id.to_string(), now_ms])? == 1)
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

/// Active accounts with this address or user name, in all tenants: their addresses and the hashes of their passwords.
pub(super) fn open_by_password(tx: &Tx<'_>, email: &str, username: &str) -> Result<Vec<(String, String)>, DbError> {
    let sql = "SELECT email, password_hash FROM users
        WHERE (email = ?1 OR username = ?2) AND status = 'active' AND password_hash <> ''
        ORDER BY id
        LIMIT ?3";
    tx.query(sql, params![email, username, crate::limits::PAGE_ROWS_MAX], |row| Ok((row.get(0)?, row.get(1)?)))
}

pub(super) fn by_id(tx: &Tx<'_>, tenant: &TenantId, id: UserId) -> Result<Option<User>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE tenant_id = ?1 AND id = ?2");
    tx.query_one(&sql, params![tenant.as_str(), &id.to_string()], user)
}

pub(super) fn by_email(tx: &Tx<'_>, tenant: &TenantId, email: &str) -> Result<Option<User>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE tenant_id = ?1 AND email = ?2");
    tx.query_one(&sql, params![tenant.as_str(), email], user)
}

pub(super) fn by_external_id(tx: &Tx<'_>, tenant: &TenantId, id: &str) -> Result<Option<User>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE tenant_id = ?1 AND external_id = ?2");
    tx.query_one(&sql, params![tenant.as_str(), id], user)
}

pub(super) fn by_username(tx: &Tx<'_>, tenant: &TenantId, username: &str) -> Result<Option<User>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE tenant_id = ?1 AND username = ?2");
    tx.query_one(&sql, params![tenant.as_str(), username], user)
}

/// A page of users in the order of their ids.
pub(super) fn page(
    tx: &Tx<'_>,
    tenant: &TenantId,
    filter: &Filter,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<User>, DbError> {
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    match (filter.role, filter.status, &filter.words[..]) {
        (None, None, []) => {
            let sql = format!("SELECT {COLUMNS} FROM users WHERE tenant_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
            tx.query(&sql, params![tenant.as_str(), &after, limit], user)
        }
        (Some(role), None, []) => {
            let sql = format!(
                "SELECT {COLUMNS} FROM users
                 WHERE tenant_id = ?1 AND role = ?2 AND id > ?3
                 ORDER BY id
                 LIMIT ?4"
            );
            tx.query(&sql, params![tenant.as_str(), role.as_str(), &after, limit], user)
        }
        (role, status, words) => filtered(tx, tenant, (role, status), words, &after, limit),
    }
}

/// Walks the index `users_by_search`, which holds all that is asked about, and fetches only the rows that match.
fn filtered(
    tx: &Tx<'_>,
    tenant: &TenantId,
    (role, status): (Option<Role>, Option<Status>),
    words: &[String],
    after: &str,
    limit: u32,
) -> Result<Vec<User>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM users
         WHERE tenant_id = ?1 AND id IN (
             SELECT id FROM users
             WHERE tenant_id = ?1 AND id > ?2
               AND (?3 = '' OR role = ?3)
               AND (?4 = '' OR status = ?4)
               AND search LIKE ?5 ESCAPE '!'
               AND (?6 = '%' OR search LIKE ?6 ESCAPE '!')
               AND (?7 = '%' OR search LIKE ?7 ESCAPE '!')
             ORDER BY id
             LIMIT ?8
         )
         ORDER BY id"
    );
    let mut patterns = words.iter().map(|word| anywhere(word));
    let mut next = || patterns.next().unwrap_or_else(|| "%".to_owned());
    let (first, second, third) = (next(), next(), next());
    let (role, status) = (role.map_or("", Role::as_str), status.map_or("", Status::as_str));
    tx.query(&sql, params![tenant.as_str(), after, role, status, &first, &second, &third, limit], user)
}

/// A pattern that finds the text itself, wherever it stands.
fn anywhere(word: &str) -> String {
    let escaped = word.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    format!("%{escaped}%")
}

/// Whether there is an active admin other than this user.
pub(super) fn another_admin(tx: &Tx<'_>, tenant: &TenantId, id: UserId) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM users
        WHERE tenant_id = ?1 AND role = 'admin' AND status = 'active' AND id <> ?2
        LIMIT 1";
    Ok(tx.query_one(sql, params![tenant.as_str(), &id.to_string()], |row| row.get::<i64>(0))?.is_some())
}

pub(super) fn any(tx: &Tx<'_>) -> Result<bool, DbError> {
    Ok(tx.query_one("SELECT 1 FROM users LIMIT 1", &[], |row| row.get::<i64>(0))?.is_some())
}

const INSERT: &str = "INSERT INTO users
        (id, tenant_id, email, username, display_name, role, password_hash, status, epoch, created_at, updated_at,
         given_name, family_name, section, external_id, search, email_confirmed_at, email_confirmed_by, external_id_by)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'active', 0, ?8, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
    ON CONFLICT DO NOTHING";

/// Whether the row was new. Nobody vouches for it.
pub(super) fn insert(tx: &Tx<'_>, new: &NewUser) -> Result<bool, DbError> {
    with_values(new, None, |values| tx.execute(INSERT, values)).map(|inserted| inserted == 1)
}

/// Whether the row was new.
pub(super) fn insert_by(tx: &Tx<'_>, new: &NewUser, by: Voucher) -> Result<bool, DbError> {
    with_values(new, Some(by), |values| tx.execute(INSERT, values)).map(|inserted| inserted == 1)
}

/// The same without an answer.
pub(super) fn send_insert(tx: &Tx<'_>, new: &NewUser, by: Voucher) -> Result<(), DbError> {
    with_values(new, Some(by), |values| tx.send(INSERT, values))
}

fn with_values<T>(new: &NewUser, by: Option<Voucher>, then: impl FnOnce(&[Value<'_>]) -> T) -> T {
    let (id, search, by) = (new.id.text(), new.search_text(), by.map(Voucher::as_str));
    then(params![
        id.as_str(),
        new.tenant.as_str(),
        new.email.as_str(),
        new.username.as_ref().map(|username| username.as_str()),
        new.display_name.as_str(),
        new.role.as_str(),
        new.password_hash.as_deref().unwrap_or(""),
        new.created_at_ms,
        new.person.given_name.as_deref(),
        new.person.family_name.as_deref(),
        section(&new.person),
        new.person.external_id.as_deref(),
        &search,
        by.map(|_| new.created_at_ms),
        by,
        new.person.external_id.as_ref().and(by)
    ])
}

/// Whether another account has the address, the user name or the registry's id.
pub(super) fn is_taken(tx: &Tx<'_>, tenant: &TenantId, id: UserId, profile: &Profile) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM users
        WHERE tenant_id = ?1 AND id <> ?2 AND (email = ?3 OR username = ?4 OR external_id = ?5)
        LIMIT 1";
    let (username, external_id) = (profile.username.as_deref(), profile.person.external_id.as_deref());
    let id = id.to_string();
    let params = params![tenant.as_str(), &id, &profile.email, username, external_id];
    Ok(tx.query_one(sql, params, |row| row.get::<i64>(0))?.is_some())
}

/// Writes what describes a user. Nobody vouches for a new address yet; for a new id of the registry `by` does.
pub(super) fn set_profile(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: UserId,
    profile: &Profile,
    by: Voucher,
    now_ms: i64,
) -> Result<bool, DbError> {
    let sql = "UPDATE users
        SET email_confirmed_at = CASE WHEN email = ?3 THEN email_confirmed_at END,
            email_confirmed_by = CASE WHEN email = ?3 THEN email_confirmed_by END,
            email_lost_at = CASE WHEN email = ?3 THEN email_lost_at END,
            external_id_by = CASE WHEN external_id = ?9 THEN external_id_by ELSE ?12 END,
            email = ?3, username = ?4, display_name = ?5, given_name = ?6, family_name = ?7, section = ?8,
            external_id = ?9, search = ?10, updated_at = ?11
        WHERE tenant_id = ?1 AND id = ?2";
    let person = &profile.person;
    let search = profile.search_text();
    let changed = tx.execute(
        sql,
        params![
            tenant.as_str(),
            &id.to_string(),
            &profile.email,
            profile.username.as_deref(),
            &profile.display_name,
            person.given_name.as_deref(),
            person.family_name.as_deref(),
            section(person),
            person.external_id.as_deref(),
            &search,
            now_ms,
            person.external_id.as_ref().map(|_| by.as_str())
        ],
    )?;
    Ok(changed == 1)
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
    auth_session::end_all(tx, tenant, id, now_ms)?;
    let id = id.to_string();
    Ok(tx.execute(sql, params![tenant.as_str(), &id, role.as_str(), status.as_str(), now_ms])? == 1)
}

/// Replaces the password that had `old_hash` and ends every token, also a mailed one for a new password; false when
/// somebody else was faster.
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
    let replaced = tx.execute(sql, params![tenant.as_str(), &id.to_string(), old_hash, new_hash, now_ms])? == 1;
    if replaced {
        auth_session::end_all_and_devices(tx, tenant, id, now_ms)?;
        mailed_token::forget(tx, tenant, id, Purpose::PasswordReset)?;
    }
    Ok(replaced)
}

/// Takes every identity of a provider from the user, and says how many they were.
pub(super) fn forget_identities(tx: &Tx<'_>, tenant: &TenantId, id: UserId) -> Result<u64, DbError> {
    let sql = "DELETE FROM oauth_identities WHERE tenant_id = ?1 AND user_id = ?2";
    tx.execute(sql, params![tenant.as_str(), &id.to_string()])
}

/// Sets the password, whatever it was, and ends every token.
pub(super) fn set_password(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: UserId,
    hash: &str,
    now_ms: i64,
) -> Result<bool, DbError> {
    let sql = "UPDATE users
        SET password_hash = ?3, epoch = epoch + 1, updated_at = ?4
        WHERE tenant_id = ?1 AND id = ?2";
    Ok(tx.execute(sql, params![tenant.as_str(), &id.to_string(), hash, now_ms])? == 1)
}

/// Notes on whose word the address is the user's: since the first one, and by the strongest.
pub(super) fn confirm_email(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: UserId,
    by: Voucher,
    now_ms: i64,
) -> Result<(), DbError> {
    let ranks: String =
        Voucher::ALL.iter().map(|one| format!(" WHEN '{}' THEN {}", one.as_str(), one.rank())).collect();
    let sql = format!(
        "UPDATE users
         SET email_confirmed_at = coalesce(email_confirmed_at, ?3),
             email_confirmed_by = CASE WHEN CASE email_confirmed_by{ranks} ELSE 0 END >= ?5 THEN email_confirmed_by ELSE ?4 END,
             updated_at = ?3
         WHERE tenant_id = ?1 AND id = ?2"
    );
    tx.send(&sql, params![tenant.as_str(), &id.to_string(), now_ms, by.as_str(), by.rank()])
}

/// The address is nobody's from now on.
pub(super) fn doubt_email(tx: &Tx<'_>, tenant: &TenantId, id: UserId, now_ms: i64) -> Result<(), DbError> {
    let sql = "UPDATE users
        SET email_confirmed_at = NULL, email_confirmed_by = NULL, updated_at = ?3
        WHERE tenant_id = ?1 AND id = ?2";
    tx.send(sql, params![tenant.as_str(), &id.to_string(), now_ms])
}

/// Gives a user the address and the user name of `profile`, neither of which anybody vouches for, and ends every mailed link.
pub(super) fn take_address(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: UserId,
    profile: &Profile,
    now_ms: i64,
) -> Result<(), DbError> {
    let sql = "UPDATE users
        SET email = ?3, username = ?4, search = ?5, email_confirmed_at = NULL, email_confirmed_by = NULL,
            email_lost_at = ?6, waits_for_confirmation = 0, updated_at = ?6
        WHERE tenant_id = ?1 AND id = ?2";
    for purpose in [Purpose::ConfirmEmail, Purpose::PasswordReset] {
        mailed_token::forget(tx, tenant, id, purpose)?;
    }
    let (id, search) = (id.to_string(), profile.search_text());
    tx.send(sql, params![tenant.as_str(), &id, &profile.email, profile.username.as_deref(), &search, now_ms])
}

/// Whether confirming the address makes a student of this guest.
pub(super) fn set_waiting(tx: &Tx<'_>, tenant: &TenantId, id: UserId, waits: bool) -> Result<(), DbError> {
    let sql = "UPDATE users SET waits_for_confirmation = ?3 WHERE tenant_id = ?1 AND id = ?2";
    tx.send(sql, params![tenant.as_str(), &id.to_string(), waits])
}

/// Takes the password and every identity of a provider from the user, and the phones' way in: who reads mail at the address
/// sets a new password.
pub(super) fn forget_credentials(tx: &Tx<'_>, tenant: &TenantId, id: UserId, now_ms: i64) -> Result<(), DbError> {
    forget_identities(tx, tenant, id)?;
    auth_session::end_all_and_devices(tx, tenant, id, now_ms)?;
    let sql = "UPDATE users SET password_hash = '' WHERE tenant_id = ?1 AND id = ?2";
    tx.send(sql, params![tenant.as_str(), &id.to_string()])
}

/// Replaces the hash of one password by another hash of it; false when the password was changed meanwhile.
pub(super) fn replace_hash(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: UserId,
    old_hash: &str,
    new_hash: &str,
    now_ms: i64,
) -> Result<bool, DbError> {
    let sql = "UPDATE users
        SET password_hash = ?4, updated_at = ?5
        WHERE tenant_id = ?1 AND id = ?2 AND password_hash = ?3";
    Ok(tx.execute(sql, params![tenant.as_str(), &id.to_string(), old_hash, new_hash, now_ms])? == 1)
}

/// Changes how a person is called.
pub(super) fn set_names(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: UserId,
    display_name: &str,
    given_name: Option<&str>,
    family_name: Option<&str>,
    now_ms: i64,
) -> Result<bool, DbError> {
    let sql = "UPDATE users
        SET display_name = ?3, given_name = ?4, family_name = ?5, updated_at = ?6
        WHERE tenant_id = ?1 AND id = ?2";
    let text = id.to_string();
    let params = params![tenant.as_str(), &text, display_name, given_name, family_name, now_ms];
    let changed = tx.execute(sql, params)? == 1;
    if let Some(user) = by_id(tx, tenant, id)? {
        set_search(tx, tenant, id, &Profile::of(&user).search_text())?;
    }
    Ok(changed)
}

/// Takes the user name away.
pub(super) fn drop_username(tx: &Tx<'_>, tenant: &TenantId, id: UserId, now_ms: i64) -> Result<(), DbError> {
    let sql = "UPDATE users SET username = NULL, updated_at = ?3 WHERE tenant_id = ?1 AND id = ?2";
    tx.send(sql, params![tenant.as_str(), &id.to_string(), now_ms])?;
    match by_id(tx, tenant, id)? {
        Some(user) => set_search(tx, tenant, id, &Profile::of(&user).search_text()),
        None => Ok(()),
    }
}

/// Has a search find the user by new names.
fn set_search(tx: &Tx<'_>, tenant: &TenantId, id: UserId, search: &str) -> Result<(), DbError> {
    let sql = "UPDATE users SET search = ?3 WHERE tenant_id = ?1 AND id = ?2";
    tx.send(sql, params![tenant.as_str(), &id.to_string(), search])
}
