//! Tests of the whole backbone. All but the goldens use a tiny random BERT.

mod adapters;
mod devices;
mod golden;
mod loader;
mod quantised;
mod recompute;
mod table;
mod tiny;
mod training;
mod values;
