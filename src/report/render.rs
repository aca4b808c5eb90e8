//! Scenes as SVG and PNG, both through plotters and with the same coordinates.

use super::scene::{Anchor, Color, Dash, Marker, Point, Scene, Shape, Text};
use super::text;
use crate::{Error, Result};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontStyle};
use std::path::Path;

/// Both backends draw this much larger, because plotters knows whole pixels only: the SVG is scaled back by its view
/// box, the PNG is drawn so and averaged down to twice the size of the figure, which smooths its edges.
const SCALE: f64 = 4.0;
/// Pixels of the drawing that make one pixel of the PNG, along each axis.
const AVERAGE: usize = 2;

/// How the baseline of a text lies to the point that a backend is given, in em, and how it sizes fonts.
struct TextRules {
    /// Size to ask for, for one em.
    size: f64,
    /// Vertical anchor to ask for.
    anchor: VPos,
    /// Distance from the given point down to the baseline.
    baseline: f64,
}

/// plotters-svg 0.3 divides the size by 1.24 and puts the baseline 0.5 ex below the point; Roboto's ex is 0.528 em.
const SVG_TEXT: TextRules = TextRules { size: 1.24, anchor: VPos::Center, baseline: 0.264 };
/// plotters 0.3 with ab_glyph takes the size as the height of the font and puts the baseline half of it below the top.
const PNG_TEXT: TextRules = TextRules { size: text::HEIGHT, anchor: VPos::Top, baseline: text::HEIGHT / 2.0 };

/// The scene as an SVG document.
///
/// # Errors
/// If the drawing library fails.
pub(super) fn svg(scene: &Scene) -> Result<String> {
    let (width, height) = pixels(scene);
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        draw(&root, scene, &SVG_TEXT).and_then(|()| root.present().map_err(|e| e.to_string())).map_err(drawing)?;
    }
    let body = text.split_once('>').map_or("", |(_, body)| body);
    // Round joins: lines with sharp turns would grow spikes.
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {width} {height}\" \
         stroke-linejoin=\"round\" role=\"img\">\n<title>{}</title>{body}",
        scene.width,
        scene.height,
        escape(&scene.title)
    ))
}

/// Writes the scene as PNG with two pixels to a point, atomically.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written; [`Error::Invalid`] if the drawing library fails.
pub(super) fn write_png(path: &Path, scene: &Scene) -> Result<()> {
    let (width, height) = pixels(scene);
    let mut large = vec![255; width as usize * height as usize * 3];
    {
        let root = BitMapBackend::with_buffer(&mut large, (width, height)).into_drawing_area();
        draw(&root, scene, &PNG_TEXT).and_then(|()| root.present().map_err(|e| e.to_string())).map_err(drawing)?;
    }
    let size = (width / AVERAGE as u32, height / AVERAGE as u32);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The encoder tells the format from the end of the name.
    let temporary = path.with_file_name(format!(".tmp-{name}"));
    let written = encode(&temporary, &averaged(&large, width as usize), size);
    let written = written.map_err(|message| Error::invalid(path, format!("cannot be drawn: {message}")));
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path).map_err(|e| Error::io(path, e)));
    renamed.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
}

/// Width and height of the drawing, both multiples of [`AVERAGE`].
fn pixels(scene: &Scene) -> (u32, u32) {
    ((scene.width.ceil() * SCALE) as u32, (scene.height.ceil() * SCALE) as u32)
}

/// Averages squares of pixels of an RGB image, `width` pixels wide.
fn averaged(large: &[u8], width: usize) -> Vec<[u8; 3]> {
    let (pixels, _) = large.as_chunks::<3>();
    let mut small = Vec::with_capacity(pixels.len() / (AVERAGE * AVERAGE));
    for rows in pixels.chunks_exact(width * AVERAGE) {
        for x in (0..width).step_by(AVERAGE) {
            let square = (0..AVERAGE).flat_map(|dy| &rows[dy * width + x..][..AVERAGE]);
            let sum = square.fold([0u32; 3], |sum, pixel| std::array::from_fn(|c| sum[c] + u32::from(pixel[c])));
            small.push(sum.map(|c| (c / (AVERAGE * AVERAGE) as u32) as u8));
        }
    }
    small
}

fn encode(path: &Path, pixels: &[[u8; 3]], (width, height): (u32, u32)) -> Result<(), String> {
    let mut backend = BitMapBackend::new(path, (width, height));
    for (at, &[r, g, b]) in pixels.iter().enumerate() {
        let place = ((at as u32 % width) as i32, (at as u32 / width) as i32);
        let color = RGBColor(r, g, b).to_backend_color();
        backend.draw_pixel(place, color).map_err(|e| e.to_string())?;
    }
    backend.present().map_err(|e| e.to_string())
}

type Area<DB> = DrawingArea<DB, plotters::coord::Shift>;

fn draw<DB: DrawingBackend>(area: &Area<DB>, scene: &Scene, rules: &TextRules) -> Result<(), String> {
    text::register();
    area.fill(&WHITE).map_err(|e| e.to_string())?;
    for shape in &scene.shapes {
        match shape {
            Shape::Line { points, color, width, dash } => {
                let style = rgba(*color).stroke_width((width * SCALE).round() as u32);
                for stroke in strokes(points, dash) {
                    put(area, &PathElement::new(scaled(&stroke), style))?;
                }
            }
            Shape::Area { points, color } => put(area, &Polygon::new(scaled(points), rgba(*color).filled()))?,
            Shape::Point { at, marker, radius, color } => put_marker(area, *at, *marker, *radius, *color)?,
            Shape::Text(text) => put_text(area, text, rules)?,
        }
    }
    Ok(())
}

fn put<DB, E>(area: &Area<DB>, element: &E) -> Result<(), String>
where
    DB: DrawingBackend,
    for<'a> &'a E: plotters::element::PointCollection<'a, (i32, i32)>,
    E: plotters::element::Drawable<DB>,
{
    area.draw(element).map_err(|e| e.to_string())
}

fn put_marker<DB: DrawingBackend>(
    area: &Area<DB>,
    at: Point,
    marker: Marker,
    radius: f64,
    color: Color,
) -> Result<(), String> {
    let style = rgba(color).filled();
    // Corners of a polygon with the area of a circle of this radius.
    let corners: &[Point] = match marker {
        Marker::Circle => return put(area, &Circle::new(pixel(at), (radius * SCALE).round() as i32, style)),
        Marker::Square => &[(-0.89, -0.89), (0.89, -0.89), (0.89, 0.89), (-0.89, 0.89)],
        Marker::Triangle => &[(0.0, -1.4), (1.25, 0.75), (-1.25, 0.75)],
        Marker::TriangleDown => &[(0.0, 1.4), (1.25, -0.75), (-1.25, -0.75)],
        Marker::Diamond => &[(0.0, -1.3), (1.2, 0.0), (0.0, 1.3), (-1.2, 0.0)],
    };
    let points: Vec<Point> = corners.iter().map(|c| (at.0 + radius * c.0, at.1 + radius * c.1)).collect();
    put(area, &Polygon::new(scaled(&points), style))
}

fn put_text<DB: DrawingBackend>(area: &Area<DB>, text: &Text, rules: &TextRules) -> Result<(), String> {
    let h_pos = match text.anchor {
        Anchor::Start => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::End => HPos::Right,
    };
    let weight = if text.bold { FontStyle::Bold } else { FontStyle::Normal };
    let up = rules.baseline * text.size;
    let (at, transform) = if text.vertical {
        ((text.at.0 - up, text.at.1), FontTransform::Rotate270)
    } else {
        ((text.at.0, text.at.1 - up), FontTransform::None)
    };
    let font = FontDesc::new(FontFamily::Name(text::FAMILY), text.size * rules.size * SCALE, weight);
    let color = rgba(text.color);
    let style = font.transform(transform).color(&color).pos(Pos::new(h_pos, rules.anchor));
    area.draw_text(&text.text, &style, pixel(at)).map_err(|e| e.to_string())
}

/// The pieces of a dashed line.
fn strokes(points: &[Point], dash: Dash) -> Vec<Vec<Point>> {
    if dash.is_empty() || points.len() < 2 {
        return vec![points.to_vec()];
    }
    let mut pieces = Vec::new();
    let (mut piece, mut phase, mut left) = (vec![points[0]], 0, dash[0]);
    for ends in points.windows(2) {
        let (from, to) = (ends[0], ends[1]);
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let mut done = 0.0;
        while length - done > left {
            done += left;
            let at = (from.0 + (to.0 - from.0) * done / length, from.1 + (to.1 - from.1) * done / length);
            piece.push(at);
            if phase % 2 == 0 {
                pieces.push(std::mem::take(&mut piece));
            }
            piece = vec![at];
            phase += 1;
            left = dash[phase % dash.len()];
        }
        left -= length - done;
        piece.push(to);
    }
    if phase % 2 == 0 {
        pieces.push(piece);
    }
    pieces
}

fn scaled(points: &[Point]) -> Vec<(i32, i32)> {
    points.iter().map(|&p| pixel(p)).collect()
}

fn pixel(at: Point) -> (i32, i32) {
    ((at.0 * SCALE).round() as i32, (at.1 * SCALE).round() as i32)
}

fn rgba(color: Color) -> RGBAColor {
    RGBAColor(color.0, color.1, color.2, color.3)
}

fn drawing(message: String) -> Error {
    Error::config("figure", "cannot be drawn", message)
}

/// Text for use between tags.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> Scene {
        let mut scene = Scene::new(60.0, 40.0, "a < b & c");
        scene.line([(5.0, 20.0), (55.0, 20.0)], Color::BLACK, 1.5, &[6.0, 4.0]);
        scene.point((30.0, 10.0), Marker::Diamond, 3.0, Color(213, 94, 0, 1.0));
        scene.text(Text::new((5.0, 35.0), "x < \"y\" & z", 10.0));
        scene
    }

    #[test]
    fn an_svg_escapes_and_scales() {
        let svg = svg(&scene()).unwrap();
        assert!(svg.starts_with(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"60\" height=\"40\" viewBox=\"0 0 240 160\""
        ));
        assert!(svg.contains("<title>a &lt; b &amp; c</title>"));
        assert!(svg.contains("x &lt; &quot;y&quot; &amp; z"), "{svg}");
        assert!(svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<polyline").count(), 5, "five strokes of six points with gaps of four in fifty");
    }

    #[test]
    fn a_png_has_twice_the_size_and_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        std::fs::write(&path, "old").unwrap();
        write_png(&path, &scene()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
        assert_eq!(bytes[16..24], [0, 0, 0, 120, 0, 0, 0, 80]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write_png(&folder.path().join("none/x.png"), &scene()).is_err());
    }

    #[test]
    fn averaging_keeps_a_flat_color() {
        assert_eq!(averaged(&[9; 4 * 2 * 3], 4), [[9; 3]; 2]);
    }

    #[test]
    fn dashes_go_on_around_a_corner() {
        let pieces = strokes(&[(0.0, 0.0), (5.0, 0.0), (5.0, 5.0)], &[6.0, 2.0]);
        assert_eq!(pieces, [vec![(0.0, 0.0), (5.0, 0.0), (5.0, 1.0)], vec![(5.0, 3.0), (5.0, 5.0)]]);
    }
}
