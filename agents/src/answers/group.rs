//! All answers as one action.

use crate::losses::policy::log_softmax;
use retune::env::CandidateSpec;
use retune::{Error, Result};
use std::ops::Range;

/// Which candidates are answers, and where actions lie when these are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnswerGroup {
    range: Range<usize>,
    num_candidates: usize,
}

/// Logits and masks of a batch with all answers as one action, `[rows, num_actions]`. Memory is used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grouped {
    pub logits: Vec<f32>,
    pub mask: Vec<u8>,
    scratch: Vec<f64>,
}

impl Grouped {
    /// As it is, for agents without answers.
    pub fn copy(&mut self, logits: &[f32], mask: &[u8]) {
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        self.mask.clear();
        self.mask.extend_from_slice(mask);
    }
}

impl AnswerGroup {
    /// The answers of a task.
    ///
    /// # Errors
    /// [`Error::Config`] with the key of the setting that needs them, if there are none.
    pub fn new(spec: &CandidateSpec, key: &str, value: impl std::fmt::Display) -> Result<Self> {
        let (range, num_candidates) = (spec.answers.clone(), spec.num_candidates);
        if range.is_empty() || range.end > num_candidates {
            let expected = "an env that says which candidates are answers; 0 for others";
            return Err(Error::config(key, value, expected));
        }
        Ok(Self { range, num_candidates })
    }

    /// The answers.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Candidates per observation.
    pub fn num_candidates(&self) -> usize {
        self.num_candidates
    }

    /// Actions when all answers are one.
    pub fn num_actions(&self) -> usize {
        self.num_candidates - self.range.len() + 1
    }

    /// The action that stands for all answers.
    pub fn answer(&self) -> usize {
        self.range.start
    }

    /// The action that a candidate belongs to.
    pub fn action_of(&self, candidate: u32) -> u32 {
        let candidate = candidate as usize;
        let action = match candidate {
            c if c < self.range.start => c,
            c if c < self.range.end => self.range.start,
            c => c - self.range.len() + 1,
        };
        action as u32
    }

    /// The candidate of an action that is no answer.
    pub fn candidate_of(&self, action: usize) -> usize {
        if action < self.range.start { action } else { action + self.range.len() - 1 }
    }

    /// The likeliest legal answer by the classifier, of several the first; `None` if none is legal.
    pub fn likeliest(&self, logits: &[f32], legal: impl Fn(usize) -> bool) -> Option<usize> {
        let larger = |best: Option<usize>, i: usize| match best {
            Some(b) if logits[i] <= logits[b] => best,
            _ => Some(i),
        };
        self.range().filter(|&i| legal(i)).fold(None, larger)
    }

    /// Log-probabilities of the answers by the classifier, in the order of [`AnswerGroup::range`].
    ///
    /// # Errors
    /// [`Error::State`] if no answer is legal or a logit not finite.
    pub fn log_probs(&self, logits: &[f32], legal: impl Fn(usize) -> bool, out: &mut Vec<f64>) -> Result<()> {
        let start = self.range.start;
        log_softmax(&logits[self.range()], |i| legal(start + i), out)
    }

    /// Replaces `out` by logits and masks in which the answers are one action, whose logit is the logarithm of the mean
    /// of `exp(logit)` over the legal answers: a policy with equal logits takes each action alike, however many
    /// answers there are.
    pub fn group(&self, logits: &[f32], mask: &[u8], out: &mut Grouped) {
        out.logits.clear();
        out.mask.clear();
        for (logits, mask) in logits.chunks_exact(self.num_candidates).zip(mask.chunks_exact(self.num_candidates)) {
            let Range { start, end } = self.range;
            out.logits.extend_from_slice(&logits[..start]);
            out.mask.extend_from_slice(&mask[..start]);
            out.logits.push(log_mean_exp(&logits[start..end], &mask[start..end]));
            out.mask.push(u8::from(mask[start..end].iter().any(|&m| m != 0)));
            out.logits.extend_from_slice(&logits[end..]);
            out.mask.extend_from_slice(&mask[end..]);
        }
    }

    /// Forbids the answer in all rows in which a question is open.
    pub fn hold_answers(&self, grouped: &mut Grouped) {
        for mask in grouped.mask.chunks_exact_mut(self.num_actions()) {
            let answer = mask[self.answer()];
            mask[self.answer()] = 0;
            if mask.iter().all(|&m| m == 0) {
                mask[self.answer()] = answer;
            }
        }
    }

    /// Writes the gradient with respect to the logits of candidates, given that with respect to grouped logits: an
    /// answer has its share in the mean.
    ///
    /// # Shapes
    /// `logits`, `mask`, `grads`: `[rows, num_candidates]`; `grouped`: `[rows, num_actions]`.
    ///
    /// # Errors
    /// [`Error::State`] if a row has a gradient and no legal answer.
    pub fn spread(
        &self,
        grouped: &[f32],
        logits: &[f32],
        mask: &[u8],
        grads: &mut [f32],
        scratch: &mut Grouped,
    ) -> Result<()> {
        let n = self.num_candidates;
        let Range { start, end } = self.range;
        for (row, (grads, from)) in grads.chunks_exact_mut(n).zip(grouped.chunks_exact(self.num_actions())).enumerate()
        {
            let (logits, mask) = (&logits[row * n..][..n], &mask[row * n..][..n]);
            grads[..start].copy_from_slice(&from[..start]);
            grads[end..].copy_from_slice(&from[start + 1..]);
            grads[start..end].fill(0.0);
            if from[start] == 0.0 {
                continue;
            }
            log_softmax(&logits[start..end], |i| mask[start + i] != 0, &mut scratch.scratch)?;
            for (grad, share) in grads[start..end].iter_mut().zip(&scratch.scratch) {
                *grad = from[start] * share.exp() as f32;
            }
        }
        Ok(())
    }
}

/// `ln mean exp` over the legal entries; 0 if there are none.
fn log_mean_exp(logits: &[f32], mask: &[u8]) -> f32 {
    let legal = || logits.iter().zip(mask).filter(|(_, m)| **m != 0).map(|(l, _)| f64::from(*l));
    let largest = legal().fold(f64::NEG_INFINITY, f64::max);
    let count = legal().count();
    if count == 0 {
        return 0.0;
    }
    (largest + (legal().map(|l| (l - largest).exp()).sum::<f64>() / count as f64).ln()) as f32
}
