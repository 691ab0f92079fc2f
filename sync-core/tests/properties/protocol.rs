//! `PROTOCOL.md` against the code: another team writes a client from it, so every limit, field, context and reason is there.

use crate::fixtures::*;
use muster_sync_core::{DocumentName, change::Scalar, document::*, signing::Context, sync::message::CONTENT_TYPE};
use std::collections::BTreeSet;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    data_encoding::HEXLOWER.encode(bytes.as_ref())
}

const PROTOCOL: &str = include_str!("../../PROTOCOL.md");

macro_rules! limits {
    ($($name:ident)*) => { [$((stringify!($name), i128::try_from(muster_sync_core::limits::$name).unwrap()),)*] };
}

#[test]
fn every_limit_stands_in_the_protocol_with_its_value() {
    let limits = limits! {
        CHANGE_SIZE_BYTES_MAX OPS_PER_CHANGE_MAX COLUMNS_PER_CHANGE_MAX NAME_SIZE_BYTES_MAX TEXT_SIZE_BYTES_MAX
        BYTES_SIZE_BYTES_MAX START_OP_MAX SEQ_MAX CHANGE_TIME_S_MAX MANIFEST_SIZE_BYTES_MAX MANIFEST_IMAGES_MAX
        IMAGE_SIZE_BYTES_MAX IMAGE_SIZE_BYTES_DEFAULT SYNC_REQUEST_BYTES_MAX SYNC_RESPONSE_BYTES_MAX
        PUSHES_PER_REQUEST_MAX CHANGES_PER_PAGE_MAX PAGE_SIZE_BYTES_MAX CURSORS_MAX TENANT_SIZE_BYTES_MAX ID_SIZE_BYTES_MAX DECISION_AFTER_MAX RETRY_CEILING_MS
        RETRY_BASE_MS RETRY_AFTER_MS_MAX CLOCK_SKEW_MS_MAX MONOTONIC_DRIFT_PPM ANCHOR_TRAVEL_MS_MAX CLASS_SESSION_MS_MAX
        CODE_SEARCH_STEPS_MAX SEALED_MANIFEST_BLOCK_BYTES SEALED_MANIFEST_BYTES_MAX RELAY_MESSAGE_BYTES_MAX
        RELAY_SESSIONS_MAX RELAY_ITEMS_PER_PAGE_MAX RELAY_CHAINS_MAX RELAY_ITEMS_PER_MEETING_MAX
        RELAY_ITEMS_PER_SESSION_MAX RELAY_BYTES_PER_SESSION_MAX RELAY_ITEMS_MAX RELAY_BYTES_MAX RELAY_SETTLED_MAX
        MANIFEST_KEPT_MS IMAGE_KEPT_MS AUTH_CHALLENGE_SIZE_BYTES_MAX SUBMISSIONS_PER_RECORD_MAX APPEALS_PER_RECORD_MAX
        DECISIONS_PER_PERSON_MAX SESSION_ENTRIES_PER_PERSON_MAX HASHES_PER_RESPONSE_MAX CHECKS_MAX
        EPOCH_MAX EPOCHS_AHEAD_MAX
    };
    for (name, value) in &limits {
        let row = format!("| `{name}` | {value} |");
        assert!(PROTOCOL.contains(&row), "PROTOCOL.md has no row that starts with: {row}");
    }
    let source = include_str!("../../src/limits.rs");
    let constants = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let listed: BTreeSet<_> = limits.iter().map(|(name, _)| *name).collect();
    assert_eq!(constants.collect::<BTreeSet<_>>(), listed, "a limit was added: list it here and in PROTOCOL.md");
}

#[test]
fn numbers_in_sentences_are_those_of_the_limits() {
    use muster_sync_core::limits::*;
    for sentence in [
        format!("at most {SEQ_MAX} |"),
        format!("at least 2, at most {START_OP_MAX} |"),
        format!("0 to {CHANGE_TIME_S_MAX}; informative"),
        format!("1 to {OPS_PER_CHANGE_MAX} operations, so up to {} fields", OPS_PER_CHANGE_MAX - 1),
        format!("UTF-8, up to {TEXT_SIZE_BYTES_MAX} bytes"),
        format!("| bytes | up to {BYTES_SIZE_BYTES_MAX} bytes |"),
        format!("A name has up to {NAME_SIZE_BYTES_MAX} bytes"),
        format!("1 ms to {CLASS_SESSION_MS_MAX} ms after"),
        format!("up to {EPOCH_MAX}: the code's epoch from then on; the server takes at most {EPOCHS_AHEAD_MAX} above"),
        format!("bytes, 0 to {DECISION_AFTER_MAX} hashes"),
        format!("numbered keys, up to {MANIFEST_SIZE_BYTES_MAX} bytes"),
        format!("array of image, at most {MANIFEST_IMAGES_MAX} |"),
        format!("size in bytes (uint, up to {IMAGE_SIZE_BYTES_MAX};"),
        format!("says, {IMAGE_SIZE_BYTES_DEFAULT} unless its settings say otherwise"),
        format!("up to a multiple of {SEALED_MANIFEST_BLOCK_BYTES} bytes"),
        format!("An entry names at most {DECISION_AFTER_MAX};"),
        format!("estimate + drift + {ANCHOR_TRAVEL_MS_MAX} ms"),
        format!("passed time × {MONOTONIC_DRIFT_PPM} / 1000000"),
        format!("more than {CLOCK_SKEW_MS_MAX} ms outside"),
        format!("the steps of the session, at most {} from its", CODE_SEARCH_STEPS_MAX + 1),
        format!("array of cursor, at most {CURSORS_MAX} |"),
        format!("array of push, at most {PUSHES_PER_REQUEST_MAX} |"),
        format!(
            "at most {CHANGES_PER_PAGE_MAX} changes and ends after the change that passes {PAGE_SIZE_BYTES_MAX} bytes"
        ),
        format!("min({RETRY_BASE_MS} ms × 2^(n-1), {RETRY_CEILING_MS} ms)"),
        format!("at most\n{RETRY_AFTER_MS_MAX} ms"),
        format!("challenge, at most {AUTH_CHALLENGE_SIZE_BYTES_MAX} bytes"),
        format!("the manifest of a record for {} days", MANIFEST_KEPT_MS / 86_400_000),
        format!("an image for {} days", IMAGE_KEPT_MS / 86_400_000),
    ] {
        assert!(PROTOCOL.contains(&sentence), "PROTOCOL.md does not say: {sentence}");
    }
}

#[test]
fn every_field_context_and_reason_stands_in_the_protocol() {
    for (_, entry) in full_entries() {
        let container = entry.container().name();
        let heading = format!("#### `{container}`");
        let section = PROTOCOL.split_once(&heading).unwrap_or_else(|| panic!("PROTOCOL.md has no {heading}")).1;
        let section = section.split("\n####").next().unwrap();
        for (field, value) in entry.fields() {
            let kind = match value {
                Scalar::Bool(_) => "bool",
                Scalar::Int(_) => "int",
                Scalar::Uint(_) => "uint",
                Scalar::Text(_) => "text",
                Scalar::Bytes(_) => "bytes",
            };
            let row = format!("| `{field}` | {kind} |");
            assert!(section.contains(&row), "PROTOCOL.md, {container}: no row that starts with: {row}");
        }
    }
    for context in
        [Context::Change, Context::Receipt, Context::Anchor, Context::Relay, Context::LogHead, Context::DeviceAuth]
    {
        assert!(PROTOCOL.contains(&hex(context.bytes())), "PROTOCOL.md lacks the bytes of {context:?}");
    }
    let source = include_str!("../../src/error.rs");
    for code in source.lines().filter_map(|line| line.split_once("=> \"")?.1.split('"').next()) {
        assert!(PROTOCOL.contains(&format!("| `{code}` |")), "PROTOCOL.md does not explain the reason {code}");
    }
    assert!(PROTOCOL.contains(CONTENT_TYPE));
}

/// One entry for every container, with every optional field present.
fn full_entries() -> Vec<(DocumentName, Entry)> {
    let mut all = one_of_each();
    let (by, reason, digest) = (Some(label("admin-1")), Some(code("because")), Some([1; 32]));
    for (_, entry) in &mut all {
        match entry {
            Entry::Plan(plan) => plan.by = by.clone(),
            Entry::PlanChanges(change) => {
                (change.by, change.reason) = (by.clone(), reason.clone());
                (change.plan, change.after) = (Some(hash(1)), Some(Vec::new()));
            }
            Entry::Submissions(submission) => submission.by = by.clone(),
            Entry::Appeals(appeal) => (appeal.by, appeal.note_hash) = (by.clone(), digest),
            Entry::Verdicts(verdict) => verdict.model = reason.clone(),
            Entry::Decisions(decision) => decision.note_hash = digest,
            Entry::Marks(_) => {}
            Entry::Requests(request) => request.legacy_id_hash = digest,
            Entry::Bindings(binding) => binding.reason = reason.clone(),
            Entry::Resets(reset) => reset.reason = reason.clone(),
        }
    }
    all
}
