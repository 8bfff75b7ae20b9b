//! A trained model as an artifact, and its predictions for the rows of a table.

use engine_core::LogicalType;
use engine_table::{ColumnType, Files, NodeError};
use nodes_models::{
    Block, Cpu, Design, Inputs, Logistic, Model, ModelFiles, ModelKind, Predictions, Ridge, TableBlock, model_kind,
};
use polars::prelude::DataFrame;
use serde::{Deserialize, Serialize};

use super::preparation::Preparation;
use super::reading::{Content, Reading};
use super::target::Classes;

/// The file beside those of the model itself: how columns become what it reads, and what its outputs mean.
const FILE: &str = "columns.json";

/// The version of that file's format, and the only one that is read.
const FORMAT: u32 = 2;

/// Rows are prepared and predicted so many numbers at a time, to bound the memory.
const CHUNK: usize = 1 << 22;

/// The most rows at a time.
const CHUNK_ROWS: usize = 4096;

/// Why files are no model, or rows cannot be predicted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainedError {
    /// A file of the artifact is absent or damaged.
    #[error("the model cannot be read: {0}; train it again")]
    Unreadable(String),

    /// The files were written by a newer program.
    #[error("the model has format {found}, and this program reads up to {FORMAT}; use a newer one")]
    Newer { found: u64 },

    /// The files were written by an older program.
    #[error("the model has format {found}, and this program reads {FORMAT}; train it again")]
    Older { found: u64 },

    /// The parts of the artifact do not belong together.
    #[error("the model gives {found} numbers a row, but its `{FILE}` says {expected}; train it again")]
    Outputs { expected: usize, found: usize },

    /// The model refused its inputs.
    #[error("the model cannot predict: {0}")]
    Refused(String),
}

impl From<TrainedError> for NodeError {
    fn from(error: TrainedError) -> NodeError {
        NodeError::failed(error)
    }
}

/// How columns become what a model reads, and what its outputs mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelColumns {
    format: u32,
    /// The name of the column it predicts.
    pub(crate) target: String,
    /// The type of that column.
    #[serde(rename = "type")]
    pub(crate) logical: LogicalType,
    /// The classes in the order of the probabilities; `None` for a regression.
    pub(crate) classes: Option<Vec<String>>,
    /// What each encoder reads, in the model's order.
    pub(crate) encoders: Vec<Reading>,
}

impl ModelColumns {
    /// Of a model that predicts `target`, with these classes or none.
    pub(crate) fn new(target: &ColumnType, classes: Option<&Classes>, encoders: Vec<Reading>) -> ModelColumns {
        ModelColumns {
            format: FORMAT,
            target: target.name.clone(),
            logical: target.logical.clone(),
            classes: classes.map(|classes| classes.names().to_vec()),
            encoders,
        }
    }

    /// How many numbers the model gives a row.
    fn outputs(&self) -> usize {
        self.classes.as_ref().map_or(1, Vec::len)
    }

    /// The rows as the model reads them.
    ///
    /// # Errors
    /// If a cell cannot become a number.
    pub(crate) fn inputs(&self, rows: &DataFrame) -> Result<Inputs, NodeError> {
        let blocks = self.encoders.iter().map(|encoder| encoder.block(rows)).collect::<Result<_, _>>()?;
        let present = self.encoders.iter().map(|encoder| encoder.present(rows)).collect::<Result<_, _>>()?;
        Ok(Inputs { rows: rows.height(), blocks, present })
    }

    /// Which rows lack everything the model reads; `None` if every row has something to read.
    ///
    /// # Errors
    /// If a column that says so is absent or has gaps.
    pub(crate) fn without_evidence(&self, rows: &DataFrame) -> Result<Option<Vec<bool>>, NodeError> {
        let mut lacking = vec![true; rows.height()];
        for encoder in &self.encoders {
            let Some(present) = encoder.present(rows)? else { return Ok(None) };
            lacking.iter_mut().zip(present).for_each(|(lacks, present)| *lacks &= !present);
        }
        Ok(Some(lacking))
    }

    /// How many rows lack everything the model reads.
    ///
    /// # Errors
    /// As [`ModelColumns::without_evidence`].
    pub(crate) fn count_without_evidence(&self, rows: &DataFrame) -> Result<usize, NodeError> {
        let lacking = self.without_evidence(rows)?.unwrap_or_default();
        Ok(lacking.into_iter().filter(|lacks| *lacks).count())
    }

    /// How the columns of a linear model become numbers.
    pub(crate) fn linear(&self) -> Option<&Preparation> {
        match &self.encoders[..] {
            [Reading { content: Content::Table(preparation), .. }] => Some(preparation),
            _ => None,
        }
    }

    /// How many rows are read at a time.
    fn chunk(&self) -> usize {
        let numbers: usize = self.encoders.iter().map(Reading::inputs).sum();
        (CHUNK / numbers.max(1)).clamp(1, CHUNK_ROWS)
    }
}

/// The design matrix of a linear model over one prepared block.
///
/// # Errors
/// If the block does not fit the preparation.
pub(crate) fn design(preparation: &Preparation, block: &TableBlock, rows: usize) -> Result<Design, TrainedError> {
    Design::from_table(block, rows, preparation.numbers(), &preparation.codes())
        .map_err(|error| TrainedError::Refused(error.to_string()))
}

/// The learnt part of a trained model.
pub(crate) enum Learner {
    /// Encoders, fusion and head.
    Network(Box<Model<Cpu>>),
    /// Logistic regression over one block.
    Logistic(Logistic),
    /// Ridge regression over one block.
    Ridge(Ridge),
}

/// A trained model. Two loads of equal files predict equal bits, whatever rows are beside a row.
pub(crate) struct TrainedModel {
    columns: ModelColumns,
    classes: Option<Classes>,
    learner: Learner,
}

/// What a model says of some rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Predicted {
    /// The probability of each class, row by row.
    Probabilities(Vec<f64>),
    /// The value of each row.
    Values(Vec<f64>),
}

/// The head of a single modality over some rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// The encoder's node.
    pub(crate) name: String,
    /// As in `text`.
    pub(crate) modality: &'static str,
    /// How many of the rows have the modality; the others are given what is most frequent.
    pub(crate) present: usize,
}

/// What a model says of some rows, and the head of each modality by itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AllPredicted {
    /// The joint prediction.
    pub(crate) joint: Predicted,
    /// Each modality's; none if the model has one encoder, and none of an encoder whose head learnt nothing.
    pub(crate) heads: Vec<(Head, Predicted)>,
}

/// The file that says after how many epochs the model was best.
const EPOCHS_FILE: &str = "epochs.json";

/// The files of a model whose weights are those after `epochs` epochs.
///
/// # Errors
/// If they cannot be written.
pub(crate) fn with_epochs(files: Files, epochs: usize) -> Result<Files, NodeError> {
    Ok(files.with(EPOCHS_FILE, serde_json::to_vec(&epochs).map_err(NodeError::failed)?))
}

/// After how many epochs the model in `files` was best, if it was trained in epochs.
pub(crate) fn epochs_of(files: &Files) -> Option<usize> {
    files.read_json(EPOCHS_FILE).ok()
}

impl TrainedModel {
    /// A model just trained.
    pub(crate) fn new(columns: ModelColumns, learner: Learner) -> TrainedModel {
        let classes = columns.classes.clone().map(Classes::new);
        TrainedModel { columns, classes, learner }
    }

    /// The model in the files of an artifact.
    ///
    /// # Errors
    /// If the files are no model, damaged, or of a newer format.
    pub(crate) fn load(files: &Files) -> Result<TrainedModel, TrainedError> {
        let unreadable = |error: &dyn std::fmt::Display| TrainedError::Unreadable(error.to_string());
        let value: serde_json::Value = files.read_json(FILE).map_err(|error| unreadable(&error))?;
        match value["format"].as_u64() {
            Some(found) if found > u64::from(FORMAT) => return Err(TrainedError::Newer { found }),
            Some(found) if found < u64::from(FORMAT) => return Err(TrainedError::Older { found }),
            _ => {}
        }
        let columns: ModelColumns = serde_json::from_value(value).map_err(|error| unreadable(&error))?;
        let others = files.iter().filter(|(name, _)| *name != FILE && *name != EPOCHS_FILE);
        let files: ModelFiles = others.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect();
        let learner = match model_kind(&files).map_err(|error| unreadable(&error))? {
            ModelKind::Multimodal => {
                let model = Model::from_files(&Cpu::default(), &files).map_err(|error| unreadable(&error))?;
                Learner::Network(Box::new(model))
            }
            ModelKind::Logistic => Learner::Logistic(Logistic::from_files(&files).map_err(|error| unreadable(&error))?),
            ModelKind::Ridge => Learner::Ridge(Ridge::from_files(&files).map_err(|error| unreadable(&error))?),
        };
        Ok(TrainedModel::new(columns, learner))
    }

    /// The model as the files of an artifact; equal models give equal bytes.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn to_files(&self) -> Result<Files, NodeError> {
        let files = match &self.learner {
            Learner::Network(model) => model.to_files().map_err(NodeError::failed)?,
            Learner::Logistic(model) => model.to_files().map_err(NodeError::failed)?,
            Learner::Ridge(model) => model.to_files().map_err(NodeError::failed)?,
        };
        let artifact = Files::json(FILE, &self.columns).map_err(NodeError::failed)?;
        Ok(files.into_iter().fold(artifact, |artifact, (name, bytes)| artifact.with(name, bytes)))
    }

    /// How columns become what it reads, and what its outputs mean.
    pub(crate) fn columns(&self) -> &ModelColumns {
        &self.columns
    }

    /// The classes it knows; `None` for a regression.
    pub(crate) fn classes(&self) -> Option<&Classes> {
        self.classes.as_ref()
    }

    /// What it says of `rows`, which hold at least the columns it reads. Row i of the result depends on row i only.
    ///
    /// # Errors
    /// If a cell cannot become a number, naming column and row.
    pub(crate) fn predict(&self, rows: &DataFrame) -> Result<Predicted, NodeError> {
        let mut values = Vec::with_capacity(rows.height() * self.columns.outputs());
        self.in_chunks(rows, |inputs| {
            values.extend(self.checked(self.joint(inputs)?)?);
            Ok(())
        })?;
        Ok(self.meaning(values))
    }

    /// What it says of `rows`, and what each modality says of them by itself. Row i of each result depends on row i
    /// only.
    ///
    /// # Errors
    /// As [`TrainedModel::predict`].
    pub(crate) fn predict_all(&self, rows: &DataFrame) -> Result<AllPredicted, NodeError> {
        let Learner::Network(model) = &self.learner else {
            return Ok(AllPredicted { joint: self.predict(rows)?, heads: Vec::new() });
        };
        let encoders = &self.columns.encoders;
        let mut joint = Vec::new();
        let mut heads: Vec<(Vec<f64>, usize)> = vec![(Vec::new(), 0); encoders.len()];
        self.in_chunks(rows, |inputs| {
            let (predictions, single) = model.predict_all(inputs).map_err(|error| refused(&error))?;
            joint.extend(self.checked(predictions)?);
            let masks = inputs.present.iter().map(Option::as_deref);
            for (((values, present), head), mask) in heads.iter_mut().zip(single).zip(masks) {
                values.extend(self.checked(head.predictions)?);
                *present += mask.map_or(inputs.rows, |mask| mask.iter().filter(|is| **is).count());
            }
            Ok(())
        })?;
        let own = encoders.iter().zip(heads).filter(|(encoder, _)| encoder.own_head);
        let heads = own.map(|(encoder, (values, present))| {
            let head = Head { name: encoder.name.clone(), modality: encoder.modality(), present };
            (head, self.meaning(values))
        });
        Ok(AllPredicted { joint: self.meaning(joint), heads: heads.collect() })
    }

    fn in_chunks(
        &self,
        rows: &DataFrame,
        mut each: impl FnMut(&Inputs) -> Result<(), TrainedError>,
    ) -> Result<(), NodeError> {
        let chunk = self.columns.chunk();
        for start in (0..rows.height()).step_by(chunk) {
            let inputs = self.columns.inputs(&rows.slice(start as i64, chunk));
            let done = inputs.and_then(|inputs| each(&inputs).map_err(NodeError::from));
            done.map_err(|error| in_rows(error, start))?;
        }
        Ok(())
    }

    fn meaning(&self, values: Vec<f64>) -> Predicted {
        if self.classes.is_some() { Predicted::Probabilities(values) } else { Predicted::Values(values) }
    }

    fn joint(&self, inputs: &Inputs) -> Result<Predictions, TrainedError> {
        Ok(match &self.learner {
            Learner::Network(model) => model.predict(inputs).map_err(|error| refused(&error))?,
            Learner::Logistic(model) => model.predict(&self.design(inputs)?).map_err(|error| refused(&error))?,
            Learner::Ridge(model) => model.predict(&self.design(inputs)?).map_err(|error| refused(&error))?,
        })
    }

    fn checked(&self, predictions: Predictions) -> Result<Vec<f64>, TrainedError> {
        let (expected, found) = (self.columns.outputs(), predictions.columns);
        if expected == found { Ok(predictions.values) } else { Err(TrainedError::Outputs { expected, found }) }
    }

    fn design(&self, inputs: &Inputs) -> Result<Design, TrainedError> {
        match (self.columns.linear(), inputs.blocks.first()) {
            (Some(preparation), Some(Block::Table(block))) => design(preparation, block, inputs.rows),
            _ => Err(TrainedError::Unreadable(format!("`{FILE}` names nothing that a linear model reads"))),
        }
    }
}

fn refused(error: &dyn std::fmt::Display) -> TrainedError {
    TrainedError::Refused(error.to_string())
}

/// Rows are counted from the first of a chunk; says which chunk it was.
fn in_rows(error: NodeError, start: usize) -> NodeError {
    match error {
        NodeError::Failed(message) if start > 0 => {
            NodeError::Failed(format!("{message} (rows counted from row {start})"))
        }
        error => error,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use engine_core::{Part, Role, Seed};
    use engine_table::{
        Columns, Context, Describe, Encoder, EncoderType, InputTypes, PortInput, PortType, PortTypes, Reduce,
        ReduceInputs, RowFilter, RowSet, TableType,
    };
    use polars::prelude::df;

    use super::*;
    use crate::encode::table::{TableEncoder, TableEncoderOptions};
    use crate::train::logistic::Logistic as LogisticKind;
    use crate::train::multimodal::Multimodal;

    /// Loans whose default follows from age and job, without gaps.
    pub(crate) fn frame(rows: usize) -> DataFrame {
        let age: Vec<i64> = (0..rows).map(|row| (row * 37 % 60) as i64 - 30).collect();
        let job: Vec<&str> = (0..rows).map(|row| ["a", "b", "c"][row * 7 % 3]).collect();
        let amount: Vec<f64> = (0..rows).map(|row| (row * 13 % 17) as f64 / 17.0).collect();
        let default: Vec<&str> =
            age.iter().zip(&job).map(|(age, job)| if *age > 0 || *job == "b" { "yes" } else { "no" }).collect();
        df!("age" => age, "job" => job, "amount" => amount, "default" => default).unwrap()
    }

    /// The columns of [`frame`].
    pub(crate) fn table() -> TableType {
        let columns = vec![
            ColumnType::new("age", LogicalType::Int),
            ColumnType::new("job", LogicalType::Category),
            ColumnType::new("amount", LogicalType::Float),
            ColumnType::new("default", LogicalType::Category).with_role(Role::Target),
        ];
        TableType { columns, row_set: RowSet("loans".into()) }
    }

    /// A table encoder over some of the columns.
    pub(crate) fn encoder(node: &str, columns: &[&str]) -> EncoderType {
        let options: TableEncoderOptions = serde_json::from_str(r#"{"hidden": [16], "dropout": 0.1}"#).unwrap();
        let columns = Columns::Names(columns.iter().map(|name| (*name).to_owned()).collect());
        let kind = TableEncoder::new(TableEncoderOptions { columns: Some(columns), ..options }).ok().unwrap();
        EncoderType { node: node.to_owned(), ..kind.infer(&table()).unwrap() }
    }

    fn inputs(port: &str, artifacts: Vec<PortType>, train: DataFrame, validation: DataFrame) -> ReduceInputs {
        let rows =
            BTreeMap::from([(RowFilter::Part(Part::Train), train), (RowFilter::Part(Part::Validation), validation)]);
        let types =
            InputTypes(BTreeMap::from([(port.to_owned(), PortTypes { artifacts, table: Some(Arc::new(table())) })]));
        let ports = BTreeMap::from([(port.to_owned(), PortInput { artifacts: Vec::new(), rows })]);
        ReduceInputs::new(types, ports)
    }

    fn trained_by(kind: &dyn Reduce, inputs: &ReduceInputs, seed: u64) -> BTreeMap<String, Files> {
        kind.infer(&inputs.types).unwrap();
        kind.run(inputs, &Context { seed: Seed::new(seed), ..Context::quiet() }).unwrap()
    }

    /// What training a network with two encoders gives.
    pub(crate) fn multimodal_files(seed: u64) -> BTreeMap<String, Files> {
        multimodal_files_with(seed, "")
    }

    /// The same, with more options.
    pub(crate) fn multimodal_files_with(seed: u64, more: &str) -> BTreeMap<String, Files> {
        let options = format!(r#"{{"epochs": 5, "batch_size": 16, "learning_rate": 0.01{more}}}"#);
        let kind = Multimodal::new(serde_json::from_str(&options).unwrap()).ok().unwrap();
        let encoders = [encoder("person", &["age", "job"]), encoder("loan", &["amount"])].map(PortType::Encoder);
        trained_by(&kind, &inputs("encoders", encoders.to_vec(), frame(120), frame(150).slice(120, 30)), seed)
    }

    /// A network with two encoders, trained for a few epochs.
    pub(crate) fn multimodal(seed: u64) -> TrainedModel {
        TrainedModel::load(&multimodal_files(seed)["model"]).unwrap()
    }

    fn logistic() -> TrainedModel {
        let kind = LogisticKind::new(serde_json::from_str("{}").unwrap()).ok().unwrap();
        let inputs = inputs("table", vec![PortType::Table(Arc::new(table()))], frame(120), frame(0));
        TrainedModel::load(&trained_by(&kind, &inputs, 0)["model"]).unwrap()
    }

    fn probabilities(model: &TrainedModel, rows: &DataFrame) -> Vec<f64> {
        match model.predict(rows).unwrap() {
            Predicted::Probabilities(values) | Predicted::Values(values) => values,
        }
    }

    #[test]
    fn predictions_are_bit_equal_whatever_the_batch() {
        let rows = frame(255);
        for model in [multimodal(3), logistic()] {
            let whole = probabilities(&model, &rows);
            for batch in [1, 2, 3, 7, 64, 255] {
                let parts =
                    (0..255).step_by(batch).flat_map(|start| probabilities(&model, &rows.slice(start as i64, batch)));
                let bits: Vec<u64> = parts.map(f64::to_bits).collect();
                assert_eq!(bits, whole.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), "batch {batch}");
            }
        }
    }

    #[test]
    fn equal_rows_options_and_seed_give_equal_bytes_and_another_seed_others() {
        assert_eq!(multimodal_files(7), multimodal_files(7));
        assert_ne!(multimodal_files(7)["model"], multimodal_files(8)["model"]);
    }

    #[test]
    fn a_model_comes_back_from_its_files_bit_for_bit() {
        for model in [multimodal(3), logistic()] {
            let again = TrainedModel::load(&model.to_files().unwrap()).unwrap();
            assert_eq!(again.columns(), model.columns());
            assert_eq!(probabilities(&again, &frame(20)), probabilities(&model, &frame(20)));
        }
    }

    #[test]
    fn what_follows_from_the_columns_is_learnt() {
        for model in [multimodal(3), logistic()] {
            let rows = frame(120);
            let classes = model.classes().unwrap();
            let truth = rows.column("default").unwrap().str().unwrap();
            let found = probabilities(&model, &rows);
            let right = truth
                .iter()
                .zip(found.chunks_exact(2))
                .filter(|(truth, row)| truth.and_then(|name| classes.number(name)) == Some(u32::from(row[1] > row[0])));
            // Two thirds of the rows have the commoner class.
            assert!(right.count() >= 96);
        }
    }

    #[test]
    fn damaged_and_newer_files_are_refused() {
        let files = logistic().to_files().unwrap();
        for (format, words) in [(3, "use a newer one"), (1, "train it again")] {
            let other = format!(r#"{{"format": {format}}}"#).into_bytes();
            let error = TrainedModel::load(&files.clone().with(FILE, other)).err().unwrap().to_string();
            assert!(error.contains(&format!("has format {format}")) && error.ends_with(words), "{error}");
        }
        let error = TrainedModel::load(&files.with("model.json", b"{".to_vec())).err().unwrap().to_string();
        assert!(error.starts_with("the model cannot be read"), "{error}");
        assert!(TrainedModel::load(&Files::new()).is_err());
    }

    #[test]
    fn rows_without_a_target_are_left_out_and_one_class_is_not_enough() {
        let kind = LogisticKind::new(serde_json::from_str("{}").unwrap()).ok().unwrap();
        let run = |default: [Option<&str>; 4]| {
            let rows = df!(
                "age" => [1_i64, 2, 3, 4], "job" => ["a", "b", "a", "b"], "amount" => [0.5, 0.1, 0.2, 0.9],
                "default" => default
            );
            let inputs = inputs("table", vec![PortType::Table(Arc::new(table()))], rows.unwrap(), frame(0));
            kind.run(&inputs, &Context::quiet()).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(run([Some("no"), None, Some("yes"), None]), Ok(()));
        let error = run([Some("no"), None, Some("no"), None]).unwrap_err();
        assert_eq!(error, "all 2 train rows have the `default` `no`, so there is nothing to tell apart");
        assert!(run([None; 4]).unwrap_err().starts_with("there is no train row with a value of `default`"));
    }
}
