//! The CUDA kernels, compiled as C++ and run on the CPU, give what the CPU's own operations give.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nodes_kernels::{
    Buffers, Cpu, CrossEntropy, HeadRows, LossTargets, MultimodalLossKernel, RegressionLoss, Residual,
};

/// The program of `tests/shim`, compiled once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("multimodal_loss");
        let fresh = program.with_extension(std::process::id().to_string());
        let compiler = std::env::var_os("CXX").unwrap_or(OsString::from("c++"));
        let flags = std::env::var_os("CXXFLAGS").unwrap_or_default();
        let output = Command::new(&compiler)
            .args(flags.to_string_lossy().split_whitespace())
            .args(["-std=c++20", "-O1", "-ffp-contract=off", "-Wall", "-Werror", "-pthread", "-I"])
            .arg(tests.join("../nodes/kernels/cuda"))
            .arg(tests.join("shim/multimodal_loss.cpp"))
            .arg("-o")
            .arg(&fresh)
            .output()
            .unwrap_or_else(|error| {
                panic!("the tests need a C++20 compiler, named by CXX or `c++`: {compiler:?}: {error}")
            });
        assert!(output.status.success(), "{compiler:?}: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::rename(fresh, &program).unwrap();
        program
    })
}

fn run(input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Numbers as bytes, one after the other.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u32s(mut self, values: &[u32]) -> Self {
        values.iter().for_each(|value| self.0.extend(value.to_ne_bytes()));
        self
    }

    fn f32s(mut self, values: &[f32]) -> Self {
        values.iter().for_each(|value| self.0.extend(value.to_ne_bytes()));
        self
    }

    fn f64s(mut self, values: &[f64]) -> Self {
        values.iter().for_each(|value| self.0.extend(value.to_ne_bytes()));
        self
    }
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|bytes| f32::from_ne_bytes(bytes.try_into().unwrap())).collect()
}

/// `length` numbers between -1 and 1.
fn numbers(length: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..length).map(|_| number()).collect()
}

#[derive(Debug)]
struct Losses {
    total: f32,
    heads: Vec<f64>,
    gradients: Vec<f32>,
}

struct Case {
    rows: usize,
    columns: usize,
    weights: Vec<f64>,
    shares: Vec<f32>,
    scores: Vec<f32>,
}

impl Case {
    /// Head i has weight i / 2, so the first learns nothing; the second is present nowhere, of the others every fifth row
    /// is missing.
    fn new(heads: usize, rows: usize, columns: usize) -> Self {
        let share = |head: usize, row: usize| if head == 1 || row % 5 == head % 5 { 0.0 } else { 1.0 / rows as f32 };
        Case {
            rows,
            columns,
            weights: (0..heads).map(|head| head as f64 / 2.0).collect(),
            shares: (0..heads).flat_map(|head| (0..rows).map(move |row| share(head, row))).collect(),
            scores: numbers(heads * rows * columns, 1).into_iter().map(|value| 6.0 * value).collect(),
        }
    }

    fn by_the_operation(&self, targets: LossTargets<'_, f32>) -> Losses {
        let device = Cpu::default();
        let heads = self.weights.iter().enumerate().map(|(head, &weight)| {
            let size = self.rows * self.columns;
            let scores = device.upload(self.scores[head * size..][..size].to_vec()).unwrap();
            HeadRows { scores, shares: self.shares[head * self.rows..][..self.rows].to_vec(), weight }
        });
        let losses = device.multimodal_loss(self.columns, heads.collect(), targets).unwrap();
        let gradients = losses.gradients.into_iter().flat_map(|gradient| {
            let gradient: Vec<f32> = device.download(gradient).unwrap();
            gradient
        });
        let gradients = gradients.collect();
        let total: Vec<f32> = device.download(losses.total).unwrap();
        Losses { total: total[0], heads: losses.heads, gradients }
    }

    fn by_the_kernels(&self, targets: LossTargets<'_, f32>) -> Losses {
        let (task, parameter) = match targets {
            LossTargets::Classes(targets) => (0, targets.label_smoothing),
            LossTargets::Values(RegressionLoss { residual: Residual::Squared, .. }) => (1, 0.0),
            LossTargets::Values(RegressionLoss { residual: Residual::Huber { delta }, .. }) => (1, delta),
        };
        let sizes = [task, self.weights.len() as u32, self.rows as u32, self.columns as u32];
        let input = Bytes::default().u32s(&sizes).f64s(&[parameter]).f64s(&self.weights).f32s(&self.shares);
        let input = input.f32s(&self.scores);
        let input = match targets {
            LossTargets::Classes(targets) => input.u32s(targets.classes),
            LossTargets::Values(targets) => input.f32s(targets.targets),
        };
        let output = run(&input.0);
        let (total, rest) = output.split_at(4);
        let (heads, gradients) = rest.split_at(8 * self.weights.len());
        let heads = heads.chunks_exact(8).map(|bytes| f64::from_ne_bytes(bytes.try_into().unwrap()));
        Losses { total: f32s(total)[0], heads: heads.collect(), gradients: f32s(gradients) }
    }

    /// The two add in other orders and have exponentials of their own, each good to two units in the last place; a row of a
    /// thousand logits then differs in a few more.
    fn check(&self, targets: LossTargets<'_, f32>) {
        let (kernels, operation) = (self.by_the_kernels(targets), self.by_the_operation(targets));
        let close = |left: f64, right: f64, scale: f64| {
            (left.is_nan() && right.is_nan()) || (left - right).abs() <= 2e-6 * (scale + right.abs())
        };
        assert!(
            close(f64::from(kernels.total), f64::from(operation.total), 0.0),
            "{} {}",
            kernels.total,
            operation.total
        );
        for (left, right) in kernels.heads.iter().zip(&operation.heads) {
            assert!(close(*left, *right, 0.0), "{left} {right}");
        }
        assert_eq!(kernels.gradients.len(), operation.gradients.len());
        let share = 1.0 / self.rows as f64;
        for (left, right) in kernels.gradients.iter().zip(&operation.gradients) {
            assert!(close(f64::from(*left), f64::from(*right), share), "{left} {right}");
        }
    }

    fn check_classes(&self, label_smoothing: f64) {
        let classes: Vec<u32> = (0..self.rows).map(|row| (row * 7 % self.columns) as u32).collect();
        self.check(LossTargets::Classes(CrossEntropy { classes: &classes, label_smoothing, ..Default::default() }));
    }

    fn check_values(&self, residual: Residual) {
        let targets = numbers(self.rows * self.columns, 2);
        self.check(LossTargets::Values(RegressionLoss { targets: &targets, row_weights: None, residual }));
    }
}

/// Heads, rows and columns: one of each, whole and broken warps and blocks, more rows than the adding block has threads.
const SIZES: [(usize, usize, usize); 6] = [(1, 1, 1), (1, 3, 2), (4, 9, 5), (3, 4, 32), (2, 5, 1000), (1, 300, 3)];

#[test]
fn kernel_and_operation_agree_on_classes() {
    for (heads, rows, columns) in SIZES {
        Case::new(heads, rows, columns).check_classes(0.0);
    }
    Case::new(3, 9, 40).check_classes(0.1);
    Case::new(3, 9, 3).check_classes(1.0);
}

#[test]
fn kernel_and_operation_agree_on_values() {
    for (heads, rows, columns) in SIZES {
        Case::new(heads, rows, columns).check_values(Residual::Squared);
    }
    Case::new(3, 9, 40).check_values(Residual::Huber { delta: 1.5 });
}

#[test]
fn kernel_and_operation_agree_on_extremes_and_keep_a_nan_in_its_row() {
    let mut case = Case::new(4, 6, 4);
    for (index, score) in case.scores.iter_mut().enumerate() {
        *score = if index % 2 == 0 { 1000.0 } else { -1000.0 };
    }
    case.check_classes(0.0);
    case.check_values(Residual::Squared);
    // A row of the third head, which is present, and one of the second, which is not.
    let (seen, unseen) = ((2 * 6 + 1) * 4, (6 + 1) * 4);
    (case.scores[seen], case.scores[unseen]) = (f32::NAN, f32::NAN);
    case.check_classes(0.1);
    case.check_values(Residual::Huber { delta: 1.0 });
    let targets = LossTargets::Classes(CrossEntropy { classes: &[0; 6], ..Default::default() });
    let losses = case.by_the_kernels(targets);
    assert!(losses.total.is_nan() && losses.heads[2].is_nan() && losses.heads[1] == 0.0 && losses.heads[3].is_finite());
    for (index, gradient) in losses.gradients.iter().enumerate() {
        assert_eq!(gradient.is_nan(), (seen..seen + 4).contains(&index), "{index}");
    }
}

#[test]
fn equal_inputs_give_equal_bits() {
    let case = Case::new(3, 30, 5);
    let classes: Vec<u32> = (0..30).map(|row| row % 5).collect();
    let targets = LossTargets::Classes(CrossEntropy { classes: &classes, ..Default::default() });
    let bits = |losses: &Losses| {
        let heads: Vec<u64> = losses.heads.iter().map(|loss| loss.to_bits()).collect();
        let gradients: Vec<u32> = losses.gradients.iter().map(|gradient| gradient.to_bits()).collect();
        (losses.total.to_bits(), heads, gradients)
    };
    assert_eq!(bits(&case.by_the_kernels(targets)), bits(&case.by_the_kernels(targets)));
}

#[test]
fn the_kernel_adds_scaled_summands_as_the_operation_does() {
    for length in [1, 127, 1000] {
        let (sum, summand) = (numbers(length, 3), numbers(length, 4));
        let input = Bytes::default().u32s(&[2, length as u32]).f32s(&[2.5]).f32s(&summand).f32s(&sum);
        let plain: Vec<f32> = sum.iter().zip(&summand).map(|(sum, summand)| sum + 2.5 * summand).collect();
        assert_eq!(f32s(&run(&input.0)), plain);
    }
}
