//! What this phone carries for others, and which of its own records others carry.

mod carried;
mod handed;

pub use carried::CarriedCounts;
pub(super) use carried::settle;
pub(crate) use carried::{CarriedRow, Carry, CarryOutcome};
pub(crate) use handed::{OfferedPlan, OwnRow};
