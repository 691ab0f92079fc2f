//! Whether a connection is a session of our own. A pooler may give every transaction to whichever session is free: then
//! settings, locks, prepared statements and notices are those of somebody else, and nothing says so until rows are lost.

use tokio_postgres::{Client, Error, SimpleQueryMessage};

use super::super::DbError;
use super::target::Target;
use super::values::Trouble;
use crate::limits;

/// How often two connections try to meet in one session. Poolers choose among the free ones by different rules.
const ROUNDS: u32 = 6;
/// A setting that nobody else has. Simple messages read and write it: a pooler may not know prepared statements.
const LOOK: &str = "SELECT pg_backend_pid(), coalesce(current_setting('muster.session', true), '')";

const REFUSAL: &str = "DATABASE_URL leads to a pooler that shares sessions among connections (such as PgBouncer with \
    pool_mode=transaction), and locks and settings of this server would be lost in it; give the direct address of \
    PostgreSQL, or let the pooler use pool_mode=session";

/// What a connection sees of its session.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    process: String,
    mark: String,
}

/// Refuses a pooler that shares sessions. One that keeps a session for as long as a connection lives is none for us.
pub(super) fn check(target: &Target) -> Result<(), DbError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DbError::other)?;
    let looking = async {
        let (one, other) = (open(target).await?, open(target).await?);
        for round in 0..ROUNDS {
            for (mine, theirs, name) in [(&one, &other, "one"), (&other, &one, "other")] {
                let mark = format!("{}-{name}-{round}", std::process::id());
                if is_shared(mine, theirs, &mark).await? {
                    return Ok(true);
                }
            }
        }
        Ok::<_, Trouble>(false)
    };
    // Within the runtime: a command has no other one around it that could measure the time.
    let looked = runtime.block_on(async { tokio::time::timeout(limits::STATEMENT_TIMEOUT, looking).await });
    match looked {
        Ok(Ok(false)) => Ok(()),
        Ok(Ok(true)) => Err(DbError::Refused(REFUSAL.to_owned())),
        Ok(Err(trouble)) => Err(trouble.error),
        Err(_) => Err(DbError::Lost("PostgreSQL does not answer".to_owned())),
    }
}

async fn open(target: &Target) -> Result<Client, Trouble> {
    use futures_util::StreamExt;
    let (client, messages) = target.connect().await?;
    // It ends with the connection, which ends with the client.
    tokio::spawn(
        messages.take_while(|message| std::future::ready(message.is_ok())).for_each(|_| std::future::ready(())),
    );
    Ok(client)
}

/// Whether `mine` loses its session, or `theirs` gets it, while `theirs` has a transaction open.
async fn is_shared(mine: &Client, theirs: &Client, mark: &str) -> Result<bool, Error> {
    mine.batch_execute(&format!("SELECT set_config('muster.session', '{mark}', false)")).await?;
    let Some(before) = look(mine).await? else { return Ok(true) };
    match theirs.batch_execute("BEGIN").await {
        Ok(()) => {}
        // Nothing but a pooler has a reason to forbid transactions.
        Err(error) if error.as_db_error().is_some() => return Ok(true),
        Err(error) => return Err(error),
    }
    let seen = look(theirs).await?;
    let taken = seen.is_none_or(|seen| seen.process == before.process || seen.mark == mark);
    // Where the session was given away, ours might wait for it for ever.
    let moved = !taken && look(mine).await?.is_none_or(|after| after != before || after.mark != mark);
    theirs.batch_execute("ROLLBACK").await?;
    Ok(taken || moved)
}

async fn look(client: &Client) -> Result<Option<Seen>, Error> {
    let rows = client.simple_query(LOOK).await?;
    Ok(rows.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(Seen { process: row.get(0)?.to_owned(), mark: row.get(1)?.to_owned() }),
        _ => None,
    }))
}
