//! What must not be known: test rows to a fit, the target to a model's inputs.

use engine_core::{Effect, Part, Role};
use engine_spec::NodeSpec;
use engine_table::{COLUMN_ROLE, ColumnType, RowFilter, TableType, WholeType};
use serde_json::Value;

use super::planner::{Planner, Site};
use crate::version::last_writer;
use crate::{TaskId, TaskRead, Work, codes};

impl<'w, 's> Planner<'w, 's> {
    /// The column that says which part a row belongs to: of several, the one written last.
    ///
    /// A split column that a source brings along holds words of its own until a `split.*` kind has read it, so it
    /// does not count.
    pub(super) fn split_of<'t>(&self, table: &'t TableType) -> Option<&'t ColumnType> {
        let written = table.with_role(Role::Split).filter_map(|column| Some((self.writer(column)?, column)));
        written
            .filter(|(writer, _)| !matches!(self.task(*writer).work, Work::Source { .. }))
            .max_by_key(|(writer, _)| *writer)
            .map(|(_, column)| column)
    }

    /// The task that wrote `column`.
    pub(super) fn writer(&self, column: &ColumnType) -> Option<TaskId> {
        self.by_name.get(last_writer(column)).copied()
    }

    pub(super) fn report_no_split(&mut self, site: &Site<'w, 's>, part: Part, table: &TableType) {
        let kind = &site.node.kind;
        let verb = if kind.effect == Effect::Fit { "learns from" } else { "reads" };
        let message = format!("`{}` {verb} the {part} rows, and no split is above `{}`", kind.name, site.node.spec.id);
        let label = format!("which rows are {part} rows?");
        let raw = table.with_role(Role::Split).next();
        let mut diagnostic =
            self.findings.error_at(&codes::LEAK_NO_SPLIT, message, &site.node.spec.pointer("uses"), &label);
        diagnostic = match raw {
            Some(raw) => diagnostic.help(format!(
                "the source's column `{}` has words of its own: put a node above that uses `split.by_column` with `column: {}`",
                raw.name, raw.name
            )),
            None => diagnostic.help("put a `split.*` node above, such as `split.random`"),
        };
        if kind.effect == Effect::Fit {
            diagnostic = diagnostic.help("or write `fit_on: all` if nothing is to be tested on these rows");
        }
        self.report(site, diagnostic);
    }

    /// New rows below a split must not mix the parts: reading one part only is fine, keeping rows is fine.
    pub(super) fn check_whole(&mut self, site: &Site<'w, 's>, whole: &WholeType, reads: &[TaskRead]) -> Option<()> {
        let WholeType::New { .. } = whole else { return Some(()) };
        let mut parts: Vec<RowFilter> = Vec::new();
        let mut split: Option<&ColumnType> = None;
        for port in &site.ports.list {
            let Some(column) = port.table.as_ref().and_then(|table| self.split_of(table)) else { continue };
            split = split.or(Some(column));
            parts.extend(reads.iter().filter(|read| read.port == port.name).map(|read| read.rows));
        }
        parts.sort_unstable();
        parts.dedup();
        let is_one_part = matches!(parts.as_slice(), [] | [_]) && !parts.contains(&RowFilter::All);
        let (Some(split), false) = (split, is_one_part) else {
            return Some(());
        };
        let splitter = self.writer(split).map(|writer| self.task(writer).node.clone()).unwrap_or_default();
        let message =
            format!("`{}` makes new rows of the train and test rows that `{splitter}` has parted", site.node.spec.id);
        let split_span = self.findings.spec.span(&format!("/nodes/{splitter}/uses"));
        let diagnostic = self
            .findings
            .error_at(&codes::LEAK_WHOLE, message, &site.node.spec.pointer("uses"), "mixes rows of different parts")
            .label(split_span, "the parts are made here")
            .help(format!("put `{}` above `{splitter}`: the rows it makes are split then", site.node.spec.id));
        self.report(site, diagnostic);
        None
    }

    /// `names` are read to predict: they must be features that are not computed from the target.
    pub(super) fn check_inputs(
        &mut self,
        site: &Site<'w, 's>,
        table: Option<&TableType>,
        names: &[String],
        reader: &str,
    ) -> Option<()> {
        let Some(table) = table else { return Some(()) };
        let mut is_sound = true;
        for column in names.iter().filter_map(|name| table.column(name)) {
            if column.role == Role::Feature && !column.from_target {
                continue;
            }
            is_sound = false;
            let pointer = pointer_to_name(site.node.spec, &column.name);
            let name = &column.name;
            let diagnostic = if column.from_target || column.role == Role::Target {
                let way = self.way_from_target(column, site);
                let message = match way.is_empty() {
                    true => format!("{reader} `{}` reads `{name}`, which is the target", site.node.spec.id),
                    false => format!(
                        "{reader} `{}` reads `{name}`, which is computed from the target: {}",
                        site.node.spec.id,
                        way.iter().map(|step| step.words.as_str()).collect::<Vec<_>>().join(", ")
                    ),
                };
                let mut diagnostic =
                    self.findings.error_at(&codes::LEAK_TARGET, message, &pointer, "the answer among the inputs");
                for step in way {
                    let span = self.findings.spec.span(&format!("/nodes/{}/uses", step.node));
                    diagnostic = diagnostic.label(span, step.words);
                }
                diagnostic.help(format!("leave `{name}` out of the inputs"))
            } else {
                let message = format!("{reader} `{}` reads `{name}`, whose role is {}", site.node.spec.id, column.role);
                self.findings
                    .error_at(&COLUMN_ROLE, message, &pointer, "not a feature")
                    .help(format!("leave `{name}` out, or give it no role where it is ingested"))
            };
            self.report(site, diagnostic);
        }
        is_sound.then_some(())
    }
}

/// Where the options of `node` name `name`; the options as a whole if they do not.
pub(super) fn pointer_to_name(node: &NodeSpec, name: &str) -> String {
    fn find(value: &Value, name: &str, pointer: &mut String) -> bool {
        let length = pointer.len();
        match value {
            Value::String(text) => return text == name,
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    pointer.push_str(&format!("/{place}"));
                    if find(item, name, pointer) {
                        return true;
                    }
                    pointer.truncate(length);
                }
            }
            Value::Object(entries) => {
                for (key, entry) in entries {
                    pointer.push('/');
                    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                    if find(entry, name, pointer) {
                        return true;
                    }
                    pointer.truncate(length);
                }
            }
            _ => {}
        }
        false
    }
    let mut pointer = node.pointer("with");
    for (key, value) in &node.with {
        let mut place = format!("{}/{}", node.pointer("with"), key.replace('~', "~0").replace('/', "~1"));
        if find(value, name, &mut place) {
            return place;
        }
    }
    if node.with.is_empty() {
        pointer = node.pointer("uses");
    }
    pointer
}
