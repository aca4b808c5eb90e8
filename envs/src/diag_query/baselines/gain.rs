//! Policies that ask for information.

use super::{Policy, Situation, Task, after, without};
use crate::diag_query::gain::{TIE, answer_table, entropy_bits, first_best, gains};
use crate::diag_query::model::Belief;

/// The finding with the largest information gain, or the largest gain per cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct GreedyGain {
    /// Divide by the cost. A finding that is free and tells something comes before all that cost.
    pub per_cost: bool,
    /// Declare when no finding has a gain above [`TIE`]; otherwise go on asking.
    pub stop_without_gain: bool,
}

impl Policy for GreedyGain {
    fn choose(&mut self, situation: Situation<'_>) -> Option<usize> {
        let Situation { task, belief, open, .. } = situation;
        let mut scores = gains(belief, &task.channel, open, &task.states);
        if self.stop_without_gain && scores.iter().all(|gain| *gain <= TIE) {
            return None;
        }
        if self.per_cost {
            for (score, &i) in scores.iter_mut().zip(open) {
                // 0 / 0 says nothing; a gain for nothing is worth more than any other.
                *score = if *score == 0.0 { 0.0 } else { *score / task.costs[i] };
            }
        }
        first_best(&scores).map(|at| open[at])
    }
}

/// Adaptive lookahead: the finding that begins the plan of `depth` questions, each chosen after the answers before it,
/// with the least expected entropy at its end. Depth 1 is greedy gain.
#[derive(Clone, Copy, Debug)]
pub struct Lookahead {
    /// Questions to plan, at least 1; cut to the number that is left.
    pub depth: usize,
}

impl Policy for Lookahead {
    fn choose(&mut self, situation: Situation<'_>) -> Option<usize> {
        let Situation { task, belief, open, left } = situation;
        let drops: Vec<f64> = open.iter().map(|&i| drop_by(task, belief, open, i, self.depth.min(left))).collect();
        first_best(&drops).map(|at| open[at])
    }
}

/// Expected drop of the entropy by asking `finding` and then `depth − 1` more in the best way, bits.
fn drop_by(task: &Task, belief: &mut dyn Belief, open: &[usize], finding: usize, depth: usize) -> f64 {
    let own = gains(belief, &task.channel, &[finding], &task.states)[0];
    if depth <= 1 || open.len() == 1 {
        return own;
    }
    let rest = without(open, finding);
    let posterior = belief.posterior().to_vec();
    let table = answer_table(belief, &task.channel, finding, task.states[finding]);
    let mut more = 0.0;
    for (answer, row) in table.chunks(posterior.len()).enumerate() {
        let p: f64 = row.iter().zip(&posterior).map(|(q, p)| q * p).sum();
        if p > 0.0
            && let Some(mut next) = after(belief, task, finding, answer)
        {
            more += p * best_drop(task, next.as_mut(), &rest, depth - 1);
        }
    }
    more *= 1.0 - task.channel.missing;
    if task.channel.missing > 0.0 {
        more += task.channel.missing * best_drop(task, belief, &rest, depth - 1);
    }
    own + more
}

fn best_drop(task: &Task, belief: &mut dyn Belief, open: &[usize], depth: usize) -> f64 {
    if entropy_bits(belief.posterior()) <= TIE {
        return 0.0;
    }
    if depth == 1 {
        return gains(belief, &task.channel, open, &task.states).into_iter().fold(0.0, f64::max);
    }
    open.iter().map(|&i| drop_by(task, belief, open, i, depth)).fold(0.0, f64::max)
}
