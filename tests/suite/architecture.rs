//! The house stands as DESIGN says: who may depend on whom, and which words belong to which room.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use crate::process::said;

/// Which rooms each room may name. A room that is not here may not exist.
const ALLOWED: &[(&str, &[&str])] = &[
    ("engine-core", &[]),
    ("engine-table", &["engine-core"]),
    ("engine-spec", &["engine-core"]),
    ("engine-store", &["engine-core", "engine-table"]),
    ("engine-plan", &["engine-core", "engine-table", "engine-spec", "engine-store"]),
    ("engine-exec", &["engine-core", "engine-table", "engine-spec", "engine-store", "engine-plan"]),
    ("engine-report", &["engine-core", "engine-table", "engine-spec", "engine-store", "engine-plan", "engine-exec"]),
    ("engine-serve", &["engine-core", "engine-table", "engine-spec", "engine-store", "engine-plan", "engine-exec"]),
    ("nodes-media", &[]),
    ("nodes-kernels", &[]),
    ("nodes-models", &["nodes-kernels"]),
    ("nodes-catalog", &["engine-core", "engine-table", "nodes-media", "nodes-models"]),
];

/// Crates that only some rooms may name.
const RESERVED: &[(&str, &[&str])] = &[
    ("dfdx", &["nodes-kernels", "nodes-models"]),
    ("gemm", &["nodes-kernels"]),
    ("cudarc", &["nodes-kernels"]),
    ("rayon", &["nodes-kernels", "nodes-models", "nodes-media", "engine-cli"]),
    ("image", &["nodes-media"]),
    ("hound", &["nodes-media"]),
    ("axum", &["engine-serve"]),
    ("tokio", &["engine-serve"]),
    ("tower-http", &["engine-serve"]),
    ("rusqlite", &["engine-store"]),
    ("petgraph", &["engine-plan"]),
    ("saphyr-parser", &["engine-spec"]),
    ("clap", &["engine-cli"]),
    ("indicatif", &["engine-report"]),
    ("plotters", &["engine-report"]),
];

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn dependencies(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    metadata
        .packages
        .iter()
        .map(|package| {
            let normal = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
            (package.name.to_string(), normal.map(|dependency| dependency.name.clone()).collect())
        })
        .collect()
}

/// Rust sources of the workspace with their text.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    let mut found = Vec::new();
    for room in ["engine", "nodes"] {
        walk(&root().join(room), &mut found);
    }
    found
}

#[test]
fn no_room_knows_those_downstream_of_it() {
    let metadata = metadata();
    let rooms: BTreeSet<String> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    for (room, names) in dependencies(&metadata) {
        // The binary and its tests sit on top of everything.
        if ["engine-cli", "fuseline-tests"].contains(&room.as_str()) {
            continue;
        }
        let may = allowed.get(room.as_str()).unwrap_or_else(|| panic!("{room} is in no list of allowed edges"));
        for name in names.intersection(&rooms) {
            assert!(may.contains(&name.as_str()), "{room} may not name {name}");
        }
    }
}

#[test]
fn a_package_is_named_after_its_path() {
    for package in metadata().packages {
        let folder = package.manifest_path.parent().unwrap().strip_prefix(root()).unwrap();
        let expected = if folder == "tests" { "fuseline-tests".to_owned() } else { folder.as_str().replace('/', "-") };
        assert_eq!(package.name.as_str(), expected);
    }
}

#[test]
fn reserved_crates_stay_in_their_rooms() {
    for (room, names) in dependencies(&metadata()) {
        for (reserved, rooms) in RESERVED {
            let allowed = !names.contains(*reserved) || rooms.contains(&room.as_str());
            assert!(allowed, "{room} names {reserved}, which belongs to {rooms:?}");
        }
    }
}

#[test]
fn every_dependency_is_named_once_with_its_reason() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let table = manifest.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    for line in table.lines().filter(|line| line.contains('=') && !line.contains("path =")) {
        assert!(line.contains("# "), "no reason stands beside: {line}");
    }
    for package in metadata().packages {
        let text = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(!text.contains("version = \""), "{} pins a version outside the workspace table", package.name);
    }
}

#[test]
fn unsafe_code_stands_only_where_it_may() {
    for (path, text) in sources() {
        let may = path.starts_with("nodes/kernels") || path == Path::new("engine/table/src/segment.rs");
        let has = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or("");
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
        });
        assert!(may || !has, "{} has unsafe code", path.display());
    }
}

#[test]
fn only_the_executor_admits_train_rows() {
    for (path, text) in sources() {
        let production = text.split("#[cfg(test)]").next().unwrap_or("");
        let may = path.starts_with("engine/exec") || path == Path::new("engine/table/src/inputs.rs");
        assert!(may || !production.contains("TrainRows::admit"), "{} makes train rows", path.display());
    }
}

/// What stands in backticks behind `start`, as far as it is a word of commands and options.
fn words_after<'t>(text: &'t str, start: &str) -> impl Iterator<Item = &'t str> {
    text.split(start).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn messages_and_pages_name_commands_and_options_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let help = |of: &[&str]| said(folder.path(), &[&["help"], of].concat()).ok().stdout;
    let listed = help(&[]);
    let commands: BTreeSet<&str> = listed
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.contains("run") && commands.contains("explain"), "{listed}");
    let pages: Vec<String> = commands
        .iter()
        .filter(|command| **command != "help")
        .map(|command| help(&[command]))
        .chain([help(&["plugin", "test"])])
        .collect();
    let options: BTreeSet<&str> = pages.iter().flat_map(|page| words_after(page, "--")).collect();
    assert!(options.contains("only") && options.contains("memory"), "{options:?}");
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let messages: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let messages = messages.join("\n");
        let unknown = words_after(&messages, "`--").filter(|word| word.starts_with(char::is_alphabetic));
        wrong
            .extend(unknown.filter(|word| !options.contains(word)).map(|word| format!("{}: --{word}", path.display())));
        let unknown = words_after(&messages, "`fuseline ").filter(|word| !word.is_empty() && !commands.contains(word));
        wrong.extend(unknown.map(|word| format!("{}: fuseline {word}", path.display())));
    }
    for page in std::fs::read_dir(root().join("docs/src/guide")).unwrap() {
        let path = page.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let started = text.lines().filter_map(|line| line.strip_prefix("$ fuseline "));
        let started = started.filter_map(|line| line.split_whitespace().next());
        let named =
            started.chain(words_after(&text, "`fuseline ")).filter(|word| !word.is_empty() && !commands.contains(word));
        wrong.extend(named.map(|word| format!("{}: fuseline {word}", path.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_says_what_it_is() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{} does not open with `//!`", path.display());
    }
}
