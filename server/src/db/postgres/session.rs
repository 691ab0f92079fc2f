//! One connection to PostgreSQL, driven from one thread, and what is known about its transaction.
//!
//! A round trip costs more than most statements. So commands, and statements whose answer nobody needs, are only noted;
//! they go out in order together with the next statement that has to be waited for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use futures_util::{StreamExt, TryStreamExt};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, Error, Row, Statement};

use super::super::DbError;
use super::super::tx::Value;
use super::target::Target;
use super::translate;
use super::values::{Cure, Kept, Trouble};
use crate::limits;

type Answer = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// An open connection.
pub(in crate::db) struct Session {
    // Before the runtime, so that statements are dropped while it lives.
    statements: RefCell<HashMap<Box<str>, Statement>>,
    unanswered: RefCell<Vec<Answer>>,
    /// What ended the transaction that is open.
    trouble: RefCell<Option<Trouble>>,
    client: Arc<Client>,
    runtime: Runtime,
}

impl Session {
    /// Connects.
    pub(super) fn open(target: &Target) -> Result<Self, Trouble> {
        let failed = |error: std::io::Error| Trouble { error: DbError::other(error), cure: Cure::Never };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (client, messages) = runtime.block_on(target.connect())?;
        // After a failure the stream would say the same for ever.
        runtime.spawn(messages.take_while(|message| ready(message.is_ok())).for_each(|_| ready(())));
        let session = Self {
            statements: RefCell::default(),
            unanswered: RefCell::default(),
            trouble: RefCell::default(),
            client: Arc::new(client),
            runtime,
        };
        session.command(target.setup());
        match session.settle() {
            Ok(()) => Ok(session),
            Err(trouble) => Err(trouble),
        }
    }

    /// Runs a statement and says how many rows it changed.
    pub(in crate::db) fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, DbError> {
        let statement = self.prepare(sql, params)?;
        self.wait_for(self.client.execute_raw(&statement, params.iter().copied()))
    }

    /// Notes a statement whose count nobody needs.
    pub(in crate::db) fn send(&self, sql: &str, params: &[Value<'_>]) -> Result<(), DbError> {
        let statement = self.prepare(sql, params)?;
        let (client, kept) = (Arc::clone(&self.client), params.iter().map(|value| Kept::from(*value)));
        let kept: Vec<Kept> = kept.collect();
        self.note(async move { client.execute_raw(&statement, kept.iter().map(Kept::value)).await.map(drop) });
        if self.unanswered.borrow().len() >= limits::STATEMENTS_IN_FLIGHT_MAX {
            self.settle().map_err(|trouble| trouble.error)?;
        }
        Ok(())
    }

    /// Every row, in order.
    pub(in crate::db) fn query(&self, sql: &str, params: &[Value<'_>]) -> Result<Vec<Row>, DbError> {
        let statement = self.prepare(sql, params)?;
        let values = params.iter().copied();
        self.wait_for(async { self.client.query_raw(&statement, values).await?.try_collect().await })
    }

    /// Several statements without placeholders.
    pub(in crate::db) fn batch(&self, sql: &str) -> Result<(), DbError> {
        self.wait_for(self.client.batch_execute(sql))
    }

    /// How many placeholders a statement has, and how many columns its rows.
    pub(in crate::db) fn describe(&self, sql: &str) -> Result<(usize, usize), DbError> {
        let statement = self.wait_for(self.client.prepare(&translate::statement(sql)))?;
        Ok((statement.params().len(), statement.columns().len()))
    }

    /// Notes a command, such as BEGIN.
    pub(super) fn command(&self, sql: &str) {
        let (client, sql) = (Arc::clone(&self.client), sql.to_owned());
        self.note(async move { client.batch_execute(&sql).await });
    }

    /// Waits for every answer; says what ended the transaction, if anything did.
    pub(super) fn settle(&self) -> Result<(), Trouble> {
        if !self.unanswered.borrow().is_empty() {
            let _ = self.wait_for(ready(Ok(())));
        }
        self.trouble().map_or(Ok(()), Err)
    }

    /// What ended the transaction that is open.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble.borrow().clone()
    }

    /// After a rollback.
    pub(super) fn forget_trouble(&self) {
        *self.trouble.borrow_mut() = None;
    }

    fn note(&self, answer: impl Future<Output = Result<(), Error>> + Send + 'static) {
        self.unanswered.borrow_mut().push(Box::pin(answer));
    }

    fn prepare(&self, sql: &str, params: &[Value<'_>]) -> Result<Statement, DbError> {
        if let Some(trouble) = &*self.trouble.borrow() {
            return Err(trouble.error.clone());
        }
        let known = self.statements.borrow().get(sql).cloned();
        let statement = match known {
            Some(statement) => statement,
            None => {
                let statement = self.wait_for(self.client.prepare(&translate::statement(sql)))?;
                let mut statements = self.statements.borrow_mut();
                if statements.len() >= limits::STATEMENTS_CACHED_MAX {
                    statements.clear();
                }
                statements.insert(sql.into(), statement.clone());
                statement
            }
        };
        let (expected, given) = (statement.params().len(), params.len());
        if expected != given {
            return Err(DbError::other(format!("a statement has {expected} placeholders and {given} values")));
        }
        Ok(statement)
    }

    /// Sends everything that was noted and then `last`, in order, and waits for all answers.
    fn wait_for<T>(&self, last: impl Future<Output = Result<T, Error>>) -> Result<T, DbError> {
        let mut noted: Vec<Option<Answer>> = self.unanswered.take().into_iter().map(Some).collect();
        let mut answered: Vec<Option<Error>> = noted.iter().map(|_| None).collect();
        let answer = self.runtime.block_on(async {
            let mut last = pin!(last);
            let mut answer = None;
            // The first poll of a future sends its message, so polling in order is sending in order.
            poll_fn(|context| {
                for (place, failed) in noted.iter_mut().zip(&mut answered) {
                    let Some(Poll::Ready(done)) = place.as_mut().map(|future| future.as_mut().poll(context)) else {
                        continue;
                    };
                    *failed = done.err();
                    *place = None;
                }
                if answer.is_none()
                    && let Poll::Ready(done) = last.as_mut().poll(context)
                {
                    answer = Some(done);
                }
                if answer.is_some() && noted.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            answer
        });
        for error in answered.into_iter().flatten() {
            self.remember(error.into());
        }
        match answer {
            Some(Ok(value)) => match &*self.trouble.borrow() {
                Some(trouble) => Err(trouble.error.clone()),
                None => Ok(value),
            },
            Some(Err(error)) => {
                let trouble = Trouble::from(error);
                let own = trouble.error.clone();
                self.remember(trouble);
                Err(self.trouble().map_or(own, |first| first.error))
            }
            None => Err(DbError::Closed),
        }
    }

    /// The first failure of a transaction is the one that explains the others.
    fn remember(&self, trouble: Trouble) {
        let mut known = self.trouble.borrow_mut();
        let outweighs = |known: &Trouble| trouble.cure == Cure::Reconnect && known.cure != Cure::Reconnect;
        if known.as_ref().is_none_or(outweighs) {
            *known = Some(trouble);
        }
    }
}
