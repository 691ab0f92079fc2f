//! All SQL of this slice.

mod challenge;
mod legacy;
mod list;
mod project;

use muster_sync_core::document::Role;

use super::rules::RequestStatus;
use crate::db::DbError;

pub(super) use challenge::*;
pub(super) use legacy::*;
pub(super) use list::*;
pub(super) use project::*;

fn wrong(column: &'static str) -> DbError {
    DbError::Other(format!("{column} holds a word that this program does not know"))
}

fn role(text: &str) -> Result<Role, DbError> {
    Role::parse(text).ok_or_else(|| wrong("users.role"))
}

fn request_status(text: &str) -> Result<RequestStatus, DbError> {
    RequestStatus::parse(text).ok_or_else(|| wrong("device_requests.status"))
}
