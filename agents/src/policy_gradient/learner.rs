//! One learner for all recipes.

use super::actor::ASKS;
use super::classifier::{Classifier, Paid};
use super::recipe::{Estimator, Recipe};
use super::table::{Episode, Pending, Table};
use crate::answers::{AnswerGroup, AnswerReport, Grouped, LabelMemory, LabelQueue};
use crate::learning::{RELATIVE_ENTROPY, Setup, largest_entropy};
use crate::losses::policy::log_softmax;
use crate::losses::{PolicyBatch, PolicyLoss, PolicyReport, Surrogate, policy_loss};
use crate::net::{Batcher, Network, Outputs, Weights, candidates};
use crate::targets::{Steps, VTrace, discounted_returns, gae, v_trace};
use candle_core::{Device, Tensor};
use retune::agent::{Learner, Ledger, Metrics, Rollout, Snapshot, Stop};
use retune::env::{CandidateObs, Slate, TextId};
use retune::persist::StateDict;
use retune::replay::ObsBatch;
use retune::rng::StreamRng;
use retune::{Error, Result};
use std::sync::Arc;

/// Position of the heads.
const POLICY: usize = 0;
const VALUE: usize = 1;

/// Labelled states in an update of the classifier alone, where a recipe has no minibatches.
const LABELS_PER_UPDATE: usize = 512;

/// β₂ of Adam for which [`fresh_moments`] corrects.
const BETA2: f64 = 0.999;

/// Improves a policy by a recipe.
pub(super) struct PolicyLearner {
    recipe: Recipe,
    network: Box<dyn Network>,
    /// Env steps of the whole run, for schedules.
    budget: u64,
    batcher: Batcher,
    shuffle: StreamRng,
    /// What says which answer to give; `None` where the policy does.
    classifier: Option<Classifier>,
    pending: Pending,
    /// Whole episodes that wait for their group.
    ready: Vec<Episode>,
    work: Work,
}

/// Memory that is used again.
#[derive(Default)]
struct Work {
    table: Table,
    /// Values when the round began, and targets, per row of the table.
    values: Vec<f32>,
    advantages: Vec<f32>,
    returns: Vec<f32>,
    order: Vec<usize>,
    batch: ObsBatch,
    out: Outputs,
    other: Outputs,
    grads: Outputs,
    columns: Columns,
    actions: Actions,
}

/// Columns of a minibatch.
#[derive(Default)]
struct Columns {
    actions: Vec<u32>,
    log_probs: Vec<f32>,
    advantages: Vec<f32>,
    values: Vec<f32>,
    returns: Vec<f32>,
}

/// A batch with all answers as one action.
#[derive(Default)]
struct Actions {
    policy: Grouped,
    reference: Grouped,
    grads: Vec<f32>,
}

/// Means over the updates of a round.
#[derive(Default)]
struct Round {
    sums: PolicyReport,
    /// Entropy of uniform choice among the legal actions, nats.
    largest_entropy: f64,
    answers: AnswerReport,
    /// Updates with labels.
    labelled: u64,
    grad_norm: f64,
    updates: u64,
    stopped_early: bool,
}

impl PolicyLearner {
    /// The heads of `network` are the policy, the values if there are any, and the classifier if there is one.
    pub fn new(
        setup: &Setup<'_>,
        mut network: Box<dyn Network>,
        recipe: Recipe,
        answers: Option<AnswerGroup>,
    ) -> Result<Self> {
        if recipe.kl_coef > 0.0 {
            network.hold(Weights::Reference)?;
        }
        let head = network.heads().len() - 1;
        Ok(Self {
            classifier: answers.map(|group| {
                let memory = (recipe.labels.memory > 0)
                    .then(|| LabelMemory::new(recipe.labels.memory, setup.seed.child("labels").rng()));
                Classifier::new(group, head, recipe.labels.coef, memory)
            }),
            recipe,
            network,
            budget: setup.learning.env_steps.max(1),
            batcher: Batcher::new(candidates(setup.spec)?),
            shuffle: setup.seed.child("shuffle").rng(),
            pending: Pending::default(),
            ready: Vec::new(),
            work: Work::default(),
        })
    }

    pub fn network(&self) -> &dyn Network {
        self.network.as_ref()
    }

    /// The answers that a classifier gives, and the position of its head.
    pub fn answers(&self) -> Option<(AnswerGroup, usize)> {
        self.classifier.as_ref().map(|c| (c.group.clone(), c.head))
    }

    /// Puts what is to be learnt from into the table; `false` if there is nothing yet.
    fn take_in(&mut self, rollout: &Rollout<CandidateObs, Slate>) -> Result<bool> {
        let table = &mut self.work.table;
        if !self.recipe.needs_episodes() {
            table.fill(&self.batcher, rollout)?;
            return Ok(table.rows() > 0);
        }
        self.ready.extend(self.pending.push(rollout)?);
        let size = if let Estimator::Group { size, .. } = self.recipe.estimator { size } else { 1 };
        let whole = self.ready.len() / size * size;
        let episodes: Vec<Episode> = self.ready.drain(..whole).collect();
        table.fill_episodes(&self.batcher, &episodes)?;
        if let Estimator::Group { normalize, .. } = self.recipe.estimator {
            group_advantages(&episodes, size, normalize, &mut self.work.advantages);
        }
        Ok(whole > 0)
    }

    /// Advantages and value targets of the table under the parameters that acted.
    fn estimate(&mut self) -> Result<()> {
        let work = &mut self.work;
        if !self.recipe.has_values() {
            return Ok(());
        }
        self.network.predict(Weights::Online, &work.table.obs, &mut work.out)?;
        work.out.require_finite(self.network.heads(), self.network.updates())?;
        if let Some(classifier) = self.classifier.as_ref().filter(|_| self.recipe.labels.reward) {
            let Table { obs, actions, rewards, .. } = &mut work.table;
            classifier.expect(work.out.head(classifier.head), &obs.mask, actions, rewards)?;
        }
        let scale = self.recipe.reward_scale as f32;
        work.table.rewards.iter_mut().for_each(|reward| *reward *= scale);
        work.values.clear();
        work.values.extend_from_slice(work.out.head(VALUE));
        self.network.predict(Weights::Online, &work.table.ends, &mut work.other)?;
        let following = work.table.following(&work.values, work.other.head(VALUE));
        let steps = Steps::new(work.table.num_envs, &work.table.rewards, &work.table.status)?;
        let gamma = self.recipe.gamma;
        match self.recipe.estimator {
            Estimator::Gae { gae_lambda } => {
                let estimated = gae(&steps, &work.values, &following, gamma, gae_lambda)?;
                (work.advantages, work.returns) = (estimated.advantages, estimated.returns);
            }
            Estimator::Episodes => {
                work.returns = discounted_returns(&steps, Some(&following), gamma)?;
                work.advantages = work.returns.iter().zip(&work.values).map(|(r, v)| r - v).collect();
            }
            // Anew for every update.
            Estimator::VTrace(_) | Estimator::Group { .. } => {}
        }
        Ok(())
    }

    /// Share of the budget behind the warm-up that is left, at the beginning of this round.
    fn remaining(&self, steps_of_round: usize) -> f64 {
        let before = self.network.ledger().env_steps.saturating_sub(steps_of_round as u64) as f64;
        let warmup = self.recipe.labels.warmup * self.budget as f64;
        1.0 - ((before - warmup).max(0.0) / (self.budget as f64 - warmup).max(1.0)).min(1.0)
    }

    /// Whether the next round asks at random as long as a question is open.
    fn warms_up(&self) -> bool {
        let steps = self.recipe.labels.warmup * self.budget as f64;
        (self.network.ledger().env_steps as f64) < steps
    }

    fn loss(&self, remaining: f64) -> PolicyLoss {
        let recipe = &self.recipe;
        let clip_factor = if recipe.anneal_clip { remaining } else { 1.0 };
        let surrogate = match recipe.surrogate {
            Surrogate::Clipped { clip_coef } => Surrogate::Clipped { clip_coef: clip_coef * clip_factor },
            other => other,
        };
        PolicyLoss {
            surrogate,
            normalize_advantages: recipe.normalize_advantages,
            vf_coef: recipe.vf_coef,
            clip_value: recipe.clip_value.filter(|_| recipe.has_values()),
            ent_coef: recipe.ent_coef * if recipe.anneal_ent { remaining } else { 1.0 },
            kl_coef: recipe.kl_coef,
        }
    }

    /// All updates of a round.
    fn improve(&mut self, remaining: f64, factor: f64, stop: &Stop) -> Result<Round> {
        let rows = self.work.table.rows();
        let size = self.recipe.minibatch_size.unwrap_or(rows).min(rows);
        let loss = self.loss(remaining);
        let mut round = Round::default();
        self.work.order.clear();
        self.work.order.extend(0..rows);
        'epochs: for _ in 0..self.recipe.update_epochs {
            // One batch of everything is the same in any order.
            if size < rows {
                shuffle(&mut self.work.order, &mut self.shuffle);
                if let Some(classifier) = &mut self.classifier {
                    classifier.shuffle(&mut self.shuffle);
                }
            }
            for start in (0..rows).step_by(size) {
                stop.check()?;
                let part = (start, (start + size).min(rows));
                if !self.update(part, &loss, factor, stop, &mut round)? {
                    round.stopped_early = true;
                    break 'epochs;
                }
            }
        }
        Ok(round)
    }

    /// One update with the rows `order[part.0..part.1]`; `false`, and nothing has changed, if the policy has moved too
    /// far from the one that acted.
    fn update(
        &mut self,
        part: (usize, usize),
        loss: &PolicyLoss,
        factor: f64,
        stop: &Stop,
        round: &mut Round,
    ) -> Result<bool> {
        let Work { table, values, advantages, returns, order, batch, out, other, grads, columns, actions } =
            &mut self.work;
        let group = self.classifier.as_ref().map(|c| &c.group);
        let rows = &order[part.0..part.1];
        let whole = rows.len() == table.rows();
        let obs = if whole {
            &table.obs
        } else {
            self.batcher.gather(&table.obs, rows, batch);
            &*batch
        };
        let fresh = fresh_moments(&self.recipe, self.network.updates());
        let network = self.network.as_mut();
        if loss.kl_coef != 0.0 {
            network.predict(Weights::Reference, obs, other)?;
        }
        network.forward(obs, out)?;
        out.require_finite(network.heads(), network.updates())?;
        if let Estimator::VTrace(config) = &self.recipe.estimator {
            // The bootstrap values change with every update, too.
            let mut ends = Outputs::default();
            network.predict(Weights::Online, &table.ends, &mut ends)?;
            let following = table.following(out.head(VALUE), ends.head(VALUE));
            let log_rhos = log_ratios(group, out.head(POLICY), table)?;
            let steps = Steps::new(table.num_envs, &table.rewards, &table.status)?;
            let inputs = VTrace { values: out.head(VALUE), following: &following, log_rhos: &log_rhos };
            let targets = v_trace(&steps, inputs, config)?;
            (*advantages, *returns) = (targets.pg_advantages, targets.value_targets);
        }
        columns.gather(rows, table, advantages, values, returns);
        columns.group(group);
        actions.group(group, out.head(POLICY), &obs.mask, if loss.kl_coef != 0.0 { other.head(POLICY) } else { &[] });
        let has_values = self.recipe.has_values();
        let empty: &[f32] = &[];
        let decisions = PolicyBatch {
            logits: &actions.policy.logits,
            mask: &actions.policy.mask,
            actions: &columns.actions,
            old_log_probs: &columns.log_probs,
            advantages: &columns.advantages,
            values: if has_values { out.head(VALUE) } else { empty },
            old_values: if loss.clip_value.is_some() { &columns.values } else { empty },
            returns: if has_values { &columns.returns } else { empty },
            reference: &actions.reference.logits,
        };
        grads.reset(network.heads(), network.num_candidates(), rows.len());
        let (grad_logits, grad_values) = split(grads, has_values);
        actions.grads.resize(decisions.logits.len(), 0.0);
        let report = policy_loss(loss, &decisions, &mut actions.grads, grad_values)?;
        spread(group, &actions.grads, (out.head(POLICY), &obs.mask), grad_logits, &mut actions.reference)?;
        if !report.total_loss.is_finite() {
            let detail = format!("{report:?}");
            return Err(Error::NonFinite { name: "loss".into(), update: network.updates(), detail });
        }
        if self.recipe.target_kl.is_some_and(|limit| report.kl_k3 > 1.5 * limit) {
            return Ok(false);
        }
        network.backward(grads)?;
        if let Some(classifier) = &mut self.classifier {
            let size = self.recipe.minibatch_size.unwrap_or(order.len()).min(order.len());
            let parts = (part.0 / size, order.len().div_ceil(size));
            round.add_answers(classifier.backward(network, &self.batcher, parts, size)?);
        }
        round.largest_entropy += largest_entropy(&actions.policy.mask, rows.len());
        round.add(&report, network.step(factor * fresh, stop)?.grad_norm);
        Ok(true)
    }

    /// The updates of the classifier alone that end the warm-up.
    fn learn_labels(&mut self, stop: &Stop) -> Result<Metrics> {
        let mut round = Round::default();
        let size = self.recipe.minibatch_size.unwrap_or(LABELS_PER_UPDATE);
        let Some(classifier) = &mut self.classifier else { return Ok(Metrics::new()) };
        for _ in 0..self.recipe.labels.updates {
            stop.check()?;
            let network = self.network.as_mut();
            round.add_answers(classifier.backward(network, &self.batcher, (0, 1), size)?);
            network.step(1.0, stop)?;
        }
        let share = 1.0 / round.labelled.max(1) as f64;
        Ok(Metrics::from([
            ("answer_loss".to_owned(), round.answers.cross_entropy * share),
            ("answer_accuracy".to_owned(), round.answers.accuracy * share),
        ]))
    }

    fn metrics(&self, round: &Round, factor: f64) -> Metrics {
        let share = 1.0 / round.updates.max(1) as f64;
        let sums = &round.sums;
        let mut metrics = Metrics::from([
            ("loss".to_owned(), sums.total_loss * share),
            ("policy_loss".to_owned(), sums.policy_loss * share),
            ("entropy".to_owned(), sums.entropy * share),
            ("approx_kl".to_owned(), sums.kl_k3 * share),
            ("clip_fraction".to_owned(), sums.clip_fraction * share),
            ("grad_norm".to_owned(), round.grad_norm * share),
            ("learning_rate_factor".to_owned(), factor),
            ("stopped_early".to_owned(), f64::from(u8::from(round.stopped_early))),
        ]);
        // Without a choice anywhere there is nothing that could collapse.
        if round.largest_entropy > 0.0 {
            metrics.insert(RELATIVE_ENTROPY.to_owned(), sums.entropy / round.largest_entropy);
        }
        if self.classifier.is_some() {
            let share = 1.0 / round.labelled.max(1) as f64;
            metrics.insert("answer_loss".to_owned(), round.answers.cross_entropy * share);
            metrics.insert("answer_accuracy".to_owned(), round.answers.accuracy * share);
        }
        if self.recipe.kl_coef > 0.0 {
            metrics.insert("reference_kl".to_owned(), sums.reference_kl * share);
        }
        if self.recipe.has_values() {
            metrics.insert("value_loss".to_owned(), sums.value_loss * share);
            let mean =
                self.work.values.iter().map(|&v| f64::from(v)).sum::<f64>() / self.work.values.len().max(1) as f64;
            metrics.insert("value".to_owned(), mean);
            let explained = explained_variance(&self.work.values, &self.work.returns);
            metrics.insert("explained_variance".to_owned(), explained);
        }
        metrics
    }
}

impl Learner<CandidateObs, Slate> for PolicyLearner {
    fn snapshot(&mut self, texts: &[TextId]) -> Result<Arc<Snapshot>> {
        let snapshot = self.network.snapshot(texts)?;
        if self.recipe.labels.warmup == 0.0 {
            return Ok(snapshot);
        }
        // The warm-up ends once, so one more keeps versions in order.
        let asks = self.warms_up();
        let mut snapshot = Snapshot::clone(&snapshot);
        snapshot.version += u64::from(!asks);
        snapshot.checksum += if asks { "+asks" } else { "+answers" };
        let number = if asks { 1f32 } else { 0.0 };
        snapshot.params.insert(ASKS.to_owned(), Tensor::new(&[number], &Device::Cpu)?);
        Ok(Arc::new(snapshot))
    }

    fn learn(&mut self, rollout: Rollout<CandidateObs, Slate>, stop: &Stop) -> Result<Metrics> {
        let steps = rollout.env_steps();
        let asked = self.warms_up();
        self.network.ledger_mut().env_steps += steps as u64;
        if let Some(classifier) = &mut self.classifier {
            self.network.ledger_mut().labels += classifier.take_in(&self.batcher, &rollout)?;
        }
        if asked {
            // Nothing that a policy did; the classifier begins once all of it is there.
            return if self.warms_up() { Ok(Metrics::new()) } else { self.learn_labels(stop) };
        }
        if !self.take_in(&rollout)? {
            return Ok(Metrics::new());
        }
        self.estimate()?;
        let remaining = self.remaining(steps);
        let factor = if self.recipe.anneal_lr { remaining } else { 1.0 };
        let round = self.improve(remaining, factor, stop)?;
        Ok(self.metrics(&round, factor))
    }

    fn ledger(&self) -> Ledger {
        *self.network.ledger()
    }

    fn trainable_parameters(&self) -> usize {
        self.network.trainable_parameters()
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        self.network.save(state, prefix)?;
        let queue = self.classifier.as_ref().map(|c| (&c.queue, &c.paid));
        if let Some(memory) = self.classifier.as_ref().and_then(|c| c.memory.as_ref()) {
            memory.save(state, &format!("{prefix}labels."))?;
        }
        let own = (self.recipe.name, &self.shuffle, &self.pending, &self.ready, queue);
        state.put(format!("{prefix}policy_gradient"), &own)
    }

    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        type Saved = (String, StreamRng, Pending, Vec<Episode>, Option<(LabelQueue, Paid)>);
        let (name, shuffle, pending, ready, queue): Saved = state.get(&format!("{prefix}policy_gradient"))?;
        if name != self.recipe.name {
            let own = self.recipe.name;
            return Err(Error::State(format!("the saved agent is {name}, this one is {own}")));
        }
        if queue.is_some() != self.classifier.is_some() {
            let message = "the saved agent and this one do not both have a classifier of answers";
            return Err(Error::State(message.to_owned()));
        }
        self.network.load(state, prefix)?;
        if let (Some(classifier), Some(queue)) = (&mut self.classifier, queue) {
            if let Some(memory) = &mut classifier.memory {
                memory.load(&self.batcher, state, &format!("{prefix}labels."))?;
            }
            (classifier.queue, classifier.paid) = queue;
        }
        (self.shuffle, self.pending, self.ready) = (shuffle, pending, ready);
        Ok(())
    }
}

impl Columns {
    fn gather(&mut self, rows: &[usize], table: &Table, advantages: &[f32], values: &[f32], returns: &[f32]) {
        fn pick<T: Copy>(to: &mut Vec<T>, from: &[T], rows: &[usize]) {
            to.clear();
            if !from.is_empty() {
                to.extend(rows.iter().map(|&row| from[row]));
            }
        }
        pick(&mut self.actions, &table.actions, rows);
        pick(&mut self.log_probs, &table.log_probs, rows);
        pick(&mut self.advantages, advantages, rows);
        pick(&mut self.values, values, rows);
        pick(&mut self.returns, returns, rows);
    }
}

impl Columns {
    /// Puts actions in the place of candidates.
    fn group(&mut self, group: Option<&AnswerGroup>) {
        if let Some(group) = group {
            self.actions.iter_mut().for_each(|action| *action = group.action_of(*action));
        }
    }
}

impl Actions {
    /// Fills logits and masks of the policy and, where there are any, of the reference.
    fn group(&mut self, group: Option<&AnswerGroup>, logits: &[f32], mask: &[u8], reference: &[f32]) {
        for (logits, to) in [(logits, &mut self.policy), (reference, &mut self.reference)] {
            match group {
                Some(group) => group.group(logits, mask, to),
                None => to.copy(logits, mask),
            }
        }
    }
}

/// Gradients of actions to those of candidates.
fn spread(
    group: Option<&AnswerGroup>,
    grads: &[f32],
    (logits, mask): (&[f32], &[u8]),
    to: &mut [f32],
    scratch: &mut Grouped,
) -> Result<()> {
    match group {
        Some(group) => group.spread(grads, logits, mask, to, scratch),
        None => {
            to.copy_from_slice(grads);
            Ok(())
        }
    }
}

impl Round {
    fn add_answers(&mut self, report: Option<AnswerReport>) {
        let Some(report) = report else { return };
        self.answers.cross_entropy += report.cross_entropy;
        self.answers.accuracy += report.accuracy;
        self.labelled += 1;
    }

    fn add(&mut self, report: &PolicyReport, grad_norm: f64) {
        let sums = &mut self.sums;
        sums.total_loss += report.total_loss;
        sums.policy_loss += report.policy_loss;
        sums.value_loss += report.value_loss;
        sums.entropy += report.entropy;
        sums.clip_fraction += report.clip_fraction;
        sums.kl_k3 += report.kl_k3;
        sums.reference_kl += report.reference_kl;
        self.grad_norm += grad_norm;
        self.updates += 1;
    }
}

/// √(1 − β₂^k) in the k-th update of the policy, if the classifier was trained alone before. Adam's own correction has
/// run out by then, but the second moments of the policy are still as good as zero, and its first steps would be ten
/// times as large as later ones.
fn fresh_moments(recipe: &Recipe, updates: u64) -> f64 {
    if recipe.labels.warmup == 0.0 || recipe.labels.updates == 0 {
        return 1.0;
    }
    let k = updates.saturating_sub(recipe.labels.updates as u64) + 1;
    (1.0 - BETA2.powf(k as f64)).sqrt()
}

/// Gradients of logits and of values.
fn split(grads: &mut Outputs, has_values: bool) -> (&mut [f32], &mut [f32]) {
    match grads.heads_mut().split_first_mut() {
        Some((policy, [value, ..])) if has_values => (policy, value),
        Some((policy, _)) => (policy, &mut []),
        None => (&mut [], &mut []),
    }
}

/// `ln π(a) − ln μ(a)` for each row of the table.
fn log_ratios(group: Option<&AnswerGroup>, logits: &[f32], table: &Table) -> Result<Vec<f32>> {
    let mut actions = Actions::default();
    actions.group(group, logits, &table.obs.mask, &[]);
    let Grouped { logits, mask, .. } = &actions.policy;
    let n = logits.len() / table.rows().max(1);
    let mut log_probs = Vec::with_capacity(n);
    let one = |(row, (&candidate, &old)): (usize, (&u32, &f32))| {
        let action = group.map_or(candidate, |g| g.action_of(candidate));
        log_softmax(&logits[row * n..][..n], |i| mask[row * n + i] != 0, &mut log_probs)?;
        Ok(log_probs[action as usize] as f32 - old)
    };
    table.actions.iter().zip(&table.log_probs).enumerate().map(one).collect()
}

/// `R − mean R` of each group, over its standard deviation if wanted, for every step of each episode.
fn group_advantages(episodes: &[Episode], size: usize, normalize: bool, out: &mut Vec<f32>) {
    out.clear();
    for group in episodes.chunks(size) {
        let count = group.len() as f64;
        let mean = group.iter().map(Episode::total).sum::<f64>() / count;
        let variance = group.iter().map(|e| (e.total() - mean).powi(2)).sum::<f64>() / count;
        let scale = if normalize { 1.0 / (variance.sqrt() + 1e-8) } else { 1.0 };
        for episode in group {
            let advantage = ((episode.total() - mean) * scale) as f32;
            out.extend(std::iter::repeat_n(advantage, episode.len()));
        }
    }
}

/// 1 − Var(R − V)/Var(R); 0 where returns do not vary.
fn explained_variance(values: &[f32], returns: &[f32]) -> f64 {
    let variance = |of: &dyn Fn(usize) -> f64| {
        let count = returns.len().max(1) as f64;
        let mean = (0..returns.len()).map(of).sum::<f64>() / count;
        (0..returns.len()).map(|i| (of(i) - mean).powi(2)).sum::<f64>() / count
    };
    let total = variance(&|i| f64::from(returns[i]));
    if total == 0.0 { 0.0 } else { 1.0 - variance(&|i| f64::from(returns[i] - values[i])) / total }
}

/// A uniformly random order (Fisher and Yates).
pub(crate) fn shuffle(order: &mut [usize], rng: &mut StreamRng) {
    for i in (1..order.len()).rev() {
        order.swap(i, rng.below(i + 1));
    }
}
