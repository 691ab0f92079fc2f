//! What every handler and job can reach: settings, database, time, randomness, and the signal to stop.

use std::any::{Any, TypeId};
use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::{Config, DataConfig, DatabaseUrl};
use crate::db::{Allowances, Db};
use crate::limits::{self, ConnectionLimits};
use crate::telemetry::{Metrics, SecurityEvent};
use crate::{clock, ids, keys};

pub use crate::clock::ManualClock;

/// The shared state; cloning it is cheap.
#[derive(Clone)]
pub struct App(Arc<AppState>);

/// The fields of `App`.
pub struct AppState {
    /// Settings.
    pub config: Config,
    /// The database.
    pub db: Db,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// What a connection may take.
    pub connection_limits: ConnectionLimits,
    /// What is counted.
    pub metrics: Metrics,
    slices: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    stopping: watch::Sender<bool>,
    jobs_enqueued: watch::Sender<u64>,
    ended_early: Mutex<BTreeSet<&'static str>>,
}

/// Collects what an `App` needs.
pub struct AppBuilder {
    config: Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    connection_limits: ConnectionLimits,
    database: Option<Db>,
    slices: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The database cannot be opened or brought up to date.
    #[error(transparent)]
    Database(#[from] crate::db::DbError),
    /// A file or a socket.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl AppBuilder {
    /// With the machine's clock and randomness.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            connection_limits: limits::CONNECTION,
            database: None,
            slices: HashMap::new(),
        }
    }

    /// With another clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// With another source of randomness.
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// With other limits for connections.
    pub fn connection_limits(mut self, limits: ConnectionLimits) -> Self {
        self.connection_limits = limits;
        self
    }

    /// On a database that is open already.
    pub fn database(mut self, db: Db) -> Self {
        self.database = Some(db);
        self
    }

    /// The settings so far.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The source of randomness, for state that is made before the `App`.
    pub fn entropy_source(&self) -> &dyn Entropy {
        &*self.entropy
    }

    /// The clock, for state that is made before the `App`.
    pub fn clock_source(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Adds state that one slice keeps in memory; it finds it again by its type with `App::slice`.
    pub fn with<T: Any + Send + Sync>(mut self, state: T) -> Self {
        self.slices.insert(TypeId::of::<T>(), Box::new(state));
        self
    }

    /// Makes the folders and opens the database that the settings name. Blocks.
    pub fn open_database(&self) -> Result<Db, StartError> {
        let data = &self.config.data;
        keys::create_private_dir(&data.data_dir)
            .map_err(|error| StartError::Io(data.data_dir.display().to_string(), error))?;
        open_database(data, self.clock.now_ms())
    }

    /// Checks the settings, and opens the database unless one was given. Blocks.
    pub fn build(mut self) -> Result<App, StartError> {
        self.config.check()?;
        let db = match self.database.take() {
            Some(db) => db,
            None => self.open_database()?,
        };
        let metrics = Metrics::new().with_database(db.meters());
        Ok(App(Arc::new(AppState {
            config: self.config,
            db,
            clock: self.clock,
            entropy: self.entropy,
            connection_limits: self.connection_limits,
            metrics,
            slices: self.slices,
            stopping: watch::Sender::new(false),
            jobs_enqueued: watch::Sender::new(0),
            ended_early: Mutex::default(),
        })))
    }
}

/// Opens the database that the settings name; makes the folder of a file. Blocks.
///
/// # Errors
/// As [`Db::open`], and when a setting is wrong.
pub fn open_database(data: &DataConfig, now_ms: i64) -> Result<Db, StartError> {
    let database = data.database()?;
    if let DatabaseUrl::Sqlite(path) = &database
        && let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty())
    {
        keys::create_private_dir(parent).map_err(|error| StartError::Io(parent.display().to_string(), error))?;
    }
    let (unsafe_settings, async_standby) = data.allowances()?;
    let allowances = Allowances { unsafe_settings, async_standby };
    let db = Db::open(&database, allowances, data.capacity(), now_ms)?;
    db.log_slower_than(Duration::from_millis(data.db_slow_query_ms));
    Ok(db)
}

impl Deref for App {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}

impl App {
    /// Starts something that runs behind the requests until the server stops. If it ends before, by itself or by a panic,
    /// `ended_early` names it.
    pub fn spawn_behind<F>(&self, name: &'static str, work: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let end = End { app: self.clone(), name };
        tokio::spawn(async move {
            let _end = end;
            work.await;
        })
    }
}

impl AppState {
    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// A fresh UUID, ordered by time.
    pub fn new_uuid(&self) -> [u8; 16] {
        ids::uuid_v7(&*self.clock, &*self.entropy)
    }

    /// The state that a slice added under its own type.
    ///
    /// # Errors
    /// `None` when the program that built the `App` left the slice out.
    pub fn slice<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.slices.get(&TypeId::of::<T>())?.downcast_ref()
    }

    /// Tells everybody to finish.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether the server is finishing.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// What should run behind the requests and does not.
    pub fn ended_early(&self) -> Vec<&'static str> {
        self.ended_early.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Waits until the server is told to finish. Streams that would never end must watch this.
    pub async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as this state, so waiting cannot fail while somebody can call this.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Wakes the job workers; call it after the commit that holds the job.
    pub fn wake_jobs(&self) {
        self.jobs_enqueued.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes whenever `wake_jobs` is called.
    pub fn jobs_enqueued(&self) -> watch::Receiver<u64> {
        self.jobs_enqueued.subscribe()
    }

    /// Writes a security event to the log and counts it. It may go with any request and names nobody but by id.
    pub fn security_event(&self, event: SecurityEvent, request_id: &str, user_id: Option<&str>) {
        event.log(request_id, user_id);
        self.metrics.security_event(event);
    }

    /// An unpredictable number, for jitter and request ids.
    pub fn draw(&self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        clock::mix(u64::from_le_bytes(bytes))
    }
}

/// Notes the end of what runs behind the requests, also when it is a panic.
struct End {
    app: App,
    name: &'static str,
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.app.is_stopping() {
            tracing::error!(name = self.name, "Something that runs behind the requests has ended; restart the server");
            self.app.ended_early.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name);
        }
    }
}
