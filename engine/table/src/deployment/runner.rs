//! A deployment made ready: every step bound, typed and prepared once, then applied to request after request.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use engine_core::{ArtifactKind, LogicalType, Role};
use polars::prelude::DataFrame;
use polars_io::SerReader;
use polars_io::ipc::IpcReader;
use serde_json::Value;

use super::{Deployment, DeploymentError, Lent, Media};
use crate::{
    Blobs, Change, ColumnType, InputTypes, Kind, MergeConflict, NamedFiles, Node, NodeError, PortInput, PortType,
    PortTypes, Problem, ReduceInputs, Registry, RowFilter, RowFunction, RowSet, ServingStep, StepInput, StepTable,
    TableType, check_frame,
};

/// Where the request's rows stand among the tables; step n's table is the n+1st.
const REQUEST: usize = 0;

/// A step that is ready.
struct ReadyStep {
    node: String,
    /// The tables merged into its input: places, and for each column the table it is taken from.
    columns: Vec<(usize, String)>,
    change: Change,
    function: Box<dyn RowFunction>,
}

/// A deployment that can be asked. Predictions do not depend on the rows beside them; it may be asked by several threads.
pub struct Runner {
    request: Vec<ColumnType>,
    response: Vec<ColumnType>,
    values: BTreeMap<String, Vec<Value>>,
    steps: Vec<ReadyStep>,
    media: Arc<Media>,
}

impl Runner {
    /// Binds the steps of `deployment` to the kinds of this program.
    ///
    /// # Errors
    /// If a kind is missing or has another version, or a step does not fit what is above it.
    pub fn new(deployment: &Deployment, registry: &Registry) -> Result<Runner, DeploymentError> {
        let row_set = RowSet("request".to_owned());
        let columns = deployment.request.iter().map(|column| ColumnType { role: Role::Feature, ..column.clone() });
        let mut tables = vec![TableType { columns: columns.collect(), row_set }];
        let mut steps = Vec::with_capacity(deployment.steps.len());
        let media = Arc::new(Media::new(deployment.blobs.clone()));
        for step in &deployment.steps {
            let (ready, table) = ready_step(step, &tables, registry, &media)?;
            steps.push(ready);
            tables.push(table);
        }
        if steps.is_empty() {
            return Err(DeploymentError::Damaged("it has no step".to_owned()));
        }
        Ok(Runner {
            request: deployment.request.clone(),
            response: deployment.response.clone(),
            values: deployment.values.clone(),
            steps,
            media,
        })
    }

    /// What a client sends.
    pub fn request(&self) -> &[ColumnType] {
        &self.request
    }

    /// What comes back.
    pub fn response(&self) -> &[ColumnType] {
        &self.response
    }

    /// For columns that come back and have few and known values, these.
    pub fn values(&self) -> &BTreeMap<String, Vec<Value>> {
        &self.values
    }

    /// Keeps an image or sound that rows to be predicted name, by the digest of what is given back, until that is dropped.
    pub fn lend(&self, bytes: impl Into<Arc<[u8]>>) -> Lent {
        self.media.lend(bytes.into())
    }

    /// The predictions for `rows`, which have the columns of [`Runner::request`] in that order: row i for row i.
    ///
    /// # Errors
    /// If a column is missing, has another type or a gap it may not have, or a value does not allow a prediction.
    pub fn predict(&self, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        check_frame(rows, &self.request)?;
        let mut tables: Vec<DataFrame> = Vec::with_capacity(self.steps.len() + 1);
        tables.push(rows.clone());
        for step in &self.steps {
            let output = step.apply(&tables).map_err(|error| match error {
                NodeError::Failed(message) => NodeError::Failed(format!("`{}`: {message}", step.node)),
                other => other,
            })?;
            tables.push(output);
        }
        let last = tables.pop().expect("a runner has a step");
        last.select(self.response.iter().map(|column| column.name.as_str())).map_err(NodeError::failed)
    }
}

impl ReadyStep {
    /// The table after the step, from those before it.
    fn apply(&self, tables: &[DataFrame]) -> Result<DataFrame, NodeError> {
        let height = tables[REQUEST].height();
        let columns: Result<Vec<_>, _> =
            self.columns.iter().map(|(table, name)| tables[*table].column(name).cloned()).collect();
        let merged = DataFrame::new(height, columns.map_err(NodeError::failed)?).map_err(NodeError::failed)?;
        let read = merged.select(self.change.reads.iter().map(String::as_str)).map_err(NodeError::failed)?;
        let written = self.function.apply(&read)?;
        let mut output = merged.drop_many(self.change.drops.iter().map(String::as_str));
        for rename in &self.change.renames {
            output.rename(&rename.from, rename.to.as_str().into()).map_err(NodeError::failed)?;
        }
        for column in written.into_columns() {
            output.with_column(column).map_err(NodeError::failed)?;
        }
        Ok(output)
    }
}

fn ready_step(
    step: &ServingStep,
    tables: &[TableType],
    registry: &Registry,
    media: &Arc<Media>,
) -> Result<(ReadyStep, TableType), DeploymentError> {
    let failed = |reason: String| DeploymentError::Step { node: step.node.clone(), reason };
    let kind = kind_of(step, registry)?;
    let Value::Object(options) = &step.options else {
        return Err(failed("its options are no map".to_owned()));
    };
    let bound = kind.bind(options).map_err(|problems| failed(in_words(&problems)))?;
    let places = places_of(step, tables.len()).map_err(failed)?;
    let merged = TableType::merge(places.iter().map(|place| &tables[*place])).map_err(|conflict| {
        failed(match conflict {
            MergeConflict::Column { name, first, other, .. } => {
                format!("`{name}` comes from both `{first}` and `{other}`")
            }
            MergeConflict::RowSet { .. } => "its tables have different rows".to_owned(),
        })
    })?;
    let (change, function) = match &bound.node {
        Node::FitApply(node) => {
            let change = node.infer(&merged).map_err(|problems| failed(in_words(&problems)))?;
            let fitted = step.fitted.as_ref().ok_or_else(|| failed("its fitted values are missing".to_owned()))?;
            let function = node.clone().prepare(fitted, &change).map_err(|error| failed(error.to_string()))?;
            (change, function)
        }
        Node::RowLocal(node) => {
            let types = side_types(step, kind, &merged);
            let change = node.infer(&types).map_err(|problems| failed(in_words(&problems)))?;
            let side = side_inputs(step, types, &change, media).map_err(failed)?;
            (change, node.prepare(&side).map_err(|error| failed(error.to_string()))?)
        }
        _ => return Err(failed(format!("`{}` does not work row by row", step.kind))),
    };
    let columns = merged
        .columns
        .iter()
        .filter_map(|column| {
            let has_version = |place: &&usize| {
                tables[**place].column(&column.name).is_some_and(|other| other.origin == column.origin)
            };
            places.iter().find(has_version).map(|place| (*place, column.name.clone()))
        })
        .collect();
    let output = change.output(&merged, &step.node);
    Ok((ReadyStep { node: step.node.clone(), columns, change, function }, output))
}

fn kind_of<'r>(step: &ServingStep, registry: &'r Registry) -> Result<&'r Arc<Kind>, DeploymentError> {
    let found = registry.kind(&step.kind);
    match found {
        Some(kind) if kind.version == step.version => Ok(kind),
        _ => Err(DeploymentError::Kind {
            node: step.node.clone(),
            kind: step.kind.clone(),
            version: step.version.clone(),
            found: found.map_or_else(|| "none".to_owned(), |kind| format!("version {}", kind.version)),
        }),
    }
}

/// The places of a step's input tables: only what is above it.
fn places_of(step: &ServingStep, above: usize) -> Result<Vec<usize>, String> {
    step.inputs
        .iter()
        .map(|input| match input {
            StepInput::Request => Ok(REQUEST),
            StepInput::Step(place) if place + 1 < above => Ok(place + 1),
            StepInput::Step(place) => Err(format!("it reads step {place}, which is not above it")),
        })
        .collect()
}

/// The types on the ports of a step that changes `table`.
fn side_types(step: &ServingStep, kind: &Kind, table: &TableType) -> InputTypes {
    let mut types = InputTypes::default();
    for artifact in &step.artifacts {
        // What a model read in training it reads here; the table behind it is the step's own.
        let behind =
            matches!(artifact.kind, PortType::Model(_) | PortType::Encoder(_)).then(|| Arc::new(table.clone()));
        types.0.insert(artifact.port.clone(), PortTypes { artifacts: vec![artifact.kind.clone()], table: behind });
    }
    let mut bind = |port: &str, table: &TableType| {
        let table = Arc::new(table.clone());
        let bound = PortTypes { artifacts: vec![PortType::Table(table.clone())], table: Some(table) };
        types.0.insert(port.to_owned(), bound);
    };
    for side in &step.tables {
        bind(&side.port, &TableType { columns: side.columns.clone(), row_set: RowSet(side.port.clone()) });
    }
    // The changed table is the one on the first table port.
    if let Some(port) = kind.inputs.iter().find(|port| port.takes == ArtifactKind::Table) {
        bind(&port.name, table);
    }
    types
}

/// What a step is handed besides the rows of a request.
fn side_inputs(
    step: &ServingStep,
    types: InputTypes,
    change: &Change,
    media: &Arc<Media>,
) -> Result<ReduceInputs, String> {
    let mut ports: BTreeMap<String, PortInput> = BTreeMap::new();
    for artifact in &step.artifacts {
        let files = NamedFiles { node: step.node.clone(), files: artifact.files.clone() };
        ports.entry(artifact.port.clone()).or_default().artifacts.push(files);
    }
    for read in &change.side_reads {
        let table = step.tables.iter().find(|table| table.port == read.port && read.rows == RowFilter::All);
        let table = table.ok_or_else(|| format!("the table on its port `{}` is missing", read.port))?;
        let rows = frozen_rows(table, media)
            .and_then(|rows| rows.select(read.columns.iter().map(String::as_str)).map_err(|error| error.to_string()));
        let rows = rows.map_err(|reason| format!("the table on its port `{}` cannot be read: {reason}", read.port))?;
        ports.entry(read.port.clone()).or_default().rows.insert(read.rows, rows);
    }
    let blobs: Arc<dyn Blobs> = media.clone();
    Ok(ReduceInputs { blobs, ..ReduceInputs::new(types, ports) })
}

/// The rows of a frozen table, each of whose pictures and sounds was packed with it.
fn frozen_rows(table: &StepTable, media: &Media) -> Result<DataFrame, String> {
    let in_words = |error: &dyn std::fmt::Display| error.to_string();
    let mut rows = IpcReader::new(Cursor::new(&*table.rows)).finish().map_err(|error| in_words(&error))?;
    rows.rechunk_mut();
    check_frame(&rows, &table.columns).map_err(|error| in_words(&error))?;
    for column in table.columns.iter().filter(|column| is_media(&column.logical)) {
        let cells = rows.column(&column.name).and_then(|cells| cells.str()).map_err(|error| in_words(&error))?;
        let is_packed = |cell: &str| cell.parse().is_ok_and(|digest| media.is_packed(&digest));
        if let Some(stray) = cells.iter().flatten().find(|cell| !is_packed(cell)) {
            return Err(format!("`{stray}` of column `{}` is not among the media of the bundle", column.name));
        }
    }
    Ok(rows)
}

fn is_media(logical: &LogicalType) -> bool {
    matches!(logical, LogicalType::Image | LogicalType::Audio)
}

fn in_words(problems: &[Problem]) -> String {
    problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use engine_core::{LogicalType, Serving};
    use polars::prelude::*;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;
    use crate::{
        Arity, Context, Describe, Files, FitApply, InputPort, RowLocal, StepArtifact, TrainRows, Written, concatenated,
    };

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct NoOptions {}

    /// Subtracts the mean of `x` in place.
    struct Center;

    impl Describe for Center {
        const KIND: &'static str = "test.center";
        const VERSION: u32 = 3;
        const EXAMPLE: &'static str = "";
        const SERVING: Serving = Serving::Same;
        type Options = NoOptions;

        fn new(_: NoOptions) -> Result<Center, Vec<Problem>> {
            Ok(Center)
        }
    }

    impl FitApply for Center {
        type Fitted = f64;

        fn infer(&self, _: &TableType) -> Result<Change, Vec<Problem>> {
            Ok(Change::in_place([ColumnType::new("x", LogicalType::Float)]))
        }

        fn fit(&self, train: TrainRows<'_>, _: &Context) -> Result<f64, NodeError> {
            let cells = train.frame().column("x").map_err(NodeError::failed)?;
            Ok(cells.f64().map_err(NodeError::failed)?.mean().unwrap_or(0.0))
        }

        fn apply(&self, mean: &f64, rows: &DataFrame) -> Result<DataFrame, NodeError> {
            let cells = rows.column("x").and_then(|cells| cells.f64()).map_err(NodeError::failed)?;
            let centred = (cells - *mean).with_name("x".into());
            DataFrame::new(rows.height(), vec![centred.into_column()]).map_err(NodeError::failed)
        }
    }

    /// Writes `x` times the model's weight, plus `y`.
    struct Ask;

    impl Describe for Ask {
        const KIND: &'static str = "test.ask";
        const VERSION: u32 = 1;
        const EXAMPLE: &'static str = "";
        const SERVING: Serving = Serving::Same;
        type Options = NoOptions;

        fn inputs() -> Vec<InputPort> {
            vec![
                InputPort::new("table", ArtifactKind::Table, Arity::One),
                InputPort::new("model", ArtifactKind::Fitted, Arity::One),
            ]
        }

        fn new(_: NoOptions) -> Result<Ask, Vec<Problem>> {
            Ok(Ask)
        }
    }

    impl RowLocal for Ask {
        fn infer(&self, _: &InputTypes) -> Result<Change, Vec<Problem>> {
            let score = Written::new(ColumnType::new("score", LogicalType::Float), ["x", "y"]);
            Ok(Change { reads: vec!["x".into(), "y".into()], writes: vec![score], ..Change::default() })
        }

        fn prepare(&self, side: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
            let weight: f64 = side.artifact("model")?.files.read_json("weight.json").map_err(NodeError::failed)?;
            Ok(Box::new(move |rows: &DataFrame| {
                let cells = |name: &str| rows.column(name).and_then(|cells| cells.f64()).map_err(NodeError::failed);
                let score = (&(cells("x")? * weight) + cells("y")?).with_name("score".into());
                DataFrame::new(rows.height(), vec![score.into_column()]).map_err(NodeError::failed)
            }))
        }
    }

    fn registry() -> Registry {
        Registry::new([Kind::fit_apply::<Center>(), Kind::row_local::<Ask>()])
    }

    fn rows(count: usize) -> DataFrame {
        let cells = |factor: f64| (0..count).map(|row| row as f64 * factor).collect::<Vec<f64>>();
        df!["x" => cells(0.1), "y" => cells(-0.7)].unwrap()
    }

    fn deployment() -> Deployment {
        let step = |node: &str, kind: &str, version: &str, inputs| ServingStep {
            node: node.into(),
            kind: kind.into(),
            version: version.into(),
            options: json!({}),
            inputs,
            fitted: None,
            artifacts: Vec::new(),
            tables: Vec::new(),
        };
        let weight = Arc::new(Files::json("weight.json", &0.3).unwrap());
        Deployment {
            made_by: "0.1.0".into(),
            request: vec![ColumnType::new("x", LogicalType::Float), ColumnType::new("y", LogicalType::Float)],
            response: vec![ColumnType::new("score", LogicalType::Float)],
            values: BTreeMap::new(),
            steps: vec![
                ServingStep {
                    fitted: Some(Arc::new(Files::json("fitted.json", &4.95).unwrap())),
                    ..step("centred", "test.center", "3", vec![StepInput::Request])
                },
                ServingStep {
                    artifacts: vec![StepArtifact { port: "model".into(), kind: PortType::Fitted, files: weight }],
                    ..step("model", "test.ask", "1", vec![StepInput::Request, StepInput::Step(0)])
                },
            ],
            blobs: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_served_is_what_the_kinds_computed_whatever_the_batch() {
        let all = rows(100);
        // As the engine does it in a run: fit, apply in place, ask the model with the rewritten column.
        let columns = [ColumnType::new("x", LogicalType::Float)];
        let train = all.select(["x"]).unwrap();
        let mean = FitApply::fit(&Center, TrainRows::admit(&train, &columns), &Context::quiet()).unwrap();
        assert!((mean - 4.95).abs() < 1e-9, "the bundle holds the mean that is learnt here, rounded");
        let centred = FitApply::apply(&Center, &4.95, &train).unwrap();
        let x = centred.column("x").unwrap().f64().unwrap();
        let expected = &(x * 0.3) + all.column("y").unwrap().f64().unwrap();

        let decoded = Deployment::decode(&deployment().encode()).unwrap();
        let runner = Runner::new(&decoded, &registry()).unwrap();
        for batch in [1, 2, 3, 7, 64, 100] {
            let answers = (0..100_usize)
                .step_by(batch)
                .map(|start| runner.predict(&all.slice(start as i64, batch)).unwrap())
                .collect();
            let answers = concatenated(answers).unwrap();
            let whole = runner.predict(&all).unwrap();
            assert!(answers.equals(&whole), "batches of {batch}");
        }
        let served = runner.predict(&all).unwrap();
        let bits = |cells: &Float64Chunked| cells.iter().map(|cell| cell.unwrap().to_bits()).collect::<Vec<u64>>();
        assert_eq!(bits(served.column("score").unwrap().f64().unwrap()), bits(&expected));
        assert_eq!(runner.predict(&rows(0)).unwrap().shape(), (0, 1));
    }

    #[test]
    fn a_request_that_does_not_fit_is_named() {
        let runner = Runner::new(&deployment(), &registry()).unwrap();
        let missing = runner.predict(&rows(2).select(["y"]).unwrap()).unwrap_err().to_string();
        assert!(missing.contains("`x`"), "{missing}");
        let wrong = runner.predict(&df!["x" => ["a"], "y" => [1.0]].unwrap()).unwrap_err().to_string();
        assert!(wrong.contains("`x` is declared as float"), "{wrong}");
    }

    #[test]
    fn another_version_of_a_kind_is_refused() {
        let mut other = deployment();
        other.steps[0].version = "2".into();
        let error = Runner::new(&other, &registry()).err().unwrap().to_string();
        assert!(error.contains("`test.center` in version 2") && error.contains("version 3"), "{error}");
        other.steps[0].kind = "test.none".into();
        assert!(Runner::new(&other, &registry()).err().unwrap().to_string().contains("this program has none"));
    }

    #[test]
    fn a_step_reads_only_what_is_above_it() {
        let mut other = deployment();
        other.steps[0].inputs = vec![StepInput::Step(1)];
        assert!(matches!(Runner::new(&other, &registry()), Err(DeploymentError::Step { .. })));
    }
}
