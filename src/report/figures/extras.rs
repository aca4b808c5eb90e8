//! The charts that only one experiment has.

use super::lines::{Line, Lines};
use super::{Figure, calibration, confusion, short};
use crate::report::extras::{Chart, ChartData, LineChart};
use crate::report::input::ReportInput;
use crate::report::scene::Scene;
use crate::report::style;

/// The chart as a figure, if there is anything in it.
pub(super) fn figure(input: &ReportInput, chart: &Chart) -> Option<Figure> {
    let scene = match &chart.data {
        ChartData::Lines(lines) => line_chart(input, &chart.title, lines),
        ChartData::Calibration(arms) => calibration::scene(input, &chart.title, arms),
        ChartData::Confusion(of) => confusion::scene(&chart.title, of),
    };
    Some(Figure::new(&chart.name, &chart.caption, scene?))
}

fn line_chart(input: &ReportInput, title: &str, chart: &LineChart) -> Option<Scene> {
    let mut lines = Vec::new();
    for line in &chart.lines {
        let finite = |seed: &Vec<(f64, f64)>| -> Vec<(f64, f64)> {
            seed.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
        };
        let seeds: Vec<Vec<(f64, f64)>> = line.seeds.iter().map(finite).collect();
        let aggregates = input.aggregate(seeds.iter().flatten().copied());
        if !aggregates.is_empty() {
            let style = style::of_arm(&input.summary, &line.arm);
            lines.push(Line { name: &line.arm, style, aggregates, seeds });
        }
    }
    if lines.is_empty() {
        return None;
    }
    let references = chart.references.iter().filter(|r| r.1.is_finite()).map(|(name, v)| (name.as_str(), *v)).collect();
    let marks = chart.marks.iter().map(|(name, place)| (name.as_str(), *place)).collect();
    let told = told(title, chart, &lines);
    Some(Lines { title, told, x: &chart.x, y: &chart.y, lines, references, marks }.draw())
}

fn told(title: &str, chart: &LineChart, lines: &[Line]) -> String {
    let mut told = format!("{title}. Vertical axis: {}. Horizontal axis: {}.", chart.y, chart.x);
    for line in lines {
        if let (Some(first), Some(last)) = (line.aggregates.first(), line.aggregates.last()) {
            let (from, to) = (short(first.iqm), short(last.iqm));
            told.push_str(&format!(" {}: {from} at {}, {to} at {}.", line.name, first.x, last.x));
        }
    }
    for (name, place) in &chart.marks {
        told.push_str(&format!(" Marked: {name} at {}.", short(*place)));
    }
    for (name, value) in &chart.references {
        told.push_str(&format!(" {name}: {}.", short(*value)));
    }
    told
}
