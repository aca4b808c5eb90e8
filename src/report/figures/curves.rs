//! Learning curves.

use super::lines::{Line, Lines, Scales, draw_band, draw_mean, draw_seeds, mean_points};
use super::{Figure, LABEL_SIZE, WIDTH, axis_title, put_axis_title, put_title};
use crate::report::axis::{Axis, Frame};
use crate::report::input::{Curve, ReportInput};
use crate::report::scene::{Anchor, Color, Point, Scene, Text};
use crate::report::{style, text};

/// Title of the horizontal axis.
const STEPS: &str = "env steps of training";

fn lines(input: &ReportInput) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for arm in &input.summary.arms {
        let aggregates = input.aggregates(&arm.name);
        if !aggregates.is_empty() {
            let style = style::of_arm(&input.summary, &arm.name);
            let seeds = input.curves_of(&arm.name).map(finite).collect();
            lines.push(Line { name: &arm.name, style, aggregates, seeds });
        }
    }
    lines
}

fn finite(curve: &Curve) -> Vec<Point> {
    let finite = curve.points.iter().filter(|point| point.value.is_finite());
    finite.map(|point| (point.env_steps as f64, point.value)).collect()
}

/// All arms in one frame.
pub(super) fn together(input: &ReportInput) -> Option<Figure> {
    let lines = lines(input);
    if lines.is_empty() {
        return None;
    }
    let title = "Learning curves";
    let y = axis_title(&input.summary.metric);
    let references = input.summary.references.iter().map(|r| (r.name.as_str(), r.score)).collect();
    let scene = Lines { title, told: title.to_owned(), x: STEPS, y: &y, lines, references, marks: Vec::new() }.draw();
    Some(Figure::new("learning_curves", caption(input), scene))
}

/// One small frame for each arm with every seed, the other arms in grey.
pub(super) fn by_arm(input: &ReportInput) -> Option<Figure> {
    let lines = lines(input);
    if lines.is_empty() {
        return None;
    }
    // Without references, which would take the room that the seeds need.
    let scales = Scales::of(&lines, true);
    let columns = if lines.len() < 3 { lines.len() } else { 3 };
    let rows = lines.len().div_ceil(columns);
    let (left, gap, top) = (74.0, 46.0, 64.0);
    let width = ((WIDTH - 30.0 - left - gap * (columns - 1) as f64) / columns as f64).min(380.0);
    let (inner, outer) = (132.0, 190.0);
    let height = top + outer * rows as f64 + 26.0;
    let title = "Every seed of every arm";
    let mut scene = Scene::new(WIDTH, height, title);
    put_title(
        &mut scene,
        title,
        "Thin: single seeds. Bold: their interquartile mean with a 95 % bootstrap interval. Grey: the other arms.",
    );
    for (place, line) in lines.iter().enumerate() {
        let (row, column) = (place / columns, place % columns);
        let (start, up) = (left + (width + gap) * column as f64, top + 26.0 + outer * row as f64);
        let frame = Frame { left: start, top: up, right: start + width, bottom: up + inner };
        let (x, y) = scales.axes(frame);
        if column == 0 {
            y.draw_left(&mut scene, frame, 5);
            x.draw_below(&mut scene, frame, 4);
        } else {
            rules_only(&mut scene, frame, &y);
            x.draw_below(&mut scene, frame, 4);
        }
        for other in lines.iter().filter(|other| other.name != line.name) {
            scene.line(mean_points(other, &x, &y), Color(0, 0, 0, 0.16), 1.0, &[]);
        }
        draw_band(&mut scene, line, &x, &y, 0.18);
        draw_seeds(&mut scene, line, &x, &y);
        draw_mean(&mut scene, line, &x, &y, 2.5);
        let name = text::fit(line.name, LABEL_SIZE, true, width);
        scene.text(Text::new((start, up - 8.0), name, LABEL_SIZE).bold().color(line.style.color));
    }
    let unit = text::fit(&axis_title(&input.summary.metric), LABEL_SIZE, false, height - 100.0);
    scene.text(Text::new((20.0, top + (height - top) / 2.0), unit, LABEL_SIZE).anchor(Anchor::Middle).vertical());
    put_axis_title(&mut scene, left + (WIDTH - 22.0 - left) / 2.0, height - 12.0, STEPS);
    Some(Figure::new("learning_curves_by_arm", "The same evaluations, arm by arm, with every seed.", scene))
}

fn rules_only(scene: &mut Scene, frame: Frame, y: &Axis) {
    for (value, _) in y.ticks(5) {
        scene.line([(frame.left, y.at(value)), (frame.right, y.at(value))], Color::RULE, 0.75, &[]);
    }
}

fn caption(input: &ReportInput) -> String {
    let on = input.summary.measured_on.as_ref().map_or(String::new(), |on| format!(" on {on}"));
    format!("Evaluations{on} during training. Dashed arms are supervised; dotted lines are references.")
}
