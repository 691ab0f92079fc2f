//! Accounts of the systems that Muster replaces, with passwords that everybody can read in their documentation.

use super::hashing::{self, Verified};
use super::queries;
use crate::app::App;
use crate::config::Secret;
use crate::db::DbError;
use crate::error::{AppError, AppResult};

/// An account with a password that everybody knows.
#[derive(Debug, Clone, Copy)]
pub struct DefaultAccount {
    /// The e-mail address.
    pub email: &'static str,
    /// The password.
    pub password: &'static str,
}

/// The two that SEED_DEMO_ACCOUNTS makes: an admin and a student.
pub const DEMO_ACCOUNTS: [DefaultAccount; 2] = [
    DefaultAccount { email: "admin@example.com", password: "Admin123!" },
    DefaultAccount { email: "student@example.com", password: "Student123!" },
];
/// Those that other systems made without being asked; nobody makes them here, but they may have been brought along.
const FOREIGN: [DefaultAccount; 4] = [
    DefaultAccount { email: "admin@smavs.com", password: "admin123" },
    DefaultAccount { email: "lecturer@smavs.com", password: "lecturer123" },
    DefaultAccount { email: "student@smavs.com", password: "student123" },
    DefaultAccount { email: "student@example.com", password: "secure123" },
];

/// The addresses of accounts that still have the password that everybody knows.
///
/// # Errors
/// When the database fails, or a stored hash cannot be read.
pub async fn open_to_everybody(app: &App) -> AppResult<Vec<&'static str>> {
    let mut open = Vec::new();
    for account in DEMO_ACCOUNTS.iter().chain(&FOREIGN) {
        let hashes = app.db.read(|tx| queries::password_hashes(tx, account.email)).await;
        for hash in hashes.map_err(|error: DbError| AppError::from(error))? {
            let (place, password) = (hashing::place(app)?, Secret::new(account.password.to_owned()));
            if hashing::verify(app, place, password, Some(hash)).await? != Verified::Wrong {
                open.push(account.email);
            }
        }
    }
    open.dedup();
    Ok(open)
}
