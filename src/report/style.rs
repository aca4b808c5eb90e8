//! Which arm looks how. An arm looks the same in all figures of a study.

use super::scene::{Color, Dash, Marker};
use crate::track::{ArmKind, Summary};

/// Colours that most readers tell apart, also with deficient colour vision (Okabe and Ito, "Color universal design",
/// 2008), without the yellow, which is hard to see on white, and with the black last.
const PALETTE: [Color; 7] = [
    Color(0, 114, 178, 1.0),
    Color(213, 94, 0, 1.0),
    Color(0, 158, 115, 1.0),
    Color(204, 121, 167, 1.0),
    Color(230, 159, 0, 1.0),
    Color(86, 180, 233, 1.0),
    Color(60, 60, 60, 1.0),
];

const MARKERS: [Marker; 5] = [Marker::Circle, Marker::Square, Marker::Triangle, Marker::Diamond, Marker::TriangleDown];

/// Look of an arm. Colour and marker together are different for up to 35 arms; the stroke tells the kind of arm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Style {
    pub color: Color,
    pub marker: Marker,
    pub dash: Dash,
}

/// Look of the arm with this place in the study.
pub(super) fn style(place: usize, kind: ArmKind) -> Style {
    let dash: Dash = match kind {
        ArmKind::Rl => &[],
        ArmKind::Supervised => &[7.0, 3.5],
        ArmKind::Reference => &[2.0, 3.0],
    };
    Style { color: PALETTE[place % PALETTE.len()], marker: MARKERS[place % MARKERS.len()], dash }
}

/// Look of the arm called `name`.
pub(super) fn of_arm(summary: &Summary, name: &str) -> Style {
    let place = summary.arms.iter().position(|arm| arm.name == name).unwrap_or(summary.arms.len());
    style(place, summary.arms.get(place).map_or(ArmKind::Reference, |arm| arm.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arms_look_different() {
        let looks: Vec<Style> = (0..35).map(|place| style(place, ArmKind::Rl)).collect();
        for (i, a) in looks.iter().enumerate() {
            assert!(looks[..i].iter().all(|b| a != b), "{i}");
        }
        assert_ne!(style(0, ArmKind::Rl), style(0, ArmKind::Supervised));
    }
}
