//! What keys a task: everything its result depends on, and nothing else.
//!
//! Promises: two tasks of equal key give equal results, so a record found by key may stand in for a run. No node id,
//! no path, no value of a secret and nothing of the schedule is keyed (but the names of the nodes in list ports, where
//! they name what the receiver makes of them). Rows outside a read's part and columns that are not read are not keyed.

use std::borrow::Cow;
use std::sync::Arc;

use engine_core::{Digest, Hasher, NumericClass};
use engine_store::{Fingerprint, KeyPart, Store};
use engine_table::{Arity, ColumnType, Node, PortType, Table, Written};
use serde_json::{Value, json};

use crate::condition::{chosen, chosen_serving};
use crate::fetch::fetched;
use crate::version::latest;
use crate::{Environment, Output, OutputRef, Outputs, Plan, PlannedServing, ResolveError, Task, TaskRead, Work};

/// The fingerprint of `task`; nothing while an input is unknown.
///
/// # Errors
/// If a file it reads cannot be read, or the store fails.
pub fn fingerprint(
    plan: &Plan,
    task: &Task,
    outputs: &Outputs,
    store: &Store,
    environment: &Environment,
) -> Result<Option<Fingerprint>, ResolveError> {
    if let Work::Choose { by, of } = &task.work {
        return choice(plan, task, (by, of), outputs, store);
    }
    let mut parts = Parts::new();
    let work = match &task.work {
        Work::Fit { .. } => format!("{} (fit)", task.kind.name),
        _ => task.kind.name.clone(),
    };
    parts.text("kind", "kind", &work);
    parts.text("version", "version", &task.kind.version);
    parts.options(&task.bound.key_options);
    parts.given(task);
    for read in &task.reads {
        if !parts.rows(task, read, outputs, store)? {
            return Ok(None);
        }
    }
    for (place, input) in task.artifacts.iter().enumerate() {
        let Some(output) = outputs.0.get(&input.from) else { return Ok(None) };
        let from = plan.task(input.from.task);
        let arity = task.kind.inputs.iter().find(|port| port.name == input.port).map(|port| port.arity);
        let stable = match arity {
            // By node, not by task: an instance does the same work under the name of another.
            Some(Arity::Many) => format!("artifact {} {place} {}", input.port, from.node),
            _ => format!("artifact {}", input.port),
        };
        let digest = output.digest();
        parts.add(&stable, format!("{} {}", input.port, from.name), digest.short(), digest);
    }
    if let Work::Apply { fitted: Some(fitted), .. } = &task.work {
        let Some(output) = outputs.0.get(fitted) else { return Ok(None) };
        let digest = output.digest();
        parts.add("fitted", format!("fitted {}", plan.task(fitted.task).name), digest.short(), digest);
    }
    if !parts.files(task, outputs, store)? {
        return Ok(None);
    }
    if let Work::Sink { serving } = &task.work {
        if let Some(servings) = serving {
            let Some(serving) = chosen_serving(task, servings, outputs, store)? else { return Ok(None) };
            if !parts.serving(plan, serving, outputs)? {
                return Ok(None);
            }
        }
        if let Node::Sink(sink) = &task.bound.node
            && let Some(destination) = sink.destination()
        {
            parts.text("destination", "destination", &destination.path.display().to_string());
        }
    }
    if task.kind.random {
        parts.text("seed", "seed", &plan.seed.value().to_string());
    }
    if !task.secrets.is_empty() {
        parts.text("environment", "environment", &task.secrets.join(", "));
    }
    if task.kind.numerics == NumericClass::Kernel {
        parts.text("numerics", "numerics", &environment.numerics);
    }
    Ok(Some(parts.finish()))
}

/// A choice is keyed by what was chosen: whichever instance gives it, and however it came to be chosen. Of a table
/// nothing is keyed but its type: it is given as it is, and so is every change in it.
fn choice(
    plan: &Plan,
    task: &Task,
    (by, of): (&OutputRef, &[OutputRef]),
    outputs: &Outputs,
    store: &Store,
) -> Result<Option<Fingerprint>, ResolveError> {
    let Some(from) = chosen(task, by, of, outputs, store)? else { return Ok(None) };
    let Some(output) = outputs.0.get(from) else { return Ok(None) };
    let mut parts = Parts::new();
    parts.text("kind", "kind", "choice");
    parts.given(task);
    if let Output::Files { digest, .. } = output {
        parts.add("chosen", format!("chosen {}", plan.task(from.task).name), digest.short(), *digest);
    }
    Ok(Some(parts.finish()))
}

/// The tables as one: the only one as it is.
pub(crate) fn merged(tables: &[OutputRef], outputs: &Outputs) -> Option<Arc<Table>> {
    match tables {
        [one] => outputs.table(one).cloned(),
        several => {
            let several: Option<Vec<&Table>> =
                several.iter().map(|output| outputs.table(output).map(Arc::as_ref)).collect();
            Some(Arc::new(Table::merged(&several?)))
        }
    }
}

/// Parts in order; the key is made of stable names and digests, the parts carry names for people.
struct Parts {
    parts: Vec<KeyPart>,
    hasher: Hasher,
}

impl Parts {
    fn new() -> Parts {
        Parts { parts: Vec::new(), hasher: Hasher::new("fuseline.fingerprint.v1") }
    }

    fn add(&mut self, stable: &str, name: String, value: String, digest: Digest) {
        self.hasher.field(stable.as_bytes()).digest(&digest);
        self.parts.push(KeyPart { name, value, digest });
    }

    fn text(&mut self, stable: &str, name: &str, value: &str) {
        self.add(stable, name.to_owned(), value.to_owned(), Digest::of(value.as_bytes()));
    }

    fn json(&mut self, stable: &str, name: &str, value: &Value) {
        let text = canonical(value);
        let digest = Digest::of(text.as_bytes());
        self.add(stable, name.to_owned(), digest.short(), digest);
    }

    /// One part for each option, so that a changed one is named with its old and new value.
    fn options(&mut self, options: &Value) {
        let Value::Object(options) = options else {
            self.json("options", "options", options);
            return;
        };
        let mut names: Vec<&String> = options.keys().collect();
        names.sort_unstable();
        for name in names {
            let text = canonical(&options[name.as_str()]);
            let digest = Digest::of(text.as_bytes());
            self.add(&format!("option {name}"), format!("option {name}"), shortened(&text), digest);
        }
    }

    /// What the task gives as inferred: it follows from options and types, of which some (those of unread columns) are
    /// keyed by nothing else.
    fn given(&mut self, task: &Task) {
        let written = |writes: &[Written]| writes.iter().map(|written| column(&written.column)).collect::<Vec<_>>();
        let given = match &task.work {
            Work::Source { columns } => json!(columns.iter().map(column).collect::<Vec<_>>()),
            Work::Apply { change, .. } => json!({
                "writes": written(&change.writes),
                "drops": change.drops,
                "renames": change.renames,
            }),
            Work::Whole { whole, .. } => match whole {
                engine_table::WholeType::Select { writes, .. } => json!({ "select": written(writes) }),
                engine_table::WholeType::New { writes, .. } => json!({ "new": written(writes) }),
            },
            // A fit is given the columns it reads and nothing else.
            Work::Fit { .. } => return,
            Work::Reduce | Work::Encoder | Work::Choose { .. } | Work::Sink { .. } => {
                let outputs = task.outputs.iter().map(|(port, output)| (port.clone(), port_type(output)));
                Value::Object(outputs.collect())
            }
        };
        self.json("gives", "what it gives", &given);
    }

    /// The columns a read hands over; false while a table is unknown.
    fn rows(&mut self, task: &Task, read: &TaskRead, outputs: &Outputs, store: &Store) -> Result<bool, ResolveError> {
        let tables: Option<Vec<&Arc<Table>>> = read.tables.iter().map(|output| outputs.table(output)).collect();
        let Some(tables) = tables else { return Ok(false) };
        let stored = |name: &str| {
            let versions = tables.iter().filter_map(|table| table.column(name));
            latest(versions, |stored| &stored.column.origin).ok_or_else(|| ResolveError::Stored {
                task: task.name.clone(),
                what: format!("needs the column `{name}`, which the stored table above it does not have"),
            })
        };
        let part = match (read.rows.parts(), &read.split) {
            (Some(parts), Some(split)) => Some((parts, stored(split)?)),
            _ => None,
        };
        let types = task.types.0.get(&read.port).and_then(|port| port.table.as_ref());
        let has_one_port = task.types.0.len() == 1;
        let rows = part.map(|_| format!(" ({})", read.rows)).unwrap_or_default();
        for name in &read.columns {
            let column = stored(name)?;
            let values = match part {
                Some((parts, split)) => store.filtered_digest(column, split, parts)?,
                None => column.digest(),
            };
            let kind = types.and_then(|table| table.column(name)).unwrap_or(&column.column);
            let digest = Hasher::new("fuseline.key.column.v1")
                .field(kind.logical.to_string().as_bytes())
                .field(kind.role.as_str().as_bytes())
                .digest(&values)
                .finish();
            let stable = format!("column {} {} {name}", read.port, read.asked);
            let shown = if has_one_port { Cow::from(name) } else { Cow::from(format!("{}.{name}", read.port)) };
            self.add(&stable, format!("column {shown}{rows}"), digest.short(), digest);
        }
        if read.columns.is_empty() {
            // Without a column the number of rows still matters, and to what is written chunk by chunk its boundaries.
            let digest = match part {
                Some((parts, split)) => store.filtered_digest(split, split, parts)?,
                None => {
                    let mut hasher = Hasher::new("fuseline.key.rows.v1");
                    for rows in tables.first().into_iter().flat_map(|table| &table.chunk_rows) {
                        hasher.raw(&rows.to_le_bytes());
                    }
                    hasher.finish()
                }
            };
            let stable = format!("rows {} {}", read.port, read.asked);
            self.add(&stable, format!("rows of {}{rows}", read.port), digest.short(), digest);
        }
        Ok(true)
    }

    /// The content of the files a task reads, not where they stand; false while the table that names them is unknown.
    fn files(&mut self, task: &Task, outputs: &Outputs, store: &Store) -> Result<bool, ResolveError> {
        let files = match &task.bound.node {
            Node::Source(source) => source.files(),
            Node::FitApply(node) if matches!(task.work, Work::Fit { .. }) => node.files(),
            Node::Fetch(fetch) => {
                let Some(fetched) = fetched(task, &**fetch, outputs, store)? else { return Ok(false) };
                let digest = fetched.digest();
                let value = format!("{} files {}", fetched.places.len(), digest.short());
                self.add("files", "files".to_owned(), value, digest);
                return Ok(true);
            }
            _ => return Ok(true),
        };
        for (place, path) in files.into_iter().enumerate() {
            let digest = store.file_digest(&path).map_err(|error| ResolveError::File {
                node: task.node.clone(),
                path: path.clone(),
                reason: match error {
                    engine_store::StoreError::File { source, .. } => source.to_string(),
                    other => other.to_string(),
                },
            })?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            self.add(&format!("file {place}"), format!("file {name}"), digest.short(), digest);
        }
        Ok(true)
    }

    /// What a sink packs: the slice as planned, and the fitted values and artifacts of its steps; false while one of
    /// these is unknown.
    fn serving(&mut self, plan: &Plan, serving: &PlannedServing, outputs: &Outputs) -> Result<bool, ResolveError> {
        let steps: Vec<Value> = serving
            .steps
            .iter()
            .map(|step| {
                let task = plan.task(step.task);
                json!({
                    "node": task.node,
                    "kind": task.kind.name,
                    "version": task.kind.version,
                    "options": step.options,
                    "inputs": step.inputs,
                })
            })
            .collect();
        let request: Vec<Value> = serving
            .columns
            .iter()
            .map(|wanted| json!({ "column": column(wanted), "nullable": wanted.nullable }))
            .collect();
        let slice = json!({
            "request": serving.request.request,
            "columns": request,
            "steps": steps,
            "model_inputs": serving.model_inputs,
            "model_reads": serving.model_reads,
        });
        self.json("serving", "serving slice", &slice);
        for (place, step) in serving.steps.iter().enumerate() {
            let task = plan.task(step.task);
            let fitted = match &task.work {
                Work::Apply { fitted, .. } => fitted.as_ref(),
                _ => None,
            };
            for from in fitted.into_iter().chain(task.artifacts.iter().map(|input| &input.from)) {
                let Some(output) = outputs.0.get(from) else { return Ok(false) };
                let digest = output.digest();
                let name = format!("served {}", plan.task(from.task).name);
                self.add(&format!("served {place} {}", from.port), name, digest.short(), digest);
            }
            for read in &step.tables {
                let Some(digest) = frozen(task, read, outputs)? else { return Ok(false) };
                let name = format!("served {}.{}", task.node, read.port);
                self.add(&format!("served {place} {}", read.port), name, digest.short(), digest);
            }
        }
        Ok(true)
    }

    fn finish(self) -> Fingerprint {
        Fingerprint { key: self.hasher.finish(), parts: self.parts }
    }
}

/// The digest of a table that a step of a deployment looks rows up in: names, types and values, whatever its chunks are
/// called elsewhere; nothing while it is unknown.
fn frozen(task: &Task, read: &TaskRead, outputs: &Outputs) -> Result<Option<Digest>, ResolveError> {
    let Some(table) = merged(&read.tables, outputs) else { return Ok(None) };
    let mut hasher = Hasher::new("fuseline.key.frozen.v1");
    for name in &read.columns {
        let stored = table.column(name).ok_or_else(|| ResolveError::Stored {
            task: task.name.clone(),
            what: format!("needs the column `{name}`, which the stored table above it does not have"),
        })?;
        hasher.field(canonical(&column(&stored.column)).as_bytes()).digest(&stored.digest());
    }
    Ok(Some(hasher.finish()))
}

/// What is keyed of a column's type: not whether it has gaps (a gap in a test row must not refit), nor who wrote it.
fn column(column: &ColumnType) -> Value {
    json!([column.name, column.logical, column.role])
}

fn port_type(output: &PortType) -> Value {
    match output {
        PortType::Table(table) => json!(table.columns.iter().map(column).collect::<Vec<_>>()),
        PortType::Encoder(encoder) => json!(encoder),
        PortType::Model(model) => json!([model.prediction, column(&model.target), model.reads]),
        other => json!(other.artifact_kind()),
    }
}

/// JSON with the keys of every map in order of name, whatever the map type keeps.
pub(crate) fn canonical(value: &Value) -> String {
    fn write(value: &Value, text: &mut String) {
        match value {
            Value::Array(items) => {
                text.push('[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        text.push(',');
                    }
                    write(item, text);
                }
                text.push(']');
            }
            Value::Object(entries) => {
                let mut names: Vec<&String> = entries.keys().collect();
                names.sort_unstable();
                text.push('{');
                for (place, name) in names.into_iter().enumerate() {
                    if place > 0 {
                        text.push(',');
                    }
                    text.push_str(&Value::String(name.clone()).to_string());
                    text.push(':');
                    write(&entries[name.as_str()], text);
                }
                text.push('}');
            }
            plain => text.push_str(&plain.to_string()),
        }
    }
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let head: String = text.chars().take(LONGEST).collect();
    format!("{head}... ({})", Digest::of(text.as_bytes()).short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_json_does_not_depend_on_the_order_of_keys() {
        let one: Value = serde_json::from_str(r#"{"b": [1, {"y": null, "x": 1.5}], "a": "t\""}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"a": "t\"", "b": [1, {"x": 1.5, "y": null}]}"#).unwrap();
        assert_eq!(canonical(&one), canonical(&other));
        assert_eq!(canonical(&one), r#"{"a":"t\"","b":[1,{"x":1.5,"y":null}]}"#);
    }

    #[test]
    fn long_options_are_shortened_and_told_apart() {
        let (one, other) = ("a".repeat(100), "a".repeat(101));
        assert_ne!(shortened(&one), shortened(&other));
        assert_eq!(shortened("[1,2]"), "[1,2]");
    }
}
