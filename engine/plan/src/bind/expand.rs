//! Expansions: the part of the graph above a port, once for each instance, with other options.
//!
//! Only what differs is planned again: the nodes whose options an instance overrides and everything between them and
//! the port. What lies beside or above is shared. Scopes nest, so an expansion above an expansion is laid out anew
//! in each instance of the lower one.

use std::collections::HashSet;

use engine_core::{Diagnostic, nearest};
use engine_table::{Expand, Instance, Slice, SliceNode};

use super::planner::{Planner, Scope};
use super::wiring::Wired;
use crate::{OutputRef, codes};

impl<'s> Planner<'_, 's> {
    /// Lays out the instances `expand` asks for; gives the outputs on its port, one for each instance and reference.
    pub(super) fn expand(&mut self, place: usize, scope: usize, expand: &dyn Expand) -> Option<Vec<OutputRef>> {
        let wiring = self.wiring;
        let node = &wiring.nodes[place];
        let port = node.ports.iter().find(|port| port.port.name == expand.port())?;
        let upstream = wiring.upstream(port.wires.iter().map(|wire| wire.node));
        let mut slice = Slice { nodes: Vec::with_capacity(upstream.len()) };
        for place in &upstream {
            let main = self.version(*place, scope)?.main;
            let task = self.task(main);
            slice.nodes.push(SliceNode {
                id: task.node.clone(),
                kind: task.kind.name.clone(),
                options: task.bound.options.clone(),
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
        let mut outputs = Vec::with_capacity(instances.len());
        let mut is_sound = true;
        for instance in instances {
            let inner = self.open_instance(scope, &instance);
            let mut again: HashSet<usize> = self.scopes[inner].overrides.keys().copied().collect();
            for place in &upstream {
                let is_below = wiring.nodes[*place].wires().any(|wire| again.contains(&wire.node));
                if is_below || again.contains(place) {
                    again.insert(*place);
                    self.plan_node(*place, inner);
                }
            }
            for wire in &port.wires {
                match wire.output.and_then(|output| self.output(wire.node, output, inner)) {
                    Some(output) => outputs.push(output),
                    None => is_sound = false,
                }
            }
            if self.is_full {
                return None;
            }
        }
        is_sound.then_some(outputs)
    }

    /// Every override must be above the port and every instance have a name of its own.
    fn check_instances(
        &mut self,
        node: &Wired<'s>,
        scope: usize,
        upstream: &[usize],
        instances: &[Instance],
    ) -> Option<()> {
        let ids = || upstream.iter().map(|place| self.wiring.nodes[*place].spec.id.as_str());
        let known: HashSet<&str> = ids().collect();
        let mut names = HashSet::new();
        let mut problems: Vec<Diagnostic> = Vec::new();
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
            for change in instance.overrides.iter().filter(|change| !known.contains(change.node.as_str())) {
                let message = format!(
                    "`{}` varies `{}.{}`, and `{}` is not above it",
                    node.spec.id, change.node, change.option, change.node
                );
                let pointer = node.spec.pointer("with");
                let problem = self.findings.error_at(&codes::EXPAND_OVERRIDE, message, &pointer, "out of its reach");
                problems.push(match nearest(&change.node, ids()) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.help(format!("above it are {}", listed(ids()))),
                });
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

    /// A scope below `parent` for `instance`.
    fn open_instance(&mut self, parent: usize, instance: &Instance) -> usize {
        let name = match self.instance(parent) {
            Some(outer) => format!("{outer},{}", instance.name),
            None => instance.name.clone(),
        };
        let mut scope = Scope { parent: Some(parent), instance: Some(name), ..Scope::default() };
        for change in &instance.overrides {
            let Some(place) = self.wiring.place(&change.node) else { continue };
            let as_is = || match self.version(place, parent).and_then(|version| version.with.clone()) {
                Some(with) => with,
                None => self.wiring.nodes[place].spec.with.clone(),
            };
            let with = scope.overrides.entry(place).or_insert_with(as_is);
            with.insert(change.option.clone(), change.value.clone());
        }
        self.scopes.push(scope);
        self.scopes.len() - 1
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
