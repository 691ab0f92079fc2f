//! Deliberate faults of durability, so that the tests of durability can show that they would notice one.
//!
//! Without the feature `faults`, which only the tests ask for, there is nothing to switch on. No setting reaches it.

#[cfg(feature = "faults")]
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// How late a commit is that comes after its answer. Where a disk is fast and a reply is slow to build, the commit would
/// otherwise be there before anybody has the answer, and hardly a cut would fall between them.
const COMMIT_LATE: Duration = Duration::from_millis(50);

/// What the database does wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// A write is answered before the commit that holds it.
    AnswersBeforeCommit,
    /// SQLite commits without waiting for the disk.
    SynchronousNormal,
}

impl Fault {
    /// Gives the answer already, if that is the fault.
    pub(super) fn before_commit(self, answer: impl FnOnce()) {
        if self == Self::AnswersBeforeCommit {
            answer();
            std::thread::sleep(COMMIT_LATE);
        }
    }
}

#[cfg(feature = "faults")]
static FAULT: AtomicU8 = AtomicU8::new(0);

/// Switches a fault on, or all off with `Fault::None`, for databases that this process opens from here on.
#[cfg(feature = "faults")]
pub fn set(fault: Fault) {
    FAULT.store(fault as u8, Ordering::SeqCst);
}

/// The fault of a database that is opened now.
pub(super) fn current() -> Fault {
    #[cfg(feature = "faults")]
    match FAULT.load(Ordering::SeqCst) {
        1 => return Fault::AnswersBeforeCommit,
        2 => return Fault::SynchronousNormal,
        _ => {}
    }
    Fault::None
}
