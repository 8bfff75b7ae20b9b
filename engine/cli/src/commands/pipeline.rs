//! Commands that look at a pipeline without running it: `check`, `plan`, `graph`, `render`.

use engine_core::Diagnostic;
use engine_plan::{Checked, Plan, Preview, Selection, draw, preview};
use engine_report::{PlanDetail, Screen, diagnostics_json, diagnostics_summary, preview_text, render_diagnostics};
use engine_store::Store;
use engine_table::Registry;

use super::kinds::pretty;
use super::{complain, say};
use crate::arguments::{GraphFormat, PipelineArguments, SelectionArguments};
use crate::load::{Loaded, load, read};
use crate::open::open_to_read;
use crate::{Failure, SUCCESS, machine};

/// Checks a pipeline whole; needs no data and no store.
pub fn check(arguments: &PipelineArguments, json: bool, registry: &Registry) -> Result<u8, Failure> {
    let outcome = load(arguments, registry);
    if json {
        let (problems, code) = match &outcome {
            Ok(loaded) => (loaded.notes.as_slice(), SUCCESS),
            Err(Failure::Diagnostics(problems)) => (problems.as_slice(), crate::ERROR),
            Err(_) => return outcome.map(|_| SUCCESS),
        };
        say(&pretty(&diagnostics_json(problems)))?;
        return Ok(code);
    }
    let loaded = outcome?;
    show_notes(&loaded.notes);
    let nodes = loaded.spec.nodes.len();
    let name = &loaded.spec.name;
    let beside =
        if loaded.notes.is_empty() { String::new() } else { format!(", {}", diagnostics_summary(&loaded.notes)) };
    match &loaded.checked {
        Checked::Complete(plan) => {
            say(&format!("{name}: {nodes} nodes, {} tasks, no errors{beside}\n", plan.tasks.len()))?;
        }
        Checked::Untyped { .. } => {
            say(&format!("{name}: {nodes} nodes, no errors{beside}; columns are not checked without data\n"))?;
        }
    }
    Ok(SUCCESS)
}

/// Says what would run, and why; the exit code tells whether anything would.
pub fn plan(
    arguments: &PipelineArguments,
    selection: &SelectionArguments,
    columns: bool,
    json: bool,
    registry: &Registry,
) -> Result<u8, Failure> {
    let (plan, notes, store) = ready(load(arguments, registry)?)?;
    let preview = preview_of(&plan, &store, selection)?;
    if json {
        let value = serde_json::to_value(&preview).map_err(Failure::message)?;
        say(&pretty(&value))?;
    } else {
        show_notes(&notes);
        let detail = if columns { PlanDetail::Columns } else { PlanDetail::Tasks };
        say(&preview_text(&preview, detail, &Screen::of_stdout()))?;
    }
    Ok(preview.exit_code())
}

/// Draws the graph; with a store, coloured by what a run would do.
pub fn graph(arguments: &PipelineArguments, format: GraphFormat, registry: &Registry) -> Result<u8, Failure> {
    let loaded = load(arguments, registry)?;
    let store = loaded.store.clone();
    let plan = loaded.checked.complete().map_err(Failure::Diagnostics)?;
    let preview = match store.exists() {
        true => Some(preview_of(&plan, &open_to_read(&store)?, &SelectionArguments::everything())?),
        false => None,
    };
    let text = match format {
        GraphFormat::Dot => draw::dot(&plan, preview.as_ref()),
        GraphFormat::Mermaid => draw::mermaid(&plan, preview.as_ref()),
        GraphFormat::Svg => draw::svg(&plan, preview.as_ref()),
    };
    say(&text)?;
    Ok(SUCCESS)
}

/// Prints the pipeline with parameters filled in.
pub fn render(arguments: &PipelineArguments, registry: &Registry) -> Result<u8, Failure> {
    let (spec, notes) = read(arguments, registry)?;
    show_notes(&notes);
    say(&spec.render().map_err(Failure::message)?)?;
    Ok(SUCCESS)
}

/// A pipeline whose types are all known, its notes, and its store.
pub fn ready(loaded: Loaded) -> Result<(Plan, Vec<Diagnostic>, Store), Failure> {
    let store = if loaded.store.exists() {
        open_to_read(&loaded.store)?
    } else {
        Store::temporary().map_err(Failure::message)?
    };
    let plan = loaded.checked.complete().map_err(Failure::Diagnostics)?;
    Ok((plan, loaded.notes, store))
}

fn preview_of(plan: &Plan, store: &Store, selection: &SelectionArguments) -> Result<Preview, Failure> {
    let selection = Selection::from(selection);
    preview(plan, store, &machine::environment(), &selection).map_err(Failure::message)
}

/// Prints warnings and notes.
pub fn show_notes(notes: &[Diagnostic]) {
    if !notes.is_empty() {
        let screen = Screen::of_stderr();
        complain(&render_diagnostics(notes, screen.style, screen.width));
    }
}
