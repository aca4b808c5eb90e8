//! What a policy that decides for many situations at once is worth, by going through all answers.

use super::exact::{Value, answers};
use super::{Task, after};
use crate::diag_query::model::{Belief, Model};
use std::collections::BTreeMap;

/// What is known, ascending by finding: the finding and what was answered, `None` for `unknown`.
pub type Known = Vec<(usize, Option<usize>)>;

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Ask this finding.
    Ask(usize),
    /// Declare this diagnosis.
    Declare(usize),
}

/// The value in the world of `model` of a policy that decides by what is known alone, one layer of equally many
/// questions after the other: `decide` gets all situations of a layer and returns as many decisions. Noise and unknown
/// answers come about as the channel of `task` says.
///
/// `None` if more than `max_situations` would be gone through.
///
/// # Errors
/// Those of `decide`.
///
/// # Panics
/// If `decide` returns another number of decisions, or asks what is known already.
pub fn evaluate_layers<E, F>(
    model: &dyn Model,
    task: &Task,
    max_situations: usize,
    mut decide: F,
) -> Result<Option<Value>, E>
where
    F: FnMut(&[&Known]) -> Result<Vec<Decision>, E>,
{
    let (mut value, mut gone) = (Value::default(), 0);
    // Beliefs are made again for every situation: those of a large network take megabytes each.
    let mut layer = BTreeMap::from([(Known::new(), 1.0)]);
    while !layer.is_empty() {
        gone += layer.len();
        if gone > max_situations {
            return Ok(None);
        }
        let decisions = decide(&layer.keys().collect::<Vec<_>>())?;
        assert_eq!(decisions.len(), layer.len(), "one decision for each situation");
        let mut next = BTreeMap::new();
        for ((known, weight), decision) in layer.into_iter().zip(decisions) {
            let mut belief = believe(model, task, &known);
            match decision {
                Decision::Declare(diagnosis) => {
                    let posterior = belief.posterior();
                    let expected_return = task.utilities.expected(posterior)[diagnosis];
                    value.add(weight, Value { expected_return, accuracy: posterior[diagnosis], ..Value::default() });
                }
                Decision::Ask(finding) => {
                    value.add(weight, Value::ask(task, finding));
                    ask(&mut next, task, &known, weight, belief.as_mut(), finding);
                }
            }
        }
        layer = next;
    }
    Ok(Some(value))
}

/// The belief in a situation; an answer that the model holds to be impossible leaves it as it was.
#[must_use]
pub fn believe(model: &dyn Model, task: &Task, known: &Known) -> Box<dyn Belief> {
    let mut belief = model.begin();
    for &(finding, answer) in known {
        if let Some(next) = answer.and_then(|answer| after(belief.as_ref(), task, finding, answer)) {
            belief = next;
        }
    }
    belief
}

/// Enters the situations after a question into the next layer; the order of the questions is forgotten.
fn ask(
    next: &mut BTreeMap<Known, f64>,
    task: &Task,
    known: &Known,
    weight: f64,
    belief: &mut dyn Belief,
    finding: usize,
) {
    let at = match known.binary_search_by_key(&finding, |(f, _)| *f) {
        Ok(_) => panic!("finding {finding} is known already"),
        Err(at) => at,
    };
    let missing = task.channel.missing;
    let mut enter = |answer: Option<usize>, p: f64| {
        let mut known = known.clone();
        known.insert(at, (finding, answer));
        *next.entry(known).or_insert(0.0) += weight * p;
    };
    for (answer, p) in answers(belief, task, finding) {
        enter(Some(answer), p * (1.0 - missing));
    }
    if missing > 0.0 {
        enter(None, missing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag_query::baselines::exact::{evaluate, optimum};
    use crate::diag_query::baselines::{ExpectedUtility, Policy, Situation};
    use crate::diag_query::gain::Channel;
    use crate::diag_query::shipped::{Roles, network_problem};
    use crate::diag_query::testing::network;
    use std::convert::Infallible;
    use std::sync::Arc;

    /// ASIA with a price and unknown answers.
    fn problem() -> (Arc<dyn Model>, Task) {
        let roles = Roles::parse(retune_assets::networks::ROLES).expect("shipped");
        let problem = network_problem("asia/lung", &network("asia"), &roles["asia"], "lung", 1 << 24).expect("shipped");
        let model = problem.model.clone().expect("a network");
        let plain = Task::plain(model.num_classes(), model.states());
        (model, Task { lambda: 0.002, channel: Channel::symmetric(0.0, 0.2), ..plain })
    }

    /// A planner as a policy that decides for many situations.
    fn planned(model: &dyn Model, task: &Task, policy: &mut dyn Policy, known: &Known, t_max: usize) -> Decision {
        let mut belief = believe(model, task, known);
        let open: Vec<usize> = (0..task.states.len()).filter(|i| known.iter().all(|(f, _)| f != i)).collect();
        let left = t_max - known.len();
        let chosen = if left == 0 || open.is_empty() {
            None
        } else {
            policy.choose(Situation { task, belief: belief.as_mut(), open: &open, left })
        };
        chosen.map_or_else(|| Decision::Declare(task.declare(belief.posterior()).0), Decision::Ask)
    }

    fn walked(model: &dyn Model, task: &Task, policy: &mut dyn Policy, max: usize) -> Option<Value> {
        let decide = |layer: &[&Known]| -> Result<Vec<Decision>, Infallible> {
            Ok(layer.iter().map(|known| planned(model, task, policy, known, 3)).collect())
        };
        evaluate_layers(model, task, max, decide).expect("infallible")
    }

    #[test]
    fn planners_are_worth_what_the_recursion_says() {
        let (model, task) = problem();
        let recursion = evaluate(model.as_ref(), &task, &mut ExpectedUtility { steps: 2 }, 3);
        let found = walked(model.as_ref(), &task, &mut ExpectedUtility { steps: 2 }, 1000).expect("few situations");
        assert!(recursion.mean_queries > 0.5, "{recursion:?}");
        for (a, b) in [
            (found.expected_return, recursion.expected_return),
            (found.accuracy, recursion.accuracy),
            (found.mean_queries, recursion.mean_queries),
            (found.mean_cost, recursion.mean_cost),
        ] {
            assert!((a - b).abs() < 1e-12, "{found:?} is not {recursion:?}");
        }
        assert!(found.expected_return <= optimum(model.as_ref(), &task, 3).expected_return + 1e-12);
    }

    #[test]
    fn declaring_wrongly_costs_what_it_should() {
        let (model, task) = problem();
        let prior = model.begin().posterior().to_vec();
        let rarest = usize::from(prior[1] < prior[0]);
        let decide = |layer: &[&Known]| Ok::<_, Infallible>(vec![Decision::Declare(rarest); layer.len()]);
        let found = evaluate_layers(model.as_ref(), &task, 1, decide).expect("infallible").expect("one");
        assert!((found.accuracy - prior[rarest]).abs() < 1e-12 && found.accuracy < 0.5, "{found:?}");
        assert!((found.expected_return - (2.0 * prior[rarest] - 1.0)).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn too_many_situations_are_not_gone_through() {
        let (model, task) = problem();
        assert_eq!(walked(model.as_ref(), &task, &mut ExpectedUtility { steps: 2 }, 2), None);
    }
}
