//! Runs a kind that writes outside the graph: its artifact is kept in the store and copied to its destination.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use engine_core::{Digest, LogicalType};
use engine_plan::{OutputRef, Plan, PlannedServing, PlannedStep, Servings, Task, Work, chosen_serving};
use engine_table::{
    ColumnType, Context, Destination, Files, NodeError, Read, RowFilter, ServingSlice, ServingStep, Sink, StepArtifact,
    StepTable, encode_segment,
};

use super::Made;
use super::inputs::TaskInputs;
use super::reduce::hand_over;
use super::written::{Shelf, store_artifacts};

/// Makes the artifacts; copying them out is [`copy_out`]'s part, after the record stands.
pub(crate) fn run(
    node: &dyn Sink,
    servings: Option<&Servings>,
    inputs: &TaskInputs<'_>,
    shelf: Shelf<'_>,
    context: &Context,
) -> Result<Made, NodeError> {
    let handed = hand_over(inputs)?;
    let context = match servings {
        None => context.clone(),
        Some(servings) => {
            let serving = chosen_serving(inputs.task, servings, inputs.outputs, inputs.store);
            let serving = serving.map_err(NodeError::failed)?.expect("a sink has a key only if its slice is known");
            Context { serving: Some(Arc::new(slice(serving, inputs)?)), ..context.clone() }
        }
    };
    let artifacts = node.run(&handed, &context)?;
    Ok(Made { outputs: store_artifacts(shelf, inputs.task, artifacts)? })
}

/// What a deployment needs, with the files of this run. Options go without local paths: a bundle leaves the machine.
fn slice(serving: &PlannedServing, inputs: &TaskInputs<'_>) -> Result<ServingSlice, NodeError> {
    let mut steps = Vec::new();
    let mut blobs = BTreeMap::new();
    for step in &serving.steps {
        let task = inputs.plan.task(step.task);
        let fitted = fitted_of(task).map(|fitted| inputs.files(fitted)).transpose()?;
        steps.push(ServingStep {
            node: task.node.clone(),
            kind: task.kind.name.clone(),
            version: task.kind.version.clone(),
            options: step.options.clone(),
            inputs: step.inputs.clone(),
            fitted,
            artifacts: artifacts_of(task, inputs)?,
            tables: tables_of(task, step, inputs, &mut blobs)?,
        });
    }
    Ok(ServingSlice {
        request_node: serving.request.request.clone(),
        request: serving.columns.clone(),
        steps,
        model_inputs: serving.model_inputs.clone(),
        model_reads: Read::new(&serving.request.model, RowFilter::All, serving.model_reads.iter().cloned()),
        blobs,
    })
}

/// The tables a step looks rows up in, as they are now; the images and sounds they name are added to `blobs`.
fn tables_of(
    task: &Task,
    step: &PlannedStep,
    inputs: &TaskInputs<'_>,
    blobs: &mut BTreeMap<Digest, Arc<[u8]>>,
) -> Result<Vec<StepTable>, NodeError> {
    let kept = inputs.store.blobs();
    let mut tables = Vec::with_capacity(step.tables.len());
    for read in &step.tables {
        let rows = inputs.rows(read)?;
        let typed = task.types.table(&read.port);
        let described = |name: &String| {
            typed.column(name).cloned().map(|column| ColumnType { origin: String::new(), from_target: false, ..column })
        };
        let columns: Vec<ColumnType> = read.columns.iter().filter_map(described).collect();
        let media = columns.iter().filter(|column| matches!(column.logical, LogicalType::Image | LogicalType::Audio));
        for column in media {
            let cells = rows.column(&column.name).and_then(|cells| cells.str()).map_err(NodeError::failed)?;
            for cell in cells.iter().flatten() {
                let digest: Digest = cell.parse().map_err(NodeError::failed)?;
                if let Entry::Vacant(place) = blobs.entry(digest) {
                    place.insert(kept.read(&digest)?);
                }
            }
        }
        let rows = encode_segment(&rows).map_err(NodeError::failed)?.into();
        tables.push(StepTable { port: read.port.clone(), columns, rows });
    }
    Ok(tables)
}

/// The artifacts on the ports of a step, with the types the plan bound there.
fn artifacts_of(task: &Task, inputs: &TaskInputs<'_>) -> Result<Vec<StepArtifact>, NodeError> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut artifacts = Vec::with_capacity(task.artifacts.len());
    for input in &task.artifacts {
        let place = seen.entry(&input.port).or_default();
        let kind = task.types.artifacts(&input.port).get(*place).expect("the plan typed every bound reference").clone();
        *place += 1;
        artifacts.push(StepArtifact { port: input.port.clone(), kind, files: inputs.files(&input.from)? });
    }
    Ok(artifacts)
}

fn fitted_of(task: &Task) -> Option<&OutputRef> {
    match &task.work {
        Work::Apply { fitted, .. } => fitted.as_ref(),
        _ => None,
    }
}

/// The outputs that say which slice is served, and those that the steps of any carry into the bundle.
pub(crate) fn packed<'p>(plan: &'p Plan, servings: &'p Servings) -> Vec<&'p OutputRef> {
    let steps = servings.all().into_iter().flat_map(|serving| &serving.steps);
    servings.choices().into_iter().chain(steps.flat_map(|step| step.packed(plan))).collect()
}

/// What became of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    /// The file stood there already.
    Stood,
    /// The file was written.
    Written,
}

/// Makes the file at `destination` the one in `files`, unless it is already.
pub(crate) fn copy_out(destination: Destination<'_>, files: &Files) -> Result<Copied, NodeError> {
    let path = destination.path;
    let bytes = files.bytes(destination.file).ok_or_else(|| {
        NodeError::Failed(format!(
            "the kind gave no file `{}` on its port `{}` to copy to `{}`: a fault of the kind",
            destination.file,
            destination.port,
            path.display()
        ))
    })?;
    if path.is_dir() {
        return Err(NodeError::Failed(format!(
            "cannot write `{}`: a folder stands there; name a file, or move the folder away",
            path.display()
        )));
    }
    let now = destination.digest_now().map_err(|error| cannot("read", path, &error))?;
    if now == Some(Digest::of(bytes)) {
        return Ok(Copied::Stood);
    }
    write_whole(path, bytes).map_err(|error| cannot("write", path, &error))?;
    Ok(Copied::Written)
}

fn cannot(verb: &str, path: &Path, error: &std::io::Error) -> NodeError {
    NodeError::Failed(format!("cannot {verb} `{}`: {error}", path.display()))
}

/// Nobody ever sees half a file: it is written beside its place and moved there.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".fuseline-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As a plain `open` would make it; a temporary file is private unless told otherwise.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &Path, bytes: &[u8]) -> Result<Copied, NodeError> {
        let files = Files::new().with("a.bin", bytes.to_vec());
        copy_out(Destination { port: "deployment", file: "a.bin", path }, &files)
    }

    #[test]
    fn a_destination_is_written_once_and_mended_when_it_differs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/a.fuse");
        assert_eq!(check(&path, b"one").unwrap(), Copied::Written);
        assert_eq!(check(&path, b"one").unwrap(), Copied::Stood);
        std::fs::write(&path, b"spoilt").unwrap();
        assert_eq!(check(&path, b"one").unwrap(), Copied::Written);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        let left = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "no temporary file stays behind");
    }

    #[test]
    fn a_folder_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = check(folder.path(), b"one").unwrap_err().to_string();
        assert!(error.contains("a folder stands there"), "{error}");
    }
}
