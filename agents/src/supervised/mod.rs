//! The supervised baseline: which items are clicked and what a click brings, learnt from logged random slates. See
//! `README.md` here.
//!
//! Metrics, means over the updates of a round: `loss`; `click_loss`, binary cross-entropy per shown item;
//! `reward_loss`, squared error of the reward of a click in units of the largest reward; `grad_norm`.

mod config;
mod loss;

pub use config::SupervisedConfig;
pub(crate) use loss::masked_mse;

use crate::acting::{Choose, HostScores, LoggingActor, ranked};
use crate::learning::{Guarded, ModelPlan, Objective, Part, ReplayLearner, Setup, Trainer};
use crate::scorer::Tower;
use candle_core::Tensor;
use loss::click_loss;
use retune::Result;
use retune::agent::{Actor, Agent, Learner, Ledger, Metrics, Rollout};
use retune::env::{CandidateObs, EnvSpec, Slate};
use retune::persist::StateDict;
use retune::replay::CandidateBatch;

const CLICK: usize = 0;
const REWARD: usize = 1;

/// The agent.
pub struct SupervisedAgent {
    slate_size: usize,
    learner: Guarded<ReplayLearner<ClickObjective>>,
}

impl SupervisedAgent {
    /// A fresh agent.
    ///
    /// # Errors
    /// [`retune::Error::Config`] if a setting is out of range or the env does not offer candidates and slates.
    pub fn new(setup: &Setup<'_>, config: &SupervisedConfig) -> Result<Self> {
        let plan = ModelPlan {
            towers: vec![
                Tower { name: "click".into(), hidden: setup.learning.hidden, bias: true },
                Tower { name: "reward".into(), hidden: config.reward_hidden, bias: true },
            ],
            state_outputs: 0,
            parts: &[Part { name: "reward.inner.", rate: 1.0, decay: Some(config.interaction_decay) }],
        };
        let slate_size = setup.slate_size()?;
        let objective =
            ClickObjective { slate_size, reward_unit: largest_reward(setup.spec), reward_coef: config.reward_coef };
        let learner = ReplayLearner::new(objective, Trainer::new(setup, plan)?, setup)?;
        Ok(Self { slate_size, learner: Guarded::new(learner, 0.0, 1.0) })
    }
}

impl Agent<CandidateObs, Slate> for SupervisedAgent {
    fn make_actor(&self) -> Result<Box<dyn Actor<CandidateObs, Slate>>> {
        Ok(Box::new(LoggingActor::new(self.learner.trainer().scorer().clone(), ByClickReward, self.slate_size)))
    }

    fn learner(&mut self) -> &mut dyn Learner<CandidateObs, Slate> {
        &mut self.learner
    }
}

/// Size of the largest reward of a step, in which rewards are learnt; 1 if it is 0 or not finite.
fn largest_reward(spec: &EnvSpec) -> f64 {
    let largest = spec.reward_range.0.abs().max(spec.reward_range.1.abs());
    if largest > 0.0 && largest.is_finite() { largest } else { 1.0 }
}

/// 1 where a shown item was clicked, `[slate_size, batch]`.
pub(crate) fn clicked(batch: &CandidateBatch, slate_size: usize) -> Vec<f32> {
    let position = |j: usize| batch.chosen.iter().map(move |&c| if c as usize == j { 1.0 } else { 0.0 });
    (0..slate_size).flat_map(position).collect()
}

/// Greedy in P(click) · reward.
struct ByClickReward;

impl Choose for ByClickReward {
    fn choose(&self, scores: &HostScores, state: usize, mask: &[bool], size: usize) -> Result<Slate> {
        ranked(mask, size, |i| {
            let click = 1.0 / (1.0 + (-scores.item(CLICK, state, i)).exp());
            click * scores.item(REWARD, state, i)
        })
    }
}

struct ClickObjective {
    slate_size: usize,
    reward_unit: f64,
    reward_coef: f64,
}

impl Objective for ClickObjective {
    fn labels(&self, rollout: &Rollout<CandidateObs, Slate>) -> u64 {
        (rollout.env_steps() * self.slate_size) as u64
    }

    fn loss(&mut self, trainer: &mut Trainer, batch: &CandidateBatch) -> Result<(Tensor, Metrics)> {
        let scores = trainer.scores(&batch.obs, &batch.slate)?;
        let shape = (self.slate_size, batch.size);
        let clicked = Tensor::from_vec(clicked(batch, self.slate_size), shape, trainer.device())?;
        let click = click_loss(&scores.items[CLICK], &clicked)?;
        let rewards: Vec<f32> = batch.item_reward.iter().map(|r| (f64::from(*r) / self.reward_unit) as f32).collect();
        let rewards = Tensor::from_vec(rewards, (1, batch.size), trainer.device())?.broadcast_as(shape)?;
        let reward = masked_mse(&scores.items[REWARD], &rewards, &clicked)?;
        let mut metrics = Metrics::new();
        metrics.insert("click_loss".into(), f64::from(click.to_scalar::<f32>()?));
        metrics.insert("reward_loss".into(), f64::from(reward.to_scalar::<f32>()?));
        Ok(((click + (reward * self.reward_coef)?)?, metrics))
    }

    fn numbers(&self, _ledger: &Ledger) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    fn save(&self, _state: &mut StateDict, _prefix: &str) -> Result<()> {
        Ok(())
    }

    fn restored(&self, _state: &StateDict, _prefix: &str) -> Result<Self> {
        Ok(Self { slate_size: self.slate_size, reward_unit: self.reward_unit, reward_coef: self.reward_coef })
    }
}
