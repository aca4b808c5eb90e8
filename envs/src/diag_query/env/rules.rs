//! The settings of an environment in the form that the loop runs on.

use super::config::{DiagQueryConfig, Shaping};
use super::episode::Episode;
use crate::diag_query::gain::{Channel, entropy_bits};
use crate::diag_query::payoffs::Payoffs;
use crate::diag_query::problem::Problem;
use retune::env::EnvError;

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Rules {
    /// States of each finding.
    pub states: Vec<usize>,
    /// Cost of each finding.
    pub costs: Vec<f64>,
    /// Sum of all costs, or the budget: what the shown cost is divided by; 1 if that is zero.
    pub cost_unit: f64,
    pub budget: f64,
    pub t_max: usize,
    pub lambda: f64,
    /// How answers come about.
    pub channel: Channel,
    /// How the attached model thinks that they do.
    pub believed: Channel,
    pub exact: Channel,
    /// What declaring is worth.
    pub utilities: Payoffs,
    pub shaping: Shaping,
    pub diagnoses: usize,
    /// H_0: entropy of the attached model before anything is known, nats; 0 without a model.
    pub prior_entropy: f64,
    /// Default state of each finding.
    pub defaults: Vec<usize>,
    /// Which diagnoses may be declared.
    pub declarable: Vec<bool>,
    requires: Vec<Option<(usize, usize)>>,
}

impl Rules {
    pub fn new(problem: &Problem, config: &DiagQueryConfig) -> Result<Self, EnvError> {
        problem.validate()?;
        config.validate(problem)?;
        let costs = config.costs(problem)?;
        let channel = Channel { noise: config.noise, missing: config.missing, confusion: config.confusions(problem)? };
        let budget = config.budget.unwrap_or(f64::INFINITY);
        let unit = if budget.is_finite() { budget } else { costs.iter().sum() };
        let requires = |f: &crate::diag_query::problem::Finding| {
            f.requires.map(|parent| (parent, problem.findings[parent].default))
        };
        Ok(Self {
            states: problem.states(),
            cost_unit: if unit > 0.0 { unit } else { 1.0 },
            costs,
            budget,
            t_max: config.t_max,
            lambda: config.lambda,
            believed: if config.model_knows_noise { channel.clone() } else { Channel::exact() },
            channel,
            exact: Channel::exact(),
            utilities: config.utilities(problem)?,
            shaping: config.shaping,
            diagnoses: problem.diagnoses.len(),
            prior_entropy: problem.model.as_ref().map_or(0.0, |m| entropy_nats(m.begin().posterior())),
            defaults: problem.findings.iter().map(|f| f.default).collect(),
            declarable: problem.diagnoses.iter().map(|d| !config.undeclarable.contains(&d.id)).collect(),
            requires: problem.findings.iter().map(requires).collect(),
        })
    }

    /// Which findings may be asked.
    pub fn open(&self, episode: &Episode) -> Vec<bool> {
        let findings = self.states.len();
        if episode.status.is_over() || episode.questions() >= self.t_max {
            return vec![false; findings];
        }
        let mut open: Vec<bool> = (0..findings)
            .map(|i| {
                let met = |(parent, default): (usize, usize)| {
                    matches!(episode.reply(parent), Some(Some(state)) if state != default)
                };
                episode.cost + self.costs[i] <= self.budget && self.requires[i].is_none_or(met)
            })
            .collect();
        episode.asked.iter().for_each(|a| open[a.finding] = false);
        open
    }

    /// Stopping thresholds at the start.
    pub fn thresholds(&self) -> Vec<f64> {
        match self.shaping {
            Shaping::Aarlc { threshold, .. } => vec![threshold; self.diagnoses],
            _ => Vec::new(),
        }
    }

    /// Lowest and highest reward of one step.
    pub fn reward_range(&self) -> (f64, f64) {
        let dearest = self.costs.iter().copied().fold(0.0, f64::max) * self.lambda;
        let (low, high) = self.utilities.range();
        match self.shaping {
            Shaping::None => (low.min(-dearest), high.max(0.0)),
            Shaping::Aarlc { mu, nu, .. } => {
                (low.min(0.0) - dearest - 2.0 * mu, high.max(0.0) + 3.0 * mu + nu * self.swing())
            }
            Shaping::Potential { .. } => (low.min(0.0) - dearest - self.swing(), high.max(0.0) + self.swing()),
        }
    }

    /// Bound of H / H_0.
    fn swing(&self) -> f64 {
        self.relative(&vec![1.0 / self.diagnoses as f64; self.diagnoses])
    }

    /// H / H_0 of a belief; 0 if nothing was uncertain to begin with.
    pub fn relative(&self, posterior: &[f64]) -> f64 {
        if self.prior_entropy > 0.0 { entropy_nats(posterior) / self.prior_entropy } else { 0.0 }
    }
}

/// Entropy, nats.
pub fn entropy_nats(probabilities: &[f64]) -> f64 {
    entropy_bits(probabilities) * std::f64::consts::LN_2
}
