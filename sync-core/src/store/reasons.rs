//! Reason codes in plain words: what it means for a person, and what to do.

/// Codes and their sentences. Codes of the server's admission and of its checks, and those of the phone itself.
const SENTENCES: &[(&str, &str)] = &[
    // The phone's own.
    ("not_sent_yet", "Only this phone has it. It is sent by itself as soon as there is a network."),
    ("not_answered_yet", "It was sent, and the answer has not come yet. It is sent again by itself."),
    ("sent_again", "The server lost its copy, and this phone sends it again by itself. Nothing is lost."),
    ("not_judged_yet", "The server has it. Its checks have not finished; look again later."),
    (
        "handed_over",
        "Another phone carries a copy to the server. This phone still sends it by itself, and then you see it.",
    ),
    ("login_expired", "Your sign-in has expired. Sign in again; nothing is lost."),
    ("key_replaced", "It was signed by a device key that is no longer on this phone. Ask your lecturer to mark you."),
    ("unspecified", "The server gave no reason. Ask your lecturer and show this screen."),
    // Quarantine.
    ("device_unbound", "This phone is not approved yet. Ask the administration to approve it; the record waits."),
    ("device_revoked", "This phone was replaced by another one. Ask the administration which phone is yours."),
    ("device_of_other_user", "This phone is registered to somebody else. Ask the administration to look at it."),
    (
        "session_unknown",
        "The server does not know this class session yet. It waits until the lecturer's phone has synced.",
    ),
    (
        "session_contested",
        "Several people say that this class session is theirs. It waits until the administration has decided.",
    ),
    ("chain_gap", "An earlier record of this phone is missing. It is sent again by itself."),
    ("chain_broken", "The server has other records of this phone. It is signed and sent again by itself."),
    ("chain_fork", "Two copies of this phone's data exist. Use one phone only, and ask the administration."),
    ("discarded", "The administration looked at it and did not take it. Ask there for the reason."),
    ("superseded", "It was not taken before, and this phone went on without it. Nothing is to be done."),
    // Refusals, and what is sent again later.
    (
        "quarantine_full",
        "Too many records wait for an approval. It stays on this phone and is sent again by itself; ask the administration \
         to approve your phone.",
    ),
    ("day_full", "You have sent as much today as one person may. It stays on this phone and is sent again by itself."),
    ("requests_full", "You have asked for phones too often. It is sent again by itself; ask the administration."),
    (
        "guest_may_not_push",
        "Your account is a guest's. It stays on this phone and is sent once the account is confirmed as a student's.",
    ),
    (
        "too_many_submissions",
        "This record has as many submissions as it may have. Ask your lecturer to decide about it.",
    ),
    ("too_many_appeals", "This record has as many appeals as it may have. Speak to your lecturer."),
    ("too_many_decisions", "You have decided about this record as often as one person may. Let somebody else decide."),
    ("appeal_needs_another", "The student appealed against your decision. Somebody else has to decide now."),
    (
        "too_many_plan_changes",
        "You have changed this class session as often as one person may. Let somebody else change it.",
    ),
    ("student_unknown", "The server does not know this user id. Sign in again, and ask the administration."),
    ("manifest_mismatch", "The evidence does not match the record. Capture again."),
    ("change_too_large", "The record is too large. Update the app and capture again."),
    ("change_truncated", "The record was damaged. Update the app and capture again."),
    ("change_malformed", "The record was damaged. Update the app and capture again."),
    ("change_kind", "The record was damaged. Update the app and capture again."),
    ("checksum_mismatch", "The record was damaged. Update the app and capture again."),
    ("not_canonical", "The record was damaged. Update the app and capture again."),
    ("too_many_ops", "The record is too large. Update the app and capture again."),
    ("key_weak", "This phone's key is not safe. Reinstall the app and ask for a new approval."),
    ("signature_invalid", "The signature is wrong. Reinstall the app and ask for a new approval."),
    ("document_mismatch", "The record belongs to another session. Capture again."),
    ("document_name", "The session or user id is malformed. Capture again."),
    ("out_of_scope", "The record says something that this phone may not write. Update the app."),
    ("field_invalid", "A part of the record is not valid. Update the app and capture again."),
    ("writer_not_allowed", "You may not write this record: you are not enrolled in the course, or not its lecturer."),
    (
        "epoch_out_of_turn",
        "The session's code was renewed too far ahead of what the server knows. Sync, then renew the code again.",
    ),
    ("manifest_invalid", "The evidence does not match the record. Capture again."),
    ("manifest_not_opened", "The evidence did not arrive whole. It is sent again by this phone itself."),
    ("generation_lost", "The server wrote this anew. Nothing is lost."),
    ("manifest_missing", "The evidence did not arrive with the record. Capture again."),
    // Checks that flag.
    ("in_review", "A person looks at it. You see the decision here."),
    ("code_wrong", "The session code was wrong. A person looks at it; ask your lecturer if you were there."),
    (
        "code_wrong_epoch",
        "The session code had been replaced. A person looks at it; ask your lecturer if you were there.",
    ),
    ("code_stale", "The session code was old when it was captured. A person looks at it."),
    ("code_early", "The session code belongs to a later moment than the capture. A person looks at it."),
    ("code_missing", "There was no session code. A person looks at it; ask your lecturer if you were there."),
    ("code_key_missing", "The server cannot check this session's code yet. A person looks at it."),
    ("before_window", "It was captured before the session began. A person looks at it."),
    ("after_window", "It was captured after the session ended. A person looks at it."),
    ("outside_geofence", "The position was outside the room's area. A person looks at it."),
    ("position_missing", "There was no position. A person looks at it; allow the app to use the position."),
    ("position_imprecise", "The position was too imprecise to tell. A person looks at it."),
    ("mock_location", "The phone reported a simulated position. Switch that off; a person looks at it."),
    ("clock_skew", "This phone's clock is wrong. Set it to automatic; a person looks at it."),
    ("clock_contradiction", "The clocks of this record contradict each other. A person looks at it."),
    ("duplicate", "There is already a record of you in this session. A person looks at it."),
    ("not_enrolled", "You are not enrolled in this course. Ask your lecturer to enrol you."),
    ("bound_after_capture", "It was captured before this phone was approved. A person looks at it."),
    ("device_not_bound", "The device was not an approved one of yours. A person looks at it."),
    ("device_differs", "It came from another device than your approved one. A person looks at it."),
    ("device_forked", "Two copies of this phone's data exist. Use one phone only; a person looks at it."),
    ("face_mismatch", "The picture does not match your reference photo. A person looks at it."),
    ("face_borderline", "The picture could not be matched surely. A person looks at it."),
    ("face_unavailable", "The picture could not be compared. A person looks at it."),
    ("face_too_small", "Your face is too small in the picture. A person looks at it; next time come closer."),
    ("no_face", "There is no face in the picture. A person looks at it; next time hold the phone still."),
    ("several_faces", "There are several faces in the picture. A person looks at it; next time be alone in it."),
    ("no_reference", "You have no reference photo. Enrol one, or ask your lecturer to confirm you."),
    (
        "selfie_is_reference",
        "The picture is the file of your reference photo. A person looks at it; take a new picture.",
    ),
    ("selfie_missing", "The picture did not arrive. Open the app with a network, so that it is uploaded."),
    // Images.
    ("image_not_expected", "The server does not expect this picture. It stays on this phone until it does."),
    ("image_refused", "The server did not take a picture of this record. Ask your lecturer if it matters."),
];

/// The sentence of a reason code; for a code that this version does not know, one that names it.
#[must_use]
pub fn reason_in_words(code: &str) -> String {
    if let Some(why) = code.strip_prefix("discarded.") {
        return format!("The administration looked at it and did not take it, for the reason \"{why}\". Ask there.");
    }
    match SENTENCES.iter().find(|(known, _)| *known == code) {
        Some((_, sentence)) => (*sentence).to_owned(),
        None => format!("The server gave the reason \"{code}\". Ask your lecturer and show this screen."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_stands_once_and_every_sentence_ends() {
        let codes: BTreeSet<_> = SENTENCES.iter().map(|(code, _)| code).collect();
        assert_eq!(codes.len(), SENTENCES.len());
        assert!(SENTENCES.iter().all(|(_, sentence)| sentence.ends_with('.')));
        assert!(reason_in_words("made_up").contains("made_up"));
        assert!(reason_in_words("discarded.seen_elsewhere").contains("for the reason \"seen_elsewhere\""));
    }
}
