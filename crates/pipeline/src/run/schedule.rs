//! Decides which stage runs when.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, Scope};

use crate::event::{Event, Events};
use crate::kind::{ErrorClass, Resource, StageError};
use crate::pipeline::Node;
use crate::store::Artifact;

use super::Job;
use super::execute::execute;

/// A stage whose artifact is in the store.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) artifact: Artifact,
    pub(super) cached: bool,
    pub(super) seconds: f64,
}

/// Where a stage stands.
#[derive(Debug)]
pub(super) enum State {
    Waiting,
    Running,
    Done(Box<Done>),
    Failed(StageError),
    Skipped,
}

type Finished = (usize, Result<Done, StageError>);

/// Runs the job's stages; the states in the order of the pipeline's nodes. Stages that are not selected stay waiting.
pub(super) fn run<C: Sync>(job: &Job<'_, C>, events: &Events) -> Vec<State> {
    let (sender, receiver) = mpsc::channel::<Finished>();
    let nodes = job.pipeline.nodes();
    let mut schedule = Schedule { job, events, states: nodes.iter().map(|_| State::Waiting).collect(), busy: BTreeMap::new() };
    thread::scope(|scope| {
        loop {
            schedule.start_ready(scope, &sender);
            if schedule.busy.values().all(|busy| *busy == 0) {
                break;
            }
            // The scheduler holds a sender of its own, so that receiving cannot fail while a stage runs.
            let Ok((index, result)) = receiver.recv() else {
                break;
            };
            *schedule.busy.entry(nodes[index].kind.resource).or_default() -= 1;
            schedule.finish(index, result);
        }
    });
    schedule.states
}

struct Schedule<'j, 'a, C: 'static> {
    job: &'j Job<'a, C>,
    events: &'j Events,
    states: Vec<State>,
    busy: BTreeMap<Resource, usize>,
}

impl<'j, C: Sync> Schedule<'j, '_, C> {
    /// Starts every stage that can start, in topological order; what the store has is done at once.
    fn start_ready<'s>(&mut self, scope: &'s Scope<'s, '_>, sender: &Sender<Finished>)
    where
        'j: 's,
    {
        let job = self.job;
        for (index, node) in job.selected_nodes() {
            if !matches!(self.states[index], State::Waiting) {
                continue;
            }
            if self.blocked(node) {
                self.states[index] = State::Skipped;
                self.events.send(Event::StageSkipped { stage: node.name.clone() });
                continue;
            }
            let Some(sources) = self.sources(node) else {
                continue;
            };
            let cached = if job.forced[index] { Ok(None) } else { job.store.find(&job.identities[index].fingerprint) };
            match cached {
                Err(error) => self.finish(index, Err(error.into())),
                Ok(Some(artifact)) => {
                    self.announce(index, true);
                    self.finish(index, Ok(Done { artifact, cached: true, seconds: 0.0 }));
                }
                Ok(None) => {
                    let busy = self.busy.entry(node.kind.resource).or_default();
                    if *busy >= job.options.capacity.of(node.kind.resource) {
                        continue;
                    }
                    *busy += 1;
                    self.states[index] = State::Running;
                    self.announce(index, false);
                    let (sender, events) = (sender.clone(), self.events);
                    scope.spawn(move || {
                        let result = execute(job, index, &sources, events);
                        // The receiver outlives the scope.
                        let _ = sender.send((index, result));
                    });
                }
            }
        }
    }

    /// Whether the stage can never start: something before it failed, or the run is to stop.
    fn blocked(&self, node: &Node<C>) -> bool {
        let dead = |state: &State| matches!(state, State::Failed(_) | State::Skipped);
        self.job.options.cancel.is_cancelled() || node.edges().any(|edge| dead(&self.states[edge.stage]))
    }

    /// The artifacts that the stage reads; `None` while one is missing.
    fn sources(&self, node: &Node<C>) -> Option<Vec<Artifact>> {
        let source = |state: &State| match state {
            State::Done(done) => Some(done.artifact.clone()),
            _ => None,
        };
        node.edges().map(|edge| source(&self.states[edge.stage])).collect()
    }

    fn announce(&self, index: usize, cached: bool) {
        let node = &self.job.pipeline.nodes()[index];
        self.events.send(Event::StageStarted {
            stage: node.name.clone(),
            kind: node.kind.name.to_owned(),
            fingerprint: self.job.identities[index].fingerprint,
            cached,
        });
    }

    fn finish(&mut self, index: usize, result: Result<Done, StageError>) {
        let stage = self.job.pipeline.nodes()[index].name.clone();
        let cost_usd = self.events.paid(&stage);
        self.states[index] = match result {
            Ok(done) => {
                let manifest = &done.artifact.manifest;
                self.events.send(Event::StageFinished {
                    stage,
                    cached: done.cached,
                    rows: manifest.rows(),
                    seconds: done.seconds,
                    cost_usd,
                    dropped: manifest.dropped.clone(),
                });
                State::Done(Box::new(done))
            }
            Err(error) if error.class() == ErrorClass::Cancelled => {
                self.events.send(Event::StageSkipped { stage });
                State::Failed(error)
            }
            Err(error) => {
                self.events.send(Event::StageFailed {
                    stage,
                    class: error.class(),
                    message: error.to_string(),
                    causes: error.causes(),
                    hint: error.hint_text().map(str::to_owned),
                });
                State::Failed(error)
            }
        };
    }
}
