//! What people and programs see of a pipeline: diagnostics, a run as it goes, plans, tables, manuals and pages.
//!
//! Values in, text out: diagnostics with snippets, [`engine_core::Event`]s as bars, lines or JSON, a run as one HTML
//! file. Besides `engine-cli` the only room that prints, and what it prints it writes to a writer it is given. Knows
//! no node in particular, reads no file and no argument.

mod charts;
mod diagnostics;
mod html;
mod kind_page;
mod markup;
mod options;
mod plan_view;
mod progress;
mod quantities;
mod screen;
mod sections;
mod summary;
mod tables;

pub use diagnostics::{diagnostics_json, render_diagnostics, summary as diagnostics_summary};
pub use html::{RunPage, report_html, run_html};
pub use kind_page::{code_markdown, code_text, codes_table, kind_json, kind_markdown, kind_text, kinds_table};
pub use plan_view::{PlanDetail, preview_summary, preview_text};
pub use progress::{Display, Show};
pub use quantities::{bytes, count, counted, number, seconds};
pub use screen::{PLAIN_WIDTH, Screen, Style, Tone};
pub use summary::{Comparison, MetricRow, NodeSummary, RunSummary, metric_rows};
pub use tables::{Align, Cell, Table};
