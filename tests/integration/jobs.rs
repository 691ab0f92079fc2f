//! Work that must happen after a commit happens, once or again, and is never lost silently.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_server::app::App;
use muster_server::db::DbError;
use muster_server::ids::TenantId;
use muster_server::jobs::{self, Counts, Handlers, Job};
use muster_tests::TestServer;
use tokio::task::JoinHandle;

const NOW_MS: i64 = 1_763_640_000_000;
const KIND: &str = "test";

type Seen = Arc<Mutex<Vec<Job>>>;

async fn server() -> TestServer {
    TestServer::builder().manual_clock(NOW_MS).start().await
}

async fn enqueue(app: &App, subject: &'static [u8], run_at_ms: i64) {
    let tenant = TenantId::default_tenant();
    let enqueued: Result<(), DbError> =
        app.db.write(move |tx| jobs::enqueue(tx, &tenant, KIND, subject, run_at_ms)).await;
    enqueued.unwrap();
    app.wake_jobs();
}

async fn counts(app: &App) -> Counts {
    let counted: Result<Counts, DbError> = app.db.read(|tx| jobs::counts(tx, KIND)).await;
    counted.unwrap()
}

/// Waits for what a worker on another thread does.
async fn until(app: &App, wanted: Counts) {
    for _ in 0..6_000 {
        if counts(app).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?} instead of {wanted:?}", counts(app).await);
}

/// A worker whose handler keeps what it gets and answers with `answer`.
fn worker(app: &App, answer: impl Fn(&Job) -> Result<(), String> + Send + Sync + 'static) -> (Seen, JoinHandle<()>) {
    let seen = Seen::default();
    let (kept, answer) = (Arc::clone(&seen), Arc::new(answer));
    let handlers = Handlers::new().on(KIND, 10, move |_app, jobs| {
        let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
        async move {
            let results = jobs.iter().map(|job| answer(job)).collect();
            kept.lock().unwrap().extend(jobs);
            results
        }
    });
    (seen, tokio::spawn(jobs::run(app.clone(), handlers)))
}

const NONE: Counts = Counts { pending: 0, dead: 0 };

#[tokio::test]
async fn a_job_runs_once_at_its_time_however_often_it_is_asked_for() {
    let server = server().await;
    let app = server.app();
    enqueue(app, b"later", NOW_MS + 60_000).await;
    for _ in 0..3 {
        enqueue(app, b"now", NOW_MS).await;
    }
    let (seen, _worker) = worker(app, |_| Ok(()));
    until(app, Counts { pending: 1, dead: 0 }).await;
    assert_eq!(seen.lock().unwrap().len(), 1);
    enqueue(app, b"later", NOW_MS + 30_000).await;
    server.clock().advance(Duration::from_secs(30));
    until(app, NONE).await;
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn asking_while_it_runs_makes_it_run_once_more() {
    let server = server().await;
    let app = server.app();
    enqueue(app, b"subject", NOW_MS).await;
    let runs = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&runs);
    let handlers = Handlers::new().on(KIND, 10, move |app, jobs| {
        let counted = Arc::clone(&counted);
        async move {
            let first = {
                let mut runs = counted.lock().unwrap();
                *runs += 1;
                *runs == 1
            };
            if first {
                enqueue(&app, b"subject", NOW_MS).await;
            }
            vec![Ok(()); jobs.len()]
        }
    });
    tokio::spawn(jobs::run(app.clone(), handlers));
    until(app, NONE).await;
    assert_eq!(*runs.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_failing_job_is_tried_again_then_given_up_and_stays_visible() {
    let server = server().await;
    let app = server.app();
    enqueue(app, b"bad", NOW_MS).await;
    enqueue(app, b"good", NOW_MS).await;
    let (seen, _worker) = worker(app, |job| match job.subject.as_slice() {
        b"bad" => Err("it never works".to_owned()),
        _ => Ok(()),
    });
    for _ in 0..400 {
        if counts(app).await.dead == 1 {
            break;
        }
        server.clock().advance(Duration::from_secs(900));
        app.wake_jobs();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let tenant = TenantId::default_tenant();
    let dead: Result<_, DbError> = app.db.read(move |tx| jobs::dead(tx, &tenant)).await;
    let dead = dead.unwrap();
    assert_eq!((dead.len(), dead[0].attempts), (1, 8));
    assert_eq!(dead[0].last_error, "it never works");
    let tries: Vec<u32> =
        seen.lock().unwrap().iter().filter(|job| job.subject == b"bad").map(|job| job.attempt).collect();
    assert_eq!(tries, [1, 2, 3, 4, 5, 6, 7, 8]);
    enqueue(app, b"bad", 0).await;
    assert_eq!(counts(app).await.dead, 0, "asking again revives it");
}

#[tokio::test]
async fn a_panic_is_a_failure_and_the_worker_goes_on() {
    let server = server().await;
    let app = server.app();
    enqueue(app, b"panics", NOW_MS).await;
    let (_seen, _worker) = worker(app, |job| match job.subject.as_slice() {
        b"panics" => panic!("a defect in a handler"),
        _ => Ok(()),
    });
    until(app, Counts { pending: 1, dead: 0 }).await;
    enqueue(app, b"fine", NOW_MS).await;
    until(app, Counts { pending: 1, dead: 0 }).await;
}

#[tokio::test]
async fn jobs_survive_a_restart_and_a_worker_that_was_lost() {
    let server = server().await;
    let app = server.app();
    enqueue(app, b"subject", NOW_MS).await;
    let taken = Arc::new(tokio::sync::Notify::new());
    let tell = Arc::clone(&taken);
    let handlers = Handlers::new().on(KIND, 10, move |_app, _jobs| {
        tell.notify_one();
        std::future::pending()
    });
    let lost = tokio::spawn(jobs::run(app.clone(), handlers));
    taken.notified().await;
    lost.abort();
    let again = TestServer::builder().manual_clock(NOW_MS).data(server.stop().await).start().await;
    let (seen, _worker) = worker(again.app(), |_| Ok(()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(seen.lock().unwrap().len(), 0, "the lease still holds");
    again.clock().advance(Duration::from_secs(300));
    again.app().wake_jobs();
    until(again.app(), NONE).await;
    assert_eq!(seen.lock().unwrap()[0].attempt, 2);
}
