//! The kind `train.logistic`: logistic regression, the honest rival of every network that classifies rows.

use std::collections::BTreeMap;

use engine_core::{ArtifactKind, MetricValue, NumericClass, Part, Role, Serving};
use engine_table::report::{Bar, BarsSection, ReportPage, Section, Tone};
use engine_table::{
    At, ColumnType, Columns, Context, Cpus, Describe, Files, InputTypes, ModelType, NodeError, OPTION_INVALID,
    OutputPort, PortType, Prediction, Problem, Read, Reduce, ReduceInputs, Reduction, RowFilter, TableType,
};
use nodes_models::{Block, Convergence, Logistic as Fitted, LogisticOptions as Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::multimodal::{ClassWeight, Learnt, learnt_columns};
use crate::encode::table::selected;
use crate::model::preparation::{Preparation, Standardise};
use crate::model::reading::Reading;
use crate::model::rows;
use crate::model::target::{TaskOption, labels, target_of};
use crate::model::trained::{Learner, ModelColumns, TrainedModel, design};

/// Trains a logistic regression: the plain rival that a larger model should beat.
///
/// It reads the columns itself, without encoders: numbers are standardised by the train rows, and every category
/// becomes one column of zeros and ones for each of its values. It is fitted in double precision over all train rows at
/// once, with an L2 penalty on the coefficients. Rows without a target are left out; a column with the role `weight`
/// says how much each row counts. Validation and test rows are not read.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogisticOptions {
    /// The column to predict, of type bool, category, text or int; by default the only one with the role `target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,

    /// The columns it reads; every feature by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,

    /// How freely coefficients may grow, above 0: the inverse strength of the penalty, as in scikit-learn.
    #[serde(default = "default_c")]
    #[schemars(range(min = 0.0))]
    pub c: f64,

    /// How much the rows of each class count.
    #[serde(default)]
    pub class_weight: ClassWeight,

    /// How many steps the minimiser takes at most.
    #[serde(default = "default_max_iterations")]
    #[schemars(range(min = 1))]
    pub max_iterations: usize,
}

fn default_c() -> f64 {
    Settings::default().c
}

fn default_max_iterations() -> usize {
    Settings::default().max_iterations
}

const TABLE: &str = "table";

/// The kind `train.logistic`.
pub struct Logistic {
    options: LogisticOptions,
    settings: Settings,
}

impl Describe for Logistic {
    const KIND: &'static str = "train.logistic";
    const VERSION: u32 = 2;
    const EXAMPLE: &'static str = r"fuseline: 1
name: risk
nodes:
  loans:
    uses: ingest.csv
    with: {path: loans.csv, schema: {age: int, job: category, amount: float, default: bool}, roles: {default: target}}
  split: {uses: split.random, with: {shares: {train: 0.8, test: 0.2}}, in: loans}
  risk: {uses: train.logistic, with: {target: default, columns: [age, job, amount], c: 0.5}, in: split}
  quality: {uses: evaluate.classification, in: risk}
";
    const SERVING: Serving = Serving::Refuse;
    const NUMERICS: NumericClass = NumericClass::Kernel;
    const CPUS: Cpus = Cpus::All;
    type Options = LogisticOptions;

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Model), OutputPort::of(ArtifactKind::Report)]
    }

    fn new(options: LogisticOptions) -> Result<Self, Vec<Problem>> {
        let settings = Settings {
            c: options.c,
            max_iterations: options.max_iterations,
            class_weights: options.class_weight.to_weights(),
            ..Settings::default()
        };
        settings.check().map_err(|error| vec![Problem::error(&OPTION_INVALID, At::Node, error.to_string())])?;
        Ok(Logistic { options, settings })
    }
}

impl Reduce for Logistic {
    fn infer(&self, inputs: &InputTypes) -> Result<Reduction, Vec<Problem>> {
        let table = inputs.table(TABLE);
        let (columns, target) = self.columns_and_target(table)?;
        let reads: Vec<String> = columns.into_iter().map(|column| column.name).collect();
        let learnt = learnt_columns(&reads, &target, table.with_role(Role::Weight).next());
        let model = ModelType::new(Prediction::Class, target, reads);
        Ok(Reduction {
            reads: vec![Read::new(TABLE, RowFilter::Part(Part::Train), learnt)],
            outputs: BTreeMap::from([
                ("model".to_owned(), PortType::Model(model)),
                ("report".to_owned(), PortType::Report),
            ]),
        })
    }

    fn run(&self, inputs: &ReduceInputs, context: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let table = inputs.types.table(TABLE);
        let (columns, target) = self
            .columns_and_target(table)
            .map_err(|problems| NodeError::Failed(problems.into_iter().map(|problem| problem.message).collect()))?;
        let weight = table.with_role(Role::Weight).next();
        let train = Learnt::new(rows::train(inputs, TABLE)?, &target, weight, "train", context)?;
        let (model, fitted, convergence) = self.fit(&columns, &target, &train)?;
        if !convergence.converged {
            context.progress.warning(&format!(
                "the minimum was not reached in {} steps; raise `max_iterations` or lower `c`",
                convergence.iterations
            ));
        }
        Ok(BTreeMap::from([
            ("model".to_owned(), model.to_files()?),
            ("report".to_owned(), page(&target.name, coefficients(&model, &fitted), &convergence).to_files()?),
        ]))
    }
}

impl Logistic {
    fn columns_and_target(&self, table: &TableType) -> Result<(Vec<ColumnType>, ColumnType), Vec<Problem>> {
        let columns = selected(self.options.columns.as_ref(), table);
        let target = target_of(table, self.options.target.as_deref(), TaskOption::Classification);
        match (columns, target) {
            (Ok(columns), Ok((target, _))) => Ok((columns, target)),
            (columns, target) => Err(columns.err().into_iter().flatten().chain(target.err()).collect()),
        }
    }

    fn fit(
        &self,
        columns: &[ColumnType],
        target: &ColumnType,
        train: &Learnt,
    ) -> Result<(TrainedModel, Fitted, Convergence), NodeError> {
        let classes = train.classes(target)?;
        let preparation = Preparation::learn(columns, &train.rows, Standardise::Yes)?;
        let labels = labels(&train.rows, &target.name, &target.logical)?;
        let numbers: Vec<u32> = labels.iter().filter_map(|label| classes.number(label)).collect();
        let model_columns = ModelColumns::new(target, Some(&classes), vec![Reading::of_table(TABLE, preparation)]);
        let inputs = model_columns.inputs(&train.rows)?;
        let (Some(preparation), [Block::Table(block)]) = (model_columns.linear(), &inputs.blocks[..]) else {
            return Err(NodeError::Failed("a linear model reads one block of columns".to_owned()));
        };
        let design = design(preparation, block, inputs.rows)?;
        let (fitted, convergence) =
            Fitted::fit(&design, &numbers, classes.len(), train.weights.as_deref(), &self.settings)
                .map_err(NodeError::failed)?;
        Ok((TrainedModel::new(model_columns, Learner::Logistic(fitted.clone())), fitted, convergence))
    }
}

/// The most coefficients a page shows.
const MOST_COEFFICIENTS: usize = 30;

/// The largest coefficients of a model of two classes, by absolute value; none of a model of more.
fn coefficients(model: &TrainedModel, fitted: &Fitted) -> Vec<Bar> {
    let names = model.columns().linear().map(Preparation::feature_names).unwrap_or_default();
    if names.len() != fitted.coefficients().len() {
        return Vec::new();
    }
    let mut bars: Vec<(String, f64)> = names.into_iter().zip(fitted.coefficients().iter().copied()).collect();
    bars.sort_by(|left, right| right.1.abs().total_cmp(&left.1.abs()));
    bars.truncate(MOST_COEFFICIENTS);
    let bar = |(name, value)| Bar { name, value: MetricValue { value, low: None, high: None } };
    bars.into_iter().map(bar).collect()
}

/// The fit as a page: how it ended and the largest coefficients.
fn page(target: &str, bars: Vec<Bar>, convergence: &Convergence) -> ReportPage {
    let mut page = ReportPage::new(format!("logistic regression of {target}"));
    let (tone, end) = if convergence.converged {
        (Tone::Note, format!("The minimum was reached in {} steps.", convergence.iterations))
    } else {
        (Tone::Warning, format!("The minimum was not reached in {} steps.", convergence.iterations))
    };
    page.sections.push(Section::Text { title: String::new(), tone, paragraphs: vec![end] });
    if !bars.is_empty() {
        let note = "Towards the second class. Numbers are standardised, so a coefficient is the change of the log odds by \
                    one standard deviation; for a category it is that of the value.";
        page.sections.push(Section::Bars(BarsSection {
            title: "largest coefficients".to_owned(),
            note: note.to_owned(),
            value_label: "change of the log odds".to_owned(),
            bars,
        }));
    }
    page
}
