//! Who is in the lecture, what each of them does, and what has to come of it.

/// What a student does. Everything but the first two is a story of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Scans the code and takes a selfie.
    Scans,
    /// Types the code, because the camera does not focus.
    Types,
    /// The picture waits for a better connection.
    LateSelfie,
    /// Nobody approved the phone before the lecture.
    Unapproved,
    /// The bound phone broke; the new one asks to take its place.
    NewPhone,
    /// The same request arrives five times.
    Replay,
    /// At home, with a code that somebody passed on.
    OldCode,
    /// The code in time, from the cafeteria.
    WrongPlace,
    /// A position from an app that makes them up.
    MockedLocation,
    /// A clock turned back by a day.
    ClockBack,
    /// Somebody else's face.
    OtherFace,
    /// A picture of a door.
    NoFace,
    /// A picture of two.
    TwoFaces,
    /// A guest from another course.
    NotEnrolled,
    /// Absent; a friend captures for both on one phone.
    FriendsPhone,
    /// Absent; writes under another student's key.
    Forger,
    /// Absent; writes the server's verdict into the own record.
    Overreach,
}

/// What has to come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Fates in the order in which they were seen.
    pub(super) fates: Vec<&'static str>,
    /// States of the record in the order in which they were seen.
    pub(super) states: Vec<&'static str>,
    /// Why the newest verdict flagged it, sorted.
    pub(super) reasons: Vec<&'static str>,
}

/// What the lecturer does about a flagged record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ruling {
    Confirm,
    Reject,
}

/// A record that is not there.
pub(super) const NO_RECORD: &str = "no record";
/// A change that is in the log.
pub(super) const ACCEPTED: &str = "accepted";
/// A verdict that leaves the record to a person.
pub(super) const FLAGGED: &str = "flagged";
/// A record whose picture has not arrived.
pub(super) const AWAITING_MEDIA: &str = "awaiting media";
/// Reasons that only a compared face gives.
const OF_FACES: [&str; 3] = ["face_mismatch", "no_face", "several_faces"];
/// Five answers to one request.
pub(super) const ONE_RECEIPT: &str = "accepted 5 times, one receipt";

impl Part {
    /// The part as the table tells it.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Scans => "scans the code",
            Self::Types => "types the code",
            Self::LateSelfie => "picture comes an hour later",
            Self::Unapproved => "phone approved after the lecture",
            Self::NewPhone => "second phone, reset approved",
            Self::Replay => "sends one request five times",
            Self::OldCode => "CHEAT: code passed on, too old",
            Self::WrongPlace => "CHEAT: captures from elsewhere",
            Self::MockedLocation => "CHEAT: mocked location",
            Self::ClockBack => "CHEAT: clock turned back",
            Self::OtherFace => "CHEAT: another face",
            Self::NoFace => "CHEAT: picture of a door",
            Self::TwoFaces => "two faces in the picture",
            Self::NotEnrolled => "is not enrolled",
            Self::FriendsPhone => "CHEAT: on a friend's phone",
            Self::Forger => "CHEAT: forged signature",
            Self::Overreach => "CHEAT: writes own verdict",
        }
    }

    /// Whether the student captures on the own phone in the lecture.
    pub(super) const fn captures(self) -> bool {
        !matches!(self, Self::FriendsPhone | Self::Forger | Self::Overreach)
    }

    /// What the checks find, with the faces compared.
    const fn reasons(self) -> &'static [&'static str] {
        match self {
            Self::OldCode => &["code_stale"],
            Self::WrongPlace => &["outside_geofence"],
            Self::MockedLocation => &["mock_location"],
            Self::ClockBack => &["clock_skew"],
            Self::OtherFace => &["face_mismatch"],
            Self::NoFace => &["no_face"],
            Self::TwoFaces => &["several_faces"],
            Self::NotEnrolled => &["not_enrolled"],
            _ => &[],
        }
    }

    /// What the lecturer does about it.
    pub(super) const fn ruling(self) -> Option<Ruling> {
        match self {
            Self::ClockBack => Some(Ruling::Confirm),
            Self::OldCode | Self::OtherFace => Some(Ruling::Reject),
            _ => None,
        }
    }

    /// What has to come of it. Without models no face is compared: then everything that has a picture is flagged for it.
    pub(super) fn outcome(self, faces: bool) -> Outcome {
        let mut reasons = self.reasons().to_vec();
        if !faces && self.captures() {
            reasons.retain(|reason| !OF_FACES.contains(reason));
            reasons.push("face_unavailable");
            reasons.sort_unstable();
        }
        let judged = if reasons.is_empty() { ACCEPTED } else { FLAGGED };
        let fates = match self {
            Self::Unapproved | Self::NewPhone => vec!["quarantined device_unbound", ACCEPTED],
            Self::Replay => vec![ONE_RECEIPT],
            Self::FriendsPhone => vec!["quarantined device_of_other_user"],
            Self::Forger => vec!["refused signature_invalid"],
            Self::Overreach => vec!["refused writer_not_allowed"],
            _ => vec![ACCEPTED],
        };
        let mut states = match self {
            Self::LateSelfie => vec![AWAITING_MEDIA, judged],
            Self::Unapproved | Self::NewPhone => vec![NO_RECORD, judged],
            _ if !self.captures() => vec![NO_RECORD],
            _ => vec![judged],
        };
        match self.ruling() {
            Some(Ruling::Confirm) => states.push("confirmed"),
            Some(Ruling::Reject) => states.push("rejected"),
            None => {}
        }
        Outcome { fates, states, reasons }
    }
}

/// The students: forty of them.
pub(super) const CAST: [(&str, Part); 40] = [
    ("Amara Okafor", Part::Scans),
    ("Anton Weiss", Part::Scans),
    ("Beatriz Lima", Part::Types),
    ("Bilal Haddad", Part::Scans),
    ("Chen Wei", Part::Scans),
    ("Clara Johansson", Part::OldCode),
    ("Daniel Mensah", Part::Scans),
    ("Dilara Kaya", Part::Scans),
    ("Elif Aydin", Part::WrongPlace),
    ("Emil Novak", Part::Scans),
    ("Fatima Zahra", Part::Unapproved),
    ("Felix Brandt", Part::Scans),
    ("Grace Mwangi", Part::Scans),
    ("Hugo Martin", Part::MockedLocation),
    ("Ines Duarte", Part::Scans),
    ("Ivan Petrov", Part::ClockBack),
    ("Jana Novotna", Part::Scans),
    ("Jonas Berg", Part::OtherFace),
    ("Kavya Nair", Part::Scans),
    ("Kofi Boateng", Part::NewPhone),
    ("Lara Rossi", Part::Scans),
    ("Leo Dubois", Part::Forger),
    ("Mei Tanaka", Part::Scans),
    ("Milan Horvat", Part::Overreach),
    ("Nadia Rahman", Part::Replay),
    ("Nils Eriksen", Part::Scans),
    ("Olivia Brown", Part::LateSelfie),
    ("Omar Farouk", Part::Scans),
    ("Paula Garcia", Part::NoFace),
    ("Pavel Sokolov", Part::Scans),
    ("Quynh Tran", Part::TwoFaces),
    ("Rania Saleh", Part::Scans),
    ("Ravi Menon", Part::Types),
    ("Sara Lindqvist", Part::Scans),
    ("Samuel Adeyemi", Part::FriendsPhone),
    ("Sofia Papadaki", Part::Scans),
    ("Tomas Kral", Part::NotEnrolled),
    ("Uma Krishnan", Part::Scans),
    ("Viktor Hansen", Part::Scans),
    ("Yara Nasser", Part::Scans),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_played() {
        let parts = [
            Part::Scans,
            Part::Types,
            Part::LateSelfie,
            Part::Unapproved,
            Part::NewPhone,
            Part::Replay,
            Part::OldCode,
            Part::WrongPlace,
            Part::MockedLocation,
            Part::ClockBack,
            Part::OtherFace,
            Part::NoFace,
            Part::TwoFaces,
            Part::NotEnrolled,
            Part::FriendsPhone,
            Part::Forger,
            Part::Overreach,
        ];
        assert!(parts.iter().all(|part| CAST.iter().any(|(_, played)| played == part)));
    }

    #[test]
    fn without_models_no_outcome_speaks_of_a_compared_face() {
        for (_, part) in CAST {
            let outcome = part.outcome(false);
            assert!(!outcome.reasons.contains(&"face_mismatch"));
            assert!(!part.captures() || outcome.reasons.contains(&"face_unavailable"));
        }
    }
}
