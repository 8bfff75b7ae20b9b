//! Plain text tables with aligned columns, and the same rows as JSON.
//!
//! Columns are as wide as their widest cell, in terminal columns, not characters. A table that is wider than
//! a terminal loses the tail of its widest text columns first; numbers are never cut.

use serde_json::{Map, Value};

use crate::screen::{Screen, Style, Tone, cut, one_line, width_of};

/// The side a column's cells stand at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
    /// As `Left`, and never cut: what is copied into another command.
    Whole,
}

/// A cell: its text and what it means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cell {
    /// The text; control characters are shown as spaces.
    pub text: String,
    /// Its colour on a screen that has colours.
    pub tone: Tone,
}

impl Cell {
    /// A cell in a tone.
    pub fn new(text: impl Into<String>, tone: Tone) -> Cell {
        Cell { text: text.into(), tone }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::new(text, Tone::Neutral)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::new(text, Tone::Neutral)
    }
}

/// Columns with headers, and rows. Invariant: every row has one cell for each column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<Cell>>,
}

/// No column is cut to less than this.
const NARROWEST: usize = 8;
const GAP: &str = "  ";

impl Table {
    /// A table with these columns and no rows.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Align)>) -> Table {
        let columns = columns.into_iter().map(|(header, align)| (header.to_owned(), align)).collect();
        Table { columns, rows: Vec::new() }
    }

    /// Adds a row; cells that are missing are empty, cells too many are dropped.
    pub fn row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) -> &mut Table {
        let mut row: Vec<Cell> = cells.into_iter().map(Into::into).take(self.columns.len()).collect();
        row.resize(self.columns.len(), Cell::default());
        for cell in &mut row {
            cell.text = one_line(&cell.text);
        }
        self.rows.push(row);
        self
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as lines, each with its line end; headers first. A file or a pipe takes lines of any width, so nothing
    /// is cut there.
    pub fn render(&self, screen: &Screen) -> String {
        let widths = self.widths(if screen.attended { screen.width } else { usize::MAX });
        let mut text = String::new();
        let headers = self.columns.iter().map(|(header, _)| Cell::new(header.as_str(), Tone::Strong));
        self.line(&mut text, headers.collect::<Vec<_>>().as_slice(), &widths, screen.style);
        for row in &self.rows {
            self.line(&mut text, row, &widths, screen.style);
        }
        text
    }

    /// The rows as objects with the headers as keys and the cells as text.
    pub fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| {
            let pairs = self.columns.iter().zip(row);
            Value::Object(
                pairs.map(|((header, _), cell)| (header.clone(), cell.text.clone().into())).collect::<Map<_, _>>(),
            )
        };
        Value::Array(self.rows.iter().map(object).collect())
    }

    fn widths(&self, screen: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|(header, _)| width_of(header)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(width_of(&cell.text));
            }
        }
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(screen);
        while excess > 0 {
            let texts = (0..widths.len()).filter(|&column| self.columns[column].1 == Align::Left);
            // The last of the widest: names stand in front and matter more.
            let Some(widest) = texts.max_by_key(|&column| widths[column]) else { break };
            let floor = NARROWEST.max(width_of(&self.columns[widest].0));
            if widths[widest] <= floor {
                break;
            }
            widths[widest] -= 1;
            excess -= 1;
        }
        widths
    }

    fn line(&self, text: &mut String, cells: &[Cell], widths: &[usize], style: Style) {
        let start = text.len();
        for (place, (cell, width)) in cells.iter().zip(widths).enumerate() {
            if place > 0 {
                text.push_str(GAP);
            }
            let shown = cut(&cell.text, *width);
            let padding = " ".repeat(width.saturating_sub(width_of(&shown)));
            let painted = style.paint(cell.tone, &shown);
            match self.columns[place].1 {
                Align::Left | Align::Whole => text.extend([painted, padding]),
                Align::Right => text.extend([padding, painted]),
            }
        }
        let end = start + text[start..].trim_end_matches(' ').len();
        text.truncate(end);
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new([("node", Align::Left), ("rows", Align::Right), ("why", Align::Left)]);
        table.row(["rows", "1,000", "first run"]);
        table.row(["信用", "7", "option `strategy` changed: mean -> median"]);
        table
    }

    #[test]
    fn columns_are_aligned_by_terminal_columns() {
        let text = sample().render(&Screen::PLAIN);
        assert_eq!(
            text,
            "node   rows  why\nrows  1,000  first run\n信用      7  option `strategy` changed: mean -> median\n"
        );
    }

    #[test]
    fn a_narrow_screen_cuts_text_and_no_number() {
        let text = sample().render(&Screen { width: 30, attended: true, ..Screen::PLAIN });
        assert!(text.lines().all(|line| width_of(line) <= 30), "{text}");
        assert!(text.contains("1,000") && text.contains('…'), "{text}");
    }

    #[test]
    fn a_pipe_gets_every_cell_whole() {
        let text = sample().render(&Screen { width: 30, ..Screen::PLAIN });
        assert!(text.contains("option `strategy` changed: mean -> median"), "{text}");
    }

    #[test]
    fn a_very_narrow_screen_does_not_panic() {
        for width in 0..12 {
            let text = sample().render(&Screen { width, attended: true, ..Screen::PLAIN });
            assert_eq!(text.lines().count(), 3);
        }
    }

    #[test]
    fn a_cell_cannot_break_its_line() {
        let mut table = Table::new([("a", Align::Left)]);
        table.row(["x\ny\u{1b}[31m"]);
        assert_eq!(table.render(&Screen::PLAIN), "a\nx y [31m\n");
    }

    #[test]
    fn a_row_has_a_cell_for_every_column() {
        let mut table = Table::new([("a", Align::Left), ("b", Align::Left)]);
        table.row(["1"]).row(["1", "2", "3"]);
        assert_eq!(table.json(), serde_json::json!([{"a": "1", "b": ""}, {"a": "1", "b": "2"}]));
    }

    #[test]
    fn colours_do_not_move_columns() {
        let mut table = Table::new([("a", Align::Left), ("b", Align::Left)]);
        table.row([Cell::new("ran", Tone::Good), Cell::new("x", Tone::Neutral)]);
        let coloured = table.render(&Screen { style: Style::Colour, ..Screen::PLAIN });
        assert_eq!(console::strip_ansi_codes(&coloured), table.render(&Screen::PLAIN));
        assert!(coloured.contains("\u{1b}[32mran\u{1b}[0m"));
    }
}
