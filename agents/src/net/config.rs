//! Settings of networks.

use retune::nn::mlp::{Activation, AdamConfig};
use retune::{Error, Result};
use serde::{Deserialize, Serialize};

/// How fresh layers begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetInit {
    /// Orthogonal weights with gain √2 (the head's own gain in the last layer) and zero biases, as policy-gradient
    /// implementations do.
    #[default]
    Orthogonal,
    /// U(±1/√inputs) for weights and biases, as `torch.nn.Linear` does and DQN implementations leave it.
    Torch,
}

/// A fully connected network and its optimizer. The defaults are those of PPO for control tasks in CleanRL and
/// Stable-Baselines3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetConfig {
    /// Units of the hidden layers, at least one layer.
    pub hidden: Vec<usize>,
    /// Units of further hidden layers that each output has to itself; with shared layers and dueling streams.
    pub stream_hidden: Vec<usize>,
    /// After every hidden layer.
    pub activation: Activation,
    /// Whether heads share the hidden layers. Those per candidate and those per state share them only where candidates
    /// have no features, since they read different inputs otherwise.
    pub shared: bool,
    /// Whether the layers behind the shared ones (`stream_hidden` and the last) have noisy weights.
    pub noisy: bool,
    /// Whether every output also adds a linear layer of the inputs themselves, which begins at zero (Wide & Deep, Cheng
    /// et al., arXiv:1606.07792). It is never noisy.
    pub direct: bool,
    /// Initial noise of a noisy layer, times 1/√inputs; 0.5 in the paper.
    pub noisy_sigma: f64,
    /// How layers begin.
    pub init: NetInit,
    /// Adam.
    pub optimizer: AdamConfig,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            hidden: vec![64, 64],
            stream_hidden: Vec::new(),
            activation: Activation::Tanh,
            shared: false,
            noisy: false,
            direct: false,
            noisy_sigma: 0.5,
            init: NetInit::Orthogonal,
            optimizer: AdamConfig::default(),
        }
    }
}

impl NetConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        if self.hidden.is_empty() {
            return Err(Error::config("net.hidden", "[]", "at least one hidden layer"));
        }
        for (key, sizes) in [("net.hidden", &self.hidden), ("net.stream_hidden", &self.stream_hidden)] {
            if sizes.contains(&0) {
                return Err(Error::config(key, format!("{sizes:?}"), "layers of at least one unit"));
            }
        }
        if !(self.noisy_sigma > 0.0 && self.noisy_sigma.is_finite()) {
            return Err(Error::config("net.noisy_sigma", self.noisy_sigma, "must be positive and finite"));
        }
        self.optimizer.validate().map_err(|e| match e {
            Error::Config { key, value, expected } => {
                Error::Config { key: format!("net.optimizer.{key}"), value, expected }
            }
            other => other,
        })
    }
}
