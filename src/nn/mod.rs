//! Neural network parts on candle tensors: parameters, differentiable operations, optimizers.

mod params;

pub use params::{Init, ParamStore};
