//! What was taken for what, as a map of shares.

use super::{LABEL_SIZE, WIDTH, put_axis_title, put_title};
use crate::report::extras::Confusion;
use crate::report::scene::{Anchor, Color, Scene, Text};
use crate::report::text;
use crate::track::grouped;

/// Most classes that are shown one by one.
pub(super) const CLASSES: usize = 12;
/// Most room for the names of classes.
const NAMES: f64 = 170.0;
/// Largest width of a cell.
const CELL: f64 = 96.0;
/// Height of a cell.
const ROW: f64 = 38.0;
/// Cells narrower than this have no room for counts of five digits.
const COUNTS_FROM: f64 = 40.0;
/// Colour of a share of 1; that of 0 is white.
const FULL: (f64, f64, f64) = (0.0, 76.0, 130.0);
/// From this share on the ground is so dark that letters have to be white.
const DARK: f64 = 0.5;

/// The map; none without cases.
pub(super) fn scene(title: &str, of: &Confusion) -> Option<Scene> {
    let (names, counts, together) = of.capped(CLASSES);
    if names.is_empty() {
        return None;
    }
    let n = names.len();
    let longest = names.iter().map(|name| text::width(name, LABEL_SIZE, false)).fold(0.0, f64::max).min(NAMES);
    let left = 44.0 + longest + 12.0;
    let totals = 76.0;
    let cell = ((WIDTH - left - totals - 16.0) / n as f64).min(CELL);
    let upright = longest + 10.0 > cell;
    let top = 64.0 + if upright { longest + 14.0 } else { 30.0 };
    let height = top + ROW * n as f64 + 46.0;
    let mut scene = Scene::new(WIDTH, height, told(title, of));
    let subtitle = format!("{}: share of the cases of a row, and their number.", of.arm);
    let note = if together > 0 {
        format!(" Classes beyond the {} most frequent are taken together.", n - 1)
    } else {
        String::new()
    };
    put_title(&mut scene, title, &text::fit(&(subtitle + &note), super::TITLE_SIZE - 3.5, false, WIDTH - 32.0));
    for (row, name) in names.iter().enumerate() {
        let middle = top + ROW * (row as f64 + 0.5);
        let name = text::fit(name, LABEL_SIZE, false, longest);
        scene.text(Text::new((left - 10.0, middle + 4.5), name, LABEL_SIZE).anchor(Anchor::End));
    }
    for (column, name) in names.iter().enumerate() {
        let middle = left + cell * (column as f64 + 0.5);
        let name = text::fit(name, LABEL_SIZE, false, if upright { longest } else { cell - 6.0 });
        let text = Text::new((middle, top - 10.0), name, LABEL_SIZE);
        scene.text(if upright {
            Text { at: (middle + 4.5, top - 10.0), ..text }.vertical()
        } else {
            text.anchor(Anchor::Middle)
        });
    }
    for (row, counts) in counts.iter().enumerate() {
        let total: u64 = counts.iter().sum();
        for (column, &count) in counts.iter().enumerate() {
            let corner = (left + cell * column as f64, top + ROW * row as f64);
            put_cell(&mut scene, corner, cell, count, total, row == column);
        }
        let at = (left + cell * n as f64 + 10.0, top + ROW * (row as f64 + 0.5) + 4.5);
        scene.text(Text::new(at, format!("of {}", grouped(total)), LABEL_SIZE - 1.0).color(Color::GREY));
    }
    let truth = text::fit(&of.truth, LABEL_SIZE, false, ROW * n as f64 + 30.0);
    scene.text(Text::new((24.0, top + ROW * n as f64 / 2.0), truth, LABEL_SIZE).anchor(Anchor::Middle).vertical());
    let answer = text::fit(&of.answer, LABEL_SIZE, false, WIDTH - left);
    put_axis_title(&mut scene, (left + cell * n as f64 / 2.0).max(left), height - 14.0, &answer);
    Some(scene)
}

fn put_cell(scene: &mut Scene, (x, y): (f64, f64), width: f64, count: u64, total: u64, right: bool) {
    let share = if total > 0 { count as f64 / total as f64 } else { 0.0 };
    let mix = |full: f64| (255.0 + (full - 255.0) * share).round() as u8;
    let ground = Color(mix(FULL.0), mix(FULL.1), mix(FULL.2), 1.0);
    let corners = [(x, y), (x + width, y), (x + width, y + ROW), (x, y + ROW)];
    scene.area(corners.to_vec(), ground);
    let outline: Vec<(f64, f64)> = corners.iter().chain(&corners[..1]).copied().collect();
    scene.line(outline, Color::RULE, 0.75, &[]);
    if count == 0 {
        return;
    }
    let ink = if share > DARK { Color(255, 255, 255, 1.0) } else { Color::BLACK };
    let percent = if share < 0.005 { "<1 %".to_owned() } else { format!("{:.0} %", 100.0 * share) };
    let percent = Text::new((x + width / 2.0, y + 17.0), percent, LABEL_SIZE).anchor(Anchor::Middle).color(ink);
    scene.text(if right { percent.bold() } else { percent });
    if width >= COUNTS_FROM {
        let count = Text::new((x + width / 2.0, y + 32.0), grouped(count), LABEL_SIZE - 2.0);
        scene.text(count.anchor(Anchor::Middle).color(ink));
    }
}

fn told(title: &str, of: &Confusion) -> String {
    let total: u64 = of.counts.iter().flatten().sum();
    let right: u64 = of.counts.iter().enumerate().filter_map(|(i, row)| row.get(i)).sum();
    format!("{title}. {}: {} of {} cases on the diagonal.", of.arm, grouped(right), grouped(total))
}
