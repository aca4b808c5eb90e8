//! The whole update rule.

use super::TopKReinforceConfig;
use super::credit::{importance_weight, share, slate_multiplier};
use crate::learning::{Objective, RELATIVE_ENTROPY, ReturnStatistics, Trainer, ValueUnit, largest_entropy};
use crate::reinforce::advantage::normalise;
use crate::reinforce::plackett_luce::{item_log_probs, statistics};
use candle_core::{DType, Tensor};
use retune::agent::{Ledger, Metrics, Rollout};
use retune::env::{CandidateObs, Slate, Status};
use retune::persist::StateDict;
use retune::replay::CandidateBatch;
use retune::{Error, Result};

/// Policy and baseline on recent experience.
pub(crate) struct TopKObjective {
    config: TopKReinforceConfig,
    slate_size: usize,
    returns: ReturnStatistics,
    unit: Option<ValueUnit>,
}

impl TopKObjective {
    pub fn new(config: &TopKReinforceConfig, slate_size: usize) -> Self {
        Self { config: config.clone(), slate_size, returns: ReturnStatistics::default(), unit: None }
    }

    /// `r + γ V(s')` of each transition in the unit of the baseline; `r` after a terminated step.
    fn targets(&self, trainer: &Trainer, batch: &CandidateBatch, unit: ValueUnit) -> Result<Vec<f64>> {
        let next = trainer.values(&batch.next_obs)?.ok_or_else(no_baseline)?;
        let next = host(&next)?;
        let target = |b: usize| {
            let follows = match batch.status[b] {
                Status::Terminated => 0.0,
                Status::Running | Status::Truncated => unit.level + unit.scale * next[b],
            };
            (f64::from(batch.reward[b]) + self.config.gamma * follows - unit.level) / unit.scale
        };
        Ok((0..batch.size).map(target).collect())
    }
}

/// What the policy's loss multiplies `ln π` of each shown item with, and what is reported of it.
pub(super) struct Credit {
    /// `[slate_size, batch]`.
    pub weights: Vec<f64>,
    /// Capped importance weight of each slate, `[batch]`.
    pub ratios: Vec<f64>,
    /// Mean factor of the top-K correction.
    pub multiplier: f64,
    /// Share of capped weights.
    pub capped: f64,
}

/// Weight of the item at position j of slate b: importance weight × advantage × λ_K π/α × share.
///
/// # Shapes
/// `shown`: ln π of the shown items, `[slate_size, batch]`; `slates`: ln of the probability of each slate, `[batch]`;
/// `acted`: the same under the policy that acted; `chosen`: consumed position, `slate_size` for none.
pub(super) fn credit(
    config: &TopKReinforceConfig,
    shown: &[f64],
    slates: &[f64],
    acted: &[f32],
    chosen: &[u32],
    advantages: &[f64],
) -> Credit {
    let batch = slates.len();
    let k = shown.len() / batch.max(1);
    let ratio = |b: usize| importance_weight(slates[b], f64::from(acted[b]), config.max_ratio);
    let ratios: Vec<f64> = (0..batch).map(ratio).collect();
    let factor = |at: usize| if config.top_k { slate_multiplier(shown[at].exp(), k) } else { 1.0 };
    let factors: Vec<f64> = (0..shown.len()).map(factor).collect();
    let weight = |at: usize| {
        let b = at % batch;
        ratios[b] * advantages[b] * factors[at] * share(at / batch, chosen[b] as usize, k)
    };
    let capped = ratios.iter().filter(|&&r| r >= config.max_ratio).count() as f64 / batch.max(1) as f64;
    let multiplier = factors.iter().sum::<f64>() / factors.len().max(1) as f64;
    Credit { weights: (0..shown.len()).map(weight).collect(), ratios, multiplier, capped }
}

fn no_baseline() -> Error {
    Error::State("the scorer has no state head".to_owned())
}

fn host(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?)
}

impl Objective for TopKObjective {
    fn observe(&mut self, rollout: &Rollout<CandidateObs, Slate>) {
        if self.unit.is_none() {
            self.returns.push(rollout, self.config.gamma);
        }
    }

    /// What was consumed says where the reward belongs, but nothing is fitted to it.
    fn labels(&self, _rollout: &Rollout<CandidateObs, Slate>) -> u64 {
        0
    }

    fn loss(&mut self, trainer: &mut Trainer, batch: &CandidateBatch) -> Result<(Tensor, Metrics)> {
        let unit = *self.unit.get_or_insert_with(|| self.returns.unit(self.config.gamma));
        let (size, k) = (batch.size, self.slate_size);
        let targets = self.targets(trainer, batch, unit)?;
        let scores = trainer.scores_of_all(&batch.obs)?;
        let device = trainer.device();
        let tensor = |values: &[f64], rows: usize| {
            let flat: Vec<f32> = values.iter().map(|&x| x as f32).collect();
            Tensor::from_vec(flat, (rows, size), device)
        };
        let policy = statistics(&scores.items[0], &batch.obs.mask, &batch.slate, k)?;
        let positions: Vec<u32> = (0..k * size).map(|at| batch.slate[(at % size) * k + at / size]).collect();
        let shown = item_log_probs(&scores.items[0], &batch.obs.mask)?;
        let shown = shown.gather(&Tensor::from_vec(positions, (k, size), device)?, 0)?;
        let baseline = scores.states.as_ref().ok_or_else(no_baseline)?.t()?;
        let mut advantages: Vec<f64> = targets.iter().zip(host(&baseline)?).map(|(y, v)| y - v).collect();
        normalise(&mut advantages);
        let slates = host(&policy.log_prob)?;
        let credit = credit(&self.config, &host(&shown)?, &slates, &batch.log_prob, &batch.chosen, &advantages);
        let policy_loss = (shown * tensor(&credit.weights, k)?)?.sum(0)?.mean_all()?.neg()?;
        let errors = (&baseline - tensor(&targets, 1)?)?.sqr()?;
        let value_loss = ((errors * tensor(&credit.ratios, 1)?)?.mean_all()? * 0.5)?;
        let entropy = policy.entropy.mean_all()?;
        let loss = (&policy_loss + (&value_loss * self.config.vf_coef)?)?;
        let loss = (loss - (&entropy * self.config.ent_coef)?)?;
        let number = |t: &Tensor| -> Result<f64> { Ok(f64::from(t.to_scalar::<f32>()?)) };
        let mut metrics = Metrics::from([
            ("policy_loss".to_owned(), number(&policy_loss)?),
            ("value_loss".to_owned(), number(&value_loss)?),
            ("entropy".to_owned(), number(&entropy)?),
            ("ratio".to_owned(), credit.ratios.iter().sum::<f64>() / size.max(1) as f64),
            ("capped".to_owned(), credit.capped),
            ("multiplier".to_owned(), credit.multiplier),
        ]);
        let largest = largest_entropy(&batch.obs.mask, size);
        if largest > 0.0 {
            metrics.insert(RELATIVE_ENTROPY.to_owned(), number(&entropy)? / largest);
        }
        Ok((loss, metrics))
    }

    fn numbers(&self, _ledger: &Ledger) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        state.put(format!("{prefix}top_k_reinforce"), &(&self.returns, &self.unit))
    }

    fn restored(&self, state: &StateDict, prefix: &str) -> Result<Self> {
        let (returns, unit) = state.get(&format!("{prefix}top_k_reinforce"))?;
        Ok(Self { config: self.config.clone(), slate_size: self.slate_size, returns, unit })
    }
}
