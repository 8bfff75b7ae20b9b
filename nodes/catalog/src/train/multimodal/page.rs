//! The report of a training: curves, and the choices that data made.

use engine_table::report::{Axis, Cell, LinesSection, Mark, ReportPage, Section, Series, TableSection, Tone};
use nodes_models::{EpochReport, ModalityEpoch, Stopped, Task};

use super::Trained;

/// The training as a page.
pub(super) fn page(target: &str, trained: &Trained, left_out: usize) -> ReportPage {
    let mut page = ReportPage::new(format!("training of {target}"));
    page.sections.push(Section::Text {
        title: String::new(),
        tone: Tone::Note,
        paragraphs: paragraphs(trained, left_out),
    });
    page.sections.push(Section::Lines(losses(trained)));
    page.sections.extend(modality_curves(trained).into_iter().map(Section::Lines));
    if !trained.modalities().is_empty() {
        page.sections.push(Section::Table(modality_table(trained)));
    }
    page.sections.push(Section::Table(sizes(trained)));
    page
}

impl Trained {
    /// The modalities in the epoch whose weights the model has; none if there is one encoder.
    fn modalities(&self) -> &[ModalityEpoch] {
        let epochs = &self.report.epochs;
        epochs.iter().find(|epoch| epoch.epoch == self.report.best_epoch).map_or(&[], |epoch| &epoch.modalities)
    }

    /// What a loss is measured in.
    fn unit(&self) -> &'static str {
        match self.task {
            Task::Classification { .. } => "cross-entropy, nats",
            Task::Regression { .. } => "squared error, standard deviations of the target",
        }
    }
}

fn paragraphs(trained: &Trained, left_out: usize) -> Vec<String> {
    let report = &trained.report;
    let mut paragraphs = vec![match report.stopped {
        Stopped::Completed => format!("Training went through all {} epochs.", report.epochs.len()),
        Stopped::Patience => {
            format!("Training stopped after epoch {}, as the validation loss became no lower.", report.epochs.len())
        }
    }];
    let validated = report.epochs.iter().any(|epoch| epoch.validation_loss.is_some());
    paragraphs.push(match trained.earlier {
        _ if validated => {
            format!(
                "The model has the weights of epoch {}, the one with the lowest validation loss.",
                report.best_epoch
            )
        }
        Some(_) => "The validation rows are among the train rows here: it is as many epochs as were best with them \
                    apart, and the model has the weights of the last one."
            .to_owned(),
        None => "There were no validation rows, so the model has the weights of the last epoch.".to_owned(),
    });
    if left_out > 0 {
        paragraphs.push(format!("{left_out} train rows without a target were left out."));
    }
    if trained.without_evidence > 0 {
        paragraphs.push(format!("{} train rows lack every modality and taught nothing.", trained.without_evidence));
    }
    paragraphs
}

/// A curve through what `value` gives of each epoch that has it.
fn curve(trained: &Trained, name: &str, value: impl Fn(&EpochReport) -> Option<f64>) -> Series {
    let points = trained.report.epochs.iter().filter_map(|epoch| Some((epoch.epoch as f64, value(epoch)?))).collect();
    Series { name: name.to_owned(), mark: Mark::Line, points }
}

/// Of several curves those that have points.
fn drawn(series: Vec<Series>) -> Vec<Series> {
    series.into_iter().filter(|series| !series.points.is_empty()).collect()
}

fn losses(trained: &Trained) -> LinesSection {
    let several = !trained.modalities().is_empty();
    let (name, of) = if several { ("train, joint", " of the joint prediction") } else { ("train", "") };
    let series = vec![
        curve(trained, name, |epoch| Some(epoch.joint_loss)),
        curve(trained, if several { "validation, joint" } else { "validation" }, |epoch| epoch.validation_loss),
    ];
    LinesSection {
        title: format!("loss{of} by epoch"),
        note: "The train loss is taken during the epoch and with dropout, the validation loss after it and without."
            .to_owned(),
        x: Axis::new("epoch"),
        y: Axis::new(format!("loss ({})", trained.unit())),
        series: drawn(series),
    }
}

/// For several modalities, the losses of their own heads and the lengths of their gradients.
fn modality_curves(trained: &Trained) -> Vec<LinesSection> {
    let names: Vec<&str> = trained.modalities().iter().map(|modality| modality.name.as_str()).collect();
    let each = |value: fn(&ModalityEpoch) -> Option<f64>| -> Vec<Series> {
        let of = |(place, name): (usize, &&str)| curve(trained, name, |epoch| value(epoch.modalities.get(place)?));
        drawn(names.iter().enumerate().map(of).collect())
    };
    let section = |title: &str, note: &str, y: String, series: Vec<Series>| LinesSection {
        title: title.to_owned(),
        note: note.to_owned(),
        x: Axis::new("epoch"),
        y: Axis::new(y),
        series,
    };
    let loss = || format!("loss ({})", trained.unit());
    let sections = [
        section(
            "train loss of each modality by epoch",
            "Of its own head, over the rows that have it.",
            loss(),
            each(|modality| Some(modality.train_loss)),
        ),
        section(
            "validation loss of each modality by epoch",
            "Of its own head, over the rows that have it. One that rises while others fall has learnt its train rows by \
             heart: give it less width, more dropout or a smaller weight in `loss`.",
            loss(),
            each(|modality| modality.validation_loss),
        ),
        section(
            "gradient of each modality by epoch",
            "The mean length of the gradients of its encoder, from all heads. A modality whose gradient is far below the \
             others' learns little.",
            "length of the gradient".to_owned(),
            each(|modality| Some(modality.gradient_norm)),
        ),
    ];
    sections.into_iter().filter(|section| !section.series.is_empty()).collect()
}

/// The modalities in the epoch whose weights the model has.
fn modality_table(trained: &Trained) -> TableSection {
    let readings = &trained.model.columns().encoders;
    let row = |modality: &ModalityEpoch| {
        let kind =
            readings.iter().find(|reading| reading.name == modality.name).map_or("", |reading| reading.modality());
        vec![
            Cell::text(modality.name.clone()),
            Cell::text(kind),
            Cell::number(modality.present_share),
            Cell::number(trained.weights.modality(&modality.name)),
            Cell::number(modality.train_loss),
            modality.validation_loss.map_or(Cell::Empty, Cell::number),
        ]
    };
    TableSection {
        title: "modalities".to_owned(),
        note: format!(
            "In epoch {}, each by its own head. The joint loss has the weight {}.",
            trained.report.best_epoch, trained.weights.joint
        ),
        columns: ["encoder", "modality", "share of train rows", "weight of its loss", "train loss", "validation loss"]
            .map(str::to_owned)
            .to_vec(),
        rows: trained.modalities().iter().map(row).collect(),
    }
}

fn sizes(trained: &Trained) -> TableSection {
    let mut rows = vec![vec![Cell::text("parameters"), Cell::Count(trained.parameters as u64)]];
    for encoder in &trained.model.columns().encoders {
        rows.push(vec![Cell::text(format!("inputs of {}", encoder.name)), Cell::Count(encoder.inputs() as u64)]);
    }
    TableSection {
        title: "size".to_owned(),
        note: String::new(),
        columns: vec![String::new(), "count".to_owned()],
        rows,
    }
}
