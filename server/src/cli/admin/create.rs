//! `muster admin create`, and the first account of a developer's machine.

use std::io::{self, BufRead};

use clap::Args;
use serde_json::json;

use super::{actor, tell, tell_json, with_database};
use crate::accounts;
use crate::app::StartError;
use crate::auth::{self, DisplayName, Email, NewUser, Person, Role, Username};
use crate::auth::{first_password, passwords};
use crate::clock::{Clock, SystemClock, SystemEntropy};
use crate::config::{DataConfig, LogFormat, Secret};
use crate::db::{Db, DbError};
use crate::error::AppError;
use crate::ids::{TenantId, UserId};

/// E-mail address of the account that the first start of a developer's server makes.
const FIRST_ADMIN: &str = "admin@muster.example";
/// Longest line that is read as a password.
const PASSWORD_LINE_BYTES_MAX: u64 = 4096;

/// The account.
#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    #[command(flatten)]
    data: DataConfig,

    /// E-mail address.
    #[arg(long)]
    email: String,

    /// Name as others see it. Default: the address.
    #[arg(long)]
    name: Option<String>,

    /// Another name to sign in with.
    #[arg(long)]
    username: Option<String>,

    /// guest, student, lecturer, reviewer, staff or admin.
    #[arg(long, default_value = "admin")]
    role: Role,

    /// Read the password from standard input. Without this one is generated and shown once.
    #[arg(long)]
    password_stdin: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(create: &Create) -> Result<(), StartError> {
    let (password, generated) = if create.password_stdin {
        (read_password().map_err(|error| StartError::Io("standard input".to_owned(), error))?, false)
    } else {
        (auth::generate_password(&SystemEntropy), true)
    };
    let email = Email::parse(&create.email).map_err(in_words)?;
    let name = create.name.as_deref().unwrap_or(email.as_str());
    let username = create.username.as_deref().map(Username::parse).transpose().map_err(in_words)?;
    if !generated {
        let mut about = vec![email.as_str(), name];
        about.extend(create.username.as_deref());
        passwords::check_new("password", password.reveal(), &about).map_err(in_words)?;
    }
    let id = with_database(&create.data, |db| insert(db, (email.as_str(), username), name, create.role, &password))?;
    let (role, email) = (create.role, email.as_str());
    let shown = generated.then(|| password.reveal());
    if create.json {
        return tell_json(&json!({ "id": id, "email": email, "role": role, "initial_password": shown }));
    }
    let shown = shown.map_or_else(String::new, |password| format!("password: {password}\n"));
    tell(&format!("created {role} {email}\n{shown}"))
}

/// On a developer's machine, makes the first account so that somebody can sign in. Its password goes into a file of
/// DATA_DIR, and onto the terminal where people read it; machines that read lines of JSON keep them.
pub(in crate::cli) fn create_first(data: &DataConfig, db: &Db) -> Result<(), StartError> {
    if !db.read_blocking::<_, DbError, _>(auth::none_exists)? {
        return Ok(());
    }
    let password = auth::generate_password(&SystemEntropy);
    let file = first_password::path(&data.data_dir);
    // Before the account: whoever finds the account finds its password, whenever the power fails.
    first_password::write(&data.data_dir, FIRST_ADMIN, &password)
        .map_err(|error| StartError::Io(file.display().to_string(), error))?;
    account(db, FIRST_ADMIN, "Administrator", Role::Admin, &password)?;
    let shown = match data.log_format() {
        LogFormat::Text => format!("  {}\n", password.reveal()),
        LogFormat::Json => String::new(),
    };
    let place = format!("its password is in {} until it is changed", file.display());
    tell(&format!("created the first account; {place}:\n  {FIRST_ADMIN}\n{shown}"))
}

/// On a developer's machine, makes the accounts whose passwords everybody knows, unless somebody has the address or the
/// user name.
pub(in crate::cli) fn create_demo_accounts(db: &Db) -> Result<(), StartError> {
    for known in &auth::DEMO_ACCOUNTS {
        let taken = db.read_blocking::<_, DbError, _>(move |tx| {
            let tenant = TenantId::default_tenant();
            let found = |name| auth::find_by_any_name(tx, &tenant, name).map(|found| found.is_some());
            Ok(found(known.email)? || known.username.map_or(Ok(false), found)?)
        })?;
        if taken {
            continue;
        }
        let (name, password) = (format!("Demo {}", known.role), Secret::new(known.password.to_owned()));
        let username = known.username.map(Username::parse).transpose().map_err(in_words)?;
        insert(db, (known.email, username), &name, known.role, &password)?;
        tracing::warn!(role = %known.role, "Made a demo account whose password everybody knows");
    }
    Ok(())
}

/// Creates an account of the default tenant.
pub(in crate::cli) fn account(
    db: &Db,
    email: &str,
    name: &str,
    role: Role,
    password: &Secret,
) -> Result<(), StartError> {
    insert(db, (email, None), name, role, password).map(drop)
}

fn insert(
    db: &Db,
    (email, username): (&str, Option<Username>),
    name: &str,
    role: Role,
    password: &Secret,
) -> Result<UserId, StartError> {
    let new = NewUser {
        id: UserId::generate(&SystemClock, &SystemEntropy),
        tenant: TenantId::default_tenant(),
        email: Email::parse(email).map_err(in_words)?,
        username,
        display_name: DisplayName::parse(name).map_err(in_words)?,
        role,
        person: Person::default(),
        password_hash: Some(auth::hash_password_blocking(password.reveal(), &SystemEntropy).map_err(in_words)?),
        created_at_ms: SystemClock.now_ms(),
    };
    let (actor, id) = (actor(), new.id);
    if db.write_blocking::<_, DbError, _>(move |tx| accounts::create(tx, &actor, &new))? {
        return Ok(id);
    }
    Err(StartError::Other(format!("there is an account with the address {email}, or with the user name")))
}

fn in_words(error: AppError) -> StartError {
    StartError::Other(error.message().to_owned())
}

fn read_password() -> io::Result<Secret> {
    let mut line = String::new();
    io::Read::take(io::stdin().lock(), PASSWORD_LINE_BYTES_MAX).read_line(&mut line)?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}
