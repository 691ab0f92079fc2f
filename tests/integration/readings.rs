//! What sensors and keyboards say when they do not say it plainly: kept, read as it was meant, and flagged where it matters.

use minicbor::Encoder;
use muster_tests::lecture::{HALL, Lecture, check, flags};
use muster_tests::phone::Phone;
use muster_tests::{Client, Reply};
use reqwest::Method;
use reqwest::multipart::Form;
use serde_json::Value;

use super::mfa::{self, ADA, NOW_MS};

const SUBMIT: &str = "/api/v1/students/attendance";

async fn submit(student: &Client, fields: &[(&'static str, &str)]) -> Reply {
    let form = fields.iter().fold(Form::new(), |form, (name, value)| form.text(*name, (*value).to_owned()));
    Reply::of(student.request(Method::POST, SUBMIT).multipart(form)).await
}

/// A student of the course without a phone.
async fn online(lecture: &Lecture) -> Client {
    let student = lecture.server.client("student").await;
    let path = format!("/api/v1/courses/{}/students", lecture.course);
    lecture.lecturer.post(&path, &serde_json::json!({"user_ids": [student.user_id()]})).await.expect(200);
    student
}

async fn typed(lecture: &Lecture) -> String {
    let claim = lecture.claim().await;
    format!("{}-{}", claim.locator, claim.code)
}

/// How the fence came out: outcome and reason.
fn fence(verdict: &Value) -> (String, String) {
    let check = check(verdict, "geofence");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&check["outcome"]), text(&check["reason"]))
}

#[tokio::test]
async fn a_form_whose_position_says_nothing_is_kept_and_flagged() {
    let lecture = Lecture::begin().await;
    let (here, there) = (("52.52", "13.405"), ("52.5213", "13.405"));
    for (place, accuracy, reason) in [
        (here, Some("-1"), "position_imprecise"),
        (here, Some("-2147473"), "position_imprecise"),
        (here, Some("0"), "position_imprecise"),
        (here, Some("NaN"), "position_imprecise"),
        (here, Some("Infinity"), "position_imprecise"),
        (here, Some("3.4028235E38"), "position_imprecise"),
        (here, Some("null"), "position_imprecise"),
        (here, Some(""), "position_imprecise"),
        (here, None, "position_imprecise"),
        (there, None, "position_imprecise"),
        (("60.17", "24.94"), None, "outside_geofence"),
        (("", "13.405"), Some("8"), "position_missing"),
        (("NaN", "13.405"), Some("8"), "position_missing"),
        (("52.52", "null"), Some("8"), "position_missing"),
    ] {
        let (student, code) = (online(&lecture).await, typed(&lecture).await);
        let mut fields = vec![("session_code", &*code), ("latitude", place.0), ("longitude", place.1)];
        fields.extend(accuracy.map(|accuracy| ("accuracy", accuracy)));
        let id = submit(&student, &fields).await.expect(201)["id"].as_str().unwrap().to_owned();
        let verdict = lecture.verdict(&id, 1).await;
        assert_eq!(fence(&verdict), ("flag".to_owned(), reason.to_owned()), "{place:?} {accuracy:?}");
        let seen = &lecture.record(&id).await["submissions"][0]["evidence"]["position"];
        assert!(seen["accuracy_m"].is_null() || reason == "position_missing", "unknown is shown as unknown: {seen}");
    }
    // A comma is the point of many languages.
    let (student, code) = (online(&lecture).await, typed(&lecture).await);
    let fields = [("session_code", &*code), ("latitude", "52,52"), ("longitude", "13,405"), ("accuracy", "12,5")];
    let id = submit(&student, &fields).await.expect(201)["id"].as_str().unwrap().to_owned();
    assert_eq!(fence(&lecture.verdict(&id, 1).await).0, "pass");
    assert_eq!(lecture.record(&id).await["submissions"][0]["evidence"]["position"]["accuracy_m"], 13);
}

#[tokio::test]
async fn a_device_or_a_time_that_says_nothing_is_none() {
    let lecture = Lecture::begin().await;
    let (student, admin) = (online(&lecture).await, lecture.server.client("admin").await);
    let bind = "/api/v1/students/device/bind";
    // Nobody can have a phone of such a name approved, and so own everybody's.
    let nothing = ["null", "undefined", "Unknown", "N/A", "(null)", "000000000000000"];
    for nothing in nothing {
        let reply = student.post(bind, &serde_json::json!({ "imei": nothing })).await;
        assert_eq!(reply.expect_error(422, "VALIDATION_ERROR")["details"]["field"], "imei", "{nothing}");
    }
    let asked = student.post(bind, &serde_json::json!({ "imei": "356938035643809" })).await.expect(202);
    let approve = format!("/api/v1/admin/device-requests/{}/approve", asked["request"]["hash"].as_str().unwrap());
    admin.post(&approve, &serde_json::json!({})).await.expect(200);
    let judged = async |imei: &str| {
        let code = typed(&lecture).await;
        let fields = [("session_code", &*code), ("imei", imei), ("captured_at", " null ")];
        let id = submit(&student, &fields).await.expect(201)["id"].as_str().unwrap().to_owned();
        let submissions = lecture.record(&id).await["submissions"].as_array().unwrap().len();
        let verdict = lecture.verdict(&id, submissions).await;
        check(&verdict, "device_binding")["reason"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(judged("356938035643809").await, "");
    for nothing in nothing {
        assert_eq!(judged(nothing).await, "device_not_bound", "{nothing}: unknown is not another phone");
    }
    assert_eq!(judged("490154203237518").await, "device_differs");
    let code = typed(&lecture).await;
    let fields = [("session_code", &*code), ("captured_at", "yesterday")];
    let refused = submit(&student, &fields).await.expect_error(422, "VALIDATION_ERROR");
    assert_eq!(refused["details"]["field"], "captured_at");
}

/// A position as some client might encode it: latitude, then accuracy, each by a function; `None` leaves it out.
type Write = fn(&mut Encoder<Vec<u8>>);

fn position(latitude: Option<Write>, accuracy: Option<Write>) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    encoder.map(2 + u64::from(latitude.is_some()) + u64::from(accuracy.is_some())).unwrap();
    for (key, write) in [(0_u8, latitude), (2, accuracy)] {
        if let Some(write) = write {
            encoder.u8(key).unwrap();
            write(&mut encoder);
        }
    }
    encoder.u8(1).unwrap().i64(HALL.longitude_e7).unwrap().u8(3).unwrap().bool(false).unwrap();
    encoder.into_writer()
}

#[tokio::test]
async fn a_phone_whose_position_says_nothing_loses_no_capture() {
    let lecture = Lecture::begin().await;
    let north: Write = |encoder| _ = encoder.i64(HALL.latitude_e7).unwrap();
    let nothing: [Write; 7] = [
        |encoder| _ = encoder.null().unwrap(),
        |encoder| _ = encoder.i64(-1).unwrap(),
        |encoder| _ = encoder.f64(f64::NAN).unwrap(),
        |encoder| _ = encoder.f32(f32::INFINITY).unwrap(),
        |encoder| _ = encoder.str("NaN").unwrap(),
        |encoder| _ = encoder.undefined().unwrap(),
        |encoder| _ = encoder.f64(3.4e38).unwrap(),
    ];
    let imprecise = nothing.iter().map(|write| (Some(north), Some(*write), "position_imprecise"));
    let missing =
        [nothing[0], nothing[2], nothing[4]].into_iter().map(|write| (Some(write), Some(north), "position_missing"));
    let cases = imprecise
        .chain(missing)
        .chain([(Some(north), None, "position_imprecise"), (None, Some(north), "position_missing")]);
    let whole = minicbor::to_vec(&HALL).unwrap();
    for (seed, (latitude, accuracy, reason)) in (1..).zip(cases) {
        let mut phone = lecture.student(seed).await;
        let manifest = lecture.manifest(None);
        let bytes = manifest.to_bytes();
        let at = bytes.windows(whole.len()).position(|window| window == whole).unwrap();
        let bytes = [&bytes[..at], &position(latitude, accuracy), &bytes[at + whole.len()..]].concat();
        let code = lecture.claim().await.code;
        let item = phone.submission_of(lecture.locator(), &code, manifest.clocks.wall_ms, bytes);
        let id = lecture.send(&phone, item).await;
        let verdict = lecture.verdict(&id, 1).await;
        assert_eq!(fence(&verdict), ("flag".to_owned(), reason.to_owned()), "{seed}");
    }
    // An accuracy with a fraction is one, however it is written.
    let mut phone = lecture.student(99).await;
    let manifest = lecture.manifest(None);
    let bytes = manifest.to_bytes();
    let at = bytes.windows(whole.len()).position(|window| window == whole).unwrap();
    let exact: Write = |encoder| _ = encoder.f32(7.5).unwrap();
    let bytes = [&bytes[..at], &position(Some(north), Some(exact)), &bytes[at + whole.len()..]].concat();
    let item = phone.submission_of(lecture.locator(), &lecture.claim().await.code, manifest.clocks.wall_ms, bytes);
    let id = lecture.send(&phone, item).await;
    assert_eq!(flags(&lecture.verdict(&id, 1).await), Vec::<String>::new());
}

/// What people's keyboards make of a code that they were shown.
fn keyboards(code: &str) -> Vec<String> {
    let (locator, digits) = code.split_once('-').unwrap();
    let script = |zero: u32| -> String {
        let digit = |c: char| char::from_u32(zero + c.to_digit(10).unwrap()).unwrap();
        digits.chars().map(digit).collect()
    };
    let wide: String = code.chars().map(|c| char::from_u32(u32::from(c) + 0xFEE0).unwrap()).collect();
    let look_alike = |c: char| match c {
        'A' => 'А',
        'B' => 'В',
        'C' => 'С',
        'E' => 'Е',
        'H' => 'Н',
        'K' => 'К',
        'M' => 'М',
        '0' => 'О',
        'P' => 'Р',
        'T' => 'Т',
        'X' => 'Χ',
        'Y' => 'У',
        other => other,
    };
    let other_alphabet: String = locator.chars().map(look_alike).collect();
    vec![
        code.to_lowercase(),
        format!("{locator}\u{2013}{digits}"),
        format!("{locator}\u{2014}{digits}"),
        format!("{locator}\u{2011}{digits}"),
        format!("{locator}\u{2212}{digits}"),
        format!("{locator}\u{A0}{digits}"),
        format!("{locator} {} {}", &digits[..3], &digits[3..]),
        format!("\u{201C}{locator} \u{2013} {digits}\u{201D}."),
        format!("{locator}\u{200B}-\u{AD}{digits}"),
        format!("{locator}-{}", digits.replace('0', "O").replace('1', "l")),
        format!("{locator}-{}", script(0x660)),
        format!("{locator}-{}", script(0x6F0)),
        format!("{locator}-{}", script(0x966)),
        format!("{other_alphabet}-{digits}"),
        wide,
    ]
}

#[tokio::test]
async fn a_code_is_read_as_it_was_shown_whatever_keyboard_wrote_it() {
    let lecture = Lecture::begin().await;
    for typed in keyboards(&typed(&lecture).await) {
        let student = online(&lecture).await;
        let submitted = submit(&student, &[("session_code", &typed)]).await.expect(201);
        assert_eq!(submitted["session"], lecture.locator().as_str(), "{typed}");
        let verdict = lecture.verdict(submitted["id"].as_str().unwrap(), 1).await;
        assert_eq!(check(&verdict, "code")["outcome"], "pass", "{typed}");
    }
    let student = online(&lecture).await;
    for wrong in ["K7M2QU-123456", "K7M2QX-12345A", "K7M2Q-123456", "K7M2QX-1234567", "K7M2QX+123456", "ю7M2QX-123456"]
    {
        let refused = submit(&student, &[("session_code", wrong)]).await.expect_error(422, "VALIDATION_ERROR");
        assert_eq!(refused["details"]["field"], "session_code", "{wrong}");
    }
    // The same at the doors where a locator names the session.
    for locator in keyboards(&format!("{}-123456", lecture.locator())).iter().take(6) {
        let locator = locator.trim_end_matches(|c: char| !c.is_alphabetic() && !c.is_ascii_digit());
        let name = &locator[..6];
        lecture.lecturer.get(&format!("/api/v1/lecturers/sessions/{name}")).await.expect(200);
    }
}

#[tokio::test]
async fn a_phone_that_wrote_down_what_was_typed_is_understood() {
    let lecture = Lecture::begin().await;
    let mut phone: Phone = lecture.student(1).await;
    let code = lecture.claim().await.code.replace('0', "O").replace('1', "I");
    let manifest = lecture.manifest(None);
    let item = phone.submission_with(lecture.locator(), &code, manifest.clocks.wall_ms, &manifest);
    let id = lecture.send(&phone, item).await;
    assert_eq!(flags(&lecture.verdict(&id, 1).await), Vec::<String>::new(), "{code}");
}

#[tokio::test]
async fn codes_of_a_second_factor_and_of_its_list_are_read_as_they_were_shown() {
    let server = mfa::server().start().await;
    let ada = mfa::enrol(&server, ADA).await;
    let typed: [fn(&str) -> String; 3] = [
        |code| format!("{}\u{2009}{}", &code[..3], &code[3..]),
        |code| format!("{}\u{2013}{}", &code[..3], &code[3..]),
        |code| code.chars().map(|c| char::from_u32(0xE50 + c.to_digit(10).unwrap()).unwrap()).collect(),
    ];
    for (minute, typed) in (1..).zip(typed) {
        server.clock().set(NOW_MS + minute * 60_000);
        let token = mfa::mfa_token(&server, ADA).await;
        mfa::complete(&server, &token, &typed(&ada.code(&server, 0))).await.expect(200);
    }
    let typed: [fn(&str) -> String; 3] = [
        |code| code.replace('-', "\u{2014}").to_lowercase(),
        |code| code.replace('-', "").replace('0', "o").replace('1', "l"),
        |code| code.chars().map(|c| char::from_u32(u32::from(c) + 0xFEE0).unwrap()).collect(),
    ];
    for (code, typed) in ada.backup_codes.iter().zip(typed) {
        let token = mfa::mfa_token(&server, ADA).await;
        mfa::complete_with_backup(&server, &token, &typed(code)).await.expect(200);
    }
    let token = mfa::mfa_token(&server, ADA).await;
    mfa::complete_with_backup(&server, &token, "").await.expect_error(401, "MFA_CODE_INVALID");
}
