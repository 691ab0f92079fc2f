//! The import of a university's roster: people, courses and who has a place in which, from OneRoster CSV or a plain CSV.
//!
//! Files are read within bounds, compared with what is there in memory, and what differs is written in one transaction.
//! A dry run is the same without the last step. Importing a roster twice changes nothing the second time. Who is not in a
//! roster any more is reported and stays.

mod apply;
mod dates;
mod error;
mod existing;
mod import;
mod names;
mod limits;
mod oneroster;
mod people;
mod plain;
mod plan;
mod progress;
mod report;
mod source;
mod spreadsheet;
mod table;
mod upload;
mod users;

use clap::ValueEnum;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

pub use error::RosterError;
pub use import::{Imported, Importer};
pub use limits::{LIMITS, Limits, UPLOAD_BYTES_MAX};
pub use plain::COLUMNS;
pub use progress::{Progress, Stage};
pub use report::{Change, CourseCounts, Elapsed, FileRead, MemberCounts, Problem, Report, UserCounts};
pub use upload::Imports;

/// `/admin/roster/import`
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(upload::import_roster))
}

/// What a roster looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A folder or an archive is OneRoster, one file is a plain CSV.
    #[default]
    Auto,
    /// OneRoster 1.2 or 1.1 as CSV.
    #[value(name = "oneroster")]
    OneRoster,
    /// One plain CSV.
    Csv,
}

/// What to do with a roster.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What it looks like.
    pub format: Format,
    /// Only say what would change.
    pub dry_run: bool,
    /// One bad row stops everything.
    pub strict: bool,
    /// Whoever came from the registry and is not in a complete roster any more loses access.
    pub disable_missing: bool,
    /// An account with the address of a person is that person's, also if nobody has confirmed the address.
    pub trust_emails: bool,
}
