//! The sections of a report artifact as HTML.

use engine_core::MetricValue;
use engine_table::report::{Bar, BarsSection, Cell, MatrixSection, Section, TableSection, Tone};

use crate::charts::lines_figure;
use crate::markup::escape;
use crate::quantities::{count, number};
use crate::summary::interval_text;

/// A square of more classes than this takes the whole width of the page.
const WIDE_MATRIX: usize = 6;
/// A table of more columns than this takes the whole width of the page.
const WIDE_TABLE: usize = 5;

/// A section in a panel of its own.
pub(crate) fn section_html(section: &Section) -> String {
    match section {
        Section::Text { title, tone, paragraphs } => {
            let class = if *tone == Tone::Warning { " warning" } else { "" };
            let text: String = paragraphs.iter().map(|paragraph| format!("<p>{}</p>\n", escape(paragraph))).collect();
            panel(title, "", &format!("wide{class}"), &text)
        }
        Section::Table(table) => {
            let has_intervals = table.rows.iter().flatten().any(|cell| matches!(cell, Cell::Metric(_)));
            let class = if has_intervals || table.columns.len() > WIDE_TABLE { "wide" } else { "" };
            panel(&table.title, &table.note, class, &table_html(table))
        }
        Section::Lines(lines) => panel(&lines.title, &lines.note, "", &lines_figure(lines)),
        Section::Matrix(matrix) => {
            let class = if matrix.column_names.len() > WIDE_MATRIX { "wide" } else { "" };
            panel(&matrix.title, &matrix.note, class, &matrix_html(matrix))
        }
        Section::Bars(bars) => panel(&bars.title, &bars.note, "", &bars_html(bars)),
    }
}

fn panel(title: &str, note: &str, class: &str, content: &str) -> String {
    let title = if title.is_empty() { String::new() } else { format!("<h3>{}</h3>\n", escape(title)) };
    let note = if note.is_empty() { String::new() } else { format!("<p class=\"note\">{}</p>\n", escape(note)) };
    let space = if class.is_empty() { "" } else { " " };
    format!("<section class=\"part{space}{class}\">\n{title}{note}{content}</section>\n")
}

fn table_html(table: &TableSection) -> String {
    let numeric = |column: usize| {
        let mut cells =
            table.rows.iter().filter_map(|row| row.get(column)).filter(|cell| **cell != Cell::Empty).peekable();
        cells.peek().is_some() && cells.all(|cell| !matches!(cell, Cell::Text(_)))
    };
    let classes: Vec<&str> =
        (0..table.columns.len()).map(|column| if numeric(column) { " class=\"number\"" } else { "" }).collect();
    let mut html = String::from("<div class=\"scroll\"><table>\n<thead><tr>");
    for (name, class) in table.columns.iter().zip(&classes) {
        html.push_str(&format!("<th scope=\"col\"{class}>{}</th>", escape(name)));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        html.push_str("<tr>");
        for (column, class) in classes.iter().enumerate() {
            let content = row.get(column).map(cell_html).unwrap_or_default();
            let first = column == 0 && matches!(row.first(), Some(Cell::Text(_)));
            let tag = if first { "th" } else { "td" };
            let scope = if first { " scope=\"row\"" } else { "" };
            html.push_str(&format!("<{tag}{scope}{class}>{content}</{tag}>"));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n");
    html
}

fn cell_html(cell: &Cell) -> String {
    match cell {
        Cell::Empty => String::new(),
        Cell::Text(text) => escape(text),
        Cell::Count(whole) => count(*whole),
        Cell::Number(value) => number(*value),
        Cell::Metric(score) => metric_html(*score),
    }
}

fn metric_html(score: MetricValue) -> String {
    let interval = interval_text(score);
    if interval.is_empty() {
        return number(score.value);
    }
    format!("{} <span class=\"interval\">({interval})</span>", number(score.value))
}

/// Counts, and the share of the row they are: the shade of a cell is its share of the row.
fn matrix_html(matrix: &MatrixSection) -> String {
    let mut html = format!(
        "<div class=\"scroll\"><table class=\"matrix\">\n<caption>rows: {}; columns: {}; shares are of the row</caption>\n\
         <thead><tr><td></td>",
        escape(&matrix.row_label),
        escape(&matrix.column_label)
    );
    for name in &matrix.column_names {
        html.push_str(&format!("<th scope=\"col\">{}</th>", escape(name)));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for (name, counts) in matrix.row_names.iter().zip(&matrix.counts) {
        let total: u64 = counts.iter().sum();
        html.push_str(&format!("<tr><th scope=\"row\">{}</th>", escape(name)));
        for &cell in counts {
            let share = if total == 0 { 0.0 } else { cell as f64 / total as f64 };
            let percent = if total == 0 { String::new() } else { format!("<small>{:.1} %</small>", share * 100.0) };
            // Never darker than the text in it can be read on.
            let shade = share * 0.5;
            html.push_str(&format!(
                "<td style=\"background: rgba(var(--shade), {shade:.3})\">{}{percent}</td>",
                count(cell)
            ));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n");
    html
}

fn bars_html(section: &BarsSection) -> String {
    let ends = |bar: &Bar| {
        [Some(bar.value.value), bar.value.low, bar.value.high].into_iter().flatten().filter(|value| value.is_finite())
    };
    let low = section.bars.iter().flat_map(ends).fold(0.0_f64, f64::min);
    let high = section.bars.iter().flat_map(ends).fold(0.0_f64, f64::max);
    let span = if high - low > 0.0 && (high - low).is_finite() { high - low } else { 1.0 };
    let place = |value: f64| ((value - low) / span * 100.0).clamp(0.0, 100.0);
    let mut html = format!(
        "<div class=\"scroll\"><table class=\"bars\">\n<thead><tr><th scope=\"col\">name</th><td></td>\
         <th scope=\"col\" class=\"number\">{}</th></tr></thead>\n<tbody>\n",
        escape(&section.value_label)
    );
    for bar in &section.bars {
        let value = bar.value.value;
        let (from, to) = if value.is_finite() { (place(value.min(0.0)), place(value.max(0.0))) } else { (0.0, 0.0) };
        let whisker = match (bar.value.low, bar.value.high) {
            (Some(low), Some(high)) if low.is_finite() && high.is_finite() => {
                format!(
                    "<b style=\"left: {:.2}%; width: {:.2}%\"></b>",
                    place(low),
                    (place(high) - place(low)).max(0.0)
                )
            }
            _ => String::new(),
        };
        html.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td class=\"track\"><div class=\"bar\" aria-hidden=\"true\">\
             <i style=\"left: {from:.2}%; width: {:.2}%\"></i><u style=\"left: {:.2}%\"></u>{whisker}</div></td>\
             <td class=\"number\">{}</td></tr>\n",
            escape(&bar.name),
            to - from,
            place(0.0),
            metric_html(bar.value)
        ));
    }
    html.push_str("</tbody>\n</table></div>\n");
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_names_are_headers() {
        let table = TableSection {
            title: "per class".into(),
            note: "rows of the test part".into(),
            columns: vec!["class".into(), "recall".into(), "support".into()],
            rows: vec![
                vec![Cell::text("bad"), Cell::Number(0.4321), Cell::Count(1200)],
                vec![Cell::text("good"), Cell::Empty, Cell::Count(7)],
            ],
        };
        let html = section_html(&Section::Table(table));
        assert!(html.contains("<th scope=\"col\">class</th><th scope=\"col\" class=\"number\">recall</th>"), "{html}");
        assert!(
            html.contains("<th scope=\"row\">bad</th><td class=\"number\">0.4321</td><td class=\"number\">1,200</td>")
        );
        assert!(html.contains("<td class=\"number\"></td>"));
    }

    #[test]
    fn a_cell_of_a_matrix_is_shaded_by_its_share_of_the_row() {
        let matrix = MatrixSection {
            title: "confusion".into(),
            note: String::new(),
            row_label: "truth".into(),
            column_label: "prediction".into(),
            row_names: vec!["a".into(), "b".into()],
            column_names: vec!["a".into(), "b".into()],
            counts: vec![vec![3, 1], vec![0, 0]],
        };
        let html = matrix_html(&matrix);
        assert!(html.contains("rgba(var(--shade), 0.375)\">3<small>75.0 %</small>"), "{html}");
        assert!(html.contains("rgba(var(--shade), 0.000)\">0</td>"), "{html}");
    }

    #[test]
    fn bars_grow_from_zero_to_both_sides() {
        let bar =
            |name: &str, value: f64| Bar { name: name.into(), value: MetricValue { value, low: None, high: None } };
        let section = BarsSection {
            title: "weights".into(),
            note: String::new(),
            value_label: "weight".into(),
            bars: vec![bar("up", 3.0), bar("down", -1.0), bar("none", f64::NAN)],
        };
        let html = bars_html(&section);
        assert!(html.contains("left: 25.00%; width: 75.00%") && html.contains("left: 0.00%; width: 25.00%"), "{html}");
    }
}
