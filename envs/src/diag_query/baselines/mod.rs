//! Policies without learning, and what they are worth exactly.
//!
//! All of them choose from a [`Belief`]: with that of the true model they are strong, with that of a wrong one (naive
//! Bayes, a network fitted to few cases) they are what a practitioner would have. Ties go to the first finding.

pub mod exact;
mod gain;
#[cfg(test)]
mod golden;
pub mod lattice;
mod simple;
pub mod simulate;
#[cfg(test)]
mod tests;
mod utility;
pub mod walk;

pub use gain::{GreedyGain, Lookahead};
pub use simple::{RandomQuestions, StaticOrder, Threshold};
pub use utility::ExpectedUtility;

use super::gain::Channel;
use super::model::Belief;
use super::payoffs::Payoffs;

/// The decision problem as planners see it.
#[derive(Clone, Debug)]
pub struct Task {
    /// States of each finding.
    pub states: Vec<usize>,
    /// Cost of each finding.
    pub costs: Vec<f64>,
    /// λ: what a unit of cost takes from the return.
    pub lambda: f64,
    /// What declaring is worth.
    pub utilities: Payoffs,
    /// How answers come about, as the planner believes.
    pub channel: Channel,
}

impl Task {
    /// +1 right, −1 wrong, exact answers, each of cost 1 at no price.
    #[must_use]
    pub fn plain(classes: usize, states: &[usize]) -> Self {
        Self {
            states: states.to_vec(),
            costs: vec![1.0; states.len()],
            lambda: 0.0,
            utilities: Payoffs::simple(classes),
            channel: Channel::exact(),
        }
    }

    /// The diagnosis of the highest expected utility under weights over diagnoses (the first of equals), and that
    /// utility times the sum of the weights.
    #[must_use]
    pub fn declare(&self, weights: &[f64]) -> (usize, f64) {
        let values = self.utilities.expected(weights);
        let mut best = (0, values[0]);
        for (d, &value) in values.iter().enumerate().skip(1) {
            // Rounding must not break a tie.
            if value > best.1 + 1e-12 {
                best = (d, value);
            }
        }
        best
    }
}

/// What a policy may look at.
pub struct Situation<'a> {
    /// The decision problem.
    pub task: &'a Task,
    /// What is believed.
    pub belief: &'a mut dyn Belief,
    /// Findings that may be asked, ascending.
    pub open: &'a [usize],
    /// Questions left, at least 1.
    pub left: usize,
}

/// Chooses the next question.
pub trait Policy {
    /// A finding of `situation.open`, or `None` to declare the diagnosis of the highest expected utility.
    fn choose(&mut self, situation: Situation<'_>) -> Option<usize>;
}

/// Makes the belief after an answer; `None` if the model holds it to be impossible.
pub(crate) fn after(belief: &dyn Belief, task: &Task, finding: usize, answer: usize) -> Option<Box<dyn Belief>> {
    let mut next = belief.boxed();
    let likelihood = task.channel.likelihood(finding, task.states[finding], answer);
    next.observe(finding, &likelihood).ok().map(|()| next)
}

/// `open` without `finding`.
pub(crate) fn without(open: &[usize], finding: usize) -> Vec<usize> {
    open.iter().copied().filter(|&i| i != finding).collect()
}
