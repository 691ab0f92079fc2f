//! `muster serve`: builds the app, listens, and ends in order when it is told to.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use clap::Args;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::admin;
use crate::app::{App, AppBuilder, StartError};
use crate::audit::{self, AuditHeadFile};
use crate::auth::{self, AuthState, Traffic};
use crate::blobs::{BlobError, BlobStore, DiskStore, S3Config, S3Store, crypt::MasterKey};
use crate::config::{Config, Environment, Secret, StorageBackend};
use crate::data_lock::DataLock;
use crate::db::Db;
use crate::devices::LegacyIds;
use crate::error::AppError;
use crate::evidence::{self, Vault};
use crate::face::Faces;
use crate::health::{ImageStoreHealth, RedisHealth, StorageHealth};
use crate::jobs::{self, Handlers};
use crate::keys::KeyFile;
use crate::log::{self, HeadFile, Movements, ServerKey};
use crate::mail::{self, Mailer};
use crate::oidc::OidcState;
use crate::roster::Imports;
use crate::{attendance, courses, devices, face, face_engine, http, keyring, limits, router, sync, telemetry};

/// The settings of `muster serve`.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    config: Config,
}

/// Serves until SIGTERM or ctrl-c.
pub(super) fn run(serve: Serve, warnings: &[String]) -> Result<(), StartError> {
    serve.config.check()?;
    telemetry::start(&serve.config.data).map_err(StartError::Other)?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = serve.config.work.threads() {
        builder.worker_threads(threads.get());
    }
    let runtime = builder.enable_all().build().map_err(|error| StartError::Io("the runtime".to_owned(), error))?;
    runtime.block_on(async {
        let limits = http::connections_within(limits::CONNECTION);
        let running = start_prepared(AppBuilder::new(serve.config).connection_limits(limits), first_account).await?;
        tracing::info!(address = %running.address, "Listening");
        interrupted().await;
        tracing::info!("Stopping");
        running.stop().await;
        Ok(())
    })
}

/// With ENV=dev somebody can sign in as soon as the server answers.
fn first_account(app: &App) -> Result<(), StartError> {
    match app.config.data.env {
        Environment::Dev => admin::create_first(&app.config.data, &app.db),
        Environment::Staging | Environment::Prod => Ok(()),
    }
}

/// A server that runs in this process.
pub struct Running {
    /// The state, for whoever runs the server.
    pub app: App,
    /// Where it listens.
    pub address: SocketAddr,
    /// What runs until the server stops, by name, in the order in which it ends.
    tasks: Vec<(&'static str, JoinHandle<()>)>,
}

/// Adds what the slices keep in memory: the server's keys and the vault over the store of images. Blocks.
fn furnish(builder: AppBuilder, store: Arc<dyn BlobStore>) -> Result<AppBuilder, StartError> {
    let config = builder.config();
    let keys_dir = config.data.keys_dir();
    let entropy = builder.entropy_source();
    let server_key = ServerKey::load_or_create(&keys_dir, entropy)
        .map_err(|error| StartError::Io(keys_dir.display().to_string(), error))?;
    let (head_file, audit_heads) = (HeadFile::in_folder(&keys_dir), AuditHeadFile::in_folder(&keys_dir));
    let fill = |bytes: &mut [u8]| entropy.fill(bytes);
    let master = match &config.master_key {
        Some(secret) => MasterKey::from_base64(secret.reveal(), "MASTER_KEY"),
        None => MasterKey::load_or_create(&keys_dir.join(KeyFile::Master.file_name()), &fill),
    };
    let master = master.map_err(|error| StartError::Other(error.to_string()))?;
    let mailer = Mailer::open(config, entropy)?;
    let faces = face_engine::open(&config.models_dir());
    let kept_for = config.work.kept_for(None);
    Ok(builder
        .with(server_key)
        .with(mailer)
        .with(Vault::new(store, master, kept_for))
        .with(Movements::default())
        .with(head_file)
        .with(audit_heads)
        .with(faces)
        .with(Faces::new(kept_for))
        .with(ImageStoreHealth::default())
        .with(RedisHealth::default())
        .with(StorageHealth::default()))
}

/// The store of images that the settings name. Blocks.
fn store_of(config: &Config) -> Result<Arc<dyn BlobStore>, StartError> {
    Ok(match config.storage_backend {
        StorageBackend::Local => Arc::new(DiskStore::open(config.data.data_dir.join("blobs")).map_err(in_words)?),
        StorageBackend::S3 => Arc::new(S3Store::open(&s3_config(config)).map_err(in_words)?),
    })
}

/// What a start would stumble over and the settings alone do not show: the files that they name, the addresses that
/// libraries read. Nothing is written. Each text begins with the name of a setting.
pub(super) fn rehearse(config: &Config) -> Vec<String> {
    let is_name =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    let said = |name: &str, text: String| match text.split_once(": ") {
        Some((named, _)) if is_name(named) => text,
        _ => format!("{name}: {text}"),
    };
    let key = config.master_key.as_ref().map_or(Ok(()), |key| MasterKey::from_base64(key.reveal(), "it").map(drop));
    let database = config.data.database().map_err(|error| error.to_string());
    let database = database.and_then(|url| Db::check_address(&url).map_err(|error| error.to_string()));
    let (host, data_dir) = (config.host.as_str(), &config.data.data_dir);
    let addresses = std::net::ToSocketAddrs::to_socket_addrs(&(host, config.port));
    let is_file = data_dir.exists() && !data_dir.is_dir();
    let tried = [
        ("DATABASE_URL", database.err()),
        ("MASTER_KEY", key.err().map(|error| error.to_string())),
        ("OAUTH_PROVIDERS_FILE", OidcState::check(config).err().map(|error| error.to_string())),
        ("SMTP_CA_FILE", Mailer::check(config).err().map(|error| error.to_string())),
        ("LOG_FILE", telemetry::check(&config.data).err()),
        ("HOST", addresses.err().map(|error| format!("{host} has no address: {error}"))),
        ("DATA_DIR", is_file.then(|| format!("{} is no folder", data_dir.display()))),
    ];
    tried.into_iter().filter_map(|(name, text)| text.map(|text| said(name, text))).collect()
}

fn s3_config(config: &Config) -> S3Config {
    let reveal = |secret: &Option<Secret>| secret.as_ref().map_or(String::new(), |secret| secret.reveal().to_owned());
    let bucket = config.s3_bucket.as_deref().unwrap_or_default();
    let mut s3 =
        S3Config::new(&config.s3_region, bucket, &reveal(&config.s3_access_key), &reveal(&config.s3_secret_key));
    s3.endpoint = config.s3_endpoint().map(str::to_owned);
    s3
}

fn in_words(error: BlobError) -> StartError {
    StartError::Other(format!("the store of images cannot be opened: {error}"))
}

/// Starts a whole server on the configured address.
///
/// # Errors
/// When a setting is wrong, or what it needs cannot be opened. Nothing is open then.
pub async fn start(builder: AppBuilder) -> Result<Running, StartError> {
    start_prepared(builder, |_| Ok(())).await
}

/// The same, and does something before anybody is answered. It may block.
async fn start_prepared(
    builder: AppBuilder,
    prepare: fn(&App) -> Result<(), StartError>,
) -> Result<Running, StartError> {
    let app = tokio::task::spawn_blocking(move || build(builder))
        .await
        .map_err(|error| StartError::Other(error.to_string()))??;
    let begun = begin(app.clone(), prepare).await;
    if begun.is_err() {
        close(&app).await;
    }
    begun
}

async fn begin(app: App, prepare: fn(&App) -> Result<(), StartError>) -> Result<Running, StartError> {
    accounts_that_everybody_knows(&app).await?;
    let prepared = app.clone();
    let prepared = tokio::task::spawn_blocking(move || prepare(&prepared)).await;
    prepared.map_err(|error| StartError::Other(error.to_string()))??;
    let (host, port) = (app.config.host.clone(), app.config.port);
    let listening = |error| StartError::Io(format!("{host}:{port}"), error);
    let listener = http::listen(&host, port).await.map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    let router = router::router(app.clone());
    let spawn = |name, work| (name, app.spawn_behind(name, work));
    let mut tasks = vec![spawn("listener", boxed(http::serve(app.clone(), listener, router)))];
    if app.config.work.enable_background_tasks {
        tasks.push(spawn("job worker", boxed(jobs::run(app.clone(), handlers()))));
    }
    tasks.extend([
        spawn("log heads", boxed(log::keep_published(app.clone()))),
        spawn("audit heads", boxed(audit::keep_published(app.clone()))),
    ]);
    if app.db.is_shared() {
        tasks.push(spawn("messages of other servers", boxed(log::pass_on_movements(app.clone()))));
    }
    Ok(Running { app, address, tasks })
}

/// Futures of different types in one list.
fn boxed(work: impl Future<Output = ()> + Send + 'static) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(work)
}

/// Closing waits for the writer's last commit, which must not happen on a thread of the runtime.
async fn close(app: &App) {
    let db = app.db.clone();
    if let Err(error) = tokio::task::spawn_blocking(move || db.close()).await {
        tracing::error!(%error, "The database could not be closed");
    }
    if let Some(lock) = app.slice::<DataLock>() {
        lock.release();
    }
}

/// With ENV=prod there are none, or there is no server; with ENV=dev they are made if somebody asks for them.
async fn accounts_that_everybody_knows(app: &App) -> Result<(), StartError> {
    let failed = |error: AppError| StartError::Other(error.to_string());
    if app.config.seed_demo_accounts {
        let app = app.clone();
        let made = tokio::task::spawn_blocking(move || admin::create_demo_accounts(&app.db)).await;
        made.map_err(|error| StartError::Other(error.to_string()))??;
    }
    if app.config.data.env != Environment::Prod {
        return Ok(());
    }
    let open = auth::open_to_everybody(app).await.map_err(failed)?;
    if open.is_empty() {
        return Ok(());
    }
    Err(StartError::Other(format!(
        "ENV=prod does not start while everybody knows the passwords of these accounts; change or disable them: {}",
        open.join(", ")
    )))
}

/// Which slice does which kind of work after a commit.
pub fn handlers() -> Handlers {
    Handlers::new()
        .on(evidence::ERASE_JOB, evidence::ERASE_BATCH_MAX, evidence::erase_batch)
        .on(sync::IMAGE_USES_JOB, 16, sync::read_image_uses)
        .on(devices::RELEASE_JOB, 16, sync::release_batch)
        .on(devices::FORK_JOB, 16, attendance::device_forked)
        .on(auth::OWNER_PROVEN_JOB, 16, devices::end_strangers_batch)
        .on(attendance::JUDGE_JOB, attendance::JUDGE_BATCH_MAX, attendance::judge_batch)
        .on(auth::RESET_JOB, 16, auth::reset_batch)
        .on(auth::FORMS_JOB, 1, auth::forms_batch)
        .on(courses::FORMS_JOB, 1, courses::forms_batch)
        .on(mail::MAIL_JOB, mail::DELIVER_BATCH_MAX, mail::deliver)
        .on(face::REFERENCE_JOB, 16, attendance::reference_changed)
}

/// The app with the state of every slice. Blocks.
fn build(builder: AppBuilder) -> Result<App, StartError> {
    builder.config().check()?;
    let lock = DataLock::take(&builder.config().data)?;
    let store = store_of(builder.config())?;
    build_on(lock.into_iter().fold(builder, AppBuilder::with), store)
}

/// The same on a given store of images, for programs that call the router themselves. Blocks.
///
/// # Errors
/// When a setting is wrong, or a key or the database cannot be opened. No file of the database is open then.
pub fn build_on(builder: AppBuilder, store: Arc<dyn BlobStore>) -> Result<App, StartError> {
    builder.config().check()?;
    let db = builder.open_database()?;
    // Whoever is told that it does not start may start it again at once, or take the disk away.
    build_over(builder, store, &db).inspect_err(|_| db.close())
}

/// What the database knows of keys is looked at before any key is made.
fn build_over(builder: AppBuilder, store: Arc<dyn BlobStore>, db: &Db) -> Result<App, StartError> {
    keyring::check(db, builder.config())?;
    let auth_state = AuthState::open(builder.config(), builder.entropy_source())?;
    let oidc = OidcState::open(builder.config(), builder.entropy_source())?;
    let legacy_ids = LegacyIds::open(builder.config(), builder.entropy_source())?;
    let networks = http::ClientNetworks::of(&builder.config().web)?;
    let traffic = Traffic::new(&builder.config().rates, &builder.config().web, builder.clock_source());
    let builder = furnish(builder, store)?;
    keyring::remember(db, builder.config(), builder.clock_source().now_ms())?;
    let app = builder
        .database(db.clone())
        .with(auth_state)
        .with(traffic)
        .with(oidc)
        .with(legacy_ids)
        .with(Imports::default())
        .with(http::Turns::default())
        .with(sync::Streams::default())
        .with(sync::Pushes::default())
        .with(networks)
        .build()?;
    check_before_serving(&app)?;
    Ok(app)
}

fn check_before_serving(app: &App) -> Result<(), StartError> {
    auth::check_mfa_key(app)?;
    if let (Some(key), Some(file)) = (app.slice::<ServerKey>(), app.slice::<HeadFile>()) {
        log::check_at_start(app, key, file)?;
    }
    audit::check_at_start(app)?;
    Ok(())
}

impl Running {
    /// Takes no new requests, finishes those in flight and the running jobs, then closes the database. What has not
    /// ended after `limits::STOP_GRACE` is given up, and the log says what.
    pub async fn stop(self) {
        self.app.stop();
        let deadline = Instant::now() + limits::STOP_GRACE;
        for (name, mut task) in self.tasks {
            match tokio::time::timeout_at(deadline, &mut task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, name, "A task ended with a panic"),
                Err(_) => {
                    tracing::warn!(name, "A task did not end in time and is given up");
                    task.abort();
                    let _ = task.await;
                }
            }
        }
        // Nobody writes any more: now the file says all that the log has.
        if let Err(error) = log::publish(&self.app).await {
            tracing::error!(%error, "The file of log heads is behind");
        }
        if let Err(error) = audit::publish(&self.app).await {
            tracing::error!(%error, "The file of audit heads is behind");
        }
        close(&self.app).await;
    }
}

/// Waits for SIGTERM or ctrl-c.
pub(super) async fn interrupted() {
    let ctrl_c = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            let _ = ctrl_c.await;
            return;
        };
        tokio::select! {
            _ = ctrl_c => {}
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = ctrl_c.await;
}
