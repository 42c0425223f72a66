//! One request from the driver's side: what is sent, how it is kept, and the row it becomes.

use std::sync::Arc;

use potstill_data::{Attempt, Scalar, Verdict};
use tokio::sync::mpsc::UnboundedSender;

use super::META_LOGPROBS;
use super::ask::Ask;
use super::coordinator::{Event, Sample};
use crate::budget::Budget;
use crate::error::GenerateError;
use crate::journal::{Journal, RequestKey};
use crate::request::{ChatRequest, Completion, Generator, Record, Sampling};

/// The request for one sample.
pub(super) fn request(ask: &Ask, sampling: &Arc<Sampling>, budget: &Arc<Budget>, sample_index: u32) -> ChatRequest {
    ChatRequest {
        problem: Arc::clone(&ask.problem),
        messages: Arc::clone(&ask.messages),
        sampling: Arc::clone(sampling),
        sample_index,
        budget: Some(Arc::clone(budget)),
    }
}

/// A completion as a row.
pub(super) fn row(ask: &Ask, teacher: &str, sample_index: u32, key: Option<RequestKey>, completion: Completion) -> Attempt {
    let mut problem = (*ask.problem).clone();
    if let Some(logprobs) = &completion.logprobs {
        problem.meta.insert(META_LOGPROBS.into(), Scalar::Text(serde_json::to_string(logprobs).unwrap_or_default()));
    }
    Attempt {
        problem,
        sample_index,
        teacher: teacher.to_owned(),
        truncated: completion.truncated(),
        reasoning: completion.reasoning,
        response: completion.response,
        finish_reason: completion.finish_reason,
        prompt_tokens: completion.usage.prompt_tokens,
        completion_tokens: completion.usage.completion_tokens,
        reasoning_tokens: completion.usage.reasoning_tokens,
        tokens_estimated: completion.usage.estimated,
        cost_usd: completion.cost_usd,
        latency_ms: Some(completion.latency_ms),
        request_key: key.map(|key| key.to_hex()),
        ..Attempt::default()
    }
}

/// What a waiting row takes, about.
pub(super) fn text_bytes(attempt: &Attempt) -> usize {
    attempt.reasoning.as_ref().map_or(0, String::len) + attempt.response.len() + attempt.problem.prompt.len() + 512
}

/// Correct, or not judged at all.
pub(super) fn is_accepted(attempt: &Attempt) -> bool {
    attempt.verdict.is_none_or(|verdict| verdict == Verdict::Correct)
}

/// Asks, keeps what was answered, and only then says so.
pub(super) async fn fetch(
    generator: Arc<dyn Generator>,
    journal: Option<Arc<Journal>>,
    batch: Vec<(Sample, Option<RequestKey>, ChatRequest)>,
    events: UnboundedSender<Event>,
) {
    let results = if let [(_, _, request)] = batch.as_slice() {
        vec![generator.complete(request).await]
    } else {
        let requests: Vec<ChatRequest> = batch.iter().map(|(_, _, request)| request.clone()).collect();
        generator.complete_group(&requests).await
    };
    let _ = events.send(Event::Landed(batch.len()));
    let kept = batch.into_iter().zip(results).map(|((sample, key, _), result)| {
        let (journal, events) = (journal.clone(), events.clone());
        async move {
            let result = match (result, journal, key) {
                (Ok(completion), Some(journal), Some(key)) => keep(completion, &journal, key).await,
                (result, ..) => result.map(Box::new),
            };
            let _ = events.send(Event::Answered { sample, key, result });
        }
    });
    futures::future::join_all(kept).await;
}

async fn keep(mut completion: Completion, journal: &Journal, key: RequestKey) -> Result<Box<Completion>, GenerateError> {
    completion.request_key = key.to_hex();
    let record = match completion.raw.take() {
        Some(body) => Record::Raw { body: body.into(), latency_ms: completion.latency_ms },
        None => Record::Parsed(Box::new(completion.clone())),
    };
    journal.append(key, &record).await?;
    Ok(Box::new(completion))
}
