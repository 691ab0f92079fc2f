//! The device store: one SQLite file that holds what a phone wrote, what it pulled and what became of each change.
//!
//! Capturing is one transaction and needs neither network nor login nor a right clock. The store never decides what the
//! server should think of a record: it keeps fates, and shows a person a state and a reason for each record.
//! No HTTP, no camera and no clock are in here; [`crate::sync::client`] says what to send and when.

mod author;
mod blobs;
mod capture;
mod changes;
mod error;
mod lecturer;
mod outbox;
mod reasons;
mod rebuild;
mod records;
mod recovery;
mod relay;
mod schema;
mod settle;

pub use author::BindingFacts;
pub use capture::{CaptureImage, CaptureInput, PhoneClocks, image_type};
pub use error::StoreError;
pub use lecturer::{ClassRecordView, DecisionInput, PlanInput, SessionCode, SessionStanding};
pub use outbox::{ChangeState, OutboxView, PendingCounts};
pub use reasons::reason_in_words;
pub use records::{RecordId, RecordStatus, RecordView};
pub use relay::CarriedCounts;

pub(crate) use outbox::PushRow;
pub(crate) use recovery::Recovery;
pub(crate) use relay::{CarriedRow, Carry, CarryOutcome, OfferedPlan, OwnRow};
pub(crate) use settle::{PulledChange, SettledExchange};

use crate::{DeviceKey, id::check_id, limits, time::AnchorReading, time::session_code::CodeKey};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params, types::FromSql};
use std::path::Path;

/// The setting that holds the largest image that the server takes.
const IMAGE_SIZE: &str = "image_size_bytes_max";

/// Who uses the phone. Known after the first sign-in and then for good, so that a capture needs no login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The tenant.
    pub tenant: String,
    /// The user's id.
    pub user: String,
}

/// The store of one phone.
#[derive(Debug)]
pub struct DeviceStore {
    db: Connection,
}

impl DeviceStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a file that is not a store; it is left as it is.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::prepared(Connection::open(path)?)
    }

    /// A store that lives as long as this value: for tests and simulations.
    ///
    /// # Errors
    /// When SQLite has no memory.
    pub fn open_in_memory() -> Result<Self, StoreError> {
        Self::prepared(Connection::open_in_memory()?)
    }

    fn prepared(mut db: Connection) -> Result<Self, StoreError> {
        schema::prepare(&mut db)?;
        Ok(Self { db })
    }

    /// Notes who uses the phone: after every sign-in. Another user of the same tenant may follow; records stay.
    ///
    /// # Errors
    /// [`StoreError::OtherTenant`] if the store holds another tenant's documents.
    pub fn set_account(&mut self, account: &Account) -> Result<(), StoreError> {
        check_id(&account.tenant)?;
        check_id(&account.user)?;
        self.write(|tx| {
            match setting::<String>(tx, "tenant")? {
                Some(tenant) if tenant != account.tenant => return Err(StoreError::OtherTenant(tenant)),
                _ => {}
            }
            set_setting(tx, "tenant", &account.tenant)?;
            set_setting(tx, "user", &account.user)
        })
    }

    /// Who uses the phone.
    ///
    /// # Errors
    /// [`StoreError::NoAccount`] before the first sign-in.
    pub fn account(&self) -> Result<Account, StoreError> {
        account(&self.db)
    }

    /// Pins the server's key: receipts and anchors of another key are worth nothing from then on.
    ///
    /// # Errors
    /// [`StoreError::OtherServerKey`] if another key is pinned, [`StoreError::Input`] for a weak key.
    pub fn pin_server_key(&mut self, key: DeviceKey) -> Result<(), StoreError> {
        if !crate::signing::is_strong(&key) {
            return Err(crate::Refusal::KeyWeak.into());
        }
        self.write(|tx| match setting::<[u8; 32]>(tx, "server_key")? {
            Some(pinned) if pinned != key.0 => Err(StoreError::OtherServerKey),
            _ => set_setting(tx, "server_key", &key.0),
        })
    }

    /// The pinned server key.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn server_key(&self) -> Result<Option<DeviceKey>, StoreError> {
        Ok(setting::<[u8; 32]>(&self.db, "server_key")?.map(DeviceKey))
    }

    /// Notes the largest image that the server takes; more than any server can be told to take is not believed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_image_size_bytes_max(&mut self, bytes_max: u64) -> Result<(), StoreError> {
        let kept = i64::try_from(bytes_max.min(limits::IMAGE_SIZE_BYTES_MAX)).unwrap_or(i64::MAX);
        self.write(|tx| set_setting(tx, IMAGE_SIZE, &kept))
    }

    /// The largest image that a capture may hold.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn image_size_bytes_max(&self) -> Result<u64, StoreError> {
        let kept = setting::<i64>(&self.db, IMAGE_SIZE)?.and_then(|bytes| u64::try_from(bytes).ok());
        Ok(kept.unwrap_or(limits::IMAGE_SIZE_BYTES_DEFAULT))
    }

    /// The newest anchor of the server, with the clocks at its arrival.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn anchor(&self) -> Result<Option<AnchorReading>, StoreError> {
        anchor(&self.db)
    }

    /// The cursors, by channel.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn cursors(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let mut statement = self.db.prepare_cached("SELECT channel, number FROM cursors ORDER BY channel LIMIT ?1")?;
        let rows = statement.query_map([limits::CURSORS_MAX], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Caps the file for as long as it is open, so that images cannot fill the phone: beyond it, writing is
    /// [`StoreError::Full`]. Never below what the file has already.
    ///
    /// # Errors
    /// When SQLite does not answer.
    pub fn limit_size(&mut self, size_bytes_max: u64) -> Result<(), StoreError> {
        let page_bytes: u64 = self.db.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let pages = size_bytes_max.div_ceil(page_bytes.max(1)).min(u64::from(u32::MAX - 1));
        self.db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
        Ok(())
    }

    /// One transaction: all of it, or nothing.
    fn write<T>(&mut self, run: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = run(&tx)?;
        tx.commit()?;
        Ok(done)
    }
}

fn account(db: &Connection) -> Result<Account, StoreError> {
    match (setting(db, "tenant")?, setting(db, "user")?) {
        (Some(tenant), Some(user)) => Ok(Account { tenant, user }),
        _ => Err(StoreError::NoAccount),
    }
}

fn anchor(db: &Connection) -> Result<Option<AnchorReading>, StoreError> {
    let Some(bytes) = setting::<Vec<u8>>(db, "anchor")? else { return Ok(None) };
    minicbor::decode(&bytes).map(Some).map_err(|_| error::damaged("the anchor is not an anchor"))
}

fn set_anchor(db: &Connection, reading: &AnchorReading) -> Result<(), StoreError> {
    let bytes = minicbor::to_vec(reading).expect("encoding into memory does not fail");
    set_setting(db, "anchor", &bytes)
}

/// The code key of a device of this phone.
fn code_key(db: &Connection, writer: &DeviceKey) -> Result<Option<CodeKey>, StoreError> {
    Ok(setting::<[u8; 32]>(db, &code_key_name(writer))?.map(CodeKey))
}

fn set_code_key(db: &Connection, writer: &DeviceKey, key: &CodeKey) -> Result<(), StoreError> {
    set_setting(db, &code_key_name(writer), &key.0)
}

fn code_key_name(writer: &DeviceKey) -> String {
    format!("code_key/{writer}")
}

fn setting<T: FromSql>(db: &Connection, name: &str) -> Result<Option<T>, StoreError> {
    let mut statement = db.prepare_cached("SELECT value FROM settings WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

fn set_setting(db: &Connection, name: &str, value: &dyn rusqlite::ToSql) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    db.prepare_cached(sql)?.execute(params![name, value])?;
    Ok(())
}
