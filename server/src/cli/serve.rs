//! `muster serve`: builds the app, listens, and ends in order when it is told to.

use std::net::SocketAddr;

use clap::Args;
use tokio::task::JoinHandle;

use super::admin;
use crate::app::{App, AppBuilder, StartError};
use crate::auth::AuthState;
use crate::config::{Config, Environment};
use crate::jobs::{self, Handlers};
use crate::{http, router, telemetry};

/// The settings of `muster serve`.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    config: Config,
}

/// Serves until SIGTERM or ctrl-c.
pub(super) fn run(serve: Serve) -> Result<(), StartError> {
    telemetry::start(&serve.config.data).map_err(StartError::Other)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::Io("the runtime".to_owned(), error))?;
    runtime.block_on(async {
        let running = start(AppBuilder::new(serve.config)).await?;
        if running.app.config.data.env == Environment::Dev {
            let db = running.app.db.clone();
            let created = tokio::task::spawn_blocking(move || admin::create_first(&db)).await;
            created.map_err(|error| StartError::Other(error.to_string()))??;
        }
        tracing::info!(address = %running.address, "Listening");
        interrupted().await;
        tracing::info!("Stopping");
        running.stop().await;
        Ok(())
    })
}

/// A server that runs in this process.
pub struct Running {
    /// The state, for whoever runs the server.
    pub app: App,
    /// Where it listens.
    pub address: SocketAddr,
    http: JoinHandle<()>,
    jobs: JoinHandle<()>,
}

/// Starts a whole server on the configured address.
pub async fn start(builder: AppBuilder) -> Result<Running, StartError> {
    let app = tokio::task::spawn_blocking(move || build(builder))
        .await
        .map_err(|error| StartError::Other(error.to_string()))??;
    let (host, port) = (app.config.host.clone(), app.config.port);
    let listening = |error| StartError::Io(format!("{host}:{port}"), error);
    let listener = http::listen(&host, port).await.map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    let router = router::router(app.clone());
    let http = tokio::spawn(http::serve(app.clone(), listener, router));
    let jobs = tokio::spawn(jobs::run(app.clone(), handlers()));
    Ok(Running { app, address, http, jobs })
}

/// Which slice does which kind of work after a commit.
fn handlers() -> Handlers {
    Handlers::new()
}

/// The app with the state of every slice. Blocks.
fn build(builder: AppBuilder) -> Result<App, StartError> {
    builder.config().check()?;
    let auth = AuthState::open(builder.config(), builder.entropy_source())?;
    builder.with(auth).build()
}

impl Running {
    /// Takes no new requests, finishes those in flight and the running jobs, then closes the database.
    pub async fn stop(self) {
        self.app.stop();
        for (name, task) in [("listener", self.http), ("job worker", self.jobs)] {
            if let Err(error) = task.await {
                tracing::error!(%error, name, "A task ended with a panic");
            }
        }
        let db = self.app.db.clone();
        // Closing waits for the writer's last commit, which must not happen on a thread of the runtime.
        let _ = tokio::task::spawn_blocking(move || db.close()).await;
    }
}

async fn interrupted() {
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
