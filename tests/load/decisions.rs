//! A thousand decisions about one record in one admission: how long everybody else waits for the writer meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muster_server::app::App;
use muster_server::clock::Stopwatch;
use muster_server::db::DbError;
use muster_server::ids::TenantId;
use muster_server::sync::{Outcome, Sender, admit};
use muster_sync_core::change::inspect;
use muster_sync_core::document::{Code, Decision, DecisionAction, Label};
use muster_sync_core::limits::DECISIONS_PER_PERSON_MAX;
use muster_sync_core::{ChangeHash, DocumentName};
use muster_tests::lecture::Lecture;
use muster_tests::phone::{Item, Phone};
use serde_json::json;

use crate::Result;
use crate::figures::{median, say};
use crate::floor::incoming;

/// People who decide; each writes as much as one person may.
const PEOPLE: usize = 10;
/// Records, one after the other.
const ROUNDS: usize = 5;
/// What the writer may be kept for all of the decisions about one record.
const WRITER_MAX: Duration = Duration::from_millis(50);

/// Prints, for each round, how long the admission took and how long the longest write of somebody else beside it. An
/// error says that the writer was kept for too long.
pub(crate) fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let waits = runtime.block_on(rounds())?;
    let waited = median(waits.iter().map(|wait| wait.as_secs_f64() * 1e3));
    let most_ms = WRITER_MAX.as_millis();
    let n_decisions = PEOPLE as u64 * DECISIONS_PER_PERSON_MAX;
    say(&format!("{n_decisions} decisions keep the writer for {waited:.1} ms (median of {ROUNDS}); at most {most_ms}"));
    if waited > WRITER_MAX.as_secs_f64() * 1e3 {
        return Err(format!("the writer was kept for {waited:.1} ms").into());
    }
    Ok(())
}

async fn rounds() -> Result<Vec<Duration>> {
    let lecture = Lecture::begin().await;
    let path = format!("/api/v1/courses/{}/lecturers", lecture.course);
    let mut people = Vec::with_capacity(PEOPLE);
    for number in 0..PEOPLE {
        let client = lecture.server.client("lecturer").await;
        lecture.lecturer.post(&path, &json!({"user_ids": [client.user_id()]})).await.expect(200);
        let mut phone = Phone::new(client, 100 + u8::try_from(number)?);
        phone.bind(&lecture.server).await;
        people.push(phone);
    }
    let sender = Sender { tenant: TenantId::default_tenant(), user: lecture.lecturer.user_id().parse()? };
    let mut waits = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let mut student = lecture.student(1 + u8::try_from(round)?).await;
        let (code, seen) = (lecture.claim().await.code, lecture.manifest(None));
        let capture = student.submission_with(lecture.locator(), &code, lecture.server.clock_ms(), &seen);
        let (name, of) = (capture.name.clone(), inspect(&capture.signed.bytes)?.hash);
        let id = lecture.send(&student, capture).await;
        lecture.verdict(&id, 1).await;
        let mut items = Vec::new();
        for _ in 0..DECISIONS_PER_PERSON_MAX {
            for person in &mut people {
                items.push(decision(person, &name, of)?);
            }
        }
        let app = lecture.server.app();
        let beside = Beside::begin(app);
        let watch = Stopwatch::start();
        let outcomes = admit(app, sender.clone(), items.iter().map(incoming).collect()).await?;
        let took = watch.elapsed();
        let waited = beside.end().await?;
        let accepted = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Accepted { .. })).count();
        if accepted != items.len() {
            return Err(format!("{accepted} of {} were accepted: {:?}", items.len(), outcomes.last()).into());
        }
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        say(&format!(
            "admitted in {:.1} ms, signatures and all; a write beside it took {:.1} ms",
            ms(took),
            ms(waited)
        ));
        waits.push(waited);
    }
    Ok(waits)
}

/// Half confirm and half reject, and nobody has seen the others: everything stands beside everything.
fn decision(person: &mut Phone, name: &DocumentName, of: ChangeHash) -> Result<Item> {
    let is_even = person.tips.get(&name.id(muster_tests::phone::TENANT)).is_none_or(|tip| tip.seq % 2 == 0);
    let decision = Decision {
        of,
        after: Vec::new(),
        action: if is_even { DecisionAction::Confirm } else { DecisionAction::Reject },
        reason: Some(Code::new("load").ok_or("a code")?),
        rank: 2,
        by: Label::new(person.client.user_id()).ok_or("a label")?,
        note_hash: None,
    };
    Ok(Item { name: name.clone(), signed: person.write(name, &decision.into()), manifest: None })
}

/// Somebody who writes next to nothing, again and again.
struct Beside {
    done: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<std::result::Result<Duration, DbError>>,
}

impl Beside {
    fn begin(app: &App) -> Self {
        let (app, done) = (app.clone(), Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&done);
        let task = tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            while !ends.load(Ordering::Relaxed) {
                let watch = Stopwatch::start();
                app.db.write(|_| Ok::<_, DbError>(())).await?;
                longest = longest.max(watch.elapsed());
            }
            Ok(longest)
        });
        Self { done, task }
    }

    /// The longest that one of its writes took.
    async fn end(self) -> Result<Duration> {
        self.done.store(true, Ordering::Relaxed);
        Ok(self.task.await??)
    }
}
