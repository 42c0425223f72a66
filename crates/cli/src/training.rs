//! What the `train` stage and the `train` command share: how a run's events are told, and who judges its answers.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use potstill_data::{Sample, Verdict};
use potstill_train::rows::LengthCounts;
use potstill_train::tensorboard::TensorBoard;
use potstill_train::{SftConfig, SkipReason, TrainError, TrainEvent};
use potstill_verify::{Case, Verifier, VerifyError, VerifyOptions, verifier};

use crate::report::grouped;

/// Judges answers against the final answer of the sample's own reply.
pub(crate) struct Judge(Option<Box<dyn Verifier>>);

impl Judge {
    /// The verifier that the settings name; nobody judges without one.
    pub(crate) fn new(settings: &SftConfig) -> Result<Self, VerifyError> {
        let name = settings.probe.as_ref().and_then(|probe| probe.verifier.as_deref());
        Ok(Self(name.map(|name| verifier(name, &VerifyOptions::default())).transpose()?))
    }

    /// Whether an answer agrees with the sample's reply; none where no verifier can tell.
    pub(crate) fn judge(&self, sample: &Sample, answer: &str) -> Option<bool> {
        let verifier = self.0.as_ref()?;
        let reply = sample.messages.iter().rev().find(|message| message.role == "assistant")?;
        let prompt = sample.messages.iter().rev().find(|message| message.role == "user").map_or("", |message| &message.content);
        let case = |gold, response| Case { prompt, gold: Some(gold), response, ..Case::default() };
        // The verifier reads the reference answer out of the reply as it reads the student's.
        let gold = verifier.verify(&case("0", &reply.content)).extracted?;
        match verifier.verify(&case(&gold, answer)).verdict {
            Verdict::Correct => Some(true),
            Verdict::Incorrect => Some(false),
            Verdict::Undecided => None,
        }
    }
}

/// TensorBoard's event file of a run, if one is asked for.
pub(crate) struct Board(Option<TensorBoard>);

impl Board {
    /// Begins an event file in the folder.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self, TrainError> {
        Ok(Self(folder.map(|folder| TensorBoard::create(folder, unix_seconds() as u64)).transpose()?))
    }

    /// Writes the figures of an event that happens now.
    pub(crate) fn write(&mut self, event: &TrainEvent) {
        if let Some(board) = &mut self.0 {
            // A board that cannot be written must not end a run.
            let _ = board.write(event, unix_seconds());
        }
    }
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The figures of a step that progress shows.
pub(crate) fn figures(event: &TrainEvent) -> Vec<(&'static str, f64)> {
    let TrainEvent::Step { loss, learning_rate, grad_norm, tokens_per_second, trained_tokens_per_second, mfu, memory, .. } = event else {
        return Vec::new();
    };
    let mut figures = vec![
        ("loss", *loss),
        ("learning_rate", *learning_rate),
        ("grad_norm", *grad_norm),
        ("tokens_per_second", *tokens_per_second),
        ("trained_per_second", *trained_tokens_per_second),
    ];
    figures.extend(memory.map(|bytes| ("memory_gb", bytes as f64 / 1e9)));
    figures.extend(mfu.map(|share| ("mfu", share)));
    figures
}

/// What an event says to people beyond progress, and whether it is a warning.
pub(crate) fn message(event: &TrainEvent, total: u64) -> Option<(bool, String)> {
    let told = match event {
        TrainEvent::Started { step, total_steps, without_kernels, .. } if *step > 0 || without_kernels.is_some() => {
            let on = (*step > 0).then(|| format!("goes on from the checkpoint at step {step} of {total_steps}"));
            let why = without_kernels.as_ref().map(|part| {
                format!("burn's CUDA backend computes this run, about twenty times slower: the kernels made for it do not have {part}")
            });
            (false, on.into_iter().chain(why).collect::<Vec<_>>().join("; "))
        }
        TrainEvent::Started { lengths, .. } => (true, cut(lengths)?),
        TrainEvent::Eval { step, loss, token_accuracy } => {
            (false, format!("step {step}: held-out loss {loss:.4}, {:.1} % of its tokens predicted", token_accuracy * 100.0))
        }
        TrainEvent::Answers { step, accuracy, answers } => {
            let right = accuracy.map_or_else(String::new, |share| format!(", {:.0} % right", share * 100.0));
            let mut text = format!("step {step}: the student answers{right}");
            for answer in answers.iter().take(2) {
                let mut line: String = answer.text.chars().take(200).collect();
                if line.len() < answer.text.len() || !answer.finished {
                    line.push('…');
                }
                text.push_str(&format!("\n    {}: {}", answer.sample_id, line.replace('\n', "\n      ")));
            }
            (false, text)
        }
        TrainEvent::Skipped { step, reason, loss, grad_norm, samples } => {
            let why = match reason {
                SkipReason::NotFinite => format!("its loss is {loss}"),
                SkipReason::Spike => format!("its gradient norm of {grad_norm} is a spike"),
            };
            (true, format!("step {step} was skipped, {why}; its samples: {}", samples.join(", ")))
        }
        TrainEvent::OutOfPatience { step } => (false, format!("the held-out loss falls no more; training ends at step {step} of {total}")),
        TrainEvent::TimeLimit { step } => (true, format!("the time limit ended training at step {step} of {total}")),
        _ => return None,
    };
    Some(told)
}

/// What became of samples that do not fit, if there are any.
fn cut(lengths: &LengthCounts) -> Option<String> {
    let LengthCounts { samples, dropped_over_long, truncated, split, dropped_untrained } = *lengths;
    let counts = [
        (dropped_over_long, "longer than max_length and left out"),
        (truncated, "longer than max_length and truncated"),
        (split, "longer than max_length and split"),
        (dropped_untrained, "without a trained token and left out"),
    ];
    let told: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{} are {what}", grouped(*count as u64))).collect();
    (!told.is_empty()).then(|| format!("of {} samples {}", grouped(samples as u64), told.join(", ")))
}

#[cfg(test)]
mod tests {
    use potstill_data::{Message, Meta, SampleKind};
    use potstill_train::ProbeConfig;

    use super::*;

    #[test]
    fn samples_that_do_not_fit_are_told_of() {
        let lengths = |dropped_over_long, dropped_untrained| LengthCounts {
            samples: 1200,
            dropped_over_long,
            dropped_untrained,
            ..LengthCounts::default()
        };
        assert_eq!(cut(&lengths(0, 0)), None);
        let expected = "of 1,200 samples 3 are longer than max_length and left out, 1 are without a trained token and left out";
        assert_eq!(cut(&lengths(3, 1)).unwrap(), expected);
    }

    #[test]
    fn answers_are_judged_by_the_reply_of_the_sample() {
        let sample = Sample {
            sample_id: "s".into(),
            problem_id: "p".into(),
            source: "test".into(),
            messages: vec![Message::new("user", "2 + 3?"), Message::new("assistant", "So it is \\boxed{5}.")],
            kind: SampleKind::Shortcut,
            weight: 1.0,
            loss_spans: Vec::new(),
            lineage: Vec::new(),
            meta: Meta::new(),
        };
        let settings = |name: &str| {
            let probe = ProbeConfig { verifier: Some(name.into()), ..ProbeConfig::default() };
            SftConfig { probe: Some(probe), ..SftConfig::default() }
        };
        let judge = Judge::new(&settings("math")).unwrap();
        assert_eq!(judge.judge(&sample, "It must be \\boxed{5.0}"), Some(true));
        assert_eq!(judge.judge(&sample, "It must be \\boxed{6}"), Some(false));
        assert!(Judge::new(&settings("nobody")).is_err());
        assert_eq!(Judge::new(&SftConfig::default()).unwrap().judge(&sample, "5"), None);
    }
}
