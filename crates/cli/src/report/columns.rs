//! The columns of every stage's rows: what `potstill show` says on a terminal, with the same figures.

use potstill_data::stats::{Bar, ColumnStats, NumberStats, describe};
use potstill_data::{DataError, Table};
use potstill_pipeline::{Artifact, StageError};
use serde::Serialize;

use super::charts::{self, escape};
use super::grouped;
use crate::commands::show::columns::{frequent, short, short_type};

/// Rows described of one artifact, about; of more, every n-th batch.
const ROWS: u64 = 200_000;

/// The columns of one stage.
#[derive(Serialize)]
pub(super) struct StageColumns {
    name: String,
    note: String,
    columns: Vec<Column>,
}

#[derive(Serialize)]
struct Column {
    name: String,
    kind: String,
    nulls: String,
    min: String,
    median: String,
    max: String,
    /// An inline drawing; nothing for columns without numbers.
    spread: String,
    frequent: String,
}

/// Describes the first output of every artifact of rows.
///
/// # Errors
/// Rows that cannot be read.
pub(super) fn of(artifacts: &[Artifact]) -> Result<Vec<StageColumns>, StageError> {
    let of_rows = artifacts.iter().filter(|artifact| artifact.manifest.rows().is_some_and(|rows| rows > 0));
    of_rows.map(|artifact| stage(artifact).map_err(super::rows_error)).collect()
}

fn stage(artifact: &Artifact) -> Result<StageColumns, DataError> {
    let rows = artifact.manifest.rows().unwrap_or(0);
    let every = usize::try_from(rows / ROWS).unwrap_or(usize::MAX).max(1);
    let table = Table::of_files(artifact.files(None))?;
    let description = describe(table.batches().step_by(every))?;
    let note = match description.rows == rows {
        true => format!("{} rows", grouped(rows)),
        false => format!("{} of {} rows", grouped(description.rows), grouped(rows)),
    };
    Ok(StageColumns { name: artifact.manifest.stage.clone(), note, columns: description.columns.iter().map(column).collect() })
}

fn column(stats: &ColumnStats) -> Column {
    let numbers = stats.numbers.as_ref();
    let number = |pick: fn(&NumberStats) -> f64| numbers.map_or_else(String::new, |n| short(pick(n)));
    let top: Vec<String> = frequent(stats)
        .iter()
        .take(4)
        .map(|(value, count)| format!("{} ×{}", value.chars().take(40).collect::<String>(), grouped(*count)))
        .collect();
    Column {
        name: stats.name.clone(),
        kind: short_type(&stats.data_type),
        nulls: if stats.nulls == 0 { String::new() } else { grouped(stats.nulls) },
        min: number(|n| n.min),
        median: number(|n| n.p50),
        max: number(|n| n.max),
        spread: numbers.map_or_else(String::new, |n| spark(&stats.name, &n.histogram)),
        frequent: top.join(", "),
    }
}

/// A histogram as small as a line of text; each bar tells its bounds and count.
fn spark(name: &str, bars: &[Bar]) -> String {
    const HEIGHT: f64 = 22.0;
    const STEP: f64 = 6.0;
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or(0).max(1) as f64;
    let width = STEP * bars.len().max(1) as f64;
    let mut svg = format!(
        "<svg class=\"spark\" viewBox=\"0 0 {width} {HEIGHT}\" width=\"{width}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(name)
    );
    for (at, bar) in bars.iter().enumerate().filter(|(_, bar)| bar.count > 0) {
        let height = (bar.count as f64 / most * HEIGHT).max(1.0);
        let bounds =
            if bar.from == bar.to { charts::short(bar.from) } else { format!("{} – {}", charts::short(bar.from), charts::short(bar.to)) };
        svg.push_str(&format!(
            "<rect class=\"c0\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{bounds}: {}</title></rect>",
            STEP * at as f64,
            HEIGHT - height,
            STEP - 1.0,
            grouped(bar.count)
        ));
    }
    svg + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_tall_as_their_share_and_names_cannot_leave_their_place() {
        let bars = [Bar { from: 0.0, to: 1.0, count: 4 }, Bar { from: 1.0, to: 2.0, count: 0 }, Bar { from: 2.0, to: 3.0, count: 2 }];
        let svg = spark("<a>", &bars);
        assert_eq!(svg.matches("<rect").count(), 2, "{svg}");
        assert!(svg.contains("height=\"22.0\"><title>0 – 1: 4") && svg.contains("height=\"11.0\"><title>2 – 3: 2"), "{svg}");
        assert!(svg.contains("aria-label=\"&lt;a&gt;\""), "{svg}");
    }
}
