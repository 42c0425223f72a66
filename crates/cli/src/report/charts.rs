//! Charts as inline SVG: no script, no font and no image from elsewhere, so that the report works offline.
//!
//! Every chart has a `viewBox` and takes the width of its box; colours come from the page's style sheet by class.

use std::fmt::Write as _;

/// Width of a chart in its own units.
const WIDTH: f64 = 640.0;
/// Room left of the plot for the labels of the vertical axis.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const BOTTOM: f64 = 34.0;
const TOP: f64 = 10.0;

/// A line of a line chart.
pub(crate) struct Series {
    /// The name in the legend.
    pub(crate) name: String,
    /// Points in the order of x.
    pub(crate) points: Vec<(f64, f64)>,
    /// Drawn with dots instead of a line: few points, such as held-out losses.
    pub(crate) dots: bool,
}

/// A bar with its interval.
pub(crate) struct Bar {
    /// Stands before the bar.
    pub(crate) label: String,
    /// 0 to 1.
    pub(crate) value: f64,
    /// The 95 % interval.
    pub(crate) interval: (f64, f64),
    /// A baseline is drawn paler.
    pub(crate) baseline: bool,
    /// Stands after the bar.
    pub(crate) note: String,
}

/// Text for HTML and SVG: the five characters with a meaning are escaped.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A number as short as its size allows.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    match size {
        s if s >= 1e6 => format!("{:.1}M", value / 1e6),
        s if s >= 1e4 => format!("{:.0}k", value / 1e3),
        s if s >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        s if s >= 1.0 => format!("{value:.2}"),
        s if s >= 0.001 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

/// Round steps that cover `low..=high` with about `wanted` of them.
fn ticks(low: f64, high: f64, wanted: f64) -> Vec<f64> {
    let span = (high - low).max(f64::MIN_POSITIVE);
    let raw = span / wanted;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= raw).unwrap_or(raw);
    let first = (low / step).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|k| k as f64 * step).collect()
}

struct Plot {
    height: f64,
    x: (f64, f64),
    y: (f64, f64),
}

impl Plot {
    fn px(&self, x: f64) -> f64 {
        LEFT + (x - self.x.0) / (self.x.1 - self.x.0).max(f64::MIN_POSITIVE) * (WIDTH - LEFT - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        let inner = self.height - TOP - BOTTOM;
        TOP + inner - (y - self.y.0) / (self.y.1 - self.y.0).max(f64::MIN_POSITIVE) * inner
    }

    fn open(&self, title: &str) -> String {
        format!("<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">", self.height, escape(title))
    }

    fn axes(&self, svg: &mut String, x_label: &str) {
        for y in ticks(self.y.0, self.y.1, 4.0) {
            let at = self.py(y);
            let _ = write!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>", WIDTH - RIGHT);
            let _ = write!(svg, "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 6.0, at + 4.0, short(y));
        }
        for x in ticks(self.x.0, self.x.1, 6.0) {
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                self.px(x),
                self.height - BOTTOM + 15.0,
                short(x)
            );
        }
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            self.height - 4.0,
            escape(x_label)
        );
    }
}

/// Lines over a common x; `None` where no series has two finite points.
pub(crate) fn lines(title: &str, x_label: &str, series: &[Series]) -> Option<String> {
    let finite = || series.iter().flat_map(|s| s.points.iter()).filter(|(x, y)| x.is_finite() && y.is_finite());
    if finite().count() < 2 {
        return None;
    }
    let fold = |pick: fn(&(f64, f64)) -> f64| finite().map(pick).fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
    let (x, y) = (fold(|p| p.0), fold(|p| p.1));
    let plot = Plot { height: 240.0, x, y: (y.0.min(0.0), y.1 * 1.02) };
    let mut svg = plot.open(title);
    plot.axes(&mut svg, x_label);
    for (k, line) in series.iter().enumerate() {
        let class = k % 6;
        let points: Vec<(f64, f64)> =
            line.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()).map(|(x, y)| (plot.px(*x), plot.py(*y))).collect();
        if line.dots {
            for (px, py) in &points {
                let _ = write!(svg, "<circle class=\"dot c{class}\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"4\"/>");
            }
        } else {
            let path: Vec<String> = points.iter().map(|(px, py)| format!("{px:.1},{py:.1}")).collect();
            let _ = write!(svg, "<polyline class=\"line c{class}\" points=\"{}\"/>", path.join(" "));
        }
    }
    svg.push_str("</svg>");
    Some(svg + &legend(series.iter().map(|s| s.name.as_str())))
}

fn legend<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<String> =
        names.enumerate().map(|(k, name)| format!("<span><i class=\"key c{}\"></i>{}</span>", k % 6, escape(name))).collect();
    format!("<p class=\"legend\">{}</p>", items.join(""))
}

/// Counts of values in equal bins; `None` where there are no values.
pub(crate) fn histogram(title: &str, x_label: &str, sets: &[(String, Vec<f64>)]) -> Option<String> {
    const BINS: usize = 32;
    let all = || sets.iter().flat_map(|(_, values)| values.iter().copied());
    let high = all().fold(f64::MIN, f64::max);
    if high < 0.0 || !high.is_finite() {
        return None;
    }
    let width = (high / BINS as f64).max(1.0 / BINS as f64);
    let counts: Vec<Vec<f64>> = sets
        .iter()
        .map(|(_, values)| {
            let mut bins = vec![0.0; BINS];
            for value in values {
                bins[((value / width) as usize).min(BINS - 1)] += 1.0;
            }
            bins
        })
        .collect();
    let tallest = counts.iter().flatten().copied().fold(1.0, f64::max);
    let plot = Plot { height: 200.0, x: (0.0, width * BINS as f64), y: (0.0, tallest * 1.05) };
    let mut svg = plot.open(title);
    plot.axes(&mut svg, x_label);
    let slot = (plot.px(width) - plot.px(0.0)) / sets.len() as f64;
    for (k, bins) in counts.iter().enumerate() {
        for (bin, count) in bins.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            let (x, y) = (plot.px(bin as f64 * width) + slot * k as f64, plot.py(*count));
            let _ = write!(
                svg,
                "<rect class=\"c{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
                k % 6,
                (slot - 0.6).max(0.6),
                plot.py(0.0) - y,
                short(*count)
            );
        }
    }
    svg.push_str("</svg>");
    Some(svg + &legend(sets.iter().map(|(name, _)| name.as_str())))
}

/// Accuracies with their intervals, one bar below the other.
pub(crate) fn accuracies(title: &str, bars: &[Bar]) -> Option<String> {
    if bars.is_empty() {
        return None;
    }
    const ROW: f64 = 46.0;
    let plot = Plot { height: TOP + BOTTOM + ROW * bars.len() as f64, x: (0.0, 1.0), y: (0.0, 1.0) };
    let (from, to) = (12.0, WIDTH - 12.0);
    let px = |v: f64| from + v.clamp(0.0, 1.0) * (to - from);
    let mut svg = plot.open(title);
    for percent in [0, 25, 50, 75, 100] {
        let x = px(f64::from(percent) / 100.0);
        let _ = write!(svg, "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>", plot.height - BOTTOM);
        let anchor = match percent {
            0 => "start",
            100 => "end",
            _ => "middle",
        };
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{percent} %</text>",
            plot.height - BOTTOM + 15.0
        );
    }
    for (k, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * k as f64;
        let class = if bar.baseline { "c5 pale" } else { "c0" };
        let _ = write!(svg, "<text class=\"name\" x=\"{from}\" y=\"{:.1}\">{}</text>", y + 14.0, escape(&bar.label));
        let _ = write!(svg, "<text class=\"tick\" x=\"{to}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", y + 14.0, escape(&bar.note));
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{from}\" y=\"{:.1}\" width=\"{:.1}\" height=\"16\"/>",
            y + 20.0,
            (px(bar.value) - from).max(1.0)
        );
        let (low, high, mid) = (px(bar.interval.0), px(bar.interval.1), y + 28.0);
        let _ = write!(
            svg,
            "<path class=\"whisker\" d=\"M{low:.1} {mid} H{high:.1} M{low:.1} {} V{} M{high:.1} {} V{}\"/>",
            mid - 5.0,
            mid + 5.0,
            mid - 5.0,
            mid + 5.0
        );
    }
    svg.push_str("</svg>");
    Some(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escape("<b a=\"1\">&'\u{1}"), "&lt;b a=&quot;1&quot;&gt;&amp;&#39;\u{fffd}");
    }

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        assert_eq!(ticks(0.0, 1.0, 4.0), [0.0, 0.5, 1.0]);
        assert_eq!(ticks(0.0, 2300.0, 4.0), [0.0, 1000.0, 2000.0]);
    }

    #[test]
    fn charts_without_values_are_left_out() {
        assert!(lines("loss", "step", &[]).is_none());
        assert!(histogram("tokens", "tokens", &[("a".into(), vec![])]).is_none());
        assert!(accuracies("accuracy", &[]).is_none());
        let nan = Series { name: "x".into(), points: vec![(0.0, f64::NAN), (1.0, 2.0)], dots: false };
        assert!(lines("loss", "step", &[nan]).is_none());
    }

    #[test]
    fn every_value_falls_into_a_bin() {
        let svg = histogram("tokens", "tokens", &[("a".into(), vec![0.0, 1.0, 31.0, 32.0])]).unwrap();
        assert_eq!(svg.matches("<rect").count(), 3, "{svg}");
    }
}
