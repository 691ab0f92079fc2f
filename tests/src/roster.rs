//! Rosters as registries export them: the fixtures, archives of them, and large ones that are the same every time.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Students of one class in a large roster.
const STUDENTS_PER_CLASS: usize = 50;
/// Classes of one student in a large roster.
const CLASSES_PER_STUDENT: usize = 4;

/// A fixture, by its name below `fixtures/roster`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/roster").join(name)
}

/// The files of a fixture that is a folder.
///
/// # Panics
/// When they cannot be read.
pub fn files(name: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(fixture(name)).expect("the fixture is there");
    let read = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).expect("a text"))
    });
    read.collect()
}

/// An archive of these files.
///
/// # Panics
/// When it cannot be written.
pub fn archive(files: &[(String, String)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        writer.start_file(name.as_str(), SimpleFileOptions::default()).expect("a file in memory");
        writer.write_all(text.as_bytes()).expect("memory");
    }
    writer.finish().expect("memory").into_inner()
}

/// A OneRoster 1.2 set with this many students in classes of 50, four classes each, and a teacher for each class. The same
/// number gives the same bytes.
pub fn large(students: usize) -> Vec<(String, String)> {
    let classes = (students * CLASSES_PER_STUDENT).div_ceil(STUDENTS_PER_CLASS);
    let manifest = "propertyName,value\nmanifest.version,1.0\noneroster.version,1.2\nfile.courses,bulk\nfile.classes,bulk\n\
                    file.users,bulk\nfile.roles,bulk\nfile.enrollments,bulk\nfile.orgs,absent\n";
    let mut users = "sourcedId,status,dateLastModified,enabledUser,username,givenName,familyName,email\n".to_owned();
    let mut roles = "sourcedId,status,dateLastModified,userSourcedId,roleType,role,orgSourcedId\n".to_owned();
    let mut courses = "sourcedId,status,dateLastModified,title,courseCode,orgSourcedId\n".to_owned();
    let mut class_rows = "sourcedId,status,dateLastModified,title,courseSourcedId,classCode,classType\n".to_owned();
    let mut places = "sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,userSourcedId,role\n".to_owned();
    for class in 0..classes {
        let _ = writeln!(courses, "course-{class},,,Course number {class},C{class},org");
        let _ = writeln!(class_rows, "class-{class},,,Class number {class},course-{class},C{class},scheduled");
        let _ = writeln!(users, "t-{class},,,true,t{class},Terry,Teacher{class},t{class}@staff.uni.example");
        let _ = writeln!(roles, "rt-{class},,,t-{class},primary,teacher,org");
        let _ = writeln!(places, "et-{class},,,class-{class},org,t-{class},teacher");
    }
    for student in 0..students {
        let (given, family) = (GIVEN[student % GIVEN.len()], FAMILY[student / GIVEN.len() % FAMILY.len()]);
        let _ = writeln!(
            users,
            "s-{student:06},,,true,s{student:06},{given},{family}{student},s{student:06}@student.uni.example"
        );
        let _ = writeln!(roles, "rs-{student},,,s-{student:06},primary,student,org");
        for turn in 0..CLASSES_PER_STUDENT {
            let class = (student / STUDENTS_PER_CLASS * CLASSES_PER_STUDENT + turn) % classes;
            let _ = writeln!(places, "es-{student}-{turn},,,class-{class},org,s-{student:06},student");
        }
    }
    let files = [
        ("manifest.csv", manifest.to_owned()),
        ("users.csv", users),
        ("roles.csv", roles),
        ("courses.csv", courses),
        ("classes.csv", class_rows),
        ("enrollments.csv", places),
    ];
    files.map(|(name, text)| (name.to_owned(), text)).into()
}

const GIVEN: [&str; 8] = ["Ada", "Bo", "Chidi", "Dalia", "Émile", "Fatima", "Gero", "Hana"];
const FAMILY: [&str; 8] = ["Abebe", "Brandt", "Castro", "Dubois", "Eze", "Fischer", "García", "Hansen"];
