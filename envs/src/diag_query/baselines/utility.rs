//! Expected utility: ask if that is worth more than declaring now.

use super::{Policy, Situation, Task, after, without};
use crate::diag_query::gain::answer_table;
use crate::diag_query::model::Belief;

/// What asking must be worth more than declaring.
const STRICTLY: f64 = 1e-12;

/// Expectimax over the next `steps` questions: `−λ cᵢ + Σ_a P(a | e) max_d U` against declaring now. With two steps the
/// second question depends on the answer to the first; without that, gates and locks stay invisible.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedUtility {
    /// Questions to plan, at least 1.
    pub steps: usize,
}

impl Policy for ExpectedUtility {
    fn choose(&mut self, situation: Situation<'_>) -> Option<usize> {
        let Situation { task, belief, open, left } = situation;
        best_question(task, belief, open, self.steps.min(left)).0
    }
}

/// The best question, or `None` if declaring is as good, and the value of that choice.
fn best_question(task: &Task, belief: &mut dyn Belief, open: &[usize], steps: usize) -> (Option<usize>, f64) {
    let mut best = (None, task.declare(belief.posterior()).1);
    if steps > 0 {
        for &finding in open {
            let value = value_of(task, belief, open, finding, steps);
            if value > best.1 + STRICTLY {
                best = (Some(finding), value);
            }
        }
    }
    best
}

/// What asking `finding` is worth with `steps` questions in all.
fn value_of(task: &Task, belief: &mut dyn Belief, open: &[usize], finding: usize, steps: usize) -> f64 {
    let posterior = belief.posterior().to_vec();
    let table = answer_table(belief, &task.channel, finding, task.states[finding]);
    let rest = if steps > 1 { without(open, finding) } else { Vec::new() };
    let mut known = 0.0;
    for (answer, row) in table.chunks(posterior.len()).enumerate() {
        let weights: Vec<f64> = row.iter().zip(&posterior).map(|(q, p)| q * p).collect();
        let p: f64 = weights.iter().sum();
        if p <= 0.0 {
            continue;
        }
        // After the last question only the weights matter, not a new belief.
        known += if steps == 1 {
            task.declare(&weights).1
        } else {
            match after(belief, task, finding, answer) {
                Some(mut next) => p * best_question(task, next.as_mut(), &rest, steps - 1).1,
                None => 0.0,
            }
        };
    }
    let missing = task.channel.missing;
    let unknown = if missing > 0.0 { best_question(task, belief, &rest, steps - 1).1 } else { 0.0 };
    (1.0 - missing) * known + missing * unknown - task.lambda * task.costs[finding]
}
