//! The floor under the storm: the same admission in this process, without HTTP, CBOR and receipts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use muster_server::app::App;
use muster_server::clock::Stopwatch;
use muster_server::ids::{TenantId, UserId};
use muster_server::sync::{Incoming, Outcome, Sender, admit};
use muster_tests::phone::Item;
use tokio::task::JoinSet;

use crate::{Result, process};

/// One call of the admission: who sends what.
pub(crate) type Call = (UserId, Vec<Incoming>);

/// What the floor gave.
pub(crate) struct Floor {
    pub(crate) records_per_s: f64,
    pub(crate) cpu_s_per_1000: f64,
}

/// A pushed change as the admission takes it.
pub(crate) fn incoming(item: &Item) -> Incoming {
    Incoming {
        name: Ok(item.name.clone()),
        signed: item.signed.clone(),
        manifest: item.manifest.clone(),
        sealed_manifest: None,
        code_key: None,
        receipt: None,
    }
}

/// Runs the calls, `at_once` at a time.
pub(crate) async fn run(app: &App, calls: Vec<Call>, at_once: usize) -> Result<Floor> {
    let records: usize = calls.iter().map(|(_, incoming)| incoming.len()).sum();
    let calls = Arc::new(Mutex::new(VecDeque::from(calls)));
    let cpu_before = process::cpu_s(std::process::id())?;
    let watch = Stopwatch::start();
    let mut workers = JoinSet::new();
    for _ in 0..at_once {
        let (app, calls) = (app.clone(), Arc::clone(&calls));
        workers.spawn(async move {
            let mut accepted = 0;
            loop {
                let next = calls.lock().expect("no worker panics").pop_front();
                let Some((user, incoming)) = next else { return Ok::<_, String>(accepted) };
                let sender = Sender { tenant: TenantId::default_tenant(), user };
                let outcomes = admit(&app, sender, incoming).await.map_err(|error| error.to_string())?;
                accepted += outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Accepted { .. })).count();
            }
        });
    }
    let mut accepted = 0;
    while let Some(done) = workers.join_next().await {
        accepted += done??;
    }
    let elapsed_s = watch.elapsed().as_secs_f64();
    if accepted != records {
        return Err(format!("{accepted} of {records} records were accepted").into());
    }
    let cpu_s = process::cpu_s(std::process::id())? - cpu_before;
    Ok(Floor { records_per_s: records as f64 / elapsed_s, cpu_s_per_1000: cpu_s * 1000.0 / records as f64 })
}
