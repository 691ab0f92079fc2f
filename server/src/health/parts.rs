//! What can be done without, looked at from outside: mail, faces, the log file, what runs behind the requests, the clock.

use std::sync::Arc;

use crate::app::App;
use crate::auth::AuthState;
use crate::evidence::Vault;
use crate::face::Faces;
use crate::face_engine::FaceEngine;
use crate::log::HeadFile;
use crate::mail::Mailer;
use crate::telemetry;

use super::ready::Answer;

/// How far the clock may be behind the newest change that it dated, in milliseconds: servers of one database differ.
const CLOCK_BEHIND_MS_MAX: i64 = 5_000;
/// A job that has been due for so long, in milliseconds, is not worked on: an hour's backlog of verdicts is not normal.
const JOB_OVERDUE_MS_MAX: i64 = 15 * 60 * 1_000;

/// How the parts stand that are no store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    /// The last message left, or could have.
    pub(super) mail: bool,
    /// Models are loaded.
    pub(super) faces: bool,
    /// The last line found its way into LOG_FILE.
    pub(super) log_file: bool,
    /// What runs behind the requests runs.
    pub(super) background: bool,
    /// The log holds what it acknowledged.
    pub(super) log_whole: bool,
}

impl Parts {
    /// As they stand now; nobody is asked.
    pub(super) fn of(app: &App) -> Self {
        let engine = app.slice::<Arc<dyn FaceEngine>>();
        Self {
            mail: Mailer::works(app),
            faces: engine.is_some_and(|engine| engine.model_version().is_ok()),
            log_file: !telemetry::log_file_fails(),
            background: app.ended_early().is_empty(),
            log_whole: app.slice::<HeadFile>().and_then(HeadFile::lost_at_ms).is_none(),
        }
    }

    /// Whether everything works that somebody relies on: faces are missed where an institution compares them. A log that
    /// lost its tail is told, and nothing that waiting would mend.
    pub(super) fn suffice(self, faces_wanted: bool) -> bool {
        self.mail && self.log_file && self.background && (self.faces || !faces_wanted)
    }
}

/// How work after commits stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// It is done.
    Done,
    /// Some was given up.
    Failing,
    /// Some is long overdue: nobody works on it.
    Stuck,
    /// Not by this server.
    Off,
}

impl Work {
    pub(super) fn of(app: &App, answer: Option<&Answer>) -> Self {
        let jobs = answer.map(|answer| answer.jobs.as_slice()).unwrap_or_default();
        let oldest_due = jobs.iter().filter_map(|kind| kind.oldest_due_ms).min();
        let overdue = oldest_due.is_some_and(|due_ms| app.now_ms() - due_ms > JOB_OVERDUE_MS_MAX);
        let is_on = app.config.work.enable_background_tasks;
        if overdue || (is_on && workers(app) == 0) {
            Self::Stuck
        } else if jobs.iter().any(|kind| kind.dead > 0) {
            Self::Failing
        } else if is_on {
            Self::Done
        } else {
            Self::Off
        }
    }

    /// The word for replies.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Done => "ok",
            Self::Failing => "failing",
            Self::Stuck => "stuck",
            Self::Off => "off",
        }
    }

    /// Whether nobody needs to look.
    pub(super) fn suffices(self) -> bool {
        matches!(self, Self::Done | Self::Off)
    }
}

/// Jobs that can be worked on at once: a loop for every kind, of which TASK_WORKERS may hold some back.
pub(super) fn workers(app: &App) -> i64 {
    let loops = app.metrics.job_workers.get();
    app.config.work.task_workers.map_or(loops, |most| loops.min(i64::try_from(most).unwrap_or(i64::MAX)))
}

/// Whether the clock is behind what it said before.
pub(super) fn clock_is_behind(app: &App, answer: Option<&Answer>) -> bool {
    let newest = answer.and_then(|answer| answer.newest_change_ms);
    newest.is_some_and(|newest_ms| newest_ms > app.now_ms() + CLOCK_BEHIND_MS_MAX)
}

/// What is kept in memory now. A cache that keeps nothing has none, whatever its settings say.
pub(super) fn cached(app: &App) -> u64 {
    let accounts = app.slice::<AuthState>().map_or(0, AuthState::cached);
    let faces = app.slice::<Faces>().map_or(0, Faces::cached);
    let keys = app.slice::<Vault>().map_or(0, Vault::cached);
    accounts + faces + keys
}
