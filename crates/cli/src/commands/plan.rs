//! `potstill plan`

use std::process::ExitCode;

use potstill_pipeline::{Estimate, PlanState, PlannedStage};

use crate::exit::Done;
use crate::load::{Loaded, PipelineArgs};
use crate::report::grouped;
use crate::terminal::{complain, say, table};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Done {
    let Loaded { pipeline, app } = args.pipeline.load()?;
    let store = args.pipeline.store_if_any()?;
    let plan = potstill_pipeline::plan(&pipeline, store.as_ref(), &app)?;
    let unfetched = app.unfetched();
    if !unfetched.is_empty() {
        let (sets, hint) = (unfetched.join(", "), "`potstill run` and `potstill fetch` fetch what a hub has");
        complain(&format!(
            "not here yet: {sets}. Their rows are counted as published, and stages that read them show as not cached; {hint}"
        ));
    }
    if args.json {
        say(&serde_json::to_string_pretty(&plan).unwrap_or_default());
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["stage", "kind", "state", "reads", "rows", "calls", "tokens in", "tokens out", "US$"].map(str::to_owned).to_vec()];
    rows.extend(plan.iter().map(row));
    say(&table(&rows, &[4, 5, 6, 7, 8]));
    let total = |pick: fn(&PlannedStage) -> Option<f64>| plan.iter().filter_map(pick).fold(0.0, |sum, n| sum + n);
    let calls = total(|s| s.estimate.as_ref()?.calls.map(|n| n as f64));
    let cost = total(|s| s.estimate.as_ref()?.cost_usd);
    let cached = plan.iter().filter(|s| s.state == PlanState::Cached).count();
    say(&format!(
        "\n{} of {} stages are cached; at most {} calls and ${cost:.2} (tokens counted at their maximum)",
        cached,
        plan.len(),
        grouped(calls as u64)
    ));
    for stage in &plan {
        let Some(Estimate { cost_usd: Some(cost), max_cost_usd: Some(cap), .. }) = stage.estimate else { continue };
        if cost > cap {
            say(&format!(
                "`{}` may cost ${cost:.2}, over its cap of ${cap:.2}: it ends there, and goes on when the cap is raised",
                stage.name
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(stage: &PlannedStage) -> Vec<String> {
    let state = match stage.state {
        PlanState::Cached => "cached",
        PlanState::Stale => "stale",
        PlanState::New => "new",
    };
    let count = |n: Option<u64>| n.map_or_else(String::new, grouped);
    let estimate = stage.estimate.clone().unwrap_or_default();
    vec![
        stage.name.clone(),
        stage.kind.to_owned(),
        state.to_owned(),
        stage.inputs.join(", "),
        count(stage.rows),
        count(estimate.calls),
        count(estimate.prompt_tokens),
        count(estimate.completion_tokens),
        estimate.cost_usd.map_or_else(String::new, |usd| format!("{usd:.2}")),
    ]
}
