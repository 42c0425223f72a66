//! The loop behind [`super::Driver::run`]: launches requests, collects what comes back, lets rows out in order.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use potstill_data::{Attempt, Scalar};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::ask::Ask;
use super::judge::{self, Case, Judged, Judges};
use super::pending::{Outcome, Pending};
use super::report::{Failure, RunReport, Stopped};
use super::task::{fetch, is_accepted, request, row, text_bytes};
use super::{Answers, BoxError, Driver, META_PASS_RATE, RunError};
use crate::budget::Budget;
use crate::error::GenerateError;
use crate::journal::{KeyMaker, RequestKey};
use crate::request::{ChatRequest, Completion, Sampling};

/// How often progress is told and cancelling is noticed.
const TICK: Duration = Duration::from_millis(200);

/// Rows beyond this wait in the journal instead of in memory.
const WAITING_BYTES: usize = 32 << 20;

/// One sample of one problem.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// The problem's number in the run.
    pub(super) item: u64,
    pub(super) index: u32,
}

/// What comes back to the coordinator.
pub(super) enum Event {
    /// Requests came home: their places are free, though their replies may still be on the way to the journal.
    Landed(usize),
    /// A reply is safe, or a request failed for good.
    Answered { sample: Sample, key: Option<RequestKey>, result: Result<Box<Completion>, GenerateError> },
    /// A verdict is there.
    Judged { item: u64, attempt: Box<Attempt>, panicked: bool },
}

pub(super) struct Coordinator<'a> {
    driver: &'a Driver<'a>,
    judges: Judges,
    keys: Option<KeyMaker>,
    sampling: Arc<Sampling>,
    budget: Arc<Budget>,
    /// Spent of a shared budget before this run.
    spent_before: f64,
    cap: usize,
    in_flight: usize,
    tasks: JoinSet<()>,
    events: UnboundedSender<Event>,
    inbox: Option<UnboundedReceiver<Event>>,
    /// Problems begun and not yet out; the first has number `first`.
    pending: VecDeque<Pending>,
    first: u64,
    /// Problems that want requests, by their number.
    hungry: BTreeSet<u64>,
    /// Requests in flight by key: the same question asked twice is sent once.
    asked: HashMap<RequestKey, Vec<Sample>>,
    problems_left: bool,
    asking: bool,
    /// Accepted attempts settled, out or not.
    accepted: u64,
    finished: u64,
    /// Text of rows that wait for their turn.
    waiting_bytes: usize,
    report: RunReport,
}

impl<'a> Coordinator<'a> {
    pub(super) fn new(driver: &'a Driver<'a>, judges: Judges) -> Self {
        let (events, inbox) = judge::events();
        let generator = &driver.generator;
        let budget = driver.options.budget.clone().unwrap_or_else(|| Budget::new(driver.options.max_cost_usd, generator.budget()));
        let most = generator.max_concurrency();
        // Requests that wait for another try leave their place at the server to others: keep some at hand.
        let queued = most + most / 8 + 64;
        Self {
            judges,
            keys: driver.generator.journaled().then(|| KeyMaker::new(&generator.identity())),
            sampling: Arc::new(driver.options.sampling.clone()),
            spent_before: budget.spent(),
            budget,
            cap: driver.options.max_concurrency.map_or(queued, |own| if own < most { own } else { queued }),
            in_flight: 0,
            tasks: JoinSet::new(),
            events,
            inbox: Some(inbox),
            pending: VecDeque::new(),
            first: 0,
            hungry: BTreeSet::new(),
            asked: HashMap::new(),
            problems_left: true,
            asking: true,
            accepted: 0,
            finished: 0,
            waiting_bytes: 0,
            report: RunReport::default(),
            driver,
        }
    }

    pub(super) fn run(
        mut self,
        mut asks: impl Iterator<Item = Result<Ask, BoxError>>,
        sink: &mut dyn FnMut(Answers) -> Result<(), BoxError>,
    ) -> Result<RunReport, RunError> {
        let runtime = self.driver.runtime.clone();
        runtime.block_on(async {
            let Some(mut inbox) = self.inbox.take() else { return Err(GenerateError::Cancelled.into()) };
            let result = self.work(&mut asks, sink, &mut inbox).await;
            self.bring_home().await;
            self.tasks.abort_all();
            result
        })?;
        self.tell();
        Ok(self.report)
    }

    async fn work(
        &mut self,
        asks: &mut dyn Iterator<Item = Result<Ask, BoxError>>,
        sink: &mut dyn FnMut(Answers) -> Result<(), BoxError>,
        inbox: &mut UnboundedReceiver<Event>,
    ) -> Result<(), RunError> {
        let began = Instant::now();
        let mut told = began;
        loop {
            self.launch(asks)?;
            if self.release(sink)? || self.is_over() {
                return Ok(());
            }
            match tokio::time::timeout(TICK, inbox.recv()).await {
                Ok(Some(event)) => {
                    self.take(event)?;
                    while let Ok(event) = inbox.try_recv() {
                        self.take(event)?;
                    }
                }
                Ok(None) => return Ok(()),
                Err(_) => {}
            }
            while self.tasks.try_join_next().is_some() {}
            if told.elapsed() >= TICK {
                told = Instant::now();
                self.tell();
                let late = self.driver.options.max_seconds.is_some_and(|most| began.elapsed().as_secs_f64() >= most);
                if late || (self.driver.cancel)() {
                    self.stop(if late { Stopped::Time } else { Stopped::Cancelled });
                    return Ok(());
                }
            }
        }
    }

    fn tell(&mut self) {
        self.report.totals.in_flight = self.in_flight as u64;
        self.report.totals.spent_usd = self.budget.spent() - self.spent_before;
        (self.driver.progress)(&self.report.totals);
    }

    fn stop(&mut self, why: Stopped) {
        self.asking = false;
        self.hungry.clear();
        self.report.stopped.get_or_insert(why);
    }

    fn is_over(&self) -> bool {
        self.pending.is_empty() && (!self.asking || !self.problems_left)
    }

    /// Lets requests still on the wire come home for a while: they are paid, and the journal can take them.
    async fn bring_home(&mut self) {
        let options = self.driver.options;
        self.report.not_asked += self.pending.iter().map(|pending| u64::from(pending.wanted(options))).sum::<u64>();
        let home = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs_f64(options.grace_seconds.clamp(0.0, 3600.0)), home).await;
    }

    /// Sends what may be sent: first what begun problems want, then new problems.
    fn launch(&mut self, asks: &mut dyn Iterator<Item = Result<Ask, BoxError>>) -> Result<(), RunError> {
        while self.asking && self.in_flight < self.cap {
            if let Some(item) = self.hungry.pop_first() {
                self.ask_for(item)?;
            } else if self.problems_left && self.pending.len() < self.driver.options.lookahead.max(1) && self.needs_more() {
                match asks.next() {
                    Some(Ok(ask)) => {
                        self.hungry.insert(self.first + self.pending.len() as u64);
                        self.pending.push_back(Pending::new(ask));
                    }
                    Some(Err(error)) => return Err(RunError::Problem(error)),
                    None => self.problems_left = false,
                }
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Whether the rows expected of the problems begun fall short of the target.
    fn needs_more(&self) -> bool {
        let Some(target) = self.driver.options.target_rows else { return true };
        let yield_of_one = (self.accepted + 1) as f64 / (self.finished + 1) as f64;
        let unfinished = (self.first + self.pending.len() as u64).saturating_sub(self.finished);
        self.accepted as f64 + unfinished as f64 * yield_of_one < target as f64
    }

    /// Asks for what a problem wants, up to what one request takes.
    fn ask_for(&mut self, item: u64) -> Result<(), RunError> {
        let group = self.driver.generator.group_size().max(1) as usize;
        let options = self.driver.options;
        let mut batch: Vec<(Sample, Option<RequestKey>, ChatRequest)> = Vec::new();
        while batch.len() < group {
            let Some(pending) = self.pending.get_mut((item - self.first) as usize) else { return Ok(()) };
            if pending.wanted(options) == 0 {
                break;
            }
            let sample = Sample { item, index: pending.take() };
            let request = request(&pending.ask, &self.sampling, &self.budget, sample.index);
            let key = self.keys.as_ref().map(|keys| keys.key(&request));
            if let Some(result) = self.known(&request, key)? {
                self.answered(sample, key, result, true)?;
            } else if let Some(twins) = key.and_then(|key| self.asked.get_mut(&key)) {
                twins.push(sample);
            } else {
                if let Some(key) = key {
                    self.asked.insert(key, Vec::new());
                }
                batch.push((sample, key, request));
            }
        }
        if self.pending.get((item - self.first) as usize).is_some_and(|pending| pending.wanted(options) > 0) {
            self.hungry.insert(item);
        }
        if !batch.is_empty() {
            self.in_flight += batch.len();
            let (generator, journal) = (Arc::clone(&self.driver.generator), self.driver.journal.clone());
            self.tasks.spawn_on(fetch(generator, journal, batch, self.events.clone()), self.driver.runtime);
        }
        Ok(())
    }

    /// The answer if the journal has it.
    fn known(&self, request: &ChatRequest, key: Option<RequestKey>) -> Result<Option<Result<Box<Completion>, GenerateError>>, RunError> {
        let (Some(journal), Some(key)) = (&self.driver.journal, key) else { return Ok(None) };
        let Some(record) = journal.get(&key).map_err(GenerateError::from)? else { return Ok(None) };
        let completion = self.driver.generator.replay(request, record).map_err(|error| match error {
            GenerateError::Replay { message, .. } => GenerateError::Replay { request_key: key.to_hex(), message },
            other => other,
        });
        Ok(Some(completion.map(Box::new)))
    }

    fn take(&mut self, event: Event) -> Result<(), RunError> {
        match event {
            Event::Landed(count) => self.in_flight -= count,
            Event::Answered { sample, key, result } => {
                let twins = key.and_then(|key| self.asked.remove(&key)).unwrap_or_default();
                let copy = result.as_ref().ok().filter(|_| !twins.is_empty()).cloned();
                self.answered(sample, key, result, false)?;
                for twin in twins {
                    match &copy {
                        Some(completion) => self.answered(twin, key, Ok(completion.clone()), true)?,
                        None => self.settle_failure(twin, "failed_twin", "the same question of another row failed"),
                    }
                }
            }
            Event::Judged { item, attempt, panicked } => {
                self.report.judge_panics += u64::from(panicked);
                self.settle_row(item, attempt);
            }
        }
        Ok(())
    }

    fn answered(
        &mut self,
        sample: Sample,
        key: Option<RequestKey>,
        result: Result<Box<Completion>, GenerateError>,
        cached: bool,
    ) -> Result<(), RunError> {
        match result {
            Ok(completion) => {
                self.count(&completion, cached);
                let attempt = Box::new(self.attempt(sample, key, *completion));
                match &self.judges {
                    // Judges outlive the coordinator, so that the send cannot fail.
                    Some(judges) => drop(judges.send(Case { item: sample.item, attempt, events: self.events.clone() })),
                    None => self.settle_row(sample.item, attempt),
                }
            }
            Err(GenerateError::Budget { .. }) => {
                self.stop(Stopped::Budget);
                self.settle(sample, Outcome::NotAsked);
            }
            Err(error) if error.is_fatal() => return Err(error.into()),
            Err(error) => self.settle_failure(sample, error.reason(), &error.to_string()),
        }
        Ok(())
    }

    fn count(&mut self, completion: &Completion, cached: bool) {
        let totals = &mut self.report.totals;
        if cached {
            totals.cached += 1;
            return;
        }
        totals.replies += 1;
        totals.retries += u64::from(completion.tries.saturating_sub(1));
        totals.prompt_tokens += u64::from(completion.usage.prompt_tokens.unwrap_or(0));
        totals.completion_tokens += u64::from(completion.usage.completion_tokens.unwrap_or(0));
    }

    fn attempt(&self, sample: Sample, key: Option<RequestKey>, completion: Completion) -> Attempt {
        row(&self.pending[(sample.item - self.first) as usize].ask, self.driver.generator.name(), sample.index, key, completion)
    }

    fn settle_failure(&mut self, sample: Sample, reason: &str, message: &str) {
        let problem_id = self.pending[(sample.item - self.first) as usize].ask.problem.problem_id.clone();
        let failure = Failure { problem_id, sample_index: sample.index, reason: reason.into(), message: message.into() };
        self.settle(sample, Outcome::Failed(failure));
    }

    fn settle_row(&mut self, item: u64, mut attempt: Box<Attempt>) {
        self.accepted += u64::from(is_accepted(&attempt));
        let sample = Sample { item, index: attempt.sample_index };
        let bytes = text_bytes(&attempt);
        // Behind a slow problem rows pile up; those that the journal holds need not wait in memory.
        let park = item != self.first && self.waiting_bytes + bytes > WAITING_BYTES && self.driver.journal.is_some();
        if park && attempt.request_key.is_some() {
            return self.settle(sample, Outcome::Parked(Box::new(Judged::of_row(&mut attempt))));
        }
        self.waiting_bytes += bytes;
        self.settle(sample, Outcome::Row(attempt));
    }

    fn settle(&mut self, sample: Sample, outcome: Outcome) {
        let pending = &mut self.pending[(sample.item - self.first) as usize];
        pending.settle(sample.index, outcome);
        if self.asking && pending.wanted(self.driver.options) > 0 {
            self.hungry.insert(sample.item);
        } else if pending.is_complete(self.driver.options, self.asking) {
            self.finished += 1;
        }
    }

    /// Hands out the rows of complete problems at the head; `true` once the target is reached.
    fn release(&mut self, sink: &mut dyn FnMut(Answers) -> Result<(), BoxError>) -> Result<bool, RunError> {
        while self.pending.front().is_some_and(|pending| pending.is_complete(self.driver.options, self.asking)) {
            let Some(pending) = self.pending.pop_front() else { break };
            self.hungry.remove(&self.first);
            self.first += 1;
            self.report.not_asked += u64::from(pending.wanted(self.driver.options));
            if self.emit(pending, sink)? {
                self.stop(Stopped::Target);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn emit(&mut self, pending: Pending, sink: &mut dyn FnMut(Answers) -> Result<(), BoxError>) -> Result<bool, RunError> {
        let correct = pending.correct();
        let (ask, outcomes) = pending.into_parts();
        let rows = outcomes.values().filter(|outcome| matches!(outcome, Outcome::Row(_) | Outcome::Parked(_))).count();
        let pass_rate = self.judges.is_some().then(|| f64::from(correct) / rows as f64);
        if pass_rate.is_some() {
            *self.report.solved.entry(correct).or_default() += 1;
        }
        self.report.totals.problems += 1;
        let mut answers = Answers { ask, attempts: Vec::with_capacity(rows), failures: Vec::new() };
        let target = self.driver.options.target_rows;
        let mut reached = false;
        for (index, outcome) in outcomes {
            match self.row_of(&answers.ask, index, outcome)? {
                Some(Ok(mut attempt)) => {
                    if let Some(rate) = pass_rate {
                        attempt.problem.meta.insert(META_PASS_RATE.into(), Scalar::Float(rate));
                    }
                    self.count_row(&attempt);
                    answers.attempts.push(attempt);
                }
                Some(Err(failure)) => {
                    self.report.fail(failure.clone());
                    answers.failures.push(failure);
                }
                None => self.report.not_asked += 1,
            }
            reached = target.is_some_and(|target| self.report.totals.accepted >= target);
            if reached {
                break;
            }
        }
        sink(answers).map_err(RunError::Sink)?;
        Ok(reached)
    }

    /// The row of an outcome or why there is none; `None` where nobody was asked.
    fn row_of(&mut self, ask: &Ask, index: u32, outcome: Outcome) -> Result<Option<Result<Attempt, Failure>>, RunError> {
        Ok(match outcome {
            Outcome::Row(attempt) => {
                self.waiting_bytes -= text_bytes(&attempt);
                Some(Ok(*attempt))
            }
            Outcome::Parked(judged) => Some(match self.fetch_parked(ask, index)? {
                Ok(mut attempt) => {
                    judged.into_row(&mut attempt);
                    Ok(attempt)
                }
                Err(error) => Err(Failure {
                    problem_id: ask.problem.problem_id.clone(),
                    sample_index: index,
                    reason: error.reason().to_owned(),
                    message: error.to_string(),
                }),
            }),
            Outcome::Failed(failure) => Some(Err(failure)),
            Outcome::NotAsked => None,
        })
    }

    fn fetch_parked(&self, ask: &Ask, index: u32) -> Result<Result<Attempt, GenerateError>, RunError> {
        let request = request(ask, &self.sampling, &self.budget, index);
        let key = self.keys.as_ref().map(|keys| keys.key(&request));
        let lost = || GenerateError::Replay {
            request_key: key.map(|key| key.to_hex()).unwrap_or_default(),
            message: "no longer in the journal".into(),
        };
        let completion = self.known(&request, key)?.unwrap_or_else(|| Err(lost()));
        Ok(completion.map(|completion| row(ask, self.driver.generator.name(), index, key, *completion)))
    }

    fn count_row(&mut self, attempt: &Attempt) {
        let report = &mut self.report;
        report.totals.rows += 1;
        report.totals.accepted += u64::from(is_accepted(attempt));
        report.truncated += u64::from(attempt.truncated);
        report.estimated += u64::from(attempt.tokens_estimated);
        if let Some(cost) = attempt.cost_usd {
            *report.cost_usd.get_or_insert(0.0) += cost;
        }
    }
}
