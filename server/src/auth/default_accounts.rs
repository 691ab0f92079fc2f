//! Accounts of the systems that Muster replaces, with passwords that everybody can read in their documentation.

use super::hashing::{self, Verified};
use super::queries;
use super::role::Role;
use crate::app::App;
use crate::config::Secret;
use crate::db::DbError;
use crate::error::{AppError, AppResult};
use crate::http::Holder;

/// An account with a password that everybody knows.
#[derive(Debug, Clone, Copy)]
pub struct DefaultAccount {
    /// The e-mail address.
    pub email: &'static str,
    /// The user name, where the other system had one.
    pub username: Option<&'static str>,
    /// The password.
    pub password: &'static str,
    /// As what.
    pub role: Role,
}

/// Those that SEED_DEMO_ACCOUNTS makes.
pub const DEMO_ACCOUNTS: [DefaultAccount; 5] = [
    account("admin@example.com", None, "Admin123!", Role::Admin),
    account("student@example.com", None, "Student123!", Role::Student),
    account("admin@campus.example", Some("admin"), "admin123", Role::Admin),
    account("staff1@campus.example", Some("staff1"), "staff123", Role::Staff),
    account("student1@campus.example", Some("student1"), "student123", Role::Student),
];
/// Those that other systems made without being asked; nobody makes them here, because their addresses may be somebody's,
/// but they may have been brought along.
const FOREIGN: [DefaultAccount; 4] = [
    account("admin@smavs.com", None, "admin123", Role::Admin),
    account("lecturer@smavs.com", None, "lecturer123", Role::Lecturer),
    account("student@smavs.com", None, "student123", Role::Student),
    account("student@example.com", Some("student1"), "secure123", Role::Student),
];

const fn account(
    email: &'static str,
    username: Option<&'static str>,
    password: &'static str,
    role: Role,
) -> DefaultAccount {
    DefaultAccount { email, username, password, role }
}

/// The accounts that still have the password that everybody knows, whatever their address is now.
///
/// # Errors
/// When the database fails, or a stored hash cannot be read.
pub async fn open_to_everybody(app: &App) -> AppResult<Vec<String>> {
    let mut open = Vec::new();
    for account in DEMO_ACCOUNTS.iter().chain(&FOREIGN) {
        let username = account.username.unwrap_or_default();
        let found = app.db.read(move |tx| queries::open_by_password(tx, account.email, username)).await;
        for (email, hash) in found.map_err(|error: DbError| AppError::from(error))? {
            let (place, password) = (hashing::place(app, Holder::Server)?, Secret::new(account.password.to_owned()));
            if hashing::verify(app, place, password, Some(hash)).await? != Verified::Wrong {
                open.push(email);
            }
        }
    }
    open.dedup();
    Ok(open)
}
