//! A checked pipeline: typed stages in an order in which they can run.

use serde_json::Value;

use crate::fingerprint::{self, Fingerprint, Upstream};
use crate::kind::{Kind, Port, Stage, StageError};

/// The stages of a pipeline file without mistakes, in topological order; stages that do not depend on each other stand in file order.
pub struct Pipeline<C: 'static> {
    seed: u64,
    nodes: Vec<Node<C>>,
}

/// A stage in the graph.
pub struct Node<C: 'static> {
    /// The stage's name.
    pub name: String,
    /// Its kind.
    pub kind: &'static Kind<C>,
    /// Its parameters and its work.
    pub stage: Box<dyn Stage<C>>,
    /// Where its inputs come from.
    pub inputs: Vec<Edge>,
    /// The model it starts from.
    pub init_from: Option<Edge>,
    /// Its outputs; the first is the default.
    pub outputs: Vec<(String, Port)>,
}

/// An edge as its end sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The position of the stage that it comes from in [`Pipeline::nodes`].
    pub stage: usize,
    /// The output of that stage.
    pub output: String,
    /// What flows along it.
    pub port: Port,
}

impl Edge {
    fn upstream(&self, identities: &[Identity]) -> Upstream<'_> {
        Upstream { fingerprint: identities[self.stage].fingerprint, output: &self.output }
    }
}

/// What decides the output of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The address of the artifact.
    pub fingerprint: Fingerprint,
    /// The stage's own share in it: [`Stage::identity`] in canonical form.
    pub parameters: Value,
}

/// Why one stage of a pipeline did not finish.
#[derive(Debug, thiserror::Error)]
#[error("stage `{stage}`: {error}")]
pub struct StageFailure {
    /// The stage's name.
    pub stage: String,
    /// Its kind.
    pub kind: &'static str,
    /// What went wrong.
    #[source]
    pub error: StageError,
}

impl<C> Node<C> {
    /// All edges into the stage: its inputs, then the model it starts from.
    pub fn edges(&self) -> impl Iterator<Item = &Edge> {
        self.inputs.iter().chain(&self.init_from)
    }

    pub(crate) fn failure(&self, error: StageError) -> StageFailure {
        StageFailure { stage: self.name.clone(), kind: self.kind.name, error }
    }
}

impl<C> Pipeline<C> {
    pub(crate) fn new(seed: u64, nodes: Vec<Node<C>>) -> Self {
        Self { seed, nodes }
    }

    /// The seed of all randomness.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The stages in topological order.
    #[must_use]
    pub fn nodes(&self) -> &[Node<C>] {
        &self.nodes
    }

    /// The position of a stage.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// The identity of every stage, in the order of [`Pipeline::nodes`]. Reads prompt and source files.
    ///
    /// # Errors
    /// Every stage whose files cannot be read.
    pub fn identify(&self, app: &C) -> Result<Vec<Identity>, Vec<StageFailure>> {
        let own: Vec<_> = self.nodes.iter().map(|node| node.stage.identity(app).map_err(|error| node.failure(error))).collect();
        let mut failures = Vec::new();
        let mut identities: Vec<Identity> = Vec::new();
        for (node, parameters) in self.nodes.iter().zip(own) {
            match parameters {
                Err(failure) => failures.push(failure),
                // After a failure the positions no longer match; only further failures are of interest.
                Ok(_) if !failures.is_empty() => {}
                Ok(parameters) => {
                    let parameters = fingerprint::canonical(&parameters);
                    let fingerprint = self.fingerprint(node, &parameters, &identities);
                    identities.push(Identity { fingerprint, parameters });
                }
            }
        }
        if failures.is_empty() { Ok(identities) } else { Err(failures) }
    }

    fn fingerprint(&self, node: &Node<C>, parameters: &Value, before: &[Identity]) -> Fingerprint {
        let inputs: Vec<Upstream<'_>> = node.inputs.iter().map(|edge| edge.upstream(before)).collect();
        let init_from = node.init_from.as_ref().map(|edge| edge.upstream(before));
        fingerprint::stage(node.kind.name, node.kind.revision, parameters, self.seed, &inputs, init_from.as_ref())
    }

    /// The positions of the named stages and of everything they need; of all stages where no name is given.
    ///
    /// # Errors
    /// The first name that is no stage.
    pub fn select<'n>(&self, targets: &'n [String]) -> Result<Vec<bool>, &'n str> {
        let mut selected = vec![targets.is_empty(); self.nodes.len()];
        for target in targets {
            selected[self.position(target).ok_or(target.as_str())?] = true;
        }
        for index in (0..self.nodes.len()).rev().filter(|_| !targets.is_empty()) {
            if selected[index] {
                self.nodes[index].edges().for_each(|edge| selected[edge.stage] = true);
            }
        }
        Ok(selected)
    }

    /// The positions of the named stages and of everything that depends on them.
    ///
    /// # Errors
    /// The first name that is no stage.
    pub fn downstream<'n>(&self, names: &'n [String]) -> Result<Vec<bool>, &'n str> {
        let mut reached = vec![false; self.nodes.len()];
        for name in names {
            reached[self.position(name).ok_or(name.as_str())?] = true;
        }
        for index in 0..self.nodes.len() {
            reached[index] |= self.nodes[index].edges().any(|edge| reached[edge.stage]);
        }
        Ok(reached)
    }
}
