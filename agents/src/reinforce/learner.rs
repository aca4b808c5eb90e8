//! The whole update rule of the slate policy gradient.

use super::ReinforceConfig;
use super::advantage::{StepValue, advantages, normalise};
use super::plackett_luce::statistics;
use crate::learning::{RELATIVE_ENTROPY, ReturnStatistics, Trainer, ValueUnit, largest_entropy};
use candle_core::{DType, Tensor};
use retune::agent::{Learner, Ledger, Metrics, Rollout, Snapshot, Stop, Transition};
use retune::env::{CandidateObs, Slate, TextId};
use retune::persist::StateDict;
use retune::replay::ObsBatch;
use retune::rng::StreamRng;
use retune::{Error, Result};
use std::sync::Arc;

/// Learns from each round once, in as many minibatches as the round pays updates for.
pub(super) struct ReinforceLearner {
    config: ReinforceConfig,
    slate_size: usize,
    trainer: Trainer,
    returns: ReturnStatistics,
    unit: Option<ValueUnit>,
    shuffle: StreamRng,
}

/// A transition with its estimates, in the unit of the baseline.
struct Sample {
    step: Transition<CandidateObs, Slate>,
    advantage: f64,
    /// Target of the baseline.
    target: f64,
}

impl ReinforceLearner {
    pub fn new(config: &ReinforceConfig, slate_size: usize, trainer: Trainer, shuffle: StreamRng) -> Self {
        let config = config.clone();
        Self { config, slate_size, trainer, returns: ReturnStatistics::default(), unit: None, shuffle }
    }

    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// V of each observation in the unit of the reward.
    fn values(&self, obs: &[&CandidateObs], unit: ValueUnit) -> Result<Vec<f64>> {
        let batch = ObsBatch::of(&self.trainer.scorer().shape().candidates, obs.iter().copied())?;
        let head = self.trainer.values(&batch)?;
        let head = head.ok_or_else(|| Error::State("the scorer has no state head".to_owned()))?;
        let flat = head.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        Ok(flat.into_iter().map(|v| unit.level + unit.scale * v).collect())
    }

    fn estimate(&self, rollout: Rollout<CandidateObs, Slate>, unit: ValueUnit) -> Result<Vec<Sample>> {
        let mut samples = Vec::with_capacity(rollout.env_steps());
        for segment in rollout.segments {
            let before: Vec<&CandidateObs> = segment.steps.iter().map(|s| s.obs.as_ref()).collect();
            let after: Vec<&CandidateObs> = segment.steps.iter().map(|s| s.next_obs.as_ref()).collect();
            if before.is_empty() {
                continue;
            }
            let (values, next) = (self.values(&before, unit)?, self.values(&after, unit)?);
            let steps = segment.steps.iter().zip(values.iter().zip(&next));
            let steps: Vec<StepValue> = steps
                .map(|(s, (&value, &next_value))| StepValue { reward: s.reward, status: s.status, value, next_value })
                .collect();
            let advantages = advantages(&steps, self.config.gamma, self.config.gae_lambda);
            for ((step, advantage), value) in segment.steps.into_iter().zip(advantages).zip(values) {
                samples.push(Sample { step, advantage, target: (advantage + value - unit.level) / unit.scale });
            }
        }
        let mut all: Vec<f64> = samples.iter().map(|s| s.advantage).collect();
        normalise(&mut all);
        samples.iter_mut().zip(all).for_each(|(sample, advantage)| sample.advantage = advantage);
        Ok(samples)
    }

    fn update(&mut self, samples: &[Sample], stop: &Stop) -> Result<Metrics> {
        let obs = samples.iter().map(|s| s.step.obs.as_ref());
        let batch = ObsBatch::of(&self.trainer.scorer().shape().candidates, obs)?;
        let slates: Vec<u32> = samples.iter().flat_map(|s| s.step.action.0.iter().copied()).collect();
        let scores = self.trainer.scores_of_all(&batch)?;
        let device = self.trainer.device().clone();
        let row = |of: &dyn Fn(&Sample) -> f64| {
            let flat: Vec<f32> = samples.iter().map(|s| of(s) as f32).collect();
            Tensor::from_vec(flat, (1, samples.len()), &device)
        };
        let policy = statistics(&scores.items[0], &batch.mask, &slates, self.slate_size)?;
        let acted = row(&|s| f64::from(s.step.log_prob))?;
        // Within a round the policy moves with each update; importance weights keep the gradient unbiased, the limit
        // keeps its variance (Espeholt et al., arXiv:1802.01561, section 4.1).
        let ratio = (policy.log_prob.detach() - acted)?.exp()?.minimum(self.config.max_ratio)?;
        let weights = (ratio * row(&|s| s.advantage)?)?;
        let policy_loss = (weights * &policy.log_prob)?.mean_all()?.neg()?;
        let entropy = policy.entropy.mean_all()?;
        let baseline = scores.states.as_ref().ok_or_else(|| Error::State("the scorer has no state head".into()))?;
        let value_loss = ((baseline.t()? - row(&|s| s.target)?)?.sqr()?.mean_all()? * 0.5)?;
        let loss = (&policy_loss + (&value_loss * self.config.vf_coef)?)?;
        let loss = (loss - (&entropy * self.config.ent_coef)?)?;
        let outcome = self.trainer.step(&loss, stop)?;
        let number = |t: &Tensor| -> Result<f64> { Ok(f64::from(t.to_scalar::<f32>()?)) };
        let mut metrics = Metrics::from([
            ("loss".to_owned(), number(&loss)?),
            ("policy_loss".to_owned(), number(&policy_loss)?),
            ("value_loss".to_owned(), number(&value_loss)?),
            ("entropy".to_owned(), number(&entropy)?),
            ("grad_norm".to_owned(), outcome.grad_norm),
        ]);
        let largest = largest_entropy(&batch.mask, samples.len());
        if largest > 0.0 {
            metrics.insert(RELATIVE_ENTROPY.to_owned(), number(&entropy)? / largest);
        }
        Ok(metrics)
    }
}

/// Cuts `items` into `parts` runs of nearly equal length.
fn cut<T>(items: &[T], parts: usize) -> impl Iterator<Item = &[T]> {
    (0..parts).map(move |p| &items[p * items.len() / parts..(p + 1) * items.len() / parts])
}

impl Learner<CandidateObs, Slate> for ReinforceLearner {
    fn snapshot(&mut self, texts: &[TextId]) -> Result<Arc<Snapshot>> {
        self.trainer.publish(&[], texts)
    }

    fn learn(&mut self, rollout: Rollout<CandidateObs, Slate>, stop: &Stop) -> Result<Metrics> {
        self.trainer.ledger_mut().env_steps += rollout.env_steps() as u64;
        if self.unit.is_none() {
            self.returns.push(&rollout, self.config.gamma);
        }
        let due = usize::try_from(self.trainer.updates_due()).unwrap_or(usize::MAX).min(rollout.env_steps());
        if due == 0 {
            return Ok(Metrics::new());
        }
        let unit = *self.unit.get_or_insert_with(|| self.returns.unit(self.config.gamma));
        let mut samples = self.estimate(rollout, unit)?;
        for i in (1..samples.len()).rev() {
            let other = self.shuffle.below(i + 1);
            samples.swap(i, other);
        }
        let mut metrics = Metrics::new();
        for part in cut(&samples, due) {
            stop.check()?;
            for (name, value) in self.update(part, stop)? {
                *metrics.entry(name).or_insert(0.0) += value / due as f64;
            }
        }
        Ok(metrics)
    }

    fn ledger(&self) -> Ledger {
        *self.trainer.ledger()
    }

    fn trainable_parameters(&self) -> usize {
        self.trainer.store().trainable_count()
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        self.trainer.save(state, prefix)?;
        state.put(format!("{prefix}reinforce"), &(&self.returns, &self.unit, &self.shuffle))
    }

    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        let (returns, unit, shuffle) = state.get(&format!("{prefix}reinforce"))?;
        self.trainer.load(state, prefix)?;
        (self.returns, self.unit, self.shuffle) = (returns, unit, shuffle);
        Ok(())
    }
}
