//! The job that sends mail: opens what waits, writes the letter, sends it, and notes what came of it.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message as Letter, MultiPart};

use super::address::on_the_wire;
use super::mailer::{Mailer, hex};
use super::message::Message;
use super::queries::{self, Queued};
use super::transport::{SendError, Way};
use super::{MAIL_JOB, limits, wording};
use crate::app::App;
use crate::db::DbError;
use crate::error::AppResult;
use crate::jobs::{self, Job};

/// What came of a message.
enum Outcome {
    Sent,
    Again { error: String, at_ms: i64 },
    GivenUp { error: String },
}

/// Sends the messages of these jobs.
pub async fn deliver(app: App, jobs: Vec<Job>) -> Vec<Result<(), String>> {
    let count = jobs.len();
    // The job's own backoff is for a database that fails; a mail server that fails has a longer one below.
    let result = deliver_batch(&app, jobs).await.map_err(|error| error.to_string());
    vec![result; count]
}

async fn deliver_batch(app: &App, jobs: Vec<Job>) -> AppResult<()> {
    let mailer = Mailer::of(app)?;
    let ids: Vec<Vec<u8>> = jobs.into_iter().map(|job| job.subject).collect();
    let waiting: Result<Vec<Option<Queued>>, DbError> =
        app.db.read(move |tx| ids.iter().map(|id| queries::queued(tx, id)).collect()).await;
    let way = mailer.transport.way();
    let settled: Vec<(Queued, Outcome)> = stream::iter(waiting?.into_iter().flatten())
        .map(|queued| async {
            let outcome = try_once(app, mailer, &way, &queued).await;
            (queued, outcome)
        })
        .buffer_unordered(limits::CONNECTIONS_MAX)
        .collect()
        .await;
    settle(app, settled).await
}

async fn try_once(app: &App, mailer: &Mailer, way: &Way<'_>, queued: &Queued) -> Outcome {
    let now_ms = app.now_ms();
    if now_ms >= queued.give_up_at_ms {
        return Outcome::GivenUp { error: "nobody needs it any more: it waited for too long".to_owned() };
    }
    let sent = match write(app, mailer, queued) {
        Ok(letter) => {
            let sent = way.send(&hex(&queued.id), letter).await;
            mailer.note(!matches!(sent, Err(SendError::Later(_))));
            sent
        }
        Err(error) => Err(SendError::Never(error)),
    };
    let (error, later) = match sent {
        Ok(()) => return Outcome::Sent,
        Err(SendError::Later(error) | SendError::PutOff(error)) => (error, true),
        Err(SendError::Never(error)) => (error, false),
    };
    let error: String = error.chars().take(limits::ERROR_BYTES_MAX / 4).collect();
    let at_ms = app.now_ms() + backoff(queued.attempts, app.draw()).as_millis() as i64;
    if later && at_ms < queued.give_up_at_ms { Outcome::Again { error, at_ms } } else { Outcome::GivenUp { error } }
}

/// Doubles with each failure up to a ceiling; between half of it and all of it, so that failures spread out.
fn backoff(failures: u32, draw: u64) -> Duration {
    let doubled = limits::BACKOFF_FIRST.saturating_mul(1 << failures.min(16));
    let half = doubled.min(limits::BACKOFF_MAX) / 2;
    half + half.mul_f64((draw >> 11) as f64 / (1_u64 << 53) as f64)
}

/// The message as it goes over the wire.
fn write(app: &App, mailer: &Mailer, queued: &Queued) -> Result<Letter, String> {
    let address = on_the_wire(&queued.recipient).ok_or_else(|| "mail cannot be sent to this address".to_owned())?;
    let content = Message::open(app, queued)?;
    let letter = wording::letter(&content, &app.config.public_url());
    let date = std::time::UNIX_EPOCH + Duration::from_millis(content.at_ms.max(0) as u64);
    let message_id = format!("<{}@{}>", hex(&queued.id), mailer.from.email.domain());
    // So that a note about somebody's holidays does not come back.
    let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
    Letter::builder()
        .from(mailer.from.clone())
        .to(Mailbox::new(None, address))
        .subject(&letter.subject)
        .date(date)
        .message_id(Some(message_id))
        .raw_header(automatic)
        .multipart(MultiPart::alternative_plain_html(letter.text(), letter.html()))
        .map_err(|error| error.to_string())
}

async fn settle(app: &App, settled: Vec<(Queued, Outcome)>) -> AppResult<()> {
    for (queued, outcome) in &settled {
        let (id, template) = (hex(&queued.id), queued.template.as_str());
        match outcome {
            Outcome::Sent => tracing::info!(mail.id = id, template, "Sent mail"),
            Outcome::Again { error, .. } => {
                tracing::warn!(
                    mail.id = id,
                    template,
                    attempt = queued.attempts + 1,
                    error,
                    "Mail will be tried again"
                );
            }
            Outcome::GivenUp { error } => {
                tracing::error!(mail.id = id, template, attempt = queued.attempts + 1, error, "Gave up mail");
            }
        }
    }
    let now_ms = app.now_ms();
    let noted: Result<(), DbError> = app
        .db
        .write(move |tx| {
            queries::forget_failed(tx, now_ms - limits::FAILED_KEPT.as_millis() as i64)?;
            settled.iter().try_for_each(|(queued, outcome)| match outcome {
                Outcome::Sent => queries::sent(tx, &queued.id),
                Outcome::Again { error, at_ms } => {
                    queries::failed_once(tx, &queued.id, error)?;
                    // Asked for while it runs, the job runs once more then.
                    jobs::enqueue(tx, &queued.tenant, MAIL_JOB, &queued.id, *at_ms)
                }
                Outcome::GivenUp { error } => queries::give_up(tx, &queued.id, error, now_ms),
            })
        })
        .await;
    Ok(noted?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_ceiling() {
        assert_eq!(backoff(0, 0), Duration::from_millis(2_500));
        assert!(backoff(0, u64::MAX) <= Duration::from_secs(5));
        for failures in [8, 16, 17, 1_000, u32::MAX] {
            assert!((limits::BACKOFF_MAX / 2..=limits::BACKOFF_MAX).contains(&backoff(failures, u64::MAX)));
        }
    }
}
