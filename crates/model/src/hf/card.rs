//! The model card of an exported folder.

use std::fmt::Write;

use serde_json::Value;

use crate::ModelConfig;

/// What a model card tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelCard {
    /// The model's name.
    pub name: String,
    /// The model that training began with: a hub id, a folder, or nothing when it was trained from scratch.
    pub base_model: Option<String>,
    /// The licence, when it is known.
    pub license: Option<String>,
    /// What it was made of, step by step: a line of text each.
    pub lineage: Vec<String>,
    /// Benchmark, metric, value and its 95 % interval.
    pub evals: Vec<(String, String, f64, f64, f64)>,
}

impl ModelCard {
    /// The text of `README.md`, with the front matter that model hubs read.
    #[must_use]
    pub fn render(&self, config: &ModelConfig) -> String {
        // Quoted as JSON, which YAML reads, so that no name can add keys of its own.
        let quoted = |text: &str| Value::from(text).to_string();
        let mut out = String::from("---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- potstill\n");
        if let Some(base) = &self.base_model {
            let _ = writeln!(out, "base_model: {}", quoted(base));
        }
        if let Some(license) = &self.license {
            let _ = writeln!(out, "license: {}", quoted(license));
        }
        let _ = writeln!(out, "---\n\n# {}\n", one_line(&self.name));
        let _ = writeln!(
            out,
            "A `{}` model of {} parameters: {} layers, {} wide, a vocabulary of {}, a context of {} tokens.",
            config.model_type,
            grouped(config.num_parameters()),
            config.num_hidden_layers,
            grouped(config.hidden_size),
            grouped(config.vocab_size),
            grouped(config.max_position_embeddings)
        );
        if !self.lineage.is_empty() {
            out.push_str("\n## How it was made\n\n");
            for line in &self.lineage {
                let _ = writeln!(out, "1. {}", one_line(line));
            }
        }
        if !self.evals.is_empty() {
            out.push_str("\n## Evaluation\n\n| benchmark | metric | value | 95 % interval |\n|---|---|---|---|\n");
            for (benchmark, metric, value, low, high) in &self.evals {
                let percent = |share: &f64| format!("{:.1} %", share * 100.0);
                let cells = [one_line(benchmark), one_line(metric), percent(value), format!("{} – {}", percent(low), percent(high))];
                let _ = writeln!(out, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
            }
        }
        out.push_str("\n## Use\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n");
        out.push_str("tokenizer = AutoTokenizer.from_pretrained(\"PATH\")\nmodel = AutoModelForCausalLM.from_pretrained(\"PATH\")\n```\n");
        out
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_card() {
        let card = ModelCard {
            name: "a\n---\nb".into(),
            base_model: Some("x\"\nlicense: mit".into()),
            lineage: vec!["train: 3 epochs\n# heading".into()],
            evals: vec![("gsm8k|".into(), "accuracy".into(), 0.885, 0.85, 0.913)],
            ..ModelCard::default()
        };
        let text = card.render(&ModelConfig::llama(49152, 576, 30, 9, 3, 1536));
        assert!(text.contains("base_model: \"x\\\"\\nlicense: mit\"\n"), "{text}");
        assert!(text.contains("# a --- b\n") && text.contains("1. train: 3 epochs # heading\n"));
        assert!(text.contains("134,515,008 parameters"), "{text}");
        assert!(text.contains("| gsm8k\\| | accuracy | 88.5 % | 85.0 % – 91.3 % |"), "{text}");
        assert_eq!(text.matches("---\n").count(), 2);
    }
}
