//! The kinds of stages, one file each. To add one: write `stages/<kind>.rs` and a line in [`KINDS`].

mod annotate;
mod decided;
mod decontaminate;
mod dedup;
mod eval;
mod export;
mod filter;
mod generate;
mod groups;
mod joined;
mod journey;
mod mix;
mod pairs;
mod report;
mod rewrite;
pub(crate) mod rows;
mod samples;
mod select;
mod source;
mod split;
mod train;
mod verify;

use potstill_curate::CurateError;
use potstill_data::DataError;
use potstill_generate::GenerateError;
use potstill_pipeline::{Kind, Mistake, Resource, StageError, stage};
use schemars::JsonSchema;

use crate::app::App;

pub(crate) use decided::DROPPED;
pub(crate) use export::TOOL;

/// Every stage kind, in the order in which a pipeline usually has them.
pub(crate) static KINDS: &[Kind<App>] = &[
    kind::<source::Source>("source", "problems or attempts from files, a dataset manifest, or a procedural generator", Resource::Cpu),
    kind::<generate::Generate>("generate", "ask a teacher for attempts at problems", Resource::Network),
    kind::<annotate::Annotate>("annotate", "a teacher fills new columns of rows: labels such as domain and difficulty", Resource::Network),
    Kind { revision: 2, ..kind::<verify::Verify>("verify", "grade attempts against gold answers or tests", Resource::Cpu) },
    kind::<rewrite::Rewrite>(
        "rewrite",
        "a teacher puts attempts into a tidy form; what does not end in the same answer is dropped",
        Resource::Network,
    ),
    kind::<filter::Filter>(
        "filter",
        "keep rows by an SQL condition, by checks and the best of each problem; dropped rows stay with their reason",
        Resource::Cpu,
    ),
    Kind {
        revision: 2,
        ..kind::<dedup::Dedup>("dedup", "drop equal and nearly equal prompts or replies; the best of each cluster stays", Resource::Cpu)
    },
    Kind {
        revision: 2,
        ..kind::<decontaminate::Decontaminate>(
            "decontaminate",
            "drop problems that hold benchmark items, with all their rows, and say which item matched",
            Resource::Cpu,
        )
    },
    kind::<select::Select>("select", "choose attempts by difficulty, length, quota, domain or diversity", Resource::Cpu),
    Kind {
        revision: 2,
        ..kind::<journey::JourneyStage>(
            "journey",
            "incorrect-then-corrected samples, with a shortcut control set of the same problems",
            Resource::Cpu,
        )
    },
    Kind { revision: 2, ..kind::<pairs::Pairs>("pairs", "preference pairs from graded attempts", Resource::Cpu) },
    Kind { revision: 2, ..kind::<samples::Samples>("samples", "attempts become training samples in a named format", Resource::Cpu) },
    kind::<split::Split>("split", "train, test and validation parts that share no problem", Resource::Cpu),
    Kind { revision: 2, ..kind::<mix::Mix>("mix", "join inputs by weights and quotas in a seeded order", Resource::Cpu) },
    kind::<export::Export>("export", "a dataset folder that other trainers read, with a dataset card", Resource::Cpu),
    Kind {
        init_from: true,
        ..kind::<train::Train>("train", "fine-tune a student on samples, or train one from scratch", Resource::Accelerator)
    },
    kind::<eval::Eval>("eval", "solve held-out problems with a student and grade the answers", Resource::Accelerator),
    kind::<report::ReportStage>("report", "one self-contained HTML file about everything before it", Resource::Cpu),
];

const fn kind<P>(name: &'static str, about: &'static str, resource: Resource) -> Kind<App>
where
    P: serde::de::DeserializeOwned + JsonSchema + potstill_pipeline::Stage<App> + 'static,
{
    Kind { name, revision: 1, about, resource, init_from: false, parse: stage::<P, App>, schema: P::json_schema }
}

/// A failure to read or write rows, with its place and hint.
pub(crate) fn data_error(error: DataError) -> StageError {
    let hint = error.hint();
    let failed = StageError::failed(error.to_string());
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

pub(crate) fn curate_error(error: CurateError) -> StageError {
    StageError::config(error.to_string())
}

/// A setting that cannot be followed, at its own key.
pub(crate) fn curate_mistake(error: CurateError) -> Mistake {
    let key = match &error {
        CurateError::OutOfRange { setting, .. } | CurateError::Template { setting, .. } => setting,
        _ => "",
    };
    Mistake::at(key, error.to_string())
}

/// A teacher's failure: what a retry may overcome is told apart from what it cannot.
pub(crate) fn generate_error(error: GenerateError) -> StageError {
    let failed = match &error {
        GenerateError::Config { .. } => StageError::config(error.to_string()),
        GenerateError::Exhausted { .. } => StageError::temporary(error.to_string()),
        GenerateError::Cancelled => StageError::cancelled(),
        _ => StageError::failed(error.to_string()),
    };
    match error.hint() {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
