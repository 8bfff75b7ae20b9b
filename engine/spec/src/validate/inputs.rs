//! What a node's ports are bound to: the value of `in:` read against the kind's ports and the other nodes.

use std::collections::HashMap;

use engine_core::Diagnostic;
use indexmap::IndexMap;

use super::words::shortened;
use crate::codes::node;
use crate::document::{Content, Document, State, Tree};
use crate::pointer;
use crate::suggest::{Suggestions, nearest};
use crate::template::is_name;
use crate::vocabulary::InputPort;
use crate::{KindDescription, PortBinding, Reference, Vocabulary};

/// Who else is in the pipeline: ids and, where they are known, kinds.
pub(super) struct Neighbours<'n> {
    pub(super) document: &'n Document,
    pub(super) vocabulary: &'n Vocabulary,
    /// The kind each node uses, as written; nothing where that could not be read.
    pub(super) kinds: IndexMap<&'n str, Option<&'n str>>,
    pub(super) suggestions: Suggestions,
}

/// A node whose `in:` is read.
pub(super) struct Reader<'n> {
    pub(super) neighbours: &'n Neighbours<'n>,
    /// Where the node stands.
    pub(super) node: &'n str,
    /// Its kind's name and description, if the kind is known.
    pub(super) kind: Option<(&'n str, &'n KindDescription)>,
    pub(super) problems: &'n mut Vec<Diagnostic>,
}

impl Reader<'_> {
    /// The bindings of the node's ports, in the order of the file.
    pub(super) fn read(mut self, written: Option<&Tree>) -> Vec<PortBinding> {
        let at = pointer::join(self.node, "in");
        let bindings = match written {
            None => Vec::new(),
            Some(tree) if tree.state != State::Known => return Vec::new(),
            Some(tree) => match &tree.content {
                Content::Map(entries) => {
                    let mut bindings = Vec::new();
                    for (name, entry) in entries {
                        let at = pointer::join(&at, name);
                        let port = self.port(name, &at);
                        bindings.extend(self.binding(name.clone(), port.as_ref(), &entry.value, &at));
                    }
                    bindings
                }
                _ => {
                    let port = self.only_port(&at);
                    let name = port.as_ref().map_or_else(|| "in".to_owned(), |port| port.name.clone());
                    self.binding(name, port.as_ref(), tree, &at).into_iter().collect()
                }
            },
        };
        self.report_unbound(written, &bindings);
        bindings
    }

    /// The port a reference without one goes to.
    fn only_port(&mut self, at: &str) -> Option<InputPort> {
        let (name, kind) = self.kind?;
        let port = kind.inputs.first().cloned();
        if port.is_none() {
            self.takes_nothing(name, at);
        }
        port
    }

    fn takes_nothing(&mut self, kind: &str, at: &str) {
        self.problems.push(
            self.document()
                .point_key(
                    Diagnostic::error(&node::PORT_UNKNOWN, format!("`{kind}` takes no input")),
                    at,
                    "nothing can be bound",
                )
                .help("remove `in:`"),
        );
    }

    fn port(&mut self, name: &str, at: &str) -> Option<InputPort> {
        let (kind_name, kind) = self.kind?;
        if let Some(port) = kind.input(name) {
            return Some(port.clone());
        }
        let names: Vec<&str> = kind.inputs.iter().map(|port| port.name.as_str()).collect();
        if names.is_empty() {
            self.takes_nothing(kind_name, at);
            return None;
        }
        let help = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its input ports are {}", quoted(&names)),
        };
        let problem = Diagnostic::error(&node::PORT_UNKNOWN, format!("`{kind_name}` has no input port `{name}`"));
        self.problems.push(self.document().point_key(problem, at, "unknown port").help(help));
        None
    }

    fn binding(&mut self, name: String, port: Option<&InputPort>, tree: &Tree, at: &str) -> Option<PortBinding> {
        let references: Vec<Reference> = match &tree.content {
            Content::List(items) => {
                if items.is_empty() {
                    self.wrong_form(tree, at, "an empty list");
                }
                items
                    .iter()
                    .enumerate()
                    .filter_map(|(index, item)| self.reference(item, &pointer::join_index(at, index)))
                    .collect()
            }
            _ => self.reference(tree, at).into_iter().collect(),
        };
        if let (Some(port), Content::List(items)) = (port, &tree.content)
            && !port.many
            && items.len() > 1
        {
            let problem = Diagnostic::error(
                &node::PORT_MANY,
                format!("the port `{}` takes one artifact, found {}", port.name, items.len()),
            );
            self.problems.push(
                self.document()
                    .point(problem, at, "more than one")
                    .help("put a node between that makes one of them, such as a join"),
            );
        }
        let mut bound: HashMap<(&str, Option<&str>), &Reference> = HashMap::new();
        for reference in &references {
            let Some(first) = bound.insert((&reference.node, reference.port.as_deref()), reference) else { continue };
            let problem =
                Diagnostic::error(&node::REFERENCE_TWICE, format!("the port `{name}` is bound to `{reference}` twice"));
            let problem = self.document().point(problem, &reference.pointer, "again");
            self.problems
                .push(problem.label(self.document().span(&first.pointer), "first here").help("remove one of the two"));
        }
        (!references.is_empty()).then_some(PortBinding { port: name, references })
    }

    fn reference(&mut self, tree: &Tree, at: &str) -> Option<Reference> {
        // Of a secret it was said that it may not stand here.
        if tree.state != State::Known {
            return None;
        }
        let Some(text) = tree.as_text() else {
            self.wrong_form(tree, at, tree.sort());
            return None;
        };
        let (node, port) = match text.split_once('.') {
            Some((node, port)) => (node, Some(port)),
            None => (text, None),
        };
        let kinds = &self.neighbours.kinds;
        if !kinds.contains_key(node) {
            let is_reference = is_name(node) && port.is_none_or(is_name);
            if !is_reference && self.neighbours.suggestions.nearest(node, kinds.keys().copied()).is_none() {
                self.wrong_form(tree, at, &format!("the text `{}`", shortened(text)));
                return None;
            }
            unknown_node(self.neighbours, node, text, at, self.problems);
            return None;
        }
        if let Some(port) = port {
            self.check_output(node, port, at);
        }
        Some(Reference { node: node.to_owned(), port: port.map(str::to_owned), pointer: at.to_owned() })
    }

    fn check_output(&mut self, node_id: &str, port: &str, at: &str) {
        let kind = self.neighbours.kinds.get(node_id).copied().flatten();
        let Some((kind_name, kind)) = kind.and_then(|name| Some((name, self.neighbours.vocabulary.kind(name)?))) else {
            return;
        };
        if kind.output(port).is_some() {
            return;
        }
        let names: Vec<&str> = kind.outputs.iter().map(|port| port.name.as_str()).collect();
        let help = match nearest(port, names.iter().copied()) {
            Some(near) => format!("did you mean `{node_id}.{near}`?"),
            None if names.is_empty() => format!("`{kind_name}` gives nothing to other nodes"),
            None => format!("its output ports are {}", quoted(&names)),
        };
        let problem = Diagnostic::error(
            &node::PORT_UNKNOWN,
            format!("`{node_id}` is a `{kind_name}`, which has no output port `{port}`"),
        );
        let problem = self.document().point(problem, at, "unknown port").help(help);
        self.problems.push(problem);
    }

    fn wrong_form(&mut self, tree: &Tree, at: &str, found: &str) {
        let message = format!("expected a node or `node.port`, found {found}");
        let problem = self.document().point(Diagnostic::error(&node::REFERENCE_FORM, message), at, "not a reference");
        self.problems.push(problem.help(match tree.content {
            Content::Null => "remove the key, or name a node",
            _ => "write `in: node`, `in: [node, node]` or `in: {port: node}`",
        }));
    }

    fn report_unbound(&mut self, written: Option<&Tree>, bindings: &[PortBinding]) {
        let Some((kind_name, kind)) = self.kind else { return };
        for port in kind.inputs.iter().filter(|port| !port.optional) {
            let is_bound = bindings.iter().any(|binding| binding.port == port.name);
            if is_bound || self.was_attempted(written, port, kind) {
                continue;
            }
            let at = pointer::join(self.node, if written.is_some() { "in" } else { "uses" });
            let problem = Diagnostic::error(
                &node::PORT_UNBOUND,
                format!("the input port `{}` of `{kind_name}` is not bound", port.name),
            );
            let problem = if written.is_some() {
                self.document().point_key(problem, &at, "not bound here")
            } else {
                self.document().point(problem, &at, "needs an input")
            };
            let form =
                if kind.inputs.len() == 1 { "in: NODE".to_owned() } else { format!("in: {{{}: NODE}}", port.name) };
            self.problems.push(problem.help(format!("write `{form}`")));
        }
    }

    /// Whether the port is not bound only because what was written for it is wrong, which has been reported.
    fn was_attempted(&self, written: Option<&Tree>, port: &InputPort, kind: &KindDescription) -> bool {
        let Some(written) = written else { return false };
        match &written.content {
            Content::Map(entries) => entries.keys().any(|name| {
                *name == port.name
                    || kind.input(name).is_none()
                        && nearest(name, kind.inputs.iter().map(|port| port.name.as_str())) == Some(&port.name)
            }),
            _ => kind.inputs.first().is_some_and(|first| first.name == port.name),
        }
    }

    fn document(&self) -> &Document {
        self.neighbours.document
    }
}

/// Reports that `name`, a part of what is written at `at`, is no node.
pub(super) fn unknown_node(
    neighbours: &Neighbours<'_>,
    name: &str,
    written: &str,
    at: &str,
    problems: &mut Vec<Diagnostic>,
) {
    let help = match neighbours.suggestions.nearest(name, neighbours.kinds.keys().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if neighbours.vocabulary.kind(written).is_some() => {
            format!("`{written}` is a kind; add a node that uses it and refer to that node's id")
        }
        None => {
            let ids: Vec<&str> = neighbours.kinds.keys().copied().take(12).collect();
            format!("the nodes are {}", quoted(&ids))
        }
    };
    let problem = Diagnostic::error(&node::REFERENCE_UNKNOWN, format!("no node is called `{}`", shortened(name)));
    problems.push(neighbours.document.point(problem, at, "no such node").help(help));
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
