//! `muster sessions`: class sessions that several people say are theirs, and an admin's word about them.

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::json;

use super::admin::{actor, tell, tell_json, with_database};
use crate::app::{App, AppBuilder, StartError};
use crate::auth::{self, CurrentUser, Role, Status};
use crate::class_sessions::{self, Contested};
use crate::clock::iso_utc;
use crate::config::{Config, DataConfig};
use crate::data_lock::DataLock;
use crate::db::{Db, DbError};
use crate::ids::TenantId;
use crate::log::{Movements, ServerKey};
use crate::sync::{self, Settle, Settled};
use crate::{keyring, limits, telemetry};

/// `muster sessions ...`
#[derive(Debug, Subcommand)]
pub(super) enum Sessions {
    /// List the class sessions that several people planned, with every plan; the server may run meanwhile.
    Contested(List),
    /// Say whose plan of a class session stands, in the name of an admin. With SQLite the server has to be stopped.
    Settle(Box<Word>),
}

/// Arguments of `muster sessions contested`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    data: DataConfig,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `muster sessions settle`.
#[derive(Debug, Args)]
pub(super) struct Word {
    #[command(flatten)]
    config: Config,

    /// The session's locator, or its document's id in hexadecimal.
    session: String,

    /// The id of the plan that stands, from `muster sessions contested`.
    #[arg(long)]
    plan: String,

    /// Why: a code of 1 to 64 letters, digits, `-`, `_` and `.`.
    #[arg(long)]
    reason: String,

    /// The admin who says so: e-mail address, user name or id.
    #[arg(long)]
    admin: String,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(sessions: Sessions) -> Result<(), StartError> {
    match sessions {
        Sessions::Contested(list) => contested(&list),
        Sessions::Settle(word) => settle(*word),
    }
}

fn contested(list: &List) -> Result<(), StartError> {
    let found = with_database(&list.data, read_all)?;
    if list.json {
        let plan = |row: &class_sessions::PlanRow| {
            json!({
                "id": row.hash.to_string(), "planner": row.planner, "course_id": row.course,
                "received_at": iso_utc(row.planned_at_ms),
            })
        };
        let session = |one: &Contested| json!({ "locator": one.locator.as_str(), "plans": one.plans.iter().map(plan).collect::<Vec<_>>() });
        return tell_json(&found.iter().map(session).collect::<Vec<_>>());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["session", "plan", "planner", "course", "received"]);
    for (one, row) in found.iter().flat_map(|one| one.plans.iter().map(move |row| (one, row))) {
        let received = iso_utc(row.planned_at_ms);
        table.add_row([one.locator.as_str(), &row.hash.to_string(), &row.planner, &row.course, &received]);
    }
    tell(&format!("{table}\n{} class sessions wait for an admin\n", found.len()))
}

fn read_all(db: &Db) -> Result<Vec<Contested>, StartError> {
    let mut all: Vec<Contested> = Vec::new();
    loop {
        let after = all.last().map_or_else(String::new, |one| one.locator.to_string());
        let page = db.read_blocking::<_, DbError, _>(move |tx| {
            class_sessions::contested(tx, &TenantId::default_tenant(), &after, limits::PAGE_ROWS_MAX)
        })?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

fn settle(word: Word) -> Result<(), StartError> {
    let Word { config, session, plan, reason, admin, json } = word;
    let body = Settle { plan, reason };
    telemetry::start(&config.data).map_err(StartError::Other)?;
    let lock = DataLock::take(&config.data)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| StartError::Io("the runtime".to_owned(), error))?;
    let app = app_of(config)?;
    let settled = find_admin(&app.db, &admin).and_then(|user| {
        let settled = sync::settle(&app, &user, actor(), session, &body);
        runtime.block_on(settled).map_err(|error| StartError::Other(error.message().to_owned()))
    });
    app.db.close();
    drop(lock);
    let Settled { locator, course_id } = settled?;
    match (json, course_id) {
        (true, course_id) => tell_json(&json!({ "locator": locator, "course_id": course_id })),
        (false, Some(course)) => tell(&format!("{locator} belongs to the course {course}\n")),
        (false, None) => tell(&format!("{locator} is still contested: other admins named another plan meanwhile\n")),
    }
}

/// Only what it takes to write into the log, with the keys that the log knows.
fn app_of(config: Config) -> Result<App, StartError> {
    let builder = AppBuilder::new(config);
    builder.config().check()?;
    let db = builder.open_database()?;
    let build = || {
        keyring::check(&db, builder.config())?;
        let keys_dir = builder.config().data.keys_dir();
        ServerKey::load(&keys_dir).map_err(|error| StartError::Io(keys_dir.display().to_string(), error))
    };
    let key = build().inspect_err(|_| db.close())?;
    builder.database(db).with(key).with(Movements::default()).build()
}

/// Whoever settles is named in the signed entry, and answers for it.
fn find_admin(db: &Db, name: &str) -> Result<CurrentUser, StartError> {
    let (tenant, asked) = (TenantId::default_tenant(), name.to_owned());
    let found = db.read_blocking::<_, DbError, _>(move |tx| auth::find_by_any_name(tx, &tenant, &asked))?;
    match found {
        Some(user) if user.role == Role::Admin && user.status == Status::Active => {
            Ok(CurrentUser { id: user.id, tenant: TenantId::default_tenant(), role: user.role })
        }
        _ => Err(StartError::Other(format!("{name} is no active admin; muster admin list --role admin names them"))),
    }
}
