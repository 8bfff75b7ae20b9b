//! Where text is printed: how wide it is, whether it takes colours, whether a person is watching.
//!
//! Knows nothing of what is printed.

use std::io::{Stderr, Stdout};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use console::Term;

/// The width of lines that go to a file or a pipe.
pub const PLAIN_WIDTH: usize = 100;

/// Whether text carries colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// No escape sequences at all.
    Plain,
    /// ANSI colours.
    Colour,
}

/// What a piece of text means; [`Style::Colour`] shows it as a colour, and the text itself always says it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Nothing in particular.
    #[default]
    Neutral,
    /// Went well.
    Good,
    /// Went wrong.
    Bad,
    /// Deserves a look.
    Caution,
    /// Is under way, or will be.
    Active,
    /// Can be skipped when reading.
    Faint,
    /// A heading or a name.
    Strong,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Tone::Neutral => "",
            Tone::Good => "32",
            Tone::Bad => "1;31",
            Tone::Caution => "33",
            Tone::Active => "36",
            Tone::Faint => "2",
            Tone::Strong => "1",
        }
    }
}

impl Style {
    /// `text` with the colour of `tone`, if there are colours.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if self == Style::Plain || tone == Tone::Neutral || text.is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code())
    }
}

/// A place where text is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Whether it takes colours.
    pub style: Style,
    /// Columns in a line.
    pub width: usize,
    /// Whether it is a terminal that somebody watches: bars may move.
    pub attended: bool,
}

impl Screen {
    /// A file or a pipe.
    pub const PLAIN: Screen = Screen { style: Style::Plain, width: PLAIN_WIDTH, attended: false };

    /// The standard output of this process; obeys `NO_COLOR`, `CLICOLOR` and `TERM=dumb`.
    pub fn of_stdout() -> Screen {
        Screen::of::<Stdout>(&std::io::stdout(), &Term::stdout())
    }

    /// The standard error of this process; obeys `NO_COLOR`, `CLICOLOR` and `TERM=dumb`.
    pub fn of_stderr() -> Screen {
        Screen::of::<Stderr>(&std::io::stderr(), &Term::stderr())
    }

    fn of<S: RawStream>(stream: &S, term: &Term) -> Screen {
        let style = match AutoStream::choice(stream) {
            ColorChoice::Never => Style::Plain,
            _ => Style::Colour,
        };
        let attended = stream.is_terminal();
        let width = match term.size_checked() {
            Some((_, columns)) if attended => usize::from(columns).max(20),
            _ => PLAIN_WIDTH,
        };
        Screen { style, width, attended }
    }
}

/// Columns that `text` takes on a terminal: wide characters take two, escape sequences none.
pub(crate) fn width_of(text: &str) -> usize {
    console::measure_text_width(text)
}

/// `text` without what would break a line or move the cursor.
pub(crate) fn one_line(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let mut line = String::with_capacity(text.len());
    for piece in text.split(char::is_control).filter(|piece| !piece.is_empty()) {
        if !line.is_empty() && !line.ends_with(' ') {
            line.push(' ');
        }
        line.push_str(piece);
    }
    line
}

/// `text` cut to at most `width` columns, with `…` where something is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    console::truncate_str(text, width, if width == 0 { "" } else { "…" }).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_has_no_escape_sequences() {
        assert_eq!(Style::Plain.paint(Tone::Bad, "failed"), "failed");
        assert_eq!(Style::Colour.paint(Tone::Bad, "failed"), "\u{1b}[1;31mfailed\u{1b}[0m");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(width_of("信用"), 4);
        assert_eq!(width_of("\u{1b}[1mab\u{1b}[0m"), 2);
        assert_eq!(cut("信用评分", 5), "信用…");
        assert_eq!(cut("abc", 3), "abc");
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(one_line("a\r\nb\tc\u{1b}[2Jd"), "a b c [2Jd");
    }
}
