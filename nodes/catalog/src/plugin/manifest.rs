//! `plugin.yaml`: what a plug-in is called, how it is started, what it reads and writes.

use std::collections::BTreeMap;

use engine_core::{LogicalType, Serving, Size, nearest};
use engine_table::{At, Problem};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::codes::{PLUGIN_EFFECT, PLUGIN_MANIFEST};

/// The file's name in the plug-in's folder.
pub const MANIFEST_FILE: &str = "plugin.yaml";

/// A plug-in: a kind whose work a process of its own does.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this file's format; this program reads version 1.
    #[schemars(schema_with = "format_version")]
    pub fuseline: u32,

    /// The kind's name, as `uses:` writes it.
    #[schemars(schema_with = "kind_name")]
    pub kind: String,

    /// The plug-in's own version, for people; what keys results is the content of the folder.
    #[schemars(length(min = 1))]
    pub version: String,

    /// What the kind does; the first sentence stands in lists.
    #[schemars(length(min = 1))]
    pub description: String,

    /// The program and its arguments. It is started in the plug-in's folder; a program with a `/` in it is looked for
    /// from there, any other in `PATH`, and `{folder}` stands for the folder's absolute path.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub command: Vec<String>,

    /// JSON schema (draft 2020-12) of the options.
    #[serde(default)]
    pub options: Map<String, Value>,

    /// The columns it is given, in this order.
    #[schemars(length(min = 1))]
    pub read: Vec<ManifestColumn>,

    /// The columns it gives back.
    #[schemars(length(min = 1))]
    pub write: Vec<ManifestColumn>,

    /// What a row's result depends on: `row_local`, on that row alone.
    pub effect: String,

    /// What becomes of it in a deployment, which holds no code: `refuse` (the request starts at the node or below it)
    /// or `skip` (the node is left out).
    #[serde(default)]
    pub serving: ManifestServing,

    /// The longest wait for its start and for each answer, such as `30s`.
    #[serde(default = "default_timeout")]
    #[schemars(schema_with = "timeout")]
    pub timeout: String,

    /// Names of variables of the environment the process is given beside `PATH`, `HOME` and `TMPDIR`.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub env: Vec<String>,

    /// A whole pipeline that uses the kind.
    #[serde(default)]
    pub example: String,
}

/// A column that is read or written.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestColumn {
    /// Its name.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub column: Option<String>,

    /// The option that names it: a text, or a list of texts for several columns of one type.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub option: Option<String>,

    /// Its type, such as `text`, `float` or `tensor[3]`.
    #[serde(rename = "type")]
    pub logical: String,

    /// Whether a cell may be missing.
    #[serde(default)]
    pub nullable: bool,
}

/// What becomes of the kind in a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ManifestServing {
    /// The request starts at the node or below it.
    #[default]
    Refuse,
    /// The node is left out.
    Skip,
}

fn default_timeout() -> String {
    "10m".to_owned()
}

fn format_version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": 1 })
}

fn kind_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^[a-z][a-z0-9_]*(\\.[a-z][a-z0-9_]*)+$",
        "x-expected": "a stage and a name in lower case, such as `acme.sentiment`"
    })
}

fn timeout(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^([0-9]+(ms|s|m|h|d))+$",
        "x-expected": "a duration such as `30s`, `5m` or `1h30m`"
    })
}

/// The JSON schema of `plugin.yaml`.
pub fn manifest_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Manifest>().to_value()
}

/// What a plug-in declares, checked.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// The kind's name.
    pub kind: String,
    /// The plug-in's own version, for people.
    pub version: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// JSON schema of the options, with the description of the kind.
    pub options_schema: Value,
    /// What it is given.
    pub reads: Vec<DeclaredColumn>,
    /// What it gives back.
    pub writes: Vec<DeclaredColumn>,
    /// What becomes of it in a deployment.
    pub serving: Serving,
    /// Variables of the environment it is given.
    pub env: Vec<String>,
    /// A whole pipeline that uses it; may be empty.
    pub example: String,
}

/// A column, or the columns an option names.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredColumn {
    /// What it is called.
    pub name: ColumnName,
    /// Its type; every size is known.
    pub logical: LogicalType,
    /// Whether a cell may be missing.
    pub nullable: bool,
}

/// How a column gets its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnName {
    /// It is always called so.
    Fixed(String),
    /// By the option of this name: a text or a list of texts.
    Option(String),
}

impl Manifest {
    /// Checks what the file's schema cannot say.
    ///
    /// # Errors
    /// Every problem; places are JSON pointers into the file.
    pub fn check(self) -> Result<Declaration, Vec<Problem>> {
        let mut problems = Vec::new();
        check_effect(&self.effect, &mut problems);
        check_options(&self.options, &mut problems);
        let reads = declared("read", &self.read, &self.options, &mut problems);
        let writes = declared("write", &self.write, &self.options, &mut problems);
        for (index, column) in writes.iter().enumerate() {
            if writes[..index].iter().any(|other| other.name == column.name) {
                problems
                    .push(wrong(&format!("/write/{index}"), "writes a column that is written before it".to_owned()));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let serving = match self.serving {
            ManifestServing::Refuse => Serving::Refuse,
            ManifestServing::Skip => Serving::Skip,
        };
        let options_schema = options_schema(self.options, &self.description);
        let Manifest { kind, version, command, env, example, .. } = self;
        Ok(Declaration { kind, version, command, options_schema, reads, writes, serving, env, example })
    }
}

fn wrong(at: &str, message: String) -> Problem {
    Problem::error(&PLUGIN_MANIFEST, At::Option(at.to_owned()), message)
}

fn check_effect(effect: &str, problems: &mut Vec<Problem>) {
    const LATER: &[&str] = &["fit", "whole", "source", "sink"];
    if effect == "row_local" {
        return;
    }
    let message = match LATER.contains(&effect) {
        true => format!("plug-ins with the effect `{effect}` come later; so far they are `row_local`"),
        false => format!("there is no effect `{effect}`; plug-ins are `row_local` so far"),
    };
    let problem = Problem::error(&PLUGIN_EFFECT, At::Option("/effect".to_owned()), message).label("not yet");
    let near = nearest(effect, LATER.iter().copied().chain(["row_local"]));
    problems.push(problem.help(match near {
        Some("row_local") => "write `row_local`".to_owned(),
        _ => "write `row_local` if each row's result depends on that row alone; `fuseline plugin test` shows whether \
              it does"
            .to_owned(),
    }));
}

fn check_options(options: &Map<String, Value>, problems: &mut Vec<Problem>) {
    if options.get("type").is_some_and(|sort| sort != "object") {
        problems.push(wrong("/options/type", "the options of a kind are a map: `type: object`".to_owned()));
    }
    let mut open: Vec<(String, &Value)> =
        options.iter().map(|(key, value)| (format!("/options/{}", escaped(key)), value)).collect();
    while let Some((at, value)) = open.pop() {
        match value {
            Value::Object(map) => {
                if let Some(format @ ("path" | "node")) = map.get("format").and_then(Value::as_str) {
                    let message = format!("an option of a plug-in cannot be a {format}");
                    problems.push(wrong(&format!("{at}/format"), message).help(
                        "what a plug-in reads beside its rows stands in its folder, so that its content keys the result",
                    ));
                }
                open.extend(map.iter().map(|(key, below)| (format!("{at}/{}", escaped(key)), below)));
            }
            Value::Array(items) => {
                open.extend(items.iter().enumerate().map(|(index, below)| (format!("{at}/{index}"), below)));
            }
            _ => {}
        }
    }
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The options' schema as a kind has it: a map that takes nothing else, with the kind's page.
fn options_schema(mut options: Map<String, Value>, description: &str) -> Value {
    options.insert("description".to_owned(), json!(description.trim()));
    options.insert("type".to_owned(), json!("object"));
    options.entry("properties").or_insert_with(|| json!({}));
    options.entry("additionalProperties").or_insert(json!(false));
    Value::Object(options)
}

fn declared(
    list: &str,
    columns: &[ManifestColumn],
    options: &Map<String, Value>,
    problems: &mut Vec<Problem>,
) -> Vec<DeclaredColumn> {
    let mut found = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let at = format!("/{list}/{index}");
        let name = match (&column.column, &column.option) {
            (Some(column), None) => Some(ColumnName::Fixed(column.clone())),
            (None, Some(option)) => match option_that_names(option, options) {
                Ok(()) => Some(ColumnName::Option(option.clone())),
                Err((message, help)) => {
                    let problem = wrong(&format!("{at}/option"), message);
                    problems.push(help.into_iter().fold(problem, Problem::help));
                    None
                }
            },
            _ => {
                let message = "a column has either a name (`column`) or an option that names it (`option`)";
                problems.push(wrong(&at, message.to_owned()));
                None
            }
        };
        let logical = match column.logical.parse::<LogicalType>() {
            Ok(logical) => match unfit(&logical) {
                None => Some(logical),
                Some(why) => {
                    problems.push(wrong(&format!("{at}/type"), why));
                    None
                }
            },
            Err(error) => {
                problems.push(wrong(&format!("{at}/type"), error.to_string()));
                None
            }
        };
        if let (Some(name), Some(logical)) = (name, logical) {
            found.push(DeclaredColumn { name, logical, nullable: column.nullable });
        }
    }
    found
}

/// Whether the option `name` always names columns; if not, why, and a way out.
fn option_that_names(name: &str, options: &Map<String, Value>) -> Result<(), (String, Option<String>)> {
    let properties = options.get("properties").and_then(Value::as_object);
    let Some(property) = properties.and_then(|properties| properties.get(name)) else {
        let near = nearest(name, properties.into_iter().flat_map(|map| map.keys()).map(String::as_str));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "declare it under `options: {properties: ...}`".to_owned(),
        };
        return Err((format!("there is no option `{name}`"), Some(help)));
    };
    let is_text = |schema: &Value| schema["type"] == "string";
    let is_list = property["type"] == "array" && is_text(&property["items"]);
    if !is_text(property) && !is_list {
        let help =
            format!("write `{name}: {{type: string}}`, or `{{type: array, items: {{type: string}}}}` for several");
        return Err((format!("the option `{name}` is neither a text nor a list of texts"), Some(help)));
    }
    let is_required =
        options.get("required").and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| one == name));
    if is_required || property.get("default").is_some() {
        return Ok(());
    }
    let help = format!("write `required: [{name}]`, or give it a `default:`");
    Err((format!("the option `{name}` may be left out, and then no column is named"), Some(help)))
}

/// Why a column of this type cannot pass to a plug-in and back.
fn unfit(logical: &LogicalType) -> Option<String> {
    match logical {
        LogicalType::Image | LogicalType::Audio => {
            Some(format!("{logical} cells are kept as digests, and plug-ins are not handed what they stand for yet"))
        }
        LogicalType::Tokens(Size::Symbol(_)) => Some(format!("the size of `{logical}` must be a number")),
        LogicalType::Tensor(shape) if shape.iter().any(|size| matches!(size, Size::Symbol(_))) => {
            Some(format!("the sizes of `{logical}` must be numbers"))
        }
        LogicalType::List(element) => unfit(element),
        _ => None,
    }
}

impl Declaration {
    /// The options with the defaults of the schema wherever one is left out.
    pub(super) fn with_defaults(&self, options: Map<String, Value>) -> Map<String, Value> {
        filled(options, &self.options_schema)
    }
}

fn filled(mut options: Map<String, Value>, schema: &Value) -> Map<String, Value> {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        match options.get_mut(name) {
            None => {
                if let Some(default) = property.get("default") {
                    options.insert(name.clone(), default.clone());
                }
            }
            Some(Value::Object(below)) => *below = filled(std::mem::take(below), property),
            Some(_) => {}
        }
    }
    // In order of name, so that equal options are equal texts.
    let sorted: BTreeMap<String, Value> = options.into_iter().collect();
    sorted.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(change: impl FnOnce(&mut Value)) -> Manifest {
        let mut value = json!({
            "fuseline": 1,
            "kind": "acme.sentiment",
            "version": "1.0.0",
            "description": "Scores.\n\nMore.",
            "command": ["python3", "main.py"],
            "options": {
                "required": ["column"],
                "properties": {
                    "column": {"type": "string"},
                    "as": {"type": "string", "default": "score"},
                    "scale": {"type": "object", "properties": {"by": {"default": 2}}}
                }
            },
            "read": [{"option": "column", "type": "text", "nullable": true}],
            "write": [{"option": "as", "type": "float"}, {"column": "words", "type": "int"}],
            "effect": "row_local"
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    fn check(change: impl FnOnce(&mut Value), place: &str, words: &str) {
        let problems = manifest(change).check().unwrap_err();
        let found: Vec<String> =
            problems.iter().map(|problem| format!("{:?} {}", problem.at, problem.message)).collect();
        assert_eq!(problems.len(), 1, "{found:?}");
        assert_eq!(problems[0].at, At::Option(place.to_owned()), "{found:?}");
        assert!(problems[0].message.contains(words), "{found:?}");
    }

    #[test]
    fn a_good_file_is_a_declaration() {
        let declaration = manifest(|_| {}).check().unwrap();
        assert_eq!(declaration.serving, Serving::Refuse);
        let read =
            DeclaredColumn { name: ColumnName::Option("column".into()), logical: LogicalType::Text, nullable: true };
        assert_eq!(declaration.reads, [read]);
        assert_eq!(declaration.options_schema["additionalProperties"], false);
        assert_eq!(declaration.options_schema["description"], "Scores.\n\nMore.");
        let given = json!({"scale": {}, "column": "text"}).as_object().unwrap().clone();
        let filled = json!({"as": "score", "column": "text", "scale": {"by": 2}});
        assert_eq!(Value::Object(declaration.with_defaults(given)), filled);
    }

    #[test]
    fn what_the_schema_cannot_say_is_said_at_its_place() {
        check(|file| file["effect"] = json!("whole"), "/effect", "`whole` come later");
        check(|file| file["effect"] = json!("rowlocal"), "/effect", "no effect `rowlocal`");
        check(|file| file["read"][0]["option"] = json!("colum"), "/read/0/option", "no option `colum`");
        check(|file| file["read"][0]["column"] = json!("text"), "/read/0", "either a name");
        check(|file| file["read"][0]["type"] = json!("string"), "/read/0/type", "`string` is not a type");
        check(|file| file["read"][0]["type"] = json!("image"), "/read/0/type", "digests");
        check(|file| file["write"][1]["type"] = json!("tensor[|n|]"), "/write/1/type", "must be numbers");
        check(|file| file["write"][1] = json!({"option": "as", "type": "int"}), "/write/1", "written before");
        check(|file| file["options"]["required"] = json!([]), "/read/0/option", "may be left out");
        check(
            |file| file["options"]["properties"]["as"]["type"] = json!("integer"),
            "/write/0/option",
            "neither a text",
        );
        check(|file| file["options"]["type"] = json!("array"), "/options/type", "are a map");
        check(
            |file| file["options"]["properties"]["lexicon"] = json!({"type": "string", "format": "path"}),
            "/options/properties/lexicon/format",
            "cannot be a path",
        );
    }

    #[test]
    fn every_key_of_the_file_says_what_it_means() {
        let schema = manifest_schema();
        for (key, property) in schema["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{key}");
        }
        assert_eq!(schema["additionalProperties"], false);
        assert!(!schema.to_string().contains("$ref"));
    }
}
