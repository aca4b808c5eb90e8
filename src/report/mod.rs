//! Figures, a self-contained page and a table for the terminal, all made from what a run recorded.
//!
//! The input is a [`ReportInput`]: data read back from the folder of a run, so that a report can be made again at any
//! time and every number in it can be traced to a file. Figures are built as lists of shapes and drawn by plotters
//! as SVG and as PNG, with one bundled font.

mod axis;
mod extras;
mod figures;
mod html;
mod input;
mod render;
mod scene;
mod style;
mod terminal;
mod text;
mod words;

pub use extras::{Bin, Chart, ChartData, Confusion, Extras, LineChart, Reliability, SeedLines, Tale, ToldCase};
pub use figures::write_figures;
pub use html::render_html;
pub use input::{Curve, CurvePoint, ReportInput};
pub use terminal::render_terminal;
