//! The report: one self-contained HTML file made from manifests and the rows that they name.
//!
//! Nothing in it is told from memory: every number comes from a committed artifact, so a report can be made again from
//! the store at any time.

mod charts;
mod columns;
mod graph;
mod traces;

use std::collections::BTreeMap;

use minijinja::{Environment, context};
use potstill_data::{Attempt, RowReader};
use potstill_pipeline::{Artifact, Port, StageError};
use serde::Serialize;
use serde_json::Value;

use charts::{Bar, Series};

/// Values of a histogram read from one artifact, at most; more rows are thinned evenly.
const HISTOGRAM_ROWS: usize = 200_000;

/// What a report is made of: artifacts, each after everything it was made from.
pub(crate) struct Source<'a> {
    /// The report's title.
    pub(crate) title: &'a str,
    /// Draws the traces.
    pub(crate) seed: u64,
    /// How many traces are shown.
    pub(crate) traces: usize,
    /// The artifacts.
    pub(crate) artifacts: &'a [Artifact],
}

#[derive(Serialize)]
struct Tile {
    value: String,
    label: String,
}

#[derive(Serialize)]
struct FunnelRow {
    name: String,
    kind: String,
    rows: String,
    share: u32,
    dropped: Vec<Dropped>,
}

#[derive(Serialize)]
struct Dropped {
    count: String,
    reason: String,
}

#[derive(Serialize)]
struct Figure {
    title: String,
    svg: String,
    note: String,
}

/// Renders the page.
///
/// # Errors
/// Rows of an artifact that cannot be read.
pub(crate) fn render(source: &Source<'_>) -> Result<String, StageError> {
    let artifacts = source.artifacts;
    let staged: Vec<(&str, &Value)> = artifacts.iter().flat_map(|a| a.manifest.evals.iter().map(|e| (&*a.manifest.stage, e))).collect();
    let evals: Vec<&Value> = staged.iter().map(|(_, eval)| *eval).collect();
    let traces = traces::draw(artifacts, source.seed, source.traces)?;
    let mut figures = token_figures(artifacts)?;
    figures.extend(loss_figures(artifacts));
    let mut env = Environment::new();
    env.add_template("page.html", include_str!("page.html")).map_err(template_error)?;
    let page = env.get_template("page.html").map_err(template_error)?;
    let context = context! {
        title => source.title,
        subtitle => subtitle(artifacts),
        style => include_str!("style.css"),
        tiles => serde(tiles(artifacts, &evals)),
        graph => graph::draw(&nodes(artifacts)),
        accuracies => charts::accuracies("accuracy by model", &bars(&staged)),
        metric => evals.first().map(|e| text(e, "metric")).unwrap_or_default(),
        funnel => serde(funnel(artifacts)),
        figures => serde(&figures),
        facts => serde(facts(artifacts)),
        columns => serde(columns::of(artifacts)?),
        costs => serde(costs(artifacts)),
        traces => serde(&traces),
        lineage => serde(lineage(artifacts)),
        footer => format!("made by potstill {}; every figure comes from a committed artifact of the store", env!("CARGO_PKG_VERSION")),
    };
    page.render(context).map_err(template_error)
}

/// A value for the template; serialising plain structs of strings cannot fail.
fn serde<T: Serialize>(value: T) -> minijinja::Value {
    minijinja::Value::from(minijinja::value::Serde(value))
}

fn template_error(error: minijinja::Error) -> StageError {
    StageError::failed("the report's page cannot be rendered").caused_by(error)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(value: &Value, key: &str) -> f64 {
    value.get(key).and_then(Value::as_f64).unwrap_or_default()
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn subtitle(artifacts: &[Artifact]) -> String {
    let seconds: f64 = artifacts.iter().map(|a| a.manifest.seconds).sum();
    let seed = artifacts.first().map_or(0, |a| a.manifest.seed);
    format!("{} stages, seed {seed}, {} of work", artifacts.len(), duration(seconds))
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.1} s"),
        s if s < 5400.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn rows_of(artifacts: &[Artifact], kind: &str) -> u64 {
    artifacts.iter().filter(|a| a.manifest.kind == kind).filter_map(|a| a.manifest.rows()).sum()
}

fn tiles(artifacts: &[Artifact], evals: &[&Value]) -> Vec<Tile> {
    let mut tiles = Vec::new();
    let mut tile = |value: String, label: &str| tiles.push(Tile { value, label: label.to_owned() });
    let best = evals.iter().filter(|e| e.get("baseline") != Some(&Value::Bool(true))).map(|e| number(e, "value")).fold(f64::NAN, f64::max);
    if best.is_finite() {
        tile(format!("{:.1} %", best * 100.0), "best student");
    }
    let problems: u64 = artifacts.iter().filter(|a| a.manifest.kind == "source").filter_map(|a| a.manifest.rows()).sum();
    tile(grouped(problems), "rows from sources");
    let attempts = rows_of(artifacts, "generate");
    if attempts > 0 {
        tile(grouped(attempts), "attempts generated");
    }
    let dropped: u64 = artifacts.iter().flat_map(|a| a.manifest.dropped.values()).sum();
    tile(grouped(dropped), "rows dropped, with reason");
    let cost: f64 = artifacts.iter().filter_map(|a| a.manifest.cost_usd).sum();
    // An empty sum of floats is −0.
    tile(format!("${:.2}", cost.abs()), "paid to teachers");
    tile(duration(artifacts.iter().map(|a| a.manifest.seconds).sum()), "of work");
    tiles
}

fn nodes(artifacts: &[Artifact]) -> Vec<graph::Node> {
    let at: BTreeMap<String, usize> = artifacts.iter().enumerate().map(|(k, a)| (a.manifest.fingerprint.to_string(), k)).collect();
    let node = |artifact: &Artifact| {
        let manifest = &artifact.manifest;
        let first = manifest.outputs.first();
        let count = match (first.and_then(|o| o.rows), first.map(|o| o.port)) {
            (Some(rows), Some(port)) => format!("{} {port}", grouped(rows)),
            (None, Some(port)) => port.to_string(),
            _ => String::new(),
        };
        let mut inputs: Vec<usize> = manifest.inputs.iter().filter_map(|i| at.get(&i.fingerprint.to_string()).copied()).collect();
        inputs.dedup();
        graph::Node { name: manifest.stage.clone(), kind: manifest.kind.clone(), count, inputs }
    };
    artifacts.iter().map(node).collect()
}

fn bars(evals: &[(&str, &Value)]) -> Vec<Bar> {
    let label = |eval: &Value| format!("{} on {}", text(eval, "model"), text(eval, "benchmark"));
    let elsewhere = |stage: &str, name: &str| evals.iter().any(|(other, eval)| *other != stage && label(eval) == name);
    let bar = |&(stage, eval): &(&str, &Value)| Bar {
        // Two evaluations of one model differ in their settings alone.
        label: if elsewhere(stage, &label(eval)) { format!("{} ({stage})", label(eval)) } else { label(eval) },
        value: number(eval, "value"),
        interval: (number(eval, "low"), number(eval, "high")),
        baseline: eval.get("baseline") == Some(&Value::Bool(true)),
        note: format!(
            "{:.1} % [{:.1}, {:.1}], n = {}",
            number(eval, "value") * 100.0,
            number(eval, "low") * 100.0,
            number(eval, "high") * 100.0,
            number(eval, "n")
        ),
    };
    evals.iter().map(bar).collect()
}

fn funnel(artifacts: &[Artifact]) -> Vec<FunnelRow> {
    let most = artifacts.iter().filter_map(|a| a.manifest.rows()).max().unwrap_or(1).max(1);
    let row = |artifact: &Artifact| {
        let manifest = &artifact.manifest;
        let rows = manifest.rows()?;
        let mut dropped: Vec<(&String, &u64)> = manifest.dropped.iter().collect();
        dropped.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let dropped = dropped.into_iter().map(|(reason, count)| Dropped { count: grouped(*count), reason: reason.clone() }).collect();
        let share = u32::try_from(rows * 100 / most).unwrap_or(100);
        Some(FunnelRow { name: manifest.stage.clone(), kind: manifest.kind.clone(), rows: grouped(rows), share, dropped })
    };
    artifacts.iter().filter_map(row).collect()
}

/// Completion tokens of generated or imported attempts, one histogram a stage.
fn token_figures(artifacts: &[Artifact]) -> Result<Vec<Figure>, StageError> {
    let mut sets = Vec::new();
    for artifact in artifacts {
        let manifest = &artifact.manifest;
        if !matches!(manifest.kind.as_str(), "verify" | "filter" | "eval")
            || manifest.outputs.first().map(|o| o.port) != Some(Port::Attempts)
        {
            continue;
        }
        let reader = RowReader::<Attempt>::open(&artifact.files(None)).map_err(rows_error)?;
        let every = (reader.rows() as usize / HISTOGRAM_ROWS).max(1);
        let mut lengths = Vec::new();
        for row in reader.step_by(every) {
            lengths.extend(row.map_err(rows_error)?.completion_tokens.map(f64::from));
        }
        if !lengths.is_empty() {
            sets.push((manifest.stage.clone(), lengths));
        }
    }
    let svg = charts::histogram("completion tokens per attempt", "tokens", &sets);
    Ok(svg.map(|svg| Figure { title: "Completion tokens per attempt".into(), svg, note: String::new() }).into_iter().collect())
}

fn rows_error(error: potstill_data::DataError) -> StageError {
    StageError::failed("rows for the report cannot be read").caused_by(error)
}

/// Loss curves from the `training_log.jsonl` of every trained model, training and held-out in one chart.
fn loss_figures(artifacts: &[Artifact]) -> Vec<Figure> {
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    for artifact in artifacts.iter().filter(|a| a.manifest.kind == "train") {
        let Some(path) = artifact.files(None).into_iter().find(|p| p.ends_with("training_log.jsonl")) else { continue };
        let Ok(log) = std::fs::read_to_string(&path) else { continue };
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let points = |event: &str| -> Vec<(f64, f64)> {
            let of_kind = lines.iter().filter(|l| l["event"] == event);
            of_kind.filter_map(|l| Some((l["step"].as_f64()?, l["loss"].as_f64()?))).collect()
        };
        train.push(Series { name: artifact.manifest.stage.clone(), points: smooth(&points("step")), dots: false });
        held_out.push(Series { name: artifact.manifest.stage.clone(), points: points("eval"), dots: false });
    }
    let figure = |title: &str, series: &[Series], note: &str| {
        let svg = charts::lines(title, "step", series)?;
        Some(Figure { title: title.to_owned(), svg, note: note.to_owned() })
    };
    [
        figure("Training loss", &train, "nats per trained token, mean of up to 200 stretches of the run"),
        figure("Held-out loss", &held_out, "nats per trained token on samples kept from training"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// At most 200 points, each the mean of its stretch.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stretch = points.len().div_ceil(200).max(1);
    let mean = |chunk: &[(f64, f64)]| (chunk[chunk.len() - 1].0, chunk.iter().map(|p| p.1).sum::<f64>() / chunk.len() as f64);
    points.chunks(stretch).map(mean).collect()
}

#[derive(Serialize)]
struct Facts {
    name: String,
    kind: String,
    items: Vec<Fact>,
}

#[derive(Serialize)]
struct Fact {
    key: String,
    value: String,
}

/// The numbers and words among every stage's statistics, nested ones by their path.
fn facts(artifacts: &[Artifact]) -> Vec<Facts> {
    let mut all = Vec::new();
    for manifest in artifacts.iter().map(|a| &a.manifest) {
        let mut items = Vec::new();
        flatten(&manifest.stats, "", &mut items);
        if !items.is_empty() {
            all.push(Facts { name: manifest.stage.clone(), kind: manifest.kind.clone(), items });
        }
    }
    all
}

fn flatten(value: &Value, path: &str, items: &mut Vec<Fact>) {
    let value = match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path} · {key}") };
                flatten(value, &path.replace('_', " "), items);
            }
            return;
        }
        Value::Number(n) => n.as_u64().map(grouped).or_else(|| n.as_f64().map(charts::short)).unwrap_or_default(),
        Value::String(s) => s.clone(),
        Value::Bool(b) => b.to_string(),
        Value::Array(_) | Value::Null => return,
    };
    items.push(Fact { key: path.to_owned(), value });
}

#[derive(Serialize)]
struct CostRow {
    name: String,
    seconds: String,
    prompt: String,
    completion: String,
    usd: String,
    per_row: String,
}

fn costs(artifacts: &[Artifact]) -> Vec<CostRow> {
    let row = |name: String, seconds: f64, prompt: u64, completion: u64, usd: Option<f64>, rows: Option<u64>| {
        let count = |n: u64| if n == 0 { "–".to_owned() } else { grouped(n) };
        let per_row = usd.zip(rows.filter(|rows| *rows > 0)).map(|(usd, rows)| usd / rows as f64);
        let money = |usd: Option<f64>, places: usize| usd.map_or_else(|| "–".to_owned(), |usd| format!("{usd:.places$}"));
        let (seconds, usd, per_row) = (format!("{seconds:.1}"), money(usd, 4), money(per_row, 6));
        CostRow { name, seconds, prompt: count(prompt), completion: count(completion), usd, per_row }
    };
    let manifests = || artifacts.iter().map(|a| &a.manifest);
    let mut rows: Vec<CostRow> =
        manifests().map(|m| row(m.stage.clone(), m.seconds, m.tokens.prompt, m.tokens.completion, m.cost_usd, m.rows())).collect();
    rows.push(row(
        "all".to_owned(),
        manifests().map(|m| m.seconds).sum(),
        manifests().map(|m| m.tokens.prompt).sum(),
        manifests().map(|m| m.tokens.completion).sum(),
        Some(manifests().filter_map(|m| m.cost_usd).sum::<f64>().abs()),
        None,
    ));
    rows
}

#[derive(Serialize)]
struct LineageRow {
    name: String,
    kind: String,
    fingerprint: String,
    inputs: String,
}

fn lineage(artifacts: &[Artifact]) -> Vec<LineageRow> {
    let row = |artifact: &Artifact| {
        let manifest = &artifact.manifest;
        let inputs: Vec<String> = manifest.inputs.iter().map(|i| format!("{}.{}", i.stage, i.output)).collect();
        LineageRow {
            name: manifest.stage.clone(),
            kind: manifest.kind.clone(),
            fingerprint: manifest.fingerprint.to_string().chars().take(16).collect(),
            inputs: inputs.join(", "),
        }
    };
    artifacts.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"],
            [grouped(0), grouped(999), grouped(1000), grouped(1_234_567)].each_ref().map(String::as_str)
        );
    }

    #[test]
    fn statistics_become_lines_by_path() {
        let mut items = Vec::new();
        flatten(&serde_json::json!({"verdicts": {"correct": 1200, "in_doubt": 3}, "list": [1]}), "", &mut items);
        let lines: Vec<String> = items.iter().map(|i| format!("{}={}", i.key, i.value)).collect();
        assert_eq!(lines, ["verdicts · correct=1,200", "verdicts · in doubt=3"]);
    }

    #[test]
    fn long_curves_are_thinned_to_means() {
        let points: Vec<(f64, f64)> = (0..1000).map(|k| (f64::from(k), 1.0)).collect();
        let smoothed = smooth(&points);
        assert_eq!((smoothed.len(), smoothed[0], smoothed[199]), (200, (4.0, 1.0), (999.0, 1.0)));
    }
}
