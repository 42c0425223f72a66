//! Columns on a terminal: a line for each with a small histogram, or one in full.

use potstill_data::stats::{Bar, ColumnStats, NumberStats};

use crate::report::grouped;
use crate::terminal::table;

/// Blocks of the longest bar.
const WIDTH: u64 = 40;

/// A line for each column: type, nulls, spread, a small histogram, the frequent values.
pub(crate) fn overview(columns: &[ColumnStats]) -> String {
    let mut rows = vec![["column", "type", "null", "min", "median", "max", "spread", "frequent"].map(str::to_owned).to_vec()];
    for column in columns {
        let numbers = column.numbers.as_ref();
        let number = |pick: fn(&NumberStats) -> f64| numbers.map_or_else(String::new, |n| short(pick(n)));
        let spread = numbers.map_or_else(String::new, |n| spark(&n.histogram.iter().map(|b| b.count).collect::<Vec<_>>()));
        let top: Vec<String> =
            frequent(column).iter().take(4).map(|(value, count)| format!("{} ×{}", clip(value), grouped(*count))).collect();
        rows.push(vec![
            column.name.clone(),
            short_type(&column.data_type),
            grouped(column.nulls),
            number(|n| n.min),
            number(|n| n.p50),
            number(|n| n.max),
            spread,
            top.join(", "),
        ]);
    }
    table(&rows, &[2, 3, 4, 5])
}

/// The frequent values; of a column of ids, where each occurs once, there are none.
pub(crate) fn frequent(column: &ColumnStats) -> &[(String, u64)] {
    let ids = column.top.len() > 4 && column.top.iter().all(|(_, count)| *count == 1);
    if ids { &[] } else { &column.top }
}

/// One column in full: percentiles, a histogram with its bounds, the frequent values.
pub(crate) fn detail(column: &ColumnStats, rows: u64) -> String {
    let nulls = if column.nulls > 0 { format!(", {} of {} rows are null", grouped(column.nulls), grouped(rows)) } else { String::new() };
    let mut text = format!("{} ({}{nulls})\n", column.name, short_type(&column.data_type));
    if let Some(n) = &column.numbers {
        // Of texts and lists the lengths are counted.
        let of = match column.data_type.as_str() {
            "Utf8" | "LargeUtf8" | "Utf8View" => "bytes: ",
            list if list.starts_with("List") => "items: ",
            _ => "",
        };
        let spread = [("min", n.min), ("5 %", n.p05), ("25 %", n.p25), ("median", n.p50), ("75 %", n.p75), ("95 %", n.p95), ("max", n.max)];
        let spread: Vec<String> = spread.iter().map(|(name, value)| format!("{name} {}", short(*value))).collect();
        text.push_str(&format!("  {of}{}, mean {}\n", spread.join(", "), short(n.mean)));
        text.push_str(&bars(n.histogram.iter().map(|bar| (bounds(bar), bar.count))));
    }
    if let Some(distinct) = column.distinct {
        text.push_str(&format!(
            "  {} distinct values{}\n",
            grouped(distinct),
            if distinct as usize > column.top.len() { ", the most frequent:" } else { ":" }
        ));
        text.push_str(&bars(column.top.iter().map(|(value, count)| (clip(value), *count))));
    }
    text
}

fn bounds(bar: &Bar) -> String {
    if bar.from == bar.to { short(bar.from) } else { format!("{} – {}", short(bar.from), short(bar.to)) }
}

/// A line for each count, as long as its share of the largest.
fn bars(counts: impl Iterator<Item = (String, u64)>) -> String {
    let counts: Vec<(String, u64)> = counts.collect();
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let line = |(label, count): &(String, u64)| {
        let blocks = (count * WIDTH).div_ceil(most);
        let bar: String = std::iter::repeat_n('█', usize::try_from(blocks).unwrap_or(0)).collect();
        vec![String::new(), label.clone(), format!("{bar} {}", grouped(*count)).trim_start().to_owned()]
    };
    let rows: Vec<Vec<String>> = counts.iter().map(line).collect();
    if rows.is_empty() { String::new() } else { table(&rows, &[1]) + "\n" }
}

/// A number with three decimals where it has any.
pub(crate) fn short(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// Nested types without their fields' own types, which would fill the line.
pub(crate) fn short_type(name: &str) -> String {
    let outer = name.split(['(', '<']).next().unwrap_or(name);
    if outer == "List" || outer == "Struct" || outer == "Map" { outer.to_owned() } else { clip(name) }
}

fn clip(text: &str) -> String {
    let line: String = text.chars().take(24).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > 24 { format!("{line}…") } else { line }
}

/// Counts as a row of blocks.
pub(crate) fn spark(counts: &[u64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    counts.iter().map(|n| if *n == 0 { ' ' } else { BLOCKS[usize::try_from((n * 7).div_ceil(most)).unwrap_or(7).min(7)] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_fits_a_line() {
        assert_eq!(spark(&[0, 1, 7, 14]), " ▂▅█");
        assert_eq!(spark(&[]), "");
    }

    #[test]
    fn a_column_in_full_has_its_bars_and_bounds() {
        let bar = |from: f64, to: f64, count| Bar { from, to, count };
        let histogram = vec![bar(1.0, 2.5, 4), bar(2.5, 4.0, 0), bar(4.0, 4.0, 2)];
        let numbers =
            NumberStats { min: 1.0, max: 4.0, mean: 2.5, p05: 1.0, p25: 1.0, p50: 2.0, p75: 4.0, p95: 4.0, exact: true, histogram };
        let column = ColumnStats {
            name: "tokens".into(),
            data_type: "UInt32".into(),
            nulls: 1000,
            numbers: Some(numbers),
            top: Vec::new(),
            distinct: None,
        };
        let text = detail(&column, 1006);
        assert!(text.starts_with("tokens (UInt32, 1,000 of 1,006 rows are null)\n  min 1, 5 % 1"), "{text}");
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0], format!("  1 – 2.500  {} 4", "█".repeat(40)));
        assert_eq!(lines[1].trim(), "2.500 – 4  0");
        assert_eq!(lines[2], format!("          4  {} 2", "█".repeat(20)));
    }
}
