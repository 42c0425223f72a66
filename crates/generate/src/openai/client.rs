//! One request until it is answered or given up.

use std::time::{Duration, Instant};

use super::OpenAi;
use super::fault::{Consequence, Fault, FaultKind};
use super::limits::retries::backoff;
use super::limits::router::Outcome;
use super::reply::{self, Choice, Reply};
use super::wire;
use crate::budget::Reservation;
use crate::error::GenerateError;
use crate::request::{ChatRequest, Completion, Usage};
use crate::tokens;

/// Backoff of failures and of being turned away: the first bound, and the largest.
const AFTER_FAILURE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
const AFTER_PUSHBACK: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// A 200 whose body was read.
struct Answer {
    body: Vec<u8>,
    reply: Reply,
    latency: Duration,
}

/// What has happened to one request so far.
#[derive(Default)]
struct History {
    tries: u32,
    failures: u32,
    refusals: u32,
    refused_since: Option<Instant>,
}

impl OpenAi {
    /// Asks for `choices` samples of a request in one go. The server may send fewer, never none.
    pub(super) async fn ask(&self, request: &ChatRequest, choices: u32) -> Result<Vec<Completion>, GenerateError> {
        let body = bytes::Bytes::from(wire::body(&self.config, request, choices));
        let mut history = History::default();
        self.retries.earn();
        loop {
            let (fault, server) = match self.try_once(request, &body, choices).await? {
                Ok(answer) => return Ok(self.completions(request, answer, history.tries + 1)),
                Err(failed) => failed,
            };
            history.tries += 1;
            let wait = self.after(&fault, server, &mut history)?;
            tokio::time::sleep(wait).await;
            self.wait_for_retry_budget(&fault).await;
        }
    }

    /// One try, with everything it takes held just as long as it takes.
    async fn try_once(
        &self,
        request: &ChatRequest,
        body: &bytes::Bytes,
        choices: u32,
    ) -> Result<Result<Answer, (Fault, usize)>, GenerateError> {
        let mut slot =
            self.router.slot().await.map_err(|down| GenerateError::Unreachable { endpoint: self.sender.urls(), message: down.0 })?;
        let mut reservation = self.reserve(request, choices).await?;
        let prompt = wire::prompt_tokens_about(&request.messages);
        let max_tokens = request.sampling.max_tokens.saturating_mul(choices);
        let reserved_tokens = self.rate.ready(prompt, max_tokens).await;
        reservation.sent();
        let sent = slot.sent();
        let server = slot.server();
        let result = self.sender.send(server, body.clone()).await.and_then(|body| {
            let reply = reply::read(&body)?;
            let answer = Answer { body, reply, latency: sent.elapsed() };
            if answer.reply.choices.iter().all(is_empty) {
                return Err(Fault::new(FaultKind::EmptyReply, "a completion without text"));
            }
            Ok(answer)
        });
        match result {
            Ok(answer) => {
                let usage = self.complete_usage(request, answer.reply.usage, &answer.reply.choices);
                reservation.settle(answer.reply.cost_usd.or_else(|| Some(self.config.price?.cost(&usage))).unwrap_or(0.0));
                self.rate.settle(reserved_tokens, Some((usage.prompt_tokens.unwrap_or(0), usage.completion_tokens.unwrap_or(0))));
                slot.close(&Outcome::Answered(usage.completion_tokens.unwrap_or(0)));
                Ok(Ok(answer))
            }
            Err(fault) => {
                if fault.may_be_billed() {
                    drop(reservation);
                } else {
                    reservation.settle(0.0);
                }
                self.rate.settle(reserved_tokens, None);
                slot.close(&outcome(&fault));
                Ok(Err((fault, server)))
            }
        }
    }

    pub(super) async fn reserve(&self, request: &ChatRequest, choices: u32) -> Result<Reservation, GenerateError> {
        let tokens = request.sampling.max_tokens.saturating_mul(choices);
        let worst = self.config.price.map_or(0.0, |price| price.worst(wire::prompt_tokens_at_most(&request.messages), tokens));
        request.budget.as_ref().unwrap_or(&self.budget).reserve(worst).await
    }

    /// How long to wait after a fault, or why to give up.
    fn after(&self, fault: &Fault, server: usize, history: &mut History) -> Result<Duration, GenerateError> {
        let message = fault.message.clone();
        let exhausted = || GenerateError::Exhausted { reason: fault.reason(), tries: history.tries, message: message.clone() };
        match fault.consequence() {
            Consequence::Fatal | Consequence::Reject => {
                let FaultKind::Status(status) = fault.kind else { return Err(exhausted()) };
                Err(if fault.consequence() == Consequence::Fatal {
                    GenerateError::Fatal { endpoint: self.sender.url(server).to_owned(), status, message }
                } else {
                    GenerateError::Rejected { status, message }
                })
            }
            Consequence::Pushback => {
                let since = *history.refused_since.get_or_insert_with(Instant::now);
                let patience = Duration::from_secs_f64(self.config.patience_seconds);
                history.refusals += 1;
                let (first, longest) = AFTER_PUSHBACK;
                let wait = backoff(history.refusals, first, longest, fault.retry_after);
                if since.elapsed() + wait > patience { Err(exhausted()) } else { Ok(wait) }
            }
            Consequence::Retry => {
                history.failures += 1;
                if history.failures > self.config.retries {
                    return Err(exhausted());
                }
                let (first, longest) = AFTER_FAILURE;
                Ok(backoff(history.failures, first, longest, fault.retry_after))
            }
        }
    }

    /// Repetitions wait for their share of the traffic. Being turned away is not repetition (the limits see to it), and
    /// what found no connection burdened nobody.
    async fn wait_for_retry_budget(&self, fault: &Fault) {
        let repeats = fault.consequence() == Consequence::Retry && fault.kind != FaultKind::Connect;
        while repeats && !self.retries.take() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    fn completions(&self, request: &ChatRequest, answer: Answer, tries: u32) -> Vec<Completion> {
        let Answer { body, reply, latency } = answer;
        // Each of several choices is read from its own part, as it will be when it comes from the journal.
        let parts = (reply.choices.len() > 1).then(|| reply::split_choices(&body)).flatten();
        if let Some(parts) = parts {
            return parts.into_iter().filter_map(|part| self.read_part(request, part, latency, tries)).collect();
        }
        let first = reply.choices.into_iter().next();
        let completion = first.map(|choice| self.completion(request, choice, reply.usage, reply.cost_usd, latency));
        completion.map(|completion| Completion { tries, raw: Some(body), ..completion }).into_iter().collect()
    }

    fn read_part(&self, request: &ChatRequest, part: Vec<u8>, latency: Duration, tries: u32) -> Option<Completion> {
        let mut reply = reply::read(&part).ok()?;
        let choice = reply.choices.pop()?;
        let completion = self.completion(request, choice, reply.usage, reply.cost_usd, latency);
        Some(Completion { tries, raw: Some(part), ..completion })
    }

    /// A choice as a completion, with what the server did not count counted here.
    pub(super) fn completion(
        &self,
        request: &ChatRequest,
        choice: Choice,
        usage: Usage,
        cost_usd: Option<f64>,
        latency: Duration,
    ) -> Completion {
        let usage = self.complete_usage(request, usage, std::slice::from_ref(&choice));
        Completion {
            cost_usd: cost_usd.or_else(|| Some(self.config.price?.cost(&usage))),
            finish_reason: finish_reason(request, &choice, &usage),
            reasoning: choice.reasoning,
            response: choice.response,
            usage,
            latency_ms: u32::try_from(latency.as_millis()).unwrap_or(u32::MAX),
            logprobs: choice.logprobs,
            tries: 1,
            ..Completion::default()
        }
    }

    /// The usage with what the server did not count counted here and marked: by the model's tokenizer where there is one.
    fn complete_usage(&self, request: &ChatRequest, usage: Usage, choices: &[Choice]) -> Usage {
        if usage.prompt_tokens.is_some() && usage.completion_tokens.is_some() {
            return usage;
        }
        let count = |text: &str| self.counter.as_ref().map_or_else(|| tokens::about(text), |counter| counter(text));
        let of_choice = |choice: &Choice| count(choice.reasoning.as_deref().unwrap_or_default()) + count(&choice.response);
        // What a chat template puts around each turn.
        let prompt = || request.messages.iter().map(|turn| 4 + count(&turn.content)).sum::<u32>();
        Usage {
            estimated: true,
            prompt_tokens: usage.prompt_tokens.or_else(|| Some(prompt())),
            completion_tokens: usage.completion_tokens.or_else(|| Some(choices.iter().map(of_choice).sum())),
            ..usage
        }
    }
}

fn is_empty(choice: &Choice) -> bool {
    // Cut before any visible text (hidden reasoning), or withheld by a filter: that is the model's answer.
    let no_text = choice.response.is_empty() && choice.reasoning.is_none();
    no_text && !matches!(choice.finish_reason.as_str(), "length" | "content_filter" | "refusal")
}

/// Some servers do not say why they stopped; a reply as long as it may be was cut.
fn finish_reason(request: &ChatRequest, choice: &Choice, usage: &Usage) -> String {
    let full = !usage.estimated && usage.completion_tokens.is_some_and(|tokens| tokens >= request.sampling.max_tokens);
    if choice.finish_reason == "unknown" && full { "length".into() } else { choice.finish_reason.clone() }
}

fn outcome(fault: &Fault) -> Outcome {
    match fault.consequence() {
        Consequence::Pushback => Outcome::TurnedAway(fault.retry_after),
        Consequence::Reject | Consequence::Fatal => Outcome::Neutral,
        // A server that answers nonsense is ill as well, but an empty completion is the model's doing.
        Consequence::Retry if fault.kind == FaultKind::EmptyReply => Outcome::Neutral,
        Consequence::Retry => Outcome::Failed(format!("{}: {}", fault.reason(), fault.message)),
    }
}
