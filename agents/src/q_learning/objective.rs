//! The whole update rule of value learning over slates.

use super::actor::{EPSILON, VALUE_LEVEL, VALUE_SCALE};
use super::loss::{choice_loss, td_loss};
use super::values::{ADVANTAGE, CHOICE, LEVEL, NOTHING, NextSlateOf, StateValues};
use super::{NextSlate, QLearningConfig, TargetNetwork};
use crate::acting::HostScores;
use crate::learning::{Average, LearningConfig, Objective, ReturnStatistics, StepOutcome, Trainer, ValueUnit};
use crate::scorer::{PREFIX, Scores, TextRows, Weights};
use candle_core::Tensor;
use retune::agent::{Ledger, Metrics, Rollout};
use retune::env::{CandidateObs, Slate, Status};
use retune::persist::StateDict;
use retune::replay::CandidateBatch;
use retune::{Error, Result};

/// Choice model and values, and what their targets need.
pub(crate) struct ValueObjective {
    config: QLearningConfig,
    learning: LearningConfig,
    next_slate: NextSlate,
    /// Env steps at the beginning that are supervised.
    supervised_steps: u64,
    slate_size: usize,
    target: Average,
    /// Projections of all texts under the target network, where that stays for several updates.
    target_texts: Option<TextRows>,
    returns: ReturnStatistics,
    unit: Option<ValueUnit>,
}

impl ValueObjective {
    /// Before the first update of `trainer`.
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    pub fn new(
        config: &QLearningConfig,
        next_slate: NextSlate,
        supervised_steps: u64,
        slate_size: usize,
        trainer: &Trainer,
    ) -> Result<Self> {
        let mut new = Self {
            config: config.clone(),
            learning: trainer.config().clone(),
            next_slate,
            supervised_steps,
            slate_size,
            target: Average::new(trainer.store(), |n| n.starts_with(PREFIX))?,
            target_texts: None,
            returns: ReturnStatistics::default(),
            unit: None,
        };
        new.project(trainer)?;
        Ok(new)
    }

    fn epsilon(&self, env_steps: u64) -> f64 {
        if env_steps < self.supervised_steps.max(self.learning.learning_starts) {
            return 1.0;
        }
        let rest = self.learning.env_steps.saturating_sub(self.supervised_steps).max(1);
        self.config.epsilon.at((env_steps - self.supervised_steps) as f64 / rest as f64)
    }

    /// TD targets `r + γ V_A'(s')` in the unit of the reward, V from the target network; `r` after a terminated step.
    fn targets(&self, trainer: &Trainer, batch: &CandidateBatch, unit: ValueUnit) -> Result<Vec<f64>> {
        let weights = Weights::published(self.target.values());
        let scores = trainer.scores_under(&weights, &batch.next_obs, self.target_texts.as_ref())?;
        let scores = HostScores::new(&scores, trainer.ledger().updates)?;
        let (offered, size) = (trainer.scorer().shape().candidates.num_candidates, self.slate_size);
        let target = |b: usize| {
            let reward = f64::from(batch.reward[b]);
            if batch.status[b] == Status::Terminated {
                return Ok(reward);
            }
            let mask: Vec<bool> = batch.next_obs.mask[b * offered..][..offered].iter().map(|&m| m == 1).collect();
            let values = StateValues::read(&scores, b, offered, unit, &self.config);
            let next = match self.next_slate {
                NextSlate::Shown => NextSlateOf::Shown(&batch.next_slate[b * size..][..size]),
                NextSlate::Best => NextSlateOf::Best { size },
            };
            values.target(reward, &mask, next, &self.config)
        };
        (0..batch.size).map(target).collect()
    }

    /// TD loss on what was chosen: the clicked item, or nothing.
    fn value_loss(
        &self,
        trainer: &Trainer,
        batch: &CandidateBatch,
        heads: &Heads,
        unit: ValueUnit,
        metrics: &mut Metrics,
    ) -> Result<Tensor> {
        let targets = self.targets(trainer, batch, unit)?;
        let scaled: Vec<f32> = targets.iter().map(|y| ((y - unit.level) / unit.scale) as f32).collect();
        let device = trainer.device();
        let targets = Tensor::from_vec(scaled, (1, batch.size), device)?;
        let errors = (targets - (&heads.level + &heads.advantage)?)?;
        let counts = |c: &u32| if self.config.null_value || (*c as usize) < self.slate_size { 1.0f32 } else { 0.0 };
        let weights: Vec<f32> = batch.chosen.iter().map(counts).collect();
        let weights = Tensor::from_vec(weights, (1, batch.size), device)?;
        let mean = |t: &Tensor| -> Result<f64> { Ok(f64::from(t.detach().mean_all()?.to_scalar::<f32>()?)) };
        metrics.insert("td_error".into(), unit.scale * mean(&errors.abs()?)?);
        metrics.insert("q_none".into(), unit.level + unit.scale * mean(&(&heads.level + &heads.nothing)?)?);
        let gaps = heads.advantages.broadcast_sub(&heads.nothing)?.abs()?;
        metrics.insert("q_gap".into(), unit.scale * mean(&gaps)?);
        td_loss(&errors, &weights, self.config.loss)
    }

    /// Supervised phase: A(s, i) is the reward of a click on i, everything else 0, so that serving by
    /// v_i (Q_i − Q_none) shows what supervised learning would show.
    fn reward_loss(&self, trainer: &Trainer, batch: &CandidateBatch, heads: &Heads, unit: ValueUnit) -> Result<Tensor> {
        let rewards: Vec<f32> = batch.item_reward.iter().map(|r| (f64::from(*r) / unit.scale) as f32).collect();
        let rewards = Tensor::from_vec(rewards, (1, batch.size), trainer.device())?;
        let fit = (&heads.advantage - rewards)?.sqr()?.mean_all()?;
        Ok((fit + (heads.level.sqr()?.mean_all()? + heads.nothing.sqr()?.mean_all()?)?)?)
    }

    fn project(&mut self, trainer: &Trainer) -> Result<()> {
        self.target_texts = match self.config.target_network {
            TargetNetwork::Hard { .. } => trainer.project_all(&Weights::published(self.target.values()))?,
            TargetNetwork::Soft { .. } => None,
        };
        Ok(())
    }
}

/// Parts of the scores that the losses use, each `[1, batch]` but for the last.
struct Heads {
    level: Tensor,
    nothing: Tensor,
    /// Of what was chosen, "nothing" included.
    advantage: Tensor,
    /// Of all shown items, `[slate_size, batch]`.
    advantages: Tensor,
}

impl Heads {
    fn new(scores: &Scores, chosen: &Tensor) -> Result<Self> {
        let states = scores.states.as_ref().ok_or_else(|| Error::State("the scorer has no state head".into()))?.t()?;
        let (level, nothing) = (states.narrow(0, LEVEL, 1)?, states.narrow(0, NOTHING, 1)?);
        let advantages = scores.items[ADVANTAGE].clone();
        let advantage = Tensor::cat(&[&advantages, &nothing], 0)?.gather(chosen, 0)?;
        Ok(Self { level, nothing, advantage, advantages })
    }
}

impl Objective for ValueObjective {
    fn needs_next_action(&self) -> bool {
        self.next_slate == NextSlate::Shown
    }

    fn observe(&mut self, rollout: &Rollout<CandidateObs, Slate>) {
        if self.unit.is_none() {
            self.returns.push(rollout, self.config.gamma);
        }
    }

    fn labels(&self, rollout: &Rollout<CandidateObs, Slate>) -> u64 {
        (rollout.env_steps() * self.slate_size) as u64
    }

    fn loss(&mut self, trainer: &mut Trainer, batch: &CandidateBatch) -> Result<(Tensor, Metrics)> {
        let unit = *self.unit.get_or_insert_with(|| self.returns.unit(self.config.gamma));
        let mut metrics = Metrics::new();
        let scores = trainer.scores(&batch.obs, &batch.slate)?;
        let chosen = Tensor::from_slice(&batch.chosen, (1, batch.size), trainer.device())?;
        let choice = choice_loss(&scores.items[CHOICE], &chosen)?;
        metrics.insert("click_loss".into(), f64::from(choice.to_scalar::<f32>()?));
        let heads = Heads::new(&scores, &chosen)?;
        let value = if trainer.ledger().env_steps <= self.supervised_steps {
            self.reward_loss(trainer, batch, &heads, unit)?
        } else {
            self.value_loss(trainer, batch, &heads, unit, &mut metrics)?
        };
        metrics.insert("epsilon".into(), self.epsilon(trainer.ledger().env_steps));
        Ok(((value + (choice * self.config.choice_coef)?)?, metrics))
    }

    fn updated(&mut self, trainer: &Trainer, outcome: StepOutcome) -> Result<()> {
        let moved = match self.config.target_network {
            TargetNetwork::Soft { tau } => {
                self.target.update(trainer.store(), 1.0 - tau)?;
                true
            }
            TargetNetwork::Hard { updates } => {
                let due = trainer.ledger().updates.is_multiple_of(updates);
                if due {
                    self.target.update(trainer.store(), 0.0)?;
                }
                due
            }
        };
        if moved || outcome.table_changed { self.project(trainer) } else { Ok(()) }
    }

    fn numbers(&self, ledger: &Ledger) -> Vec<(&'static str, f64)> {
        let unit = self.unit.unwrap_or_default();
        vec![(EPSILON, self.epsilon(ledger.env_steps)), (VALUE_LEVEL, unit.level), (VALUE_SCALE, unit.scale)]
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        self.target.save(state, &format!("{prefix}target/"))?;
        state.put(format!("{prefix}value_unit"), &(&self.returns, &self.unit))
    }

    fn restored(&self, state: &StateDict, prefix: &str) -> Result<Self> {
        let (returns, unit) = state.get(&format!("{prefix}value_unit"))?;
        let target = self.target.restored(state, &format!("{prefix}target/"))?;
        Ok(Self {
            config: self.config.clone(),
            learning: self.learning.clone(),
            next_slate: self.next_slate,
            supervised_steps: self.supervised_steps,
            slate_size: self.slate_size,
            target,
            target_texts: None,
            returns,
            unit,
        })
    }

    fn load_finished(&mut self, trainer: &Trainer) -> Result<()> {
        self.project(trainer)
    }
}
