//! The bundled font: registration and width of texts.

use plotters::style::{FontDesc, FontFamily, FontStyle, register_font};
use std::sync::OnceLock;

/// Families in the order in which an SVG viewer looks for them. The letters of all three are about equally wide. The
/// bundled font is registered under the whole list, because plotters writes the name it is given into the SVG.
pub(super) const FAMILY: &str = "Roboto, Helvetica, Arial, sans-serif";

/// Height of the font, ascent to descent, in em: plotters sizes bitmap text by it.
pub(super) const HEIGHT: f64 = 1.171_875;

static REGISTERED: OnceLock<bool> = OnceLock::new();

/// Makes the bundled font known to plotters.
pub(super) fn register() {
    let registered = REGISTERED.get_or_init(|| {
        let regular = register_font(FAMILY, FontStyle::Normal, include_bytes!("font/Roboto-Regular.ttf"));
        let bold = register_font(FAMILY, FontStyle::Bold, include_bytes!("font/Roboto-Bold.ttf"));
        regular.is_ok() && bold.is_ok()
    });
    assert!(registered, "the bundled font is valid");
}

/// Width of a text of `size` (one em), with room for the somewhat wider letters of the other families: Arial is up to
/// 5 percent wider than Roboto, its bold up to 9.
pub(super) fn width(text: &str, size: f64, bold: bool) -> f64 {
    register();
    // The font engine rounds widths down to whole units; measuring large keeps the loss small.
    const MEASURED: f64 = 100.0;
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    let font = FontDesc::new(FontFamily::Name(FAMILY), MEASURED * HEIGHT, style);
    // An estimate for the case that cannot occur: the bundled font was registered above.
    let rounded =
        font.layout_box(text).map_or(MEASURED * 0.55 * text.chars().count() as f64, |(_, end)| f64::from(end.0));
    rounded * size / MEASURED * if bold { 1.09 } else { 1.05 }
}

/// Cuts a text that is wider than `limit` and ends it with an ellipsis.
pub(super) fn fit(text: &str, size: f64, bold: bool, limit: f64) -> String {
    if width(text, size, bold) <= limit {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while !kept.is_empty() {
        kept.pop();
        let short: String = kept.iter().copied().chain(['…']).collect();
        if width(&short, size, bold) <= limit {
            return short;
        }
    }
    "…".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_follow_the_font() {
        // Advance widths in hmtx of Roboto-Regular: 0 is 1150/2048 em, i is 497/2048 em.
        assert!((width("0", 10.0, false) - 1.05 * 5.615).abs() < 0.11);
        assert!(width("iiii", 10.0, false) < 0.5 * width("0000", 10.0, false));
        assert!(width("score", 10.0, true) > width("score", 10.0, false));
        assert_eq!(width("", 10.0, false), 0.0);
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(fit("short", 10.0, false, 100.0), "short");
        let cut = fit(&"long ".repeat(30), 10.0, false, 60.0);
        assert!(cut.ends_with('…') && width(&cut, 10.0, false) <= 60.0);
        assert_eq!(fit("x", 10.0, false, 0.0), "…");
    }
}
