//! Expansions: the part of the graph above some ports, once for each instance, with other options.
//!
//! Only what differs is planned again: the nodes whose options an instance overrides and everything between them and
//! the ports. What lies beside or above is shared. Scopes nest, so an expansion above an expansion is laid out anew
//! in each instance of the lower one.

use std::collections::{BTreeMap, HashSet};

use engine_core::{Diagnostic, nearest};
use engine_spec::option_schema;
use engine_table::{Expand, Instance, Override, Slice, SliceNode};
use serde_json::{Map, Value};

use super::planner::{Planner, Scope};
use super::wiring::{Wired, WiredPort};
use crate::{OutputRef, codes};

/// Instances as laid out.
pub(super) struct Expanded {
    /// What they are.
    pub(super) instances: Vec<Instance>,
    /// The scope of each.
    pub(super) scopes: Vec<usize>,
    /// By port, the outputs on it, one for each instance and reference.
    pub(super) ports: BTreeMap<String, Vec<OutputRef>>,
}

impl<'s> Planner<'_, 's> {
    /// Lays out the instances `expand` asks for.
    pub(super) fn expand(&mut self, place: usize, scope: usize, expand: &dyn Expand) -> Option<Expanded> {
        let wiring = self.wiring;
        let node = &wiring.nodes[place];
        let names = expand.ports();
        let ports: Vec<&WiredPort<'s>> =
            node.ports.iter().filter(|port| names.contains(&port.port.name.as_str())).collect();
        let upstream = wiring.upstream(ports.iter().flat_map(|port| port.wires.iter().map(|wire| wire.node)));
        let mut slice = Slice { nodes: Vec::with_capacity(upstream.len()), seed: self.findings.spec.seed };
        for place in &upstream {
            let main = self.version(*place, scope)?.main;
            let task = self.task(main);
            slice.nodes.push(SliceNode {
                id: task.node.clone(),
                kind: task.kind.name.clone(),
                options: task.bound.options.clone(),
                reads: task.reads.iter().map(|read| read.rows).collect(),
            });
        }
        let instances = match expand.instances(&slice) {
            Ok(instances) => instances,
            Err(problems) => {
                let instance = self.instance(scope).map(str::to_owned);
                self.findings.problems(instance.as_deref(), node.spec, problems);
                return None;
            }
        };
        self.check_instances(node, scope, &upstream, &instances)?;
        let mut scopes = Vec::with_capacity(instances.len());
        let mut outputs: BTreeMap<String, Vec<OutputRef>> = BTreeMap::new();
        let mut is_sound = true;
        for instance in &instances {
            let inner = self.plan_instance(node, scope, instance, &upstream);
            scopes.push(inner);
            for port in &ports {
                for wire in &port.wires {
                    match wire.output.and_then(|output| self.output(wire.node, output, inner)) {
                        Some(output) => outputs.entry(port.port.name.clone()).or_default().push(output),
                        None => is_sound = false,
                    }
                }
            }
            if self.is_full {
                return None;
            }
        }
        is_sound.then_some(Expanded { instances, scopes, ports: outputs })
    }

    /// Plans the nodes of `upstream` that `instance` of `node`'s expansion changes, in a scope of its own below `parent`.
    pub(super) fn plan_instance(
        &mut self,
        node: &Wired<'s>,
        parent: usize,
        instance: &Instance,
        upstream: &[usize],
    ) -> usize {
        let inner = self.open_instance(node, parent, instance);
        let overridden: HashSet<usize> = self.scopes[inner].overrides.keys().copied().collect();
        self.plan_again(upstream, inner, |_, place| overridden.contains(&place));
        inner
    }

    /// Plans in `scope` the nodes of `upstream` that are to be planned again, and those below them.
    pub(super) fn plan_again(&mut self, upstream: &[usize], scope: usize, again: impl Fn(&Self, usize) -> bool) {
        let wiring = self.wiring;
        let mut planned: HashSet<usize> = HashSet::new();
        for place in upstream {
            let is_below = wiring.nodes[*place].wires().any(|wire| planned.contains(&wire.node));
            if is_below || again(self, *place) {
                planned.insert(*place);
                self.plan_node(*place, scope);
            }
        }
    }

    /// Every instance must have a name of its own, and every override must be of a node above the ports, of an option
    /// it has, and of a value that the option takes.
    fn check_instances(
        &mut self,
        node: &Wired<'s>,
        scope: usize,
        upstream: &[usize],
        instances: &[Instance],
    ) -> Option<()> {
        let mut names = HashSet::new();
        let mut problems: Vec<Diagnostic> = Vec::new();
        // By node and option, the values that are to be taken, each place once.
        let mut options: BTreeMap<(&str, &str), Vec<&Override>> = BTreeMap::new();
        for instance in instances {
            if !names.insert(instance.name.as_str()) {
                let message = format!("`{}` makes two instances called `{}`", node.spec.id, instance.name);
                let pointer = node.spec.pointer("uses");
                problems.push(
                    self.findings
                        .error_at(&codes::EXPAND_INSTANCES, message, &pointer, "the same twice")
                        .help("let every value it varies over be another"),
                );
            }
            for change in &instance.overrides {
                let values = options.entry((&change.node, &change.option)).or_default();
                let is_new = |other: &&Override| other.value != change.value || other.value_at != change.value_at;
                if values.iter().all(is_new) {
                    values.push(change);
                }
            }
        }
        for ((id, option), values) in options {
            match self.option_of(node, upstream, id, option, values[0]) {
                Err(problem) => problems.push(*problem),
                Ok((kind, schema)) => {
                    let place = |change: &&Override| node.spec.pointer(&format!("with{}", change.value_at));
                    let values: Vec<(&Value, String)> =
                        values.iter().map(|change| (&change.value, place(change))).collect();
                    problems.extend(self.findings.spec.check_option(kind, option, schema, &values));
                }
            }
        }
        if problems.is_empty() {
            return Some(());
        }
        let instance = self.instance(scope).map(str::to_owned);
        for problem in problems {
            self.findings.add(instance.as_deref(), problem);
        }
        None
    }

    /// The kind of the node `id` and the schema of its option, if there is one to vary.
    fn option_of(
        &self,
        node: &Wired<'s>,
        upstream: &[usize],
        id: &str,
        option: &str,
        change: &Override,
    ) -> Result<(&str, &Value), Box<Diagnostic>> {
        let error = |message: String, label: &str, help: String| {
            let span = self.findings.spec.key_span(&node.spec.pointer(&format!("with{}", change.named_at)));
            Box::new(Diagnostic::error(&codes::EXPAND_OVERRIDE, message).label(span, label).help(help))
        };
        let ids = || upstream.iter().map(|place| self.wiring.nodes[*place].spec.id.as_str());
        let place = self.wiring.place(id).filter(|place| upstream.contains(place));
        let Some(kind) = place.map(|place| &self.wiring.nodes[place].kind) else {
            let message = format!("`{}` varies `{id}.{option}`, and `{id}` is not above it", node.spec.id);
            return Err(error(message, "out of its reach", did_you_mean(id, ids(), "above it are")));
        };
        let path: Vec<&str> = option.split('.').collect();
        match option_schema(&kind.options_schema, &path) {
            Ok(schema) if schema["format"] == "path" => {
                let message = format!("`{}` varies `{id}.{option}`, which is a path", node.spec.id);
                let help = "give the pipeline a parameter and run it once for each: `--set NAME=...`".to_owned();
                Err(error(message, "a path", help))
            }
            Ok(schema) => Ok((&kind.name, schema)),
            Err((step, known)) => {
                let (owner, name) = match path[..step].join(".") {
                    outer if outer.is_empty() => (format!("`{}`", kind.name), path[step]),
                    outer => (format!("`{outer}` of `{}`", kind.name), path[step]),
                };
                let message = format!("{owner} has no option `{name}` that `{}` could vary", node.spec.id);
                let help = match known.as_slice() {
                    [] => "it has no options within".to_owned(),
                    known => did_you_mean(name, known.iter().map(String::as_str), "its options are"),
                };
                Err(error(message, "no such option", help))
            }
        }
    }

    /// A scope below `parent` for `instance` of `node`'s expansion.
    fn open_instance(&mut self, node: &Wired<'s>, parent: usize, instance: &Instance) -> usize {
        let mut scope = self.inner_scope(node, parent, &instance.name);
        for change in &instance.overrides {
            let Some(place) = self.wiring.place(&change.node) else { continue };
            let as_is = || match self.version(place, parent).and_then(|version| version.with.clone()) {
                Some(with) => with,
                None => self.wiring.nodes[place].spec.with.clone(),
            };
            let with = scope.overrides.entry(place).or_insert_with(as_is);
            set(with, &change.option, &change.value);
            scope.differs.insert(format!("{}.{}", change.node, change.option), change.value.clone());
            if !change.value_at.is_empty() {
                let value = node.spec.pointer(&format!("with{}", change.value_at));
                let option = format!("/{}", change.option.replace('.', "/"));
                scope.written.entry(place).or_default().push((option, value));
            }
        }
        self.push_scope(scope)
    }

    /// Adds a scope.
    pub(super) fn push_scope(&mut self, scope: Scope) -> usize {
        self.instances.extend(scope.instance.clone());
        self.scopes.push(scope);
        self.scopes.len() - 1
    }

    /// A scope below `parent`, called `name` within it, where nothing differs yet.
    ///
    /// Two expansions may each have a `fold=1` of their own; the second one's carries the id of its `node`.
    pub(super) fn inner_scope(&self, node: &Wired<'s>, parent: usize, name: &str) -> Scope {
        let within = |name: &str| match self.instance(parent) {
            Some(outer) => format!("{outer},{name}"),
            None => name.to_owned(),
        };
        let mut instance = within(name);
        if self.instances.contains(&instance) {
            instance = within(&format!("{}:{name}", node.spec.id));
        }
        Scope {
            parent: Some(parent),
            instance: Some(instance),
            differs: self.scopes[parent].differs.clone(),
            learns: self.scopes[parent].learns,
            ..Scope::default()
        }
    }
}

/// Sets the option at `path`, steps behind dots; what is not a map on the way becomes one.
fn set(with: &mut Map<String, Value>, path: &str, value: &Value) {
    let Some((outer, inner)) = path.split_once('.') else {
        with.insert(path.to_owned(), value.clone());
        return;
    };
    let below = with.entry(outer).or_insert_with(|| Value::Object(Map::new()));
    if !below.is_object() {
        *below = Value::Object(Map::new());
    }
    if let Value::Object(below) = below {
        set(below, inner, value);
    }
}

fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone, otherwise: &str) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{otherwise} {}", known.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_option_within_an_option_leaves_its_neighbours_alone() {
        let mut with = json!({"fusion": {"width": 3, "deep": {"a": 1}}, "mode": "fast"}).as_object().unwrap().clone();
        set(&mut with, "fusion.deep.a", &json!(2));
        set(&mut with, "mode.share", &json!(0.5));
        set(&mut with, "new.one", &json!(null));
        let expected = json!({"fusion": {"width": 3, "deep": {"a": 2}}, "mode": {"share": 0.5}, "new": {"one": null}});
        assert_eq!(Value::Object(with), expected);
    }
}
