//! The writer's thread: groups of requests in one transaction each.

use std::collections::VecDeque;

use super::super::request::{Request, Requests, fail_all};
use super::super::{DbError, Tx, meters};
use super::link::Link;
use super::session::Session;
use super::values::{Cure, Trouble};
use crate::clock::Stopwatch;
use crate::limits;

/// "MUST" and a number: a lock that only Muster takes.
pub(super) const LOCK_CLASS: i32 = 0x4D55_5354;
/// Held by the server whose turn it is to write.
const TURN: i32 = 1;

/// Ways in which an attempt on a group ends without a commit.
enum Stopped {
    /// One request failed: all of them again, each in a savepoint.
    Request,
    /// The transaction is gone.
    Trouble(Trouble),
    /// The connection was lost while the commit was on its way: nobody knows whether it was kept.
    Unknown(DbError),
}

type Group = Vec<Box<dyn Request>>;

pub(super) fn write_loop(link: &mut Link, queue: &Requests) {
    let mut waiting = VecDeque::new();
    loop {
        if waiting.is_empty() {
            waiting = queue.take(limits::GROUP_REQUESTS_MAX);
        }
        if waiting.is_empty() {
            return;
        }
        run_group(link, &mut waiting);
    }
}

/// As many of the waiting requests as the time budget allows, in one commit, however often others get between.
fn run_group(link: &mut Link, waiting: &mut VecDeque<Box<dyn Request>>) {
    let mut group = Group::new();
    let mut careful = false;
    let mut conflicts = 0;
    let watch = Stopwatch::start();
    loop {
        match attempt(link, &mut group, waiting, careful) {
            Ok(()) => {
                meters::committed(group.len(), watch);
                return group.into_iter().for_each(|mut request| request.answer());
            }
            Err(Stopped::Request) => careful = true,
            Err(Stopped::Unknown(error)) => {
                link.drop_session();
                return fail_all(group.into_iter(), &error);
            }
            Err(Stopped::Trouble(trouble)) => {
                conflicts += 1;
                let hopeless = matches!(trouble.cure, Cure::Wait | Cure::Never);
                if hopeless || conflicts >= limits::CONFLICT_ATTEMPTS_MAX {
                    link.roll_back();
                    if group.is_empty() {
                        group.extend(waiting.drain(..));
                    }
                    meters::failed(&trouble.error);
                    return fail_all(group.into_iter(), &trouble.error);
                }
                match trouble.cure {
                    Cure::Reconnect => link.drop_session(),
                    _ => link.roll_back(),
                }
                link.pause(limits::CONFLICT_BACKOFF, conflicts);
                continue;
            }
        }
        link.roll_back();
    }
}

fn attempt(
    link: &mut Link,
    group: &mut Group,
    waiting: &mut VecDeque<Box<dyn Request>>,
    careful: bool,
) -> Result<(), Stopped> {
    // Connecting was tried more than once already.
    let unreachable = |trouble: Trouble| Stopped::Trouble(Trouble { cure: Cure::Wait, ..trouble });
    let session = link.session().map_err(unreachable)?;
    begin(session);
    if careful {
        return run_in_savepoints(session, group);
    }
    if group.is_empty() {
        run_new(session, group, waiting)?;
    } else {
        for request in group.iter_mut() {
            run_bare(session, request.as_mut())?;
        }
    }
    commit(session)
}

/// The turn is taken outside of the transaction, so that its snapshot is newer than what the last one committed.
fn begin(session: &Session) {
    session.command(&format!("SELECT pg_advisory_lock({LOCK_CLASS}, {TURN})"));
    session.command("BEGIN ISOLATION LEVEL SERIALIZABLE");
}

/// Nearly always all of them succeed, so the first try has no savepoints, each of which would cost statements.
fn run_new(session: &Session, group: &mut Group, waiting: &mut VecDeque<Box<dyn Request>>) -> Result<(), Stopped> {
    let mut since_first: Option<Stopwatch> = None;
    while let Some(request) = waiting.pop_front() {
        group.push(request);
        if let Some(request) = group.last_mut() {
            run_bare(session, request.as_mut())?;
        }
        // The first one's time is spent on waiting for the turn.
        if since_first.get_or_insert_with(Stopwatch::start).elapsed() > limits::GROUP_BUDGET {
            break;
        }
    }
    Ok(())
}

fn run_bare(session: &Session, request: &mut dyn Request) -> Result<(), Stopped> {
    let succeeded = request.run(&Tx::postgres(session));
    match session.trouble() {
        Some(trouble) if trouble.cure != Cure::Never => Err(Stopped::Trouble(trouble)),
        // Also when the request went on as if nothing had happened.
        Some(_) => Err(Stopped::Request),
        None if !succeeded => Err(Stopped::Request),
        None => Ok(()),
    }
}

/// The same requests in one commit, in which each can fail alone.
fn run_in_savepoints(session: &Session, group: &mut Group) -> Result<(), Stopped> {
    for request in group.iter_mut() {
        session.command("SAVEPOINT request");
        let succeeded = request.run(&Tx::postgres(session));
        match session.settle() {
            Ok(()) if succeeded => {}
            Err(trouble) if trouble.cure != Cure::Never => return Err(Stopped::Trouble(trouble)),
            settled => {
                if let (true, Err(trouble)) = (succeeded, settled) {
                    request.fail(trouble.error);
                }
                session.forget_trouble();
                session.command("ROLLBACK TO request");
            }
        }
        session.command("RELEASE request");
    }
    commit(session).map_err(|stopped| match stopped {
        Stopped::Request => {
            let error = DbError::Other("the commit failed, and no request alone explains it".to_owned());
            Stopped::Trouble(session.trouble().unwrap_or(Trouble { error, cure: Cure::Never }))
        }
        other => other,
    })
}

/// What is still unanswered, the commit, and the end of the turn, in one round trip.
fn commit(session: &Session) -> Result<(), Stopped> {
    session.command("COMMIT");
    session.command(&format!("SELECT pg_advisory_unlock({LOCK_CLASS}, {TURN})"));
    match session.settle() {
        Ok(()) => Ok(()),
        Err(Trouble { error: DbError::Lost(text), .. }) => Err(Stopped::Unknown(DbError::Lost(text))),
        // A failure of a statement before it makes PostgreSQL take COMMIT as ROLLBACK.
        Err(trouble) if trouble.cure == Cure::Never => Err(Stopped::Request),
        Err(trouble) => Err(Stopped::Trouble(trouble)),
    }
}
