//! `muster admin list`.

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};

use super::{tell, tell_json, with_database};
use crate::app::StartError;
use crate::auth::{self, Filter, Role, Status, User, Users, Voucher};
use crate::config::DataConfig;
use crate::db::{Db, DbError};
use crate::ids::{TenantId, UserId};
use crate::limits;

/// Which accounts.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    data: DataConfig,

    /// Only of this role.
    #[arg(long)]
    role: Option<Role>,

    /// Only of this status.
    #[arg(long, value_enum)]
    status: Option<Shown>,

    /// Only those in whose address, user name, name or registry's id these words stand.
    #[arg(long)]
    search: Option<String>,

    /// How many at most, oldest first.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A status as an argument.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shown {
    /// Signing in works.
    Active,
    /// It does not.
    Disabled,
}

/// Runs the command.
pub(super) fn run(list: &List) -> Result<(), StartError> {
    let status = list.status.map(|status| match status {
        Shown::Active => Status::Active,
        Shown::Disabled => Status::Disabled,
    });
    let filter = Filter { role: list.role, status, words: Vec::new() }.search(list.search.as_deref().unwrap_or(""));
    let (users, more) = with_database(&list.data, |db| read(db, &filter, list.limit))?;
    if list.json {
        return tell_json(&users);
    }
    let mut table = Table::new();
    let header = ["id", "role", "status", "e-mail", "confirmed by", "user name", "name", "external id"];
    table.load_style(presets::NOTHING).set_header(header);
    for user in &users {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        table.add_row([
            user.id.to_string(),
            user.role.to_string(),
            user.status.to_string(),
            user.email.clone(),
            user.email_confirmed_by.map_or("nobody", Voucher::as_str).to_owned(),
            text(&user.username),
            user.display_name.clone(),
            text(&user.person.external_id),
        ]);
    }
    let end = if more { "more are there; raise --limit or search" } else { "that is all" };
    tell(&format!("{table}\n{} accounts; {end}\n", users.len()))
}

/// As many as are asked for, and whether there are more.
fn read(db: &Db, filter: &Filter, limit: usize) -> Result<(Vec<User>, bool), StartError> {
    let mut users: Vec<User> = Vec::new();
    loop {
        let (filter, after): (Filter, Option<UserId>) = (filter.clone(), users.last().map(|user| user.id));
        let page: Users = db.read_blocking::<_, DbError, _>(move |tx| {
            auth::list(tx, &TenantId::default_tenant(), &filter, after, limits::PAGE_ROWS_MAX)
        })?;
        users.extend(page.items);
        if page.next.is_none() || users.len() >= limit {
            let more = page.next.is_some() || users.len() > limit;
            users.truncate(limit);
            return Ok((users, more));
        }
    }
}
