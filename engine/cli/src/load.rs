//! From the arguments to a checked pipeline: reads files and environment, which no other room may.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use engine_core::{Diagnostic, SourceText};
use engine_plan::Checked;
use engine_spec::{Document, Folders, Parameters, PipelineSpec, PluginReference};
use engine_table::Registry;

use crate::Failure;
use crate::arguments::PipelineArguments;
use crate::plugins::{Named, Plugins};

/// A pipeline that passed every check, and what was said on the way.
pub struct Loaded {
    /// The pipeline as read.
    pub spec: PipelineSpec,
    /// The pipeline as bound.
    pub checked: Checked,
    /// Warnings and notes of all steps.
    pub notes: Vec<Diagnostic>,
    /// Where results are kept.
    pub store: PathBuf,
    /// Values of the secrets the pipeline declares.
    pub secrets: BTreeMap<String, String>,
}

/// Reads and checks the pipeline the arguments name.
///
/// # Errors
/// Every problem of the file, or why it cannot be read.
pub fn load(arguments: &PipelineArguments, registry: &Registry) -> Result<Loaded, Failure> {
    load_from(arguments, &working_folder()?, registry)
}

/// As [`load`], as if the program had been started in the folder `working`.
///
/// # Errors
/// Every problem of the file, or why it cannot be read.
pub fn load_from(arguments: &PipelineArguments, working: &Path, registry: &Registry) -> Result<Loaded, Failure> {
    let (spec, mut notes, registry) = read_from(arguments, working, registry)?;
    let checked = engine_plan::bind(&spec, &registry).map_err(|problems| {
        let mut all = notes.clone();
        all.extend(problems);
        Failure::Diagnostics(all)
    })?;
    notes.extend(checked.notes().iter().cloned());
    let secrets = spec
        .env
        .iter()
        .filter(|(_, variable)| variable.secret)
        .filter_map(|(name, _)| Some((name.clone(), environment(name)?)))
        .collect();
    let store = store_folder(arguments, &spec)?;
    Ok(Loaded { spec, checked, notes, store, secrets })
}

/// Reads the pipeline the arguments name, without binding it to its kinds' types.
///
/// # Errors
/// Every problem of the file, or why it cannot be read.
pub fn read(arguments: &PipelineArguments, registry: &Registry) -> Result<(PipelineSpec, Vec<Diagnostic>), Failure> {
    read_from(arguments, &working_folder()?, registry).map(|(spec, notes, _)| (spec, notes))
}

/// The pipeline, and the registry with the kinds of its plug-ins.
fn read_from(
    arguments: &PipelineArguments,
    working: &Path,
    registry: &Registry,
) -> Result<(PipelineSpec, Vec<Diagnostic>, Registry), Failure> {
    let source = read_text(&working.join(&arguments.file), &arguments.file)?;
    let parameters = parameters(arguments, working)?;
    let file = working.join(&arguments.file);
    let folder = file.parent().unwrap_or(working);
    let folders = Folders::new(folder, working).map_err(Failure::message)?;
    let mut extended = registry.clone();
    let extend = |document: &Document, references: Vec<PluginReference>| {
        let mut plugins = Plugins::new(registry.clone());
        for reference in references {
            let place = Named::in_pipeline(document, &reference.pointer);
            plugins.add(Path::new(&reference.folder), working, Some(place));
        }
        let extension = plugins.extension();
        extended = plugins.registry;
        extension
    };
    let read = engine_spec::read_extended(source, &parameters, &environment, &folders, extend);
    let (spec, notes) = read.map_err(Failure::Diagnostics)?;
    Ok((spec, notes, extended))
}

fn parameters(arguments: &PipelineArguments, working: &Path) -> Result<Parameters, Failure> {
    let mut parameters = Parameters::new();
    let mut problems = Vec::new();
    for file in &arguments.params {
        let document = Document::parse(read_text(&working.join(file), file)?);
        match document.and_then(|document| parameters.add_file(&document)) {
            Ok(()) => {}
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(arguments.set.iter().filter_map(|argument| parameters.set(argument).err()));
    if problems.is_empty() { Ok(parameters) } else { Err(Failure::Diagnostics(problems)) }
}

fn store_folder(arguments: &PipelineArguments, spec: &PipelineSpec) -> Result<PathBuf, Failure> {
    if let Some(folder) = &arguments.store {
        return Ok(folder.clone());
    }
    match &spec.store {
        Some(address) if address.contains("://") => Err(Failure::message(format!(
            "the store `{address}` is no local folder; only local stores are supported so far"
        ))),
        Some(folder) => Ok(PathBuf::from(folder)),
        None => Ok(beside(&arguments.file)),
    }
}

/// The default store of a pipeline file.
pub fn beside(pipeline: &Path) -> PathBuf {
    pipeline.parent().unwrap_or(Path::new("")).join(STORE_FOLDER)
}

/// The name of a store's folder.
pub const STORE_FOLDER: &str = ".fuseline";

/// More than a text may have: its reader says how much that is.
const MOST_BYTES: u64 = 64 << 20;

/// The text of `file`, reported under the name it was given by.
pub fn read_text(file: &Path, named: &Path) -> Result<SourceText, Failure> {
    let name = named.display().to_string();
    let failed = |error| Failure::message(format!("cannot read `{name}`: {error}"));
    let mut bytes = Vec::new();
    // A device or a pipe may never end.
    File::open(file).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes)).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::message(format!(
            "`{name}` is not UTF-8 text: byte {} (in line {line}) cannot be read; save it as UTF-8",
            at + 1
        ))
    })?;
    Ok(SourceText { name, text })
}

/// The folder the program was started in.
///
/// # Errors
/// If it is gone.
pub fn working_folder() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| Failure::message(format!("the working directory cannot be found: {error}")))
}

/// The only place that reads the environment for a pipeline.
#[expect(clippy::disallowed_methods, reason = "the command line passes the environment on as data")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
