//! `potstill diff`: rows gained, lost and changed between two tables or artifacts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use potstill_data::Table;
use potstill_data::diff::{Change, Diff, DiffOptions, diff};

use super::show::columns::short_type;
use super::target::{Looked, StageName, address, output_table};
use crate::exit::{CONFIG, Done, Failure};
use crate::load::PipelineArgs;
use crate::report::grouped;
use crate::terminal::{say, table};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A table (file, folder, pattern), or PIPELINE.toml:STAGE, perhaps with .OUTPUT and @previous or @FINGERPRINT
    before: String,
    /// What to compare it with; without it a stage's previous artifact is compared with its present one
    after: Option<String>,
    /// The columns that name a row; sample_id, attempt_id, problem_id or id if not given
    #[arg(long, value_name = "COL", value_delimiter = ',')]
    key: Vec<String>,
    /// Name so many rows of each sort
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    limit: usize,
    /// The artifact store; `.potstill` beside the pipeline file if not given
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Override a setting of the pipeline file (may be repeated)
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Print the difference as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Done {
    let (before, after) = match &args.after {
        Some(after) => (args.table(&args.before)?, args.table(after)?),
        None => args.versions()?,
    };
    let found = diff(&before, &after, &DiffOptions { key: args.key.clone(), limit: args.limit })?;
    if args.json {
        say(&serde_json::to_string_pretty(&found).unwrap_or_default());
    } else {
        tell(&found);
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn looked(&self, file: PathBuf) -> Result<Looked, Failure> {
        Looked::open(&PipelineArgs { file: Some(file), set: self.set.clone(), store: self.store.clone() })
    }

    fn table(&self, text: &str) -> Result<Table, Failure> {
        match address(text) {
            Some((file, name)) => output_table(&self.looked(file)?.artifact(&name)?, name.output.as_deref()),
            None => Ok(Table::open(Path::new(text))?),
        }
    }

    /// The previous artifact of a stage and the present one.
    fn versions(&self) -> Result<(Table, Table), Failure> {
        let Some((file, name)) = address(&self.before) else {
            let hint = Some("name a second table, or a stage as PIPELINE.toml:STAGE to compare with its previous artifact");
            return Err(Failure::new(CONFIG, format!("`{}` has nothing to be compared with", self.before), hint));
        };
        let looked = self.looked(file)?;
        let version = name.version.clone().unwrap_or_else(|| "previous".to_owned());
        let previous = StageName { version: Some(version), ..name.clone() };
        let present = StageName { version: None, ..name };
        let of = |name: &StageName| output_table(&looked.artifact(name)?, name.output.as_deref());
        Ok((of(&previous)?, of(&present)?))
    }
}

fn tell(diff: &Diff) {
    let key = if diff.key.is_empty() { "whole rows".to_owned() } else { diff.key.join(", ") };
    say(&format!("{} rows before, {} after, compared by {key}", grouped(diff.rows[0]), grouped(diff.rows[1])));
    for (name, kind) in &diff.columns_lost {
        say(&format!("- column {name} ({})", short_type(kind)));
    }
    for (name, kind) in &diff.columns_gained {
        say(&format!("+ column {name} ({})", short_type(kind)));
    }
    for (name, [before, after]) in &diff.columns_retyped {
        say(&format!("~ column {name}: {before} before, {after} after"));
    }
    let counts = [("same", diff.same), ("lost", diff.lost), ("gained", diff.gained), ("changed", diff.changed)];
    say(&counts.map(|(what, count)| format!("{} {what}", grouped(count))).join(", "));
    named('-', &diff.first_lost, diff.lost);
    named('+', &diff.first_gained, diff.gained);
    if !diff.changed_columns.is_empty() {
        let columns: Vec<String> = diff.changed_columns.iter().map(|(name, count)| format!("{name} ×{}", grouped(*count))).collect();
        say(&format!("changed in: {}", columns.join(", ")));
        say(&table(&diff.first_changed.iter().map(change).collect::<Vec<_>>(), &[]));
    }
}

fn named(mark: char, keys: &[String], all: u64) {
    keys.iter().for_each(|key| say(&format!("{mark} {}", line(key))));
    let more = all - keys.len() as u64;
    if more > 0 && !keys.is_empty() {
        say(&format!("{mark} … and {} more", grouped(more)));
    }
}

fn change(change: &Change) -> Vec<String> {
    let text = |value: &Option<String>| value.as_deref().map_or_else(|| "NULL".to_owned(), |v| format!("`{}`", clip(&line(v))));
    let values = format!("{} → {}", text(&change.before), text(&change.after));
    vec![format!("~ {}", line(&change.key)), change.column.clone(), values]
}

fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn clip(text: &str) -> String {
    if text.chars().count() > 40 { text.chars().take(40).chain(['…']).collect() } else { text.to_owned() }
}
