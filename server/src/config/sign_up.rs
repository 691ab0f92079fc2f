//! Who may make an account for themselves.

use clap::ValueEnum;

/// What somebody becomes who signs up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SignUp {
    /// A student.
    Student,
    /// A guest, until an admin says more.
    Guest,
    /// A guest, and a student once the address is confirmed.
    Confirmed,
    /// Nothing: the institution creates the accounts.
    Off,
}
