//! Writes a few samples in every layout, preference pairs and an RL prompt set into a folder, for the loading check in
//! `tests/reference/load_exports.py`: `cargo run --release -p potstill-curate --example export_layouts -- FOLDER`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::fs;
use std::path::PathBuf;

use potstill_curate::export::LAYOUTS;
use potstill_curate::pairs::{PairMaker, PairsConfig, rl_prompt};
use potstill_curate::{RenderConfig, SampleConfig, SampleMaker};
use potstill_data::{Attempt, Problem, Verdict};

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "exports".into()));
    fs::create_dir_all(&folder).unwrap();
    let render = RenderConfig { system_prompt: Some("Think first.".into()), ..RenderConfig::default() };
    let maker = SampleMaker::new(&SampleConfig { render: render.clone(), keep_incorrect: false }).unwrap();
    let groups: Vec<Vec<Attempt>> = (0..20).map(|n| vec![attempt(n, 0, n + 1), attempt(n, 1, n + 2)]).collect();
    let write = |name: &str, rows: Vec<String>| fs::write(folder.join(format!("{name}.jsonl")), rows.join("\n") + "\n").unwrap();
    for layout in LAYOUTS {
        let row = |group: &Vec<Attempt>| (layout.row)(&maker.sample(&group[0]).unwrap()).unwrap().to_string();
        write(layout.name, groups.iter().map(row).collect());
    }
    let pairs = PairMaker::new(PairsConfig { render, ..PairsConfig::default() }).unwrap();
    let all = groups.iter().flat_map(|g| pairs.problem(g).unwrap());
    write("pairs", all.map(|p| serde_json::to_string(&p).unwrap()).collect());
    write("rl_prompts", groups.iter().map(|g| rl_prompt(&g[0].problem, Some("Think first.")).to_string()).collect());
}

/// An attempt at `n + 1` that says `said`.
fn attempt(n: u32, sample_index: u32, said: u32) -> Attempt {
    Attempt {
        problem: Problem {
            problem_id: format!("p{n}"),
            source: "made up".into(),
            prompt: format!("What is {n} + 1?"),
            gold: Some((n + 1).to_string()),
            ..Problem::default()
        },
        sample_index,
        teacher: "none".into(),
        reasoning: Some(format!("{n} and one more is {said}.")),
        response: format!("\\boxed{{{said}}}"),
        finish_reason: "stop".into(),
        verdict: Some(if said == n + 1 { Verdict::Correct } else { Verdict::Incorrect }),
        ..Attempt::default()
    }
}
