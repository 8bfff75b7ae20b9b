//! The kind `deploy.bundle`: a trained model with all that its inputs are computed by, as one file.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::{ArtifactKind, LogicalType, Serving};
use engine_table::deployment::Deployment;
use engine_table::{
    Arity, ColumnType, Context, Describe, Destination, Files, InputPort, InputTypes, ModelType, NodeError, OutputPort,
    PathOption, PortType, Problem, ReduceInputs, Reduction, ServingRequest, ServingSlice, ServingStep, Sink, SinkType,
    StepArtifact,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::trained::TrainedModel;
use crate::predict::table::{Table, TableOptions, written_columns};

/// Packs a model with everything its inputs are computed by into one file that can be asked and served.
///
/// `request` names the node whose feature columns a client sends. Every node between it and the model is packed with
/// its options and what it has learnt; target, split and weight columns are never asked for, and no row of the data is
/// packed. What is packed is what was trained: the same rows give the same predictions, bit for bit.
///
/// The answer to a row has the columns of `predict.table`: `prediction`, and for a model of classes `confidence` and
/// one `probability_CLASS` for each class (with more than 64 classes only the first two); `no_evidence` where a row may
/// lack everything the model reads.
///
/// `fuseline predict BUNDLE rows.csv` and `fuseline serve BUNDLE` use the file. It is a tar file of JSON and
/// safetensors with no code in it, and is written anew whenever it is missing or was changed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleOptions {
    /// The node whose feature columns a client sends.
    #[schemars(length(min = 1))]
    pub request: String,

    /// The file to write; a relative path starts from the folder of the pipeline's file.
    pub out: PathOption,
}

const MODEL: &str = "model";
const DEPLOYMENT: &str = "deployment";

/// The bundle in the artifact.
const FILE: &str = "bundle.tar";

/// The most classes that each have a column of their own in an answer.
const MOST_CLASSES: usize = 64;

/// The name of the step that asks the model.
const PREDICT: &str = "predict";

/// The kind `deploy.bundle`.
pub struct Bundle {
    options: BundleOptions,
}

impl Describe for Bundle {
    const KIND: &'static str = "deploy.bundle";
    const VERSION: u32 = 2;
    const EXAMPLE: &'static str = r"fuseline: 1
name: risk
nodes:
  loans:
    uses: ingest.csv
    with: {path: loans.csv, schema: {age: int, amount: float, default: bool}, roles: {default: target}}
  split: {uses: split.random, with: {shares: {train: 0.8, test: 0.2}}, in: loans}
  scaled: {uses: encode.standardize, with: {columns: [age, amount]}, in: split}
  risk: {uses: train.logistic, with: {target: default, columns: [age, amount]}, in: scaled}
  bundle: {uses: deploy.bundle, with: {request: loans, out: risk.fuse}, in: risk}
";
    const SERVING: Serving = Serving::Refuse;
    type Options = BundleOptions;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new(MODEL, ArtifactKind::Model, Arity::One)]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Deployment)]
    }

    fn new(options: BundleOptions) -> Result<Self, Vec<Problem>> {
        Ok(Bundle { options })
    }
}

impl Sink for Bundle {
    fn infer(&self, _: &InputTypes) -> Result<SinkType, Vec<Problem>> {
        let outputs = BTreeMap::from([(DEPLOYMENT.to_owned(), PortType::Deployment)]);
        let serving = ServingRequest { model: MODEL.to_owned(), request: self.options.request.clone() };
        Ok(SinkType { reduction: Reduction { reads: Vec::new(), outputs }, serving: Some(serving) })
    }

    fn run(&self, inputs: &ReduceInputs, context: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let slice = context.serving.as_deref().ok_or_else(|| {
            NodeError::Failed("the engine did not say how the model's inputs are computed".to_owned())
        })?;
        let deployment = deployment(slice, inputs.types.model(MODEL), &inputs.artifact(MODEL)?.files)?;
        Ok(BTreeMap::from([(DEPLOYMENT.to_owned(), Files::new().with(FILE, deployment.encode()))]))
    }

    fn destination(&self) -> Option<Destination<'_>> {
        Some(Destination { port: DEPLOYMENT, file: FILE, path: self.options.out.as_path() })
    }
}

/// The deployment of a model whose inputs are computed by `slice`.
fn deployment(slice: &ServingSlice, model: &ModelType, files: &Arc<Files>) -> Result<Deployment, NodeError> {
    let trained = TrainedModel::load(files)?;
    let classes = trained.classes().map_or(&[][..], |classes| classes.names());
    let classes = if classes.len() <= MOST_CLASSES { classes.to_vec() } else { Vec::new() };
    let values = values_of(&classes, &model.target.logical);
    let options = TableOptions { classes, ..TableOptions::default() };
    let response: Vec<ColumnType> =
        written_columns(&options, model).map_err(|problem| NodeError::Failed(problem.message))?;
    let predict = ServingStep {
        node: PREDICT.to_owned(),
        kind: Table::KIND.to_owned(),
        version: Table::VERSION.to_string(),
        options: serde_json::to_value(&options).map_err(NodeError::failed)?,
        inputs: slice.model_inputs.clone(),
        fitted: None,
        artifacts: vec![StepArtifact {
            port: MODEL.to_owned(),
            kind: PortType::Model(model.clone()),
            files: files.clone(),
        }],
        tables: Vec::new(),
    };
    let made_by = concat!("fuseline ", env!("CARGO_PKG_VERSION"));
    let values = values.map(|values| (options.as_column, values)).into_iter().collect();
    Ok(Deployment { values, ..Deployment::new(slice, predict, response, made_by) })
}

/// The classes as JSON values of the target's type; nothing if they are not listed.
fn values_of(classes: &[String], logical: &LogicalType) -> Option<Vec<Value>> {
    let value = |class: &String| match logical {
        LogicalType::Bool | LogicalType::Int => serde_json::from_str(class).ok(),
        LogicalType::Category | LogicalType::Text => Some(Value::from(class.as_str())),
        _ => None,
    };
    (!classes.is_empty()).then(|| classes.iter().map(value).collect()).flatten()
}

#[cfg(test)]
pub(crate) mod tests {
    use engine_core::Role;
    use engine_table::deployment::Runner;
    use engine_table::{Kind, NodeError, Prediction, Read, Registry, RowFilter, StepInput, TableType, concatenated};
    use polars::prelude::{DataFrame, df};

    use super::*;
    use crate::model::trained::Predicted;
    use crate::model::trained::tests::{frame, multimodal, table};

    /// The deployment of a model that reads columns of a request as they come.
    fn deployed(model: &ModelType, files: &Arc<Files>, request: Vec<ColumnType>) -> Deployment {
        let slice = ServingSlice {
            request_node: "rows".into(),
            request,
            steps: Vec::new(),
            model_inputs: vec![StepInput::Request],
            model_reads: Read::new("model", RowFilter::All, &model.reads),
            blobs: BTreeMap::new(),
        };
        deployment(&slice, model, files).unwrap()
    }

    /// What a deployment of the model, written and read, answers to rows that come `batch` at a time.
    pub(crate) fn answers(
        model: &ModelType,
        files: &Arc<Files>,
        table: &TableType,
        rows: &DataFrame,
        batch: usize,
    ) -> DataFrame {
        let request: Vec<ColumnType> = model.reads.iter().map(|name| table.column(name).unwrap().clone()).collect();
        let read = Deployment::decode(&deployed(model, files, request).encode()).unwrap();
        let runner = Runner::new(&read, &Registry::new([Kind::row_local::<Table>()])).unwrap();
        let rows = rows.select(model.reads.iter().map(String::as_str)).unwrap();
        let parts = (0..rows.height()).step_by(batch);
        concatenated(parts.map(|start| runner.predict(&rows.slice(start as i64, batch)).unwrap()).collect()).unwrap()
    }

    fn model() -> (ModelType, Arc<Files>) {
        let files = Arc::new(multimodal(1).to_files().unwrap());
        let target = ColumnType::new("default", LogicalType::Category).with_role(Role::Target);
        (ModelType::new(Prediction::Class, target, ["age", "job", "amount"].map(str::to_owned).to_vec()), files)
    }

    fn bundled() -> Deployment {
        let (model, files) = model();
        let request: Vec<ColumnType> = vec![
            ColumnType::new("age", LogicalType::Int),
            ColumnType::new("job", LogicalType::Category).with_nullable(true),
            ColumnType::new("amount", LogicalType::Float),
        ];
        deployed(&model, &files, request)
    }

    fn ask(deployment: Deployment, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let registry = Registry::new([Kind::row_local::<Table>()]);
        Runner::new(&deployment, &registry).map_err(NodeError::failed)?.predict(rows)
    }

    #[test]
    fn a_bundle_that_was_written_and_read_predicts_as_the_model_bit_for_bit() {
        let (model, files) = model();
        let rows = frame(40);
        let Predicted::Probabilities(expected) = multimodal(1).predict(&rows).unwrap() else {
            panic!("the model predicts classes")
        };
        for batch in [1, 7, 40] {
            let found = answers(&model, &files, &table(), &rows, batch);
            let names: Vec<&str> = found.get_column_names().iter().map(|name| name.as_str()).collect();
            assert_eq!(names, ["prediction", "confidence", "probability_no", "probability_yes"]);
            let yes: Vec<f64> = found.column("probability_yes").unwrap().f64().unwrap().iter().flatten().collect();
            assert_eq!(yes, expected.iter().skip(1).step_by(2).copied().collect::<Vec<_>>(), "batches of {batch}");
        }
    }

    #[test]
    fn equal_models_give_equal_bundles() {
        assert_eq!(bundled().encode(), bundled().encode());
    }

    #[test]
    fn a_row_that_lacks_a_number_is_named() {
        let rows = df!("age" => [1_i64], "job" => ["a"], "amount" => [None::<f64>]).unwrap();
        assert!(ask(bundled(), &rows).unwrap_err().to_string().contains("`amount`"));
    }
}
