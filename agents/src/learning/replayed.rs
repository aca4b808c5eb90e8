//! The learner of everything that learns from replayed transitions: what differs is the loss.

use super::{LearningConfig, Setup, StepOutcome, Trainer};
use candle_core::Tensor;
use retune::Result;
use retune::agent::{Learner, Ledger, Metrics, Rollout, Snapshot, Stop};
use retune::env::{CandidateObs, EnvSpec, Slate, TextId};
use retune::persist::StateDict;
use retune::replay::{CandidateBatch, CandidateReplay, CandidateReplayConfig, Sampling};
use retune::rng::StreamRng;
use std::sync::Arc;

/// What is learnt from replayed transitions.
pub(crate) trait Objective: Sized {
    /// Whether transitions need the slate that was shown next.
    fn needs_next_action(&self) -> bool {
        false
    }

    /// Looks at a round before it goes into the memory.
    fn observe(&mut self, _rollout: &Rollout<CandidateObs, Slate>) {}

    /// Labels that supervised losses get from this round.
    fn labels(&self, rollout: &Rollout<CandidateObs, Slate>) -> u64;

    /// The loss of a minibatch (a scalar in the graph) and what is worth reporting of it.
    fn loss(&mut self, trainer: &mut Trainer, batch: &CandidateBatch) -> Result<(Tensor, Metrics)>;

    /// Called after each update.
    fn updated(&mut self, _trainer: &Trainer, _outcome: StepOutcome) -> Result<()> {
        Ok(())
    }

    /// Single numbers that actors need, by name.
    fn numbers(&self, ledger: &Ledger) -> Vec<(&'static str, f64)>;

    /// Puts everything that is not in the trainer into `state`.
    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()>;

    /// An objective as it was saved.
    fn restored(&self, state: &StateDict, prefix: &str) -> Result<Self>;

    /// Called on a restored objective once the trainer is restored too.
    fn load_finished(&mut self, _trainer: &Trainer) -> Result<()> {
        Ok(())
    }
}

/// Stores every round, then makes the updates that it pays for.
pub(crate) struct ReplayLearner<O> {
    objective: O,
    trainer: Trainer,
    memory: CandidateReplay,
    spec: EnvSpec,
    replay: StreamRng,
}

impl<O: Objective> ReplayLearner<O> {
    /// A fresh learner.
    ///
    /// # Errors
    /// If the env does not offer candidates.
    pub fn new(objective: O, trainer: Trainer, setup: &Setup<'_>) -> Result<Self> {
        let memory = memory_config(trainer.config(), objective.needs_next_action());
        let memory = CandidateReplay::new(setup.spec, &memory)?;
        Ok(Self { objective, trainer, memory, spec: setup.spec.clone(), replay: setup.seed.child("replay").rng() })
    }

    /// Model and settings.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    fn update(&mut self, stop: &Stop) -> Result<Metrics> {
        let size = self.trainer.config().batch_size;
        let batch = self.memory.sample(size, Sampling::WithReplacement, &mut self.replay)?;
        let (loss, mut metrics) = self.objective.loss(&mut self.trainer, &batch)?;
        let outcome = self.trainer.step(&loss, stop)?;
        metrics.insert("loss".into(), f64::from(loss.to_scalar::<f32>()?));
        metrics.insert("grad_norm".into(), outcome.grad_norm);
        self.objective.updated(&self.trainer, outcome)?;
        Ok(metrics)
    }
}

fn memory_config(config: &LearningConfig, needs_next_action: bool) -> CandidateReplayConfig {
    // No run puts in more than its budget; memory for more would only be zeros.
    let capacity = config.buffer_size.min(usize::try_from(config.env_steps).unwrap_or(usize::MAX));
    CandidateReplayConfig { capacity: capacity.max(1), num_envs: config.num_envs, needs_next_action }
}

impl<O: Objective> Learner<CandidateObs, Slate> for ReplayLearner<O> {
    fn snapshot(&mut self, texts: &[TextId]) -> Result<Arc<Snapshot>> {
        let numbers = self.objective.numbers(self.trainer.ledger());
        self.trainer.publish(&numbers, texts)
    }

    fn learn(&mut self, rollout: Rollout<CandidateObs, Slate>, stop: &Stop) -> Result<Metrics> {
        self.objective.observe(&rollout);
        self.memory.push(&rollout)?;
        let labels = self.objective.labels(&rollout);
        let ledger = self.trainer.ledger_mut();
        ledger.env_steps += rollout.env_steps() as u64;
        ledger.labels += labels;
        let mut metrics = Metrics::new();
        // With a slate of the next step to wait for, the memory may still be empty after the first round.
        let due = if self.memory.is_empty() { 0 } else { self.trainer.updates_due() };
        for _ in 0..due {
            stop.check()?;
            for (name, value) in self.update(stop)? {
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
        self.memory.save(state, prefix)?;
        self.objective.save(state, prefix)?;
        state.put(format!("{prefix}replay_stream"), &self.replay)
    }

    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        let objective = self.objective.restored(state, prefix)?;
        let replay = state.get(&format!("{prefix}replay_stream"))?;
        let needs_next = self.objective.needs_next_action();
        let mut memory = CandidateReplay::new(&self.spec, &memory_config(self.trainer.config(), needs_next))?;
        memory.load(state, prefix)?;
        // The last that can fail, and it changes nothing if it does.
        self.trainer.load(state, prefix)?;
        (self.objective, self.replay, self.memory) = (objective, replay, memory);
        self.objective.load_finished(&self.trainer)
    }
}
