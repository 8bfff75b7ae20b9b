//! Literate tests of bad pipelines: `tests/spec/*.md` holds prose and YAML, and `# error: [code]` stands on the line
//! it belongs to. Every expected problem must be found on its line, and nothing else may be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine_core::{Diagnostic, Severity, SourceText};
use engine_spec::{Folders, Parameters};

/// A fenced block of YAML and where it stands.
struct Case {
    file: PathBuf,
    line: usize,
    title: String,
    yaml: String,
}

/// `(line, severity, code)` of a problem.
type Found = (usize, &'static str, String);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("spec")
}

fn cases() -> Vec<Case> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        let text = std::fs::read_to_string(file).unwrap();
        let (mut title, mut open): (String, Option<Case>) = (String::new(), None);
        for (number, line) in text.lines().enumerate() {
            match (&mut open, line) {
                (None, "```yaml") => {
                    let (file, title) = (file.clone(), title.clone());
                    open = Some(Case { file, line: number + 2, title, yaml: String::new() });
                }
                (Some(_), "```") => cases.extend(open.take()),
                (Some(case), line) => {
                    case.yaml.push_str(line);
                    case.yaml.push('\n');
                }
                (None, line) => {
                    if let Some(heading) = line.strip_prefix('#') {
                        title = heading.trim_start_matches('#').trim().to_owned();
                    }
                }
            }
        }
        assert!(open.is_none(), "{} ends inside a block", file.display());
    }
    cases
}

/// The problems the comments of `yaml` announce.
fn expected(yaml: &str) -> Vec<Found> {
    let mut expected = Vec::new();
    for (number, line) in yaml.lines().enumerate() {
        for severity in ["error", "warning"] {
            for rest in line.split(&format!("# {severity}: [")).skip(1) {
                let code = rest.split(']').next().unwrap_or("");
                expected.push((number + 1, severity, code.to_owned()));
            }
        }
    }
    expected.sort();
    expected
}

/// The problems the engine finds, notes left out.
fn found(yaml: &str) -> Vec<Found> {
    let mut found: Vec<Found> = diagnose(yaml)
        .iter()
        .filter(|problem| problem.severity != Severity::Note)
        .map(|problem| {
            let line = problem.labels.first().map_or(0, |label| label.span.line_column().0);
            (line, problem.severity.as_str(), problem.code.name.to_owned())
        })
        .collect();
    found.sort();
    found
}

fn diagnose(yaml: &str) -> Vec<Diagnostic> {
    let registry = nodes_catalog::registry();
    let vocabulary = engine_plan::vocabulary(&registry);
    let source = SourceText { name: "pipeline.yaml".into(), text: yaml.into() };
    // A folder that is not there: these pipelines are checked without data.
    let nowhere = Path::new("/nowhere/pipelines");
    let folders = Folders::new(nowhere, nowhere).unwrap();
    match engine_spec::read(source, &Parameters::new(), &|_| None, &vocabulary, &folders) {
        Err(problems) => problems,
        Ok((pipeline, mut notes)) => {
            match engine_plan::bind(&pipeline, &registry) {
                Ok(checked) => notes.extend(checked.notes().iter().cloned()),
                Err(problems) => notes.extend(problems),
            }
            notes
        }
    }
}

#[test]
fn every_bad_pipeline_gets_its_problems_on_their_lines() {
    let mut wrong = Vec::new();
    for case in cases() {
        let (expected, found) = (expected(&case.yaml), found(&case.yaml));
        if expected != found {
            let place = format!("{}:{} ({})", case.file.display(), case.line, case.title);
            wrong.push(format!("{place}\n  expected {expected:?}\n  found    {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn there_are_many_bad_pipelines_and_every_code_of_a_check_has_one() {
    let cases = cases();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for case in &cases {
        for (_, _, code) in expected(&case.yaml) {
            *seen.entry(code).or_default() += 1;
        }
    }
    let bad = cases.iter().filter(|case| !expected(&case.yaml).is_empty()).count();
    assert!(bad >= 60, "only {bad} bad pipelines");
    let codes = engine_spec::CODES.iter().chain(engine_plan::CODES).chain(nodes_catalog::CODES);
    let missing: Vec<&str> = codes.map(|code| code.name).filter(|name| !seen.contains_key(*name)).collect();
    // These cannot stand in a pipeline's text alone: they come from the command line, from data or are notes.
    let elsewhere: Vec<&str> = std::fs::read_to_string(folder().join("elsewhere.txt"))
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(|word| missing.iter().find(|name| **name == word)))
        .flatten()
        .copied()
        .collect();
    let missing: Vec<&&str> = missing.iter().filter(|name| !elsewhere.contains(name)).collect();
    assert!(missing.is_empty(), "no case in tests/spec for {missing:?}");
}

#[test]
fn every_message_names_a_way_out_or_the_place() {
    for case in cases() {
        for problem in diagnose(&case.yaml).iter().filter(|problem| problem.is_error()) {
            let place = format!("{}:{} [{}]", case.file.display(), case.line, problem.code.name);
            assert!(!problem.labels.is_empty(), "{place} has no place");
            // A word of SQL is written large.
            let is_sentence = problem.message.chars().next().is_none_or(char::is_uppercase)
                && problem.message.chars().nth(1).is_none_or(char::is_lowercase);
            assert!(!is_sentence, "{place} begins with a capital: {}", problem.message);
            assert!(!problem.message.ends_with('.'), "{place} ends with a full stop: {}", problem.message);
        }
    }
}
