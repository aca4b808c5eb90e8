//! The update rule: targets, loss, and the gradient with respect to the outputs of the network.

use super::actor::no_legal_action;
use super::returns::Returns;
use super::{Bootstrap, DqnConfig};
use crate::losses::{TdLoss, cross_entropy, quantile_huber};
use crate::targets::{best_action, epsilon_greedy};
use retune::Result;
use retune::replay::DecisionBatch;

/// What a batch is compared with.
pub(super) struct Comparison<'a> {
    pub batch: &'a DecisionBatch,
    /// Outputs at `obs`, `[B, num_candidates, width]`.
    pub outputs: &'a [f32],
    /// Outputs of the target network at `next_obs`, in the same form.
    pub next: &'a [f32],
    /// Outputs that choose the best action at `next_obs`: of the online network in double Q-learning, else `next`.
    pub choosing: &'a [f32],
    /// ε of the policy whose expectation expected SARSA takes.
    pub epsilon: f64,
}

/// What a comparison gives beside the gradient.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Measured {
    /// Loss with its importance weights.
    pub loss: f64,
    /// Mean of Q(s, a) over the batch.
    pub q: f64,
    /// Mean of what Q is compared with.
    pub target: f64,
    /// What priorities are made of, `[B]`: Q − target for means, else the loss without its weight; for categorical
    /// distributions less the entropy of the target, which leaves the KL divergence as in Rainbow.
    pub errors: Vec<f32>,
}

/// Targets and losses of one configuration, and memory that is used again.
pub(super) struct Objective {
    returns: Returns,
    bootstrap: Bootstrap,
    loss: TdLoss,
    reward_scale: f64,
    values: Vec<f32>,
    mask: Vec<bool>,
    policy: Vec<f32>,
    probs: Vec<f32>,
    scratch: Vec<f32>,
    target: Vec<f64>,
}

impl Objective {
    pub fn new(config: &DqnConfig, returns: Returns) -> Self {
        Self {
            returns,
            bootstrap: config.bootstrap,
            loss: config.loss,
            reward_scale: config.reward_scale,
            values: Vec::new(),
            mask: Vec::new(),
            policy: Vec::new(),
            probs: Vec::new(),
            scratch: Vec::new(),
            target: Vec::new(),
        }
    }

    /// Writes the gradient of the mean weighted loss to `grads` (same form as the outputs, zeros at first), and tells
    /// what was measured.
    pub fn compare(&mut self, with: &Comparison<'_>, grads: &mut [f32]) -> Result<Measured> {
        let (size, width) = (with.batch.size, self.returns.width());
        let row = with.outputs.len() / size.max(1);
        let mut measured = Measured::default();
        for b in 0..size {
            let discount = with.batch.discount[b];
            if discount != 0.0 {
                self.policy_at_next(with, b, row / width)?;
            }
            let next = &with.next[b * row..][..row];
            let start = b * row + with.batch.action[b] as usize * width;
            let outputs = &with.outputs[start..start + width];
            let grad = &mut grads[start..start + width];
            let reward = self.reward_scale * f64::from(with.batch.reward[b]);
            let (loss, error, target) = self.compare_one(reward, f64::from(discount), next, outputs, grad);
            let weight = f64::from(with.batch.weights[b]);
            let scale = (weight / size as f64) as f32;
            grad.iter_mut().for_each(|g| *g *= scale);
            measured.loss += weight * loss / size as f64;
            measured.q += self.returns.mean(outputs) / size as f64;
            measured.target += target / size as f64;
            measured.errors.push(error as f32);
        }
        Ok(measured)
    }

    /// Loss of the outputs of one candidate against an ending that brings `reward`; writes its gradient.
    pub fn compare_ending(&mut self, reward: f64, outputs: &[f32], grad: &mut [f32]) -> f64 {
        self.compare_one(self.reward_scale * reward, 0.0, &[], outputs, grad).0
    }

    /// Loss, error and target of the outputs of one candidate; writes the gradient of the loss.
    fn compare_one(
        &mut self,
        reward: f64,
        discount: f64,
        next: &[f32],
        outputs: &[f32],
        grad: &mut [f32],
    ) -> (f64, f64, f64) {
        match self.returns {
            Returns::Mean => self.compare_mean(reward, discount, next, outputs, grad),
            Returns::Categorical(_) => self.compare_categorical(reward, discount, next, outputs, grad),
            Returns::Quantiles { kappa, .. } => {
                self.quantile_targets(reward, discount, next);
                let loss = quantile_huber(outputs, &self.target, kappa, grad);
                (loss, loss, self.target.iter().sum::<f64>() / self.target.len() as f64)
            }
        }
    }

    /// Probabilities of the candidates at the next state under the policy that the target is for.
    fn policy_at_next(&mut self, with: &Comparison<'_>, b: usize, candidates: usize) -> Result<()> {
        self.policy.clear();
        self.policy.resize(candidates, 0.0);
        if self.bootstrap == Bootstrap::Taken {
            self.policy[with.batch.next_action[b] as usize] = 1.0;
            return Ok(());
        }
        let row = candidates * self.returns.width();
        self.values.resize(candidates, 0.0);
        self.returns.means(&with.choosing[b * row..][..row], &mut self.values);
        self.mask.clear();
        self.mask.extend(with.batch.next_obs.mask[b * candidates..][..candidates].iter().map(|&m| m == 1));
        let best = best_action(&self.values, &self.mask).ok_or_else(no_legal_action)?;
        match self.bootstrap {
            Bootstrap::Expected => epsilon_greedy(&self.values, &self.mask, with.epsilon, &mut self.policy),
            Bootstrap::Greedy | Bootstrap::Taken => self.policy[best] = 1.0,
        }
        Ok(())
    }

    /// Candidates of the next state that the target looks at, with their probabilities.
    fn taken(&self) -> impl Iterator<Item = (usize, f32)> + '_ {
        self.policy.iter().copied().enumerate().filter(|(_, p)| *p > 0.0)
    }

    /// `y = r + γ^m Σ_a π(a) Q'(s', a)`. Returns loss, error and target.
    fn compare_mean(
        &self,
        reward: f64,
        discount: f64,
        next: &[f32],
        outputs: &[f32],
        grad: &mut [f32],
    ) -> (f64, f64, f64) {
        let value: f64 =
            if discount == 0.0 { 0.0 } else { self.taken().map(|(a, p)| f64::from(p) * f64::from(next[a])).sum() };
        let target = reward + discount * value;
        let error = f64::from(outputs[0]) - target;
        let (loss, slope) = self.loss.at(error);
        grad[0] = slope as f32;
        (loss, error, target)
    }

    /// Cross-entropy with the projection of `r + γ^m Z'`, Z' the mixture over π of the distributions at the next state.
    fn compare_categorical(
        &mut self,
        reward: f64,
        discount: f64,
        next: &[f32],
        outputs: &[f32],
        grad: &mut [f32],
    ) -> (f64, f64, f64) {
        let Returns::Categorical(support) = self.returns else { return (0.0, 0.0, 0.0) };
        let width = support.num_atoms();
        self.probs.clear();
        self.probs.resize(width, 0.0);
        self.scratch.resize(width, 0.0);
        self.target.resize(width, 0.0);
        if discount == 0.0 {
            // Where nothing follows, every distribution has the same image: one point at the reward.
            self.probs[0] = 1.0;
        } else {
            let policy = std::mem::take(&mut self.policy);
            for (a, p) in policy.iter().copied().enumerate().filter(|(_, p)| *p > 0.0) {
                Returns::mix(p, &next[a * width..][..width], &mut self.scratch, &mut self.probs);
            }
            self.policy = policy;
        }
        support.project(reward, discount, &self.probs, &mut self.target);
        let loss = cross_entropy(outputs, &self.target, grad);
        let entropy: f64 = self.target.iter().filter(|&&m| m > 0.0).map(|m| -m * m.ln()).sum();
        (loss, (loss - entropy).max(0.0), support.mean(&self.target))
    }

    /// `r + γ^m θ'_j(s', a')` for all quantiles j.
    fn quantile_targets(&mut self, reward: f64, discount: f64, next: &[f32]) {
        let width = self.returns.width();
        self.target.clear();
        if discount == 0.0 {
            self.target.push(reward);
            return;
        }
        let action = self.taken().next().map_or(0, |(a, _)| a);
        self.target.extend(next[action * width..][..width].iter().map(|&q| reward + discount * f64::from(q)));
    }
}
