//! Escaping: user text in HTML and in Markdown.

/// `text` for HTML, in elements and in quoted attributes alike; control characters become spaces.
pub(crate) fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            '\n' => html.push('\n'),
            control if control.is_control() => html.push(' '),
            other => html.push(other),
        }
    }
    html
}

/// `text` as a cell of a Markdown table: one line, no bar that would end the cell.
pub(crate) fn markdown_cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_element_or_attribute() {
        assert_eq!(
            escape("<script>\"a\" & 'b'\u{1b}</script>"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39; &lt;/script&gt;"
        );
    }

    #[test]
    fn a_cell_stays_a_cell() {
        assert_eq!(markdown_cell("a |\n b"), "a \\| b");
    }
}
