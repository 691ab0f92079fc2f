//! Taking named entries out of a verified archive, with every size and name bounded; nothing is written by an archive's own names.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use crate::Error;
use crate::limits::{ARCHIVE_ENTRIES_MAX, ARCHIVE_INFLATED_BYTES_MAX, MEMBER_BYTES_MAX, MEMBER_NAME_BYTES_MAX};
use crate::manifest::Source;

/// Whether a path has only ordinary parts: no root, no `..`, no drive and no backslash.
#[must_use]
pub(crate) fn is_plain_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= MEMBER_NAME_BYTES_MAX
        && !path.contains(['\\', ':', '\0'])
        && path.trim_end_matches('/').split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Verifies an archive's digest and returns the wanted entries by name.
pub(crate) fn open(source: &Source, bytes: &[u8], wanted: &[&str]) -> Result<HashMap<String, Vec<u8>>, Error> {
    let found = crate::digest::of_bytes(bytes);
    if found != source.sha256 {
        return Err(Error::Digest { what: source.archive.clone(), expected: source.sha256.clone(), found });
    }
    let is_tarball = source.archive.ends_with(".tgz");
    let members = if is_tarball { read_tarball(bytes, wanted) } else { read_zip(bytes, wanted) }
        .map_err(|reason| Error::Archive { archive: source.archive.clone(), reason })?;
    match wanted.iter().find(|name| !members.contains_key(**name)) {
        None => Ok(members),
        Some(name) => {
            Err(Error::Archive { archive: source.archive.clone(), reason: format!("it has no entry {name}") })
        }
    }
}

fn read_tarball(bytes: &[u8], wanted: &[&str]) -> Result<HashMap<String, Vec<u8>>, String> {
    let inflated = flate2::read::GzDecoder::new(bytes).take(ARCHIVE_INFLATED_BYTES_MAX);
    let mut tarball = tar::Archive::new(inflated);
    let mut members = HashMap::new();
    for (n_entries, entry) in tarball.entries().map_err(words)?.enumerate() {
        let mut entry = entry.map_err(words)?;
        let name = String::from_utf8(entry.path_bytes().into_owned()).map_err(words)?;
        check_entry(n_entries, &name)?;
        if wanted.contains(&name.as_str()) {
            if !entry.header().entry_type().is_file() {
                return Err(format!("entry {name} is not a plain file"));
            }
            let size_bytes = entry.size();
            keep(&mut members, name, size_bytes, &mut entry)?;
        }
    }
    Ok(members)
}

fn read_zip(bytes: &[u8], wanted: &[&str]) -> Result<HashMap<String, Vec<u8>>, String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(words)?;
    let mut members = HashMap::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(words)?;
        let name = entry.name().map_err(words)?.into_owned();
        check_entry(index, &name)?;
        if wanted.contains(&name.as_str()) {
            if !entry.is_file() {
                return Err(format!("entry {name} is not a plain file"));
            }
            let size_bytes = entry.size();
            keep(&mut members, name, size_bytes, &mut entry)?;
        }
    }
    Ok(members)
}

fn check_entry(n_entries: usize, name: &str) -> Result<(), String> {
    if n_entries >= ARCHIVE_ENTRIES_MAX {
        return Err(format!("it has more than {ARCHIVE_ENTRIES_MAX} entries"));
    }
    if is_plain_path(name) { Ok(()) } else { Err(format!("entry {name:?} points outside the archive")) }
}

fn keep(
    members: &mut HashMap<String, Vec<u8>>,
    name: String,
    size_bytes: u64,
    entry: &mut impl Read,
) -> Result<(), String> {
    if size_bytes > MEMBER_BYTES_MAX {
        return Err(format!("entry {name} has {size_bytes} bytes, more than {MEMBER_BYTES_MAX}"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).map_err(words)?);
    // The declared size may lie, so that the limit holds for what is really read.
    entry.take(MEMBER_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(words)?;
    if bytes.len() as u64 != size_bytes {
        return Err(format!("entry {name} declares {size_bytes} bytes and has {}", bytes.len()));
    }
    match members.insert(name.clone(), bytes) {
        None => Ok(()),
        Some(_) => Err(format!("entry {name} occurs twice")),
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::manifest::Registry;

    fn tarball(name: &str, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header, content).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&builder.into_inner().unwrap()).unwrap();
        encoder.finish().unwrap()
    }

    fn wheel(name: &str, content: &[u8]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap().into_inner()
    }

    fn source(archive: &str, bytes: &[u8]) -> Source {
        Source {
            name: "test".into(),
            registry: Registry::Npm,
            package: "test".into(),
            version: "1".into(),
            archive: archive.into(),
            size_bytes: bytes.len() as u64,
            sha256: crate::digest::of_bytes(bytes),
            wheel_platform: None,
        }
    }

    #[test]
    fn wanted_entries_come_out_of_either_kind_of_archive() {
        for (archive, bytes) in [("a.tgz", tarball("p/x", b"12")), ("a.whl", wheel("p/x", b"12"))] {
            assert_eq!(open(&source(archive, &bytes), &bytes, &["p/x"]).unwrap()["p/x"], b"12");
        }
    }

    #[test]
    fn an_archive_with_another_sha256_is_not_opened() {
        let bytes = tarball("p/x", b"12");
        let pinned = source("a.tgz", &bytes);
        let mut other = bytes;
        *other.last_mut().unwrap() ^= 1;
        assert!(matches!(open(&pinned, &other, &["p/x"]), Err(Error::Digest { .. })));
    }

    #[test]
    fn a_truncated_archive_is_refused() {
        for (archive, bytes) in [("a.tgz", tarball("p/x", &[7; 5_000])), ("a.whl", wheel("p/x", &[7; 5_000]))] {
            let cut = &bytes[..bytes.len() / 2];
            assert!(matches!(open(&source(archive, cut), cut, &["p/x"]), Err(Error::Archive { .. })));
        }
    }

    #[test]
    fn an_entry_that_points_outside_is_refused() {
        for name in ["../x", "/x", "p/../../x", "p\\x", "c:x", "p//x"] {
            for (archive, bytes) in [("a.tgz", tarball(name, b"12")), ("a.whl", wheel(name, b"12"))] {
                let error = open(&source(archive, &bytes), &bytes, &[]).unwrap_err();
                assert!(error.to_string().contains("outside"), "{archive} {name}: {error}");
            }
        }
    }

    #[test]
    fn an_entry_that_is_not_there_is_said() {
        let bytes = tarball("p/x", b"12");
        assert!(open(&source("a.tgz", &bytes), &bytes, &["p/y"]).unwrap_err().to_string().contains("no entry p/y"));
    }
}
