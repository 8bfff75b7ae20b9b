//! `fuseline kinds`, `schema`, `explain` and the generated pages of the book.

use std::fs;
use std::path::Path;

use engine_core::{Code, nearest};
use engine_report::{Align, Screen, Table, code_markdown, code_text, kind_json, kind_markdown, kind_text};
use engine_table::{Kind, Registry};
use serde_json::Value;

use super::say;
use crate::{Failure, SUCCESS};

/// Lists the kinds, or prints the manual of one.
pub fn kinds(kind: Option<&str>, json: bool, registry: &Registry) -> Result<u8, Failure> {
    let screen = Screen::of_stdout();
    match (kind, json) {
        (Some(name), false) => say(&kind_text(find(name, registry)?, &screen))?,
        (Some(name), true) => say(&pretty(&kind_json(find(name, registry)?)))?,
        (None, false) => {
            let mut table = Table::new([("kind", Align::Left), ("effect", Align::Left), ("what it does", Align::Left)]);
            for kind in registry.iter() {
                let effect = serde_json::to_value(kind.effect).unwrap_or_default();
                table.row([kind.name.as_str(), effect.as_str().unwrap_or(""), &one_line(kind.summary())]);
            }
            say(&table.render(&screen))?;
        }
        (None, true) => say(&pretty(&Value::Array(registry.iter().map(|kind| kind_json(kind)).collect())))?,
    }
    Ok(SUCCESS)
}

/// Prints the schema of a pipeline file, or of a kind's options.
pub fn schema(kind: Option<&str>, registry: &Registry) -> Result<u8, Failure> {
    let schema = match kind {
        Some(name) => find(name, registry)?.options_schema.clone(),
        None => engine_spec::pipeline_schema(&engine_plan::vocabulary(registry)),
    };
    say(&pretty(&schema))?;
    Ok(SUCCESS)
}

/// Explains a diagnostic.
pub fn explain(code: &str) -> Result<u8, Failure> {
    let known = codes();
    match known.iter().find(|known| known.name == code) {
        Some(code) => say(&code_text(code, &Screen::of_stdout()))?,
        None => {
            let near = nearest(code, known.iter().map(|code| code.name));
            let hint = near.map_or_else(
                || "it stands in brackets in a message, as in `error[port.kind]`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(Failure::message(format!("there is no diagnostic `{code}`; {hint}")));
        }
    }
    Ok(SUCCESS)
}

/// Every diagnostic there is, in order of name.
pub fn codes() -> Vec<&'static Code> {
    let all = engine_spec::CODES.iter().chain(engine_plan::CODES).chain(nodes_catalog::CODES);
    let mut codes: Vec<&'static Code> = all.copied().collect();
    codes.sort_by_key(|code| code.name);
    codes.dedup_by_key(|code| code.name);
    codes
}

/// Writes the schemas and the generated pages of the book below `root`.
pub fn docs(root: &Path, registry: &Registry) -> Result<u8, Failure> {
    let schemas = Folder::fresh(root.join("schemas"))?;
    schemas
        .write("pipeline.schema.json", &pretty(&engine_spec::pipeline_schema(&engine_plan::vocabulary(registry))))?;
    schemas.write("plugin.schema.json", &pretty(&nodes_catalog::plugin::manifest_schema()))?;
    let kinds = Folder::fresh(root.join("docs/src/kinds"))?;
    let mut index = String::from(
        "# Kinds\n\nEvery kind a node may use, made from the binary itself.\n\n| kind | what it does |\n|---|---|\n",
    );
    for kind in registry.iter() {
        schemas.write(&format!("{}.schema.json", kind.name), &pretty(&kind.options_schema))?;
        kinds.write(&format!("{}.md", kind.name), &kind_markdown(kind))?;
        index.push_str(&format!("| [`{0}`]({0}.md) | {1} |\n", kind.name, one_line(kind.summary())));
    }
    kinds.write("README.md", &index)?;
    let pages = Folder::fresh(root.join("docs/src/codes"))?;
    let mut index =
        String::from("# Diagnostics\n\nWhat `fuseline explain CODE` prints.\n\n| code | what is wrong |\n|---|---|\n");
    for code in codes() {
        pages.write(&format!("{}.md", code.name), &code_markdown(code))?;
        index.push_str(&format!("| [`{0}`]({0}.md) | {1} |\n", code.name, one_line(code.summary)));
    }
    pages.write("README.md", &index)?;
    Ok(SUCCESS)
}

/// A folder whose files are all generated.
struct Folder(std::path::PathBuf);

impl Folder {
    fn fresh(path: std::path::PathBuf) -> Result<Folder, Failure> {
        let failed = |error| Failure::message(format!("cannot write `{}`: {error}", path.display()));
        if path.exists() {
            fs::remove_dir_all(&path).map_err(failed)?;
        }
        fs::create_dir_all(&path).map_err(failed)?;
        Ok(Folder(path))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.0.join(name);
        fs::write(&path, text).map_err(|error| Failure::message(format!("cannot write `{}`: {error}", path.display())))
    }
}

fn find<'r>(name: &str, registry: &'r Registry) -> Result<&'r Kind, Failure> {
    if let Some(kind) = registry.kind(name) {
        return Ok(kind);
    }
    let names = || registry.iter().map(|kind| kind.name.as_str());
    // `impute` is as good a question as `clean.impute`.
    let named_so = || names().find(|kind| kind.rsplit('.').next() == Some(name));
    let near = nearest(name, names()).or_else(named_so);
    let hint = near.map_or_else(|| "`fuseline kinds` lists them".to_owned(), |near| format!("did you mean `{near}`?"));
    Err(Failure::message(format!("there is no kind `{name}`; {hint}")))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// JSON for people and files, with a newline at the end.
pub fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_diagnostic_has_its_own_name_and_a_page() {
        let all = engine_spec::CODES.iter().chain(engine_plan::CODES).chain(nodes_catalog::CODES);
        let mut names: Vec<&str> = all.map(|code| code.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "two diagnostics share a name");
        for code in codes() {
            assert!(code.explanation.len() > 40, "{} has no page", code.name);
        }
    }
}
