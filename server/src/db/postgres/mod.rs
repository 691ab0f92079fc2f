//! PostgreSQL: one writer thread that commits many requests at once, a few reader threads on snapshots, and a thread
//! that hears from the other servers of the database.
//!
//! Transactions that write are SERIALIZABLE. The servers of one database also take turns at writing, by a lock that is
//! taken before BEGIN: every group of requests moves the head of the log, so without turns nearly every group would be
//! refused and repeated. The lock only saves that work; what keeps the rows right is SERIALIZABLE.

mod link;
mod notices;
mod pooler;
mod safety;
mod session;
mod target;
mod tls;
mod translate;
mod values;
mod writer;

pub use notices::Notice;
pub(super) use notices::{Notices, nodes};
pub use safety::Allowances;
pub(super) use session::Session;
pub(super) use translate::migration;
pub(super) use values::Column;

use std::sync::Arc;

use super::request::{Request, Requests, Workers};
use super::{DbError, Tx};
use crate::config::Capacity;
use crate::limits;
use link::Link;
use target::Target;
use values::Cure;

/// Whether an address can be read; nobody is asked.
pub(super) fn check_address(url: &str) -> Result<(), DbError> {
    Target::parse(url).map(drop)
}

/// Connects, checks that the server keeps what it acknowledges, and starts the threads.
pub(super) fn open(url: &str, allowances: Allowances, capacity: Capacity) -> Result<(Workers, Notices), DbError> {
    let target = Arc::new(Target::parse(url)?);
    let mut writer = Link::new(Arc::clone(&target));
    let session = writer.session().map_err(|trouble| trouble.error)?;
    // First, because what the other checks learn would be true of one session among several.
    pooler::check(&target)?;
    safety::check(session, allowances)?;
    let notices = Notices::open(Arc::clone(&target), allowances)?;
    let workers = Workers::new(capacity.queue_wait);
    let started = workers.writer(move |queue| writer::write_loop(&mut writer, queue)).and_then(|()| {
        (0..capacity.readers).try_for_each(|_| {
            let mut reader = Link::new(Arc::clone(&target)).replaced_after(capacity.connection_age_max);
            workers.reader(move |queue| read_loop(&mut reader, queue))
        })
    });
    Ok((workers.or_close(started)?, notices))
}

fn read_loop(link: &mut Link, queue: &Requests) {
    while let Some(mut request) = queue.take(1).pop_front() {
        link.replace_if_old();
        match run_read(link, request.as_mut()) {
            Ok(()) => {}
            Err(error) => request.fail(error),
        }
        request.answer();
        // Nothing depends on how a read ends, so nobody waits for it.
        link.roll_back();
    }
}

/// Reads change nothing, so a read whose connection was lost runs again on a new one.
fn run_read(link: &mut Link, request: &mut dyn Request) -> Result<(), DbError> {
    let mut attempt = 0;
    loop {
        let session = link.session().map_err(|trouble| trouble.error)?;
        session.command("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        request.run(&Tx::postgres(session));
        let Err(trouble) = session.settle() else { return Ok(()) };
        attempt += 1;
        if attempt >= limits::READ_ATTEMPTS_MAX || !matches!(trouble.cure, Cure::Again | Cure::Reconnect) {
            return Err(trouble.error);
        }
        match trouble.cure {
            Cure::Reconnect => link.drop_session(),
            _ => link.roll_back(),
        }
    }
}
