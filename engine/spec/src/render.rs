//! A pipeline as YAML again: parameters in their places, secrets still as `${env.NAME}`.
//!
//! Promises: reading what was rendered, from the same folder, gives the same nodes. Comments and layout are
//! those of the writer, not of the file.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

use crate::PipelineSpec;
use crate::document::{Base, Content, Entry, State, Tree};
use crate::pointer;
use crate::template;

/// A value that YAML could not be written of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pipeline cannot be written as YAML: {0}")]
pub struct RenderError(String);

impl PipelineSpec {
    /// The pipeline as YAML text, parameters resolved.
    ///
    /// Paths that start from the working directory are written absolute, so that the text can be read from
    /// anywhere the pipeline's own paths can.
    ///
    /// # Errors
    /// [`RenderError`] if the YAML writer refuses a value.
    pub fn render(&self) -> Result<String, RenderError> {
        write(&Part { pipeline: Some(self), tree: &self.rendered_tree(), at: String::new() })
    }

    /// The document without `params:` and without variables whose values stand in their places.
    fn rendered_tree(&self) -> Tree {
        let tree = self.document.tree();
        let Some(entries) = tree.as_map() else { return tree.clone() };
        let mut kept: IndexMap<String, Entry> = entries.clone();
        kept.shift_remove("params");
        let has_secrets = match kept.get_mut("env") {
            Some(Entry { value: Tree { content: Content::Map(variables), .. }, .. }) => {
                variables.retain(|name, _| self.env.get(name).is_some_and(|variable| variable.secret));
                !variables.is_empty()
            }
            _ => false,
        };
        if !has_secrets {
            kept.shift_remove("env");
        }
        Tree { content: Content::Map(kept), ..tree.clone() }
    }
}

fn write(part: &Part<'_>) -> Result<String, RenderError> {
    // Quoting by the rules of YAML 1.1 as well keeps texts such as `off` texts for every reader.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(part, options).map_err(|error| RenderError(error.to_string()))
}

/// A part of the document on its way out.
struct Part<'p> {
    pipeline: Option<&'p PipelineSpec>,
    tree: &'p Tree,
    at: String,
}

impl Part<'_> {
    fn text<'t>(&'t self, text: &'t str) -> Cow<'t, str> {
        if let State::Secret(_) = self.tree.state {
            return Cow::Borrowed(text);
        }
        let text = match self.tree.base {
            Base::WorkingDirectory => self.absolute().unwrap_or(text),
            Base::PipelineFolder => text,
        };
        if text.contains("${") { Cow::Owned(template::escape(text)) } else { Cow::Borrowed(text) }
    }

    /// What the options, or the store, made of a text that starts from the working directory.
    fn absolute(&self) -> Option<&str> {
        let pipeline = self.pipeline?;
        let steps: Vec<_> = pointer::steps(&self.at).collect();
        match steps.as_slice() {
            [store] if store == "store" => pipeline.store.as_deref(),
            [plugins, index] if plugins == "plugins" => {
                pipeline.plugins.get(index.parse::<usize>().ok()?).map(String::as_str)
            }
            [nodes, id, with, option, ..] if nodes == "nodes" && with == "with" => {
                let below = self.at.splitn(6, '/').nth(5).map_or_else(String::new, |rest| format!("/{rest}"));
                pipeline.nodes.get(id.as_ref())?.with.get(option.as_ref())?.pointer(&below).and_then(Value::as_str)
            }
            _ => None,
        }
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.tree.content {
            Content::Null => serializer.serialize_unit(),
            Content::Bool(value) => serializer.serialize_bool(*value),
            Content::Number(number, _) => number.serialize(serializer),
            Content::Text(text) => serializer.serialize_str(&self.text(text)),
            Content::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for (index, tree) in items.iter().enumerate() {
                    let at = pointer::join_index(&self.at, index);
                    list.serialize_element(&Part { pipeline: self.pipeline, tree, at })?;
                }
                list.end()
            }
            Content::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, entry) in entries {
                    let at = pointer::join(&self.at, key);
                    let part = Part { pipeline: self.pipeline, tree: &entry.value, at };
                    map.serialize_entry(&template::escape(key), &part)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use engine_core::SourceText;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{folders, no_environment, read_with, vocabulary};
    use crate::{Document, Parameters, read, resolve};

    #[test]
    fn parameters_are_in_their_places_and_secrets_are_not_opened() {
        let text = "\
fuseline: 1
name: example
params: {data: data, skip: 1, list: [NA, '${data}']}
env: {ADDRESS: {secret: true}, HOST: {default: h}}
nodes:
  rows: {uses: ingest.csv, with: {path: \"${data}/a.csv\", skip: \"${skip}\", nulls: \"${list}\"}, cache: off}
  more: {uses: ingest.csv, with: {path: \"${env.ADDRESS}\", nulls: ['${env.HOST}', '$${x}', 'off']}}
";
        let mut parameters = Parameters::new();
        parameters.set("data=tables").unwrap();
        let (pipeline, _) = read_with(text, &parameters).unwrap();
        let rendered = pipeline.render().unwrap();
        assert!(rendered.contains("${env.ADDRESS}") && !rendered.contains("HOST"), "{rendered}");
        assert!(!rendered.contains("params") && rendered.contains("/home/tables/a.csv"), "{rendered}");

        let source = SourceText { name: "rendered.yaml".into(), text: rendered.clone() };
        let (again, warnings) = read(source, &Parameters::new(), &no_environment, &vocabulary(), &folders()).unwrap();
        assert!(warnings.is_empty());
        for (id, node) in &pipeline.nodes {
            // `--set` gave a list item that is no path: it stays as it is.
            assert_eq!(again.nodes[id], *node, "{rendered}");
        }
        assert_eq!(again.render().unwrap(), rendered);
    }

    #[test]
    fn plugins_are_written_so_that_they_are_found_again() {
        let text = "\
params: {more: x}
plugins: [here/one, '${more}']
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
";
        let mut parameters = Parameters::new();
        parameters.set("more=two").unwrap();
        let (pipeline, _) = read_with(text, &parameters).unwrap();
        let source = SourceText { name: "rendered.yaml".into(), text: pipeline.render().unwrap() };
        let (again, _) = read(source, &Parameters::new(), &no_environment, &vocabulary(), &folders()).unwrap();
        assert_eq!(again.plugins, ["/pipelines/here/one", "/home/two"]);
    }

    fn arbitrary_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "[ -~]{0,12}",
            any::<String>(),
            "(yes|no|on|off|null|~|1|1e3|0x1F|007|\\.5|- a|a: b|# c|\\$\\{a\\}|\\$\\$\\{|<<|=|\\||>|12:30|2024-01-01|\t|\n|a\n|\na| a|a |'|\"|\u{feff}|\u{85}|\u{2028}){1,3}",
        ];
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// `value` as a document: JSON is YAML, once characters YAML has no room for are escaped.
    fn document(value: &Value) -> Document {
        let mut text = String::new();
        for c in serde_json::to_string(value).unwrap().chars() {
            match c {
                ' '..='~' => text.push(c),
                other => {
                    for unit in other.encode_utf16(&mut [0; 2]) {
                        if other as u32 > 0xffff {
                            continue;
                        }
                        text.push_str(&format!("\\u{unit:04x}"));
                    }
                    if other as u32 > 0xffff {
                        text.push_str(&format!("\\U{:08x}", other as u32));
                    }
                }
            }
        }
        Document::parse(SourceText { name: "value.yaml".into(), text }).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in arbitrary_value()) {
            let tree = document(&value).tree().clone();
            prop_assert_eq!(&tree.to_value(), &value);
            let written = write(&Part { pipeline: None, tree: &tree, at: String::new() }).unwrap();
            let read = Document::parse(SourceText { name: "written.yaml".into(), text: written.clone() });
            let read = read.map_err(|problem| TestCaseError::fail(format!("{problem:?}\n{written}")))?;
            let (resolved, problems) = resolve(read, &Parameters::new(), &no_environment);
            prop_assert!(problems.is_empty(), "{:?}\n{}", problems, written);
            prop_assert_eq!(resolved.document().value(), &value, "{}", written);
        }
    }
}
