//! Cross-entropy of the answer and squared error of the gain, in all states of labelled episodes.

use super::actor::{COSTS, GAINS, THRESHOLD};
use super::statistics::Statistics;
use super::{ANSWER, GAIN, InquirerConfig};
use crate::answers::{AnswerGroup, AnswerReport, LabelQueue, LabelledRows, answer_loss};
use crate::learning::Setup;
use crate::net::{Batcher, Network, Outputs, Weights, candidates};
use crate::policy_gradient::shuffle;
use candle_core::{Device, Tensor};
use retune::agent::{Learner, Ledger, Metrics, Rollout, Snapshot, Stop};
use retune::env::{CandidateObs, Slate, TextId};
use retune::persist::StateDict;
use retune::replay::ObsBatch;
use retune::rng::StreamRng;
use retune::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The learner of [`super::InquirerAgent`].
pub(super) struct InquirerLearner {
    config: InquirerConfig,
    group: AnswerGroup,
    network: Box<dyn Network>,
    /// Env steps of the whole run, for the schedule.
    budget: u64,
    batcher: Batcher,
    progress: Progress,
    rows: LabelledRows,
    /// Drop of the loss after each row's question, `[rows]`; `None` after an answer.
    gains: Vec<Option<f64>>,
    out: Outputs,
    grads: Outputs,
    batch: ObsBatch,
    published: Option<Arc<Snapshot>>,
}

/// Everything that is saved beside the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    config: InquirerConfig,
    threshold: f64,
    shuffle: StreamRng,
    queue: LabelQueue,
    statistics: Statistics,
    version: u64,
    checksum: String,
}

impl InquirerLearner {
    pub fn new(
        setup: &Setup<'_>,
        config: &InquirerConfig,
        group: AnswerGroup,
        network: Box<dyn Network>,
    ) -> Result<Self> {
        let progress = Progress {
            config: config.clone(),
            threshold: config.threshold,
            shuffle: setup.seed.child("shuffle").rng(),
            queue: LabelQueue::default(),
            statistics: Statistics::new(group.num_candidates()),
            version: 0,
            checksum: String::new(),
        };
        Ok(Self {
            config: config.clone(),
            group,
            network,
            budget: setup.learning.env_steps.max(1),
            batcher: Batcher::new(candidates(setup.spec)?),
            progress,
            rows: LabelledRows::default(),
            gains: Vec::new(),
            out: Outputs::default(),
            grads: Outputs::default(),
            batch: ObsBatch::default(),
            published: None,
        })
    }

    pub fn network(&self) -> &dyn Network {
        self.network.as_ref()
    }

    pub fn set_threshold(&mut self, threshold: f64) {
        self.progress.threshold = threshold;
    }

    /// What each question of the round brought under the classifier as it is: `−ln p(label | s) + ln p(label | s')`,
    /// whose expectation is the mutual information of answer and label given the state.
    fn measure(&mut self) -> Result<()> {
        self.gains.clear();
        let n = self.group.num_candidates();
        self.network.predict(Weights::Online, &self.rows.obs, &mut self.out)?;
        self.out.require_finite(self.network.heads(), self.network.updates())?;
        let mut log_probs = Vec::new();
        let mut of_label = Vec::with_capacity(self.rows.len());
        for (row, &label) in self.rows.labels.iter().enumerate() {
            let legal = |i: usize| self.rows.obs.mask[row * n + i] != 0;
            self.group.log_probs(&self.out.head(ANSWER)[row * n..][..n], legal, &mut log_probs)?;
            let at = (label as usize).checked_sub(self.group.range().start);
            let log_prob = at.and_then(|at| log_probs.get(at)).copied();
            of_label.push(log_prob.ok_or_else(|| Error::State(format!("candidate {label} is no answer")))?);
        }
        self.progress.statistics.fade();
        for row in 0..of_label.len() {
            let gain = self.rows.goes_on[row].then(|| of_label[row + 1] - of_label[row]);
            if let Some(gain) = gain {
                let (candidate, reward) = (self.rows.actions[row] as usize, f64::from(self.rows.rewards[row]));
                self.progress.statistics.push(candidate, gain, reward);
            }
            self.gains.push(gain);
        }
        Ok(())
    }

    /// One update with these rows; the report, the loss of gains and the norm of the gradient.
    fn update(&mut self, rows: &[usize], factor: f64, stop: &Stop) -> Result<(AnswerReport, f64, f64)> {
        self.batcher.gather(&self.rows.obs, rows, &mut self.batch);
        let labels: Vec<u32> = rows.iter().map(|&row| self.rows.labels[row]).collect();
        self.network.forward(&self.batch, &mut self.out)?;
        self.out.require_finite(self.network.heads(), self.network.updates())?;
        self.grads.reset(self.network.heads(), self.group.num_candidates(), rows.len());
        let grads = self.grads.head_mut(ANSWER);
        let report = answer_loss(&self.group, self.out.head(ANSWER), &self.batch.mask, &labels, 1.0, grads)?;
        let gain_loss = self.gain_loss(rows);
        self.network.backward(&self.grads)?;
        Ok((report, gain_loss, self.network.step(factor, stop)?.grad_norm))
    }

    /// Half the mean squared error of predicted gains, with its gradient written to the head.
    fn gain_loss(&mut self, rows: &[usize]) -> f64 {
        let n = self.group.num_candidates();
        let share = 1.0 / rows.len().max(1) as f64;
        let mut loss = 0.0;
        for (at, &row) in rows.iter().enumerate() {
            let Some(gain) = self.gains[row] else { continue };
            let place = at * n + self.rows.actions[row] as usize;
            let error = f64::from(self.out.head(GAIN)[place]) - gain;
            loss += 0.5 * share * error * error;
            self.grads.head_mut(GAIN)[place] = (self.config.gain_coef * share * error) as f32;
        }
        loss
    }

    fn improve(&mut self, factor: f64, stop: &Stop) -> Result<Metrics> {
        let mut metrics = Metrics::new();
        let (count, size) = (self.rows.len(), self.config.minibatch_size.min(self.rows.len()));
        if count == 0 {
            return Ok(metrics);
        }
        let mut order: Vec<usize> = (0..count).collect();
        let share = 1.0 / (self.config.update_epochs * count.div_ceil(size)) as f64;
        for _ in 0..self.config.update_epochs {
            shuffle(&mut order, &mut self.progress.shuffle);
            for rows in order.chunks(size) {
                stop.check()?;
                let (report, gain_loss, grad_norm) = self.update(rows, factor, stop)?;
                for (name, value) in [
                    ("loss", report.cross_entropy + self.config.gain_coef * gain_loss),
                    ("answer_loss", report.cross_entropy),
                    ("answer_accuracy", report.accuracy),
                    ("gain_loss", gain_loss),
                    ("grad_norm", grad_norm),
                ] {
                    *metrics.entry(name.to_owned()).or_insert(0.0) += value * share;
                }
            }
        }
        metrics.insert("learning_rate_factor".to_owned(), factor);
        Ok(metrics)
    }
}

impl Learner<CandidateObs, Slate> for InquirerLearner {
    fn snapshot(&mut self, texts: &[TextId]) -> Result<Arc<Snapshot>> {
        let net = self.network.snapshot(texts)?;
        let (gains, costs) = (self.progress.statistics.gains(), self.progress.statistics.costs());
        let threshold = self.progress.threshold as f32;
        let numbers: Vec<String> = gains.iter().chain(&costs).map(|x| format!("{:08x}", x.to_bits())).collect();
        let checksum = format!("{}+{THRESHOLD}={threshold}+{}", net.checksum, numbers.concat());
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
        params.insert(THRESHOLD.to_owned(), Tensor::new(&[threshold], &Device::Cpu)?);
        for (name, values) in [(GAINS, gains), (COSTS, costs)] {
            params.insert(name.to_owned(), Tensor::new(values, &Device::Cpu)?);
        }
        let features = net.features.clone();
        let snapshot = Arc::new(Snapshot { version: self.progress.version, checksum, params, features });
        if texts.is_empty() {
            self.published = Some(Arc::clone(&snapshot));
        }
        Ok(snapshot)
    }

    fn learn(&mut self, rollout: Rollout<CandidateObs, Slate>, stop: &Stop) -> Result<Metrics> {
        let steps = rollout.env_steps() as u64;
        let before = self.network.ledger().env_steps;
        self.rows.clear();
        self.progress.queue.push(&self.batcher, &rollout, &mut self.rows)?;
        let ledger = self.network.ledger_mut();
        ledger.env_steps += steps;
        ledger.labels += self.rows.episodes;
        if self.rows.len() == 0 {
            return Ok(Metrics::new());
        }
        self.measure()?;
        let left = 1.0 - (before as f64 / self.budget as f64).min(1.0);
        self.improve(if self.config.anneal_lr { left } else { 1.0 }, stop)
    }

    fn ledger(&self) -> Ledger {
        *self.network.ledger()
    }

    fn trainable_parameters(&self) -> usize {
        self.network.trainable_parameters()
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        self.network.save(state, &format!("{prefix}net."))?;
        state.put(format!("{prefix}inquirer"), &self.progress)
    }

    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        let progress: Progress = state.get(&format!("{prefix}inquirer"))?;
        if progress.config != self.config {
            let message = format!("saved with {:?}, this agent has {:?}", progress.config, self.config);
            return Err(Error::State(message));
        }
        if !progress.statistics.fits(self.group.num_candidates()) {
            return Err(Error::State("the saved agent has another number of candidates".to_owned()));
        }
        self.network.load(state, &format!("{prefix}net."))?;
        (self.progress, self.published) = (progress, None);
        Ok(())
    }
}
