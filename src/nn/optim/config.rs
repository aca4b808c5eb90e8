//! Settings of an optimizer: which algorithm, how fast, and for which parameters.

use super::super::Schedule;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of their own for the parameters whose name begins with `prefix` and contains `contains`: a head, a
/// backbone, or with `contains = ".lora_"` the adapters in a backbone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// Beginning of the names; empty fits all. Of several groups that fit, the one with the longest texts decides, the
    /// last of equals.
    pub prefix: String,
    /// What the names contain anywhere; empty fits all.
    pub contains: String,
    /// Learning rate before the schedule's factor; `None` for that of all.
    pub learning_rate: Option<f64>,
    /// Weight decay, with the same exceptions; `None` for that of all.
    pub weight_decay: Option<f64>,
}

impl Group {
    fn fits(&self, name: &str) -> bool {
        name.starts_with(&self.prefix) && name.contains(&self.contains)
    }

    fn specificity(&self) -> usize {
        self.prefix.len() + self.contains.len()
    }
}

/// How a gradient becomes a change of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Algorithm {
    /// Adam with decoupled weight decay (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019).
    AdamW(AdamW),
    /// Gradient descent with momentum.
    Sgd(Sgd),
    /// Adam-like steps with a second moment that a matrix keeps as a row and a column (Shazeer and Stern, "Adafactor:
    /// adaptive learning rates with sublinear memory cost", ICML 2018), for backbones whose moments would not fit.
    Adafactor(Adafactor),
}

impl Default for Algorithm {
    fn default() -> Self {
        Self::AdamW(AdamW::default())
    }
}

impl Algorithm {
    /// What it is called in settings and in saved states.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::AdamW(_) => "adamw",
            Self::Sgd(_) => "sgd",
            Self::Adafactor(_) => "adafactor",
        }
    }
}

/// Settings of [`Algorithm::AdamW`]; the decay is decoupled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }
}

/// Settings of [`Algorithm::Sgd`]. As in PyTorch the weight decay is added to the gradient, the velocity begins at
/// the first gradient, and it is v ← momentum·v + g.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sgd {
    /// Share of the velocity that stays, in [0, 1); 0 for none, which also keeps no state.
    pub momentum: f64,
    /// Whether the step is g + momentum·v instead of v (Nesterov's form in Sutskever et al., 2013); needs a momentum.
    pub nesterov: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { momentum: 0.9, nesterov: false }
    }
}

/// Settings of [`Algorithm::Adafactor`]. Names of the paper's Algorithm 4 in brackets; the decay is decoupled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adafactor {
    /// Added to squared gradients (ε₁).
    pub eps: f64,
    /// Largest root mean square of a step before the learning rate (d).
    pub clip_threshold: f64,
    /// The second moment's decay at step t is 1 − t^−decay_rate (β̂₂), in (0, 1].
    pub decay_rate: f64,
    /// Decay of a first moment, in [0, 1); 0 for none, as in the paper's recommendation.
    pub beta1: f64,
    /// Whether steps are multiplied by the root mean square of the parameter, at least `min_scale` (α).
    pub scale_parameter: bool,
    /// Least scale of a parameter (ε₂).
    pub min_scale: f64,
    /// Whether the learning rate is at most 1/√t (ρ).
    pub relative_step: bool,
}

impl Default for Adafactor {
    fn default() -> Self {
        Self {
            eps: 1e-30,
            clip_threshold: 1.0,
            decay_rate: 0.8,
            beta1: 0.0,
            scale_parameter: false,
            min_scale: 1e-3,
            relative_step: false,
        }
    }
}

/// Settings of an [`super::Optimizer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// How a gradient becomes a step.
    pub algorithm: Algorithm,
    /// Learning rate before the schedule's factor, for parameters of no group.
    pub learning_rate: f64,
    /// Weight decay; not applied to names that end in `bias` or contain `LayerNorm`.
    pub weight_decay: f64,
    /// Global gradient norm above which all gradients are scaled down; `None` for no limit.
    pub max_grad_norm: Option<f64>,
    /// Factor on all learning rates as a function of the update.
    pub schedule: Schedule,
    /// Learning rates and decays of their own.
    pub groups: Vec<Group>,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            learning_rate: 1e-3,
            weight_decay: 0.01,
            max_grad_norm: Some(1.0),
            schedule: Schedule::default(),
            groups: Vec::new(),
        }
    }
}

impl OptimizerConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        positive("learning_rate", self.learning_rate)?;
        not_negative("weight_decay", self.weight_decay)?;
        for group in &self.groups {
            let key = |setting: &str| format!("groups.{}{}.{setting}", group.prefix, group.contains);
            if let Some(rate) = group.learning_rate {
                positive(&key("learning_rate"), rate)?;
            }
            if let Some(decay) = group.weight_decay {
                not_negative(&key("weight_decay"), decay)?;
            }
        }
        if let Some(norm) = self.max_grad_norm {
            positive("max_grad_norm", norm)?;
        }
        self.algorithm.validate()?;
        self.schedule.validate()
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().filter(|g| g.fits(name)).max_by_key(|g| g.specificity())
    }

    pub(super) fn learning_rate_of(&self, name: &str) -> f64 {
        self.group(name).and_then(|g| g.learning_rate).unwrap_or(self.learning_rate)
    }

    pub(super) fn weight_decay_of(&self, name: &str) -> f64 {
        if name.ends_with("bias") || name.contains("LayerNorm") {
            return 0.0;
        }
        self.group(name).and_then(|g| g.weight_decay).unwrap_or(self.weight_decay)
    }
}

impl Algorithm {
    fn validate(&self) -> Result<()> {
        match self {
            Self::AdamW(adam) => {
                below_one("beta1", adam.beta1)?;
                below_one("beta2", adam.beta2)?;
                positive("eps", adam.eps)
            }
            Self::Sgd(sgd) => {
                below_one("momentum", sgd.momentum)?;
                if sgd.nesterov && sgd.momentum == 0.0 {
                    return Err(Error::config("nesterov", true, "needs a momentum above 0"));
                }
                Ok(())
            }
            Self::Adafactor(ada) => {
                positive("eps", ada.eps)?;
                positive("clip_threshold", ada.clip_threshold)?;
                positive("min_scale", ada.min_scale)?;
                below_one("beta1", ada.beta1)?;
                if ada.decay_rate > 0.0 && ada.decay_rate <= 1.0 {
                    Ok(())
                } else {
                    Err(Error::config("decay_rate", ada.decay_rate, "must be above 0 and at most 1"))
                }
            }
        }
    }
}

fn positive(key: &str, value: f64) -> Result<()> {
    let fine = value > 0.0 && value.is_finite();
    if fine { Ok(()) } else { Err(Error::config(key, value, "must be positive and finite")) }
}

fn not_negative(key: &str, value: f64) -> Result<()> {
    let fine = value >= 0.0 && value.is_finite();
    if fine { Ok(()) } else { Err(Error::config(key, value, "must be 0 or positive, and finite")) }
}

fn below_one(key: &str, value: f64) -> Result<()> {
    let fine = (0.0..1.0).contains(&value);
    if fine { Ok(()) } else { Err(Error::config(key, value, "must be at least 0 and less than 1")) }
}
