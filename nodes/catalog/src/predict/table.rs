//! The kind `predict.table`: what a model says of each row of a table.

use engine_core::{ArtifactKind, LogicalType, NumericClass, Serving};
use engine_table::{
    Arity, At, Change, ColumnType, Cpus, Describe, InputPort, InputTypes, ModelType, NodeError, OPTION_INVALID,
    Prediction, Problem, ReduceInputs, RowFunction, RowLocal, TableType, Written,
};
use polars::prelude::{Column, DataFrame};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::codes::MODEL_TABLE;
use crate::model::target::Classes;
use crate::model::trained::{Predicted, TrainedModel};
use crate::scores::classification::most_probable;

/// Adds what a model predicts to each row of a table.
///
/// The table must have the columns the model's encoders read in training, as those nodes got them: put it through the
/// same nodes. A row's prediction does not depend on the rows beside it.
///
/// A model of classes writes `prediction`, the most probable class in the type of the target (of equally probable ones
/// the first), and `confidence`, its probability. For each class in `classes` it also writes `probability_CLASS`; in a
/// deployment every class has such a column. A model of numbers writes `prediction`, a float.
///
/// If each of a model's encoders can do without its input, `no_evidence` says which rows lack everything: they are
/// given the shares of the classes, or the mean, of the train rows.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableOptions {
    /// The name of the predicted column.
    #[serde(rename = "as", default = "default_as")]
    #[schemars(length(min = 1))]
    pub as_column: String,

    /// The classes whose probabilities are written, by name, each as a float column `probability_CLASS`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
}

fn default_as() -> String {
    "prediction".to_owned()
}

impl Default for TableOptions {
    fn default() -> Self {
        TableOptions { as_column: default_as(), classes: Vec::new() }
    }
}

const TABLE: &str = "table";
const MODEL: &str = "model";
const CONFIDENCE: &str = "confidence";
const NO_EVIDENCE: &str = "no_evidence";

/// The kind `predict.table`.
pub struct Table {
    options: TableOptions,
}

impl Describe for Table {
    const KIND: &'static str = "predict.table";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = r"fuseline: 1
name: risk
nodes:
  loans:
    uses: ingest.csv
    with: {path: loans.csv, schema: {age: int, amount: float, default: bool}, roles: {default: target}}
  split: {uses: split.random, with: {shares: {train: 0.8, test: 0.2}}, in: loans}
  risk: {uses: train.logistic, with: {target: default, columns: [age, amount]}, in: split}
  applications: {uses: ingest.csv, with: {path: applications.csv, schema: {age: int, amount: float}}}
  scored: {uses: predict.table, with: {classes: ['true']}, in: {table: applications, model: risk}}
";
    const SERVING: Serving = Serving::Same;
    const NUMERICS: NumericClass = NumericClass::Kernel;
    const CPUS: Cpus = Cpus::All;
    type Options = TableOptions;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::new(TABLE, ArtifactKind::Table, Arity::One),
            InputPort::new(MODEL, ArtifactKind::Model, Arity::One),
        ]
    }

    fn new(options: TableOptions) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        for (place, class) in options.classes.iter().enumerate() {
            if options.classes[..place].contains(class) {
                let at = At::Option(format!("/classes/{place}"));
                problems.push(Problem::error(&OPTION_INVALID, at, format!("`{class}` is in `classes` twice")));
            }
        }
        let names = written_names(&options);
        if names.iter().enumerate().any(|(place, name)| names[..place].contains(name)) {
            let message = format!("`{}` is the name of another column this node writes", options.as_column);
            problems.push(Problem::error(&OPTION_INVALID, At::Option("/as".to_owned()), message));
        }
        if problems.is_empty() { Ok(Table { options }) } else { Err(problems) }
    }
}

fn written_names(options: &TableOptions) -> Vec<String> {
    let mut names = vec![options.as_column.clone(), CONFIDENCE.to_owned(), NO_EVIDENCE.to_owned()];
    names.extend(options.classes.iter().map(|class| probability_column(class)));
    names
}

/// The column with the probability of a class.
pub(crate) fn probability_column(class: &str) -> String {
    format!("probability_{class}")
}

/// The columns that are written for a model.
///
/// # Errors
/// If `classes` names classes of a model that has none.
pub(crate) fn written_columns(options: &TableOptions, model: &ModelType) -> Result<Vec<ColumnType>, Problem> {
    let mut columns = predicted_columns(options, model)?;
    if model.may_lack_evidence {
        columns.push(ColumnType::new(NO_EVIDENCE, LogicalType::Bool));
    }
    Ok(columns)
}

fn predicted_columns(options: &TableOptions, model: &ModelType) -> Result<Vec<ColumnType>, Problem> {
    let float = |name: String| ColumnType::new(name, LogicalType::Float);
    if model.prediction == Prediction::Value {
        return match options.classes.first() {
            None => Ok(vec![float(options.as_column.clone())]),
            Some(class) => {
                let message = format!("the model predicts a number, so it has no class `{class}`");
                Err(Problem::error(&OPTION_INVALID, At::Option("/classes".to_owned()), message)
                    .help("leave `classes` out"))
            }
        };
    }
    // A class that was text among texts is one of a few values as a prediction.
    let logical = match &model.target.logical {
        LogicalType::Text => LogicalType::Category,
        logical => logical.clone(),
    };
    let mut columns = vec![ColumnType::new(options.as_column.clone(), logical), float(CONFIDENCE.to_owned())];
    columns.extend(options.classes.iter().map(|class| float(probability_column(class))));
    Ok(columns)
}

impl RowLocal for Table {
    fn infer(&self, inputs: &InputTypes) -> Result<Change, Vec<Problem>> {
        let (table, model) = (inputs.table(TABLE), inputs.model(MODEL));
        let mut problems = mismatches(table, model, inputs.0.get(MODEL).and_then(|port| port.table.as_deref()));
        match written_columns(&self.options, model) {
            Ok(columns) if problems.is_empty() => {
                let writes =
                    columns.into_iter().map(|column| Written::new(column, model.reads.iter().cloned())).collect();
                Ok(Change { reads: model.reads.clone(), writes, ..Change::default() })
            }
            Ok(_) => Err(problems),
            Err(problem) => {
                problems.push(problem);
                Err(problems)
            }
        }
    }

    fn prepare(&self, side: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        let model = TrainedModel::load(&side.artifact(MODEL)?.files)?;
        let predictor = Predictor::new(model, &self.options)?;
        Ok(Box::new(move |rows: &DataFrame| predictor.apply(rows)))
    }
}

/// What keeps the model from reading `table`; `trained_on` is the table behind the model.
fn mismatches(table: &TableType, model: &ModelType, trained_on: Option<&TableType>) -> Vec<Problem> {
    let at = || At::Input(TABLE.to_owned());
    let mut problems = Vec::new();
    for name in &model.reads {
        let Some(column) = table.column(name) else {
            let message = format!("the model reads `{name}`, which the table does not have");
            let problem = Problem::error(&MODEL_TABLE, at(), message).label(format!("no column `{name}`"));
            let way_out = match name.strip_suffix("_present") {
                Some(made) if table.column(made).is_some() => {
                    format!("`{name}` is written where the source of `{made}` may be missing: declare it `nullable`")
                }
                _ => "put the table through the same nodes as the train rows".to_owned(),
            };
            problems.push(problem.help(way_out));
            continue;
        };
        let expected = trained_on.and_then(|trained| trained.column(name));
        if let Some(expected) = expected.filter(|expected| expected.logical != column.logical) {
            let message = format!("`{name}` is {}, and the model was trained on {}", column.logical, expected.logical);
            problems.push(Problem::error(&MODEL_TABLE, at(), message).label(column.logical.to_string()));
        }
        if column.nullable && expected.is_some_and(|expected| !expected.nullable) {
            let message = format!("`{name}` may be missing here, and had no gaps in training");
            problems.push(
                Problem::error(&MODEL_TABLE, at(), message)
                    .label("may be missing")
                    .help("put the table through the same nodes as the train rows, `clean.impute` among them"),
            );
        }
    }
    problems
}

/// A model with the classes whose probabilities are written.
struct Predictor {
    model: TrainedModel,
    as_column: String,
    /// Number and column of each.
    probabilities: Vec<(usize, String)>,
}

impl Predictor {
    fn new(model: TrainedModel, options: &TableOptions) -> Result<Predictor, NodeError> {
        let number = |class: &String| match model.classes().and_then(|classes| classes.number(class)) {
            Some(number) => Ok((number as usize, probability_column(class))),
            None => {
                let classes = model.classes().map(Classes::names).unwrap_or_default();
                let names: Vec<String> = classes.iter().take(20).map(|name| format!("`{name}`")).collect();
                Err(NodeError::Failed(format!(
                    "the model has no class `{class}`; its classes are {}",
                    names.join(", ")
                )))
            }
        };
        let probabilities = options.classes.iter().map(number).collect::<Result<_, _>>()?;
        Ok(Predictor { as_column: options.as_column.clone(), probabilities, model })
    }

    fn apply(&self, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let name = self.as_column.as_str();
        let mut columns = match (self.model.predict(rows)?, self.model.classes()) {
            (Predicted::Probabilities(probabilities), Some(classes)) => {
                self.class_columns(name, &probabilities, classes)
            }
            (Predicted::Values(values) | Predicted::Probabilities(values), _) => vec![Column::new(name.into(), values)],
        };
        let lacking = self.model.columns().without_evidence(rows)?;
        columns.extend(lacking.map(|lacking| Column::new(NO_EVIDENCE.into(), lacking)));
        DataFrame::new(rows.height(), columns).map_err(NodeError::failed)
    }

    fn class_columns(&self, name: &str, probabilities: &[f64], classes: &Classes) -> Vec<Column> {
        let rows = || probabilities.chunks_exact(classes.len());
        let best: Vec<u32> = rows().map(|row| most_probable(row) as u32).collect();
        let confidence: Vec<f64> = rows().zip(&best).map(|(row, &class)| row[class as usize]).collect();
        let mut columns = vec![
            classes.column(name, &self.model.columns().logical, &best),
            Column::new(CONFIDENCE.into(), confidence),
        ];
        for (class, name) in &self.probabilities {
            let values: Vec<f64> = rows().map(|row| row[*class]).collect();
            columns.push(Column::new(name.as_str().into(), values));
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use engine_table::{NamedFiles, PortInput, PortType, PortTypes, RowSet};

    use super::*;
    use crate::model::trained::tests::{frame, multimodal};

    fn model_type() -> ModelType {
        let target = ColumnType::new("default", LogicalType::Category);
        let reads = ["age", "job", "amount"].map(str::to_owned).to_vec();
        ModelType::new(Prediction::Class, target, reads)
    }

    fn table() -> TableType {
        let columns = vec![
            ColumnType::new("age", LogicalType::Int),
            ColumnType::new("job", LogicalType::Category),
            ColumnType::new("amount", LogicalType::Float),
        ];
        TableType { columns, row_set: RowSet("loans".into()) }
    }

    fn infer(options: &str, table: TableType, model: ModelType) -> Result<Change, Vec<Problem>> {
        let mut inputs = InputTypes::of_table(table);
        let trained_on = TableType { row_set: RowSet("train".into()), ..self::table() };
        let port = PortTypes { artifacts: vec![PortType::Model(model)], table: Some(Arc::new(trained_on)) };
        inputs.0.insert(MODEL.to_owned(), port);
        Table::new(serde_json::from_str(options).unwrap())?.infer(&inputs)
    }

    #[test]
    fn what_is_written_is_known_before_a_row_is_read() {
        let written = |options: &str, model: ModelType| -> Vec<(String, LogicalType)> {
            let change = infer(options, table(), model).unwrap();
            change.writes.into_iter().map(|written| (written.column.name, written.column.logical)).collect()
        };
        let [prediction, confidence] =
            [("prediction".to_owned(), LogicalType::Category), ("confidence".to_owned(), LogicalType::Float)];
        assert_eq!(written("{}", model_type()), [prediction.clone(), confidence.clone()]);
        let probability = ("probability_yes".to_owned(), LogicalType::Float);
        assert_eq!(written(r#"{"classes": ["yes"]}"#, model_type()), [prediction, confidence, probability]);
        let number = ModelType { prediction: Prediction::Value, ..model_type() };
        let price = ("price".to_owned(), LogicalType::Float);
        assert_eq!(written(r#"{"as": "price"}"#, number.clone()), std::slice::from_ref(&price));
        let may_lack = ModelType { may_lack_evidence: true, ..number };
        assert_eq!(written(r#"{"as": "price"}"#, may_lack), [price, ("no_evidence".to_owned(), LogicalType::Bool)]);
    }

    #[test]
    fn a_table_that_is_not_as_in_training_is_refused() {
        let mut other = table();
        other.columns[0].logical = LogicalType::Float;
        other.columns[1].name = "work".into();
        other.columns[2].nullable = true;
        let problems = infer("{}", other, model_type()).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.code.name).collect::<Vec<_>>(), ["model.table"; 3]);
        assert!(problems[0].message.contains("`age` is float") && problems[1].message.contains("`job`"));
    }

    #[test]
    fn a_table_whose_media_are_never_missing_is_told_to_say_that_they_may_be() {
        let mut given = table();
        given.columns.push(ColumnType::new("words", LogicalType::Tokens(engine_core::Size::Known(4))));
        let mut model = model_type();
        model.reads.push("words_present".to_owned());
        let problems = infer("{}", given, model).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].help[0].contains("declare it `nullable`"), "{problems:?}");
    }

    #[test]
    fn columns_that_would_collide_are_refused() {
        let code = |options: &str| infer(options, table(), model_type()).unwrap_err()[0].code.name;
        assert_eq!(code(r#"{"as": "confidence"}"#), "option.invalid");
        assert_eq!(code(r#"{"as": "no_evidence"}"#), "option.invalid");
        assert_eq!(code(r#"{"classes": ["yes", "yes"]}"#), "option.invalid");
    }

    fn function(options: &str) -> Result<Box<dyn RowFunction>, NodeError> {
        let files = Arc::new(multimodal(1).to_files().unwrap());
        let artifacts = vec![NamedFiles { node: "risk".into(), files }];
        let port = PortInput { artifacts, rows: BTreeMap::new() };
        let side = ReduceInputs::new(InputTypes::default(), BTreeMap::from([(MODEL.to_owned(), port)]));
        Table::new(serde_json::from_str(options).unwrap()).ok().unwrap().prepare(&side)
    }

    #[test]
    fn the_prediction_is_the_most_probable_class() {
        let rows = frame(30);
        let found = function(r#"{"classes": ["yes", "no"]}"#).unwrap().apply(&rows).unwrap();
        let column = |name: &str| -> Vec<f64> { found.column(name).unwrap().f64().unwrap().iter().flatten().collect() };
        let (yes, no, confidence) = (column("probability_yes"), column("probability_no"), column("confidence"));
        let names = found.column("prediction").unwrap().str().unwrap();
        for (row, name) in names.iter().enumerate() {
            assert_eq!(name, Some(if yes[row] > no[row] { "yes" } else { "no" }));
            assert_eq!(confidence[row], yes[row].max(no[row]));
        }
    }

    #[test]
    fn a_class_the_model_does_not_have_is_named_beside_those_it_has() {
        let error = function(r#"{"classes": ["perhaps"]}"#).err().unwrap().to_string();
        assert_eq!(error, "the model has no class `perhaps`; its classes are `no`, `yes`");
    }
}
