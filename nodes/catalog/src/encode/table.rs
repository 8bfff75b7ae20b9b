//! The kind `encode.table`: a trainable encoder of numbers and categories.

use engine_core::Serving;
use engine_table::{At, ColumnType, Columns, Describe, Encoder, EncoderType, OPTION_INVALID, Problem, TableType};
use nodes_models::{Activation, TableEncoderOptions as Layers};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::one_column;
use crate::model::declaration::{Declaration, DeclaredColumn, DeclaredEncoder};
use crate::model::preparation;

/// A trainable encoder of table columns: numbers as they are, categories as learnt embeddings, then a perceptron.
///
/// It reads int, float, bool, tensor and category columns. Numbers reach the network as they are, so put
/// `encode.standardize` before it: a network learns badly from columns of very different sizes. A category becomes a
/// vector that is learnt with the rest; a value that the train rows do not have, and a missing one, share the vector of
/// the unknown. Numbers may not be missing: `clean.impute` fills them. Text, images and sound have encoders of their
/// own.
///
/// The node trains nothing by itself: it goes into `encoders` of a training node.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableEncoderOptions {
    /// What it is built of; a multilayer perceptron is all there is.
    #[serde(default)]
    pub architecture: Architecture,

    /// The columns it reads; every feature by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,

    /// The bool column that says in which rows there is anything to read; by default every row has its numbers. A row
    /// that lacks them skips the encoder: a learnt stand-in goes into the fusion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<String>,

    /// The widths of the hidden layers, first to last, 1 to 65536 each; the last is the width of what it gives. An
    /// empty list hands the numbers and embeddings on as they are.
    #[serde(default = "default_hidden")]
    #[schemars(length(max = 64), inner(range(min = 1, max = 65536)))]
    pub hidden: Vec<usize>,

    /// The nonlinearity of the hidden layers.
    #[serde(default)]
    pub activation: Activation,

    /// The share of each hidden layer's outputs that is dropped in training, at least 0 and less than 1.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,

    /// Whether each hidden layer is normalised before its nonlinearity.
    #[serde(default)]
    pub layer_norm: bool,

    /// The width of every category's vector, 1 to 4096; by default 1.6 n^0.56 for n values, at most 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub embedding_width: Option<usize>,
}

/// What a table encoder is built of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Architecture {
    /// A multilayer perceptron over numbers and embeddings.
    #[default]
    Mlp,
}

fn default_hidden() -> Vec<usize> {
    vec![64]
}

/// The kind `encode.table`.
pub struct TableEncoder {
    options: TableEncoderOptions,
}

impl Describe for TableEncoder {
    const KIND: &'static str = "encode.table";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = r"fuseline: 1
name: risk
nodes:
  loans:
    uses: ingest.csv
    with: {path: loans.csv, schema: {age: int, job: category, amount: float, default: bool}, roles: {default: target}}
  split: {uses: split.random, with: {shares: {train: 0.7, validation: 0.15, test: 0.15}}, in: loans}
  scaled: {uses: encode.standardize, with: {columns: [age, amount]}, in: split}
  person: {uses: encode.table, with: {columns: [age, amount, job], hidden: [64, 32], dropout: 0.1}, in: scaled}
  risk: {uses: train.multimodal, with: {target: default}, in: {encoders: [person]}}
  quality: {uses: evaluate.classification, in: risk}
";
    const SERVING: Serving = Serving::Skip;
    type Options = TableEncoderOptions;

    fn new(options: TableEncoderOptions) -> Result<Self, Vec<Problem>> {
        if (0.0..1.0).contains(&options.dropout) {
            return Ok(TableEncoder { options });
        }
        let message = format!("`dropout` is {}, and takes at least 0 and less than 1", options.dropout);
        Err(vec![Problem::error(&OPTION_INVALID, At::Option("/dropout".to_owned()), message)])
    }
}

impl Encoder for TableEncoder {
    fn infer(&self, table: &TableType) -> Result<EncoderType, Vec<Problem>> {
        let present = one_column::present(table, self.options.present.as_deref(), None);
        let columns = selected(self.options.columns.as_ref(), table);
        let (mut columns, present) = match (columns, present) {
            (Ok(columns), Ok(present)) => (columns, present),
            (columns, present) => return Err(columns.err().into_iter().flatten().chain(present.err()).collect()),
        };
        if self.options.columns.is_none() {
            // In every row that is read it says the same.
            columns.retain(|column| present.as_ref() != Some(&column.name));
        }
        let gives = match self.options.hidden.last() {
            Some(width) => format!("vector[{width}]"),
            None => "vector[|features|]".to_owned(),
        };
        let columns = columns.iter().map(DeclaredColumn::new).collect();
        Declaration { present, encoder: DeclaredEncoder::Table { columns, layers: self.options.layers() } }
            .to_encoder("mlp", gives)
            .map_err(|error| vec![Problem::error(&OPTION_INVALID, At::Node, error.to_string())])
    }
}

impl TableEncoderOptions {
    fn layers(&self) -> Layers {
        Layers {
            hidden: self.hidden.clone(),
            activation: self.activation,
            dropout: self.dropout,
            layer_norm: self.layer_norm,
            embedding_width: self.embedding_width,
        }
    }
}

/// The columns a model over table columns reads: those that `columns` matches, or every feature.
///
/// # Errors
/// A problem for every column that cannot become numbers, and if there is none at all.
pub(crate) fn selected(columns: Option<&Columns>, table: &TableType) -> Result<Vec<ColumnType>, Vec<Problem>> {
    let every = Columns::Names(vec!["*".to_owned()]);
    let found = match columns {
        Some(columns) => columns.resolve(table, "/columns")?,
        // Without the option there is no place in it to point at.
        None => every.resolve(table, "/columns").map_err(|problems| {
            problems.into_iter().map(|problem| Problem { at: At::Node, ..problem }).collect::<Vec<_>>()
        })?,
    };
    let at = if columns.is_some() { At::Option("/columns".to_owned()) } else { At::Node };
    let problems: Vec<Problem> =
        found.iter().filter_map(|column| preparation::check(column, at.clone()).err()).collect();
    if problems.is_empty() { Ok(found.into_iter().cloned().collect()) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use engine_core::{LogicalType, Role, Size};
    use engine_table::RowSet;

    use super::*;

    fn table() -> TableType {
        let column = |name: &str, logical| ColumnType::new(name, logical);
        TableType {
            columns: vec![
                column("age", LogicalType::Int),
                column("job", LogicalType::Category).with_nullable(true),
                column("place", LogicalType::Tensor(vec![Size::Symbol("one_hot(place)".into())])),
                column("default", LogicalType::Bool).with_role(Role::Target),
            ],
            row_set: RowSet("loans".into()),
        }
    }

    fn encoder(options: &str) -> Result<TableEncoder, Vec<Problem>> {
        TableEncoder::new(serde_json::from_str(options).unwrap())
    }

    #[test]
    fn it_reads_every_feature_unless_told_otherwise() {
        let reads = |options: &str| encoder(options).unwrap().infer(&table()).unwrap().reads;
        assert_eq!(reads("{}"), ["age", "job", "place"]);
        assert_eq!(reads(r#"{"columns": ["job", "age"]}"#), ["job", "age"]);
        assert_eq!(reads(r#"{"columns": {"type": "tensor"}}"#), ["place"]);
    }

    #[test]
    fn what_it_gives_is_as_wide_as_its_last_layer() {
        let gives = |options: &str| encoder(options).unwrap().infer(&table()).unwrap().gives;
        assert_eq!(gives("{}"), "vector[64]");
        assert_eq!(gives(r#"{"hidden": [32, 16]}"#), "vector[16]");
        assert_eq!(gives(r#"{"hidden": []}"#), "vector[|features|]");
    }

    #[test]
    fn every_column_it_cannot_read_is_a_problem_of_its_own() {
        let mut table = table();
        table.columns.push(ColumnType::new("remark", LogicalType::Text));
        table.columns.push(ColumnType::new("income", LogicalType::Float).with_nullable(true));
        let problems = encoder("{}").unwrap().infer(&table).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.code.name).collect::<Vec<_>>(), ["model.column"; 2]);
        assert!(problems[0].message.contains("`remark`") && problems[1].message.contains("`income`"));
    }

    #[test]
    fn a_dropout_of_one_is_refused() {
        assert_eq!(encoder(r#"{"dropout": 1.0}"#).err().unwrap()[0].code.name, "option.invalid");
    }

    #[test]
    fn the_trainer_gets_back_what_was_declared() {
        let kind = encoder(r#"{"hidden": [8], "dropout": 0.25, "activation": "gelu", "embedding_width": 4}"#).unwrap();
        let declared = Declaration::of(&kind.infer(&table()).unwrap()).unwrap();
        assert_eq!(declared.table_columns()[1], ColumnType::new("job", LogicalType::Category));
        let DeclaredEncoder::Table { layers, .. } = declared.encoder else { panic!("it reads a table") };
        assert_eq!((layers.hidden, layers.embedding_width), (vec![8], Some(4)));
        assert_eq!((layers.activation, layers.dropout), (Activation::Gelu, 0.25));
    }

    #[test]
    fn rows_that_lack_their_numbers_are_said_by_a_column_that_is_no_number_itself() {
        let mut table = table();
        table.columns.push(ColumnType::new("is_known", LogicalType::Bool));
        let encoder = encoder(r#"{"present": "is_known"}"#).unwrap().infer(&table).unwrap();
        assert_eq!(encoder.reads, ["age", "job", "place", "is_known"]);
        let declared = Declaration::of(&encoder).unwrap();
        assert_eq!((declared.present.as_deref(), declared.table_columns().len()), (Some("is_known"), 3));
        let code = |options: &str| self::encoder(options).unwrap().infer(&table).unwrap_err()[0].code.name;
        assert_eq!(code(r#"{"present": "age"}"#), "encode.present");
        assert_eq!(code(r#"{"present": "is_know"}"#), "column.unknown");
    }
}
