//! What holds for every kind there is: documented options, an example that binds, a schema that takes the example.
//! And what follows from the kinds: the committed schemas, the pipelines of the repository.

use std::path::{Path, PathBuf};

use engine_core::{Diagnostic, SourceText};
use engine_plan::Checked;
use engine_spec::{Document, Folders, Parameters};
use engine_table::Registry;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Checks a pipeline as if its file stood in `folder`.
fn check(name: &str, text: &str, folder: &Path, registry: &Registry) -> Result<Checked, Vec<Diagnostic>> {
    let source = SourceText { name: name.into(), text: text.into() };
    let folders = Folders::new(folder, folder).unwrap();
    let vocabulary = engine_plan::vocabulary(registry);
    let (spec, _) = engine_spec::read(source, &Parameters::new(), &|_| None, &vocabulary, &folders)?;
    engine_plan::bind(&spec, registry)
}

/// Every option of `schema` and of the objects in it that has no text, by its path.
fn undocumented(schema: &Value, path: &str, found: &mut Vec<String>) {
    if !schema.is_object() {
        return;
    }
    for (name, option) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}/{name}");
        // The one key of an alternative that carries options is described by the alternative.
        if !option["description"].is_string() && !schema["description"].is_string() {
            found.push(path.clone());
        }
        undocumented(option, &path, found);
    }
    for word in ["anyOf", "oneOf", "allOf"] {
        schema[word].as_array().into_iter().flatten().for_each(|branch| undocumented(branch, path, found));
    }
    for word in ["items", "additionalProperties"] {
        undocumented(&schema[word], path, found);
    }
}

#[test]
fn every_option_of_every_kind_is_documented() {
    let mut found = Vec::new();
    for kind in nodes_catalog::registry().iter() {
        assert!(!kind.summary().is_empty(), "`{}` does not say what it does", kind.name);
        for (option, schema) in kind.options_schema["properties"].as_object().into_iter().flatten() {
            if !schema["description"].is_string() {
                found.push(format!("{}/{option}", kind.name));
            }
        }
        undocumented(&kind.options_schema, &kind.name, &mut found);
    }
    // A selector of columns says what its two words mean in a text of its own.
    found.retain(|path| !path.ends_with("/columns/type") && !path.ends_with("/columns/except"));
    assert!(found.is_empty(), "options without a text: {found:#?}");
}

#[test]
fn the_example_of_every_kind_binds_without_a_word() {
    let registry = nodes_catalog::registry();
    for kind in registry.iter() {
        let checked = check(&kind.name, &kind.example, Path::new("/nowhere"), &registry)
            .unwrap_or_else(|problems| panic!("the example of `{}`: {problems:#?}", kind.name));
        let Checked::Complete(plan) = &checked else {
            // A file whose types come from its content: parquet has no pinned schema.
            let notes: Vec<&str> = checked.notes().iter().map(|note| note.code.name).collect();
            assert_eq!(notes, ["source.absent"], "the example of `{}`", kind.name);
            continue;
        };
        let uses = plan.tasks.iter().any(|task| task.kind.name == kind.name);
        // An expansion becomes instances of what is above it and the task that joins them.
        assert!(uses, "the example of `{}` does not use it", kind.name);
        assert!(plan.notes.is_empty(), "the example of `{}`: {:#?}", kind.name, plan.notes);
    }
}

#[test]
fn the_schema_of_a_pipeline_compiles_and_takes_every_example_and_every_pipeline_of_the_repository() {
    let registry = nodes_catalog::registry();
    let schema = engine_spec::pipeline_schema(&engine_plan::vocabulary(&registry));
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let examples = registry.iter().map(|kind| (kind.name.clone(), kind.example.clone()));
    for (name, text) in examples.chain(pipelines()) {
        let document = Document::parse(SourceText { name: name.clone(), text }).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(document.value())
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "the schema refuses {name}: {errors:#?}");
    }
}

#[test]
fn the_schema_refuses_a_misspelt_option() {
    let registry = nodes_catalog::registry();
    let schema = engine_spec::pipeline_schema(&engine_plan::vocabulary(&registry));
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for (right, wrong) in [("epochs:", "epoch:"), ("uses: encode.one_hot", "uses: encode.onehot"), ("path:", "pth:")] {
        let (name, text) = pipelines().into_iter().find(|(name, _)| name == "loans.yaml").unwrap();
        assert!(text.contains(right));
        let text = text.replace(right, wrong);
        let document = Document::parse(SourceText { name, text }).unwrap();
        assert!(!validator.is_valid(document.value()), "the schema takes `{wrong}`");
    }
}

/// Name and text of every pipeline in `pipelines/`.
fn pipelines() -> Vec<(String, String)> {
    let mut pipelines: Vec<(String, String)> = std::fs::read_dir(root().join("pipelines"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap()))
        .collect();
    pipelines.sort();
    assert!(pipelines.len() >= 3);
    pipelines
}

#[test]
fn the_pipelines_of_the_repository_check_without_data() {
    let registry = nodes_catalog::registry();
    // Those with plug-ins are checked by the program, which reads them: `plugins.rs`.
    for (name, text) in pipelines().into_iter().filter(|(_, text)| !text.contains("\nplugins:")) {
        let checked = check(&name, &text, &root().join("pipelines"), &registry);
        let checked = checked.unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
        let notes: Vec<&str> = checked.notes().iter().map(|note| note.code.name).collect();
        assert!(notes.iter().all(|code| *code == "source.absent"), "{name}: {notes:?}");
    }
}

#[test]
fn the_committed_schemas_are_those_of_the_program() {
    let registry = nodes_catalog::registry();
    let pipeline = engine_spec::pipeline_schema(&engine_plan::vocabulary(&registry));
    let kinds = registry.iter().map(|kind| (kind.name.clone(), kind.options_schema.clone()));
    let mut expected: Vec<(String, Value)> = kinds
        .chain([("pipeline".to_owned(), pipeline), ("plugin".to_owned(), nodes_catalog::plugin::manifest_schema())])
        .collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    let folder = root().join("schemas");
    for (name, schema) in &expected {
        let text = std::fs::read_to_string(folder.join(format!("{name}.schema.json"))).unwrap_or_default();
        let committed: Value = serde_json::from_str(&text).unwrap_or_default();
        assert!(&committed == schema, "schemas/{name}.schema.json is not what the program says: run `just update`");
        assert_eq!(text, format!("{schema:#}\n"), "schemas/{name}.schema.json is written otherwise: run `just update`");
    }
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).count();
    assert_eq!(files, expected.len(), "schemas/ has a file of no kind: run `just update`");
}
