//! What is broken on purpose, to show that the simulation notices: a check that never fails proves nothing.

use std::sync::{PoisonError, RwLock};

use muster_server::db::faults::{self, Fault};
use muster_server::db::{DbError, Tx};
use muster_server::ids::TenantId;
use muster_server::log;
use muster_sync_core::{
    change::{SignedChange, validate},
    sync::{
        client::Answer,
        message::{FateKind, Response},
    },
};

use crate::run::{Ran, run_seed_with};
use crate::server::{NOON_MS, TENANT, Template};
use crate::world::World;

/// How the server is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// It is not.
    None,
    /// The database answers before its commit.
    AnswersBeforeCommit,
    /// The database commits without a flush.
    SynchronousNormal,
    /// Accepted changes are said to need another try, for ever.
    DropsFates,
    /// The log holds a change twice.
    DoublesChange,
    /// The log holds a verdict that a student wrote.
    TakesAnything,
    /// Nobody judges.
    ForgetsVerdicts,
    /// A phone misses the newest change.
    HidesChange,
}

/// Whole databases are broken for the process, so a seed on such a one runs alone.
static ALONE: RwLock<()> = RwLock::new(());

/// Runs one seed on this thread.
pub(crate) fn run_seed(seed: u64, sabotage: Sabotage) -> Ran {
    // The beginning of every world is not to be broken.
    Template::get();
    let fault = match sabotage {
        Sabotage::AnswersBeforeCommit => Fault::AnswersBeforeCommit,
        Sabotage::SynchronousNormal => Fault::SynchronousNormal,
        _ => {
            let _beside = ALONE.read().unwrap_or_else(PoisonError::into_inner);
            return run_seed_with(seed, sabotage);
        }
    };
    let _alone = ALONE.write().unwrap_or_else(PoisonError::into_inner);
    faults::set(fault);
    let ran = run_seed_with(seed, sabotage);
    faults::set(Fault::None);
    ran
}

impl World {
    /// Breaks an answer.
    pub(crate) fn spoil(&self, answer: &mut Answer) {
        if self.sabotage != Sabotage::DropsFates || answer.status != 200 {
            return;
        }
        let Ok(mut response) = Response::decode(&answer.body) else { return };
        for fate in response.fates.iter_mut().filter(|fate| fate.kind == FateKind::Accepted) {
            (fate.kind, fate.receipt) = (FateKind::Retry, None);
        }
        answer.body = minicbor::to_vec(&response).expect("encoding into memory does not fail");
    }

    /// Breaks the log, before the questions at the end.
    pub(crate) fn spoil_log(&mut self) {
        let app = self.server.as_ref().expect("the server runs").app.clone();
        let spoiled: Result<(), DbError> = match self.sabotage {
            Sabotage::DoublesChange => {
                let twice = self.log().into_iter().next_back().expect("something is in the log");
                app.db.write_blocking(move |tx: &Tx<'_>| {
                    tx.execute("DROP INDEX change_log_chain", &[])?;
                    let signed = SignedChange { bytes: twice.change.clone(), signature: twice.signature };
                    append(tx, &twice.name, &signed)
                })
            }
            Sabotage::TakesAnything => {
                let locator = self.sessions.first().expect("a session was opened").locator;
                let (name, signed) = self.own_verdict_of(0, locator);
                app.db.write_blocking(move |tx: &Tx<'_>| append(tx, &name, &signed))
            }
            Sabotage::HidesChange => {
                let db = rusqlite::Connection::open(&self.phones[0].path).expect("the phone's store opens");
                let sql = "DELETE FROM changes WHERE log_index = (SELECT max(log_index) FROM changes)";
                db.execute(sql, []).map(drop).map_err(|error| DbError::Other(error.to_string()))
            }
            _ => Ok(()),
        };
        spoiled.expect("the log can be spoiled");
    }
}

fn append(tx: &Tx<'_>, name: &muster_sync_core::DocumentName, signed: &SignedChange) -> Result<(), DbError> {
    let valid = validate(TENANT, name, &signed.bytes, &signed.signature);
    let valid = valid.map_err(|refusal| DbError::Other(refusal.to_string()))?;
    log::append(tx, &TenantId::default_tenant(), name, &valid, signed, NOON_MS, &[]).map(drop)
}
