//! What a policy is worth, by going through all answers; and the best that any policy can do.

use super::{Policy, Situation, Task, after, without};
use crate::diag_query::gain::{answer_table, entropy_bits};
use crate::diag_query::model::{Belief, Model};
use std::collections::HashMap;

/// Expectations over patients and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Value {
    /// Undiscounted return.
    pub expected_return: f64,
    /// Probability that the declared diagnosis is right.
    pub accuracy: f64,
    /// Questions.
    pub mean_queries: f64,
    /// Cost of the questions.
    pub mean_cost: f64,
}

impl Value {
    pub(super) fn add(&mut self, p: f64, other: Self) {
        self.expected_return += p * other.expected_return;
        self.accuracy += p * other.accuracy;
        self.mean_queries += p * other.mean_queries;
        self.mean_cost += p * other.mean_cost;
    }

    fn declare(task: &Task, posterior: &[f64]) -> Self {
        let (diagnosis, expected_return) = task.declare(posterior);
        Self { expected_return, accuracy: posterior[diagnosis], ..Self::default() }
    }

    pub(super) fn ask(task: &Task, finding: usize) -> Self {
        let cost = task.costs[finding];
        Self { expected_return: -task.lambda * cost, mean_queries: 1.0, mean_cost: cost, accuracy: 0.0 }
    }
}

/// Answers so far by finding: 0 not asked, 1 unknown, 2 + answer. The value of a state does not depend on their order.
type Answers = Vec<u16>;

/// The value of a deterministic policy in the world of `model` with at most `t_max` questions.
pub fn evaluate(model: &dyn Model, task: &Task, policy: &mut dyn Policy, t_max: usize) -> Value {
    let mut walk = Walk { task, known: HashMap::new() };
    walk.value(model.begin(), vec![0; task.states.len()], t_max, &mut Chooser::Policy(policy))
}

/// The value of the best policy with at most `t_max` questions, by dynamic programming over all sets of answers.
pub fn optimum(model: &dyn Model, task: &Task, t_max: usize) -> Value {
    let mut walk = Walk { task, known: HashMap::new() };
    walk.value(model.begin(), vec![0; task.states.len()], t_max, &mut Chooser::Best)
}

enum Chooser<'a> {
    Policy(&'a mut dyn Policy),
    Best,
}

struct Walk<'a> {
    task: &'a Task,
    known: HashMap<Answers, Value>,
}

impl Walk<'_> {
    fn value(&mut self, mut belief: Box<dyn Belief>, at: Answers, left: usize, chooser: &mut Chooser<'_>) -> Value {
        if let Some(known) = self.known.get(&at) {
            return *known;
        }
        let open: Vec<usize> = (0..at.len()).filter(|&i| at[i] == 0).collect();
        let mut value = Value::declare(self.task, belief.posterior());
        if left > 0 && !open.is_empty() {
            match chooser {
                Chooser::Policy(policy) => {
                    let situation = Situation { task: self.task, belief: belief.as_mut(), open: &open, left };
                    if let Some(finding) = policy.choose(situation) {
                        value = self.ask(belief.as_mut(), &at, left, finding, chooser);
                    }
                }
                Chooser::Best => {
                    for &finding in &open {
                        let asked = self.ask(belief.as_mut(), &at, left, finding, chooser);
                        // Rounding must not make a question look worth asking.
                        if asked.expected_return > value.expected_return + 1e-12 {
                            value = asked;
                        }
                    }
                }
            }
        }
        self.known.insert(at, value);
        value
    }

    fn ask(
        &mut self,
        belief: &mut dyn Belief,
        at: &[u16],
        left: usize,
        finding: usize,
        chooser: &mut Chooser<'_>,
    ) -> Value {
        let mut value = Value::ask(self.task, finding);
        let missing = self.task.channel.missing;
        for (answer, p) in answers(belief, self.task, finding) {
            let mut next_at = at.to_vec();
            next_at[finding] = 2 + answer as u16;
            if let Some(known) = self.known.get(&next_at) {
                value.add((1.0 - missing) * p, *known);
            } else if let Some(next) = after(belief, self.task, finding, answer) {
                value.add((1.0 - missing) * p, self.value(next, next_at, left - 1, chooser));
            }
        }
        if missing > 0.0 {
            let mut next_at = at.to_vec();
            next_at[finding] = 1;
            value.add(missing, self.value(belief.boxed(), next_at, left - 1, chooser));
        }
        value
    }
}

/// Answers of positive probability, given that the answer is not `unknown`.
pub(super) fn answers(belief: &mut dyn Belief, task: &Task, finding: usize) -> Vec<(usize, f64)> {
    let posterior = belief.posterior().to_vec();
    let table = answer_table(belief, &task.channel, finding, task.states[finding]);
    let rows = table.chunks(posterior.len()).enumerate();
    let p = |row: &[f64]| -> f64 { row.iter().zip(&posterior).map(|(q, p)| q * p).sum() };
    rows.map(|(answer, row)| (answer, p(row))).filter(|(_, p)| *p > 0.0).collect()
}

/// Accuracy and expected entropy after k = 0, 1, … questions of a policy that does not stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Probability that the likeliest diagnosis is right, `[budget + 1]`.
    pub accuracy: Vec<f64>,
    /// Expected entropy of the diagnosis, bits, `[budget + 1]`.
    pub entropy_bits: Vec<f64>,
}

/// The curve of a deterministic policy, by going through all answers.
pub fn curve(model: &dyn Model, task: &Task, policy: &mut dyn Policy, budget: usize) -> Curve {
    let mut curve = Curve { accuracy: vec![0.0; budget + 1], entropy_bits: vec![0.0; budget + 1] };
    let open: Vec<usize> = (0..task.states.len()).collect();
    descend(task, policy, &mut curve, model.begin(), &open, 0, 1.0);
    curve
}

fn descend(
    task: &Task,
    policy: &mut dyn Policy,
    curve: &mut Curve,
    mut belief: Box<dyn Belief>,
    open: &[usize],
    k: usize,
    weight: f64,
) {
    curve.accuracy[k] += weight * belief.posterior().iter().copied().fold(0.0, f64::max);
    curve.entropy_bits[k] += weight * entropy_bits(belief.posterior());
    let left = curve.accuracy.len() - 1 - k;
    if left == 0 {
        return;
    }
    let situation = Situation { task, belief: belief.as_mut(), open, left };
    let Some(finding) = policy.choose(situation) else {
        // Whoever stops keeps the last answer.
        for later in k + 1..curve.accuracy.len() {
            curve.accuracy[later] += weight * belief.posterior().iter().copied().fold(0.0, f64::max);
            curve.entropy_bits[later] += weight * entropy_bits(belief.posterior());
        }
        return;
    };
    let rest = without(open, finding);
    let missing = task.channel.missing;
    for (answer, p) in answers(belief.as_mut(), task, finding) {
        if let Some(next) = after(belief.as_ref(), task, finding, answer) {
            descend(task, policy, curve, next, &rest, k + 1, weight * p * (1.0 - missing));
        }
    }
    if missing > 0.0 {
        descend(task, policy, curve, belief, &rest, k + 1, weight * missing);
    }
}
