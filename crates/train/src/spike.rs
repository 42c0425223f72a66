//! Steps that go wrong: what counts as a spike of the gradient, and where the samples of skipped steps are written.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::Exact;
use crate::error::{Result, TrainError};

/// Name of the file that lists skipped steps, beside the training log.
pub const SKIPPED_FILE: &str = "skipped_steps.jsonl";

/// Steps before spikes are looked for: early norms fall fast.
const SETTLED: u64 = 10;
/// Weight of a new norm in the running mean.
const NEW: f64 = 0.05;

/// The running mean of gradient norms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NormMean {
    mean: Exact,
    count: u64,
}

impl Default for NormMean {
    fn default() -> Self {
        Self { mean: Exact(0.0), count: 0 }
    }
}

impl NormMean {
    /// Whether a norm is more than `factor` times the mean so far.
    #[must_use]
    pub fn is_spike(&self, norm: f64, factor: Option<f64>) -> bool {
        factor.is_some_and(|factor| self.count >= SETTLED && norm > factor * self.mean.0)
    }

    /// Takes the norm of a step that was done.
    pub fn add(&mut self, norm: f64) {
        self.count += 1;
        let share = NEW.max(1.0 / self.count as f64);
        self.mean.0 += (norm - self.mean.0) * share;
    }
}

/// A skipped step, as it is written aside.
#[derive(Debug, Serialize, Deserialize)]
pub struct SkippedStep {
    /// The step.
    pub step: u64,
    /// `not_finite` or `spike`.
    pub reason: String,
    /// Its loss.
    pub loss: String,
    /// Its gradient norm.
    pub grad_norm: String,
    /// Ids of all its samples.
    pub samples: Vec<String>,
}

/// The file of skipped steps.
#[derive(Debug)]
pub(crate) struct Aside {
    path: PathBuf,
}

impl Aside {
    /// Keeps what was skipped up to `step`; a run that goes on repeats what came later.
    pub(crate) fn open(folder: &Path, step: u64) -> Result<Self> {
        let path = folder.join(SKIPPED_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self { path }),
            Err(error) => return Err(TrainError::io("cannot read", &path)(error)),
        };
        let kept = text.lines().filter(|line| serde_json::from_str::<SkippedStep>(line).is_ok_and(|skipped| skipped.step <= step));
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, kept).map_err(TrainError::io("cannot write", &path))?;
        Ok(Self { path })
    }

    pub(crate) fn write(&self, skipped: &SkippedStep) -> Result<()> {
        let line = serde_json::to_string(skipped).map_err(|error| TrainError::io("cannot write", &self.path)(error.into()))?;
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        written.map_err(TrainError::io("cannot write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_stands_out_of_the_steps_before() {
        let mut norms = NormMean::default();
        for step in 0..9 {
            assert!(!norms.is_spike(1e9, Some(3.0)), "{step}");
            norms.add(2.0);
        }
        norms.add(2.0);
        assert!(!norms.is_spike(5.9, Some(3.0)) && norms.is_spike(6.1, Some(3.0)) && !norms.is_spike(6.1, None));
        norms.add(4.0);
        assert!((norms.mean.0 - (2.0 + 2.0 / 11.0)).abs() < 1e-12);
    }

    #[test]
    fn what_a_resumed_run_repeats_is_taken_out() {
        let folder = tempfile::tempdir().unwrap();
        let skipped =
            |step| SkippedStep { step, reason: "spike".into(), loss: "1".into(), grad_norm: "9".into(), samples: vec!["a".into()] };
        let aside = Aside::open(folder.path(), 0).unwrap();
        (1..5).for_each(|step| aside.write(&skipped(step)).unwrap());
        Aside::open(folder.path(), 2).unwrap().write(&skipped(3)).unwrap();
        let text = std::fs::read_to_string(folder.path().join(SKIPPED_FILE)).unwrap();
        let steps: Vec<u64> = text.lines().map(|line| serde_json::from_str::<SkippedStep>(line).unwrap().step).collect();
        assert_eq!(steps, [1, 2, 3]);
    }
}
