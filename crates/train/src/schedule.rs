//! Learning rate over the run: linear warm-up, then the chosen course.
//!
//! The formulas are those of `transformers.get_*_schedule_with_warmup`, so that curves of both can be laid over each
//! other: the factor of step `s` (counted from 0) warms up as `s / warmup`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};

/// Course of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Half a cosine from the peak down to `min_ratio`.
    #[default]
    Cosine,
    /// A straight line from the peak down to `min_ratio`.
    Linear,
    /// The peak to the end.
    Constant,
    /// Warm-up, stable, decay: the peak, then a straight line to `min_ratio` over the last `decay_ratio` of the run.
    Wsd,
}

/// The learning-rate schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// The course after the warm-up.
    pub kind: ScheduleKind,
    /// Share of the run that warms up. Not together with `warmup_steps`.
    pub warmup_ratio: Option<f64>,
    /// Steps that warm up. Not together with `warmup_ratio`.
    pub warmup_steps: Option<u64>,
    /// Final learning rate as a share of the peak.
    pub min_ratio: f64,
    /// `wsd` only: share of the run that decays.
    pub decay_ratio: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { kind: ScheduleKind::Cosine, warmup_ratio: None, warmup_steps: None, min_ratio: 0.0, decay_ratio: 0.2 }
    }
}

impl Schedule {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`TrainError::Config`] for a ratio outside 0 to 1, or two warm-ups.
    pub fn validate(&self) -> Result<()> {
        if let (Some(ratio), Some(steps)) = (self.warmup_ratio, self.warmup_steps) {
            return Err(TrainError::config(
                "schedule.warmup_ratio",
                ratio,
                format!("schedule.warmup_steps is {steps} too; keep one of them"),
            ));
        }
        let ratios = [
            ("schedule.warmup_ratio", self.warmup_ratio.unwrap_or(0.0)),
            ("schedule.min_ratio", self.min_ratio),
            ("schedule.decay_ratio", self.decay_ratio),
        ];
        for (field, value) in ratios {
            if !(0.0..=1.0).contains(&value) {
                return Err(TrainError::config(field, value, "it must be between 0 and 1"));
            }
        }
        Ok(())
    }

    /// Warm-up steps of a run of `total` steps.
    #[must_use]
    pub fn warmup(&self, total: u64) -> u64 {
        match (self.warmup_steps, self.warmup_ratio) {
            (Some(steps), _) => steps.min(total),
            (None, Some(ratio)) => ((ratio * total as f64).ceil() as u64).min(total),
            (None, None) => 0,
        }
    }

    /// Share of the peak learning rate at `step` (from 0) of `total` steps.
    #[must_use]
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        let warmup = self.warmup(total);
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let progress = |from: u64| ((step.saturating_sub(from)) as f64 / (total.saturating_sub(from)).max(1) as f64).min(1.0);
        let down = match self.kind {
            ScheduleKind::Constant => return 1.0,
            ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress(warmup)).cos()),
            ScheduleKind::Linear => 1.0 - progress(warmup),
            ScheduleKind::Wsd => {
                let decay = (self.decay_ratio * total as f64).ceil() as u64;
                1.0 - progress(total.saturating_sub(decay).max(warmup))
            }
        };
        self.min_ratio + (1.0 - self.min_ratio) * down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(schedule: &Schedule, total: u64) -> Vec<String> {
        (0..=total).map(|step| format!("{:.4}", schedule.factor(step, total))).collect()
    }

    #[test]
    fn values() {
        let cosine = Schedule { warmup_ratio: Some(0.2), ..Schedule::default() };
        assert_eq!(
            factors(&cosine, 10),
            ["0.0000", "0.5000", "1.0000", "0.9619", "0.8536", "0.6913", "0.5000", "0.3087", "0.1464", "0.0381", "0.0000"]
        );
        let linear = Schedule { kind: ScheduleKind::Linear, warmup_steps: Some(1), min_ratio: 0.5, ..Schedule::default() };
        assert_eq!(factors(&linear, 5), ["0.0000", "1.0000", "0.8750", "0.7500", "0.6250", "0.5000"]);
        let wsd = Schedule { kind: ScheduleKind::Wsd, warmup_steps: Some(2), decay_ratio: 0.4, ..Schedule::default() };
        assert_eq!(
            factors(&wsd, 10),
            ["0.0000", "0.5000", "1.0000", "1.0000", "1.0000", "1.0000", "1.0000", "0.7500", "0.5000", "0.2500", "0.0000"]
        );
        let constant = Schedule { kind: ScheduleKind::Constant, ..Schedule::default() };
        assert_eq!(factors(&constant, 2), ["1.0000", "1.0000", "1.0000"]);
    }

    #[test]
    fn warmup_never_exceeds_the_run() {
        let schedule = Schedule { warmup_steps: Some(100), ..Schedule::default() };
        assert_eq!(schedule.warmup(10), 10);
        assert!((schedule.factor(9, 10) - 0.9).abs() < 1e-12);
    }

    #[test]
    fn two_warmups_are_refused() {
        let schedule = Schedule { warmup_ratio: Some(0.1), warmup_steps: Some(3), ..Schedule::default() };
        assert!(schedule.validate().unwrap_err().to_string().contains("warmup_steps is 3 too"));
    }
}
