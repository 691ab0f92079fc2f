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
    /// The test in which what stays within it is taken.
    pub within: &'static str,
    /// The test in which one more gets the answer.
    pub beyond: &'static str,
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
    ($($(#[doc = $what:literal])+ $name:ident: $share:ident, $max:expr, $unit:ident, $answer:literal, $within:literal, $beyond:literal;)+) => {
        $(
            $(#[doc = $what])+
            pub const $name: Budget = Budget {
                name: stringify!($name),
                what: concat!($($what),+),
                share: Share::$share,
                max: $max,
                unit: Unit::$unit,
                answer: $answer,
                within: $within,
                beyond: $beyond,
            };
        )+
        /// Every budget, in the order of the table.
        pub const ALL: &[Budget] = &[$($name),+];
    };
}

budgets! {
    /// Open connections. Fewer where the system allows fewer open files.
    CONNECTIONS: Server, 16_384, Connections, "503 and `Retry-After`", "one_connection_too_many_is_told_to_come_back", "one_connection_too_many_is_told_to_come_back";
    /// Open connections of an address that is neither in `TRUSTED_PROXIES` nor in `CAMPUS_NETWORKS`; half of all where the system allows fewer. One more takes the place of one on which nothing happens.
    CONNECTIONS_PER_ADDRESS: Address, 8_192, Connections, "429 `RATE_LIMITED`", "an_address_with_all_its_connections_busy_is_told_and_another_one_is_served", "an_address_with_all_its_connections_busy_is_told_and_another_one_is_served";
    /// Requests that are worked on at once; one that waits for its body is not.
    REQUESTS_IN_FLIGHT: Server, 2_048, Requests, "503 `BUSY`", "one_request_too_many_is_told_to_come_back", "one_request_too_many_is_told_to_come_back";
    /// Requests of somebody who is signed in that are worked on at once; more wait behind these.
    REQUESTS_PER_PERSON: Person, 16, Requests, "429 `RATE_LIMITED` after 10 s", "hundreds_of_requests_of_one_person_keep_nobody_else_waiting", "who_waits_too_long_behind_their_own_requests_is_told";
    /// The same for an address and those who are not signed in; as many as there are for `CAMPUS_NETWORKS`.
    REQUESTS_PER_ADDRESS: Address, 512, Requests, "429 `RATE_LIMITED` after 10 s", "requests_of_an_address_that_wait_keep_no_other_address_waiting", "who_waits_too_long_behind_their_own_requests_is_told";
    /// Bodies of requests in memory, until their request is answered. Nobody holds more than what is left for the others.
    BODY_BYTES: Server, 256 * 1024 * 1024, Bytes, "503 `BUSY`", "bodies_of_many_leave_something_for_the_next", "bodies_of_many_leave_something_for_the_next";
    /// The same of somebody who is signed in; two images of `UPLOAD_MAX_IMAGE_MB` where that is more.
    BODY_BYTES_PER_PERSON: Person, 16 * 1024 * 1024, Bytes, "429 `RATE_LIMITED`", "what_one_student_has_under_way_is_bounded_and_others_send_beside_it", "what_one_student_has_under_way_is_bounded_and_others_send_beside_it";
    /// The same of those who are not signed in, of one address.
    BODY_BYTES_PER_ADDRESS: Address, 4 * 1024 * 1024, Bytes, "429 `RATE_LIMITED`", "what_an_address_has_under_way_is_bounded_and_a_campus_has_more", "what_an_address_has_under_way_is_bounded_and_a_campus_has_more";
    /// The same of an address of `CAMPUS_NETWORKS`.
    BODY_BYTES_PER_CAMPUS: Address, 64 * 1024 * 1024, Bytes, "429 `RATE_LIMITED`", "what_an_address_has_under_way_is_bounded_and_a_campus_has_more", "a_campus_has_its_share_of_bodies_and_no_more";
    /// Replies in memory, until their client has them. Nobody holds more than what is left for the others.
    REPLY_BYTES: Server, 512 * 1024 * 1024, Bytes, "503 `BUSY`", "replies_that_nobody_reads_are_bounded_for_each_and_for_all", "replies_that_nobody_reads_are_bounded_for_each_and_for_all";
    /// The same of one person, or of those of one address who are not signed in.
    REPLY_BYTES_PER_HOLDER: Person, 64 * 1024 * 1024, Bytes, "429 `RATE_LIMITED`", "replies_that_nobody_reads_are_bounded_for_each_and_for_all", "replies_that_nobody_reads_are_bounded_for_each_and_for_all";
    /// Writes that wait for the writer of the database.
    WRITES_WAITING: Server, 4_096, Places, "503 `BUSY` after `DB_POOL_TIMEOUT`", "a_full_queue_tells_who_comes_too_late", "a_full_queue_tells_who_comes_too_late";
    /// Reads that wait for a reader of the database.
    READS_WAITING: Server, 4_096, Places, "503 `BUSY` after `DB_POOL_TIMEOUT`", "a_full_queue_tells_who_comes_too_late", "a_full_queue_tells_who_comes_too_late";
    /// Passwords that are hashed at once; each takes a core for about 30 ms. Everybody's turn comes after those before it of others, not after all of theirs.
    PASSWORDS_HASHED: Server, 2, Places, "waits", "who_waits_behind_themselves_lets_the_next_one_in_first", "who_waits_behind_themselves_lets_the_next_one_in_first";
    /// Passwords that wait for that or are hashed. Nobody holds more than what is left for the others.
    PASSWORDS_WAITING: Server, 520, Places, "503 `BUSY`", "one_address_leaves_places_for_the_passwords_of_others", "one_address_leaves_places_for_the_passwords_of_others";
    /// The same of those who are not signed in, of one address; as many as there are for `CAMPUS_NETWORKS`.
    PASSWORDS_WAITING_PER_ADDRESS: Address, 130, Places, "429 `RATE_LIMITED`", "a_flood_of_sign_ins_from_one_address_keeps_no_other_address_out", "a_flood_of_sign_ins_from_one_address_keeps_no_other_address_out";
    /// The same of somebody who is signed in.
    PASSWORDS_WAITING_PER_PERSON: Person, 8, Places, "429 `RATE_LIMITED`", "passwords_of_one_person_are_looked_at_a_few_at_a_time", "passwords_of_one_person_are_looked_at_a_few_at_a_time";
    /// Questions to one provider of sign-ins that wait for their answers.
    PROVIDER_QUESTIONS: Server, 32, Places, "503 `OAUTH_PROVIDER_UNAVAILABLE` after 5 s", "a_provider_that_hangs_is_asked_so_often_for_one_address_and_for_the_next", "a_provider_that_hangs_is_asked_so_often_for_one_address_and_for_the_next";
    /// The same of those who come back from it to one address; as many as there are for `CAMPUS_NETWORKS`.
    PROVIDER_QUESTIONS_PER_ADDRESS: Address, 16, Places, "503 `OAUTH_PROVIDER_UNAVAILABLE` after 5 s", "a_provider_that_hangs_is_asked_so_often_for_one_address_and_for_the_next", "a_provider_that_hangs_is_asked_so_often_for_one_address_and_for_the_next";
    /// Requests with changes of one person that are checked and written at once: who sends more waits behind them, and nobody else does.
    PUSHES_PER_PERSON: Person, 1, Places, "waits", "who_has_enough_waits_and_the_next_does_not", "who_has_enough_waits_and_the_next_does_not";
    /// Pictures that are decoded at once; each may take 128 MiB.
    PICTURES_DECODED: Server, 4, Places, "waits", "who_has_enough_waits_and_the_next_does_not", "who_has_enough_waits_and_the_next_does_not";
    /// The same of one person: who sends more waits behind them, and nobody else does.
    PICTURES_DECODED_PER_PERSON: Person, 1, Places, "waits", "who_has_enough_waits_and_the_next_does_not", "who_has_enough_waits_and_the_next_does_not";
    /// Pictures whose faces are read at once, and as many as there are cores at most.
    FACES_READ: Server, 8, Places, "waits", "who_has_enough_waits_and_the_next_does_not", "who_has_enough_waits_and_the_next_does_not";
    /// The same of one person.
    FACES_READ_PER_PERSON: Person, 1, Places, "waits", "who_has_enough_waits_and_the_next_does_not", "who_has_enough_waits_and_the_next_does_not";
    /// Rosters that are imported at once.
    IMPORTS: Server, 1, Places, "409 `IMPORT_RUNNING`", "one_import_runs_at_a_time", "one_import_runs_at_a_time";
    /// Rosters that are being received.
    IMPORTS_RECEIVED: Server, 8, Places, "409 `IMPORT_RUNNING`", "rosters_under_way_are_bounded_for_each_admin_and_for_all", "rosters_under_way_are_bounded_for_each_admin_and_for_all";
    /// The same of one admin.
    IMPORTS_RECEIVED_PER_PERSON: Person, 1, Places, "409 `IMPORT_RUNNING`", "rosters_under_way_are_bounded_for_each_admin_and_for_all", "rosters_under_way_are_bounded_for_each_admin_and_for_all";
    /// Streams of live events.
    STREAMS_PER_PERSON: Person, 8, Connections, "the oldest one ends", "one_stream_too_many_ends_the_oldest_of_the_same_person", "one_stream_too_many_ends_the_oldest_of_the_same_person";
    /// Records of a student in class sessions that nobody knows.
    UNKNOWN_SESSIONS: Person, 20, Rows, "409 `SESSION_UNKNOWN`", "a_student_cannot_pile_up_records_of_sessions_that_nobody_knows", "a_student_cannot_pile_up_records_of_sessions_that_nobody_knows";
    /// Rows of the log that a student adds on one day (UTC).
    STUDENT_LOG_ROWS: Person, super::STUDENT_LOG_PER_DAY.rows as u64, Rows, "fate `retry`, `day_full`; a form 429 `DAY_FULL`", "a_day_has_room_for_so_much_of_one_author_and_tomorrow_has_again", "a_day_has_room_for_so_much_of_one_author_and_tomorrow_has_again";
    /// Their bytes.
    STUDENT_LOG_BYTES: Person, super::STUDENT_LOG_PER_DAY.bytes as u64, Bytes, "fate `retry`, `day_full`; a form 429 `DAY_FULL`", "a_day_ends_at_its_last_byte_and_its_last_row_for_every_role", "a_day_ends_at_its_last_byte_and_its_last_row_for_every_role";
    /// Rows of the log that the devices of somebody who teaches, reviews or administers add on one day.
    STAFF_LOG_ROWS: Person, super::STAFF_LOG_PER_DAY.rows as u64, Rows, "fate `retry`, `day_full`", "a_day_ends_at_its_last_byte_and_its_last_row_for_every_role", "a_day_ends_at_its_last_byte_and_its_last_row_for_every_role";
    /// Their bytes.
    STAFF_LOG_BYTES: Person, super::STAFF_LOG_PER_DAY.bytes as u64, Bytes, "fate `retry`, `day_full`", "a_day_ends_at_its_last_byte_and_its_last_row_for_every_role", "a_day_ends_at_its_last_byte_and_its_last_row_for_every_role";
    /// Changes that come to wait on a student's account on one day.
    STUDENT_WAITING_ROWS: Sender, super::STUDENT_WAITING_PER_DAY.rows as u64, Rows, "fate `retry`, `day_full`", "so_much_comes_to_wait_on_one_day_for_every_role", "so_much_comes_to_wait_on_one_day_for_every_role";
    /// Their bytes, with what waits beside them.
    STUDENT_WAITING_BYTES: Sender, super::STUDENT_WAITING_PER_DAY.bytes as u64, Bytes, "fate `retry`, `day_full`", "so_much_comes_to_wait_on_one_day_for_every_role", "so_much_comes_to_wait_on_one_day_for_every_role";
    /// The same of somebody who teaches, reviews or administers.
    STAFF_WAITING_ROWS: Sender, super::STAFF_WAITING_PER_DAY.rows as u64, Rows, "fate `retry`, `day_full`", "so_much_comes_to_wait_on_one_day_for_every_role", "so_much_comes_to_wait_on_one_day_for_every_role";
    /// Their bytes.
    STAFF_WAITING_BYTES: Sender, super::STAFF_WAITING_PER_DAY.bytes as u64, Bytes, "fate `retry`, `day_full`", "so_much_comes_to_wait_on_one_day_for_every_role", "so_much_comes_to_wait_on_one_day_for_every_role";
    /// Changes about themselves that somebody has waiting: a phone that nobody approved yet.
    OWN_WAITING_ROWS: Person, super::OWN_WAITING.rows as u64, Rows, "fate `retry`, `quarantine_full`", "so_much_waits_of_one_person_and_their_keys_are_not_counted", "so_much_waits_of_one_person_and_their_keys_are_not_counted";
    /// Their bytes.
    OWN_WAITING_BYTES: Person, super::OWN_WAITING.bytes as u64, Bytes, "fate `retry`, `quarantine_full`", "what_waits_at_once_ends_at_its_last_byte_and_its_last_row", "what_waits_at_once_ends_at_its_last_byte_and_its_last_row";
    /// Changes about others that a student has waiting.
    STUDENT_RELAYED_ROWS: Sender, super::STUDENT_RELAYED_WAITING.rows as u64, Rows, "fate `retry`, `quarantine_full`", "what_waits_at_once_ends_at_its_last_byte_and_its_last_row", "what_waits_at_once_ends_at_its_last_byte_and_its_last_row";
    /// Their bytes.
    STUDENT_RELAYED_BYTES: Sender, super::STUDENT_RELAYED_WAITING.bytes as u64, Bytes, "fate `retry`, `quarantine_full`", "what_waits_at_once_ends_at_its_last_byte_and_its_last_row", "what_waits_at_once_ends_at_its_last_byte_and_its_last_row";
    /// The same of somebody who teaches, reviews or administers: as much as a relay carries.
    STAFF_RELAYED_ROWS: Sender, super::STAFF_RELAYED_WAITING.rows as u64, Rows, "fate `retry`, `quarantine_full`", "a_lecturers_phone_carries_for_a_hall_of_phones_that_nobody_approved_yet", "what_waits_at_once_ends_at_its_last_byte_and_its_last_row";
    /// Their bytes.
    STAFF_RELAYED_BYTES: Sender, super::STAFF_RELAYED_WAITING.bytes as u64, Bytes, "fate `retry`, `quarantine_full`", "what_waits_at_once_ends_at_its_last_byte_and_its_last_row", "what_waits_at_once_ends_at_its_last_byte_and_its_last_row";
    /// Changes about one other person that a student has waiting.
    STUDENT_WAITING_ABOUT_ONE: Sender, super::STUDENT_WAITING_ABOUT_ONE_MAX as u64, Rows, "fate `retry`, `quarantine_full`", "what_strangers_send_about_somebody_blocks_nobody_else", "what_strangers_send_about_somebody_blocks_nobody_else";
    /// The same of somebody who teaches, reviews or administers.
    STAFF_WAITING_ABOUT_ONE: Sender, super::STAFF_WAITING_ABOUT_ONE_MAX as u64, Rows, "fate `retry`, `quarantine_full`", "so_much_waits_about_one_person_of_a_lecturer_and_of_all_strangers", "so_much_waits_about_one_person_of_a_lecturer_and_of_all_strangers";
    /// Changes about one person that all other students have waiting.
    STRANGERS_WAITING_ABOUT_ONE: Person, super::STRANGERS_WAITING_ABOUT_ONE_MAX as u64, Rows, "fate `retry`, `quarantine_full`", "so_much_waits_about_one_person_of_a_lecturer_and_of_all_strangers", "so_much_waits_about_one_person_of_a_lecturer_and_of_all_strangers";
    /// Copies of refused changes.
    REFUSALS_KEPT_ROWS: Sender, super::REFUSALS_KEPT.rows as u64, Rows, "no copy is kept", "small_copies_of_refused_changes_end_at_their_number", "small_copies_of_refused_changes_end_at_their_number";
    /// Their bytes.
    REFUSALS_KEPT_BYTES: Sender, super::REFUSALS_KEPT.bytes as u64, Bytes, "no copy is kept", "so_many_copies_of_refused_changes_are_kept_of_one_sender", "so_many_copies_of_refused_changes_are_kept_of_one_sender";
    /// Requests for a device within 24 hours.
    BINDING_REQUESTS_PER_DAY: Person, super::BINDING_REQUESTS_PER_DAY_MAX as u64, Rows, "fate `retry`, `requests_full`; 429 `DEVICE_REQUESTS_FULL`", "a_person_asks_for_so_many_devices_a_day_through_every_door", "a_person_asks_for_so_many_devices_a_day_through_every_door";
    /// Requests for a device at all: none is ever removed.
    BINDING_REQUESTS: Person, super::BINDING_REQUESTS_MAX as u64, Rows, "fate `retry`, `requests_full`; 429 `DEVICE_REQUESTS_FULL`", "a_person_asks_for_so_many_devices_at_all", "a_person_asks_for_so_many_devices_at_all";
    /// Pictures that are stored on one day.
    IMAGES_STORED: Person, super::IMAGES_PER_DAY.rows as u64, Pictures, "507 `IMAGES_OF_TODAY_FULL`", "a_day_has_room_for_so_many_pictures_of_one_person", "pictures_that_come_at_once_get_no_more_of_the_day";
    /// Their bytes.
    IMAGES_STORED_BYTES: Person, super::IMAGES_PER_DAY.bytes as u64, Bytes, "507 `IMAGES_OF_TODAY_FULL`", "a_day_ends_at_the_last_byte_of_its_pictures", "a_day_ends_at_the_last_byte_of_its_pictures";
    /// Pictures that are taken for changes in quarantine.
    IMAGES_FOR_WAITING: Person, super::IMAGES_WAITING.rows as u64, Pictures, "507 `WAITING_IMAGES_FULL`", "so_many_pictures_are_taken_for_changes_that_wait", "so_many_pictures_are_taken_for_changes_that_wait";
    /// Their bytes, as their manifests say.
    IMAGES_FOR_WAITING_BYTES: Person, super::IMAGES_WAITING.bytes as u64, Bytes, "507 `WAITING_IMAGES_FULL`", "pictures_of_a_phone_that_waits_have_room_for_so_many_bytes_and_the_rest_after_its_approval", "pictures_of_a_phone_that_waits_have_room_for_so_many_bytes_and_the_rest_after_its_approval";
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
        let Budget { name, what, share, max, unit, answer, within, beyond } = budget;
        let unit = format!("{unit:?}").to_lowercase();
        let max = match max {
            bytes if *unit == *"bytes" && bytes % (1024 * 1024) == 0 => format!("{} MiB", bytes / (1024 * 1024)),
            bytes if *unit == *"bytes" && bytes % 1024 == 0 => format!("{} KiB", bytes / 1024),
            max => format!("{max} {unit}"),
        };
        let share = format!("{share:?}").to_lowercase();
        let tests = if within == beyond { (*within).to_owned() } else { format!("{within}, {beyond}") };
        format!("| `{name}` | {share} | {max} | {} | {answer} | {tests} |", what.trim())
    }

    #[test]
    fn the_document_shows_the_table() {
        let table: Vec<String> = ALL.iter().map(row).collect();
        assert_eq!(described(), table, "server/docs/limits.md should have these rows:\n{}", table.join("\n"));
    }
}
