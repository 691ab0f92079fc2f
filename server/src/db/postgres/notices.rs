//! Messages between the servers of one database: which channels moved. They are hints, and nothing depends on them.
//!
//! The connection also holds a lock that says that this server lives, so that the servers can be counted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use futures_util::StreamExt;
use tokio::sync::{Notify, broadcast};
use tokio_postgres::{AsyncMessage, Client};

use super::super::{DbError, Tx};
use super::safety::{self, Allowances};
use super::target::{Messages, Target};
use super::values::{Cure, Trouble};
use super::writer::LOCK_CLASS;
use crate::{limits, params};

/// The lock that every server shares while it lives.
const NODE: i32 = 2;
/// The name under which PostgreSQL passes the messages on.
const TOPIC: &str = "muster_moved";
/// What stands for every channel in a message.
const EVERYTHING: &str = "*";

/// What other servers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A channel got something; its key.
    Moved(i64),
    /// Anything may have moved.
    Unknown,
}

/// The thread that speaks with the other servers.
pub(in crate::db) struct Notices {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    wake: Notify,
    heard: broadcast::Sender<Notice>,
}

#[derive(Default)]
struct Waiting {
    keys: BTreeSet<i64>,
    everything: bool,
    stop: bool,
}

impl Notices {
    /// Connects, counts the servers, and refuses if several of them rely on an asynchronous standby.
    pub(super) fn open(target: Arc<Target>, allowances: Allowances) -> Result<Self, DbError> {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            wake: Notify::new(),
            heard: broadcast::Sender::new(limits::NOTICES_WAITING_MAX),
        });
        let (opened, result) = mpsc::channel();
        let of_thread = Arc::clone(&shared);
        let body = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(run(&target, &of_thread, allowances, &opened)),
            Err(error) => drop(opened.send(Err(DbError::other(error)))),
        };
        let thread = std::thread::Builder::new().name("db-notices".to_owned()).spawn(body).map_err(DbError::other)?;
        result.recv().map_err(|_| DbError::Closed)??;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Tells the other servers that channels moved.
    pub(in crate::db) fn tell(&self, keys: &[i64]) {
        let mut waiting = self.shared.lock();
        if waiting.keys.len() + keys.len() > limits::NOTICES_WAITING_MAX {
            waiting.keys.clear();
            waiting.everything = true;
        }
        if !waiting.everything {
            waiting.keys.extend(keys);
        }
        drop(waiting);
        self.shared.wake.notify_one();
    }

    /// What the other servers say from now on.
    pub(in crate::db) fn listen(&self) -> broadcast::Receiver<Notice> {
        self.shared.heard.subscribe()
    }

    pub(in crate::db) fn close(&self) {
        self.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("The thread for messages between servers ended with a panic");
        }
    }

    fn stop(&self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.lock().stop
    }

    /// What is to be told now, as messages.
    fn messages(&self) -> Vec<String> {
        let mut waiting = self.lock();
        if std::mem::take(&mut waiting.everything) {
            return vec![EVERYTHING.to_owned()];
        }
        let keys: Vec<String> = std::mem::take(&mut waiting.keys).into_iter().map(|key| key.to_string()).collect();
        keys.chunks(limits::CHANNELS_PER_NOTICE_MAX).map(|keys| keys.join(",")).collect()
    }

    /// Nobody listening is no failure.
    fn hear(&self, text: &str) {
        for word in text.split(',') {
            let _ = self.heard.send(word.parse().map_or(Notice::Unknown, Notice::Moved));
        }
    }
}

async fn run(
    target: &Target,
    shared: &Arc<Shared>,
    allowances: Allowances,
    opened: &mpsc::Sender<Result<(), DbError>>,
) {
    let mut wait = limits::CONNECT_BACKOFF;
    let mut is_first = true;
    while !shared.is_stopping() {
        match connect(target, shared, allowances).await {
            Ok((client, mut driver)) => {
                if std::mem::take(&mut is_first) {
                    let _ = opened.send(Ok(()));
                } else {
                    shared.hear(EVERYTHING);
                }
                wait = limits::CONNECT_BACKOFF;
                tokio::select! {
                    _ = &mut driver => {}
                    () = speak(&client, shared) => {}
                }
                driver.abort();
            }
            Err(trouble) if is_first => return drop(opened.send(Err(trouble.error))),
            Err(trouble) => tracing::warn!(error = %trouble.error, "No messages from other servers"),
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.wake.notified() => {}
        }
        wait = (wait * 2).min(limits::NOTICE_RECONNECT_MAX);
    }
}

/// Sends what is to be told, until the connection fails or everything stops.
async fn speak(client: &Client, shared: &Shared) {
    while !shared.is_stopping() {
        for message in shared.messages() {
            if let Err(error) = client.execute("SELECT pg_notify($1, $2)", &[&TOPIC, &message]).await {
                return tracing::warn!(%error, "Could not tell other servers what moved");
            }
        }
        shared.wake.notified().await;
        tokio::time::sleep(limits::NOTICE_PAUSE).await;
    }
}

type Driver = tokio::task::JoinHandle<()>;

/// Programs that have this database open now, this one among them.
pub(in crate::db) fn nodes(tx: &Tx<'_>) -> Result<i64, DbError> {
    tx.count(
        "SELECT count(*)
         FROM pg_locks l
         JOIN pg_database d ON d.oid = l.database
         WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()
           AND l.classid = CAST(?1 AS BIGINT) AND l.objid = CAST(?2 AS BIGINT)",
        params![i64::from(LOCK_CLASS), i64::from(NODE)],
    )
}

async fn connect(target: &Target, shared: &Arc<Shared>, allowances: Allowances) -> Result<(Client, Driver), Trouble> {
    let (client, messages) = target.connect().await?;
    let (pid_known, pid) = tokio::sync::oneshot::channel();
    let driver = tokio::spawn(hear(messages, Arc::clone(shared), pid));
    client.batch_execute(target.setup()).await?;
    // A hint that is lost with the machine is no loss.
    client.batch_execute("SET synchronous_commit = off; SET idle_in_transaction_session_timeout = 0").await?;
    let lives = client.query_one("SELECT pg_backend_pid(), pg_advisory_lock_shared($1, $2)", &[&LOCK_CLASS, &NODE]);
    let own: i32 = lives.await?.try_get(0)?;
    let _ = pid_known.send(own);
    let sql = "SELECT (SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                 WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()
                   AND l.classid = CAST($1 AS BIGINT) AND l.objid = CAST($2 AS BIGINT)),
                (SELECT count(*) FROM pg_stat_replication),
                current_setting('synchronous_standby_names')";
    let row = client.query_one(sql, &[&i64::from(LOCK_CLASS), &i64::from(NODE)]).await?;
    let (nodes, standbys, names): (i64, i64, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let checked = safety::check_standby(nodes, standbys, &names, allowances);
    checked.map_err(|error| Trouble { error, cure: Cure::Never })?;
    client.batch_execute(&format!("LISTEN {TOPIC}")).await?;
    if nodes > 1 {
        tracing::info!(nodes, "Other servers use this database");
    }
    Ok((client, driver))
}

async fn hear(mut messages: Messages, shared: Arc<Shared>, pid: tokio::sync::oneshot::Receiver<i32>) {
    let mut pid = Some(pid);
    let mut own = None;
    while let Some(Ok(message)) = messages.next().await {
        let AsyncMessage::Notification(notification) = message else { continue };
        if let Some(pid) = pid.take() {
            own = pid.await.ok();
        }
        if own != Some(notification.process_id()) {
            shared.hear(notification.payload());
        }
    }
}
