//! A teacher behind a batch API: the same model at a discount, within a day.
//!
//! Requests gather into files (`/files`), each file becomes a batch (`/batches`), and whoever asked waits for its line
//! of the result. Which batches were handed in is written down ([`state`]) before and after each step, so that a run
//! that was killed finds its batches again instead of paying for new ones. Lines that a batch does not answer (expired,
//! partly failed) are asked again in a later one.

mod api;
mod state;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::api::{Line, Status};
use self::state::{Batch, Ledger, Phase};
use super::config::wrong;
use super::fault::{Consequence, Fault, FaultKind};
use super::limits::retries::backoff;
use super::{OpenAi, OpenAiConfig, reply, wire};
use crate::budget::{Budget, Price, Reservation};
use crate::error::GenerateError;
use crate::journal::{KeyMaker, RequestKey};
use crate::request::{ChatRequest, Completion, Generator, Record};
use crate::secret::SecretKey;
use crate::tokens::TokenCounter;

/// How requests gather into batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    /// The most requests of one batch.
    pub max_requests: usize,
    /// The most bytes of one batch's file.
    pub max_bytes: usize,
    /// A batch is handed in once no request has joined it for this long, in seconds.
    pub gather_seconds: f64,
    /// How often a batch is asked for its state, in seconds.
    pub poll_seconds: f64,
    /// The time that the service is given, in its own notation.
    pub completion_window: String,
    /// Where batches under way are noted, so that a later run finds them; the store sees to it in a pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            max_requests: 20_000,
            max_bytes: 100 << 20,
            gather_seconds: 3.0,
            poll_seconds: 30.0,
            completion_window: "24h".into(),
            dir: None,
        }
    }
}

/// What a line takes besides its request.
const LINE_OVERHEAD: usize = 144;

/// The file of a batch and its result may be larger than one reply.
const MAX_RESULT_BYTES: usize = 4 << 30;

/// A teacher that is asked in batches.
pub struct BatchOpenAi(Arc<Inner>);

struct Inner {
    plain: OpenAi,
    config: BatchConfig,
    keys: KeyMaker,
    ledger: Ledger,
    state: Mutex<State>,
}

/// What somebody who waits gets: a line, or `None` from a batch that ended without it.
type Answer = Result<Option<Line>, GenerateError>;

#[derive(Default)]
struct State {
    /// Every batch noted, those of earlier runs included once they were read.
    batches: Option<Vec<Batch>>,
    /// Keys of requests that a batch holds.
    held: HashSet<RequestKey>,
    /// Requests that no batch has taken yet, by key.
    gathering: BTreeMap<RequestKey, Vec<u8>>,
    bytes: usize,
    last_joined: Option<Instant>,
    /// Whoever waits, by key.
    waiting: HashMap<RequestKey, oneshot::Sender<Answer>>,
    /// Lines fetched that nobody has asked for yet.
    ready: HashMap<RequestKey, Line>,
    worker: bool,
}

impl BatchOpenAi {
    /// A teacher asked in batches, as `teacher.batch` says. Its `price` is taken at its `batch_factor`.
    ///
    /// # Errors
    /// [`GenerateError::Config`].
    pub fn new(teacher: OpenAiConfig, key: Option<SecretKey>) -> Result<Self, GenerateError> {
        let config = teacher.batch.clone().unwrap_or_default();
        if config.max_requests == 0 || config.max_bytes == 0 {
            return Err(wrong("batch.max_requests", "expected at least 1, found 0"));
        }
        for (field, value) in [("batch.gather_seconds", config.gather_seconds), ("batch.poll_seconds", config.poll_seconds)] {
            if !(value > 0.0 && value <= 86_400.0) {
                return Err(wrong(field, format!("expected more than 0 and at most 86400, found {value}")));
            }
        }
        let teacher = OpenAiConfig { price: teacher.price.map(|price| price.batch()), stream: false, ..teacher };
        let plain = OpenAi::new(teacher, key)?;
        let keys = KeyMaker::new(&plain.identity());
        let ledger = Ledger::new(config.dir.clone().unwrap_or_else(|| ".potstill/shared/batches".into()));
        Ok(Self(Arc::new(Inner { plain, config, keys, ledger, state: Mutex::default() })))
    }

    /// Counts by this tokenizer what the service does not count.
    #[must_use]
    pub fn counting(mut self, counter: Option<TokenCounter>) -> Self {
        // Nobody else has it yet.
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.plain.set_counter(counter);
        }
        self
    }

    /// Asks the service to cancel every batch under way; what is answered already is still fetched and paid.
    ///
    /// # Errors
    /// The first batch that could not be cancelled.
    pub async fn cancel(&self) -> Result<(), GenerateError> {
        for batch in self.0.ledger.read()? {
            if let Phase::Submitted { batch_id } = batch.phase {
                self.0.api().cancel(&batch_id).await.map_err(|fault| given_up(&fault, 1))?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Generator for BatchOpenAi {
    fn name(&self) -> &str {
        self.0.plain.name()
    }

    fn identity(&self) -> serde_json::Value {
        self.0.plain.identity()
    }

    async fn complete(&self, request: &ChatRequest) -> Result<Completion, GenerateError> {
        let reservation = self.0.plain.reserve(request, 1).await?;
        let key = self.0.keys.key(request);
        let began = Instant::now();
        let (mut tries, mut last) = (0, "the batch left this request unanswered".to_owned());
        while tries <= self.0.plain.config.retries {
            let answer = self.0.join(key, wire::body(&self.0.plain.config, request, 1))?;
            self.0.start_worker();
            tries += 1;
            let Some(line) = answer.await.unwrap_or(Err(GenerateError::Cancelled))? else { continue };
            if line.status == 200 {
                return self.0.finish(request, line, reservation, began.elapsed());
            }
            let fault = line.fault();
            if !matches!(fault.consequence(), Consequence::Retry | Consequence::Pushback) {
                return Err(given_up(&fault, tries));
            }
            last = fault.message;
        }
        Err(GenerateError::Exhausted { reason: "batch_unanswered".into(), tries, message: last })
    }

    fn replay(&self, request: &ChatRequest, record: Record<'_>) -> Result<Completion, GenerateError> {
        self.0.plain.replay(request, record)
    }

    fn max_concurrency(&self) -> usize {
        self.0.config.max_requests
    }

    fn price(&self) -> Option<Price> {
        self.0.plain.price()
    }

    fn budget(&self) -> Option<Arc<Budget>> {
        self.0.plain.budget()
    }
}

impl Inner {
    fn api(&self) -> api::Api<'_> {
        api::Api { sender: &self.plain.sender, window: &self.config.completion_window }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a key's line: in a batch that holds it, else in the one that gathers.
    fn join(&self, key: RequestKey, body: Vec<u8>) -> Result<oneshot::Receiver<Answer>, GenerateError> {
        let (answer, line) = oneshot::channel();
        let mut state = self.lock();
        if state.batches.is_none() {
            let batches = self.ledger.read()?;
            state.held.extend(batches.iter().flat_map(Batch::keys));
            state.batches = Some(batches);
        }
        if let Some(ready) = state.ready.remove(&key) {
            drop(answer.send(Ok(Some(ready))));
            return Ok(line);
        }
        if !state.held.contains(&key) {
            state.bytes += body.len() + LINE_OVERHEAD;
            state.gathering.insert(key, body);
            state.last_joined = Some(Instant::now());
        }
        state.waiting.insert(key, answer);
        Ok(line)
    }

    /// The worker lives as long as somebody waits.
    fn start_worker(self: &Arc<Self>) {
        if std::mem::replace(&mut self.lock().worker, true) {
            return;
        }
        let inner = Arc::clone(self);
        tokio::spawn(async move { while inner.work().await {} });
    }

    /// One round: hand in what has gathered, look after what is under way. `false` once nobody waits.
    async fn work(&self) -> bool {
        let result = async {
            if let Some(lines) = self.gathered() {
                self.hand_in(lines).await?;
            }
            for batch in self.wanted_batches() {
                self.look_after(batch).await?;
            }
            Ok::<(), GenerateError>(())
        };
        if let Err(error) = result.await {
            self.fail_all(&error);
        }
        {
            let mut state = self.lock();
            state.waiting.retain(|_, answer| !answer.is_closed());
            if state.waiting.is_empty() {
                state.worker = false;
                return false;
            }
        }
        tokio::time::sleep(self.pause()).await;
        true
    }

    fn pause(&self) -> Duration {
        let gathering = !self.lock().gathering.is_empty();
        let seconds = if gathering { self.config.gather_seconds.min(self.config.poll_seconds) } else { self.config.poll_seconds };
        Duration::from_secs_f64(seconds)
    }

    /// The next batch's requests, if it is full or nobody has joined it for a while.
    fn gathered(&self) -> Option<Vec<(RequestKey, Vec<u8>)>> {
        let mut state = self.lock();
        let full = state.gathering.len() >= self.config.max_requests || state.bytes >= self.config.max_bytes;
        let quiet = state.last_joined.is_some_and(|at| at.elapsed().as_secs_f64() >= self.config.gather_seconds);
        if state.gathering.is_empty() || !(full || quiet) {
            return None;
        }
        let mut lines = Vec::new();
        let mut bytes = 0;
        while lines.len() < self.config.max_requests && bytes < self.config.max_bytes {
            let Some((key, body)) = state.gathering.pop_first() else { break };
            bytes += body.len() + LINE_OVERHEAD;
            state.held.insert(key);
            lines.push((key, body));
        }
        state.bytes = state.bytes.saturating_sub(bytes);
        Some(lines)
    }

    /// Batches that hold a request that somebody waits for.
    fn wanted_batches(&self) -> Vec<Batch> {
        let state = self.lock();
        let wanted = |batch: &&Batch| batch.keys().any(|key| state.waiting.contains_key(&key));
        state.batches.iter().flatten().filter(wanted).cloned().collect()
    }

    /// Notes the batch, uploads its file, hands it in, notes its id.
    async fn hand_in(&self, lines: Vec<(RequestKey, Vec<u8>)>) -> Result<(), GenerateError> {
        let mut batch = self.ledger.begin(lines.iter().map(|(key, _)| *key))?;
        let file = api::file(&lines);
        drop(lines);
        let api = self.api();
        let file_id = self.insist(|| Box::pin(api.upload(&batch.name, &file))).await?;
        let batch_id = self.insist(|| Box::pin(api.submit(&batch.name, &file_id))).await?;
        batch.phase = Phase::Submitted { batch_id };
        self.note(batch)
    }

    fn note(&self, batch: Batch) -> Result<(), GenerateError> {
        self.ledger.note(&batch)?;
        let mut state = self.lock();
        let batches = state.batches.get_or_insert_default();
        match batches.iter_mut().find(|known| known.name == batch.name) {
            Some(known) => *known = batch,
            None => batches.push(batch),
        }
        Ok(())
    }

    /// Tries a call again as often as a request would be.
    async fn insist<'a, T>(&self, call: impl Fn() -> BoxFuture<'a, Result<T, Fault>>) -> Result<T, GenerateError> {
        let mut tries = 0;
        loop {
            let fault = match call().await {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            tries += 1;
            let again = matches!(fault.consequence(), Consequence::Retry | Consequence::Pushback);
            if !again || tries > self.plain.config.retries {
                return Err(given_up(&fault, tries));
            }
            tokio::time::sleep(backoff(tries, Duration::from_millis(500), Duration::from_secs(60), fault.retry_after)).await;
        }
    }

    /// Asks for a batch's state and takes its results once it has ended.
    async fn look_after(&self, mut batch: Batch) -> Result<(), GenerateError> {
        let api = self.api();
        if batch.phase == Phase::Begun {
            // Killed between handing in and noting the id: the service knows the batch by the name we gave it.
            let Some(batch_id) = self.insist(|| Box::pin(api.find(&batch.name))).await? else {
                return self.give_out(&batch, HashMap::new());
            };
            batch.phase = Phase::Submitted { batch_id };
            self.note(batch.clone())?;
        }
        if let Phase::Submitted { batch_id } = &batch.phase {
            let Status::Ended { files, why } = self.insist(|| Box::pin(api.status(batch_id))).await? else { return Ok(()) };
            batch.phase = Phase::Ended { files, why };
            self.note(batch.clone())?;
        }
        let mut lines = HashMap::new();
        if let Phase::Ended { files, .. } = &batch.phase {
            for file in files {
                match self.insist(|| Box::pin(api.download(file, MAX_RESULT_BYTES))).await {
                    Ok(bytes) => api::read_results(&bytes, &mut lines),
                    // Kept for a month by most services: what is gone is asked again.
                    Err(GenerateError::Fatal { status: 404 | 410, .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.give_out(&batch, lines)
    }

    /// Gives each waiting request its line and keeps the others' at hand. A batch without any line is forgotten; the
    /// note of one that answered stays, because its replies may not be in the journal yet.
    fn give_out(&self, batch: &Batch, mut lines: HashMap<RequestKey, Line>) -> Result<(), GenerateError> {
        if lines.is_empty() {
            self.ledger.forget(batch)?;
        }
        let mut state = self.lock();
        state.batches.get_or_insert_default().retain(|known| known.name != batch.name);
        for key in batch.keys() {
            state.held.remove(&key);
            match (state.waiting.remove(&key), lines.remove(&key)) {
                (Some(answer), line) => drop(answer.send(Ok(line))),
                (None, Some(line)) => drop(state.ready.insert(key, line)),
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn fail_all(&self, error: &GenerateError) {
        let mut state = self.lock();
        state.gathering.clear();
        state.bytes = 0;
        for (_, answer) in state.waiting.drain() {
            let message = error.to_string();
            drop(answer.send(Err(GenerateError::Unreachable { endpoint: self.plain.sender.urls(), message })));
        }
    }

    fn finish(
        &self,
        request: &ChatRequest,
        line: Line,
        mut reservation: Reservation,
        elapsed: Duration,
    ) -> Result<Completion, GenerateError> {
        reservation.sent();
        let mut reply = reply::read(&line.body).map_err(|fault| given_up(&fault, 1))?;
        let cost = reply.cost_usd;
        let choice = reply.choices.swap_remove(0);
        let completion = self.plain.completion(request, choice, reply.usage, cost, elapsed);
        reservation.settle(completion.cost_usd.unwrap_or(0.0));
        Ok(Completion { raw: Some(line.body), ..completion })
    }
}

fn given_up(fault: &Fault, tries: u32) -> GenerateError {
    let message = fault.message.clone();
    match (fault.consequence(), fault.kind) {
        (Consequence::Fatal, FaultKind::Status(status)) => GenerateError::Fatal { endpoint: "the batch API".into(), status, message },
        (Consequence::Reject, FaultKind::Status(status)) => GenerateError::Rejected { status, message },
        _ => GenerateError::Exhausted { reason: fault.reason(), tries, message },
    }
}
