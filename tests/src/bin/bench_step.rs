//! Training steps of a four-modal model, for `just bench-torch`.
//!
//! tests/scripts/bench-torch/step.py is the same model in PyTorch and says what it is made of; compare.py beside it runs
//! both and says how this program is spoken to. What is timed is what `train.multimodal` does for a batch.

use std::io::{BufRead, Write, stdin, stdout};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

use nodes_models::{
    Activation, Block, Cpu, EncoderConfig, Examples, FusionConfig, HeadConfig, ImageBlock, ImageEncoderConfig,
    ImageEncoderOptions, Inputs, LossWeights, Model, ModelConfig, NamedEncoder, OptimiserName, Progress, SoundBlock,
    SoundEncoderConfig, SoundEncoderOptions, TableBlock, TableEncoderConfig, TableEncoderOptions, Targets, Task,
    TextArchitecture, TextBlock, TextEncoderConfig, TextEncoderOptions, TrainingError, TrainingOptions, train,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows of the data, a whole number of batches.
const ROWS: usize = 640;
const BATCH: usize = 64;
const CLASSES: usize = 8;
const WIDTH: usize = 128;

/// Why the steps could not be done.
type Failure = Box<dyn std::error::Error>;

#[expect(clippy::print_stderr, reason = "a program of its own")]
fn main() -> ExitCode {
    match answer() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Trains as the commands on the standard input say.
fn answer() -> Result<(), Failure> {
    let (examples, mut model) = (examples(), Model::new(&Cpu::default(), config(), 1)?);
    let parameters = model.parameter_count();
    let options = TrainingOptions {
        epochs: usize::MAX,
        batch_size: BATCH,
        optimiser: OptimiserName::Adam,
        patience: None,
        loss_weights: LossWeights { default_modality: 0.3, ..LossWeights::default() },
        ..TrainingOptions::default()
    };

    let (mut asked, mut loss, mut failure) = (next_command()?, 0.0, None);
    let (mut times, mut start) = (Vec::new(), Instant::now());
    let mut progress = |progress: Progress<'_>| {
        if let Progress::Epoch(epoch) = progress {
            loss = epoch.train_loss;
            return ControlFlow::Continue(());
        }
        times.push(1000.0 * start.elapsed().as_secs_f64());
        if asked.is_some_and(|steps| times.len() >= steps) {
            match say(&times).and_then(|()| next_command()) {
                Ok(command) => asked = command,
                Err(error) => (asked, failure) = (None, Some(error)),
            }
            times.clear();
        }
        start = Instant::now();
        if asked.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    match train(&mut model, &examples, None, &options, 1, &mut progress) {
        Ok(_) | Err(TrainingError::Cancelled { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).and_then(|line| line.split_whitespace().nth(1));
    let peak = peak.ok_or("the kernel does not say how much memory was used")?;
    writeln!(stdout(), "parameters {parameters} peak_kib {peak} loss {loss:.4}")?;
    Ok(())
}

/// How many steps are asked for; none at the end.
fn next_command() -> Result<Option<usize>, Failure> {
    let mut line = String::new();
    stdin().lock().read_line(&mut line)?;
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["steps", steps] => Ok(Some(steps.parse()?)),
        ["end"] => Ok(None),
        _ => Err(format!("`{}` is neither `steps N` nor `end`", line.trim_end()).into()),
    }
}

fn say(times: &[f64]) -> Result<(), Failure> {
    let times: Vec<String> = times.iter().map(f64::to_string).collect();
    writeln!(stdout(), "{}", times.join(" "))?;
    Ok(())
}

fn config() -> ModelConfig {
    let text = TextEncoderOptions {
        architecture: TextArchitecture::Transformer,
        width: WIDTH,
        layers: 2,
        heads: 4,
        feed_forward: Some(512),
        activation: Activation::Relu,
        dropout: 0.0,
        ..TextEncoderOptions::default()
    };
    let image = ImageEncoderOptions { width: WIDTH, channels: vec![32, 64], dropout: 0.0, ..Default::default() };
    let sound = SoundEncoderOptions { width: WIDTH, hidden: 128, dropout: 0.0, ..Default::default() };
    let table = TableEncoderOptions {
        hidden: vec![WIDTH, WIDTH],
        dropout: 0.0,
        embedding_width: Some(6),
        ..TableEncoderOptions::default()
    };
    let encoders = [
        ("text", EncoderConfig::Text(TextEncoderConfig { vocabulary: 1000, length: 32, options: text })),
        ("image", EncoderConfig::Image(ImageEncoderConfig { shape: [3, 32, 32], options: image })),
        ("sound", EncoderConfig::Sound(SoundEncoderConfig { shape: [64, 40], options: sound })),
        ("table", EncoderConfig::Table(TableEncoderConfig { numeric: 16, categories: vec![10; 4], options: table })),
    ];
    ModelConfig {
        encoders: encoders.map(|(name, encoder)| NamedEncoder { name: name.to_owned(), encoder }).into(),
        fusion: FusionConfig::default(),
        head: HeadConfig::default(),
        task: Task::Classification { classes: CLASSES },
    }
}

fn examples() -> Examples {
    let mut state = 1u64;
    let mut bits = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u32
    };
    let mut codes = |count: usize, below: u32| -> Vec<u32> { (0..count).map(|_| 1 + bits() % (below - 1)).collect() };
    let (tokens, categories) = (codes(ROWS * 32, 1000), codes(ROWS * 4, 10));
    let mut numbers =
        |count: usize| -> Vec<f32> { (0..count).map(|_| bits() as f32 / (1 << 23) as f32 - 1.0).collect() };
    let blocks = vec![
        Block::Text(TextBlock { length: 32, tokens }),
        Block::Image(ImageBlock { shape: [3, 32, 32], values: numbers(ROWS * 3 * 32 * 32) }),
        Block::Sound(SoundBlock { shape: [64, 40], values: numbers(ROWS * 64 * 40) }),
        Block::Table(TableBlock { numeric: numbers(ROWS * 16), codes: categories }),
    ];
    Examples {
        inputs: Inputs { rows: ROWS, blocks, present: Vec::new() },
        targets: Targets::Classes((0..ROWS).map(|row| (row % CLASSES) as u32).collect()),
        weights: None,
    }
}
