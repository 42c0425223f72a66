//! Runs one stage: waits for its turn on the fingerprint, works in an attempt folder, commits.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Instant;

use crate::event::{Event, Events, Level};
use crate::kind::StageError;
use crate::pipeline::{Edge, Node};
use crate::store::{self, Artifact, Attempt, Commit, Exclusive, FORMAT, Manifest};

use super::context::{Input, StageContext};
use super::schedule::Done;
use super::{Job, StageResult};

/// The artifacts of a stage's edges, in their order: its inputs, then the model it starts from.
pub(super) type Sources = Vec<Artifact>;

/// Brings the stage's artifact into the store. Panics of the stage become errors.
pub(super) fn execute<C: Sync>(job: &Job<'_, C>, index: usize, sources: &Sources, events: &Events) -> Result<Done, StageError> {
    let (node, fingerprint) = (&job.pipeline.nodes()[index], job.identities[index].fingerprint);
    let began = Instant::now();
    let _turn = wait_for_turn(job, index, events)?;
    let forced = job.forced[index];
    if !forced && let Some(artifact) = job.store.find(&fingerprint)? {
        return Ok(Done { artifact, cached: true, seconds: began.elapsed().as_secs_f64() });
    }
    let attempt = job.store.begin()?;
    let result = work(job, index, sources, &attempt, events)?;
    let undeclared = result.outputs.keys().find(|name| node.outputs.iter().all(|(known, _)| known != *name));
    if let Some(name) = undeclared {
        return Err(StageError::failed(format!("stage kind `{}` returned the output `{name}`, which it does not declare", node.kind.name)));
    }
    let seconds = began.elapsed().as_secs_f64();
    let manifest = manifest(job, index, sources, &result, seconds);
    match job.store.commit(attempt, manifest, &node.outputs, &result.outputs, forced)? {
        Commit::Won(artifact) => Ok(Done { artifact, cached: false, seconds }),
        Commit::Lost(artifact) => Ok(Done { artifact, cached: true, seconds }),
    }
}

/// Waits until no other run works on the stage, or the run is to stop.
fn wait_for_turn<C: Sync>(job: &Job<'_, C>, index: usize, events: &Events) -> Result<Exclusive, StageError> {
    let mut told = false;
    let waiting = || {
        if !std::mem::replace(&mut told, true) {
            let stage = Some(job.pipeline.nodes()[index].name.clone());
            let text = "another run works on this stage; waiting for it".to_owned();
            events.send(Event::Message { stage, level: Level::Info, text });
        }
        !job.options.cancel.is_cancelled()
    };
    let turn = job.store.exclusive(&job.identities[index].fingerprint, waiting)?;
    turn.ok_or_else(StageError::cancelled)
}

fn work<C: Sync>(job: &Job<'_, C>, index: usize, sources: &Sources, attempt: &Attempt, events: &Events) -> Result<StageResult, StageError> {
    let node = &job.pipeline.nodes()[index];
    let mut inputs: Vec<Input> = node.edges().zip(sources).map(|(edge, artifact)| input(job, edge, artifact)).collect();
    let init_from = if node.init_from.is_some() { inputs.pop() } else { None };
    let cx = StageContext {
        app: job.app,
        name: &node.name,
        fingerprint: job.identities[index].fingerprint,
        seed: job.pipeline.seed(),
        inputs,
        init_from,
        store: job.store,
        attempt,
        events,
        cancel: &job.options.cancel,
        last_progress: Mutex::new(None),
    };
    // What a panicking stage leaves behind is its attempt folder, which is dropped, and scratch, which it must be able to continue from
    // after a kill anyway.
    catch_unwind(AssertUnwindSafe(|| node.stage.run(&cx))).unwrap_or_else(|panic| Err(panicked(node, &*panic)))
}

fn panicked<C>(node: &Node<C>, panic: &(dyn Any + Send)) -> StageError {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no message");
    StageError::failed(format!("stage kind `{}` panicked: {text}", node.kind.name))
        .hint("this is a mistake in the program; please report it")
}

fn input<C>(job: &Job<'_, C>, edge: &Edge, artifact: &Artifact) -> Input {
    let output = artifact.manifest.output(Some(&edge.output));
    Input {
        stage: job.pipeline.nodes()[edge.stage].name.clone(),
        output: edge.output.clone(),
        port: edge.port,
        files: artifact.files(Some(&edge.output)),
        rows: output.and_then(|output| output.rows),
        entry: artifact.entry(Some(&edge.output)),
        artifact: artifact.clone(),
    }
}

fn manifest<C>(job: &Job<'_, C>, index: usize, sources: &Sources, result: &StageResult, seconds: f64) -> Manifest {
    let (node, identity) = (&job.pipeline.nodes()[index], &job.identities[index]);
    let inputs = node.edges().zip(sources).map(|(edge, artifact)| store::Input {
        stage: job.pipeline.nodes()[edge.stage].name.clone(),
        output: edge.output.clone(),
        port: edge.port,
        fingerprint: artifact.manifest.fingerprint,
        attempt: artifact.manifest.attempt.clone(),
    });
    Manifest {
        format: FORMAT,
        tool: job.options.tool.clone(),
        fingerprint: identity.fingerprint,
        stage: node.name.clone(),
        kind: node.kind.name.to_owned(),
        revision: node.kind.revision,
        seed: job.pipeline.seed(),
        parameters: identity.parameters.clone(),
        inputs: inputs.collect(),
        lineage: Manifest::lineage_of(sources.iter().map(|artifact| &artifact.manifest)),
        attempt: String::new(),
        outputs: Vec::new(),
        stats: result.stats.clone(),
        dropped: result.dropped.clone(),
        tokens: result.tokens,
        cost_usd: result.cost_usd,
        evals: result.evals.clone(),
        seconds,
    }
}
