//! A figure as a list of shapes, before any file format.
//!
//! Lengths are in points of the finished figure, from its upper left corner. Figures build a [`Scene`] and never
//! draw by themselves, so the SVG and the PNG show the same, and tests can look at what a figure says.

use super::text;

/// Colour with opacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Color(pub u8, pub u8, pub u8, pub f64);

impl Color {
    pub const BLACK: Self = Self(34, 34, 34, 1.0);
    pub const GREY: Self = Self(110, 110, 110, 1.0);
    pub const RULE: Self = Self(224, 224, 224, 1.0);

    /// The same colour, so opaque.
    pub fn alpha(self, alpha: f64) -> Self {
        Self(self.0, self.1, self.2, alpha)
    }
}

/// A place in the figure.
pub(super) type Point = (f64, f64);

/// Lengths of strokes and gaps; empty for a solid line.
pub(super) type Dash = &'static [f64];

/// Which part of a text is at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Form of a data point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    TriangleDown,
}

/// One line of text; `at` is on its baseline.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text {
    pub at: Point,
    pub text: String,
    pub size: f64,
    pub bold: bool,
    pub anchor: Anchor,
    pub color: Color,
    /// Reads from bottom to top.
    pub vertical: bool,
}

impl Text {
    pub fn new(at: Point, text: impl Into<String>, size: f64) -> Self {
        let text = text.into();
        Self { at, text, size, bold: false, anchor: Anchor::Start, color: Color::BLACK, vertical: false }
    }

    pub fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub fn anchor(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    pub fn color(self, color: Color) -> Self {
        Self { color, ..self }
    }

    pub fn vertical(self) -> Self {
        Self { vertical: true, ..self }
    }

    /// Left, top, right and bottom edge.
    pub fn extent(&self) -> (f64, f64, f64, f64) {
        let width = text::width(&self.text, self.size, self.bold);
        let before = match self.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => width / 2.0,
            Anchor::End => width,
        };
        let (x, y) = self.at;
        let (up, down) = (0.74 * self.size, 0.21 * self.size);
        if self.vertical {
            (x - up, y + before - width, x + down, y + before)
        } else {
            (x - before, y - up, x - before + width, y + down)
        }
    }
}

/// Something drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Line { points: Vec<Point>, color: Color, width: f64, dash: Dash },
    Area { points: Vec<Point>, color: Color },
    Point { at: Point, marker: Marker, radius: f64, color: Color },
    Text(Text),
}

/// A figure. Later shapes cover earlier ones.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub width: f64,
    pub height: f64,
    /// What the figure shows, for readers who do not see it.
    pub title: String,
    pub shapes: Vec<Shape>,
}

impl Scene {
    pub fn new(width: f64, height: f64, title: impl Into<String>) -> Self {
        Self { width, height, title: title.into(), shapes: Vec::new() }
    }

    pub fn line(&mut self, points: impl Into<Vec<Point>>, color: Color, width: f64, dash: Dash) {
        self.shapes.push(Shape::Line { points: points.into(), color, width, dash });
    }

    pub fn area(&mut self, points: impl Into<Vec<Point>>, color: Color) {
        self.shapes.push(Shape::Area { points: points.into(), color });
    }

    pub fn point(&mut self, at: Point, marker: Marker, radius: f64, color: Color) {
        self.shapes.push(Shape::Point { at, marker, radius, color });
    }

    pub fn text(&mut self, text: Text) {
        self.shapes.push(Shape::Text(text));
    }
}

/// Moves labels apart: returns a place for each of `wanted` so that neighbours are at least `gap` apart and all lie
/// within `low..=high` as far as there is room, near where they were wanted.
pub(super) fn spread(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    // Groups of labels that touch: sum of (wanted − offset within the group), count, and the start that follows.
    let mut groups: Vec<(f64, usize)> = Vec::new();
    let limit = |(sum, count): (f64, usize)| {
        let start = sum / count as f64;
        start.min(high - gap * (count - 1) as f64).max(low)
    };
    for &at in &order {
        groups.push((wanted[at], 1));
        while let [.., before, last] = groups[..] {
            if limit(before) + gap * before.1 as f64 <= limit(last) {
                break;
            }
            let offset = gap * before.1 as f64;
            groups.truncate(groups.len() - 2);
            groups.push((before.0 + last.0 - offset * last.1 as f64, before.1 + last.1));
        }
    }
    let mut places = vec![0.0; wanted.len()];
    let flat = groups.iter().flat_map(|&group| (0..group.1).map(move |i| limit(group) + gap * i as f64));
    for (&at, place) in order.iter().zip(flat) {
        places[at] = place;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_that_do_not_touch_stay() {
        assert_eq!(spread(&[50.0, 10.0, 90.0], 15.0, 0.0, 100.0), [50.0, 10.0, 90.0]);
        assert_eq!(spread(&[50.0, 50.0], 10.0, 0.0, 100.0), [45.0, 55.0]);
        assert_eq!(spread(&[99.0, 98.0, 97.0], 10.0, 0.0, 100.0), [100.0, 90.0, 80.0]);
    }

    proptest! {
        #[test]
        fn labels_are_apart_and_inside(wanted in prop::collection::vec(0.0..200.0f64, 1..15)) {
            let mut places = spread(&wanted, 14.0, 0.0, 200.0);
            places.sort_by(f64::total_cmp);
            prop_assert!(places[0] >= 0.0 && places[places.len() - 1] <= 200.0 + 1e-9);
            prop_assert!(places.windows(2).all(|p| p[1] - p[0] >= 14.0 - 1e-9));
        }
    }
}
