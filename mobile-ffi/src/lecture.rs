//! The lecturer's side: opening class sessions, showing their codes, and deciding.

use crate::{ApiError, MusterClient, entropy::random, error::invalid};
use muster_sync_core::{
    Locator,
    document::{Code, CodeMode, DecisionAction, Label, PlanAction, Role},
    store::{DecisionInput, PlanInput, SessionStanding},
};

/// A circle on the ground.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Geofence {
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// Metres, 1 to 10,000.
    pub radius_m: u64,
}

/// The plan of a class session.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct LecturePlan {
    /// The course's id.
    pub course: String,
    /// Start, Unix milliseconds.
    pub opens_at_ms: i64,
    /// End, Unix milliseconds.
    pub closes_at_ms: i64,
    /// From when a capture counts as late.
    pub late_after_ms: Option<i64>,
    /// Whether the code changes with every step.
    pub rotating: bool,
    /// Length of a step in seconds, 5 to 300.
    pub step_s: u64,
    /// Where it takes place.
    pub geofence: Option<Geofence>,
}

/// What the lecturer's screen shows.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ShownCode {
    /// The locator, for those who type.
    pub locator: String,
    /// The digits, for those who type.
    pub code: String,
    /// The payload of the QR code.
    pub qr: String,
    /// Last millisecond at which it is the newest code; nothing for a static code.
    pub valid_until_ms: Option<i64>,
}

/// A student's record in a class session, as the server has it.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ClassRecord {
    /// The student.
    pub student: String,
    /// `received`, `accepted`, `flagged`, `confirmed`, `late`, `excused`, `rejected`, `escalated` or `disputed`.
    pub state: String,
    /// Reason codes of the checks that flagged it.
    pub flags: Vec<String>,
    /// Decisions of this phone that the server has not accepted yet.
    pub decisions_waiting: u64,
}

#[uniffi::export]
impl MusterClient {
    /// Opens a class session, with or without a network, and gives its locator.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] for a plan that breaks a rule, and what any write can meet.
    pub fn open_class_session(&self, plan: LecturePlan) -> Result<String, ApiError> {
        let e7 = |degrees: f64| if degrees.is_finite() { (degrees * 1e7).round() as i64 } else { i64::MAX };
        let input = PlanInput {
            course: Label::new(&plan.course).ok_or_else(|| invalid("the course is not an id"))?,
            opens_at_ms: plan.opens_at_ms,
            closes_at_ms: plan.closes_at_ms,
            late_after_ms: plan.late_after_ms,
            code_mode: if plan.rotating { CodeMode::Rotating } else { CodeMode::Static },
            step_s: plan.step_s,
            geofence: plan.geofence.map(|fence| (e7(fence.latitude), e7(fence.longitude), fence.radius_m)),
        };
        let wall_ms = self.clocks()?.wall_ms;
        let locator = self.state().store.open_class_session(&self.key, &input, random()?, wall_ms)?;
        Ok(locator.to_string())
    }

    /// The code to show now.
    ///
    /// # Errors
    /// [`ApiError::NotOnThisPhone`] if another device planned the session.
    pub fn session_code(&self, locator: String) -> Result<ShownCode, ApiError> {
        let locator = read_locator(&locator)?;
        let wall_ms = self.clocks()?.wall_ms;
        let shown = self.state().store.session_code(locator, wall_ms)?;
        let (code, qr) = (shown.code, shown.qr);
        Ok(ShownCode { locator: locator.to_string(), code, qr, valid_until_ms: shown.valid_until_ms })
    }

    /// Whose plan of a class session stands: `own`, `another`, `contested` while several people say that it is theirs and the
    /// administration has not decided, or `unknown`. While it is contested, show its code as before: captures wait.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn class_session_standing(&self, locator: String) -> Result<String, ApiError> {
        let standing = self.state().store.session_standing(read_locator(&locator)?)?;
        let word = match standing {
            SessionStanding::Own => "own",
            SessionStanding::OfAnother => "another",
            SessionStanding::Contested => "contested",
            SessionStanding::Unknown => "unknown",
        };
        Ok(word.to_owned())
    }

    /// Closes a class session from now on.
    ///
    /// # Errors
    /// [`ApiError::NotOnThisPhone`], and what any write can meet.
    pub fn close_class_session(&self, locator: String) -> Result<(), ApiError> {
        self.change_class_session(&locator, PlanAction::Close)
    }

    /// Makes every code that was shown so far worthless for captures from now on.
    ///
    /// # Errors
    /// [`ApiError::NotOnThisPhone`], and what any write can meet.
    pub fn regenerate_code(&self, locator: String) -> Result<(), ApiError> {
        self.change_class_session(&locator, PlanAction::Regenerate)
    }

    /// Every record of a class session that this phone has pulled.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn class_records(&self, locator: String) -> Result<Vec<ClassRecord>, ApiError> {
        let views = self.state().store.class_records(read_locator(&locator)?)?;
        let record = |view: muster_sync_core::store::ClassRecordView| ClassRecord {
            student: view.student,
            state: view.state.as_str().to_owned(),
            flags: view.flags,
            decisions_waiting: view.decisions_waiting,
        };
        Ok(views.into_iter().map(record).collect())
    }

    /// Decides about a student's record: `confirm`, `late`, `excuse`, `reject`, `escalate`.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] for an unknown action or a rejection without a reason, [`ApiError::NotOnThisPhone`].
    pub fn decide(
        &self,
        locator: String,
        student: String,
        action: String,
        reason: Option<String>,
        role: String,
    ) -> Result<String, ApiError> {
        let action = DecisionAction::parse(&action).filter(|action| *action != DecisionAction::Undo);
        let read_reason = |text: String| Code::new(&text).ok_or_else(|| invalid("the reason is not a short code"));
        let input = DecisionInput {
            locator: read_locator(&locator)?,
            student,
            action: action.ok_or_else(|| invalid("unknown decision"))?,
            reason: reason.map(read_reason).transpose()?,
            role: Role::parse(&role).ok_or_else(|| invalid("unknown role"))?,
            of: None,
            note_hash: None,
        };
        let wall_ms = self.clocks()?.wall_ms;
        Ok(self.state().store.decide(&self.key, &input, wall_ms)?.to_string())
    }
}

impl MusterClient {
    fn change_class_session(&self, locator: &str, action: PlanAction) -> Result<(), ApiError> {
        let at_ms = self.clocks()?.wall_ms;
        self.state().store.change_class_session(&self.key, read_locator(locator)?, action, at_ms)?;
        Ok(())
    }
}

pub(crate) fn read_locator(text: &str) -> Result<Locator, ApiError> {
    Locator::parse(text).ok_or_else(|| invalid("a locator has 6 characters"))
}
