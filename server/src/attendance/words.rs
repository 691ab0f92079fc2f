//! What codes mean, in words that a student understands.

/// What a check looks at.
pub(super) fn check(name: &str) -> &'static str {
    match name {
        "code" => "the session code",
        "window" => "whether the capture was in time",
        "geofence" => "where the capture was made",
        "mock_location" => "whether the position was simulated",
        "device_binding" => "whether the phone is yours",
        "device_shared" => "whether the phone was used for others too",
        "clock" => "the clock of the phone",
        "duplicate" => "whether the same was sent before",
        "enrolment" => "whether you are enrolled in the course",
        "selfie_match" => "whether the selfie shows you",
        "liveness" => "whether the selfie shows a living person",
        "presence_match" => "whether the picture of the room fits",
        "face_count" => "how many faces the selfie shows",
        "image_reuse" => "whether a picture was used before",
        "late_sync" => "how late the capture arrived",
        "impossible_travel" => "whether two captures are too far apart",
        "chain_fork" => "whether the phone's records are whole",
        _ => "another check",
    }
}

/// What a check says, with its reason.
pub(super) fn outcome(name: &str, outcome: &str, reason: Option<&str>) -> String {
    let what = check(name);
    match outcome {
        "pass" => format!("{what}: in order"),
        "skipped" => format!("{what}: does not apply"),
        "unavailable" => format!("{what}: could not be checked{}", tail(reason)),
        _ => format!("{what}: a person has to look{}", tail(reason)),
    }
}

/// Why a check flagged.
pub(super) fn reason(name: &str, reason: &str) -> String {
    format!("{}{}", check(name), tail(Some(reason)))
}

/// A reason code reads as words once its underscores are spaces.
fn tail(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({})", reason.replace('_', " ")))
}

/// Where a record stands, as a student is told it.
pub(super) fn standing(state: &str, appeal_open: bool) -> &'static str {
    match state {
        _ if appeal_open => "appealed",
        "received" => "received",
        "accepted" => "accepted",
        "flagged" | "disputed" | "escalated" => "in review",
        _ => "decided",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_words_also_those_of_tomorrow() {
        assert_eq!(
            outcome("geofence", "flag", Some("outside_by_m")),
            "where the capture was made: a person has to look (outside by m)"
        );
        assert_eq!(outcome("tomorrow", "pass", None), "another check: in order");
        assert_eq!(reason("clock", "clock_skew"), "the clock of the phone (clock skew)");
        assert_eq!(standing("confirmed", true), "appealed");
        assert_eq!(standing("escalated", false), "in review");
        assert_eq!(standing("excused", false), "decided");
    }
}
