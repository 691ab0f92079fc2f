//! What a walk over sealed rows has done so far: the same for every table whose rows are sealed under a key of the server.

/// Rows that are looked at in one step, and written in one transaction.
pub const RESEALED_AT_ONCE: i64 = 500;
/// Rows that do not open and are named; the others are counted.
const NAMED_MAX: usize = 10;

/// So many rows were looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Resealed {
    /// Rows.
    pub rows: u64,
    /// Rows that are sealed under another key now than they were.
    pub resealed: u64,
    /// Rows that open under none of the keys.
    pub unopened: u64,
    /// Whose the first of these are.
    pub named: Vec<String>,
}

impl Resealed {
    /// Notes a row that does not open.
    pub fn miss(&mut self, whose: &str) {
        self.unopened += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(whose.to_owned());
        }
    }
}
