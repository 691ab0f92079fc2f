//! Rosters as they come: rows in any order, what spreadsheets add, names that change hands, and archives of every sort.

use std::io::{Cursor, Write as _};

use muster_server::courses;
use muster_server::db::DbError;
use muster_server::ids::TenantId;
use muster_tests::roster::{archive, files};
use muster_tests::{Client, Reply, TestServer};
use reqwest::Method;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::roster::csv;

const MANIFEST: &str =
    "propertyName,value\noneroster.version,1.1\nfile.classes,bulk\nfile.users,bulk\nfile.enrollments,bulk\n";
const CLASSES: &str = "sourcedId,status,title,courseSourcedId,classCode\nc1,active,Algebra,k1,ALG\n";
const USERS: &str = "sourcedId,status,enabledUser,role,givenName,familyName,email\n\
    u1,active,true,student,Ann,One,ann@x.example\nu2,active,true,student,Bob,Two,bob@x.example\n";
const PLACES: &str = "sourcedId,status,classSourcedId,userSourcedId,role,beginDate,endDate\n";

async fn import(client: &Client, body: Vec<u8>) -> Reply {
    Reply::of(client.request(Method::POST, "/api/v1/admin/roster/import").body(body)).await
}

/// A small set, with other texts in place of some of its files.
fn set(other: &[(&str, &str)]) -> Vec<(String, String)> {
    let whole =
        [("manifest.csv", MANIFEST), ("classes.csv", CLASSES), ("users.csv", USERS), ("enrollments.csv", PLACES)];
    let text =
        |name: &str, text: &str| other.iter().find(|(file, _)| *file == name).map_or(text, |(_, text)| text).to_owned();
    whole.iter().map(|(name, own)| ((*name).to_owned(), text(name, own))).collect()
}

fn places(rows: &str) -> Vec<u8> {
    archive(&set(&[("enrollments.csv", &format!("{PLACES}{rows}"))]))
}

/// Who attends the only course.
async fn attend(client: &Client) -> Vec<String> {
    let courses = client.get("/api/v1/courses").await.expect(200);
    let id = courses["items"][0]["id"].as_str().unwrap();
    emails(&client.get(&format!("/api/v1/courses/{id}/students")).await.expect(200))
}

fn emails(listed: &Value) -> Vec<String> {
    let items = listed["items"].as_array().unwrap();
    let mut emails: Vec<String> = items.iter().map(|user| user["email"].as_str().unwrap().to_owned()).collect();
    emails.sort();
    emails
}

/// Each student's registry id, address and user name.
async fn people(client: &Client) -> Vec<(String, String, String)> {
    let listed = client.get("/api/v1/students?limit=200").await.expect(200);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = listed["items"].as_array().unwrap().iter();
    let mut people: Vec<_> =
        items.map(|user| (text(&user["external_id"]), text(&user["email"]), text(&user["username"]))).collect();
    people.sort();
    people
}

fn named(people: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    people.iter().map(|(id, email, name)| ((*id).to_owned(), (*email).to_owned(), (*name).to_owned())).collect()
}

#[tokio::test]
async fn a_place_is_there_if_any_of_its_rows_is_current_in_whatever_order() {
    const OVER: &str = "e1,active,c1,u1,student,2024-01-01,2024-06-30\n";
    const NOW: &str = "e2,active,c1,u1,student,2026-01-01,2099-06-30\n";
    const GONE: &str = "e3,tobedeleted,c1,u1,student,,\n";
    for rows in [[OVER, NOW, GONE], [GONE, OVER, NOW], [NOW, GONE, OVER]] {
        let server = TestServer::start().await;
        let admin = server.client("admin").await;
        let report = import(&admin, places(&rows.concat())).await.expect(200);
        assert_eq!((&report["enrolments"]["added"], &report["bad_rows"]), (&json!(1), &json!(0)), "{rows:?}");
        assert_eq!(attend(&admin).await, ["ann@x.example"]);
        let again = import(&admin, places(&rows.concat())).await.expect(200);
        assert_eq!((&again["enrolments"]["removed"], &again["enrolments"]["unchanged"]), (&json!(0), &json!(1)));
        let ended = import(&admin, places(&[OVER, GONE].concat())).await.expect(200);
        assert_eq!(ended["enrolments"]["removed"], 1, "all of them have ended");
        assert_eq!(attend(&admin).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_person_or_class_is_there_if_any_of_its_rows_is_current_in_whatever_order() {
    const LEFT: &str = "u1,tobedeleted,false,student,Ann,One,ann@x.example\n";
    const HERE: &str = "u1,active,true,student,Ann,One,ann@x.example\n";
    let (users, _) = USERS.split_once('\n').unwrap();
    let (classes, here) = CLASSES.split_once('\n').unwrap();
    let over = here.replace("active", "tobedeleted");
    for flip in [false, true] {
        let server = TestServer::start().await;
        let admin = server.client("admin").await;
        let in_order =
            |first: &str, second: &str| if flip { format!("{second}{first}") } else { format!("{first}{second}") };
        let both = archive(&set(&[
            ("users.csv", &format!("{users}\n{}", in_order(LEFT, HERE))),
            ("classes.csv", &format!("{classes}\n{}", in_order(&over, here))),
            ("enrollments.csv", &format!("{PLACES}e1,active,c1,u1,student,,\n")),
        ]));
        let report = import(&admin, both).await.expect(200);
        assert_eq!((&report["bad_rows"], &report["enrolments"]["added"]), (&json!(0), &json!(1)), "{report:#}");
        let text = ["ann@x.example,Ann,left,", "ann@x.example,Ann,active,ALG"];
        let rows = in_order(&format!("{}\n", text[0]), &format!("{}\n", text[1]));
        let report = csv(&admin, "", &format!("email,name,status,course\n{rows}")).await;
        assert_eq!((&report["bad_rows"], &report["users"]["disabled"]), (&json!(0), &json!(0)), "{report:#}");
    }
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let report = csv(&admin, "", "email,name,username,section\nann@x.example,Ann,,B\nann@x.example,Ann,ann1,\n").await;
    assert_eq!(report["bad_rows"], 0);
    assert_eq!(people(&admin).await, named(&[("", "ann@x.example", "ann1")]), "each row says what it knows");
}

#[tokio::test]
async fn a_date_is_read_or_the_row_is_told() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    for (end, attends) in [("2099-06-30", true), ("2020-06-30", false), ("2099-06-30T00:00:00.000Z", true), ("", true)]
    {
        import(&admin, places("e1,tobedeleted,c1,u1,student,,\n")).await.expect(200);
        let report = import(&admin, places(&format!("e1,active,c1,u1,student,,{end}\n"))).await.expect(200);
        assert_eq!(report["bad_rows"], 0, "{end}");
        assert_eq!(attend(&admin).await.len(), usize::from(attends), "{end}");
    }
    for end in ["06/30/2099", "31/12/2020", "1.9.2026", "soon", "2026-02-30", "20990630", "46266"] {
        let report = import(&admin, places(&format!("e1,active,c1,u1,student,,{end}\n"))).await.expect(200);
        let problem = &report["problems"][0];
        assert_eq!((&report["enrolments"]["bad"], &problem["column"]), (&json!(1), &json!("endDate")), "{end}");
        assert!(problem["fix"].as_str().unwrap().contains("2026-09-01"), "{problem}");
    }
}

#[tokio::test]
async fn a_place_begins_on_the_day_that_the_registry_says() {
    // The 20th of November 2025.
    let server = TestServer::builder().manual_clock(1_763_640_000_000).start().await;
    let admin = server.client("admin").await;
    let row = |begin: &str, end: &str| places(&format!("e1,active,c1,u1,student,{begin},{end}\n"));
    let begins = async |course: &str, at_ms: i64| {
        let (tenant, course) = (TenantId::default_tenant(), course.parse().unwrap());
        let read: Result<_, DbError> =
            server.app().db.read(move |tx| courses::students_at(tx, &tenant, course, at_ms, at_ms)).await;
        read.unwrap().len()
    };
    let now_ms = server.clock_ms();
    let (day_ms, december_ms) = (86_400_000, 1_764_547_200_000);
    let report = import(&admin, row("2025-12-01", "2026-02-28")).await.expect(200);
    let counts = &report["enrolments"];
    assert_eq!((&counts["added"], &counts["begin_later"], &report["bad_rows"]), (&json!(1), &json!(1), &json!(0)));
    let course = admin.get("/api/v1/courses").await.expect(200)["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(begins(&course, now_ms).await, 0, "not yet");
    assert_eq!(begins(&course, december_ms - 1).await, 0);
    assert_eq!(begins(&course, december_ms).await, 1);

    // The same again changes nothing; another day moves it; two rows of two terms: the sooner one.
    let again = import(&admin, row("2025-12-01", "2026-02-28")).await.expect(200);
    assert_eq!((&again["applied"], &again["enrolments"]["begin_later"]), (&json!(true), &json!(1)));
    let two = "e1,active,c1,u1,student,2026-01-01,\ne2,active,c1,u1,student,2025-12-02,\n";
    import(&admin, places(two)).await.expect(200);
    assert_eq!((begins(&course, december_ms).await, begins(&course, december_ms + day_ms).await), (0, 1));
    // The registry lets it begin now, and who attends is not put off by a later row.
    import(&admin, row("2025-11-20", "")).await.expect(200);
    assert_eq!(begins(&course, now_ms).await, 1);
    let report = import(&admin, row("2026-03-01", "")).await.expect(200);
    assert_eq!((&report["enrolments"]["unchanged"], &report["enrolments"]["begin_later"]), (&json!(1), &json!(0)));
    assert_eq!(begins(&course, now_ms).await, 1);
    // A lecturer who enrols somebody by hand means today.
    import(&admin, places("e1,tobedeleted,c1,u1,student,,\n")).await.expect(200);
    import(&admin, row("2026-03-01", "")).await.expect(200);
    let listed = admin.get(&format!("/api/v1/courses/{course}/students")).await.expect(200);
    let student = listed["items"][0]["id"].as_str().unwrap().to_owned();
    let added =
        admin.post(&format!("/api/v1/courses/{course}/students"), &json!({"user_ids": [student]})).await.expect(200);
    assert_eq!(added["added"], 1);
    server.clock().advance(std::time::Duration::from_secs(1));
    assert_eq!(begins(&course, now_ms + 1).await, 1);

    for (begin, end, column) in [("soon", "", "beginDate"), ("2026-05-01", "2026-04-01", "endDate")] {
        let report = import(&admin, row(begin, end)).await.expect(200);
        assert_eq!((&report["enrolments"]["bad"], &report["problems"][0]["column"]), (&json!(1), &json!(column)));
    }
}

#[tokio::test]
async fn what_a_spreadsheet_adds_is_no_persons_fault() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let text = "\u{feff}\u{feff}E-Mail\u{a0}Address,Name,Student ID,Section,Course,,\r\n\
        ,,,,,,\r\n\
        ann@x.example,Ann\u{a0} One\u{200b},\"=\"\"0042\"\"\",1.0,cs\u{a0}101,,\r\n\
        \u{a0},\u{200b}, ,,,,,,,\r\n\
        bob@x.example,Bob Two,43.0,1,CS 101, ,\u{feff}\r\n\
        cy@x.example,Cy Null,N/A,-,#N/A,,\r\n\
        ,,,,,,\r\n";
    let report = csv(&admin, "?strict=true", text).await;
    assert_eq!((&report["bad_rows"], &report["users"]["created"]), (&json!(0), &json!(3)), "{report:#}");
    assert_eq!(report["files"][0]["rows"], 3, "rows that say nothing are none");
    assert_eq!(report["courses"]["created"], 1);
    let listed = admin.get("/api/v1/students").await.expect(200);
    let text = |index: usize, field: &str| listed["items"][index][field].as_str().unwrap_or_default().to_owned();
    let mut rows: Vec<_> = (0..3)
        .map(|index| [text(index, "display_name"), text(index, "external_id"), text(index, "section")].join("|"))
        .collect();
    rows.sort();
    assert_eq!(rows, ["Ann One|0042|1", "Bob Two|43|1", "Cy Null||_"]);

    let bad =
        "email,name,id\nd@x.example,Di,1.23457E+11\ne@x.example,#REF!,7\nf@x.example,Fay, Jr,8\ng@x.example,Gus,3E12\n";
    let report = csv(&admin, "", bad).await;
    let told: Vec<_> = report["problems"].as_array().unwrap().iter().map(|problem| &problem["column"]).collect();
    assert_eq!(told, [&json!("id"), &json!("name"), &Value::Null], "{report:#}");
    assert_eq!(report["users"]["created"], 1, "an id may have an E in it");
}

#[tokio::test]
async fn names_that_one_gives_up_another_one_may_take() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    const HEAD: &str = "id,email,username,name\n";
    csv(&admin, "", &format!("{HEAD}1,a@x.example,anna,A\n2,b@x.example,benno,B\n3,c@x.example,carla,C\n")).await;
    super::roster::execute(&server, "UPDATE users SET email_confirmed_at = 1 WHERE email = 'c@x.example'").await;
    // In a circle, with user names the other way round, and the third keeps the address.
    let circle = "1,b@x.example,carla,A\n2,a@x.example,anna,B\n3,c@x.example,benno,C\n";
    let report = csv(&admin, "?strict=true", &format!("{HEAD}{circle}")).await;
    assert_eq!((&report["users"]["updated"], &report["bad_rows"]), (&json!(3), &json!(0)), "{report:#}");
    let now = [("1", "b@x.example", "carla"), ("2", "a@x.example", "anna"), ("3", "c@x.example", "benno")];
    assert_eq!(people(&admin).await, named(&now));
    let found = admin.get("/api/v1/admin/users?q=c@x.example").await.expect(200);
    assert_eq!(
        found["items"][0]["email_confirmed_at"], "1970-01-01T00:00:00.001Z",
        "whose address stays, stays confirmed"
    );

    // A chain, at whose end somebody new takes what is free; wherever their row is.
    for rows in [
        "9,b@x.example,dora,D\n1,a@x.example,,A\n2,e@x.example,,B\n",
        "2,e@x.example,,B\n9,b@x.example,dora,D\n1,a@x.example,,A\n",
    ] {
        let report = csv(&admin, "?dry_run=true", &format!("{HEAD}{rows}")).await;
        assert_eq!((&report["users"]["created"], &report["bad_rows"]), (&json!(1), &json!(0)), "{rows}{report:#}");
    }

    // Nobody takes what its owner keeps, and whoever waits for it stays too.
    let report = csv(&admin, "", &format!("{HEAD}1,c@x.example,,A\n2,b@x.example,,B\n")).await;
    let told: Vec<_> = report["problems"].as_array().unwrap().iter().map(|problem| &problem["line"]).collect();
    assert_eq!((told, &report["users"]["bad"]), (vec![&json!(2), &json!(3)], &json!(2)), "{report:#}");
    assert_eq!(people(&admin).await, named(&now), "nothing is half done");
}

fn packed(options: SimpleFileOptions) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in set(&[]) {
        writer.start_file(name, options).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The place of a number in every entry's description at the end of an archive, and in the one before its bytes.
fn set_in_headers(archive: &mut [u8], (central, local): (usize, usize), value: u16) {
    for at in 0..archive.len() - 46 {
        let place = match &archive[at..at + 4] {
            b"PK\x01\x02" => central,
            b"PK\x03\x04" => local,
            _ => continue,
        };
        archive[at + place..at + place + 2].copy_from_slice(&value.to_le_bytes());
    }
}

#[tokio::test]
async fn an_archive_that_cannot_be_unpacked_is_told_by_its_file_and_the_cure() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let refused = async |body: Vec<u8>, file: &str, says: &str| {
        let error = import(&admin, body).await.expect_error(422, "ROSTER_INVALID");
        assert_eq!(error["details"]["file"], file, "{error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
        assert!(!error["details"]["fix"].as_str().unwrap().is_empty());
    };
    let plain = packed(SimpleFileOptions::default());
    for method in [1, 9, 12, 14, 93, 98] {
        let mut other = plain.clone();
        set_in_headers(&mut other, (10, 8), method);
        refused(other, "manifest.csv", "a method that is not read here").await;
    }
    let mut encrypted = plain.clone();
    set_in_headers(&mut encrypted, (8, 6), 1);
    refused(encrypted, "manifest.csv", "encrypted").await;
    refused(b"PK\x05\x06".iter().copied().chain([0; 18]).collect(), "manifest.csv", "is not there").await;
    let with = |name: &str| {
        let mut files = set(&[]);
        files.push((name.to_owned(), USERS.to_owned()));
        archive(&files)
    };
    refused(with("old/Users.CSV"), "users.csv", "holds it twice").await;
    refused(with("[Content_Types].xml"), "the file", "workbook").await;
    refused(archive(&[("inner.zip".to_owned(), String::new())]), "manifest.csv", "is not there").await;
    for taken in [
        with("__MACOSX/._users.csv"),
        with("export/._users.csv"),
        with("readme.txt"),
        with("notes/users.csv.bak"),
        packed(SimpleFileOptions::default().compression_method(CompressionMethod::Stored)),
        packed(SimpleFileOptions::default().large_file(true)),
        archive(
            &set(&[]).into_iter().map(|(name, text)| (format!("A/{}", name.to_uppercase()), text)).collect::<Vec<_>>(),
        ),
    ] {
        import(&admin, taken).await.expect(200);
    }
}

#[tokio::test]
async fn no_damage_to_an_archive_or_a_file_is_our_failure() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let answered = async |body: Vec<u8>, what: String| {
        let request = admin.request(Method::POST, "/api/v1/admin/roster/import?dry_run=true").body(body);
        let reply = Reply::of(request).await;
        let said = String::from_utf8_lossy(&reply.bytes);
        assert!(matches!(reply.status.as_u16(), 200 | 422), "{what}: {} {said}", reply.status);
    };
    let whole = packed(SimpleFileOptions::default());
    for at in 0..whole.len() {
        // Every byte of what describes the files, and some of the packed bytes.
        let mut damaged = whole.clone();
        damaged[at] = [0xFF, 0x00, damaged[at] ^ 0x80][at % 3];
        answered(damaged, format!("byte {at}")).await;
    }
    for length in (1..whole.len()).step_by(7) {
        answered(whole[..length].to_vec(), format!("the first {length} bytes")).await;
    }
    let utf16: Vec<u8> = "\u{feff}email,name\na@x.example,A\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (number, odd) in [
        utf16.clone(),
        utf16[2..].to_vec(),
        b"email,name\na@x.example,Jos\xe9\n".to_vec(),
        b"\x1f\x8b\x08\0\0\0\0\0".to_vec(),
        b"7z\xbc\xaf\x27\x1c".to_vec(),
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec(),
        b"\0\0\0\0".to_vec(),
        b"email,name\n\"a@x.example,A\n".to_vec(),
        b"email\rname\r".to_vec(),
        vec![0xFF; 100_000],
    ]
    .into_iter()
    .enumerate()
    {
        answered(odd, format!("file {number}")).await;
    }
    let report = csv(&admin, "", "email,name\nok@x.example,Fine\n").await;
    assert_eq!(report["users"]["created"], 1, "it still works");
    let large = files("oneroster-1.2");
    import(&admin, archive(&large)).await.expect(200);
}
