//! What training makes small: the joint loss of a model on some rows.

use nodes_kernels::{
    CrossEntropy, HeadLoss, KernelError, LossHead, LossTargets, RegressionLoss, Scalar, Tape, multimodal_loss,
};

use crate::batch::Rows;
use crate::config::Task;
use crate::multimodal::Asked;
use crate::pass::Pass;
use crate::{Examples, Model, ModelDevice, Targets, TrainingOptions};

/// The loss on some rows.
pub(crate) struct Objective<'a> {
    examples: &'a Examples,
    /// The rows that have a modality at all, if some have none: those say nothing.
    some: Option<Vec<usize>>,
    /// Numeric targets on the standardised scale; empty for classes.
    standardised: Vec<f32>,
    task: Task,
    class_weights: Option<&'a [f64]>,
    options: &'a TrainingOptions,
}

/// The loss of some rows and what it is made of.
pub(crate) struct Loss<D: ModelDevice, T> {
    /// What is made small.
    pub(crate) total: Scalar<f32, D, T>,
    /// That of the joint head.
    pub(crate) joint: HeadLoss,
    /// That of each modality's own head; none if there is only one modality.
    pub(crate) modalities: Vec<HeadLoss>,
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
        let inputs = &examples.inputs;
        let some: Vec<usize> = (0..inputs.rows).filter(|&row| inputs.has_any(row)).collect();
        let some = (some.len() < inputs.rows).then_some(some);
        Objective { examples, some, standardised, task: model.config().task, class_weights, options }
    }

    /// How many rows say something.
    pub(crate) fn rows(&self) -> usize {
        self.some.as_ref().map_or(self.examples.inputs.rows, Vec::len)
    }

    /// The rows that say something, those numbered by `order` among them.
    pub(crate) fn picked(&self, order: &[usize]) -> Vec<usize> {
        match &self.some {
            Some(some) => order.iter().map(|&index| some[index]).collect(),
            None => order.to_vec(),
        }
    }

    /// A range of the rows that say something.
    pub(crate) fn range(&self, range: std::ops::Range<usize>) -> Rows<'_> {
        match &self.some {
            Some(some) => Rows::Picked(&some[range]),
            None => Rows::Range(range),
        }
    }

    /// The sum of the weights of the rows that say something.
    pub(crate) fn total_weight(&self) -> f64 {
        let rows = self.range(0..self.rows());
        let row_weights = self.row_weights(&rows);
        match &self.examples.targets {
            Targets::Classes(classes) => {
                self.cross_entropy(&rows.of(classes, 1), row_weights.as_deref()).total_weight()
            }
            Targets::Values(_) => row_weights.map_or(rows.len() as f64, |weights| weights.iter().sum()),
        }
    }

    /// For each encoder, the share of all rows that have its modality.
    pub(crate) fn present_shares(&self) -> Vec<f64> {
        let inputs = &self.examples.inputs;
        let share = |encoder| {
            let count = inputs.present(encoder).map(|present| present.iter().filter(|&&flag| flag).count());
            count.map_or(1.0, |count| count as f64 / inputs.rows.max(1) as f64)
        };
        (0..inputs.blocks.len()).map(share).collect()
    }

    /// The loss of the picked rows.
    pub(crate) fn loss<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        model: &Model<D>,
        rows: &Rows<'_>,
        pass: &Pass,
    ) -> Result<Loss<D, T>, KernelError> {
        let scores = model.scores::<T>(&self.examples.inputs, rows, pass, Asked::All)?;
        let weights = &self.options.loss_weights;
        let joint_weight = if scores.modalities.is_empty() { 1.0 } else { weights.joint };
        let joint = scores.joint.map(|scores| LossHead { scores, weight: joint_weight, present: None });
        let (modalities, present): (Vec<_>, Vec<_>) =
            scores.modalities.into_iter().map(|modality| (modality.scores, modality.present)).unzip();
        let names = model.config().encoders.iter().map(|named| &named.name);
        let modalities = modalities.into_iter().zip(&present).zip(names).map(|((scores, present), name)| LossHead {
            scores,
            weight: weights.modality(name),
            present: present.as_deref(),
        });
        let heads = joint.into_iter().chain(modalities).collect();

        let row_weights = self.row_weights(rows);
        let row_weights = row_weights.as_deref();
        let loss = match &self.examples.targets {
            Targets::Classes(classes) => {
                let classes = rows.of(classes, 1);
                let targets = LossTargets::Classes(self.cross_entropy(&classes, row_weights));
                multimodal_loss(model.device(), heads, targets)?
            }
            Targets::Values(_) => {
                let targets = rows.of(&self.standardised, self.task.width());
                let residual = self.options.residual();
                let targets = LossTargets::Values(RegressionLoss { targets: &targets, row_weights, residual });
                multimodal_loss(model.device(), heads, targets)?
            }
        };
        let mut heads = loss.heads.into_iter();
        let joint = heads.next().unwrap_or(HeadLoss { value: 0.0, row_weight: 0.0 });
        Ok(Loss { total: loss.total, joint, modalities: heads.collect() })
    }

    fn row_weights(&self, rows: &Rows<'_>) -> Option<Vec<f64>> {
        self.examples.weights.as_ref().map(|weights| rows.of(weights, 1))
    }

    fn cross_entropy<'b>(&'b self, classes: &'b [u32], row_weights: Option<&'b [f64]>) -> CrossEntropy<'b> {
        let label_smoothing = self.options.label_smoothing;
        CrossEntropy { classes, row_weights, class_weights: self.class_weights, label_smoothing }
    }
}
