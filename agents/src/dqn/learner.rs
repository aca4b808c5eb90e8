//! Stores every round, then makes the updates that it calls for.

use super::DqnConfig;
use super::actor::EPSILON;
use super::hindsight::Hindsight;
use super::objective::{Comparison, Measured, Objective};
use super::returns::Returns;
use crate::answers::AnswerGroup;
use crate::learning::Setup;
use crate::net::{self, Batcher, Head, Network, Outputs, Weights};
use crate::q_learning::TargetNetwork;
use candle_core::{Device, Tensor};
use retune::agent::{Learner, Ledger, Metrics, Rollout, Snapshot, Stop};
use retune::env::{CandidateObs, EnvSpec, Slate, TextId};
use retune::persist::StateDict;
use retune::replay::{DecisionReplay, DecisionReplayConfig};
use retune::rng::StreamRng;
use retune::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The learner of [`super::DqnAgent`].
pub(super) struct DqnLearner {
    config: DqnConfig,
    /// Env steps that schedules are laid out over.
    budget: u64,
    spec: EnvSpec,
    net: Box<dyn Network>,
    memory: DecisionReplay,
    memory_config: DecisionReplayConfig,
    objective: Objective,
    /// The answers and what labels say of them, where labels are used.
    answers: Option<AnswerGroup>,
    hindsight: Option<Hindsight>,
    progress: Progress,
    published: Option<Arc<Snapshot>>,
    /// Outputs that are used again: at the state, at the next state for valuing and for choosing, and gradients.
    buffers: [Outputs; 4],
}

/// Everything but network and memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    config: DqnConfig,
    budget: u64,
    env_steps: u64,
    /// Training phases so far.
    phases: u64,
    /// Draws of minibatches.
    replay: StreamRng,
    /// Noise of noisy layers.
    noise: StreamRng,
    version: u64,
    checksum: String,
}

impl DqnLearner {
    /// A fresh learner; `section` is where the settings of `config` stand, for messages.
    pub fn new(setup: &Setup<'_>, config: &DqnConfig, section: &str) -> Result<Self> {
        config.validate(section)?;
        if setup.slate_size()? != 1 {
            let expected = "this family chooses one candidate; agents over slates are q_learning and sarsa";
            return Err(Error::config("env.slate_size", setup.slate_size()?, expected));
        }
        let budget = setup.learning.env_steps.max(1);
        if config.learning_starts >= budget {
            let expected = format!("must be below the budget of {budget} env steps");
            return Err(Error::config(&format!("{section}.learning_starts"), config.learning_starts, expected));
        }
        let head = Head::q("q", config.outputs(), config.dueling);
        let mut net = net::build(setup, &config.net, &[head])?;
        net.hold(Weights::Target)?;
        let memory_config = memory_config(config, setup);
        let memory = DecisionReplay::new(setup.spec, &memory_config)?;
        let objective = Objective::new(config, Returns::new(config)?);
        let answers = answers(setup, config, section)?;
        let hindsight = answers.as_ref().map(|group| hindsight(setup, config, group)).transpose()?;
        let progress = Progress {
            config: config.clone(),
            budget,
            env_steps: 0,
            phases: 0,
            replay: setup.seed.child("replay").rng(),
            noise: setup.seed.child("noise").rng(),
            version: 0,
            checksum: String::new(),
        };
        Ok(Self {
            config: config.clone(),
            budget,
            spec: setup.spec.clone(),
            net,
            memory,
            memory_config,
            objective,
            answers,
            hindsight,
            progress,
            published: None,
            buffers: Default::default(),
        })
    }

    /// The answers, where labels are used.
    pub fn answers(&self) -> Option<AnswerGroup> {
        self.answers.clone()
    }

    pub fn network(&self) -> &dyn Network {
        self.net.as_ref()
    }

    #[cfg(test)]
    pub fn network_mut(&mut self) -> &mut dyn Network {
        self.net.as_mut()
    }

    #[cfg(test)]
    pub fn replay_update(&mut self) -> Result<()> {
        self.update(&Stop::new()).map(drop)
    }

    /// Share of the budget that is spent.
    fn share(&self) -> f64 {
        self.progress.env_steps as f64 / self.budget as f64
    }

    fn epsilon(&self) -> f64 {
        self.config.exploration.at(self.share())
    }

    /// One update. If it fails on a number that is not finite, the learner is as it was before: saved then, it fails
    /// again in the same way when loaded, which makes every failure one that can be looked into.
    fn update(&mut self, stop: &Stop) -> Result<Updated> {
        let streams = (self.progress.replay.clone(), self.progress.noise.clone());
        let labels = self.hindsight.as_mut().map(|hindsight| hindsight.stream().clone());
        let done = self.try_update(stop);
        if matches!(done, Err(Error::NonFinite { .. })) {
            (self.progress.replay, self.progress.noise) = streams;
            if let (Some(hindsight), Some(labels)) = (&mut self.hindsight, labels) {
                *hindsight.stream() = labels;
            }
        }
        done
    }

    fn try_update(&mut self, stop: &Stop) -> Result<Updated> {
        let beta = self.config.beta(self.share());
        let batch = self.memory.sample(self.config.batch_size, beta, &mut self.progress.replay)?;
        let update = self.net.updates();
        let [outputs, next, choosing, grads] = &mut self.buffers;
        if self.config.net.noisy {
            self.net.resample(Weights::Target, Some(&mut self.progress.noise))?;
        }
        self.net.predict(Weights::Target, &batch.next_obs, next)?;
        if self.config.double_q {
            if self.config.net.noisy {
                self.net.resample(Weights::Online, Some(&mut self.progress.noise))?;
            }
            self.net.predict(Weights::Online, &batch.next_obs, choosing)?;
        }
        if self.config.net.noisy {
            self.net.resample(Weights::Online, Some(&mut self.progress.noise))?;
        }
        self.net.forward(&batch.obs, outputs)?;
        let heads = self.net.heads();
        next.require_finite(heads, update)?;
        outputs.require_finite(heads, update)?;
        grads.reset(heads, self.net.num_candidates(), batch.size);
        let comparison = Comparison {
            batch: &batch,
            outputs: outputs.head(0),
            next: next.head(0),
            choosing: if self.config.double_q { choosing.head(0) } else { next.head(0) },
            epsilon: self.config.exploration.at(self.progress.env_steps as f64 / self.budget as f64),
        };
        let measured = self.objective.compare(&comparison, grads.head_mut(0))?;
        if !measured.loss.is_finite() {
            let detail = format!("{} on the transitions at {:?}", measured.loss, batch.positions);
            return Err(Error::NonFinite { name: "loss".into(), update, detail });
        }
        self.net.backward(grads)?;
        let label_loss = match &mut self.hindsight {
            Some(hindsight) => hindsight.backward(self.net.as_mut(), &mut self.objective, self.config.batch_size)?,
            None => None,
        };
        let factor = self.config.learning_rate_factor(self.progress.env_steps as f64 / self.budget as f64);
        let report = self.net.step(factor, stop)?;
        self.memory.update_priorities(&batch.positions, &measured.errors)?;
        self.follow()?;
        Ok(Updated { measured, label_loss, grad_norm: report.grad_norm })
    }

    /// Lets the target network follow.
    fn follow(&mut self) -> Result<()> {
        match self.config.target_network {
            TargetNetwork::Soft { tau } => self.net.track(tau),
            TargetNetwork::Hard { updates } if self.net.updates().is_multiple_of(updates) => {
                self.net.hold(Weights::Target)
            }
            TargetNetwork::Hard { .. } => Ok(()),
        }
    }

    /// All updates that are due, into means over them.
    fn train(&mut self, stop: &Stop) -> Result<Metrics> {
        let mut metrics = Metrics::new();
        // With n-step sums or a next action to wait for, the memory may still be empty after the first rounds.
        if self.memory.is_empty() {
            return Ok(metrics);
        }
        let phases = self.config.phases_after(self.progress.env_steps).saturating_sub(self.progress.phases);
        let count = phases * self.config.gradient_steps;
        for _ in 0..count {
            stop.check()?;
            let Updated { measured, label_loss, grad_norm } = self.update(stop)?;
            let error = measured.errors.iter().map(|e| f64::from(e.abs())).sum::<f64>() / measured.errors.len() as f64;
            let values = [
                ("loss", measured.loss),
                ("td_error", error),
                ("q", measured.q),
                ("target", measured.target),
                ("grad_norm", grad_norm),
            ];
            for (name, value) in values {
                *metrics.entry(name.into()).or_insert(0.0) += value / count as f64;
            }
            if let Some(loss) = label_loss {
                *metrics.entry("label_loss".into()).or_insert(0.0) += loss / count as f64;
            }
        }
        self.progress.phases += phases;
        if metrics.contains_key("q") {
            metrics.insert("epsilon".into(), self.epsilon());
            metrics.insert("memory".into(), self.memory.len() as f64);
        }
        Ok(metrics)
    }
}

/// What one update measured.
struct Updated {
    measured: Measured,
    label_loss: Option<f64>,
    grad_norm: f64,
}

fn answers(setup: &Setup<'_>, config: &DqnConfig, section: &str) -> Result<Option<AnswerGroup>> {
    let (key, coef) = (format!("{section}.label_coef"), config.label_coef);
    (coef > 0.0).then(|| AnswerGroup::new(net::candidates(setup.spec)?, &key, coef)).transpose()
}

fn hindsight(setup: &Setup<'_>, config: &DqnConfig, group: &AnswerGroup) -> Result<Hindsight> {
    let batcher = Batcher::new(net::candidates(setup.spec)?);
    let states = if config.label_memory > 0 { config.label_memory } else { config.buffer_size };
    Ok(Hindsight::new(group.clone(), batcher, config.label_coef, states, setup.seed.child("labels").rng()))
}

fn memory_config(config: &DqnConfig, setup: &Setup<'_>) -> DecisionReplayConfig {
    // No run puts in more than its budget; memory for more would only be zeros.
    let budget = usize::try_from(setup.learning.env_steps).unwrap_or(usize::MAX);
    DecisionReplayConfig {
        capacity: config.buffer_size.min(budget).max(config.n_step),
        num_envs: setup.learning.num_envs,
        n_step: config.n_step,
        gamma: config.gamma,
        needs_next_action: config.bootstrap == super::Bootstrap::Taken,
        prioritized: config.prioritized.map(|p| p.priorities),
    }
}

impl Learner<CandidateObs, Slate> for DqnLearner {
    fn snapshot(&mut self, texts: &[TextId]) -> Result<Arc<Snapshot>> {
        let net = self.net.snapshot(texts)?;
        let epsilon = self.epsilon() as f32;
        let checksum = format!("{}+{EPSILON}={epsilon}", net.checksum);
        // One with the vectors of other texts, which a measurement asks for, is made anew and not kept.
        let known = self.published.as_ref().filter(|p| texts.is_empty() && p.checksum == checksum);
        if let Some(published) = known {
            return Ok(Arc::clone(published));
        }
        if self.progress.checksum != checksum {
            self.progress.version += 1;
            self.progress.checksum.clone_from(&checksum);
        }
        let mut params = net.params.clone();
        params.insert(EPSILON.to_owned(), Tensor::new(&[epsilon], &Device::Cpu)?);
        let features = net.features.clone();
        let snapshot = Arc::new(Snapshot { version: self.progress.version, checksum, params, features });
        if texts.is_empty() {
            self.published = Some(Arc::clone(&snapshot));
        }
        Ok(snapshot)
    }

    fn learn(&mut self, rollout: Rollout<CandidateObs, Slate>, stop: &Stop) -> Result<Metrics> {
        self.memory.push(&rollout)?;
        if let Some(hindsight) = &mut self.hindsight {
            self.net.ledger_mut().labels += hindsight.take_in(&rollout)?;
        }
        let steps = rollout.env_steps() as u64;
        self.progress.env_steps += steps;
        self.net.ledger_mut().env_steps += steps;
        self.train(stop)
    }

    fn ledger(&self) -> Ledger {
        *self.net.ledger()
    }

    fn trainable_parameters(&self) -> usize {
        self.net.trainable_parameters()
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        self.net.save(state, &format!("{prefix}net."))?;
        self.memory.save(state, prefix)?;
        if let Some(hindsight) = &self.hindsight {
            hindsight.save(state, &format!("{prefix}labels."))?;
        }
        state.put(format!("{prefix}dqn"), &self.progress)
    }

    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        let progress: Progress = state.get(&format!("{prefix}dqn"))?;
        if progress.config != self.config || progress.budget != self.budget {
            let message = format!(
                "saved with {:?} for {} env steps, this agent has {:?} for {}",
                progress.config, progress.budget, self.config, self.budget
            );
            return Err(Error::State(message));
        }
        let mut memory = DecisionReplay::new(&self.spec, &self.memory_config)?;
        memory.load(state, prefix)?;
        let labels = format!("{prefix}labels.");
        let hindsight = self.hindsight.as_ref().map(|now| now.restored(state, &labels)).transpose()?;
        // The last that can fail, and it changes nothing if it does.
        self.net.load(state, &format!("{prefix}net."))?;
        (self.memory, self.hindsight, self.progress, self.published) = (memory, hindsight, progress, None);
        Ok(())
    }
}
