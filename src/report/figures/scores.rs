//! Final scores: every seed, interquartile mean and interval, in one frame for each evaluation.

use super::{Figure, LABEL_SIZE, WIDTH, axis_title, put_axis_title, put_title, short};
use crate::report::axis::{Axis, Frame};
use crate::report::input::ReportInput;
use crate::report::scene::{Anchor, Color, Marker, Scene, Text, spread};
use crate::report::{style, text};
use crate::track::{Reference, ScoreSet, Summary};

/// Height of a row.
const ROW: f64 = 36.0;
/// How far the dots of the seeds lie below the interquartile mean, so that neither hides the other.
const SEEDS: f64 = 12.0;

/// One evaluation: its title, the scores of each arm in the order of the rows, and the references.
struct Panel<'a> {
    title: String,
    rows: Vec<Option<&'a ScoreSet>>,
    references: &'a [Reference],
}

/// The figure, if any arm has a score.
pub(super) fn figure(input: &ReportInput) -> Option<Figure> {
    let summary = &input.summary;
    let names = ordered(summary);
    if names.is_empty() {
        return None;
    }
    let panels = panels(summary, &names);
    let names_width = names.iter().map(|name| text::width(name, LABEL_SIZE, true)).fold(0.0, f64::max).min(WIDTH / 4.0);
    let (left, top) = (names_width + 34.0, 92.0);
    let height = top + ROW * names.len() as f64 + 56.0;
    let title = "Final scores";
    let mut scene = Scene::new(WIDTH, height, title);
    put_title(
        &mut scene,
        title,
        "Dots: seeds. Bar and large marker: interquartile mean with its 95 % bootstrap interval. Dotted: references.",
    );
    for (row, name) in names.iter().enumerate() {
        let look = style::of_arm(summary, name);
        let y = top + ROW * (row as f64 + 0.5);
        let name = text::fit(name, LABEL_SIZE, true, names_width);
        scene.text(Text::new((left - 14.0, y + 4.5), name, LABEL_SIZE).bold().anchor(Anchor::End).color(look.color));
    }
    // With one panel there is room for the numbers.
    let numbers = if panels.len() == 1 { 170.0 } else { 0.0 };
    let gap = 30.0;
    let count = panels.len() as f64;
    let width = (WIDTH - left - 26.0 - numbers - gap * (count - 1.0)) / count;
    for (place, panel) in panels.iter().enumerate() {
        let start = left + (width + gap) * place as f64;
        let frame = Frame { left: start, top, right: start + width, bottom: top + ROW * names.len() as f64 };
        draw_panel(&mut scene, summary, &names, panel, frame);
        if panels.len() == 1 {
            put_numbers(&mut scene, panel, frame);
        }
    }
    let middle = left + (WIDTH - 26.0 - numbers - left) / 2.0;
    let unit = text::fit(&axis_title(&summary.metric), LABEL_SIZE, false, WIDTH - left);
    put_axis_title(&mut scene, middle, height - 14.0, &unit);
    let caption = "Scores at the end of training. With few seeds the intervals are too narrow; look at the dots.";
    Some(Figure::new("scores", caption, scene))
}

/// Arms with a score, best first.
fn ordered(summary: &Summary) -> Vec<&str> {
    let sign = if summary.metric.higher_is_better { -1.0 } else { 1.0 };
    let mut arms: Vec<(f64, &str)> =
        summary.arms.iter().filter_map(|arm| Some((sign * arm.results.iqm?, arm.name.as_str()))).collect();
    arms.sort_by(|a, b| a.0.total_cmp(&b.0));
    arms.into_iter().map(|(_, name)| name).collect()
}

fn panels<'a>(summary: &'a Summary, names: &[&str]) -> Vec<Panel<'a>> {
    let main = Panel {
        title: summary.measured_on.clone().unwrap_or_default(),
        rows: names.iter().map(|name| summary.arm(name).map(|arm| &arm.results)).collect(),
        references: &summary.references,
    };
    let splits = summary.splits.iter().map(|split| {
        let find = |name: &&str| split.arms.iter().find(|arm| arm.name == **name).map(|arm| &arm.results);
        Panel {
            title: split.measured_on.clone(),
            rows: names.iter().map(find).collect(),
            references: &split.references,
        }
    });
    std::iter::once(main).chain(splits).collect()
}

fn draw_panel(scene: &mut Scene, summary: &Summary, names: &[&str], panel: &Panel, frame: Frame) {
    let scores = panel.rows.iter().flatten().flat_map(|set| set.scores.iter().chain(&set.iqm).copied());
    let references = panel.references.iter().map(|r| r.score);
    let axis = Axis::around(scores.chain(references), 0.06, frame.left, frame.right);
    let width = frame.right - frame.left;
    axis.draw_below(scene, frame, if width > 400.0 { 6 } else { 3 });
    let title = text::fit(&panel.title, LABEL_SIZE, true, width);
    if !title.is_empty() {
        scene.text(Text::new((frame.left, frame.top - 24.0), title, LABEL_SIZE).bold());
    }
    put_references(scene, panel, frame, &axis);
    for (row, (set, name)) in panel.rows.iter().zip(names).enumerate() {
        let Some(set) = set else { continue };
        let (look, y) = (style::of_arm(summary, name), frame.top + ROW * (row as f64 + 0.5) - SEEDS / 2.0);
        if let Some(interval) = set.ci95 {
            let ends = [(axis.at(interval.low), y), (axis.at(interval.high), y)];
            scene.line(ends, look.color.alpha(0.45), 5.0, &[]);
        }
        if let Some(iqm) = set.iqm {
            scene.point((axis.at(iqm), y), look.marker, 5.0, look.color);
        }
        for &score in &set.scores {
            scene.point((axis.at(score), y + SEEDS), Marker::Circle, 2.75, look.color.alpha(0.55));
        }
    }
}

/// Dotted lines with their names on top, moved apart where they would touch.
fn put_references(scene: &mut Scene, panel: &Panel, frame: Frame, axis: &Axis) {
    let size = LABEL_SIZE - 1.5;
    let widest = panel.references.iter().map(|r| text::width(&r.name, size, false)).fold(0.0, f64::max);
    let room = (frame.right - frame.left) / panel.references.len().max(1) as f64;
    let limit = widest.min(room - 6.0).max(8.0);
    let wanted: Vec<f64> = panel.references.iter().map(|r| axis.at(r.score)).collect();
    let half = limit / 2.0;
    let places = spread(&wanted, limit + 6.0, frame.left + half, frame.right - half);
    for (reference, (x, place)) in panel.references.iter().zip(wanted.into_iter().zip(places)) {
        scene.line([(place, frame.top - 4.0), (x, frame.top + 4.0), (x, frame.bottom)], Color::GREY, 1.25, &[2.0, 3.5]);
        let name = text::fit(&reference.name, size, false, limit);
        scene.text(Text::new((place, frame.top - 8.0), name, size).anchor(Anchor::Middle).color(Color::GREY));
    }
}

fn put_numbers(scene: &mut Scene, panel: &Panel, frame: Frame) {
    let rows = panel.rows.iter().enumerate().filter_map(|(row, set)| Some((row, (*set)?)));
    for (row, set) in rows {
        let (Some(iqm), Some(interval)) = (set.iqm, set.ci95) else { continue };
        let y = frame.top + ROW * (row as f64 + 0.5) + 4.5;
        let ends = format!("[{}, {}]", short(interval.low), short(interval.high));
        scene.text(Text::new((frame.right + 66.0, y), short(iqm), LABEL_SIZE).bold().anchor(Anchor::End));
        scene.text(Text::new((frame.right + 74.0, y), ends, LABEL_SIZE - 1.0).color(Color::GREY));
    }
}
