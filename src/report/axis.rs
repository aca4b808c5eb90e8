//! Axes: ranges, ticks and how their numbers are written.

use super::scene::{Anchor, Color, Scene, Text};
use crate::track::{fixed, grouped};

/// Size of the numbers at ticks.
pub(super) const TICK_SIZE: f64 = 12.0;

/// A rectangle of the figure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

/// Values along one side of a frame.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
    /// Positions in the figure of `low` and `high`.
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis that shows all of `values` with a margin of `margin` times their range. Without finite values it shows
    /// 0 to 1; a single value gets some room.
    pub fn around(values: impl IntoIterator<Item = f64>, margin: f64, from: f64, to: f64) -> Self {
        let (low, high) = range(values);
        let room = margin * (high - low);
        Self { low: low - room, high: high + room, log: false, from, to }
    }

    /// A logarithmic axis for positive values; others are left out.
    pub fn logarithmic(values: impl IntoIterator<Item = f64>, margin: f64, from: f64, to: f64) -> Self {
        let logs = values.into_iter().filter(|&v| v > 0.0).map(f64::log10);
        Self { log: true, ..Self::around(logs, margin, from, to) }
    }

    /// An axis with exactly these ends.
    pub fn exact(low: f64, high: f64, from: f64, to: f64) -> Self {
        Self { low, high, log: false, from, to }
    }

    /// The place of a value in the figure.
    pub fn at(&self, value: f64) -> f64 {
        let value = if self.log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Whether a value can be shown.
    pub fn shows(&self, value: f64) -> bool {
        let value = if self.log { value.log10() } else { value };
        (self.low..=self.high).contains(&value)
    }

    /// Round values with their labels, about `count` of them.
    pub fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        if self.log {
            return self.log_ticks();
        }
        let step = round_step((self.high - self.low) / count.max(1) as f64);
        let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|i| i as f64 * step).map(|value| (value, number(value, decimals))).collect()
    }

    /// Powers of ten, and twice and five times those if there are few.
    fn log_ticks(&self) -> Vec<(f64, String)> {
        let digits: &[f64] = if self.high - self.low > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = self.low.floor() as i32..=self.high.ceil() as i32;
        let values = powers.flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)));
        let decimals = |value: f64| (-value.log10().floor()).clamp(0.0, 9.0) as usize;
        values.filter(|&value| self.shows(value)).map(|value| (value, number(value, decimals(value)))).collect()
    }

    /// Draws numbers below a frame and light vertical rules.
    pub fn draw_below(&self, scene: &mut Scene, frame: Frame, count: usize) {
        for (value, label) in self.ticks(count) {
            let x = self.at(value);
            scene.line([(x, frame.top), (x, frame.bottom)], Color::RULE, 0.75, &[]);
            let text = Text::new((x, frame.bottom + 17.0), label, TICK_SIZE);
            scene.text(text.anchor(Anchor::Middle).color(Color::GREY));
        }
        scene.line([(frame.left, frame.bottom), (frame.right, frame.bottom)], Color::GREY, 1.0, &[]);
    }

    /// Draws numbers left of a frame and light horizontal rules.
    pub fn draw_left(&self, scene: &mut Scene, frame: Frame, count: usize) {
        for (value, label) in self.ticks(count) {
            let y = self.at(value);
            scene.line([(frame.left, y), (frame.right, y)], Color::RULE, 0.75, &[]);
            let text = Text::new((frame.left - 8.0, y + 4.0), label, TICK_SIZE);
            scene.text(text.anchor(Anchor::End).color(Color::GREY));
        }
    }
}

/// A number with thousands separators and a real minus sign.
pub(super) fn number(value: f64, decimals: usize) -> String {
    let plain = fixed(value, decimals);
    let (sign, digits) = plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("\u{2212}", rest));
    let (whole, fraction) = digits.split_once('.').map_or((digits, ""), |(whole, _)| (whole, &digits[whole.len()..]));
    let whole = whole.parse::<u64>().map_or_else(|_| whole.to_owned(), grouped);
    format!("{sign}{whole}{fraction}")
}

/// Lowest and highest finite value, apart from each other.
fn range(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let finite = values.into_iter().filter(|v| v.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    // A range below rounding errors has no ticks.
    let least = 1e-9 * low.abs().max(high.abs());
    if high - low > least { (low, high) } else { (low - 0.5_f64.max(1e6 * least), high + 0.5_f64.max(1e6 * least)) }
}

/// The next larger one of 1, 2, 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * power >= step * (1.0 - 1e-9)).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, count: usize) -> Vec<String> {
        axis.ticks(count).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&Axis::exact(0.0, 300_000.0, 0.0, 1.0), 3), ["0", "100,000", "200,000", "300,000"]);
        assert_eq!(labels(&Axis::exact(-0.3, 0.31, 0.0, 1.0), 4), ["\u{2212}0.2", "0.0", "0.2"]);
        assert_eq!(
            labels(&Axis::logarithmic([3.0, 700.0], 0.0, 0.0, 1.0), 0),
            ["5", "10", "20", "50", "100", "200", "500"]
        );
    }

    #[test]
    fn any_values_give_an_axis() {
        for values in [vec![], vec![f64::NAN], vec![5.0], vec![1e12, 1e12], vec![-3.0, f64::INFINITY], vec![0.0, 1e-12]]
        {
            let axis = Axis::around(values.clone(), 0.05, 10.0, 200.0);
            let ticks = axis.ticks(5);
            assert!(!ticks.is_empty() && ticks.len() < 20, "{values:?}: {ticks:?}");
            assert!(ticks.iter().all(|(v, _)| (10.0..=200.0).contains(&axis.at(*v))));
        }
    }

    #[test]
    fn numbers_have_separators_and_a_real_minus() {
        assert_eq!(number(-12_345.678, 1), "\u{2212}12,345.7");
        assert_eq!(number(0.5, 2), "0.50");
        assert_eq!(number(1e22, 0), "10000000000000000000000");
    }
}
