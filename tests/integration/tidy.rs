//! What no compiler sees: the server's modules import only those above them in `lib.rs`, so that reading from the top never
//! needs what is below, and the files that our documents name exist.

use std::path::{Path, PathBuf};

pub(crate) fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/src")
}

/// The modules in the order of `lib.rs`.
fn modules() -> Vec<String> {
    let text = std::fs::read_to_string(source().join("lib.rs")).unwrap();
    let declared = text.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';'));
    declared.map(str::to_owned).collect()
}

pub(crate) fn rust_files(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            rust_files(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        found.push(path.to_owned());
    }
}

/// The modules that a text names after `crate::`, in braces or not. Macros stand at the root and are no modules.
fn imported(text: &str) -> Vec<&str> {
    let word = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let mut names = Vec::new();
    for (at, _) in text.match_indices("crate::").filter(|(at, _)| !text[..*at].ends_with('$')) {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split_once("};").map_or(list, |(list, _)| list);
                names.extend(list.split(',').map(str::trim).map(|item| &item[..word(item)]));
            }
            None => names.push(&rest[..word(rest)]),
        }
    }
    names
}

#[test]
fn a_module_imports_only_those_above_it() {
    let modules = modules();
    let mut broken = Vec::new();
    for (index, module) in modules.iter().enumerate() {
        let mut files = Vec::new();
        for path in [source().join(module), source().join(format!("{module}.rs"))] {
            if path.exists() {
                rust_files(&path, &mut files);
            }
        }
        assert!(!files.is_empty(), "{module} has no file");
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for name in imported(&text) {
                if modules.iter().position(|known| known == name).is_some_and(|position| position > index) {
                    broken.push(format!("{} imports {name}", file.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The documents that name files of this repository, and the folder that each is about.
pub(crate) fn documents() -> Vec<(PathBuf, PathBuf)> {
    let root = source().join("../..");
    let folders = ["", "server", "server/docs", "server/docs/adr", "sync-core", "mobile-ffi", "models", "migrations"];
    let mut documents = Vec::new();
    for folder in folders.map(|folder| root.join(folder)) {
        let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let texts = files.filter(|file| file.extension().is_some_and(|extension| extension == "md"));
        documents.extend(texts.map(|file| (file, folder.clone())));
    }
    documents
}

/// What a text names between back ticks and looks like the path of a file or folder, and where its links lead.
fn named_paths(text: &str) -> Vec<&str> {
    let kinds = [".rs", ".md", ".sql", ".toml", ".py", ".example", "/"];
    let is_path = |word: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        let inner = word.trim_end_matches('/');
        word.chars().all(plain)
            && inner.contains('/')
            && !word.starts_with('/')
            && kinds.iter().any(|kind| word.ends_with(kind))
    };
    let code = text.split('`').skip(1).step_by(2).filter(is_path);
    let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    code.chain(links.filter(|target| !target.contains(':') && !target.starts_with('#'))).collect()
}

#[test]
fn a_document_names_only_files_that_exist() {
    let root = source().join("../..");
    let (mut missing, mut seen) = (Vec::new(), 0);
    for (document, folder) in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for path in named_paths(&text) {
            seen += 1;
            if !root.join(path).exists() && !folder.join(path).exists() {
                missing.push(format!("{} names {path}", document.display()));
            }
        }
    }
    assert!(seen > 20, "only {seen} paths were found");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_budget_has_a_test_on_both_sides() {
    let mut files = Vec::new();
    for folder in [source(), source().join("../../tests"), source().join("../../sync-core")] {
        rust_files(&folder, &mut files);
    }
    let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let is_test = |name: &str| {
        let declared = [format!("#[test]\nfn {name}()"), format!("#[tokio::test]\nasync fn {name}()")];
        let inside = declared.each_ref().map(|declared| format!("    {}", declared.replace('\n', "\n    ")));
        texts.iter().any(|text| declared.iter().chain(&inside).any(|declared| text.contains(declared)))
    };
    for budget in muster_server::limits::budgets::ALL {
        for (side, name) in [("within", budget.within), ("beyond", budget.beyond)] {
            assert!(is_test(name), "{}: no test {side} it is called {name}", budget.name);
        }
    }
}
