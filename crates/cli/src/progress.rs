//! Events as progress: bars on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use potstill_pipeline::{Event, Level};

use crate::report::grouped;
use crate::terminal::{complain, is_terminal};

/// Plain progress lines of one stage are no closer than this.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Shows events until the sender is gone.
pub(crate) fn show(events: &Receiver<Event>, quiet: bool) {
    let bars =
        MultiProgress::with_draw_target(if is_terminal() && !quiet { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
    let mut view = View { bars, plain: !is_terminal(), quiet, stages: BTreeMap::new() };
    for event in events {
        view.event(event);
    }
}

struct View {
    bars: MultiProgress,
    plain: bool,
    quiet: bool,
    stages: BTreeMap<String, Shown>,
}

/// A running stage on the screen.
struct Shown {
    bar: ProgressBar,
    began: Instant,
    last_line: Instant,
}

impl View {
    fn event(&mut self, event: Event) {
        match event {
            Event::StageStarted { stage, kind, cached: false, .. } => self.start(stage, &kind),
            Event::StageStarted { stage, kind, cached: true, .. } => self.line(&format!("= {stage} ({kind}) cached")),
            Event::Progress { stage, done, total, unit, fields } => self.progress(&stage, done, total, &unit, &fields),
            Event::Message { stage, level, text } => {
                let mark = if level == Level::Warning { "! " } else { "  " };
                let stage = stage.map(|s| format!("{s}: ")).unwrap_or_default();
                self.line(&format!("{mark}{stage}{text}"));
            }
            Event::StageFinished { stage, cached: false, rows, seconds, cost_usd, dropped } => {
                let dropped: u64 = dropped.values().sum();
                let mut parts = vec![format!("{seconds:.1} s")];
                parts.extend(rows.map(|n| format!("{} rows", grouped(n))));
                parts.extend((dropped > 0).then(|| format!("{} dropped", grouped(dropped))));
                parts.extend(cost_usd.map(|usd| format!("${usd:.4}")));
                self.end(&stage);
                self.line(&format!("+ {stage}: {}", parts.join(", ")));
            }
            Event::StageFailed { stage, message, .. } => {
                self.end(&stage);
                self.line(&format!("x {stage}: {message}"));
            }
            _ => {}
        }
    }

    fn start(&mut self, stage: String, kind: &str) {
        let bar = self.bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:<18} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(stage.clone());
        bar.set_message(kind.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        if self.plain {
            self.line(&format!("> {stage} ({kind})"));
        }
        let now = Instant::now();
        self.stages.insert(stage, Shown { bar, began: now, last_line: now });
    }

    fn progress(&mut self, stage: &str, done: u64, total: Option<u64>, unit: &str, fields: &BTreeMap<String, f64>) {
        let Some(shown) = self.stages.get_mut(stage) else { return };
        let seconds = shown.began.elapsed().as_secs_f64();
        let text = line(done, total, unit, fields, seconds);
        if self.plain {
            if shown.last_line.elapsed() >= PLAIN_EVERY {
                shown.last_line = Instant::now();
                let text = format!("  {stage}: {text}");
                self.line(&text);
            }
            return;
        }
        if let (Some(total), Ok(style)) = (total, ProgressStyle::with_template("{spinner} {prefix:<18} [{bar:24}] {msg}")) {
            if shown.bar.length() != Some(total) {
                shown.bar.set_style(style.progress_chars("=> "));
                shown.bar.set_length(total);
            }
            shown.bar.set_position(done.min(total));
        }
        shown.bar.set_message(text);
    }

    fn end(&mut self, stage: &str) {
        if let Some(shown) = self.stages.remove(stage) {
            shown.bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        if self.quiet {
            return;
        }
        if self.plain {
            complain(text);
        } else {
            let _ = self.bars.println(text);
        }
    }
}

/// `1,200/5,000 rows, 340/s, ETA 11 s, loss 0.512`.
fn line(done: u64, total: Option<u64>, unit: &str, fields: &BTreeMap<String, f64>, seconds: f64) -> String {
    let rate = done as f64 / seconds.max(1e-3);
    let mut text = match total {
        Some(total) => format!("{}/{} {unit}", grouped(done), grouped(total)),
        None => format!("{} {unit}", grouped(done)),
    };
    text.push_str(&format!(", {}/s", if rate >= 100.0 { format!("{rate:.0}") } else { format!("{rate:.1}") }));
    if let Some(total) = total.filter(|t| *t > done && done > 0) {
        text.push_str(&format!(", ETA {}", eta((total - done) as f64 / rate.max(1e-9))));
    }
    for (name, value) in fields.iter().filter(|(_, value)| value.is_finite()) {
        let value = match name.as_str() {
            "cost_usd" if *value == 0.0 => continue,
            "cost_usd" => format!("${value:.4}"),
            "learning_rate" => format!("{value:.1e}"),
            _ if *value >= 100.0 || value.fract() == 0.0 => grouped(value.max(0.0).round() as u64),
            _ => format!("{value:.3}"),
        };
        text.push_str(&format!(", {} {value}", name.replace('_', " ")));
    }
    text
}

fn eta(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rate_eta_and_figures() {
        let fields = BTreeMap::from([("loss".to_owned(), 0.512_34), ("tokens_per_second".to_owned(), 21_034.2)]);
        assert_eq!(
            line(1200, Some(5000), "steps", &fields, 4.0),
            "1,200/5,000 steps, 300/s, ETA 13 s, loss 0.512, tokens per second 21,034"
        );
        assert_eq!(line(7, None, "rows", &BTreeMap::new(), 1.0), "7 rows, 7.0/s");
    }
}
