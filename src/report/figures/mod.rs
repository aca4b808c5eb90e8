//! The figures of a study.

mod calibration;
mod confusion;
mod cost;
mod curves;
mod extras;
mod forest;
mod lines;
mod scores;

pub(super) use forest::word;

use super::input::ReportInput;
use super::scene::{Anchor, Color, Scene, Text};
use super::{axis, render};
use crate::track::{self, MetricInfo};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Size of names and labels.
const LABEL_SIZE: f64 = 13.0;
/// Size of titles.
const TITLE_SIZE: f64 = 16.0;
/// Width of all figures, in points.
const WIDTH: f64 = 860.0;

/// A figure with the name of its files and what to say below it.
pub(super) struct Figure {
    pub name: String,
    pub caption: String,
    pub scene: Scene,
}

impl Figure {
    fn new(name: impl Into<String>, caption: impl Into<String>, scene: Scene) -> Self {
        Self { name: name.into(), caption: caption.into(), scene }
    }

    /// The figure as an SVG document.
    pub fn svg(&self) -> Result<String> {
        render::svg(&self.scene)
    }
}

/// The figures that every study has, as far as there are data, in the order in which a report shows them.
pub(super) fn all(input: &ReportInput) -> Vec<Figure> {
    let made = [
        scores::figure(input),
        forest::figure(input),
        curves::together(input),
        curves::by_arm(input),
        cost::figure(input),
    ];
    made.into_iter().flatten().collect()
}

/// The charts that only this experiment has, as far as there are data.
pub(super) fn extra(input: &ReportInput) -> Vec<Figure> {
    input.extras.charts.iter().filter_map(|chart| extras::figure(input, chart)).collect()
}

/// Writes every figure for which there are data as SVG and as PNG into `folder`, which is made if needed. Returns the
/// paths. Figures: `scores`, `differences`, `learning_curves`, `learning_curves_by_arm`, `cost` and those of
/// [`super::Extras`].
///
/// # Errors
/// [`Error::Io`] if a file cannot be written; [`Error::Config`] if a chart has a name that is no file name or that
/// another figure has.
pub fn write_figures(folder: &Path, input: &ReportInput) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let mut paths = Vec::new();
    let figures: Vec<Figure> = all(input).into_iter().chain(extra(input)).collect();
    check_names(&figures)?;
    for figure in figures {
        let svg = folder.join(format!("{}.svg", figure.name));
        track::write_atomic(&svg, figure.svg()?.as_bytes())?;
        let png = folder.join(format!("{}.png", figure.name));
        render::write_png(&png, &figure.scene)?;
        paths.extend([svg, png]);
    }
    Ok(paths)
}

fn check_names(figures: &[Figure]) -> Result<()> {
    for (i, figure) in figures.iter().enumerate() {
        let name = &figure.name;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(Error::config("chart", format!("the name {name:?}"), "small letters, digits and _"));
        }
        if figures[..i].iter().any(|other| other.name == *name) {
            return Err(Error::config("chart", format!("two figures named {name}"), "one of each name"));
        }
    }
    Ok(())
}

/// The metric with its unit, as the title of an axis.
fn axis_title(metric: &MetricInfo) -> String {
    let name = metric.name.replace('_', " ");
    let unit = if metric.unit.is_empty() { String::new() } else { format!(" ({})", metric.unit) };
    let direction = if metric.higher_is_better { "" } else { ", lower is better" };
    format!("{name}{unit}{direction}")
}

/// A score with four significant digits at most.
fn short(value: f64) -> String {
    axis::number(value, track::decimals_for(value.abs() / 100.0).min(3))
}

/// Puts the title at the top left.
fn put_title(scene: &mut Scene, title: &str, subtitle: &str) {
    scene.text(Text::new((16.0, 26.0), title, TITLE_SIZE).bold());
    scene.text(Text::new((16.0, 45.0), subtitle, TITLE_SIZE - 3.5).color(Color::GREY));
}

/// Title of an axis below a frame.
fn put_axis_title(scene: &mut Scene, middle: f64, baseline: f64, title: &str) {
    scene.text(Text::new((middle, baseline), title, LABEL_SIZE).anchor(Anchor::Middle));
}

#[cfg(test)]
mod tests {
    use super::super::extras::tests::extras;
    use super::super::extras::{ChartData, LineChart};
    use super::super::input::tests::study;
    use super::super::scene::Shape;
    use super::*;

    fn texts<'a>(scene: &'a Scene) -> Vec<&'a Text> {
        let text = |shape: &'a Shape| if let Shape::Text(text) = shape { Some(text) } else { None };
        scene.shapes.iter().filter_map(text).collect()
    }

    fn inside(scene: &Scene, (left, top, right, bottom): (f64, f64, f64, f64)) -> bool {
        left >= 0.0 && top >= 0.0 && right <= scene.width && bottom <= scene.height
    }

    fn check(figure: &Figure) {
        let texts = texts(&figure.scene);
        for (i, text) in texts.iter().enumerate() {
            let a = text.extent();
            assert!(inside(&figure.scene, a), "{}: {:?} leaves the figure: {a:?}", figure.name, text.text);
            for other in &texts[..i] {
                let b = other.extent();
                let apart = a.0 >= b.2 || b.0 >= a.2 || a.1 >= b.3 || b.1 >= a.3;
                assert!(apart, "{}: {:?} overlaps {:?}", figure.name, text.text, other.text);
            }
        }
        for shape in &figure.scene.shapes {
            let points: &[(f64, f64)] = match shape {
                Shape::Line { points, .. } | Shape::Area { points, .. } => points,
                Shape::Point { at, .. } => std::slice::from_ref(at),
                Shape::Text(text) => std::slice::from_ref(&text.at),
            };
            assert!(points.iter().all(|&(x, y)| inside(&figure.scene, (x, y, x, y))), "{}: {shape:?}", figure.name);
        }
    }

    #[test]
    fn texts_are_inside_and_do_not_overlap() {
        for arms in [1, 2, 5, 9, 20] {
            for seeds in [1, 3, 10] {
                let figures = all(&study(arms, seeds));
                figures.iter().for_each(check);
                // Without an RL arm, the fourth, there is nothing to compare, and one arm has no cost to compare.
                assert_eq!(figures.len(), 3 + usize::from(arms > 3) + usize::from(arms > 1));
            }
        }
    }

    #[test]
    fn charts_of_one_experiment_keep_to_their_room() {
        let long = "q_learning+belief_gain:frozen@random_number_7";
        for arms in [
            &["q_learning"][..],
            &["q_learning", "sarsa"],
            &["q_learning", long, "ppo", "sarsa", "reinforce", "random"],
        ] {
            for (seeds, classes) in [(1, 2), (5, 6), (3, 12), (10, 63)] {
                let mut input = study(9, 3);
                input.extras = extras(arms, seeds, classes);
                let figures = extra(&input);
                assert_eq!(figures.len(), 3);
                figures.iter().for_each(check);
            }
        }
    }

    #[test]
    fn a_confusion_shows_shares_of_rows_and_how_many_classes_are_hidden() {
        let mut input = study(4, 3);
        input.extras = extras(&["q_learning"], 3, 63);
        let figures = extra(&input);
        let shown: Vec<&str> = texts(&figures[2].scene).iter().map(|text| text.text.as_str()).collect();
        assert_eq!(shown.iter().filter(|text| **text == "52 others").count(), 2, "{shown:?}");
        assert!(shown.iter().any(|text| text.contains("beyond the 11 most frequent")), "{shown:?}");
        input.extras = extras(&["q_learning"], 3, 2);
        let figures = extra(&input);
        let shown: Vec<&str> = texts(&figures[2].scene).iter().map(|text| text.text.as_str()).collect();
        for expected in ["99 %", "180", "1 %", "of 181", "disease_number_1", "true diagnosis"] {
            assert!(shown.contains(&expected), "{expected}: {shown:?}");
        }
        assert!(!shown.iter().any(|text| text.contains("most frequent")));
    }

    #[test]
    fn lines_pass_through_the_means_and_end_at_their_names() {
        let mut input = study(4, 3);
        input.extras = extras(&["q_learning", "sarsa"], 3, 2);
        let figures = extra(&input);
        // Two means and a band each, three seeds each: what a reader is told is there.
        let widths = |wanted: f64| {
            let lines = figures[0].scene.shapes.iter();
            lines
                .filter(
                    |shape| matches!(shape, Shape::Line { width, points, .. } if *width == wanted && points.len() == 9),
                )
                .count()
        };
        assert_eq!((widths(2.5), widths(0.9)), (2, 6));
        let areas = figures[0].scene.shapes.iter().filter(|shape| matches!(shape, Shape::Area { .. })).count();
        assert_eq!(areas, 2);
        let shown: Vec<&str> = texts(&figures[0].scene).iter().map(|text| text.text.as_str()).collect();
        for expected in
            ["q_learning", "sarsa", "all findings known", "questions", "accuracy (share of cases)", "8", "as studied"]
        {
            assert!(shown.contains(&expected), "{expected}: {shown:?}");
        }
        input.extras.charts[0].data = ChartData::Lines(LineChart {
            x: "x".into(),
            y: "y".into(),
            lines: vec![],
            references: vec![],
            marks: vec![],
        });
        assert_eq!(extra(&input).len(), 2, "nothing measured gives no chart");
    }

    #[test]
    fn names_of_charts_are_file_names_and_differ() {
        let folder = tempfile::tempdir().unwrap();
        let mut input = study(4, 2);
        input.extras = extras(&["q_learning"], 2, 3);
        let paths = write_figures(folder.path(), &input).unwrap();
        assert_eq!(paths.len(), 10 + 6);
        assert!(folder.path().join("accuracy_by_questions.png").is_file());
        for wrong in ["../x", "", "scores", "calibration"] {
            input.extras.charts[0].name = wrong.into();
            let error = write_figures(folder.path(), &input).unwrap_err();
            assert!(matches!(error, Error::Config { .. }), "{wrong}: {error}");
        }
    }

    #[test]
    fn every_figure_names_every_arm_that_it_shows() {
        let input = study(9, 5);
        for figure in all(&input) {
            let svg = figure.svg().unwrap();
            for arm in &input.summary.arms {
                let compared = input.summary.comparisons.iter().any(|c| c.a == arm.name || c.b == arm.name);
                if figure.name != "differences" || compared {
                    assert!(svg.contains(&arm.name), "{} lacks {}", figure.name, arm.name);
                }
            }
        }
    }

    #[test]
    fn svg_is_well_formed() {
        let mut input = study(5, 3);
        input.extras = extras(&["q_learning", "ppo"], 3, 20);
        for figure in all(&input).into_iter().chain(extra(&input)) {
            let svg = figure.svg().unwrap();
            let mut open = Vec::new();
            for tag in svg.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()) {
                assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
                let name = tag.trim_start_matches('/').split_whitespace().next().unwrap();
                if tag.starts_with('/') {
                    assert_eq!(open.pop(), Some(name));
                } else if !tag.ends_with('/') {
                    open.push(name);
                }
            }
            assert!(open.is_empty(), "{open:?}");
            assert!(!svg.contains("NaN") && !svg.contains("=\"inf"));
        }
    }

    #[test]
    fn nothing_measured_gives_no_figure() {
        let mut input = study(3, 2);
        input.curves.clear();
        input.summary.comparisons.clear();
        for arm in &mut input.summary.arms {
            arm.results = Default::default();
        }
        input.summary.splits.clear();
        assert!(all(&input).is_empty());
    }

    #[test]
    fn files_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let paths = write_figures(&folder.path().join("figures"), &study(4, 2)).unwrap();
        assert_eq!(paths.len(), 10);
        assert!(paths.iter().all(|path| path.metadata().unwrap().len() > 1_000));
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(write_figures(&file, &study(4, 2)), Err(Error::Io { .. })));
    }
}
