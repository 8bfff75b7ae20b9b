//! The convolution against its plain formula and finite differences.

use super::*;
use crate::check::*;
use proptest::prelude::*;

struct Case {
    convolution: Convolution,
    rows: usize,
    input: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
}

impl Case {
    fn new(convolution: Convolution, rows: usize, outputs: usize) -> Self {
        let Convolution { image: [channels, height, width], kernel, .. } = convolution;
        let input = numbers(rows * channels * height * width, 1);
        let weight = numbers(outputs * channels * kernel * kernel, 2);
        Case { convolution, rows, input, weight, bias: numbers(outputs, 3) }
    }

    /// Output, weighted loss, and the loss's gradients by input, weight and bias.
    fn run(&self, input: &[f64], weights: &[f64], bias: &[f64]) -> (Vec<f64>, f64, [Vec<f64>; 3]) {
        let factors = weight(weights.to_vec(), bias.len(), weights.len() / bias.len());
        let shift = offset(bias.to_vec());
        let input = matrix(input, self.rows, self.convolution.image.iter().product());
        let recorded = input.clone().put_tape(Recorded::default());
        let output = conv2d(recorded, &factors, &shift, self.convolution, InputGradient::Needed).expect("it fits");
        let values = read(&output);
        let loss = weigh(output);
        let value = read(&loss)[0];
        let mut gradients = backward(loss);
        let by = [
            gradient_of(&gradients, &input),
            gradient_of_parameter(&mut gradients, &factors),
            gradient_of_parameter(&mut gradients, &shift),
        ];
        (values, value, by)
    }

    /// By the definition, number by number.
    fn plain(&self) -> Vec<f64> {
        let Convolution { image: [channels, height, width], kernel, stride, padding, activation, pool } =
            self.convolution;
        let pixel = |row: usize, channel: usize, down: usize, right: usize| {
            let inside = (padding..padding + height).contains(&down) && (padding..padding + width).contains(&right);
            let at = |down, right| self.input[((row * channels + channel) * height + down) * width + right];
            if inside { at(down - padding, right - padding) } else { 0.0 }
        };
        let place = |row: usize, output: usize, down: usize, right: usize| {
            let mut sum = self.bias[output];
            for (index, weight) in
                self.weight.chunks_exact(channels * kernel * kernel).nth(output).expect("an output").iter().enumerate()
            {
                let (channel, i, j) = (index / (kernel * kernel), index / kernel % kernel, index % kernel);
                sum += weight * pixel(row, channel, down * stride + i, right * stride + j);
            }
            match activation {
                Activation::None => sum,
                Activation::Relu => sum.max(0.0),
                Activation::Gelu => sum * 0.5 * libm::erfc(-sum / 2.0f64.sqrt()),
                Activation::Silu => sum / (1.0 + (-sum).exp()),
                Activation::Tanh => sum.tanh(),
            }
        };
        let [windows_down, windows_right] =
            [height, width].map(|size| ((size + 2 * padding - kernel) / stride + 1) / pool);
        let mut plain = Vec::new();
        for row in 0..self.rows {
            for output in 0..self.bias.len() {
                for window in 0..windows_down * windows_right {
                    let (down, right) = (window / windows_right * pool, window % windows_right * pool);
                    let places = (0..pool * pool).map(|at| place(row, output, down + at / pool, right + at % pool));
                    plain.push(places.fold(f64::NEG_INFINITY, f64::max));
                }
            }
        }
        plain
    }
}

fn small() -> impl Strategy<Value = (Convolution, usize, usize)> {
    let activations = [Activation::None, Activation::Relu, Activation::Gelu, Activation::Silu, Activation::Tanh];
    let sizes = (1usize..3, 1usize..7, 1usize..7, 1usize..4, 1usize..4, 0usize..3, 1usize..4);
    (sizes, prop::sample::select(activations.to_vec()), 0usize..4, 1usize..4)
        .prop_map(|((channels, height, width, kernel, stride, padding, pool), activation, rows, outputs)| {
            let image = [channels, height, width];
            (Convolution { image, kernel, stride, padding, activation, pool }, rows, outputs)
        })
        .prop_filter("it fits", |(convolution, ..)| convolution.output_size().is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn output_is_the_plain_one((convolution, rows, outputs) in small()) {
        let case = Case::new(convolution, rows, outputs);
        let (output, ..) = case.run(&case.input, &case.weight, &case.bias);
        let plain = case.plain();
        prop_assert_eq!(output.len(), plain.len());
        for (found, plain) in output.iter().zip(plain) {
            prop_assert!((found - plain).abs() < 1e-13, "{} but {}", found, plain);
        }
    }

    #[test]
    fn gradients_are_the_differences((convolution, rows, outputs) in small()) {
        let case = Case::new(convolution, rows, outputs);
        let (input, weight, bias) = (&case.input, &case.weight, &case.bias);
        let by = case.run(input, weight, bias).2;
        assert_gradient("input", input, &by[0], |moved| case.run(moved, weight, bias).1);
        assert_gradient("weight", weight, &by[1], |moved| case.run(input, moved, bias).1);
        assert_gradient("bias", bias, &by[2], |moved| case.run(input, weight, moved).1);
    }
}

const STAGE: Convolution =
    Convolution { image: [3, 9, 11], kernel: 3, stride: 1, padding: 1, activation: Activation::Relu, pool: 2 };

fn run_f32(input: &[f32], convolution: Convolution) -> Vec<f32> {
    let image: usize = convolution.image.iter().product();
    let patch = convolution.image[0] * convolution.kernel.pow(2);
    let (weight, bias) = (weight(numbers_f32(8 * patch, 2), 8, patch), offset(numbers_f32(8, 3)));
    let input = matrix(input, input.len() / image, image);
    read(&conv2d(input, &weight, &bias, convolution, InputGradient::Skipped).expect("it fits"))
}

#[test]
fn a_row_does_not_depend_on_the_batch() {
    for convolution in [STAGE, Convolution { pool: 1, stride: 2, activation: Activation::Gelu, ..STAGE }] {
        let image: usize = convolution.image.iter().product();
        let input = numbers_f32(37 * image, 1);
        let all = bits(&run_f32(&input, convolution));
        for size in [1, 2, 3, 16] {
            let parts = input.chunks(size * image).flat_map(|part| bits(&run_f32(part, convolution)));
            assert!(parts.eq(all.iter().copied()), "batches of {size}");
        }
    }
}

#[test]
fn outputs_and_gradients_do_not_depend_on_threads() {
    let case = Case::new(STAGE, 37, 5);
    let run = || case.run(&case.input, &case.weight, &case.bias);
    assert!(with_threads(1, run) == with_threads(4, run));
}

#[test]
fn the_gradient_of_the_input_is_left_out_where_nobody_needs_it() {
    let case = Case::new(STAGE, 2, 5);
    let (factors, shift) = (weight(case.weight.clone(), 5, 27), offset(case.bias.clone()));
    let input = matrix(&case.input, 2, 297);
    let recorded = input.clone().put_tape(Recorded::default());
    let output = conv2d(recorded, &factors, &shift, STAGE, InputGradient::Skipped).expect("it fits");
    let mut gradients = backward(weigh(output));
    let left_out = GradientSlot::of(&input).take_or_zeros(&mut gradients).expect("on the CPU");
    assert!(left_out.iter().all(|&gradient| gradient == 0.0));
    let by = case.run(&case.input, &case.weight, &case.bias).2;
    assert_eq!(gradient_of_parameter(&mut gradients, &factors), by[1]);
}

#[test]
fn without_outputs_or_channels_there_is_nothing_to_multiply() {
    let run = |image: [usize; 3], outputs: usize, pool: usize| {
        let patch = image[0] * 9;
        let (factors, shift) = (weight(vec![0.5f64; outputs * patch], outputs, patch), offset(vec![2.0; outputs]));
        let input = matrix(&numbers(2 * image[0] * 12, 1), 2, image[0] * 12);
        let convolution = Convolution { image, pool, ..STAGE };
        let recorded = input.put_tape(Recorded::default());
        let output = conv2d(recorded, &factors, &shift, convolution, InputGradient::Needed).expect("it fits");
        let values = read(&output);
        (values, gradient_of_parameter(&mut backward(weigh(output)), &shift).len())
    };
    for pool in [1, 2] {
        assert_eq!(run([0, 3, 4], 1, pool), (vec![2.0; 2 * (3 / pool) * (4 / pool)], 1));
        let (factors, shift) = (weight(Vec::<f64>::new(), 0, 27), offset(Vec::new()));
        let input = matrix(&numbers(2 * 36, 1), 2, 36);
        let convolution = Convolution { image: [3, 3, 4], pool, ..STAGE };
        let output = conv2d(input, &factors, &shift, convolution, InputGradient::Skipped).expect("it fits");
        assert!(read(&output).is_empty());
    }
}

#[test]
fn a_nan_stays_in_its_row() {
    for convolution in [STAGE, Convolution { pool: 3, ..STAGE }, Convolution { pool: 1, ..STAGE }] {
        let mut input = numbers_f32(3 * 297, 1);
        let clean = run_f32(&input, convolution);
        input[297 + 40] = f32::NAN;
        let found = run_f32(&input, convolution);
        let row = found.len() / 3;
        assert!(found[row..2 * row].iter().any(|value| value.is_nan()));
        assert_eq!([&found[..row], &found[2 * row..]], [&clean[..row], &clean[2 * row..]]);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let error = |input: usize, patch: usize, biases: usize, convolution: Convolution| {
        let (weight, bias) = (weight(vec![0.0f64; 2 * patch], 2, patch), offset(vec![0.0; biases]));
        let input = matrix(&vec![0.0; input], 1, input);
        conv2d(input, &weight, &bias, convolution, InputGradient::Skipped).expect_err("it does not fit").to_string()
    };
    assert_eq!(error(296, 27, 2, STAGE), "`conv2d` takes rows of the input of size 297, found 296");
    assert_eq!(error(297, 26, 2, STAGE), "`conv2d` takes rows of the weight of size 27, found 26");
    assert_eq!(error(297, 27, 3, STAGE), "`conv2d` takes bias of size 2, found 3");
    let changed = |convolution: Convolution| error(297, 27, 2, convolution);
    assert!(changed(Convolution { stride: 0, ..STAGE }).contains("a stride of size 1, found 0"));
    assert!(changed(Convolution { kernel: 12, ..STAGE }).contains("a padded image of size 12, found 11"));
    assert!(changed(Convolution { pool: 10, ..STAGE }).contains("an image to pool of size 10, found 9"));
    assert!(changed(Convolution { pool: 17, ..STAGE }).contains("a largest pool of size 16, found 17"));
}
