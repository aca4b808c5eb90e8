//! Critics, policy and temperature from a replay memory.

use super::config::SacConfig;
use super::loss::{excess_entropy, policy_loss, soft_value};
use crate::learning::{RELATIVE_ENTROPY, Setup};
use crate::losses::policy::{entropy, log_softmax};
use crate::net::{Head, Network, Outputs, Weights};
use retune::agent::{Learner, Ledger, Metrics, Rollout, Snapshot, Stop};
use retune::env::{CandidateObs, Slate, TextId};
use retune::persist::StateDict;
use retune::replay::{DecisionBatch, DecisionReplay, DecisionReplayConfig};
use retune::rng::StreamRng;
use retune::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Position of the heads.
const POLICY: usize = 0;
const FIRST: usize = 1;
const SECOND: usize = 2;

/// Improves policy and critics.
pub(super) struct SacLearner {
    config: SacConfig,
    network: Box<dyn Network>,
    memory: DecisionReplay,
    draw: StreamRng,
    temperature: Temperature,
    out: Outputs,
    next: Outputs,
    target: Outputs,
    grads: Outputs,
}

/// α = e^`log_alpha`, with the moments of its Adam.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Temperature {
    log_alpha: f64,
    m: f64,
    v: f64,
    updates: i32,
}

/// Means over an update.
#[derive(Clone, Copy, Debug, Default)]
struct Report {
    policy_loss: f64,
    value_loss: f64,
    entropy: f64,
    /// Entropy over that of uniform choice; 1 where there is no choice.
    relative_entropy: f64,
    excess_entropy: f64,
    q: f64,
    grad_norm: f64,
}

impl Temperature {
    /// One step of Adam down `log_alpha·excess`, the gradient of which is `excess`: an entropy above its target lowers the
    /// temperature. (CleanRL multiplies by α as the paper does; the logarithm alone has the same zero and is steadier.)
    fn update(&mut self, excess: f64, learning_rate: f64) {
        let (beta1, beta2, eps): (f64, f64, f64) = (0.9, 0.999, 1e-4);
        self.updates += 1;
        self.m = beta1 * self.m + (1.0 - beta1) * excess;
        self.v = beta2 * self.v + (1.0 - beta2) * excess * excess;
        let (m, v) = (self.m / (1.0 - beta1.powi(self.updates)), self.v / (1.0 - beta2.powi(self.updates)));
        self.log_alpha -= learning_rate * m / (v.sqrt() + eps);
    }
}

impl SacLearner {
    pub fn new(setup: &Setup<'_>, config: &SacConfig) -> Result<Self> {
        config.validate()?;
        let heads = [Head::policy(), Head::q("q1", 1, false), Head::q("q2", 1, false)];
        let mut network = crate::net::build(setup, &config.net, &heads)?;
        network.hold(Weights::Target)?;
        let memory = DecisionReplayConfig {
            capacity: config.buffer_size,
            num_envs: setup.learning.num_envs,
            n_step: 1,
            gamma: config.gamma,
            needs_next_action: false,
            prioritized: None,
        };
        Ok(Self {
            config: config.clone(),
            network,
            memory: DecisionReplay::new(setup.spec, &memory)?,
            draw: setup.seed.child("replay").rng(),
            temperature: Temperature { log_alpha: config.alpha.ln(), m: 0.0, v: 0.0, updates: 0 },
            out: Outputs::default(),
            next: Outputs::default(),
            target: Outputs::default(),
            grads: Outputs::default(),
        })
    }

    pub fn network(&self) -> &dyn Network {
        self.network.as_ref()
    }

    /// Updates that the env steps so far pay for and that have not been made.
    fn due(&self) -> u64 {
        if self.memory.len() < self.config.learning_starts {
            return 0;
        }
        let ledger = self.network.ledger();
        let paid = ledger.env_steps.saturating_sub(self.config.learning_starts as u64);
        (paid / self.config.env_steps_per_update).saturating_sub(ledger.updates)
    }

    /// Targets of both critics: reward and discounted soft value of what follows.
    fn targets(&mut self, batch: &DecisionBatch, alpha: f64) -> Result<Vec<f64>> {
        self.network.predict(Weights::Online, &batch.next_obs, &mut self.next)?;
        self.network.predict(Weights::Target, &batch.next_obs, &mut self.target)?;
        let n = self.network.num_candidates();
        let mut log_probs = Vec::with_capacity(n);
        (0..batch.size)
            .map(|row| {
                let at = row * n..(row + 1) * n;
                let reward = f64::from(batch.reward[row]);
                // Nothing follows a terminated step, whatever its observation and mask say.
                if batch.discount[row] == 0.0 {
                    return Ok(reward);
                }
                let legal = |i: usize| batch.next_obs.mask[row * n + i] != 0;
                log_softmax(&self.next.head(POLICY)[at.clone()], legal, &mut log_probs)?;
                let (first, second) = (&self.target.head(FIRST)[at.clone()], &self.target.head(SECOND)[at]);
                Ok(reward + f64::from(batch.discount[row]) * soft_value(&log_probs, first, second, alpha))
            })
            .collect()
    }

    fn update(&mut self, stop: &Stop) -> Result<Report> {
        let batch = self.memory.sample(self.config.batch_size, 1.0, &mut self.draw)?;
        let alpha = self.temperature.log_alpha.exp();
        let targets = self.targets(&batch, alpha)?;
        let network = self.network.as_mut();
        network.forward(&batch.obs, &mut self.out)?;
        self.out.require_finite(network.heads(), network.updates())?;
        let n = network.num_candidates();
        self.grads.reset(network.heads(), n, batch.size);
        let share = 1.0 / batch.size as f64;
        let mut report = Report::default();
        let mut log_probs = Vec::with_capacity(n);
        for (row, &target) in targets.iter().enumerate() {
            let (at, taken) = (row * n, row * n + batch.action[row] as usize);
            let legal = |i: usize| batch.obs.mask[at + i] != 0;
            log_softmax(&self.out.head(POLICY)[at..at + n], legal, &mut log_probs)?;
            let (first, second) = (&self.out.head(FIRST)[at..at + n], &self.out.head(SECOND)[at..at + n]);
            let grad = &mut self.grads.head_mut(POLICY)[at..at + n];
            report.policy_loss += share * policy_loss(&log_probs, first, second, alpha, grad, share);
            report.entropy += share * entropy(&log_probs);
            let largest = ((0..n).filter(|&i| legal(i)).count() as f64).ln();
            report.relative_entropy += share * if largest > 0.0 { entropy(&log_probs) / largest } else { 1.0 };
            report.excess_entropy += share * excess_entropy(&log_probs, self.config.target_entropy_scale);
            let mut smaller = f64::INFINITY;
            for head in [FIRST, SECOND] {
                let value = f64::from(self.out.head(head)[taken]);
                report.value_loss += 0.5 * share * (value - target).powi(2);
                self.grads.head_mut(head)[taken] = (share * (value - target)) as f32;
                smaller = smaller.min(value);
            }
            report.q += share * smaller;
        }
        if !(report.value_loss + report.policy_loss).is_finite() {
            let detail = format!("{report:?}");
            return Err(Error::NonFinite { name: "loss".into(), update: network.updates(), detail });
        }
        network.backward(&self.grads)?;
        report.grad_norm = network.step(1.0, stop)?.grad_norm;
        network.track(self.config.tau)?;
        if self.config.autotune {
            self.temperature.update(report.excess_entropy, self.config.alpha_learning_rate);
        }
        Ok(report)
    }
}

impl Learner<CandidateObs, Slate> for SacLearner {
    fn snapshot(&mut self, texts: &[TextId]) -> Result<Arc<Snapshot>> {
        self.network.snapshot(texts)
    }

    fn learn(&mut self, rollout: Rollout<CandidateObs, Slate>, stop: &Stop) -> Result<Metrics> {
        self.network.ledger_mut().env_steps += rollout.env_steps() as u64;
        self.memory.push(&rollout)?;
        let due = self.due();
        let mut metrics = Metrics::new();
        for _ in 0..due {
            stop.check()?;
            let report = self.update(stop)?;
            for (name, value) in [
                ("policy_loss", report.policy_loss),
                ("value_loss", report.value_loss),
                ("entropy", report.entropy),
                (RELATIVE_ENTROPY, report.relative_entropy),
                ("alpha", self.temperature.log_alpha.exp()),
                ("q", report.q),
                ("grad_norm", report.grad_norm),
            ] {
                *metrics.entry(name.to_owned()).or_insert(0.0) += value / due as f64;
            }
        }
        Ok(metrics)
    }

    fn ledger(&self) -> Ledger {
        *self.network.ledger()
    }

    fn trainable_parameters(&self) -> usize {
        self.network.trainable_parameters()
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        self.network.save(state, prefix)?;
        self.memory.save(state, &format!("{prefix}memory/"))?;
        state.put(format!("{prefix}sac"), &(&self.draw, &self.temperature))
    }

    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        let (draw, temperature) = state.get(&format!("{prefix}sac"))?;
        let mut memory = self.memory.clone();
        memory.load(state, &format!("{prefix}memory/"))?;
        self.network.load(state, prefix)?;
        (self.draw, self.temperature, self.memory) = (draw, temperature, memory);
        Ok(())
    }
}
