//! First-order optimisers over all parameters of a model at once.

use dfdx::tensor::{Cpu, CpuError, Gradients, Storage};
use rayon::prelude::*;

use crate::finish::TASK;
use crate::reduction::sum_of_squares;
use crate::{Buffer, Buffers, Element, KernelError, Regularised, Trainable};

/// How a gradient becomes a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Adam (Kingma and Ba 2015, arXiv:1412.6980), with bias correction.
    Adam {
        /// Decay of the mean of the gradients, 0.9 as published.
        beta1: f64,
        /// Decay of the mean of their squares, 0.999 as published.
        beta2: f64,
        /// Added to the root of the mean square, 1e-8 as published.
        epsilon: f64,
    },
    /// Gradient descent with classic momentum: v ← momentum · v + g, w ← w - rate · v.
    Sgd {
        /// The share of the last step that is kept, at least 0 and below 1.
        momentum: f64,
    },
}

impl Rule {
    /// Adam with the published constants.
    pub const ADAM: Rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
}

/// The settings of an [`Optimiser`] that stay the same from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimiserSettings {
    /// How a gradient becomes a step.
    pub rule: Rule,
    /// λ of the term λ/2 |w|² in the loss: its gradient λ w is added to that of the loss, so Adam scales it too.
    pub l2: f64,
    /// Decoupled decay δ (Loshchilov and Hutter 2019, arXiv:1711.05101): w ← w - rate · δ · w beside the step. With Adam
    /// this is AdamW.
    pub decay: f64,
    /// The gradients of all parameters together are scaled down to this Euclidean norm if theirs is larger; before L2.
    pub largest_norm: Option<f64>,
}

/// An optimiser and its state.
#[derive(Debug, Clone)]
pub struct Optimiser<E: Element, D: Storage<E>> {
    settings: OptimiserSettings,
    steps: i32,
    moments: Vec<Moments<Buffer<E, D>>>,
    squares: Vec<f64>,
}

/// What an optimiser remembers of one parameter. The second moment is empty where the rule has none.
#[derive(Debug, Clone)]
struct Moments<B> {
    first: B,
    second: B,
}

impl<E: Element, D: OptimiserKernel<E>> Optimiser<E, D> {
    /// An optimiser that has seen no gradient.
    pub fn new(settings: OptimiserSettings) -> Self {
        Optimiser { settings, steps: 0, moments: Vec::new(), squares: Vec::new() }
    }

    /// For each parameter, the sum of the squares of its gradient at the last step, as it came; zero without a gradient.
    pub fn squares(&self) -> &[f64] {
        &self.squares
    }

    /// Moves every parameter by one step and returns the norm of the gradients as they came.
    ///
    /// Invariant: the parameters are the same ones in the same order at every call. One without a gradient stays.
    ///
    /// # Errors
    /// [`KernelError::Device`].
    pub fn step(
        &mut self,
        device: &D,
        learning_rate: f64,
        parameters: &mut [&mut dyn Trainable<E, D>],
        gradients: &mut Gradients<E, D>,
    ) -> Result<f64, KernelError> {
        let taken: Vec<Option<Buffer<E, D>>> =
            parameters.iter().map(|parameter| parameter.take_gradient(gradients)).collect::<Result<_, _>>()?;
        self.squares.clear();
        for gradient in &taken {
            let squares = gradient.as_ref().map(|gradient| device.sum_of_squares(gradient)).transpose();
            self.squares.push(squares.map_err(KernelError::device)?.unwrap_or(0.0));
        }
        let norm = self.squares.iter().sum::<f64>().sqrt();
        let gradient_scale = match self.settings.largest_norm {
            Some(largest) if norm > largest => largest / norm,
            _ => 1.0,
        };

        self.steps = self.steps.saturating_add(1);
        for (index, (parameter, gradient)) in parameters.iter_mut().zip(taken).enumerate() {
            if self.moments.len() == index {
                self.moments.push(self.first_moments(device, parameter.sizes().iter().product())?);
            }
            let Some(gradient) = gradient else { continue };
            let regularised = parameter.regularised() == Regularised::Yes;
            let sizes = StepSizes {
                learning_rate,
                gradient_scale,
                l2: if regularised { self.settings.l2 } else { 0.0 },
                decay: if regularised { self.settings.decay } else { 0.0 },
                step: self.steps,
            };
            let Moments { first, second } = &mut self.moments[index];
            device
                .update(self.settings.rule, sizes, parameter.values_mut(), first, second, &gradient)
                .map_err(KernelError::device)?;
        }
        Ok(norm)
    }

    fn first_moments(&self, device: &D, length: usize) -> Result<Moments<Buffer<E, D>>, KernelError> {
        let second = if matches!(self.settings.rule, Rule::Adam { .. }) { length } else { 0 };
        Ok(Moments {
            first: device.try_alloc_len(length).map_err(KernelError::device)?,
            second: device.try_alloc_len(second).map_err(KernelError::device)?,
        })
    }
}

/// The factors of one step of one parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSizes {
    /// The learning rate.
    pub learning_rate: f64,
    /// What the gradient is multiplied by before anything else.
    pub gradient_scale: f64,
    /// What the parameter is multiplied by and added to its gradient.
    pub l2: f64,
    /// The decoupled decay.
    pub decay: f64,
    /// The number of the step, from 1.
    pub step: i32,
}

/// What a device supplies for [`Optimiser`].
pub trait OptimiserKernel<E: Element>: Buffers<E> {
    /// The sum of the squares, in a fixed order.
    ///
    /// # Errors
    /// The device's own error.
    fn sum_of_squares(&self, values: &Buffer<E, Self>) -> Result<f64, Self::Err>;

    /// Moves `values` by one step of `rule`; all buffers are equally long, but `second` is empty for [`Rule::Sgd`].
    ///
    /// # Errors
    /// The device's own error.
    fn update(
        &self,
        rule: Rule,
        sizes: StepSizes,
        values: &mut Buffer<E, Self>,
        first: &mut Buffer<E, Self>,
        second: &mut Buffer<E, Self>,
        gradient: &Buffer<E, Self>,
    ) -> Result<(), Self::Err>;
}

impl<E: Element> OptimiserKernel<E> for Cpu {
    fn sum_of_squares(&self, values: &Buffer<E, Self>) -> Result<f64, CpuError> {
        Ok(sum_of_squares(values))
    }

    fn update(
        &self,
        rule: Rule,
        sizes: StepSizes,
        values: &mut Buffer<E, Self>,
        first: &mut Buffer<E, Self>,
        second: &mut Buffer<E, Self>,
        gradient: &Buffer<E, Self>,
    ) -> Result<(), CpuError> {
        let scale = E::of(sizes.gradient_scale);
        let l2 = E::of(sizes.l2);
        let kept = E::of(1.0 - sizes.learning_rate * sizes.decay);
        let tasks = values.par_chunks_mut(TASK).zip(first.par_chunks_mut(TASK)).zip(gradient.par_chunks(TASK));
        match rule {
            Rule::Adam { beta1, beta2, epsilon } => {
                let (decay1, decay2) = (E::of(beta1), E::of(beta2));
                let (new1, new2) = (E::of(1.0 - beta1), E::of(1.0 - beta2));
                let rate = E::of(sizes.learning_rate / (1.0 - beta1.powi(sizes.step)));
                let correction = E::of(1.0 / (1.0 - beta2.powi(sizes.step)));
                let epsilon = E::of(epsilon);
                tasks.zip(second.par_chunks_mut(TASK)).for_each(|(((values, first), gradient), second)| {
                    for (((value, first), second), &gradient) in values.iter_mut().zip(first).zip(second).zip(gradient)
                    {
                        let gradient = value.mul_add(l2, gradient * scale);
                        *first = *first * decay1 + gradient * new1;
                        *second = *second * decay2 + gradient * gradient * new2;
                        *value = *value * kept - rate * *first / ((*second * correction).sqrt() + epsilon);
                    }
                });
            }
            Rule::Sgd { momentum } => {
                let (momentum, rate) = (E::of(momentum), E::of(sizes.learning_rate));
                tasks.for_each(|((values, first), gradient)| {
                    for ((value, first), &gradient) in values.iter_mut().zip(first).zip(gradient) {
                        let gradient = value.mul_add(l2, gradient * scale);
                        *first = *first * momentum + gradient;
                        *value = *value * kept - rate * *first;
                    }
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::*;
    use crate::{Finish, InputGradient, RegressionLoss, Residual, linear, regression_loss};
    use dfdx::tensor::PutTape;

    const PLAIN: OptimiserSettings = OptimiserSettings { rule: Rule::ADAM, l2: 0.0, decay: 0.0, largest_norm: None };

    /// Steps w of the loss w² (gradient 2 w), on the operations themselves.
    fn path(settings: OptimiserSettings, start: f64, learning_rate: f64, steps: usize) -> Vec<f64> {
        let (mut factor, mut bias) = (weight(vec![start], 1, 1), offset(vec![0.0]));
        let mut optimiser = Optimiser::new(settings);
        (0..steps)
            .map(|_| {
                let input = matrix(&[1.0], 1, 1).put_tape(Recorded::default());
                let output = linear(input, &factor, &bias, Finish::NONE, InputGradient::Skipped).expect("shapes fit");
                let loss = RegressionLoss { targets: &[0.0], row_weights: None, residual: Residual::Squared };
                let mut gradients = backward(regression_loss(output, loss).expect("shapes fit"));
                bias.take_gradient(&mut gradients).expect("on the CPU");
                let device = Cpu::default();
                optimiser.step(&device, learning_rate, &mut [&mut factor], &mut gradients).expect("on the CPU");
                bias = offset(vec![0.0]);
                factor.to_vec().expect("on the CPU")[0]
            })
            .collect()
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
        }
    }

    #[test]
    fn adam_is_the_published_algorithm() {
        let (mut w, mut m, mut v) = (0.7f64, 0.0, 0.0);
        let plain: Vec<f64> = (1..=20)
            .map(|t| {
                let g = 2.0 * w;
                m = 0.9 * m + 0.1 * g;
                v = 0.999 * v + 0.001 * g * g;
                w -= 0.05 * (m / (1.0 - 0.9f64.powi(t))) / ((v / (1.0 - 0.999f64.powi(t))).sqrt() + 1e-8);
                w
            })
            .collect();
        assert_near(&path(PLAIN, 0.7, 0.05, 20), &plain);
    }

    #[test]
    fn the_first_step_of_adam_is_the_learning_rate() {
        assert!((path(PLAIN, 3.0, 0.01, 1)[0] - 2.99).abs() < 1e-9);
    }

    #[test]
    fn momentum_is_the_published_algorithm() {
        let settings = OptimiserSettings { rule: Rule::Sgd { momentum: 0.9 }, ..PLAIN };
        let (mut w, mut v) = (1.0, 0.0);
        let plain: Vec<f64> = (0..20)
            .map(|_| {
                v = 0.9 * v + 2.0 * w;
                w -= 0.02 * v;
                w
            })
            .collect();
        assert_near(&path(settings, 1.0, 0.02, 20), &plain);
    }

    #[test]
    fn l2_is_a_term_of_the_gradient_and_decay_is_not() {
        let sgd = OptimiserSettings { rule: Rule::Sgd { momentum: 0.0 }, ..PLAIN };
        // w - 0.1 (2 w + 0.5 w), and w - 0.1 · 2 w - 0.1 · 0.5 w: the same without momentum or scaling.
        assert_near(&path(OptimiserSettings { l2: 0.5, ..sgd }, 1.0, 0.1, 1), &[0.75]);
        assert_near(&path(OptimiserSettings { decay: 0.5, ..sgd }, 1.0, 0.1, 1), &[0.75]);
        // Adam's first step is the rate whatever the gradient, so L2 vanishes in it and decay does not.
        assert!((path(OptimiserSettings { l2: 0.5, ..PLAIN }, 1.0, 0.1, 1)[0] - 0.9).abs() < 1e-8);
        assert!((path(OptimiserSettings { decay: 0.5, ..PLAIN }, 1.0, 0.1, 1)[0] - 0.85).abs() < 1e-8);
    }

    #[test]
    fn a_large_gradient_is_cut_to_the_largest_norm() {
        let sgd = OptimiserSettings { rule: Rule::Sgd { momentum: 0.0 }, largest_norm: Some(1.0), ..PLAIN };
        assert_near(&path(sgd, 5.0, 0.1, 1), &[4.9]);
        assert_near(&path(sgd, 0.25, 0.1, 1), &[0.2]);
    }

    #[test]
    fn the_squares_of_each_parameter_are_known_and_make_up_the_norm() {
        let (mut factor, mut bias, mut idle) = (weight(vec![2.0], 1, 1), offset(vec![1.0]), offset(vec![5.0]));
        let input = matrix(&[3.0], 1, 1).put_tape(Recorded::default());
        let output = linear(input, &factor, &bias, Finish::NONE, InputGradient::Skipped).expect("shapes fit");
        let loss = RegressionLoss { targets: &[6.5], row_weights: None, residual: Residual::Squared };
        let mut gradients = backward(regression_loss(output, loss).expect("shapes fit"));
        let mut optimiser = Optimiser::new(PLAIN);
        let parameters: &mut [&mut dyn Trainable<f64, Cpu>] = &mut [&mut factor, &mut bias, &mut idle];
        let norm = optimiser.step(&Cpu::default(), 0.1, parameters, &mut gradients).expect("on the CPU");
        // The output is 7, so the loss has the slope 1 there, the factor 3 times as much.
        assert_eq!((optimiser.squares(), norm), (&[9.0, 1.0, 0.0][..], 10.0f64.sqrt()));
    }

    #[test]
    fn offsets_are_not_regularised() {
        let mut bias = offset(vec![1.0]);
        let factor = weight(vec![0.0], 1, 1);
        let input = matrix(&[1.0], 1, 1).put_tape(Recorded::default());
        let output = linear(input, &factor, &bias, Finish::NONE, InputGradient::Skipped).expect("shapes fit");
        let loss = RegressionLoss { targets: &[1.0], row_weights: None, residual: Residual::Squared };
        let mut gradients = backward(regression_loss(output, loss).expect("shapes fit"));
        let settings = OptimiserSettings { rule: Rule::Sgd { momentum: 0.0 }, l2: 1.0, decay: 1.0, largest_norm: None };
        let device = Cpu::default();
        Optimiser::new(settings).step(&device, 0.1, &mut [&mut bias], &mut gradients).expect("on the CPU");
        assert_eq!(bias.to_vec().expect("on the CPU"), [1.0]);
    }

    #[test]
    fn a_snapshot_is_not_moved_by_later_steps() {
        let mut factor = weight(vec![1.0], 1, 1);
        let snapshot = factor.share();
        factor.values_mut()[0] = 2.0;
        assert_eq!((snapshot[0], factor.to_vec().expect("on the CPU")[0]), (1.0, 2.0));
        factor.restore(snapshot);
        assert_eq!(factor.to_vec().expect("on the CPU"), [1.0]);
    }
}
