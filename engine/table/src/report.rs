//! What a `report` artifact holds: a page as data.
//!
//! A kind that scores or trains writes a [`ReportPage`] into the file [`REPORT_FILE`]; `engine-report` draws it. The page
//! says what is to be seen, never how: no colours, no markup. All text is plain and may hold the user's own names, so
//! whoever draws it must escape it. Numbers are finite; a value that does not exist is left out or is `None`.

use engine_core::MetricValue;
use serde::{Deserialize, Serialize};

use crate::{Files, NodeError};

/// The file of a `report` artifact.
pub const REPORT_FILE: &str = "report.json";

/// The version of the format; a reader refuses a newer one.
pub const REPORT_FORMAT: u32 = 1;

/// A page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportPage {
    /// [`REPORT_FORMAT`].
    pub format: u32,
    /// What stands at the top, as in `classification of default`.
    pub title: String,
    /// From top to bottom.
    pub sections: Vec<Section>,
}

/// A part of a page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "section", rename_all = "snake_case", deny_unknown_fields)]
pub enum Section {
    /// Paragraphs of plain text.
    Text {
        /// The heading; may be empty.
        title: String,
        /// How much it matters.
        tone: Tone,
        /// One sentence or more each.
        paragraphs: Vec<String>,
    },
    /// Rows and columns.
    Table(TableSection),
    /// Curves in one pair of axes.
    Lines(LinesSection),
    /// A square of counts, such as a confusion matrix.
    Matrix(MatrixSection),
    /// A bar for each of several names.
    Bars(BarsSection),
}

/// How much a text matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Worth knowing.
    Note,
    /// Something is probably not as meant.
    Warning,
}

/// Rows and columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSection {
    /// The heading.
    pub title: String,
    /// What a reader must know to read it; may be empty.
    pub note: String,
    /// The heads of the columns.
    pub columns: Vec<String>,
    /// The rows; each has one cell a column.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// Nothing.
    Empty,
    /// Text.
    Text(String),
    /// A whole number.
    Count(u64),
    /// A number, to be shown with four digits or so.
    Number(f64),
    /// A score, with its 95 % interval where it has one.
    Metric(MetricValue),
}

impl Cell {
    /// A number, or nothing if it is not finite.
    pub fn number(value: f64) -> Cell {
        if value.is_finite() { Cell::Number(value) } else { Cell::Empty }
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Cell {
        Cell::Text(text.into())
    }
}

/// Curves in one pair of axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinesSection {
    /// The heading.
    pub title: String,
    /// What a reader must know to read it; may be empty.
    pub note: String,
    /// The axis from left to right.
    pub x: Axis,
    /// The axis from bottom to top.
    pub y: Axis,
    /// The curves.
    pub series: Vec<Series>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// What is measured, with its unit.
    pub label: String,
    /// The range to show; `None` is the range of the points.
    pub range: Option<(f64, f64)>,
}

impl Axis {
    /// An axis that shows all points.
    pub fn new(label: impl Into<String>) -> Axis {
        Axis { label: label.into(), range: None }
    }

    /// An axis from 0 to 1.
    pub fn share(label: impl Into<String>) -> Axis {
        Axis { label: label.into(), range: Some((0.0, 1.0)) }
    }
}

/// A curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// How it is drawn.
    pub mark: Mark,
    /// Its points, in the order they are joined.
    pub points: Vec<(f64, f64)>,
}

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// A line through the points.
    Line,
    /// A line through the points, and a dot on each.
    LineAndDots,
    /// Dots only.
    Dots,
    /// A thin dashed line to compare the others with: chance, perfect calibration.
    Reference,
}

/// A square of counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixSection {
    /// The heading.
    pub title: String,
    /// What a reader must know to read it; may be empty.
    pub note: String,
    /// What the rows are, as in `truth`.
    pub row_label: String,
    /// What the columns are, as in `prediction`.
    pub column_label: String,
    /// A name for each row.
    pub row_names: Vec<String>,
    /// A name for each column.
    pub column_names: Vec<String>,
    /// The counts, row by row.
    pub counts: Vec<Vec<u64>>,
}

/// A bar for each of several names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BarsSection {
    /// The heading.
    pub title: String,
    /// What a reader must know to read it; may be empty.
    pub note: String,
    /// What the length of a bar is.
    pub value_label: String,
    /// The bars; an interval is drawn as a whisker.
    pub bars: Vec<Bar>,
}

/// A bar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    /// What it stands for.
    pub name: String,
    /// Its length.
    pub value: MetricValue,
}

impl ReportPage {
    /// A page without sections.
    pub fn new(title: impl Into<String>) -> ReportPage {
        ReportPage { format: REPORT_FORMAT, title: title.into(), sections: Vec::new() }
    }

    /// The page as the files of an artifact.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn to_files(&self) -> Result<Files, NodeError> {
        Files::json(REPORT_FILE, self).map_err(NodeError::failed)
    }

    /// The page in the files of an artifact.
    ///
    /// # Errors
    /// If the files hold no page, or one of a newer format.
    pub fn from_files(files: &Files) -> Result<ReportPage, NodeError> {
        let failed = |error: serde_json::Error| NodeError::Failed(format!("the report cannot be read: {error}"));
        let value: serde_json::Value = files.read_json(REPORT_FILE).map_err(failed)?;
        match value["format"].as_u64() {
            Some(format) if format > u64::from(REPORT_FORMAT) => Err(NodeError::Failed(format!(
                "the report has format {format}, and this program reads up to {REPORT_FORMAT}; use a newer one"
            ))),
            _ => serde_json::from_value(value).map_err(failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> ReportPage {
        let mut page = ReportPage::new("classification of <b>");
        let metric = MetricValue { value: 0.5, low: Some(0.25), high: None };
        page.sections = vec![
            Section::Text { title: String::new(), tone: Tone::Warning, paragraphs: vec!["mind the gap".into()] },
            Section::Table(TableSection {
                title: "t".into(),
                note: String::new(),
                columns: vec!["a".into(); 5],
                rows: vec![vec![Cell::Empty, Cell::text("x"), Cell::Count(3), Cell::number(0.1), Cell::Metric(metric)]],
            }),
            Section::Lines(LinesSection {
                title: "l".into(),
                note: String::new(),
                x: Axis::share("x"),
                y: Axis::new("y"),
                series: vec![Series { name: "s".into(), mark: Mark::Reference, points: vec![(0.0, 1.0)] }],
            }),
        ];
        page
    }

    #[test]
    fn a_page_comes_back_as_it_was_written() {
        let page = page();
        assert_eq!(ReportPage::from_files(&page.to_files().unwrap()).unwrap(), page);
    }

    #[test]
    fn a_newer_format_is_refused_with_the_way_out() {
        let newer = ReportPage { format: REPORT_FORMAT + 1, ..page() };
        let error = ReportPage::from_files(&newer.to_files().unwrap()).unwrap_err().to_string();
        assert!(error.contains("format 2") && error.contains("newer"), "{error}");
    }

    #[test]
    fn a_number_that_does_not_exist_is_an_empty_cell() {
        assert_eq!(Cell::number(f64::NAN), Cell::Empty);
        assert_eq!(Cell::number(0.5), Cell::Number(0.5));
    }
}
