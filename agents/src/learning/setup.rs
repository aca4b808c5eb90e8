//! What every agent is built from.

use super::{LearningConfig, TextModel};
use candle_core::Device;
use retune::backbone::TrainMode;
use retune::env::{ActionSpec, EnvSpec};
use retune::rng::Seed;
use retune::{Error, Result};

/// Task, budget, model of texts, device and seed.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// Budget and optimization.
    pub learning: &'a LearningConfig,
    /// The task as training sees it; its pool are the texts that may be met.
    pub spec: &'a EnvSpec,
    /// Reads the texts; without one they are not looked at.
    pub text: Option<&'a TextModel>,
    /// Where encoders of texts compute; see [`Setup::learner_device`].
    pub device: &'a Device,
    /// The node under which all streams of the agent lie.
    pub seed: Seed,
}

impl Setup<'_> {
    /// Where the learner's own tensors live: with the encoder if that is trained, else on the CPU, where actors are too.
    /// On the vectors of a frozen encoder a few thousand parameters are trained, whose operations a GPU would take longer
    /// to start than the CPU to do.
    #[must_use]
    pub fn learner_device(&self) -> Device {
        match self.text {
            Some(text) if text.options.mode != TrainMode::Frozen => self.device.clone(),
            _ => Device::Cpu,
        }
    }

    /// Slots of a slate.
    ///
    /// # Errors
    /// [`Error::Config`] if actions are not slates.
    pub fn slate_size(&self) -> Result<usize> {
        match self.spec.action {
            ActionSpec::Slate { size } => Ok(size),
            ActionSpec::Discrete { .. } => {
                let expected = "agents of this family need an env whose actions are slates";
                Err(Error::config("env", &self.spec.id, expected))
            }
        }
    }
}
