//! Joins stages into a graph: resolves inputs, finds cycles, orders the stages and checks what flows along the edges.

use std::collections::BTreeMap;
use std::ops::Range;

use petgraph::algo::tarjan_scc;
use petgraph::graph::DiGraph;

use crate::file::mistake::Found;
use crate::file::near::suggest;
use crate::file::{DraftStage, Reference};
use crate::kind::Port;
use crate::pipeline::{Edge, Node};

/// The nodes in topological order, stages that do not depend on each other in file order. Meaningful only when nothing was found.
pub(crate) fn join<C>(stages: Vec<DraftStage<C>>, found: &mut Vec<Found>) -> Vec<Node<C>> {
    let edges: Vec<Edges> = stages.iter().map(|stage| Edges::resolve(stage, &stages, found)).collect();
    let cyclic = report_cycles(&stages, &edges, found);
    let order = order(&edges, &cyclic);
    let outputs = flow(&stages, &edges, &order, found);
    if !found.is_empty() {
        return Vec::new();
    }
    let position: BTreeMap<usize, usize> = order.iter().enumerate().map(|(position, stage)| (*stage, position)).collect();
    let edge = |link: &Link| {
        let (output, port) = outputs[link.stage].as_ref()?.iter().find(|(name, _)| link.output.as_ref().is_none_or(|o| o == name))?;
        Some(Edge { stage: *position.get(&link.stage)?, output: output.clone(), port: *port })
    };
    let mut slots: Vec<Option<DraftStage<C>>> = stages.into_iter().map(Some).collect();
    let node = |index: &usize| {
        let stage = slots[*index].take()?;
        let (kind, parsed) = stage.parsed?;
        Some(Node {
            name: stage.name,
            kind,
            stage: parsed,
            inputs: edges[*index].inputs.iter().flatten().filter_map(edge).collect(),
            init_from: edges[*index].init_from.as_ref().and_then(edge),
            outputs: outputs[*index].clone()?,
        })
    };
    order.iter().filter_map(node).collect()
}

/// A reference that is resolved to a stage; the output is still the name that was written, if one was.
struct Link {
    stage: usize,
    output: Option<String>,
    span: Range<usize>,
}

/// The edges into one stage; `None` where a reference does not resolve.
struct Edges {
    inputs: Vec<Option<Link>>,
    init_from: Option<Link>,
}

impl Edges {
    fn resolve<C>(stage: &DraftStage<C>, stages: &[DraftStage<C>], found: &mut Vec<Found>) -> Self {
        let inputs = stage.inputs.iter().map(|input| link(input.as_ref()?, stages, found)).collect();
        let init_from = stage.init_from.as_ref().and_then(|reference| link(reference, stages, found));
        Self { inputs, init_from }
    }

    fn all(&self) -> impl Iterator<Item = &Link> {
        self.inputs.iter().flatten().chain(&self.init_from)
    }
}

fn link<C>(reference: &Reference, stages: &[DraftStage<C>], found: &mut Vec<Found>) -> Option<Link> {
    let (name, output) = match reference.text.split_once('.') {
        Some((name, output)) => (name, Some(output.to_owned())),
        None => (reference.text.as_str(), None),
    };
    let target = stages.iter().position(|stage| stage.name == name);
    if target.is_none() {
        let hint = suggest(name, "stages", stages.iter().map(|stage| stage.name.as_str()));
        found.push(Found::new(reference.span.clone(), format!("no stage is named `{name}`")).hint(hint));
    }
    Some(Link { stage: target?, output, span: reference.span.clone() })
}

/// Reports every cycle once, with its path, and gives the stages that lie on one.
fn report_cycles<C>(stages: &[DraftStage<C>], edges: &[Edges], found: &mut Vec<Found>) -> Vec<usize> {
    let mut graph = DiGraph::<(), ()>::new();
    let nodes: Vec<_> = stages.iter().map(|_| graph.add_node(())).collect();
    for (to, edges) in edges.iter().enumerate() {
        for link in edges.all() {
            graph.update_edge(nodes[link.stage], nodes[to], ());
        }
    }
    let mut cyclic = Vec::new();
    for component in tarjan_scc(&graph) {
        let mut members: Vec<usize> = component.iter().map(|node| node.index()).collect();
        members.sort_unstable();
        let first = members[0];
        if members.len() == 1 && edges[first].all().all(|link| link.stage != first) {
            continue;
        }
        let path = shortest_cycle(first, &members, edges);
        let names: Vec<&str> = path.iter().map(|stage| stages[*stage].name.as_str()).collect();
        let closing = edges[first].all().find(|link| members.contains(&link.stage));
        let span = closing.map_or_else(|| stages[first].head.clone(), |link| link.span.clone());
        let hint = "a stage cannot depend on its own output".to_owned();
        found.push(Found::new(span, format!("stages form a cycle: {}", names.join(" → "))).hint(hint));
        cyclic.extend(members);
    }
    cyclic
}

/// A shortest way from `first` along the edges back to itself, found breadth-first against the edges.
fn shortest_cycle(first: usize, members: &[usize], edges: &[Edges]) -> Vec<usize> {
    let mut next_on_way = BTreeMap::new();
    let mut layer = vec![first];
    while !layer.is_empty() && !next_on_way.contains_key(&first) {
        let mut before = Vec::new();
        for stage in layer {
            for link in edges[stage].all().filter(|link| members.contains(&link.stage)) {
                if let std::collections::btree_map::Entry::Vacant(entry) = next_on_way.entry(link.stage) {
                    entry.insert(stage);
                    before.push(link.stage);
                }
            }
        }
        layer = before;
    }
    let mut path = vec![first];
    let mut at = first;
    while let Some(next) = next_on_way.get(&at) {
        path.push(*next);
        at = *next;
        if at == first {
            break;
        }
    }
    path
}

/// Topological order, stable by file order; stages on a cycle or behind one are left out.
fn order(edges: &[Edges], cyclic: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    let ready = |stage: usize, order: &[usize]| {
        !order.contains(&stage) && !cyclic.contains(&stage) && edges[stage].all().all(|link| order.contains(&link.stage))
    };
    while let Some(next) = (0..edges.len()).find(|stage| ready(*stage, &order)) {
        order.push(next);
    }
    order
}

type Outputs = Vec<(String, Port)>;

/// The outputs of every stage as far as they are known; wrong edges are reported where they are written.
fn flow<C>(stages: &[DraftStage<C>], edges: &[Edges], order: &[usize], found: &mut Vec<Found>) -> Vec<Option<Outputs>> {
    let mut outputs: Vec<Option<Outputs>> = stages.iter().map(|_| None).collect();
    for index in order {
        let (stage, edges) = (&stages[*index], &edges[*index]);
        let ports: Vec<Option<Port>> = edges.inputs.iter().map(|link| port(link.as_ref()?, stages, &outputs, found)).collect();
        if let Some(link) = &edges.init_from
            && let Some(other) = port(link, stages, &outputs, found).filter(|port| *port != Port::Model)
        {
            found.push(Found::new(link.span.clone(), format!("`init_from` takes model, found {other}")));
        }
        // One unknown port would make the others look wrong too.
        let (Some((kind, parsed)), Some(ports)) = (&stage.parsed, ports.into_iter().collect::<Option<Vec<Port>>>()) else {
            continue;
        };
        match parsed.outputs(&ports) {
            Ok(named) => outputs[*index] = check_names(named, stage, found),
            Err(error) => {
                let link = error.input.and_then(|input| edges.inputs.get(input)?.as_ref());
                let span = link.map_or_else(|| stage.places.find("inputs"), |link| link.span.clone());
                let message = format!("kind `{}` {}", kind.name, error.message);
                found.push(Found::new(span, message).hint(error.hint));
            }
        }
    }
    outputs
}

fn port<C>(link: &Link, stages: &[DraftStage<C>], outputs: &[Option<Outputs>], found: &mut Vec<Found>) -> Option<Port> {
    let known = outputs[link.stage].as_ref()?;
    let Some(wanted) = &link.output else {
        return known.first().map(|(_, port)| *port);
    };
    let port = known.iter().find(|(name, _)| name == wanted).map(|(_, port)| *port);
    if port.is_none() {
        let name = &stages[link.stage].name;
        let hint = suggest(wanted, "outputs", known.iter().map(|(name, _)| name.as_str()));
        found.push(Found::new(link.span.clone(), format!("stage `{name}` has no output `{wanted}`")).hint(hint));
    }
    port
}

/// Output names become folders and stand behind a dot in `inputs`.
fn check_names<C>(named: Outputs, stage: &DraftStage<C>, found: &mut Vec<Found>) -> Option<Outputs> {
    let mut fine = true;
    for (index, (name, _)) in named.iter().enumerate() {
        let message = match crate::file::bad_name(name) {
            Some(message) => Some(format!("cannot name an output so: {message}")),
            None if named[..index].iter().any(|(other, _)| other == name) => Some(format!("two outputs are named `{name}`")),
            None => None,
        };
        if let Some(message) = message {
            found.push(Found::new(stage.head.clone(), message));
            fine = false;
        }
    }
    fine.then_some(named)
}
