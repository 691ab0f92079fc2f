//! The audit log: who did what to what, why and with which result; written in the transaction of the action itself.
//!
//! Rows are numbered per tenant without gaps and chained by SHA-256, so that a row that was edited, removed, put in or
//! moved shows. They hold ids and codes only: no secret, no position, no picture, no free text. What a device signed is
//! in the change log, which is its own audit log. This module records and checks; its endpoints are in `audit_search`.

mod chain;
mod head_file;
mod queries;
mod verify;

use crate::db::{DbError, Tx};
use crate::ids::TenantId;

pub use chain::{Broken, Checked, check};
pub use head_file::{AuditHead, AuditHeadFile, check_at_start, keep_published, publish};
pub use queries::{AuditRow, row, rows};
pub use verify::{Report, TenantReport, verify};

/// Who acts, in which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Where.
    pub tenant: TenantId,
    /// The user's id.
    pub id: String,
    /// The role in which the user acts.
    pub role: String,
    /// The request, as it stands in the reply's `X-Request-ID` and in the server's own log.
    pub request_id: String,
}

impl Actor {
    /// Whoever has the command line of the server, in one run of a command.
    pub fn command_line(tenant: TenantId, run: &str) -> Self {
        Self { tenant, id: "cli".to_owned(), role: "admin".to_owned(), request_id: run.to_owned() }
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal),+ $(,)?) => {
        /// What somebody did. The names are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action { $($(#[$doc])+ $variant),+ }

        impl Action {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name in the log.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

actions! {
    /// A request for a device was approved.
    DeviceApprove = "device.approve",
    /// A request for a device was denied.
    DeviceDeny = "device.deny",
    /// A device took the place of another one.
    DeviceReset = "device.reset",
    /// The binding of a device was ended.
    DeviceRevoke = "device.revoke",
    /// The owner ended the binding of a device.
    DeviceEnd = "device.end",
    /// What a capture saw was shown: its manifest.
    EvidenceView = "evidence.view",
    /// A picture of a capture was shown.
    ImageView = "image.view",
    /// A change that waits was shown, with what it says.
    QuarantineView = "quarantine.view",
    /// A change that waits was judged again.
    QuarantineRelease = "quarantine.release",
    /// A change that waits was discarded.
    QuarantineDiscard = "quarantine.discard",
    /// Both sides of a fork were shown.
    ForkView = "fork.view",
    /// Somebody signed in.
    SignIn = "auth.sign_in",
    /// A session's refresh token was replaced by its successor.
    TokenRefresh = "auth.refresh",
    /// A refresh token was used again after its successor was: a copy is about.
    TokenReuse = "auth.refresh_reuse",
    /// Somebody signed out.
    SignOut = "auth.sign_out",
    /// Somebody signed out everywhere.
    SignOutEverywhere = "auth.sign_out_everywhere",
    /// Somebody asked for a link to set a new password.
    PasswordResetRequest = "password.reset_request",
    /// A new password was set by a mailed link.
    PasswordReset = "password.reset",
    /// Somebody asked for a link to confirm their e-mail address.
    EmailConfirmRequest = "email.confirm_request",
    /// An e-mail address was confirmed: by a mailed link, or by hand.
    EmailConfirm = "email.confirm",
    /// An e-mail address is nobody's again.
    EmailDoubt = "email.doubt",
    /// An account lost an address that nobody had confirmed to whom the registry names.
    EmailWithdraw = "email.withdraw",
    /// Somebody began to set up an authenticator app.
    MfaEnroll = "mfa.enroll",
    /// A code of the app came back: the second factor is on.
    MfaConfirm = "mfa.confirm",
    /// A sign-in was completed with a second factor, or was not.
    MfaComplete = "mfa.complete",
    /// The second factor was switched off by its owner.
    MfaDisable = "mfa.disable",
    /// New backup codes took the place of the old ones.
    MfaBackupRegenerate = "mfa.backup_regenerate",
    /// A backup code was used up; the result says how many are left.
    MfaBackupUsed = "mfa.backup_used",
    /// An admin took somebody's second factor away.
    MfaReset = "mfa.reset",
    /// A course was created.
    CourseCreate = "course.create",
    /// A course got another code or title.
    CourseUpdate = "course.update",
    /// Somebody became a lecturer of a course.
    CourseTeach = "course.teach",
    /// Somebody is no longer a lecturer of a course.
    CourseUnteach = "course.unteach",
    /// A student was enrolled.
    CourseEnrol = "course.enrol",
    /// An enrolment was ended.
    CourseUnenrol = "course.unenrol",
    /// A class session was planned.
    ClassSessionCreate = "class_session.create",
    /// A class session was closed.
    ClassSessionClose = "class_session.close",
    /// A class session was declared expired.
    ClassSessionExpire = "class_session.expire",
    /// A class session got a new code.
    ClassSessionRegenerate = "class_session.regenerate",
    /// A second person planned a class session that somebody else had planned.
    ClassSessionContest = "class_session.contest",
    /// An admin settled whose plan of a class session stands.
    ClassSessionSettle = "class_session.settle",
    /// A setting of the institution was changed.
    SettingsChange = "settings.change",
    /// A face was enrolled, which is the consent to compare it.
    FaceEnrol = "face.enrol",
    /// A student wants another face than before.
    FaceAsk = "face.ask",
    /// Another face than before was allowed.
    FaceApprove = "face.approve",
    /// An enrolled face was withdrawn.
    FaceWithdraw = "face.withdraw",
    /// Attendance was submitted by a client that signs nothing.
    AttendanceSubmit = "attendance.submit",
    /// Somebody decided about a record.
    AttendanceDecide = "attendance.decide",
    /// A class session's attendance left as a file.
    AttendanceExport = "attendance.export",
    /// Somebody asked for a device over HTTP.
    DeviceAsk = "device.ask",
    /// Another key takes the place of one of the server's that is lost.
    KeyReplace = "key.replace",
    /// Another key took the place of one of the server's, and what was under it goes on under the new one.
    KeyRotate = "key.rotate",
    /// The audit log turned out to lack rows that it once had.
    AuditLost = "audit.lost",
    /// The audit log was searched.
    AuditSearch = "audit.search",
    /// The audit log left as a file.
    AuditExport = "audit.export",
    /// An account was created.
    UserCreate = "user.create",
    /// What describes an account was changed.
    UserUpdate = "user.update",
    /// An account got another role.
    UserRole = "user.role",
    /// An account was disabled.
    UserDisable = "user.disable",
    /// An account was enabled again.
    UserEnable = "user.enable",
    /// A roster was imported.
    RosterImport = "roster.import",
    /// A sign-in was refused.
    SignInFail = "auth.sign_in_fail",
    /// An account or an address must wait after too many failures.
    SignInLock = "auth.sign_in_lock",
    /// An account or an address need not wait any more, because somebody said so.
    SignInUnlock = "auth.sign_in_unlock",
    /// Somebody signed up.
    SignUp = "auth.sign_up",
    /// Somebody changed their own password.
    PasswordChange = "auth.password_change",
    /// The stored hash of a password was replaced by a stronger one.
    PasswordRehash = "auth.password_rehash",
    /// Somebody changed their own profile.
    ProfileUpdate = "auth.profile_update",
    /// Somebody proved an identity of a provider, and is signed in or goes on to the second factor.
    OauthSignIn = "oauth.sign_in",
    /// An account was made for an identity of a provider.
    OauthSignUp = "oauth.sign_up",
    /// A sign-in or a link by a provider came to nothing.
    OauthRefuse = "oauth.refuse",
    /// An identity of a provider was linked to an account.
    OauthLink = "oauth.link",
    /// The identities of a provider were taken from an account.
    OauthUnlink = "oauth.unlink",
}

/// One action.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// What was done.
    pub action: Action,
    /// To what kind of thing: `device`, `change`, `record`, `image`.
    pub kind: &'static str,
    /// To which one.
    pub id: &'a str,
    /// Why, as a code.
    pub reason: Option<&'a str>,
    /// With which result, as a code.
    pub result: &'a str,
}

/// Notes an action. Call it in the transaction that carries the action out: both are there, or neither.
///
/// # Errors
/// When the database fails; the action must fail with it.
pub fn record(tx: &Tx<'_>, actor: &Actor, event: &Event<'_>, now_ms: i64) -> Result<(), DbError> {
    let tenant = &actor.tenant;
    let (number, previous) = queries::take_number(tx, tenant)?;
    let row = AuditRow {
        number,
        at_ms: now_ms,
        actor_id: actor.id.clone(),
        actor_role: actor.role.clone(),
        action: event.action.as_str().to_owned(),
        object_kind: event.kind.to_owned(),
        object_id: event.id.to_owned(),
        reason: event.reason.map(str::to_owned),
        request_id: actor.request_id.clone(),
        result: event.result.to_owned(),
        hash: [0; 32],
    };
    let hash = chain::hash(tenant, &previous, &row);
    queries::insert(tx, tenant, &row, &hash)?;
    queries::set_head(tx, tenant, &hash)
}
