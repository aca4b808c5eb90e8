//! Score against what a trial cost.

use super::{Figure, LABEL_SIZE, WIDTH, axis_title, put_axis_title, put_title};
use crate::report::axis::{Axis, Frame};
use crate::report::input::ReportInput;
use crate::report::scene::{Anchor, Color, Point, Scene, Text, spread};
use crate::report::{style, text};
use crate::track::ArmSummary;

/// The figure, if at least two arms have a score and a time.
pub(super) fn figure(input: &ReportInput) -> Option<Figure> {
    let summary = &input.summary;
    let arms: Vec<(&ArmSummary, f64)> = summary
        .arms
        .iter()
        .filter(|arm| arm.ledger.wall_secs > 0.0)
        .filter_map(|arm| Some((arm, arm.results.iqm?)))
        .collect();
    if arms.len() < 2 {
        return None;
    }
    let names = arms.iter().map(|(arm, _)| text::width(&arm.name, LABEL_SIZE, true)).fold(0.0, f64::max);
    let margin = (names + 48.0).min(WIDTH / 3.0);
    // Names beside their points read best; where there is no room for all of them they go to the margin.
    let scene = draw(input, &arms, 24.0, beside).or_else(|| draw(input, &arms, margin, in_margin))?;
    let better = if summary.metric.higher_is_better { "up" } else { "down" };
    let caption =
        format!("What a score costs. Further {better} and to the left is better; the time includes evaluations.");
    Some(Figure::new("cost", caption, scene))
}

/// An arm as drawn.
struct Dot<'a> {
    arm: &'a ArmSummary,
    color: Color,
    at: Point,
    /// Ends of the interval on the page.
    ends: (f64, f64),
}

/// Draws everything; `label` puts the names and says no if it cannot.
fn draw(
    input: &ReportInput,
    arms: &[(&ArmSummary, f64)],
    margin: f64,
    label: fn(&mut Scene, &[Dot], Frame) -> Option<()>,
) -> Option<Scene> {
    let summary = &input.summary;
    let height = (arms.len() as f64 * 17.0 + 130.0).max(420.0);
    let title = "Score against cost";
    let mut scene = Scene::new(WIDTH, height, title);
    let what = "Interquartile mean with 95 % bootstrap interval, and wall-clock time of one trial on this machine.";
    put_title(&mut scene, title, what);
    let frame = Frame { left: 78.0, top: 64.0, right: WIDTH - margin, bottom: height - 58.0 };
    let x = Axis::logarithmic(arms.iter().map(|(arm, _)| arm.ledger.wall_secs), 0.08, frame.left, frame.right);
    let ends = |arm: &ArmSummary, iqm: f64| arm.results.ci95.map_or((iqm, iqm), |ci| (ci.low, ci.high));
    let values = arms.iter().flat_map(|&(arm, iqm)| [iqm, ends(arm, iqm).0, ends(arm, iqm).1]);
    let y = Axis::around(values, 0.06, frame.bottom, frame.top);
    y.draw_left(&mut scene, frame, 6);
    x.draw_below(&mut scene, frame, 6);
    let mut dots = Vec::new();
    for &(arm, iqm) in arms {
        let look = style::of_arm(summary, &arm.name);
        let (low, high) = ends(arm, iqm);
        let dot =
            Dot { arm, color: look.color, at: (x.at(arm.ledger.wall_secs), y.at(iqm)), ends: (y.at(low), y.at(high)) };
        scene.line([(dot.at.0, dot.ends.0), (dot.at.0, dot.ends.1)], look.color.alpha(0.45), 4.0, &[]);
        scene.point(dot.at, look.marker, 6.0, look.color);
        dots.push(dot);
    }
    label(&mut scene, &dots, frame)?;
    put_axis_title(
        &mut scene,
        (frame.left + frame.right) / 2.0,
        height - 16.0,
        "wall-clock seconds of a trial (logarithmic)",
    );
    let unit = text::fit(&axis_title(&summary.metric), LABEL_SIZE, false, frame.bottom - frame.top);
    let middle = (frame.top + frame.bottom) / 2.0;
    scene.text(Text::new((20.0, middle), unit, LABEL_SIZE).anchor(Anchor::Middle).vertical());
    Some(scene)
}

/// Left, top, right and bottom edge.
type Extent = (f64, f64, f64, f64);

/// Each name beside, above or below its point, in the first place where it touches nothing.
fn beside(scene: &mut Scene, dots: &[Dot], frame: Frame) -> Option<()> {
    let mut taken: Vec<Extent> = dots
        .iter()
        .map(|d| (d.at.0 - 7.0, d.ends.1.min(d.at.1 - 7.0), d.at.0 + 7.0, d.ends.0.max(d.at.1 + 7.0)))
        .collect();
    let free = |taken: &[Extent], a: Extent| {
        let inside = a.0 >= frame.left && a.1 >= frame.top && a.2 <= frame.right + 20.0 && a.3 <= frame.bottom;
        inside && taken.iter().all(|b| a.0 >= b.2 || b.0 >= a.2 || a.1 >= b.3 || b.1 >= a.3)
    };
    for (place, dot) in dots.iter().enumerate() {
        let own = taken[place];
        let name = |at, anchor| Text::new(at, &dot.arm.name, LABEL_SIZE).bold().color(dot.color).anchor(anchor);
        let places = [
            name((own.2 + 4.0, dot.at.1 + 4.5), Anchor::Start),
            name((own.0 - 4.0, dot.at.1 + 4.5), Anchor::End),
            name((dot.at.0, own.1 - 4.0), Anchor::Middle),
            name((dot.at.0, own.3 + 12.0), Anchor::Middle),
            name((own.2 + 2.0, own.1 + 2.0), Anchor::Start),
            name((own.2 + 2.0, own.3 + 6.0), Anchor::Start),
            name((own.0 - 2.0, own.1 + 2.0), Anchor::End),
            name((own.0 - 2.0, own.3 + 6.0), Anchor::End),
        ];
        let text = places.into_iter().find(|text| free(&taken, text.extent()))?;
        taken.push(text.extent());
        scene.text(text);
    }
    Some(())
}

/// All names at the right, joined with their points.
fn in_margin(scene: &mut Scene, dots: &[Dot], frame: Frame) -> Option<()> {
    let wanted: Vec<f64> = dots.iter().map(|dot| dot.at.1).collect();
    for (dot, place) in dots.iter().zip(spread(&wanted, 17.0, frame.top, frame.bottom)) {
        let line = [(dot.at.0 + 9.0, dot.at.1), (frame.right + 8.0, dot.at.1), (frame.right + 22.0, place)];
        scene.line(line, dot.color.alpha(0.35), 0.75, &[]);
        let name = text::fit(&dot.arm.name, LABEL_SIZE, true, scene.width - frame.right - 34.0);
        scene.text(Text::new((frame.right + 26.0, place + 4.5), name, LABEL_SIZE).bold().color(dot.color));
    }
    Some(())
}
