//! All SQL of what people use up per day.

use super::Amounts;
use crate::db::{DbError, Tx};
use crate::ids::TenantId;
use crate::params;

pub(super) fn used(tx: &Tx<'_>, tenant: &TenantId, person: &str, day: i64) -> Result<Option<Amounts>, DbError> {
    tx.query_one(
        "SELECT log_rows, log_bytes, waiting_rows, waiting_bytes, images, image_bytes
         FROM person_days
         WHERE tenant_id = ?1 AND person_id = ?2 AND day = ?3",
        params![tenant.as_str(), person, day],
        |row| {
            Ok(Amounts {
                log_rows: row.get(0)?,
                log_bytes: row.get(1)?,
                waiting_rows: row.get(2)?,
                waiting_bytes: row.get(3)?,
                images: row.get(4)?,
                image_bytes: row.get(5)?,
            })
        },
    )
}

pub(super) fn spend(tx: &Tx<'_>, tenant: &TenantId, person: &str, day: i64, amounts: &Amounts) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO person_days
             (tenant_id, person_id, day, log_rows, log_bytes, waiting_rows, waiting_bytes, images, image_bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (tenant_id, person_id, day) DO UPDATE
         SET log_rows = person_days.log_rows + excluded.log_rows,
             log_bytes = person_days.log_bytes + excluded.log_bytes,
             waiting_rows = person_days.waiting_rows + excluded.waiting_rows,
             waiting_bytes = person_days.waiting_bytes + excluded.waiting_bytes,
             images = person_days.images + excluded.images,
             image_bytes = person_days.image_bytes + excluded.image_bytes",
        params![
            tenant.as_str(),
            person,
            day,
            amounts.log_rows,
            amounts.log_bytes,
            amounts.waiting_rows,
            amounts.waiting_bytes,
            amounts.images,
            amounts.image_bytes
        ],
    )
}

pub(super) fn delete_before(tx: &Tx<'_>, tenant: &TenantId, person: &str, day: i64) -> Result<(), DbError> {
    tx.send(
        "DELETE FROM person_days
         WHERE tenant_id = ?1 AND person_id = ?2 AND day < ?3",
        params![tenant.as_str(), person, day],
    )
}
