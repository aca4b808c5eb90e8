//! Neural network parts on candle tensors: parameters, differentiable operations, gradients, optimizers.
//!
//! Use [`ops`] for every operation that a gradient must pass: several of candle's own cut it silently.

mod devices;
pub mod fused;
mod gradients;
pub mod mlp;
pub mod ops;
mod optim;
mod params;
pub mod plain;
mod quantised;
mod schedule;

pub use devices::{devices, gpu, host_copy, on_each_device};
pub use gradients::{Gradient, Gradients, Movement, RowGradient};
pub use optim::{Adafactor, AdamW, Algorithm, Group, Optimizer, OptimizerConfig, Sgd, StepReport};
pub use params::{Init, ParamStore, checksum};
pub use quantised::Quantised;
pub use schedule::{Schedule, ScheduleKind};
