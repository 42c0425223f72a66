//! The pipeline's graph as SVG: one column per level, rows on every stage, reasons left to the funnel.

use std::fmt::Write as _;

use super::charts::escape;

/// A stage as a box.
pub(crate) struct Node {
    /// The stage's name.
    pub(crate) name: String,
    /// Its kind.
    pub(crate) kind: String,
    /// What it holds: `7,430 attempts`.
    pub(crate) count: String,
    /// Positions of the boxes that it reads.
    pub(crate) inputs: Vec<usize>,
}

const BOX: (f64, f64) = (150.0, 58.0);
const GAP: (f64, f64) = (46.0, 18.0);
const MARGIN: f64 = 8.0;

/// Draws boxes that come after everything they read.
pub(crate) fn draw(boxes: &[Node]) -> String {
    let mut level = vec![0usize; boxes.len()];
    for (at, stage) in boxes.iter().enumerate() {
        level[at] = stage.inputs.iter().filter(|i| **i < at).map(|i| level[*i] + 1).max().unwrap_or(0);
    }
    let columns = level.iter().max().map_or(0, |m| m + 1);
    let mut filled = vec![0usize; columns];
    let slots: Vec<usize> = level
        .iter()
        .map(|l| {
            filled[*l] += 1;
            filled[*l] - 1
        })
        .collect();
    let tallest = filled.iter().max().copied().unwrap_or(0);
    let height = tallest as f64 * (BOX.1 + GAP.1) - GAP.1 + 2.0 * MARGIN;
    let width = columns as f64 * (BOX.0 + GAP.0) - GAP.0 + 2.0 * MARGIN;
    let corner = |at: usize| {
        let (l, s) = (level[at], slots[at]);
        let free = height - 2.0 * MARGIN - (filled[l] as f64 * (BOX.1 + GAP.1) - GAP.1);
        (MARGIN + l as f64 * (BOX.0 + GAP.0), MARGIN + free / 2.0 + s as f64 * (BOX.1 + GAP.1))
    };
    let mut svg = format!(
        "<svg class=\"graph\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"the pipeline's stages\">"
    );
    for (at, stage) in boxes.iter().enumerate() {
        let (x, y) = corner(at);
        for input in &stage.inputs {
            let (ix, iy) = corner(*input);
            let (x0, y0, y1) = (ix + BOX.0, iy + BOX.1 / 2.0, y + BOX.1 / 2.0);
            let bend = (x - x0) / 2.0;
            let _ = write!(svg, "<path class=\"edge\" d=\"M{x0} {y0} C{} {y0} {} {y1} {x} {y1}\"/>", x0 + bend, x - bend);
        }
    }
    for (at, stage) in boxes.iter().enumerate() {
        let (x, y) = corner(at);
        let _ = write!(svg, "<g transform=\"translate({x} {y})\"><rect class=\"box\" width=\"{}\" height=\"{}\" rx=\"8\"/>", BOX.0, BOX.1);
        for (line, (class, text)) in [("name", &stage.name), ("tick", &stage.kind), ("count", &stage.count)].iter().enumerate() {
            let _ = write!(svg, "<text class=\"{class}\" x=\"10\" y=\"{}\">{}</text>", 18 + 16 * line, escape(&clip(text, 21)));
        }
        svg.push_str("</g>");
    }
    svg.push_str("</svg>");
    svg
}

fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.to_owned() } else { text.chars().take(most - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_stand_right_of_what_they_read() {
        let stage = |name: &str, inputs: Vec<usize>| Node { name: name.into(), kind: "k".into(), count: "1 row".into(), inputs };
        let svg = draw(&[stage("a", vec![]), stage("b", vec![0]), stage("c", vec![0]), stage("d", vec![1, 2])]);
        assert_eq!(svg.matches("class=\"edge\"").count(), 4);
        assert!(svg.contains("translate(8 46)") && svg.contains("translate(400 46)"), "{svg}");
    }

    #[test]
    fn long_names_are_clipped() {
        assert_eq!(clip("a_very_long_stage_name_indeed", 10), "a_very_lo…");
    }
}
