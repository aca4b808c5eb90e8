//! Lines over a common axis: one an arm, with its seeds and the interval over them.

use super::{LABEL_SIZE, WIDTH, put_axis_title, put_title};
use crate::report::axis::{Axis, Frame};
use crate::report::input::Aggregate;
use crate::report::scene::{Anchor, Color, Point, Scene, Text, spread};
use crate::report::style::Style;
use crate::report::text;

/// With more arms than this the thin lines of single seeds would hide the bold ones.
const SEEDS_UP_TO: usize = 3;
/// Height of a label beside the lines.
const LABEL_GAP: f64 = 17.0;

/// An arm with what is drawn of it, in the units of the axes.
pub(super) struct Line<'a> {
    pub name: &'a str,
    pub style: Style,
    /// Mean and interval over seeds.
    pub aggregates: Vec<Aggregate>,
    /// The finite points of every seed.
    pub seeds: Vec<Vec<Point>>,
}

/// All arms in one frame with labels at their right ends.
pub(super) struct Lines<'a> {
    pub title: &'a str,
    /// What the figure shows, for readers who do not see it.
    pub told: String,
    pub x: &'a str,
    pub y: &'a str,
    pub lines: Vec<Line<'a>>,
    pub references: Vec<(&'a str, f64)>,
    /// Places on the horizontal axis.
    pub marks: Vec<(&'a str, f64)>,
}

impl Lines<'_> {
    /// The figure.
    pub fn draw(&self) -> Scene {
        let lines = &self.lines;
        let with_seeds = lines.len() <= SEEDS_UP_TO && lines.iter().any(|line| line.seeds.len() > 1);
        let mut scales = Scales::of(lines, with_seeds);
        scales.ys.extend(near(&scales.ys, self.references.iter().map(|(_, value)| *value)));
        let labels = lines.len() + self.references.len();
        let height = (labels as f64 * LABEL_GAP + 130.0).max(480.0);
        let mut scene = Scene::new(WIDTH, height, self.told.clone());
        let what = if with_seeds {
            "Bold: interquartile mean over seeds. Thin: single seeds."
        } else {
            "Interquartile mean over seeds."
        };
        put_title(&mut scene, self.title, &format!("{what} Shaded: 95 % bootstrap interval."));
        let frame = Frame { left: 78.0, top: 64.0, right: WIDTH - self.label_room(), bottom: height - 58.0 };
        let (x, y) = scales.axes(frame);
        y.draw_left(&mut scene, frame, 6);
        x.draw_below(&mut scene, frame, scales.x_ticks(6));
        put_axis_title(&mut scene, (frame.left + frame.right) / 2.0, height - 16.0, self.x);
        let middle = (frame.top + frame.bottom) / 2.0;
        let unit = text::fit(self.y, LABEL_SIZE, false, frame.bottom - frame.top);
        scene.text(Text::new((20.0, middle), unit, LABEL_SIZE).anchor(Anchor::Middle).vertical());

        for (_, value) in self.references.iter().filter(|(_, value)| y.shows(*value)) {
            let height = y.at(*value);
            scene.line([(frame.left, height), (frame.right, height)], Color::GREY, 1.25, &[2.0, 4.0]);
        }
        for (name, value) in self.marks.iter().filter(|(_, value)| x.shows(*value)) {
            let place = x.at(*value);
            scene.line([(place, frame.top), (place, frame.bottom)], Color::GREY, 1.25, &[6.0, 4.0]);
            // On the side with more room.
            let left = place < (frame.left + frame.right) / 2.0;
            let (at, anchor) = if left { (place + 6.0, Anchor::Start) } else { (place - 6.0, Anchor::End) };
            scene.text(Text::new((at, frame.top + 12.0), *name, LABEL_SIZE).anchor(anchor).color(Color::GREY));
        }
        for line in lines {
            draw_band(&mut scene, line, &x, &y, if with_seeds { 0.16 } else { 0.11 });
        }
        for line in lines.iter().filter(|_| with_seeds) {
            draw_seeds(&mut scene, line, &x, &y);
        }
        for line in lines {
            draw_mean(&mut scene, line, &x, &y, 2.5);
        }
        self.put_labels(&mut scene, frame, (&x, &y));
        scene
    }

    fn label_room(&self) -> f64 {
        let names = self.lines.iter().map(|line| text::width(line.name, LABEL_SIZE, true));
        let references = self.references.iter();
        let references = references.map(|r| text::width(&reference_label(r.0, r.1, false), LABEL_SIZE, false));
        (names.chain(references).fold(0.0, f64::max) + 44.0).min(WIDTH / 3.0)
    }

    /// Names of arms and references at the right, each joined with the end of its line.
    fn put_labels(&self, scene: &mut Scene, frame: Frame, (x, y): (&Axis, &Axis)) {
        struct Label {
            from: Point,
            text: Text,
        }
        let room = scene.width - frame.right - 34.0;
        let mut labels = Vec::new();
        for line in &self.lines {
            let Some(last) = line.aggregates.last() else { continue };
            let name = text::fit(line.name, LABEL_SIZE, true, room);
            let text = Text::new((0.0, 0.0), name, LABEL_SIZE).bold().color(line.style.color);
            labels.push(Label { from: (x.at(last.x), y.at(last.iqm)), text });
        }
        for &(name, value) in &self.references {
            let label = text::fit(&reference_label(name, value, y.shows(value)), LABEL_SIZE, false, room);
            let from = (frame.right, y.at(value).clamp(frame.top, frame.bottom));
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
}

/// Ranges that hold everything drawn, equal for all frames of a figure.
pub(super) struct Scales {
    xs: Vec<f64>,
    ys: Vec<f64>,
}

impl Scales {
    pub fn of(lines: &[Line], with_seeds: bool) -> Self {
        let aggregates = || lines.iter().flat_map(|line| &line.aggregates);
        let mut ys: Vec<f64> = aggregates().flat_map(|a| [a.iqm, a.ci95.low, a.ci95.high]).collect();
        let mut xs: Vec<f64> = aggregates().map(|a| a.x).collect();
        if with_seeds {
            let points = || lines.iter().flat_map(|line| &line.seeds).flatten();
            ys.extend(points().map(|point| point.1));
            xs.extend(points().map(|point| point.0));
        }
        Self { xs, ys }
    }

    pub fn axes(&self, frame: Frame) -> (Axis, Axis) {
        let x = Axis::around(self.xs.iter().copied(), 0.01, frame.left, frame.right);
        let y = Axis::around(self.ys.iter().copied(), 0.05, frame.bottom, frame.top);
        (x, y)
    }

    /// How many ticks to ask for along x: `count`, but none between whole numbers where there are only those.
    fn x_ticks(&self, count: usize) -> usize {
        let (low, high) = self.xs.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
        let whole = self.xs.iter().all(|x| x.fract() == 0.0);
        if whole && high - low < count as f64 { ((high - low) as usize).max(1) } else { count }
    }
}

/// The references that do not squeeze the data: those within twice the range of the data beyond it.
fn near(values: &[f64], references: impl Iterator<Item = f64>) -> Vec<f64> {
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    let room = 2.0 * (high - low);
    references.filter(|r| (low - room..=high + room).contains(r)).collect()
}

pub(super) fn mean_points(line: &Line, x: &Axis, y: &Axis) -> Vec<Point> {
    line.aggregates.iter().map(|a| (x.at(a.x), y.at(a.iqm))).collect()
}

pub(super) fn draw_band(scene: &mut Scene, line: &Line, x: &Axis, y: &Axis, alpha: f64) {
    let upper = line.aggregates.iter().map(|a| (x.at(a.x), y.at(a.ci95.high)));
    let lower = line.aggregates.iter().rev().map(|a| (x.at(a.x), y.at(a.ci95.low)));
    scene.area(upper.chain(lower).collect::<Vec<_>>(), line.style.color.alpha(alpha));
}

pub(super) fn draw_seeds(scene: &mut Scene, line: &Line, x: &Axis, y: &Axis) {
    for seed in &line.seeds {
        let points: Vec<Point> = seed.iter().map(|p| (x.at(p.0), y.at(p.1))).collect();
        scene.line(points, line.style.color.alpha(0.5), 0.9, &[]);
    }
}

/// The bold line, with a marker at every mean so that arms differ by more than colour.
pub(super) fn draw_mean(scene: &mut Scene, line: &Line, x: &Axis, y: &Axis, width: f64) {
    let points = mean_points(line, x, y);
    for &at in &points {
        scene.point(at, line.style.marker, width * 1.3, line.style.color);
    }
    scene.line(points, line.style.color, width, line.style.dash);
}

/// Name of a reference; one that lies outside the frame has its score, because its line is not there to be read.
fn reference_label(name: &str, score: f64, inside: bool) -> String {
    if inside { name.to_owned() } else { format!("{name} at {}", super::short(score)) }
}
