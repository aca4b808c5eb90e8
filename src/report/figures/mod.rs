//! The figures of a study.

mod cost;
mod curves;
mod forest;
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
    pub name: &'static str,
    pub caption: String,
    pub scene: Scene,
}

impl Figure {
    /// The figure as an SVG document.
    pub fn svg(&self) -> Result<String> {
        render::svg(&self.scene)
    }
}

/// All figures for which there are data, in the order in which a report shows them.
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

/// Writes every figure for which there are data as SVG and as PNG into `folder`, which is made if needed. Returns the
/// paths. Figures: `scores`, `differences`, `learning_curves`, `learning_curves_by_arm`, `cost`.
///
/// # Errors
/// [`Error::Io`] if a file cannot be written.
pub fn write_figures(folder: &Path, input: &ReportInput) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let mut paths = Vec::new();
    for figure in all(input) {
        let svg = folder.join(format!("{}.svg", figure.name));
        track::write_atomic(&svg, figure.svg()?.as_bytes())?;
        let png = folder.join(format!("{}.png", figure.name));
        render::write_png(&png, &figure.scene)?;
        paths.extend([svg, png]);
    }
    Ok(paths)
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
        for figure in all(&study(5, 3)) {
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
