//! The table of budgets: how much of what everybody needs one somebody may take, and what is told when it is used up.
//!
//! The code reads its limits from here, `server/docs/limits.md` shows the same table, and a test holds the two together.
//! A budget belongs to somebody: who uses up the own one is told so, and takes nothing from others.

/// Whose share a budget is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// The machine's: what all the others are shares of.
    Server,
    /// An IPv4 address, or an IPv6 network of 64 bits.
    Address,
    /// A user of a tenant: who is signed in, or whom a record is about.
    Person,
    /// The key of a device.
    Device,
    /// Who pushes, whoever wrote what is pushed.
    Sender,
    /// One document: a record, a class session, a binding.
    Document,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Open connections.
    Connections,
    /// Requests that are worked on.
    Requests,
    /// Work that waits or runs.
    Places,
    /// Bytes.
    Bytes,
    /// Changes, signed entries, or rows of a table.
    Rows,
    /// Pictures.
    Pictures,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// The constant's name.
    pub name: &'static str,
    /// What it bounds, in words.
    pub what: &'static str,
    /// Whose share it is.
    pub share: Share,
    /// The most.
    pub max: u64,
    /// Of what.
    pub unit: Unit,
    /// What is told when it is used up.
    pub answer: &'static str,
    /// The test that stands on both sides of it.
    pub test: &'static str,
}

impl Budget {
    /// The most, of what is counted in memory.
    pub const fn count(&self) -> usize {
        self.max as usize
    }

    /// The most, of what is counted in the database.
    pub const fn rows(&self) -> i64 {
        self.max as i64
    }
}

/// Declares the budgets and the list of all of them, so that none is missing in it.
macro_rules! budgets {
    ($($(#[doc = $what:literal])+ $name:ident: $share:ident, $max:expr, $unit:ident, $answer:literal, $test:literal;)+) => {
        $(
            $(#[doc = $what])+
            pub const $name: Budget = Budget {
                name: stringify!($name),
                what: concat!($($what),+),
                share: Share::$share,
                max: $max,
                unit: Unit::$unit,
                answer: $answer,
                test: $test,
            };
        )+
        /// Every budget, in the order of the table.
        pub const ALL: &[Budget] = &[$($name),+];
    };
}

budgets! {
    /// Open connections. Fewer where the system allows fewer open files.
    CONNECTIONS: Server, 16_384, Connections, "503 and `Retry-After`", "one_connection_too_many_is_told_to_come_back";
    /// Requests that are worked on at once; one that waits for its body is not.
    REQUESTS_IN_FLIGHT: Server, 2_048, Requests, "503 `BUSY`", "one_request_too_many_is_told_to_come_back";
    /// Writes that wait for the writer of the database.
    WRITES_WAITING: Server, 4_096, Places, "503 `BUSY` after 2 s", "a_full_queue_tells_who_comes_too_late";
    /// Reads that wait for a reader of the database.
    READS_WAITING: Server, 4_096, Places, "503 `BUSY` after 2 s", "a_full_queue_tells_who_comes_too_late";
    /// Records of a student in class sessions that nobody knows.
    UNKNOWN_SESSIONS: Person, 20, Rows, "409 `SESSION_UNKNOWN`", "a_student_cannot_pile_up_records_of_sessions_that_nobody_knows";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the table in the document.
    fn described() -> Vec<&'static str> {
        let document = include_str!("../../docs/limits.md");
        document.lines().filter(|line| line.starts_with("| `")).collect()
    }

    fn row(budget: &Budget) -> String {
        let Budget { name, what, share, max, unit, answer, .. } = budget;
        let unit = format!("{unit:?}").to_lowercase();
        let max = match max {
            bytes if *unit == *"bytes" && bytes % (1024 * 1024) == 0 => format!("{} MiB", bytes / (1024 * 1024)),
            bytes if *unit == *"bytes" && bytes % 1024 == 0 => format!("{} KiB", bytes / 1024),
            max => format!("{max} {unit}"),
        };
        format!("| `{name}` | {} | {max} | {} | {answer} |", format!("{share:?}").to_lowercase(), what.trim())
    }

    #[test]
    fn the_document_shows_the_table() {
        let table: Vec<String> = ALL.iter().map(row).collect();
        assert_eq!(described(), table, "server/docs/limits.md should have these rows:\n{}", table.join("\n"));
    }
}
