//! Learning curves.

use super::{Figure, LABEL_SIZE, WIDTH, axis_title, put_axis_title, put_title};
use crate::report::axis::{Axis, Frame};
use crate::report::input::{Aggregate, ReportInput};
use crate::report::scene::{Anchor, Color, Point, Scene, Text, spread};
use crate::report::style::{self, Style};
use crate::report::text;
use crate::track::ArmSummary;

/// With more arms than this the thin lines of single seeds would hide the bold ones; the figure by arm has them.
const SEEDS_UP_TO: usize = 3;
/// Height of a label beside the curves.
const LABEL_GAP: f64 = 17.0;

/// An arm with what is drawn of it.
struct Line<'a> {
    arm: &'a ArmSummary,
    style: Style,
    aggregates: Vec<Aggregate>,
}

fn lines(input: &ReportInput) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for arm in &input.summary.arms {
        let aggregates = input.aggregates(&arm.name);
        if !aggregates.is_empty() {
            lines.push(Line { arm, style: style::of_arm(&input.summary, &arm.name), aggregates });
        }
    }
    lines
}

/// All arms in one frame with labels at their right ends.
pub(super) fn together(input: &ReportInput) -> Option<Figure> {
    let lines = lines(input);
    if lines.is_empty() {
        return None;
    }
    let with_seeds = lines.len() <= SEEDS_UP_TO;
    let mut scales = Scales::of(input, &lines, with_seeds);
    scales.values.extend(near(&scales.values, input.summary.references.iter().map(|r| r.score)));
    let labels = lines.len() + input.summary.references.len();
    let height = (labels as f64 * LABEL_GAP + 130.0).max(480.0);
    let title = "Learning curves";
    let mut scene = Scene::new(WIDTH, height, title);
    let what = if with_seeds {
        "Bold: interquartile mean over seeds. Thin: single seeds."
    } else {
        "Interquartile mean over seeds."
    };
    put_title(&mut scene, title, &format!("{what} Shaded: 95 % bootstrap interval."));
    let room = label_room(input, &lines);
    let frame = Frame { left: 78.0, top: 64.0, right: WIDTH - room, bottom: height - 58.0 };
    let (x, y) = scales.axes(frame);
    y.draw_left(&mut scene, frame, 6);
    x.draw_below(&mut scene, frame, 6);
    put_axis_title(&mut scene, (frame.left + frame.right) / 2.0, height - 16.0, "env steps of training");
    let middle = (frame.top + frame.bottom) / 2.0;
    let unit = Text::new(
        (20.0, middle),
        text::fit(&axis_title(&input.summary.metric), LABEL_SIZE, false, frame.bottom - frame.top),
        LABEL_SIZE,
    );
    scene.text(unit.anchor(Anchor::Middle).vertical());

    draw_references(&mut scene, input, frame, &y);
    for line in &lines {
        draw_band(&mut scene, line, &x, &y, if with_seeds { 0.16 } else { 0.11 });
    }
    for line in lines.iter().filter(|_| with_seeds) {
        draw_seeds(&mut scene, input, line, &x, &y);
    }
    for line in &lines {
        draw_mean(&mut scene, line, &x, &y, 2.5);
    }
    put_labels(&mut scene, input, &lines, frame, (&x, &y));
    Some(Figure { name: "learning_curves", caption: caption(input), scene })
}

/// One small frame for each arm with every seed, the other arms in grey.
pub(super) fn by_arm(input: &ReportInput) -> Option<Figure> {
    let lines = lines(input);
    if lines.is_empty() {
        return None;
    }
    // Without references, which would take the room that the seeds need.
    let scales = Scales::of(input, &lines, true);
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
        for other in lines.iter().filter(|other| other.arm.name != line.arm.name) {
            scene.line(mean_points(other, &x, &y), Color(0, 0, 0, 0.16), 1.0, &[]);
        }
        draw_band(&mut scene, line, &x, &y, 0.18);
        draw_seeds(&mut scene, input, line, &x, &y);
        draw_mean(&mut scene, line, &x, &y, 2.5);
        let name = text::fit(&line.arm.name, LABEL_SIZE, true, width);
        scene.text(Text::new((start, up - 8.0), name, LABEL_SIZE).bold().color(line.style.color));
    }
    let unit = text::fit(&axis_title(&input.summary.metric), LABEL_SIZE, false, height - 100.0);
    scene.text(Text::new((20.0, top + (height - top) / 2.0), unit, LABEL_SIZE).anchor(Anchor::Middle).vertical());
    put_axis_title(&mut scene, left + (WIDTH - 22.0 - left) / 2.0, height - 12.0, "env steps of training");
    Some(Figure {
        name: "learning_curves_by_arm",
        caption: "The same evaluations, arm by arm, with every seed.".into(),
        scene,
    })
}

/// Ranges that hold everything drawn, equal for all frames of a figure.
struct Scales {
    steps: Vec<f64>,
    values: Vec<f64>,
}

impl Scales {
    fn of(input: &ReportInput, lines: &[Line], with_seeds: bool) -> Self {
        let aggregates = || lines.iter().flat_map(|line| &line.aggregates);
        let mut values: Vec<f64> = aggregates().flat_map(|a| [a.iqm, a.ci95.low, a.ci95.high]).collect();
        let mut steps: Vec<f64> = aggregates().map(|a| a.env_steps as f64).collect();
        if with_seeds {
            let points =
                || lines.iter().flat_map(|line| input.curves_of(&line.arm.name)).flat_map(|curve| &curve.points);
            values.extend(points().map(|point| point.value).filter(|value| value.is_finite()));
            steps.extend(points().map(|point| point.env_steps as f64));
        }
        Self { steps, values }
    }

    fn axes(&self, frame: Frame) -> (Axis, Axis) {
        let x = Axis::around(self.steps.iter().copied(), 0.01, frame.left, frame.right);
        let y = Axis::around(self.values.iter().copied(), 0.05, frame.bottom, frame.top);
        (x, y)
    }
}

/// The references that do not squeeze the data: those within twice the range of the data beyond it.
fn near(values: &[f64], references: impl Iterator<Item = f64>) -> Vec<f64> {
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    let room = 2.0 * (high - low);
    references.filter(|r| (low - room..=high + room).contains(r)).collect()
}

fn rules_only(scene: &mut Scene, frame: Frame, y: &Axis) {
    for (value, _) in y.ticks(5) {
        scene.line([(frame.left, y.at(value)), (frame.right, y.at(value))], Color::RULE, 0.75, &[]);
    }
}

fn draw_references(scene: &mut Scene, input: &ReportInput, frame: Frame, y: &Axis) {
    for reference in input.summary.references.iter().filter(|r| y.shows(r.score)) {
        let height = y.at(reference.score);
        scene.line([(frame.left, height), (frame.right, height)], Color::GREY, 1.25, &[2.0, 4.0]);
    }
}

fn mean_points(line: &Line, x: &Axis, y: &Axis) -> Vec<Point> {
    line.aggregates.iter().map(|a| (x.at(a.env_steps as f64), y.at(a.iqm))).collect()
}

fn draw_band(scene: &mut Scene, line: &Line, x: &Axis, y: &Axis, alpha: f64) {
    let upper = line.aggregates.iter().map(|a| (x.at(a.env_steps as f64), y.at(a.ci95.high)));
    let lower = line.aggregates.iter().rev().map(|a| (x.at(a.env_steps as f64), y.at(a.ci95.low)));
    scene.area(upper.chain(lower).collect::<Vec<_>>(), line.style.color.alpha(alpha));
}

fn draw_seeds(scene: &mut Scene, input: &ReportInput, line: &Line, x: &Axis, y: &Axis) {
    for curve in input.curves_of(&line.arm.name) {
        let finite = curve.points.iter().filter(|point| point.value.is_finite());
        let points: Vec<Point> = finite.map(|p| (x.at(p.env_steps as f64), y.at(p.value))).collect();
        scene.line(points, line.style.color.alpha(0.5), 0.9, &[]);
    }
}

/// The bold line, with a marker at every evaluation so that arms differ by more than colour.
fn draw_mean(scene: &mut Scene, line: &Line, x: &Axis, y: &Axis, width: f64) {
    let points = mean_points(line, x, y);
    for &at in &points {
        scene.point(at, line.style.marker, width * 1.3, line.style.color);
    }
    scene.line(points, line.style.color, width, line.style.dash);
}

fn label_room(input: &ReportInput, lines: &[Line]) -> f64 {
    let names = lines.iter().map(|line| text::width(&line.arm.name, LABEL_SIZE, true));
    let references = input.summary.references.iter();
    let references = references.map(|r| text::width(&reference_label(&r.name, r.score, false), LABEL_SIZE, false));
    (names.chain(references).fold(0.0, f64::max) + 44.0).min(WIDTH / 3.0)
}

/// Name of a reference; one that lies outside the frame has its score, because its line is not there to be read.
fn reference_label(name: &str, score: f64, inside: bool) -> String {
    if inside { name.to_owned() } else { format!("{name} at {}", super::short(score)) }
}

/// Names of arms and references at the right, each joined with the end of its line.
fn put_labels(scene: &mut Scene, input: &ReportInput, lines: &[Line], frame: Frame, (x, y): (&Axis, &Axis)) {
    struct Label {
        from: Point,
        text: Text,
    }
    let room = scene.width - frame.right - 34.0;
    let mut labels = Vec::new();
    for line in lines {
        let Some(last) = line.aggregates.last() else { continue };
        let name = text::fit(&line.arm.name, LABEL_SIZE, true, room);
        let text = Text::new((0.0, 0.0), name, LABEL_SIZE).bold().color(line.style.color);
        labels.push(Label { from: (x.at(last.env_steps as f64), y.at(last.iqm)), text });
    }
    for reference in &input.summary.references {
        let inside = y.shows(reference.score);
        let label = text::fit(&reference_label(&reference.name, reference.score, inside), LABEL_SIZE, false, room);
        let from = (frame.right, y.at(reference.score).clamp(frame.top, frame.bottom));
        labels.push(Label { from, text: Text::new((0.0, 0.0), label, LABEL_SIZE).color(Color::GREY) });
    }
    let wanted: Vec<f64> = labels.iter().map(|label| label.from.1).collect();
    let places = spread(&wanted, LABEL_GAP, frame.top, frame.bottom);
    for (label, place) in labels.into_iter().zip(places) {
        let color = label.text.color.alpha(0.6);
        scene.line(
            [(label.from.0 + 6.0, label.from.1), (frame.right + 8.0, label.from.1), (frame.right + 22.0, place)],
            color,
            0.75,
            &[],
        );
        scene.text(Text { at: (frame.right + 26.0, place + 4.5), ..label.text });
    }
}

fn caption(input: &ReportInput) -> String {
    let on = input.summary.measured_on.as_ref().map_or(String::new(), |on| format!(" on {on}"));
    format!("Evaluations{on} during training. Dashed arms are supervised; dotted lines are references.")
}
