//! What a run would train on, before it starts: which text is trained, what is cut, how full the rows are.

use potstill_data::Sample;
use potstill_model::{Outline, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::config::SftConfig;
use crate::error::Result;
use crate::memory::{self, MemoryEstimate};
use crate::render::{Renderer, is_special};
use crate::rows::{Document, LengthCounts, fill, fit_length, pack};

/// A stretch of text that is either read or trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Whether its tokens are in the loss.
    pub trained: bool,
}

/// A sample as it is tokenised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewSample {
    /// The sample.
    pub sample_id: String,
    /// Tokens.
    pub tokens: usize,
    /// Trained tokens.
    pub trained_tokens: usize,
    /// Its text in order.
    pub pieces: Vec<Piece>,
}

/// Samples whose length in tokens is at most `up_to` and above the previous bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LengthBin {
    /// Inclusive upper bound.
    pub up_to: usize,
    /// Samples.
    pub samples: usize,
}

/// Everything that [`preview`] finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// The first samples.
    pub samples: Vec<PreviewSample>,
    /// How the samples become documents.
    pub lengths: LengthCounts,
    /// Tokens that would be read per epoch.
    pub tokens: u64,
    /// Tokens that would be trained per epoch.
    pub trained_tokens: u64,
    /// Share of the documents whose last trained token is a special one, so that the student learns to stop; below 1
    /// when samples are truncated or split.
    pub stop_trained: f64,
    /// Share of packed rows that would be filled, whether or not packing is on.
    pub packing_fill: f64,
    /// Lengths before the over-long policy, in powers of two.
    pub histogram: Vec<LengthBin>,
    /// Estimated memory.
    pub memory: MemoryEstimate,
    /// Memory that the system can still give, in bytes; none where it does not say.
    pub available: Option<u64>,
    /// Optimizer steps of the run.
    pub steps: u64,
}

/// Renders `samples` as a run would and reports what it would see; the first `shown` samples with their text.
///
/// # Errors
/// As [`Renderer::documents`]; a student without a chat template.
pub fn preview(config: &SftConfig, student: &Outline, samples: &[Sample], shown: usize) -> Result<Preview> {
    config.validate()?;
    let threads = config.thread_count();
    let all = Renderer::new(student.template()?).documents(&student.tokenizer, samples, threads)?;
    let first = all.iter().take(shown).map(|document| show(&student.tokenizer, document)).collect::<Result<Vec<_>>>()?;
    let histogram = histogram(&all);
    let (documents, lengths) = fit_length(all, config.max_length, config.over_long);
    let sizes: Vec<usize> = documents.iter().map(|document| document.tokens.len()).collect();
    let packed = pack(&sizes, config.max_length).len();
    let stops = documents.iter().filter(|document| ends_special(&student.tokenizer, document)).count();
    let longest = if config.packing { config.max_length } else { sizes.iter().copied().max().unwrap_or(0) };
    Ok(Preview {
        samples: first,
        lengths,
        tokens: sizes.iter().map(|&size| size as u64).sum(),
        trained_tokens: documents.iter().map(|document| document.trained() as u64).sum(),
        stop_trained: stops as f64 / documents.len().max(1) as f64,
        packing_fill: fill(&sizes, packed, config.max_length),
        histogram,
        memory: MemoryEstimate::of_run(config, &student.config, longest, threads),
        available: memory::available(),
        steps: config.total_steps(if config.packing { packed } else { documents.len() }),
    })
}

fn show(tokenizer: &Tokenizer, document: &Document) -> Result<PreviewSample> {
    let trained = |at: usize| document.weights[at] != 0.0;
    let mut pieces = Vec::new();
    let mut from = 0;
    while from < document.tokens.len() {
        let to = (from..document.tokens.len()).find(|&at| trained(at) != trained(from)).unwrap_or(document.tokens.len());
        let text = tokenizer.decode(&document.tokens[from..to], false)?;
        pieces.push(Piece { text, trained: trained(from) });
        from = to;
    }
    Ok(PreviewSample { sample_id: document.sample_id.clone(), tokens: document.tokens.len(), trained_tokens: document.trained(), pieces })
}

fn ends_special(tokenizer: &Tokenizer, document: &Document) -> bool {
    let last = document.weights.iter().rposition(|&weight| weight != 0.0);
    last.is_some_and(|at| is_special(tokenizer, document.tokens[at]))
}

fn histogram(documents: &[Document]) -> Vec<LengthBin> {
    let longest = documents.iter().map(|document| document.tokens.len()).max().unwrap_or(0);
    let bounds = (0..usize::BITS).map(|power| 1_usize << power).skip_while(|&bound| bound < 16);
    let mut bins: Vec<LengthBin> = Vec::new();
    for up_to in bounds {
        let below = bins.last().map_or(0, |bin| bin.up_to);
        let samples = documents.iter().filter(|document| (below + 1..=up_to).contains(&document.tokens.len())).count();
        bins.push(LengthBin { up_to, samples });
        if up_to >= longest {
            break;
        }
    }
    bins
}
