//! Calibration: whether what was said to be so probable came true so often.

use super::{LABEL_SIZE, WIDTH, put_axis_title, put_title};
use crate::report::axis::{Axis, Frame};
use crate::report::extras::{Bin, Reliability};
use crate::report::input::ReportInput;
use crate::report::scene::{Anchor, Color, Marker, Point, Scene, Text};
use crate::report::{style, text};

/// Most frames in a row.
const COLUMNS: usize = 3;
/// Largest radius of a bin.
const RADIUS: f64 = 8.0;
/// Smallest radius of a bin with a case.
const LEAST: f64 = 2.0;

/// One frame an arm; none without cases.
pub(super) fn scene(input: &ReportInput, title: &str, all: &[Reliability]) -> Option<Scene> {
    let arms: Vec<&Reliability> = all.iter().filter(|arm| cases(&arm.pooled()) > 0).collect();
    if arms.is_empty() {
        return None;
    }
    let columns = arms.len().min(COLUMNS);
    let rows = arms.len().div_ceil(columns);
    let (left, gap, top) = (74.0, 40.0, 64.0);
    let side = ((WIDTH - 30.0 - left - gap * (COLUMNS - 1) as f64) / COLUMNS as f64).floor();
    let outer = side + 62.0;
    let height = top + outer * rows as f64 + 34.0;
    let mut scene = Scene::new(WIDTH, height, told(title, &arms));
    put_title(
        &mut scene,
        title,
        "Large: cases of all seeds, area by their number. Thin: single seeds. On the dashed line, beliefs come true.",
    );
    for (place, arm) in arms.iter().enumerate() {
        let (row, column) = (place / columns, place % columns);
        let (start, up) = (left + (side + gap) * column as f64, top + 34.0 + outer * row as f64);
        draw_arm(&mut scene, input, arm, Frame { left: start, top: up, right: start + side, bottom: up + side });
    }
    let middle = top + 34.0 + (outer * rows as f64 - 28.0) / 2.0;
    let y = Text::new((20.0, middle - 17.0), "share that was right", LABEL_SIZE);
    scene.text(y.anchor(Anchor::Middle).vertical());
    let right = left + side * columns as f64 + gap * (columns - 1) as f64;
    put_axis_title(&mut scene, (left + right) / 2.0, height - 14.0, "probability of the likeliest answer");
    Some(scene)
}

fn draw_arm(scene: &mut Scene, input: &ReportInput, arm: &Reliability, frame: Frame) {
    let look = style::of_arm(&input.summary, &arm.arm);
    let (x, y) = (Axis::exact(0.0, 1.0, frame.left, frame.right), Axis::exact(0.0, 1.0, frame.bottom, frame.top));
    y.draw_left(scene, frame, 5);
    x.draw_below(scene, frame, 5);
    scene.line([(x.at(0.0), y.at(0.0)), (x.at(1.0), y.at(1.0))], Color::GREY, 1.25, &[6.0, 4.0]);
    let at = |bin: &Bin| -> Point { (x.at(bin.predicted), y.at(bin.observed)) };
    let line = |bins: &[Bin]| bins.iter().filter(|bin| bin.cases > 0).map(at).collect::<Vec<_>>();
    for seed in arm.seeds.iter().filter(|_| arm.seeds.len() > 1) {
        scene.line(line(seed), look.color.alpha(0.4), 0.9, &[]);
    }
    let pooled = arm.pooled();
    scene.line(line(&pooled), look.color, 2.0, &[]);
    let most = pooled.iter().map(|bin| bin.cases).max().unwrap_or(1) as f64;
    for bin in pooled.iter().filter(|bin| bin.cases > 0) {
        let radius = (RADIUS * (bin.cases as f64 / most).sqrt()).max(LEAST);
        // What lies at the very edge of the frame may cross it, as far as the figure goes.
        scene.point(at(bin), Marker::Circle, radius, look.color.alpha(0.75));
    }
    let error = format!("error {:.3}", expected_error(&pooled));
    let room = frame.right - frame.left - text::width(&error, LABEL_SIZE - 1.0, false) - 10.0;
    let name = text::fit(&arm.arm, LABEL_SIZE, true, room);
    scene.text(Text::new((frame.left, frame.top - 12.0), name, LABEL_SIZE).bold().color(look.color));
    let error = Text::new((frame.right, frame.top - 12.0), error, LABEL_SIZE - 1.0);
    scene.text(error.anchor(Anchor::End).color(Color::GREY));
}

fn cases(bins: &[Bin]) -> u64 {
    bins.iter().map(|bin| bin.cases).sum()
}

/// Expected calibration error: mean over cases of the distance of their bin from the diagonal (Naeini et al. 2015).
fn expected_error(bins: &[Bin]) -> f64 {
    let sum: f64 = bins.iter().map(|bin| bin.cases as f64 * (bin.predicted - bin.observed).abs()).sum();
    sum / cases(bins).max(1) as f64
}

fn told(title: &str, arms: &[&Reliability]) -> String {
    let mut told = format!("{title}.");
    for arm in arms {
        let pooled = arm.pooled();
        told.push_str(&format!(" {}: expected calibration error {:.3}.", arm.arm, expected_error(&pooled)));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_mean_distance_over_cases() {
        let bin = |cases, predicted, observed| Bin { cases, predicted, observed };
        assert!((expected_error(&[bin(3, 0.5, 0.7), bin(1, 0.9, 0.8), Bin::default()]) - 0.175).abs() < 1e-12);
        assert_eq!(expected_error(&[]), 0.0);
    }
}
