//! Channels: who is told about a change.

use std::fmt;

use muster_sync_core::DocumentName;
use sha2::{Digest, Sha256};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::app::App;
use crate::db::Notice;
use crate::error::{AppError, AppResult};
use crate::ids::TenantId;

/// A stream of changes that some people may read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// What is about one user: for that user.
    User(String),
    /// A course's class sessions: for everybody in the course.
    Course(String),
    /// A course's attendance: for those who teach it.
    CourseStaff(String),
    /// Device bindings: for admins.
    Admin,
}

impl Channel {
    /// The number under which the database keeps it: the first 8 bytes of a hash of tenant and name.
    pub fn key(&self, tenant: &TenantId) -> i64 {
        channel_key(tenant, &self.to_string())
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user:{user}"),
            Self::Course(course) => write!(f, "course:{course}"),
            Self::CourseStaff(course) => write!(f, "course:{course}:staff"),
            Self::Admin => f.write_str("admin"),
        }
    }
}

/// The channels of a document's changes. The course of an attendance document is unknown until its plan arrives.
pub fn channels_of(name: &DocumentName, course: Option<&str>) -> Vec<Channel> {
    let mut channels = Vec::with_capacity(2);
    match name {
        DocumentName::ClassSession { .. } => channels.extend(course.map(|course| Channel::Course(course.to_owned()))),
        DocumentName::Attendance { student, .. } => {
            channels.push(Channel::User(student.clone()));
            channels.extend(course.map(|course| Channel::CourseStaff(course.to_owned())));
        }
        DocumentName::DeviceBinding { user } => {
            channels.push(Channel::User(user.clone()));
            channels.push(Channel::Admin);
        }
    }
    channels
}

/// The key of a channel by its name; see [`Channel::key`].
pub fn channel_key(tenant: &TenantId, name: &str) -> i64 {
    let digest = Sha256::new().chain_update(tenant.as_str()).chain_update([0]).chain_update(name).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

/// Movements of channels that a slow listener may be behind before it is told to ask for everything.
const MOVEMENTS_KEPT: usize = 4_096;

/// Tells listeners that channels moved; a hint, which nothing depends on.
pub struct Movements(broadcast::Sender<Notice>);

impl Default for Movements {
    fn default() -> Self {
        Self(broadcast::Sender::new(MOVEMENTS_KEPT))
    }
}

/// Says that `channels` got something; call it after the commit.
pub fn announce(app: &App, tenant: &TenantId, channels: &[Channel]) {
    let Some(movements) = app.slice::<Movements>() else { return };
    if movements.0.receiver_count() == 0 && !app.db.is_shared() {
        return;
    }
    let mut keys: Vec<_> = channels.iter().map(|channel| channel.key(tenant)).collect();
    keys.sort_unstable();
    keys.dedup();
    app.db.announce(&keys);
    for key in keys {
        // Nobody listening is no failure.
        let _ = movements.0.send(Notice::Moved(key));
    }
}

/// Passes on what the other servers of this database announce, until this one stops.
pub async fn pass_on_movements(app: App) {
    let (Some(movements), Some(mut notices)) = (app.slice::<Movements>(), app.db.notices()) else { return };
    loop {
        let notice = tokio::select! {
            () = app.stopped() => return,
            notice = notices.recv() => notice,
        };
        let notice = match notice {
            Ok(notice) => notice,
            Err(RecvError::Lagged(_)) => Notice::Unknown,
            Err(RecvError::Closed) => return,
        };
        let _ = movements.0.send(notice);
    }
}

/// Listens to the keys of channels that move.
///
/// # Errors
/// When the server was built without them.
pub fn watch(app: &App) -> AppResult<broadcast::Receiver<Notice>> {
    let movements = app.slice::<Movements>().ok_or_else(|| AppError::internal("the server announces nothing"))?;
    Ok(movements.0.subscribe())
}
