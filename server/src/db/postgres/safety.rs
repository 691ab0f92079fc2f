//! What PostgreSQL must be set to before a record may be acknowledged on its word.

use tokio_postgres::Row;

use super::super::DbError;
use super::session::Session;

/// The oldest PostgreSQL with every setting that a session needs.
const VERSION_MIN: i32 = 12_00_00;

/// Dangers that somebody took in words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowances {
    /// A PostgreSQL that loses acknowledged records when its machine crashes.
    pub unsafe_settings: bool,
    /// A standby that may lack acknowledged records when it takes over.
    pub async_standby: bool,
}

/// Refuses a database that would lose what was acknowledged, or that would damage texts.
pub(super) fn check(session: &Session, allowances: Allowances) -> Result<(), DbError> {
    let sql = "SELECT CAST(current_setting('server_version_num') AS INTEGER), current_setting('server_encoding'),
            pg_is_in_recovery(), current_setting('fsync'), current_setting('full_page_writes'),
            current_setting('transaction_read_only')";
    let rows = session.query(sql, &[])?;
    let row = rows.first().ok_or(DbError::Closed)?;
    let refused = |text: &str| Err(DbError::Refused(text.to_owned()));
    if get::<i32>(row, 0)? < VERSION_MIN {
        return refused("PostgreSQL 12 or newer is needed");
    }
    if get::<String>(row, 1)? != "UTF8" {
        return refused("the database must be made with ENCODING 'UTF8'");
    }
    if get::<bool>(row, 2)? {
        return refused("this PostgreSQL is a standby, which cannot be written; give the address of the primary");
    }
    if get::<String>(row, 5)? == "on" {
        return refused(
            "this database can only be read: default_transaction_read_only is on for it, or for the user of DATABASE_URL",
        );
    }
    for (name, column) in [("fsync", 3), ("full_page_writes", 4)] {
        if get::<String>(row, column)? == "on" {
            continue;
        }
        if !allowances.unsafe_settings {
            return Err(DbError::Refused(format!(
                "PostgreSQL runs with {name}=off and would lose acknowledged records when its machine crashes; set \
                 {name}=on, or take the risk with ALLOW_UNSAFE_POSTGRES=\"{}\"",
                crate::config::UNSAFE_POSTGRES_WORDS
            )));
        }
        tracing::warn!(setting = name, "PostgreSQL may lose acknowledged records when its machine crashes");
    }
    Ok(())
}

/// Refuses a second server beside a standby that may lack what was acknowledged: several servers are there to survive
/// the loss of one machine, and after a failover to such a standby their phones would hold receipts for nothing.
pub(super) fn check_standby(
    nodes: i64,
    standbys: i64,
    synchronous: &str,
    allowances: Allowances,
) -> Result<(), DbError> {
    if standbys == 0 || !synchronous.trim().is_empty() {
        return Ok(());
    }
    if nodes > 1 && !allowances.async_standby {
        return Err(DbError::Refused(format!(
            "{nodes} servers use this database and its standby is asynchronous: after a failover acknowledged records \
             would be missing; set synchronous_standby_names, or take the risk with ALLOW_ASYNC_STANDBY=\"{}\"",
            crate::config::ASYNC_STANDBY_WORDS
        )));
    }
    tracing::warn!(
        nodes,
        standbys,
        "The standby is asynchronous: after a failover acknowledged records may be missing"
    );
    Ok(())
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, DbError> {
    row.try_get(column).map_err(DbError::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asynchronous_standby_beside_several_servers_is_refused_unless_allowed() {
        let allowed = Allowances { async_standby: true, ..Allowances::default() };
        let none = Allowances::default();
        assert!(matches!(check_standby(2, 1, "", none), Err(DbError::Refused(_))));
        assert_eq!(check_standby(2, 1, "", allowed), Ok(()));
        assert_eq!(check_standby(2, 1, "FIRST 1 (b)", none), Ok(()));
        assert_eq!(check_standby(1, 1, "", none), Ok(()));
        assert_eq!(check_standby(3, 0, "", none), Ok(()));
    }
}
