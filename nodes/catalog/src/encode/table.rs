//! The kind `encode.table`: a trainable encoder of numbers and categories.

use engine_core::{LogicalType, Serving};
use engine_table::{At, ColumnType, Columns, Describe, Encoder, EncoderType, OPTION_INVALID, Problem, TableType};
use nodes_models::{Activation, TableEncoderConfig, TableEncoderOptions as Layers};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::preparation;

/// A trainable encoder of table columns: numbers as they are, categories as learnt embeddings, then a perceptron.
///
/// It reads int, float, bool, tensor and category columns. Numbers reach the network as they are, so put
/// `encode.standardize` before it: a network learns badly from columns of very different sizes. A category becomes a
/// vector that is learnt with the rest; a value that the train rows do not have, and a missing one, share the vector of
/// the unknown. Numbers may not be missing: `clean.impute` fills them. Text, images and sound have encoders of their own.
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
        let columns = selected(self.options.columns.as_ref(), table)?;
        let declaration = Declaration::new(&columns, &self.options);
        let config = serde_json::to_value(&declaration)
            .map_err(|error| vec![Problem::error(&OPTION_INVALID, At::Node, error.to_string())])?;
        Ok(EncoderType {
            node: String::new(),
            modality: MODALITY.to_owned(),
            architecture: "mlp".to_owned(),
            reads: columns.iter().map(|column| column.name.clone()).collect(),
            gives: self
                .options
                .hidden
                .last()
                .map_or("vector[|features|]".to_owned(), |width| format!("vector[{width}]")),
            config,
        })
    }
}

/// The modality of this encoder, by which a trainer knows how to build it.
pub(crate) const MODALITY: &str = "table";

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

/// Everything a trainer needs to build the encoder: what flows in [`EncoderType::config`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Declaration {
    columns: Vec<DeclaredColumn>,
    layers: Layers,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclaredColumn {
    name: String,
    #[serde(rename = "type")]
    logical: LogicalType,
}

impl Declaration {
    fn new(columns: &[ColumnType], options: &TableEncoderOptions) -> Declaration {
        let declared =
            |column: &ColumnType| DeclaredColumn { name: column.name.clone(), logical: column.logical.clone() };
        let layers = Layers {
            hidden: options.hidden.clone(),
            activation: options.activation,
            dropout: options.dropout,
            layer_norm: options.layer_norm,
            embedding_width: options.embedding_width,
        };
        Declaration { columns: columns.iter().map(declared).collect(), layers }
    }

    /// The columns, in order.
    pub(crate) fn columns(&self) -> Vec<ColumnType> {
        self.columns.iter().map(|column| ColumnType::new(column.name.clone(), column.logical.clone())).collect()
    }

    /// The encoder over so many numbers and these numbers of codes.
    pub(crate) fn config(&self, numeric: usize, categories: Vec<usize>) -> TableEncoderConfig {
        TableEncoderConfig { numeric, categories, options: self.layers.clone() }
    }
}

#[cfg(test)]
mod tests {
    use engine_core::{Role, Size};
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
        let declaration: Declaration = serde_json::from_value(kind.infer(&table()).unwrap().config).unwrap();
        assert_eq!(declaration.columns()[1], ColumnType::new("job", LogicalType::Category));
        let config = declaration.config(3, vec![5]);
        let layers = config.options;
        assert_eq!((config.numeric, layers.hidden, layers.embedding_width), (3, vec![8], Some(4)));
        assert_eq!((layers.activation, layers.dropout), (Activation::Gelu, 0.25));
    }
}
