//! Differences to the best supervised arm (or another rival) and probabilities of improvement.

use super::{Figure, LABEL_SIZE, WIDTH, put_axis_title, put_title};
use crate::report::axis::{Axis, Frame};
use crate::report::input::ReportInput;
use crate::report::scene::{Anchor, Color, Marker, Scene, Text};
use crate::report::{style, text, words};
use crate::stats::{CLAIM_PROBABILITY, Claim};
use crate::track::{Comparison, Summary, best_first};

/// Height of a row.
const ROW: f64 = 36.0;
/// Width of the frame of probabilities.
const PROBABILITIES: f64 = 170.0;

/// The figure, if there are comparisons.
pub(super) fn figure(input: &ReportInput) -> Option<Figure> {
    let summary = &input.summary;
    let best = summary.comparisons.first()?.b.clone();
    // A study may hold comparisons with other rivals too (what pretraining is worth): they have no place on this axis.
    let mut comparisons = best_first(&summary.comparisons, summary.metric.higher_is_better);
    comparisons.retain(|c| c.b == best);
    let names = comparisons.iter().map(|c| text::width(&c.a, LABEL_SIZE, true));
    let words = comparisons.iter().map(|c| text::width(word(c.claim), LABEL_SIZE, false));
    let names_width = names.fold(0.0, f64::max).min(WIDTH / 4.0);
    let words_width = words.fold(0.0, f64::max);
    let (left, top) = (names_width + 34.0, 70.0);
    let bottom = top + ROW * comparisons.len() as f64;
    let height = bottom + 56.0;
    let right = WIDTH - 20.0 - words_width;
    let differences = Frame { left, top, right: right - PROBABILITIES - 46.0, bottom };
    let probabilities = Frame { left: right - PROBABILITIES - 16.0, top, right: right - 16.0, bottom };
    let title = text::fit(
        &format!("{} against {best}, {}", words::contestants(summary, &comparisons), words::rival(summary, &best)),
        super::TITLE_SIZE,
        true,
        WIDTH - 32.0,
    );
    let mut scene = Scene::new(WIDTH, height, &title);
    put_title(
        &mut scene,
        &title,
        "Thick: 95 % bootstrap interval of the difference. Thin: the interval corrected for few seeds, on which claims rest.",
    );
    draw_differences(&mut scene, summary, &comparisons, differences);
    draw_probabilities(&mut scene, summary, &comparisons, probabilities);
    for (row, comparison) in comparisons.iter().enumerate() {
        let look = style::of_arm(summary, &comparison.a);
        let y = top + ROW * (row as f64 + 0.5) + 4.5;
        let name = text::fit(&comparison.a, LABEL_SIZE, true, names_width);
        scene.text(Text::new((left - 14.0, y), name, LABEL_SIZE).bold().anchor(Anchor::End).color(look.color));
        scene.text(Text::new((right, y), word(comparison.claim), LABEL_SIZE));
    }
    let unit = &summary.metric.unit;
    let unit = if unit.is_empty() { "difference".to_owned() } else { format!("difference ({unit})") };
    let unit = text::fit(&unit, LABEL_SIZE, false, differences.right - differences.left + 60.0);
    put_axis_title(&mut scene, (differences.left + differences.right) / 2.0, height - 14.0, &unit);
    let middle = (probabilities.left + probabilities.right) / 2.0;
    put_axis_title(&mut scene, middle, height - 14.0, "probability of improvement");
    Some(Figure::new("differences", caption(), scene))
}

fn caption() -> String {
    format!(
        "Differences of interquartile means, paired by seed. A claim needs a corrected interval without zero and a \
         probability of improvement of at least {CLAIM_PROBABILITY} (dotted), from at least {} seeds.",
        crate::stats::CLAIM_SEEDS
    )
}

/// What may be said, in a word or two.
pub(in crate::report) fn word(claim: Claim) -> &'static str {
    match claim {
        Claim::Better => "better",
        Claim::SuggestsBetter => "perhaps better",
        Claim::Undecided => "cannot tell",
        Claim::SuggestsWorse => "perhaps worse",
        Claim::Worse => "worse",
    }
}

fn draw_differences(scene: &mut Scene, summary: &Summary, comparisons: &[&Comparison], frame: Frame) {
    let ends = |c: &Comparison| {
        let wide = c.ci95_expanded.unwrap_or(c.ci95);
        [c.difference_iqm, c.ci95.low, c.ci95.high, wide.low, wide.high]
    };
    let values = comparisons.iter().copied().flat_map(ends).chain([0.0]);
    let axis = Axis::around(values, 0.06, frame.left, frame.right);
    axis.draw_below(scene, frame, 5);
    scene.line([(axis.at(0.0), frame.top - 4.0), (axis.at(0.0), frame.bottom)], Color::BLACK, 1.25, &[]);
    for (row, c) in comparisons.iter().enumerate() {
        let (look, y) = (style::of_arm(summary, &c.a), frame.top + ROW * (row as f64 + 0.5));
        if let Some(wide) = c.ci95_expanded {
            scene.line([(axis.at(wide.low), y), (axis.at(wide.high), y)], look.color, 1.25, &[]);
        }
        scene.line([(axis.at(c.ci95.low), y), (axis.at(c.ci95.high), y)], look.color.alpha(0.45), 6.0, &[]);
        scene.point((axis.at(c.difference_iqm), y), look.marker, 5.5, look.color);
    }
}

fn draw_probabilities(scene: &mut Scene, summary: &Summary, comparisons: &[&Comparison], frame: Frame) {
    let axis = Axis::exact(0.0, 1.0, frame.left, frame.right);
    axis.draw_below(scene, frame, 2);
    let threshold = axis.at(CLAIM_PROBABILITY);
    scene.line([(threshold, frame.top), (threshold, frame.bottom)], Color::GREY, 1.25, &[2.0, 3.5]);
    for (row, c) in comparisons.iter().enumerate() {
        let (look, y) = (style::of_arm(summary, &c.a), frame.top + ROW * (row as f64 + 0.5));
        let at = axis.at(c.probability_of_improvement);
        scene.line([(axis.at(0.5), y), (at, y)], look.color.alpha(0.45), 3.0, &[]);
        scene.point((at, y), Marker::Circle, 5.0, look.color);
    }
    scene.line([(axis.at(0.5), frame.top - 4.0), (axis.at(0.5), frame.bottom)], Color::BLACK, 1.25, &[]);
}
