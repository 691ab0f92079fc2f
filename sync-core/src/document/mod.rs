//! Documents: their containers, the typed entries that may stand in them, chains, and who may write where.

mod attendance;
mod class_session;
mod device_binding;
mod field;
pub mod genesis;
mod load;
mod scope;

pub use attendance::{
    Appeal, Decision, DecisionAction, Mark, MarkStatus, Outcome, Source, Submission, Verdict, join_hashes,
};
pub use class_session::{CodeMode, Plan, PlanAction, PlanChange};
pub use device_binding::{Binding, BindingAction, KeyLevel, Request, RequestPurpose, Reset, ResetAction};
pub use field::{Code, Label};
pub use load::{Materialised, materialise};
pub use scope::{Role, Writer, may_write};

use crate::{
    ChangeHash, Refusal,
    change::{Fields, Valid},
};

/// The newest change of one writer in one document: all that is needed to append or to judge the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainTip {
    /// Position in the chain; 0 for genesis.
    pub seq: u64,
    /// The change.
    pub hash: ChangeHash,
    /// Counter of its last operation.
    pub max_op: u64,
}

/// How a valid change stands to its writer's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainStep {
    /// It is the next one.
    Next,
    /// Changes before it have not arrived: it waits.
    Gap,
    /// Another change already has its `seq`: equivocation, unless it is that very change.
    Behind,
}

impl ChainTip {
    /// Judges `change` against this tip (genesis if the writer has written nothing yet).
    ///
    /// # Errors
    /// [`Refusal::ChainBroken`] if it claims the next place but does not continue from the tip.
    pub fn step(&self, change: &Valid) -> Result<ChainStep, Refusal> {
        self.place(change.seq, change.dep, change.start_op)
    }

    fn place(&self, seq: u64, dep: ChangeHash, start_op: u64) -> Result<ChainStep, Refusal> {
        if seq <= self.seq {
            return Ok(ChainStep::Behind);
        }
        if seq > self.seq + 1 {
            return Ok(ChainStep::Gap);
        }
        if dep != self.hash {
            return Err(Refusal::ChainBroken { what: "its dependency is not the writer's previous change" });
        }
        if start_op != self.max_op + 1 {
            return Err(Refusal::ChainBroken { what: "start_op does not follow the previous change" });
        }
        Ok(ChainStep::Next)
    }
}

macro_rules! containers {
    ($($(#[$doc:meta])* $variant:ident($entry:ty) = $kind:literal, $op:literal, $name:literal;)*) => {
        /// A map at the root of a document, made by genesis, that entries of one type are written into.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Container { $($(#[$doc])* $variant,)* }

        /// An entry of any container.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Entry { $($(#[$doc])* $variant($entry),)* }

        impl Container {
            /// Every container.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The container of a document kind that genesis makes with operation `op`.
            #[must_use]
            pub fn at(kind: u8, op: u64) -> Option<Self> {
                match (kind, op) { $(($kind, $op) => Some(Self::$variant),)* _ => None }
            }

            /// The document kind.
            #[must_use]
            pub fn kind(self) -> u8 {
                match self { $(Self::$variant => $kind,)* }
            }

            /// Counter of the operation of genesis that makes it.
            #[must_use]
            pub fn op(self) -> u64 {
                match self { $(Self::$variant => $op,)* }
            }

            /// Its key at the root of the document.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl Entry {
            /// Reads the entry of `container` from a change's fields. Fields that the schema does not know are left alone.
            ///
            /// # Errors
            /// [`Refusal::Field`] for a field that is missing, of the wrong type or out of its range.
            pub fn read(container: Container, fields: &Fields<'_>) -> Result<Self, Refusal> {
                match container { $(Container::$variant => {
                    let entry = <$entry>::from_fields(fields)?;
                    entry.check()?;
                    Ok(Self::$variant(entry))
                })* }
            }

            /// Its container.
            #[must_use]
            pub fn container(&self) -> Container {
                match self { $(Self::$variant(_) => Container::$variant,)* }
            }

            /// Its fields, in ascending order.
            #[must_use]
            pub fn fields(&self) -> Fields<'_> {
                match self { $(Self::$variant(entry) => entry.to_fields(),)* }
            }
        }

        $(impl From<$entry> for Entry {
            fn from(entry: $entry) -> Self {
                Self::$variant(entry)
            }
        })*
    };
}

containers! {
    /// `class-session`: the plan, by lecturers of the course.
    Plan(Plan) = 1, 1, "plan";
    /// `class-session`: close, expire, regenerate, by lecturers of the course.
    PlanChanges(PlanChange) = 1, 2, "changes";
    /// `attendance`: submissions, by the student's devices.
    Submissions(Submission) = 2, 1, "submissions";
    /// `attendance`: appeals, by the student's devices.
    Appeals(Appeal) = 2, 2, "appeals";
    /// `attendance`: verdicts, by the server.
    Verdicts(Verdict) = 2, 3, "verdicts";
    /// `attendance`: decisions, by lecturers of the course, reviewers and admins.
    Decisions(Decision) = 2, 4, "decisions";
    /// `attendance`: marks by hand, by lecturers of the course, reviewers and admins.
    Marks(Mark) = 2, 5, "marks";
    /// `device-binding`: requests, by the device that asks.
    Requests(Request) = 3, 1, "requests";
    /// `device-binding`: bindings and revocations, by admins and the server.
    Bindings(Binding) = 3, 2, "bindings";
    /// `device-binding`: answers to reset requests, by admins and the server.
    Resets(Reset) = 3, 3, "resets";
}
