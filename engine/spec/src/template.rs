//! Texts with `${name}` and `${env.NAME}` in them.
//!
//! `$${` stands for the characters `${`; a `$` before anything else is a `$`.

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    /// Characters that stand for themselves.
    Literal(&'t str),
    /// A parameter of this name.
    Parameter(&'t str),
    /// An environment variable of this name.
    Environment(&'t str),
}

/// A `${` that is not followed by a name and `}`; holds what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateError<'t>(pub(crate) &'t str);

/// The parts of `text`.
pub(crate) fn parse(text: &str) -> Result<Vec<Piece<'_>>, TemplateError<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            literal(&mut pieces, &rest[..at - 1]);
            literal(&mut pieces, "${");
            rest = &rest[at + 2..];
            continue;
        }
        literal(&mut pieces, &rest[..at]);
        let written = &rest[at..];
        let Some(end) = written.find('}') else { return Err(TemplateError(written)) };
        let inside = &written[2..end];
        pieces.push(match inside.strip_prefix("env.") {
            Some(name) if is_environment_name(name) => Piece::Environment(name),
            None if is_parameter_reference(inside) => Piece::Parameter(inside),
            _ => return Err(TemplateError(&written[..=end])),
        });
        rest = &written[end + 1..];
    }
    literal(&mut pieces, rest);
    Ok(pieces)
}

/// `text` written so that [`parse`] reads it as itself.
pub(crate) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn literal<'t>(pieces: &mut Vec<Piece<'t>>, text: &'t str) {
    if !text.is_empty() {
        pieces.push(Piece::Literal(text));
    }
}

/// Whether `name` may be declared as a parameter or be a node's id.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether `name` may be an environment variable.
pub(crate) fn is_environment_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Looser than [`is_name`], so that `${Data}` and `${data-folder}` are reported as names that are not declared.
fn is_parameter_reference(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::Piece::{Environment, Literal, Parameter};
    use super::*;

    fn check(text: &str, pieces: &[Piece<'_>]) {
        assert_eq!(parse(text).unwrap(), pieces, "{text}");
    }

    #[test]
    fn names_stand_between_braces_and_the_rest_is_itself() {
        check("", &[]);
        check("plain $ and $x {y}", &[Literal("plain $ and $x {y}")]);
        check("${data}", &[Parameter("data")]);
        check("${data}/a_${n}.csv", &[Parameter("data"), Literal("/a_"), Parameter("n"), Literal(".csv")]);
        check("${env.HOME}", &[Environment("HOME")]);
        check("ä${x}ß", &[Literal("ä"), Parameter("x"), Literal("ß")]);
    }

    #[test]
    fn a_doubled_dollar_escapes() {
        check("$${data}", &[Literal("${"), Literal("data}")]);
        check("cost $$5 ${x}", &[Literal("cost $$5 "), Parameter("x")]);
    }

    #[test]
    fn what_is_no_name_is_refused_as_written() {
        for (text, written) in [
            ("a ${b", "${b"),
            ("${}", "${}"),
            ("${a b} c", "${a b}"),
            ("${env.}", "${env.}"),
            ("${env.a-b}", "${env.a-b}"),
        ] {
            assert_eq!(parse(text), Err(TemplateError(written)));
        }
    }

    #[test]
    fn an_escaped_text_is_read_as_itself() {
        for text in ["${data}", "$${x}", "$$${", "${${", "a$", ""] {
            let escaped = escape(text);
            let read: String = parse(&escaped)
                .unwrap()
                .iter()
                .map(|piece| if let Literal(text) = piece { *text } else { panic!("{text} has no names") })
                .collect();
            assert_eq!(read, text);
        }
    }
}
