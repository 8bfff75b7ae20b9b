//! What a run sets: `--set key=value` and `--params file.yaml`.

use engine_core::{Diagnostic, SourceText, Span};
use indexmap::IndexMap;

use crate::Document;
use crate::codes::{param, spec, yaml};
use crate::document::{Base, Content, Place, Scalar, Tree, resolve_plain};

/// Parameters set for one reading of a pipeline; a later setting replaces an earlier one.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    settings: IndexMap<String, Setting>,
}

/// A value given from outside, and where its name stands.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) name: Place,
    pub(crate) value: Tree,
}

impl Parameters {
    /// No settings.
    pub fn new() -> Parameters {
        Parameters::default()
    }

    /// Takes `key=value` as `--set` gives it.
    ///
    /// A value in quotes, brackets or braces is read as YAML; any other by the core schema, so that `8` is an
    /// integer, `true` a bool and `*.csv` a text. Relative paths in it resolve from the working directory.
    ///
    /// # Errors
    /// A diagnostic if there is no `=` or the value is no YAML.
    pub fn set(&mut self, argument: &str) -> Result<(), Diagnostic> {
        let (key, value) = match argument.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => (key.trim(), value),
            _ => {
                let source = SourceText { name: "--set".into(), text: argument.into() }.into();
                return Err(Diagnostic::error(&param::SETTING, format!("`{argument}` is not written as `key=value`"))
                    .label(Span::new(&source, 0..argument.len()), "expected `key=value`")
                    .help("write `--set epochs=8`, with no spaces around `=`"));
            }
        };
        let name = format!("--set {key}");
        let mut tree = if value.trim_start().starts_with(['"', '\'', '[', '{']) {
            Document::parse(SourceText { name: name.clone(), text: value.into() })?.tree().clone()
        } else {
            plain(&name, value)?
        };
        tree.set_base(Base::WorkingDirectory);
        let name = tree.place.clone();
        self.settings.insert(key.to_owned(), Setting { name, value: tree });
        Ok(())
    }

    /// Takes every key of `document`, a map, as `--params` gives it. Relative paths in it resolve from the
    /// pipeline's folder.
    ///
    /// # Errors
    /// A diagnostic if the document is no map.
    pub fn add_file(&mut self, document: &Document) -> Result<(), Diagnostic> {
        if document.tree().content == Content::Null {
            return Ok(());
        }
        let Some(entries) = document.tree().as_map() else {
            let found = document.tree().sort();
            let diagnostic = Diagnostic::error(&spec::TYPE, format!("expected a map of parameters, found {found}"));
            return Err(document
                .point(diagnostic, "", "not a map")
                .help("write `name: value` on a line for each parameter"));
        };
        for (key, entry) in entries {
            self.settings.insert(key.clone(), Setting { name: entry.key.clone(), value: entry.value.clone() });
        }
        Ok(())
    }

    pub(crate) fn setting(&self, name: &str) -> Option<&Setting> {
        self.settings.get(name)
    }

    pub(crate) fn settings(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.settings.iter().map(|(name, setting)| (name.as_str(), setting))
    }
}

/// A value from outside that is no quoted text and no collection.
pub(crate) fn plain(source_name: &str, written: &str) -> Result<Tree, Diagnostic> {
    let source = SourceText { name: source_name.into(), text: written.into() }.into();
    let span = Span::new(&source, 0..written.len());
    let content = match resolve_plain(written.trim()) {
        Ok(Scalar::Null) => Content::Null,
        Ok(Scalar::Bool(value)) => Content::Bool(value),
        Ok(Scalar::Number(number)) => Content::Number(number, written.trim().to_owned()),
        Ok(Scalar::Text) => Content::Text(written.to_owned()),
        Err(error) => {
            return Err(Diagnostic::error(&yaml::NUMBER, format!("`{written}` {error}"))
                .label(span, "a number that cannot be held")
                .help("if it is meant as a text, quote it twice, for the shell and for YAML: `'\"...\"'`"));
        }
    };
    Ok(Tree::new(content, span))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(argument: &str, name: &str, value: Value) {
        let mut parameters = Parameters::new();
        parameters.set(argument).unwrap();
        assert_eq!(parameters.setting(name).unwrap().value.to_value(), value, "{argument}");
    }

    #[test]
    fn types_are_kept() {
        check("epochs=8", "epochs", json!(8));
        check("rate=1e-3", "rate", json!(0.001));
        check("shuffle=false", "shuffle", json!(false));
        check("data=/tmp/a b", "data", json!("/tmp/a b"));
        check("id='007'", "id", json!("007"));
        check("columns=[a, 'b c', 3]", "columns", json!(["a", "b c", 3]));
        check("fusion={architecture: gated}", "fusion", json!({"architecture": "gated"}));
        check("glob=*.csv", "glob", json!("*.csv"));
        check("query=a: b # c", "query", json!("a: b # c"));
        check("a=b=c", "a", json!("b=c"));
        check("empty=", "empty", json!(null));
    }

    #[test]
    fn what_cannot_be_read_is_named_as_it_was_given() {
        let refused = |argument: &str| {
            let diagnostic = Parameters::new().set(argument).unwrap_err();
            (diagnostic.code.name, diagnostic.labels[0].span.source.name.clone())
        };
        assert_eq!(refused("epochs"), ("param.setting", "--set".into()));
        assert_eq!(refused("=3"), ("param.setting", "--set".into()));
        assert_eq!(refused("columns=[a"), ("yaml.syntax", "--set columns".into()));
        assert_eq!(refused("n=99999999999999999999"), ("yaml.number", "--set n".into()));
    }

    #[test]
    fn a_file_sets_every_key_and_a_later_setting_wins() {
        let file = |text: &str| Document::parse(SourceText { name: "run.yaml".into(), text: text.into() }).unwrap();
        let mut parameters = Parameters::new();
        parameters.add_file(&file("a: 1\nb: x\n")).unwrap();
        parameters.set("a=2").unwrap();
        assert_eq!(parameters.setting("a").unwrap().value.to_value(), json!(2));
        assert_eq!(parameters.setting("b").unwrap().value.base, Base::PipelineFolder);
        assert_eq!(parameters.setting("a").unwrap().value.base, Base::WorkingDirectory);
        parameters.add_file(&file("")).unwrap();
        assert_eq!(parameters.add_file(&file("[a]")).unwrap_err().code.name, "spec.type");
    }
}
