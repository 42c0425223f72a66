//! The dataset card: a README.md with the YAML head that the Hugging Face hub reads.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

/// A source that went into the dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CardSource {
    /// Its name.
    pub name: String,
    /// Its licence as the manifest states it (an SPDX name where there is one).
    pub licence: Option<String>,
    /// What to mind beyond the licence.
    pub note: Option<String>,
    /// Where it is published.
    pub url: Option<String>,
    /// Rows that came from it.
    pub rows: u64,
}

/// One step of the way from the sources to the dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CardStage {
    /// The stage's name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Rows that it gave.
    pub rows: u64,
    /// Rows that it dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
}

/// A data file of the dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CardSplit {
    /// The split's name: `train`, `test`, …
    pub name: String,
    /// Its files, as a pattern relative to the card.
    pub files: String,
    /// Its rows.
    pub rows: u64,
}

/// What a card says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Card {
    /// The dataset's name.
    pub name: String,
    /// The splits in order.
    pub splits: Vec<CardSplit>,
    /// Rows by kind.
    pub kinds: BTreeMap<String, u64>,
    /// The layout of the rows: `messages`, `sharegpt`, …
    pub layout: String,
    /// Teachers that wrote the replies.
    pub teachers: Vec<String>,
    /// Where the problems come from.
    pub sources: Vec<CardSource>,
    /// The stages in order.
    pub stages: Vec<CardStage>,
    /// Benchmarks that the dataset was cleared of, with the problems removed for each; `None` if it was not.
    pub decontaminated: Option<BTreeMap<String, u64>>,
    /// Stages whose rows reached the dataset without a comparison with benchmarks.
    pub uncompared: Vec<String>,
    /// The pipeline file.
    pub pipeline: String,
    /// The program and its version.
    pub tool: String,
}

impl Card {
    /// The card as Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut out = self.head();
        let rows: u64 = self.kinds.values().sum();
        let _ = writeln!(out, "# {}\n", self.name);
        let _ = writeln!(out, "{rows} rows in the `{}` layout, made by {}.\n", self.layout, self.tool);
        if self.splits.len() > 1 {
            out.push_str("| split | rows |\n|---|---:|\n");
            for split in &self.splits {
                let _ = writeln!(out, "| {} | {} |", cell(&split.name), split.rows);
            }
            out.push('\n');
        }
        out.push_str("| kind | rows |\n|---|---:|\n");
        for (kind, n) in &self.kinds {
            let _ = writeln!(out, "| {kind} | {n} |");
        }
        if !self.teachers.is_empty() {
            let _ = writeln!(out, "\nReplies were written by: {}.", self.teachers.join(", "));
        }
        self.sources_table(&mut out);
        self.stages_table(&mut out);
        out.push_str("\n## Decontamination\n\n");
        out.push_str(&self.decontamination());
        let fence = fence(&self.pipeline);
        let _ = write!(out, "\n## Pipeline\n\n{fence}toml\n{}\n{fence}\n", self.pipeline.trim_end());
        out
    }

    /// The YAML head. Strings are written as JSON, which YAML reads.
    fn head(&self) -> String {
        let rows: u64 = self.kinds.values().sum();
        let size = match rows {
            0..1_000 => "n<1K",
            1_000..10_000 => "1K<n<10K",
            10_000..100_000 => "10K<n<100K",
            100_000..1_000_000 => "100K<n<1M",
            _ => "1M<n<10M",
        };
        let licences: std::collections::BTreeSet<&str> = self.sources.iter().filter_map(|s| s.licence.as_deref()).collect();
        let known = !self.sources.is_empty() && self.sources.iter().all(|s| s.licence.is_some());
        let licence = match licences.iter().next() {
            Some(one) if known && licences.len() == 1 => one.to_lowercase(),
            _ => "other".into(),
        };
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut out = String::from("---\n");
        let _ = writeln!(out, "pretty_name: {}", quoted(&self.name));
        let _ = writeln!(out, "license: {}", quoted(&licence));
        let _ = writeln!(out, "size_categories:\n- {}", quoted(size));
        if !self.splits.is_empty() {
            out.push_str("configs:\n- config_name: default\n  data_files:\n");
            for split in &self.splits {
                let _ = writeln!(out, "  - split: {}\n    path: {}", quoted(&split.name), quoted(&split.files));
            }
        }
        out.push_str("task_categories:\n- text-generation\ntags:\n- reasoning\n- distillation\n- synthetic\n---\n\n");
        out
    }

    fn sources_table(&self, out: &mut String) {
        if self.sources.is_empty() {
            return;
        }
        out.push_str("\n## Sources and licences\n\n| source | rows | licence |\n|---|---:|---|\n");
        for source in &self.sources {
            let name = match &source.url {
                Some(url) => format!("[{}]({url})", cell(&source.name)),
                None => cell(&source.name),
            };
            let licence = source.licence.as_deref().map_or_else(|| "not stated".into(), cell);
            let licence = source.note.as_deref().map_or_else(|| licence.clone(), |note| format!("{licence}: {}", cell(note)));
            let _ = writeln!(out, "| {name} | {} | {licence} |", source.rows);
        }
    }

    fn stages_table(&self, out: &mut String) {
        if self.stages.is_empty() {
            return;
        }
        out.push_str("\n## How it was made\n\n| stage | kind | rows | dropped |\n|---|---|---:|---|\n");
        for stage in &self.stages {
            let dropped: Vec<String> = stage.dropped.iter().map(|(reason, n)| format!("{n} {}", cell(reason))).collect();
            let _ = writeln!(out, "| {} | {} | {} | {} |", cell(&stage.name), stage.kind, stage.rows, dropped.join("; "));
        }
    }

    fn decontamination(&self) -> String {
        let mut text = match &self.decontaminated {
            None => return "The dataset was not compared with any benchmark.\n".into(),
            Some(benchmarks) => {
                let each: Vec<String> = benchmarks.iter().map(|(name, n)| format!("{name} ({n} problems removed)")).collect();
                format!("Problems that share text with these benchmarks were removed with all their rows: {}.\n", each.join(", "))
            }
        };
        if !self.uncompared.is_empty() {
            let _ = writeln!(text, "\nThat does not hold for rows that came through: {}.", self.uncompared.join(", "));
        }
        text
    }
}

/// Text that cannot break a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// A code fence longer than any in the text.
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}
