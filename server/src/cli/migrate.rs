//! `muster migrate`: brings the tables up to date without serving, for whoever wants that as a step of its own.

use std::io::Write;

use clap::Args;

use crate::app::{self, StartError};
use crate::clock::{Clock, SystemClock};
use crate::config::DataConfig;
use crate::db::SERVER_MIGRATIONS;
use crate::telemetry;

/// The database.
#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    data: DataConfig,
}

/// Runs the command.
pub(super) fn run(migrate: &Migrate) -> Result<(), StartError> {
    telemetry::start(&migrate.data).map_err(StartError::Other)?;
    let db = app::open_database(&migrate.data, SystemClock.now_ms())?;
    let applied = db.migrations_applied();
    db.close();
    let text = format!("{} of {} migrations are applied\n", applied?, SERVER_MIGRATIONS.len());
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.map_err(|error| StartError::Io("standard output".to_owned(), error))
}
