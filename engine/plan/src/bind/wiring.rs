//! References as edges: which output each port is bound to, in what order the nodes can be planned, what goes round
//! in circles and what nobody reads.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use engine_core::{ArtifactKind, Diagnostic, Effect};
use engine_spec::{NodeSpec, PipelineSpec, Reference};
use engine_table::{Bound, InputPort, Kind, Node, Registry};
use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::findings::Findings;
use crate::codes;

/// A reference, resolved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire<'s> {
    /// The node it names, by place.
    pub(super) node: usize,
    /// The place of the output among those of its kind; nothing if it has none that fits, which is reported.
    pub(super) output: Option<usize>,
    /// As written.
    pub(super) reference: &'s Reference,
}

/// A bound port.
pub(super) struct WiredPort<'s> {
    /// The port.
    pub(super) port: InputPort,
    /// What is bound to it, in order.
    pub(super) wires: Vec<Wire<'s>>,
}

/// A node with its kind, options and references.
pub(super) struct Wired<'s> {
    pub(super) spec: &'s NodeSpec,
    pub(super) kind: Arc<Kind>,
    /// The kind with the node's options; nothing if they do not fit, which is reported.
    pub(super) bound: Option<Bound>,
    /// The bound ports, in the order of the kind.
    pub(super) ports: Vec<WiredPort<'s>>,
}

impl Wired<'_> {
    /// Every reference of every port.
    pub(super) fn wires(&self) -> impl Iterator<Item = &Wire<'_>> {
        self.ports.iter().flat_map(|port| port.wires.iter())
    }
}

/// The nodes and how they hang together.
pub(super) struct Wiring<'s> {
    pub(super) nodes: Vec<Wired<'s>>,
    /// The nodes that lie in no circle and below none, in topological order; of two that could come next, the first
    /// in the file does.
    pub(super) order: Vec<usize>,
    index: HashMap<&'s str, usize>,
    graph: DiGraph<(), (), usize>,
}

impl<'s> Wiring<'s> {
    /// Binds options and resolves references.
    ///
    /// # Panics
    /// If `spec` was validated against the vocabulary of another registry.
    pub(super) fn new(spec: &'s PipelineSpec, registry: &Registry, findings: &mut Findings<'s>) -> Wiring<'s> {
        let index: HashMap<&str, usize> =
            spec.nodes.keys().enumerate().map(|(place, id)| (id.as_str(), place)).collect();
        let kinds: Vec<&Arc<Kind>> = spec
            .nodes
            .values()
            .map(|node| registry.kind(&node.uses).expect("the pipeline was validated against this registry"))
            .collect();
        let mut graph = DiGraph::with_capacity(kinds.len(), kinds.len() * 2);
        for _ in &kinds {
            graph.add_node(());
        }
        let mut nodes = Vec::with_capacity(kinds.len());
        for (place, node) in spec.nodes.values().enumerate() {
            let kind = kinds[place];
            let bound = match kind.bind(&node.with) {
                Ok(bound) => Some(bound),
                Err(problems) => {
                    findings.problems(None, node, problems);
                    None
                }
            };
            let mut ports = Vec::with_capacity(node.inputs.len());
            for port in &kind.inputs {
                let Some(binding) = node.input(&port.name) else { continue };
                let mut wires = Vec::with_capacity(binding.references.len());
                for reference in &binding.references {
                    let from = index[reference.node.as_str()];
                    graph.update_edge(NodeIndex::new(from), NodeIndex::new(place), ());
                    let output = output_of(kinds[from], reference, port.takes);
                    if output.is_err() {
                        report_kind(findings, kinds[from], kind, port, reference);
                    }
                    wires.push(Wire { node: from, output: output.ok(), reference });
                }
                ports.push(WiredPort { port: port.clone(), wires });
            }
            nodes.push(Wired { spec: node, kind: kind.clone(), bound, ports });
        }
        let mut wiring = Wiring { nodes, order: Vec::new(), index, graph };
        wiring.report_cycles(findings);
        wiring.order = wiring.topological_order();
        wiring.report_unused(findings);
        wiring
    }

    /// The place of the node called `id`.
    pub(super) fn place(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// By node, whether it is there only to be tried with other options: everything that reads it is such a node, or
    /// an expansion that chooses one of its instances and reads it on a port it expands.
    pub(super) fn patterns(&self) -> Vec<bool> {
        let mut readers: Vec<Vec<(usize, &str)>> = vec![Vec::new(); self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate() {
            for port in &node.ports {
                port.wires.iter().for_each(|wire| readers[wire.node].push((place, port.port.name.as_str())));
            }
        }
        let chooses = |place: usize, port: &str| match self.nodes[place].bound.as_ref().map(|bound| &bound.node) {
            Some(Node::Expand(expand)) => expand.choice().is_some() && expand.ports().contains(&port),
            _ => false,
        };
        let mut patterns = vec![false; self.nodes.len()];
        for place in self.order.iter().rev() {
            let is_read_to_try = |(reader, port): &(usize, &str)| patterns[*reader] || chooses(*reader, port);
            patterns[*place] = !readers[*place].is_empty() && readers[*place].iter().all(is_read_to_try);
        }
        patterns
    }

    /// The nodes of `ends` and everything above them, in topological order.
    pub(super) fn upstream(&self, ends: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let seen = self.reachable(ends, Direction::Incoming);
        self.order.iter().copied().filter(|place| seen[*place]).collect()
    }

    fn reachable(&self, starts: impl IntoIterator<Item = usize>, direction: Direction) -> Vec<bool> {
        let mut seen = vec![false; self.nodes.len()];
        let mut open: Vec<usize> = starts.into_iter().collect();
        while let Some(place) = open.pop() {
            if std::mem::replace(&mut seen[place], true) {
                continue;
            }
            open.extend(self.graph.neighbors_directed(NodeIndex::new(place), direction).map(NodeIndex::index));
        }
        seen
    }

    /// Kahn's algorithm with a heap, so that the order is that of the file wherever the graph leaves a choice.
    fn topological_order(&self) -> Vec<usize> {
        let mut waits: Vec<usize> = (0..self.nodes.len())
            .map(|place| self.graph.edges_directed(NodeIndex::new(place), Direction::Incoming).count())
            .collect();
        let mut ready: BinaryHeap<Reverse<usize>> =
            waits.iter().enumerate().filter(|(_, count)| **count == 0).map(|(place, _)| Reverse(place)).collect();
        let mut order = Vec::with_capacity(waits.len());
        while let Some(Reverse(place)) = ready.pop() {
            order.push(place);
            for next in self.graph.neighbors_directed(NodeIndex::new(place), Direction::Outgoing) {
                waits[next.index()] -= 1;
                if waits[next.index()] == 0 {
                    ready.push(Reverse(next.index()));
                }
            }
        }
        order
    }

    /// One diagnostic for each knot of circles, with the shortest way round its first node.
    fn report_cycles(&self, findings: &mut Findings<'s>) {
        let mut knots: Vec<Vec<usize>> = tarjan_scc(&self.graph)
            .into_iter()
            .map(|knot| knot.into_iter().map(NodeIndex::index).collect::<Vec<usize>>())
            .filter(|knot: &Vec<usize>| {
                knot.len() > 1 || self.graph.find_edge(NodeIndex::new(knot[0]), NodeIndex::new(knot[0])).is_some()
            })
            .collect();
        knots.iter_mut().for_each(|knot| knot.sort_unstable());
        knots.sort_unstable();
        for knot in knots {
            let way = self.way_round(knot[0]);
            let id = |place: usize| self.nodes[place].spec.id.as_str();
            let names: Vec<&str> = way.iter().map(|place| id(*place)).collect();
            let message = if way.len() == 2 {
                format!("`{}` needs its own result", names[0])
            } else {
                format!("nodes need each other's results: `{}`", names.join("` -> `"))
            };
            let mut diagnostic: Option<Diagnostic> = None;
            for pair in way.windows(2) {
                let (from, to) = (pair[0], pair[1]);
                let Some(wire) = self.nodes[to].wires().find(|wire| wire.node == from) else { continue };
                let text = format!("`{}` reads `{}`", id(to), id(from));
                let so_far =
                    diagnostic.take().unwrap_or_else(|| Diagnostic::error(&codes::GRAPH_CYCLE, message.clone()));
                diagnostic = Some(so_far.label(findings.spec.span(&wire.reference.pointer), text));
            }
            if let Some(diagnostic) = diagnostic {
                findings.add(None, diagnostic.help("let one of them read a node further up"));
            }
        }
    }

    /// The shortest way from `start` back to itself, both ends included.
    fn way_round(&self, start: usize) -> Vec<usize> {
        let mut before: HashMap<usize, usize> = HashMap::new();
        let mut open = VecDeque::from([start]);
        while let Some(place) = open.pop_front() {
            let mut next: Vec<usize> = self
                .graph
                .neighbors_directed(NodeIndex::new(place), Direction::Outgoing)
                .map(NodeIndex::index)
                .collect();
            next.sort_unstable();
            for next in next {
                if next == start {
                    let mut way = vec![start];
                    let mut at = place;
                    while at != start {
                        way.push(at);
                        at = before[&at];
                    }
                    way.push(start);
                    way.reverse();
                    return way;
                }
                before.entry(next).or_insert_with(|| {
                    open.push_back(next);
                    place
                });
            }
        }
        vec![start, start]
    }

    /// Warns of branches that end in nothing.
    ///
    /// An encoder that no training reads does nothing whatever the pipeline is for. Any other leaf is suspicious
    /// only where the pipeline has ends of another sort (scores, a report, a deployment): in a pipeline that only
    /// prepares data, its leaf tables are what it is for. Models, and tables made with a model, are results too.
    fn report_unused(&self, findings: &mut Findings<'s>) {
        let gives = |node: &Wired<'_>, wanted: &[ArtifactKind]| {
            node.kind.outputs.iter().any(|output| wanted.contains(&output.gives))
        };
        let results = [ArtifactKind::Metrics, ArtifactKind::Report, ArtifactKind::Deployment];
        let is_end = |node: &Wired<'_>| node.kind.effect == Effect::Sink || gives(node, &results);
        let has_ends = self.nodes.iter().any(is_end);
        for (place, node) in self.nodes.iter().enumerate() {
            let is_read = self.graph.neighbors_directed(NodeIndex::new(place), Direction::Outgoing).next().is_some();
            let takes_model = node.ports.iter().any(|port| port.port.takes == ArtifactKind::Model);
            let declares_encoder = gives(node, &[ArtifactKind::Encoder]);
            let is_result = is_end(node) || takes_model || gives(node, &[ArtifactKind::Model]);
            if is_read || is_result || !(has_ends || declares_encoder) {
                continue;
            }
            let id = &node.spec.id;
            let message = if declares_encoder {
                format!("no training reads the encoder `{id}`, so it does nothing")
            } else {
                format!("nothing reads `{id}`")
            };
            let warning = Diagnostic::warning(&codes::GRAPH_UNUSED, message)
                .label(findings.spec.key_span(&node.spec.pointer("")), "has no part in any result")
                .help(format!("name `{id}` in the `in:` of the node that is to read it, or remove it"));
            findings.add(None, warning);
        }
    }
}

/// The output `reference` means: the one it names, else the first that gives what is wanted.
fn output_of(kind: &Kind, reference: &Reference, wanted: ArtifactKind) -> Result<usize, ()> {
    kind.outputs
        .iter()
        .position(|output| output.gives == wanted && reference.port.as_ref().is_none_or(|port| *port == output.name))
        .ok_or(())
}

fn report_kind(findings: &mut Findings<'_>, from: &Kind, kind: &Kind, port: &InputPort, reference: &Reference) {
    let given: Vec<ArtifactKind> = from
        .outputs
        .iter()
        .filter(|output| reference.port.as_ref().is_none_or(|name| *name == output.name))
        .map(|output| output.gives)
        .collect();
    let given_words = match given.as_slice() {
        [] => "nothing".to_owned(),
        kinds => kinds.iter().map(|kind| with_article(*kind)).collect::<Vec<_>>().join(" and "),
    };
    let message = format!(
        "`{reference}` gives {given_words}, but the port `{}` of `{}` takes {}",
        port.name,
        kind.name,
        with_article(port.takes)
    );
    let label = match given.as_slice() {
        [one] => with_article(*one),
        _ => format!("not {}", with_article(port.takes)),
    };
    let made = findings.spec.span(&format!("/nodes/{}/uses", reference.node));
    let diagnostic = findings
        .error_at(&codes::PORT_KIND, message, &reference.pointer, &label)
        .label(made, format!("gives {given_words}"));
    let other = from.outputs.iter().find(|output| output.gives == port.takes);
    let diagnostic = match (other, port.takes) {
        (Some(other), _) => diagnostic.help(format!("write `{}.{}`", reference.node, other.name)),
        (None, ArtifactKind::Encoder) if given.contains(&ArtifactKind::Table) => diagnostic.help(format!(
            "put an encoder between, such as `encode.table`, with `in: {}`, and name it here",
            reference.node
        )),
        (None, ArtifactKind::Model) => {
            diagnostic.help("name a node that trains, such as one that uses `train.multimodal`")
        }
        (None, takes) => diagnostic.help(format!("name a node that gives {}", with_article(takes))),
    };
    findings.add(None, diagnostic);
}

fn with_article(kind: ArtifactKind) -> String {
    match kind {
        ArtifactKind::Encoder => format!("an {kind}"),
        ArtifactKind::Metrics => kind.to_string(),
        ArtifactKind::Fitted => "fitted values".to_owned(),
        _ => format!("a {kind}"),
    }
}
