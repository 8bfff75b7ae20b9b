//! Minimisation of a smooth, strictly convex function: L-BFGS with a backtracking line search.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How many past steps the approximation of the curvature rests on.
const MEMORY: usize = 10;
/// The share of the predicted decrease that a step must reach (Armijo's condition).
const SUFFICIENT: f64 = 1e-4;
/// Differences of values below this share are rounding.
const ROUNDING: f64 = 1e-14;
/// A step that leaves the value as it is must bring the slope down to this share.
const FLATTER: f64 = 0.9;
/// How often a step is halved before the search gives up: the decrease is then below rounding.
const HALVINGS: usize = 50;

/// How a minimisation ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Convergence {
    /// Whether the gradient became as small as asked.
    pub converged: bool,
    /// How many steps were taken.
    pub iterations: usize,
    /// The largest element of the gradient at the end, in absolute value.
    pub gradient: f64,
    /// The objective at the end.
    pub objective: f64,
}

/// Minimises `objective`, which writes its gradient and returns its value, from `point` on.
///
/// Ends when the largest element of the gradient is at most `tolerance`, after `iterations` steps, or when no step makes
/// the value smaller. Two-loop recursion by Nocedal and Wright 2006, algorithm 7.4. For a strictly convex function the
/// curvature along every step is positive, so no further condition on the step is needed.
pub(crate) fn minimise(
    mut point: Vec<f64>,
    tolerance: f64,
    iterations: usize,
    mut objective: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> (Vec<f64>, Convergence) {
    let mut gradient = vec![0.0; point.len()];
    let mut value = objective(&point, &mut gradient);
    let mut history: VecDeque<Step> = VecDeque::new();
    let (mut next, mut next_gradient) = (point.clone(), gradient.clone());
    let mut taken = 0;
    while taken < iterations && largest(&gradient) > tolerance {
        let mut direction = direction(&gradient, &history);
        let mut slope = product(&gradient, &direction);
        if slope >= 0.0 || slope.is_nan() {
            history.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = product(&gradient, &direction);
        }
        let first = if history.is_empty() { 1.0 / largest(&gradient).max(1.0) } else { 1.0 };
        let found = (0..HALVINGS).find_map(|halvings| {
            let length = first * 0.5f64.powi(halvings as i32);
            for ((next, &point), &direction) in next.iter_mut().zip(&point).zip(&direction) {
                *next = point + length * direction;
            }
            let next_value = objective(&next, &mut next_gradient);
            let lower = next_value <= value + SUFFICIENT * length * slope;
            // Near the minimum the values differ by rounding alone; the slopes still tell the way (Hager and Zhang 2005).
            let flatter = next_value <= value + ROUNDING * value.abs()
                && product(&next_gradient, &direction).abs() <= FLATTER * slope.abs();
            (lower || flatter).then_some(next_value)
        });
        let Some(next_value) = found else { break };
        taken += 1;
        let step = Step::new(&point, &next, &gradient, &next_gradient);
        std::mem::swap(&mut point, &mut next);
        std::mem::swap(&mut gradient, &mut next_gradient);
        value = next_value;
        if step.curvature > 0.0 {
            if history.len() == MEMORY {
                history.pop_front();
            }
            history.push_back(step);
        }
    }
    let gradient = largest(&gradient);
    (point, Convergence { converged: gradient <= tolerance, iterations: taken, gradient, objective: value })
}

/// A step taken: the changes of the point and of the gradient, and their product.
struct Step {
    point: Vec<f64>,
    gradient: Vec<f64>,
    curvature: f64,
}

impl Step {
    fn new(point: &[f64], next: &[f64], gradient: &[f64], next_gradient: &[f64]) -> Self {
        let difference = |next: &[f64], before: &[f64]| next.iter().zip(before).map(|(a, b)| a - b).collect();
        let (point, gradient): (Vec<f64>, Vec<f64>) = (difference(next, point), difference(next_gradient, gradient));
        let curvature = product(&point, &gradient);
        Step { point, gradient, curvature }
    }
}

/// Minus the approximate inverse Hessian times the gradient.
fn direction(gradient: &[f64], history: &VecDeque<Step>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut factors = Vec::with_capacity(history.len());
    for step in history.iter().rev() {
        let factor = product(&step.point, &direction) / step.curvature;
        add(&mut direction, -factor, &step.gradient);
        factors.push(factor);
    }
    if let Some(last) = history.back() {
        let scale = last.curvature / product(&last.gradient, &last.gradient);
        direction.iter_mut().for_each(|d| *d *= scale);
    }
    for (step, factor) in history.iter().zip(factors.iter().rev()) {
        let back = product(&step.gradient, &direction) / step.curvature;
        add(&mut direction, factor - back, &step.point);
    }
    direction
}

fn product(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

fn add(sum: &mut [f64], factor: f64, summand: &[f64]) {
    for (sum, &summand) in sum.iter_mut().zip(summand) {
        *sum += factor * summand;
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| if value.is_nan() { f64::INFINITY } else { value.abs().max(largest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badly_scaled_quadratic_is_minimised() {
        let scales = [1.0, 10.0, 1000.0, 0.1];
        let (point, end) = minimise(vec![3.0; 4], 1e-9, 200, |point, gradient| {
            for index in 0..4 {
                gradient[index] = scales[index] * (point[index] - index as f64);
            }
            (0..4).map(|index| 0.5 * scales[index] * (point[index] - index as f64).powi(2)).sum()
        });
        assert!(end.converged && end.gradient <= 1e-9, "{end:?}");
        for (index, value) in point.iter().enumerate() {
            assert!((value - index as f64).abs() < 1e-7, "{point:?}");
        }
    }

    #[test]
    fn too_few_iterations_are_reported() {
        let (_, end) = minimise(vec![5.0], 1e-12, 1, |point, gradient| {
            gradient[0] = 4.0 * point[0].powi(3);
            point[0].powi(4)
        });
        assert!(!end.converged && end.iterations == 1);
    }

    #[test]
    fn the_minimum_itself_takes_no_step() {
        let (point, end) = minimise(vec![0.0], 1e-9, 10, |point, gradient| {
            gradient[0] = 2.0 * point[0];
            point[0].powi(2)
        });
        assert_eq!((point, end.iterations, end.converged), (vec![0.0], 0, true));
    }

    #[test]
    fn a_function_that_is_never_finite_ends() {
        let (_, end) = minimise(vec![1.0], 1e-9, 10, |_, gradient| {
            gradient[0] = f64::NAN;
            f64::NAN
        });
        assert!(!end.converged);
    }
}
