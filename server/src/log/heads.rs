//! Whether the log still has all that it once had: against the file beside the keys at start, and against the signed
//! heads that phones bring. A log that lost its tail says so and goes on in a new generation; it never stops serving.

use muster_sync_core::sync::head::LogHead;

use super::head_file::HeadFile;
use super::{ServerKey, chain, head_queries as queries};
use crate::app::App;
use crate::db::{Db, DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::ids::TenantId;
use crate::limits;

/// Rows that get their chain value in one transaction, when the log is older than the chain.
const FILLED_AT_ONCE: i64 = 1_000;
/// Numbers of channels that a new generation leaves free, so that a cursor into the lost tail is below all that comes.
const NUMBERS_SKIPPED: i64 = 1 << 32;

/// Where a tenant's log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The tenant.
    pub tenant: TenantId,
    /// Which life of the log.
    pub generation: i64,
    /// The newest index.
    pub log_index: i64,
    /// The newest number in any channel.
    pub last_number: i64,
    /// The hash chain's value at the newest index.
    pub chain: [u8; 32],
}

/// Who proved that the log had more once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossSource {
    /// The file beside the keys, at start.
    HeadFile,
    /// A head that a phone brought.
    Phone,
}

impl LossSource {
    /// Its name in the database and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HeadFile => "head_file",
            Self::Phone => "phone",
        }
    }

    pub(super) fn parse(name: &str) -> Self {
        if name == "phone" { Self::Phone } else { Self::HeadFile }
    }
}

/// A loss that was noticed, and the generation that began with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The tenant.
    pub tenant: TenantId,
    /// The generation that began.
    pub generation: i64,
    /// The generation that lost its tail.
    pub lost_generation: i64,
    /// The newest index that somebody proved.
    pub proven_index: i64,
    /// The newest index that was left.
    pub kept_index: i64,
    /// The newest number of a channel before the new generation.
    pub kept_number: i64,
    /// Who proved it.
    pub noticed_by: LossSource,
    /// When, Unix milliseconds.
    pub noticed_at_ms: i64,
}

/// What a phone's head says about the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witnessed {
    /// The log holds what the phone saw.
    Whole,
    /// The log lost what the phone saw, and goes on in a new generation now.
    Lost,
}

/// The generation of a log whose first change comes at this time: unlike that of every other log, and never 0.
pub(super) fn first_generation(received_at_ms: i64) -> i64 {
    received_at_ms.clamp(1, i64::MAX >> 17) << 16
}

/// A generation after `last`, and unlike one that the same log began in a lost life of its own.
fn next_generation(last: i64, now_ms: i64, random: u64) -> i64 {
    (first_generation(now_ms) | (random & 0xffff) as i64).max(last.saturating_add(1))
}

/// The head of a tenant's log as the server states it; `None` before its first change.
///
/// # Errors
/// When the database fails.
pub fn current(tx: &Tx<'_>, tenant: &TenantId) -> Result<Option<Head>, DbError> {
    queries::head_of(tx, tenant)
}

impl Head {
    /// The signed statement.
    ///
    /// # Panics
    /// Never: a key in memory always signs.
    pub fn sign(&self, key: &ServerKey) -> LogHead {
        LogHead::sign(key.signer(), self.generation.unsigned_abs(), self.log_index.unsigned_abs(), self.chain)
            .expect("a key in memory always signs")
    }
}

/// Whether the database lacks what a head proves. A proof of an earlier generation proves nothing new.
fn contradicts(tx: &Tx<'_>, tenant: &TenantId, proof: &LogHead) -> Result<bool, DbError> {
    let (generation, log_index) = match queries::head_of(tx, tenant)? {
        Some(head) => (head.generation.unsigned_abs(), head.log_index.unsigned_abs()),
        None => (0, 0),
    };
    if proof.generation != generation {
        return Ok(proof.generation > generation);
    }
    if proof.log_index > log_index {
        return Ok(true);
    }
    Ok(queries::chain_at(tx, tenant, proof.log_index as i64)? != Some(proof.chain))
}

/// Begins a new generation if the database still lacks what `proof` proves.
fn begin_generation(
    tx: &Tx<'_>,
    tenant: &TenantId,
    proof: &LogHead,
    noticed_by: LossSource,
    now_ms: i64,
    random: u64,
) -> Result<Option<Loss>, DbError> {
    if !contradicts(tx, tenant, proof)? {
        return Ok(None);
    }
    let head = queries::head_of(tx, tenant)?;
    let (kept_index, kept_number) = head.as_ref().map_or((0, 0), |head| (head.log_index, head.last_number));
    let known = head.map_or(0, |head| head.generation);
    let proven = i64::try_from(proof.generation).unwrap_or(i64::MAX >> 1);
    let loss = Loss {
        tenant: tenant.clone(),
        generation: next_generation(known.max(proven), now_ms, random),
        lost_generation: proven,
        proven_index: i64::try_from(proof.log_index).unwrap_or(i64::MAX),
        kept_index,
        kept_number,
        noticed_by,
        noticed_at_ms: now_ms,
    };
    queries::set_generation(tx, tenant, loss.generation, kept_number.saturating_add(NUMBERS_SKIPPED))?;
    queries::insert_loss(tx, &loss)?;
    Ok(Some(loss))
}

/// Begins the generation of a loss again, in a log that is made anew row by row.
///
/// # Errors
/// When the database fails.
pub fn repeat_loss(tx: &Tx<'_>, loss: &Loss) -> Result<(), DbError> {
    queries::set_generation(tx, &loss.tenant, loss.generation, loss.kept_number.saturating_add(NUMBERS_SKIPPED))
}

fn tell(loss: &Loss) {
    tracing::error!(
        tenant.id = %loss.tenant,
        kept_index = loss.kept_index,
        proven_index = loss.proven_index,
        generation = loss.generation,
        noticed_by = loss.noticed_by.as_str(),
        "The log lost changes that it had acknowledged. Serving goes on; phones send again what is missing"
    );
}

/// Compares a head that a phone brought with the log, and begins a new generation if the log lost what it proves.
///
/// The signature is verified only when the log contradicts the head, so that the usual case costs two reads.
///
/// # Errors
/// When the database fails. A head that this server did not sign is ignored.
pub async fn witness(app: &App, tenant: &TenantId, proof: &LogHead) -> AppResult<Witnessed> {
    let (asked, tenant_asked) = (proof.clone(), tenant.clone());
    let contradicted = app.db.read(move |tx: &Tx<'_>| contradicts(tx, &tenant_asked, &asked)).await;
    if !contradicted.map_err(|error: DbError| AppError::from(error))? {
        return Ok(Witnessed::Whole);
    }
    if proof.verify(&ServerKey::of(app)?.public()).is_err() {
        tracing::warn!(tenant.id = %tenant, "Somebody brought a log head that this server did not sign");
        return Ok(Witnessed::Whole);
    }
    let (proof, tenant) = (proof.clone(), tenant.clone());
    let (now_ms, random) = (app.now_ms(), app.draw());
    let begun =
        app.db.write(move |tx: &Tx<'_>| begin_generation(tx, &tenant, &proof, LossSource::Phone, now_ms, random)).await;
    match begun.map_err(|error: DbError| AppError::from(error))? {
        Some(loss) => {
            tell(&loss);
            if let Some(file) = app.slice::<HeadFile>() {
                file.note_loss(now_ms);
            }
            Ok(Witnessed::Lost)
        }
        // Somebody else began it meanwhile.
        None => Ok(Witnessed::Whole),
    }
}

/// Compares the database with the file beside the keys, before anything is served. Also gives the rows of an older
/// database their chain. Blocks.
///
/// # Errors
/// When the database fails; a loss is no error.
pub fn check_at_start(app: &App, key: &ServerKey, file: &HeadFile) -> Result<(), DbError> {
    fill_chains(&app.db, app.now_ms())?;
    match file.read(&key.public()) {
        Ok(Some(read)) => {
            let proofs = read.proofs;
            if !read.is_whole {
                tracing::warn!(
                    path = %file.path().display(),
                    "The list of log heads is of an earlier release and not signed as a whole: whether it has all its lines, \
                     only phones can tell. The next one is"
                );
            }
            let heads: Vec<Head> = app.db.read_blocking(queries::heads)?;
            let is_listed = |tenant: &TenantId| proofs.iter().any(|(listed, _)| listed == tenant);
            for head in heads.iter().filter(|head| head.log_index > 0 && !is_listed(&head.tenant)) {
                // Whoever empties the list, or takes a line out of it, must not be better off than who removes the file.
                // A log that had just begun when the power went is not in it yet.
                let tenant = head.tenant.clone();
                let late_ms: Option<i64> = app.db.read_blocking(move |tx: &Tx<'_>| queries::late_ms(tx, &tenant, 0))?;
                if late_ms.is_some() {
                    tracing::warn!(
                        path = %file.path().display(),
                        tenant.id = %head.tenant,
                        "The file of log heads lacks a log: whether it lost anything, only phones can tell"
                    );
                }
            }
            for (tenant, proof) in proofs {
                check_head(app, tenant, proof)?;
            }
        }
        Ok(None) => {
            let heads: Vec<Head> = app.db.read_blocking(queries::heads)?;
            if heads.iter().any(|head| head.log_index > 0) {
                tracing::warn!(
                    path = %file.path().display(),
                    "The file of log heads is missing: whether this database lost anything, only phones can tell"
                );
            }
        }
        Err(error) => {
            file.set_aside();
            tracing::error!(%error, "The file of log heads says nothing: whether this database lost anything, only phones can tell");
        }
    }
    let losses: Vec<Loss> = app.db.read_blocking(|tx: &Tx<'_>| queries::losses(tx, None))?;
    let shown_since = app.now_ms() - limits::LOSS_SHOWN_MS;
    if let Some(newest) = losses.iter().map(|loss| loss.noticed_at_ms).max().filter(|at_ms| *at_ms > shown_since) {
        file.note_loss(newest);
    }
    write_file(&app.db, key, file)
}

fn check_head(app: &App, tenant: TenantId, proof: LogHead) -> Result<(), DbError> {
    let (now_ms, random) = (app.now_ms(), app.draw());
    let (asked, proven_index) = (tenant.clone(), proof.log_index as i64);
    let late_ms: Option<i64> = app.db.read_blocking(move |tx: &Tx<'_>| queries::late_ms(tx, &asked, proven_index))?;
    if let Some(late_ms) = late_ms {
        tracing::warn!(
            tenant.id = %tenant,
            proven_index,
            late_ms,
            "The file of log heads is an old one: whether this database lost anything since, only phones can tell"
        );
    }
    let begun: Option<Loss> = app.db.write_blocking(move |tx: &Tx<'_>| {
        begin_generation(tx, &tenant, &proof, LossSource::HeadFile, now_ms, random)
    })?;
    if let Some(loss) = begun {
        tell(&loss);
    }
    Ok(())
}

/// A log from before the hash chain has rows without one, and the generation 0.
fn fill_chains(db: &Db, now_ms: i64) -> Result<(), DbError> {
    let heads: Vec<Head> = db.read_blocking(queries::heads)?;
    for head in heads.into_iter().filter(|head| head.generation == 0) {
        tracing::info!(tenant.id = %head.tenant, rows = head.log_index, "Chaining the rows of an older log");
        let (mut after, mut value) = (0, chain::first(&head.tenant));
        loop {
            let tenant = head.tenant.clone();
            let filled = db.write_blocking(move |tx: &Tx<'_>| fill_some(tx, &tenant, after, value));
            match filled? {
                Some((last, chain)) => (after, value) = (last, chain),
                None => break,
            }
        }
        let generation = first_generation(now_ms);
        let (tenant, last_number) = (head.tenant, head.last_number);
        db.write_blocking(move |tx: &Tx<'_>| queries::set_generation(tx, &tenant, generation, last_number))?;
    }
    Ok(())
}

/// The next rows' chain values; the last row and its value, or `None` at the end.
fn fill_some(tx: &Tx<'_>, tenant: &TenantId, after: i64, before: [u8; 32]) -> Result<Option<(i64, [u8; 32])>, DbError> {
    let rows = queries::links_after(tx, tenant, after, FILLED_AT_ONCE)?;
    let (mut value, mut last) = (before, None);
    for row in &rows {
        value = chain::next(&value, &row.link());
        if row.chain.is_none() {
            queries::set_chain(tx, tenant, row.log_index, &value)?;
        }
        last = Some((row.log_index, value));
    }
    Ok(last)
}

/// Writes the file; what is read here is committed and flushed, so the file never says more than that.
fn write_file(db: &Db, key: &ServerKey, file: &HeadFile) -> Result<(), DbError> {
    let heads: Vec<Head> = db.read_blocking(queries::heads)?;
    let signed: Vec<_> = heads.iter().map(|head| (head.tenant.clone(), head.sign(key))).collect();
    if let Err(error) = file.write(key, &signed) {
        tracing::error!(%error, path = %file.path().display(), "The file of log heads could not be written");
    }
    Ok(())
}

/// Brings the file up to date with what is committed.
///
/// # Errors
/// When the database fails, or when the server was built without the file.
pub async fn publish(app: &App) -> AppResult<()> {
    let app = app.clone();
    let written = tokio::task::spawn_blocking(move || {
        let file = app.slice::<HeadFile>().ok_or_else(|| AppError::internal("the server has no file of log heads"))?;
        write_file(&app.db, ServerKey::of(&app)?, file).map_err(AppError::from)
    });
    written.await.map_err(AppError::internal)?
}

/// Keeps the file at most [`limits::HEAD_FILE_EVERY`] behind until the server stops.
pub async fn keep_published(app: App) {
    let mut ticks = tokio::time::interval(limits::HEAD_FILE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.stopped() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = publish(&app).await {
            tracing::error!(%error, "The file of log heads is not up to date");
        }
    }
}
