//! Golden targets, properties, and the usual mistakes as negative controls.

mod golden;
mod properties;
