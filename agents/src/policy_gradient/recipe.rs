//! What makes one policy gradient differ from another.

use super::labels::LabelConfig;
use crate::learning::{at_least_one, positive, within};
use crate::losses::Surrogate;
use crate::targets::VTraceConfig;
use retune::{Error, Result};

/// Where advantages and value targets come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Estimator {
    /// Generalised advantage estimation over the steps of a round, with the values of the policy that acted.
    Gae {
        /// λ in [0, 1].
        gae_lambda: f64,
    },
    /// V-trace over the steps of a round, with values and importance weights anew for every update.
    VTrace(VTraceConfig),
    /// Whole episodes: the discounted return less the baseline. Where an episode was cut by a time limit, the return
    /// goes on with the value of its last observation.
    Episodes,
    /// Whole episodes without a value function: every step of an episode has the advantage `R − mean R` over a group of
    /// episodes (Shao et al., arXiv:2402.03300, section 4.1.2).
    Group {
        /// Episodes of a group, at least 2.
        size: usize,
        /// Whether it is divided by the standard deviation of the group.
        normalize: bool,
    },
}

/// How a round of experience becomes updates. Names are those of CleanRL.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Settings begin with this in messages.
    pub name: &'static str,
    /// Discount per env step.
    pub gamma: f64,
    /// What rewards are multiplied by before anything is learnt from them: values of some hundreds are learnt slowly, and
    /// the gradients of their errors leave the policy little of a clipped step. Advantages of a group have no unit.
    pub reward_scale: f64,
    /// Where advantages come from.
    pub estimator: Estimator,
    /// How they become a loss.
    pub surrogate: Surrogate,
    /// Whether advantages are brought to mean 0 and standard deviation 1 in every minibatch.
    pub normalize_advantages: bool,
    /// Weight of the value loss.
    pub vf_coef: f64,
    /// Largest step of a value, in units of the return; `None` for no limit.
    pub clip_value: Option<f64>,
    /// Weight of the entropy bonus.
    pub ent_coef: f64,
    /// Whether that weight falls linearly to 0 over the budget.
    pub anneal_ent: bool,
    /// The classifier of answers.
    pub labels: LabelConfig,
    /// Weight of KL(π‖π_initial); above 0 keeps the initial policy as the reference.
    pub kl_coef: f64,
    /// Passes over a round.
    pub update_epochs: usize,
    /// Decisions per update; `None` for all of a round.
    pub minibatch_size: Option<usize>,
    /// `approx_kl` above 1.5 times which the updates of a round end.
    pub target_kl: Option<f64>,
    /// Whether the learning rate falls linearly to 0 over the budget.
    pub anneal_lr: bool,
    /// Whether the clip range does, too.
    pub anneal_clip: bool,
}

impl Recipe {
    /// Whether there is a value function.
    #[must_use]
    pub fn has_values(&self) -> bool {
        !matches!(self.estimator, Estimator::Group { .. })
    }

    /// Whether it learns from whole episodes.
    #[must_use]
    pub fn needs_episodes(&self) -> bool {
        matches!(self.estimator, Estimator::Episodes | Estimator::Group { .. })
    }

    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        let key = |name: &str| format!("{}.{name}", self.name);
        within(&key("gamma"), self.gamma, 0.0, 1.0)?;
        positive(&key("reward_scale"), self.reward_scale)?;
        for (name, value) in [("vf_coef", self.vf_coef), ("ent_coef", self.ent_coef), ("kl_coef", self.kl_coef)] {
            within(&key(name), value, 0.0, f64::MAX)?;
        }
        self.labels.validate(self.name, self.has_values())?;
        for (name, value) in [("clip_value", self.clip_value), ("target_kl", self.target_kl)] {
            value.map_or(Ok(()), |v| positive(&key(name), v))?;
        }
        if let Surrogate::Clipped { clip_coef } = self.surrogate {
            positive(&key("clip_coef"), clip_coef)?;
        }
        at_least_one(&key("update_epochs"), self.update_epochs as u64)?;
        if self.minibatch_size.is_some_and(|size| size < 2 && self.normalize_advantages) {
            let expected = "at least 2: the advantages of a minibatch are normalised";
            return Err(Error::config(&key("minibatch_size"), self.minibatch_size.unwrap_or(0), expected));
        }
        self.minibatch_size.map_or(Ok(()), |size| at_least_one(&key("minibatch_size"), size as u64))?;
        match self.estimator {
            Estimator::Gae { gae_lambda } => within(&key("gae_lambda"), gae_lambda, 0.0, 1.0),
            Estimator::VTrace(config) => {
                within(&key("lambda"), config.lambda, 0.0, 1.0)?;
                positive(&key("rho_bar"), config.rho_bar)?;
                positive(&key("c_bar"), config.c_bar)?;
                positive(&key("pg_rho_bar"), config.pg_rho_bar)
            }
            Estimator::Episodes => Ok(()),
            Estimator::Group { size, .. } if size < 2 => {
                Err(Error::config(&key("group_size"), size, "at least 2 episodes: a group of one has no advantage"))
            }
            Estimator::Group { .. } => Ok(()),
        }
    }
}
