//! The first start on an empty disk, cut after each of its flushes: it must always be possible to start again, and
//! what was told by then (the first admin's password, the server's key) must still hold.

use std::fs;
use std::net::SocketAddr;

use muster_server::clock::Stopwatch;
use muster_tests::wire::Connection;

use crate::Result;
use crate::dice::Dice;
use crate::disk::{self, Survival};
use crate::journal::{self, Record};
use crate::model::Model;
use crate::say;
use crate::victim::{Plain, Setup, Victim, complaints, printed};

/// The account that a first start makes.
const ADMIN: &str = "admin@muster.example";

/// Cuts it everywhere; whether everything held.
pub(crate) fn run(setup: &Setup) -> Result<bool> {
    let watch = Stopwatch::start();
    fs::create_dir(setup.disk())?;
    let mut victim = Victim::spawn(setup)?;
    let address = victim.address()?;
    let password = printed(setup, ADMIN)?.lines().last().map(str::trim).unwrap_or_default().to_owned();
    let told_at_bytes = victim.journal_bytes()?;
    let server_key = sign_in(address, &password)?;
    victim.kill()?;
    let bytes = victim.into_journal()?;
    let n_before_told = journal::parse(bytes.get(..told_at_bytes).ok_or("the journal shrank")?)?.len();
    let records = journal::parse(&bytes)?;
    let (mut model, mut n_cuts, mut wrong) = (Model::default(), 0, 0);
    for (index, record) in records.iter().enumerate() {
        model.follow(record)?;
        // What is certain changes only here.
        if !matches!(record, Record::SyncEnd { .. }) {
            continue;
        }
        n_cuts += 1;
        let told = (index + 1 >= n_before_told).then_some((password.as_str(), server_key.as_str()));
        if let Err(error) = start_again(setup, &model, told) {
            wrong += 1;
            say(&format!("cut after flush {n_cuts} of the first start: {error}"));
        }
    }
    say(&format!(
        "first start: {} operations, cut after each of {n_cuts} flushes, {wrong} times something was wrong; {:.1} s",
        records.len(),
        watch.elapsed().as_secs_f64()
    ));
    Ok(n_cuts > 0 && wrong == 0)
}

/// Starts on what is left of a first start.
fn start_again(setup: &Setup, model: &Model, told: Option<(&str, &str)>) -> Result<()> {
    fs::remove_dir_all(setup.disk())?;
    fs::create_dir(setup.disk())?;
    disk::write_remains(model, Survival::Nothing, &mut Dice::new(0), &setup.disk())?;
    let server = Plain::start(setup, &setup.data())?;
    let complaints = complaints(&setup.log())?;
    if !complaints.is_empty() {
        return Err(format!("the server complains: {complaints:?}").into());
    }
    if let Some((password, server_key)) = told
        && sign_in(server.address, password)? != server_key
    {
        return Err("the server has another key than before".into());
    }
    Ok(())
}

/// Signs the first admin in; gives the server's key.
fn sign_in(address: SocketAddr, password: &str) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = Connection::open(address).await?;
        let body = serde_json::json!({ "email": ADMIN, "password": password }).to_string();
        let request = format!(
            "POST /api/v1/auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let reply = connection.exchange(request.as_bytes(), Stopwatch::start()).await?;
        let reply: serde_json::Value = serde_json::from_slice(reply.body())?;
        let token = reply["access_token"].as_str().ok_or("no token")?;
        let request =
            format!("GET /api/v1/server HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n");
        let reply = connection.exchange(request.as_bytes(), Stopwatch::start()).await?;
        let reply: serde_json::Value = serde_json::from_slice(reply.body())?;
        Ok(reply["server_key"].as_str().ok_or("no server key")?.to_owned())
    })
}
