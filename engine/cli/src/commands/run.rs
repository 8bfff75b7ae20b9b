//! `fuseline run`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use engine_core::{ArtifactKind, Event, RunStatus};
use engine_exec::{OnFailure, RunOptions, RunOutcome};
use engine_plan::{Output, OutputRef, Plan, Selection, draw};
use engine_report::{Display, RunPage, Screen, Show, run_html};
use engine_store::{Invocation, Run, RunStart, Store};
use engine_table::report::ReportPage;
use engine_table::{Cancel, Registry};

use super::pipeline::show_notes;
use super::written;
use crate::arguments::{PipelineArguments, SelectionArguments};
use crate::load::{Loaded, load, working_folder};
use crate::open::open_to_write;
use crate::{CANCELLED, ERROR, Failure, SUCCESS, machine};

/// What `run` was asked besides the pipeline.
pub struct Options {
    /// Which nodes.
    pub selection: SelectionArguments,
    /// Threads; nothing is all cores.
    pub threads: Option<u32>,
    /// Bytes that running tasks may ask for together; nothing is what the machine has.
    pub memory: Option<u64>,
    /// Devices.
    pub gpus: usize,
    /// Stop at the first failure.
    pub fail_fast: bool,
    /// Events as JSON.
    pub json: bool,
    /// Where the HTML report goes.
    pub report: Option<PathBuf>,
}

/// Runs a pipeline and shows it.
pub fn run(arguments: &PipelineArguments, options: Options, registry: &Registry) -> Result<u8, Failure> {
    let loaded = load(arguments, registry)?;
    let threads = options.threads.map_or_else(machine::cores, |threads| threads as usize);
    // Kernels and workers share one budget; a pool that is there already has the size an earlier run gave it.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    let start = start_of(arguments, &loaded)?;
    let Loaded { checked, notes, secrets, store, .. } = loaded;
    let plan = checked.complete().map_err(Failure::Diagnostics)?;
    if !options.json {
        show_notes(&notes);
    }
    let store = open_to_write(&store)?;
    let mut run_options = RunOptions::new(machine::environment());
    run_options.threads = threads;
    run_options.memory = options.memory.or_else(machine::memory);
    run_options.gpus = options.gpus;
    run_options.on_failure = if options.fail_fast { OnFailure::Stop } else { OnFailure::GoOn };
    run_options.selection = Selection::from(&options.selection);
    run_options.secrets = secrets;
    run_options.start = start;

    let cancel = cancel_on_signal()?;
    let show = if options.json { Show::Json } else { Show::Progress };
    let display = Mutex::new(Display::new(show, Screen::of_stdout(), std::io::stdout()));
    let heard = Mutex::new(Vec::new());
    let tell = |event: Event| {
        display.lock().unwrap_or_else(PoisonError::into_inner).event(&event);
        if !matches!(event, Event::TaskProgress { .. }) {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        }
    };
    let outcome = engine_exec::run(&plan, &store, &run_options, &cancel, &tell).map_err(Failure::message)?;

    let mut display = display.into_inner().unwrap_or_else(PoisonError::into_inner);
    let events = heard.into_inner().unwrap_or_else(PoisonError::into_inner);
    let page = write_page(&plan, &store, &outcome, &events, options.report.as_deref())?;
    display.set_report(page);
    written(display.finish().map(drop).and_then(|()| std::io::stdout().flush()))?;
    Ok(match outcome.status {
        RunStatus::Succeeded => SUCCESS,
        RunStatus::Failed => ERROR,
        RunStatus::Cancelled => CANCELLED,
    })
}

/// What the history says of the run.
fn start_of(arguments: &PipelineArguments, loaded: &Loaded) -> Result<RunStart, Failure> {
    let folder = working_folder()?;
    let file = folder.join(&arguments.file);
    // Names of files may be no UTF-8.
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    Ok(RunStart {
        pipeline: loaded.spec.name.clone(),
        git: machine::git(file.parent().unwrap_or(&folder)),
        file: Some(file.display().to_string()),
        command: words.join(" "),
        params: loaded.spec.params.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        invocation: Invocation {
            folder: folder.display().to_string(),
            set: arguments.set.clone(),
            params: arguments.params.iter().map(|file| file.display().to_string()).collect(),
        },
        host: machine::host(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// A token that Ctrl-C and SIGTERM cancel; a second signal ends the process at once.
pub(super) fn cancel_on_signal() -> Result<Cancel, Failure> {
    let cancel = Cancel::new();
    let asked = Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in signal_hook::consts::TERM_SIGNALS {
        let failed = |error| Failure::message(format!("cannot listen for Ctrl-C: {error}"));
        signal_hook::flag::register_conditional_shutdown(*signal, i32::from(CANCELLED), asked.clone())
            .map_err(failed)?;
        signal_hook::flag::register(*signal, asked.clone()).map_err(failed)?;
    }
    let mut signals = signal_hook::iterator::Signals::new(signal_hook::consts::TERM_SIGNALS)
        .map_err(|error| Failure::message(format!("cannot listen for Ctrl-C: {error}")))?;
    let token = cancel.clone();
    std::thread::Builder::new()
        .name("fuseline-signals".to_owned())
        .spawn(move || {
            if signals.forever().next().is_some() {
                token.cancel();
            }
        })
        .map_err(|error| Failure::message(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(cancel)
}

/// Writes the run as one HTML file, and gives its path.
fn write_page(
    plan: &Plan,
    store: &Store,
    outcome: &RunOutcome,
    events: &[Event],
    path: Option<&Path>,
) -> Result<PathBuf, Failure> {
    let mut summary = engine_report::RunSummary::new();
    events.iter().for_each(|event| summary.add(event));
    let graph = draw::svg(plan, None);
    // From the history, where values of secrets are blacked out.
    let Run { start, started_ms, .. } = store.run(&outcome.run).map_err(Failure::message)?;
    let mut facts = vec![("host".to_owned(), start.host.clone()), ("fuseline".to_owned(), start.version.clone())];
    if let Some(git) = &start.git {
        let dirty = if git.dirty { " (with changes)" } else { "" };
        facts.push(("revision".to_owned(), format!("{}{dirty}", &git.revision[..git.revision.len().min(12)])));
    }
    let page = RunPage {
        started: format!("{} UTC", machine::date_time(started_ms)),
        command: start.command,
        facts,
        graph: Some(&graph),
        reports: reports(plan, store, outcome)?,
    };
    let path = match path {
        Some(path) => path.to_owned(),
        None => store.root().join("reports").join(format!("{}.html", outcome.run)),
    };
    let failed = |error| Failure::message(format!("cannot write the report `{}`: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(&path, run_html(&summary, &page)).map_err(failed)?;
    Ok(path)
}

/// The report artifacts of the run, in the order of the plan; those of folds are summed up by whoever joins them.
fn reports(plan: &Plan, store: &Store, outcome: &RunOutcome) -> Result<Vec<(String, ReportPage)>, Failure> {
    let mut reports = Vec::new();
    for task in plan.tasks.iter().filter(|task| task.instance.is_none()) {
        for (port, kind) in &task.outputs {
            if kind.artifact_kind() != ArtifactKind::Report {
                continue;
            }
            let output = outcome.outputs.0.get(&OutputRef { task: task.id, port: port.clone() });
            if let Some(Output::Files { files, .. }) = output {
                let files = files.read(store).map_err(Failure::message)?;
                reports.push((task.node.clone(), ReportPage::from_files(&files).map_err(Failure::message)?));
            }
        }
    }
    Ok(reports)
}
