//! A dozen attempts for the reader's own eyes, with the graded answer marked.

use potstill_data::{Attempt, RowReader, Verdict};
use potstill_pipeline::{Artifact, Port, StageError};
use potstill_verify::extract::{ExtractOptions, extract};
use serde::Serialize;

use super::charts::escape;

/// Characters of a trace shown at most; the middle of a longer one is left out.
const SHOWN: usize = 6000;

#[derive(Serialize)]
pub(super) struct Trace {
    verdict: &'static str,
    id: String,
    teacher: String,
    stage: String,
    prompt: String,
    gold: String,
    extracted: String,
    note: String,
    /// HTML: escaped text with the answer marked.
    text: String,
}

/// Draws from every stage that graded attempts, each verdict in turn; the same seed draws the same.
pub(super) fn draw(artifacts: &[Artifact], seed: u64, wanted: usize) -> Result<Vec<Trace>, StageError> {
    let graded: Vec<&Artifact> = artifacts
        .iter()
        .filter(|a| matches!(a.manifest.kind.as_str(), "verify" | "eval"))
        .filter(|a| a.manifest.outputs.first().map(|o| o.port) == Some(Port::Attempts))
        .collect();
    if graded.is_empty() || wanted == 0 {
        return Ok(Vec::new());
    }
    let each = wanted.div_ceil(graded.len());
    let mut traces = Vec::new();
    for artifact in graded {
        for attempt in pick(artifact, seed, each)? {
            traces.push(trace(&attempt, &artifact.manifest.stage));
        }
    }
    traces.truncate(wanted);
    Ok(traces)
}

/// The attempts whose hash under the seed is smallest, from each verdict by turns.
fn pick(artifact: &Artifact, seed: u64, wanted: usize) -> Result<Vec<Attempt>, StageError> {
    let error = |e: potstill_data::DataError| StageError::failed("attempts for the report cannot be read").caused_by(e);
    let mut best: [Vec<([u8; 32], Attempt)>; 3] = Default::default();
    for row in RowReader::<Attempt>::open(&artifact.files(None)).map_err(error)? {
        let attempt = row.map_err(error)?;
        let slot = &mut best[match attempt.verdict {
            Some(Verdict::Correct) => 0,
            Some(Verdict::Incorrect) => 1,
            _ => 2,
        }];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(attempt.attempt_id().as_bytes());
        let hash = *hasher.finalize().as_bytes();
        let at = slot.partition_point(|(h, _)| *h < hash);
        if at < wanted {
            slot.insert(at, (hash, attempt));
            slot.truncate(wanted);
        }
    }
    let mut queues = best.map(|slot| slot.into_iter().map(|(_, attempt)| attempt));
    let mut picked = Vec::new();
    while picked.len() < wanted {
        let before = picked.len();
        picked.extend(queues.iter_mut().filter_map(Iterator::next));
        if picked.len() == before {
            break;
        }
    }
    picked.truncate(wanted);
    Ok(picked)
}

fn trace(attempt: &Attempt, stage: &str) -> Trace {
    Trace {
        verdict: attempt.verdict.map_or("undecided", Verdict::as_str),
        id: attempt.attempt_id(),
        teacher: attempt.teacher.clone(),
        stage: stage.to_owned(),
        prompt: attempt.problem.prompt.chars().take(2000).collect(),
        gold: attempt.problem.gold.clone().unwrap_or_else(|| "–".to_owned()),
        extracted: attempt.extracted.clone().unwrap_or_else(|| "–".to_owned()),
        note: attempt.verifier_note.clone().unwrap_or_default(),
        text: marked(attempt),
    }
}

/// Reasoning and response, escaped, with the extracted answer in `<mark>`.
fn marked(attempt: &Attempt) -> String {
    let response = &attempt.response;
    let answer = match extract(response, &ExtractOptions::default()) {
        Some(found) => {
            let (start, end) = (found.span.start, found.span.end);
            format!(
                "{}<mark>{}</mark>{}",
                escape(&middle_out(&response[..start])),
                escape(&response[start..end]),
                escape(&middle_out(&response[end..]))
            )
        }
        None => escape(&middle_out(response)),
    };
    match &attempt.reasoning {
        Some(reasoning) => format!("{}\n\n{answer}", escape(&middle_out(reasoning))),
        None => answer,
    }
}

fn middle_out(text: &str) -> String {
    let count = text.chars().count();
    if count <= SHOWN {
        return text.to_owned();
    }
    let head: String = text.chars().take(SHOWN / 2).collect();
    let tail: String = text.chars().skip(count - SHOWN / 2).collect();
    format!("{head}\n\n[… {} characters left out …]\n\n{tail}", count - SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graded_answer_is_marked_and_markup_is_escaped() {
        let attempt = Attempt { reasoning: Some("a < b".into()), response: "so <answer>7</answer>".into(), ..Attempt::default() };
        let html = marked(&attempt);
        assert!(html.starts_with("a &lt; b\n\n"), "{html}");
        assert!(html.contains("<mark>7</mark>"), "{html}");
        assert!(!html.contains("<answer>"), "{html}");
    }

    #[test]
    fn long_texts_lose_their_middle() {
        let text = middle_out(&"x".repeat(SHOWN + 10));
        assert!(text.contains("[… 10 characters left out …]"));
    }
}
