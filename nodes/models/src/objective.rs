//! What training makes small: the weighted mean loss of a model on some rows.

use nodes_kernels::{CrossEntropy, KernelError, RegressionLoss, Scalar, Tape, cross_entropy, regression_loss};

use crate::batch::Rows;
use crate::config::Task;
use crate::pass::Pass;
use crate::{Examples, Model, ModelDevice, Targets, TrainingOptions};

/// The loss on some rows.
pub(crate) struct Objective<'a> {
    examples: &'a Examples,
    /// Numeric targets on the standardised scale; empty for classes.
    standardised: Vec<f32>,
    task: Task,
    class_weights: Option<&'a [f64]>,
    options: &'a TrainingOptions,
}

impl<'a> Objective<'a> {
    /// The loss of `model` on `examples`, which fit it.
    pub(crate) fn new<D: ModelDevice>(
        model: &Model<D>,
        examples: &'a Examples,
        class_weights: Option<&'a [f64]>,
        options: &'a TrainingOptions,
    ) -> Self {
        let standardised = match &examples.targets {
            Targets::Classes(_) => Vec::new(),
            Targets::Values(values) => model.target_scale.standardised(values),
        };
        Objective { examples, standardised, task: model.config().task, class_weights, options }
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.examples.inputs.rows
    }

    /// The sum of the weights of some rows.
    pub(crate) fn weight(&self, rows: &Rows<'_>) -> f64 {
        let row_weights = self.row_weights(rows);
        match &self.examples.targets {
            Targets::Classes(classes) => {
                self.cross_entropy(&rows.of(classes, 1), row_weights.as_deref()).total_weight()
            }
            Targets::Values(_) => row_weights.map_or(rows.len() as f64, |weights| weights.iter().sum()),
        }
    }

    /// The weighted mean loss of the picked rows.
    pub(crate) fn loss<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        model: &Model<D>,
        rows: &Rows<'_>,
        pass: &Pass,
    ) -> Result<Scalar<f32, D, T>, KernelError> {
        let scores = model.scores::<T>(&self.examples.inputs, rows, pass)?;
        let row_weights = self.row_weights(rows);
        match &self.examples.targets {
            Targets::Classes(classes) => {
                cross_entropy(scores, self.cross_entropy(&rows.of(classes, 1), row_weights.as_deref()))
            }
            Targets::Values(_) => {
                let targets = rows.of(&self.standardised, self.task.width());
                let (row_weights, residual) = (row_weights.as_deref(), self.options.residual());
                regression_loss(scores, RegressionLoss { targets: &targets, row_weights, residual })
            }
        }
    }

    fn row_weights(&self, rows: &Rows<'_>) -> Option<Vec<f64>> {
        self.examples.weights.as_ref().map(|weights| rows.of(weights, 1))
    }

    fn cross_entropy<'b>(&'b self, classes: &'b [u32], row_weights: Option<&'b [f64]>) -> CrossEntropy<'b> {
        let label_smoothing = self.options.label_smoothing;
        CrossEntropy { classes, row_weights, class_weights: self.class_weights, label_smoothing }
    }
}
