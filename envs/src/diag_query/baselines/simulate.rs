//! Policies on cases: what they ask, what they believe after each answer, what they declare.

use super::{Policy, Situation, Task, after};
use crate::diag_query::model::Model;
use crate::diag_query::problem::Case;

/// What a policy did with one case whose answers are true.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory {
    /// Findings in the order they were asked.
    pub asked: Vec<usize>,
    /// Cost of each question.
    pub costs: Vec<f64>,
    /// The belief after 0, 1, … questions, `[questions + 1][classes]`.
    pub posteriors: Vec<Vec<f64>>,
    /// What was declared at the end.
    pub declared: usize,
}

/// Plays one case with at most `t_max` questions. A finding without a state in the case is answered `unknown`; an answer
/// that the model holds to be impossible leaves the belief as it was.
pub fn play(model: &dyn Model, task: &Task, policy: &mut dyn Policy, case: &Case, t_max: usize) -> Trajectory {
    let mut belief = model.begin();
    let mut open: Vec<usize> = (0..task.states.len()).collect();
    for &given in &case.given {
        open.retain(|&i| i != given);
        if let Some(next) = case.findings[given].and_then(|answer| after(belief.as_ref(), task, given, answer)) {
            belief = next;
        }
    }
    let mut played =
        Trajectory { asked: Vec::new(), costs: Vec::new(), posteriors: vec![belief.posterior().to_vec()], declared: 0 };
    while played.asked.len() < t_max && !open.is_empty() {
        let left = t_max - played.asked.len();
        let Some(finding) = policy.choose(Situation { task, belief: belief.as_mut(), open: &open, left }) else {
            break;
        };
        open.retain(|&i| i != finding);
        if let Some(next) = case.findings[finding].and_then(|answer| after(belief.as_ref(), task, finding, answer)) {
            belief = next;
        }
        played.asked.push(finding);
        played.costs.push(task.costs[finding]);
        played.posteriors.push(belief.posterior().to_vec());
    }
    played.declared = task.declare(belief.posterior()).0;
    played
}
