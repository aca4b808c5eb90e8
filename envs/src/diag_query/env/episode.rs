//! What happens in one episode, apart from how it is shown.

use super::config::Initial;
use super::rules::Rules;
use crate::diag_query::model::Belief;
use crate::diag_query::problem::{Case, Problem, TestKind};
use retune::env::{EnvError, Status};
use retune::rng::{Seed, StreamRng};
use serde::{Deserialize, Serialize};

/// An answer to a question: the state that was reported, or `unknown`.
pub type Reply = Option<usize>;

/// A finding that is no longer hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Asked {
    /// Number of the finding.
    pub finding: usize,
    /// What was answered.
    pub reply: Reply,
    /// Whether it was known from the start, free of charge.
    pub given: bool,
}

/// Everything a continuation depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Episode {
    /// Seed that the streams come from.
    pub seed: u64,
    /// Number of the episode within the seed, from 0.
    pub number: u64,
    /// The patient, hidden.
    pub case: Case,
    /// Findings known so far, in the order they became known.
    pub asked: Vec<Asked>,
    /// What the questions cost so far.
    pub cost: f64,
    /// Running or terminated.
    pub status: Status,
    /// What was declared.
    pub declared: Option<usize>,
    /// Sum of the rewards without shaping.
    pub unshaped_return: f64,
    /// Reward of the last step.
    pub last_reward: Option<f32>,
    /// Answers that the attached model held to be impossible.
    pub impossible: u64,
    /// Stopping thresholds K of each diagnosis, nats; empty without that shaping.
    pub thresholds: Vec<f64>,
}

/// Root of the streams of one seed.
fn root(seed: u64) -> Seed {
    Seed::root(seed).child("diag_query")
}

/// The stream that the patient of an episode is drawn from: episode `number` of the env that was reset with `seed`.
#[must_use]
pub fn case_stream(seed: u64, number: u64) -> StreamRng {
    root(seed).child("cases").index(number).rng()
}

impl Episode {
    /// Draws the patient and what is known of them from the start.
    pub fn begin(problem: &Problem, initial: Initial, seed: u64, number: u64, thresholds: Vec<f64>) -> Self {
        let case = problem.source.draw(&mut case_stream(seed, number));
        let given = match initial {
            Initial::None => Vec::new(),
            Initial::FromData => case.given.clone(),
            Initial::RandomPositive => {
                let positive = |i: &usize| {
                    let finding = &problem.findings[*i];
                    let asked = finding.kind != TestKind::Demographic;
                    asked && case.findings[*i].is_some_and(|s| s != finding.default)
                };
                let present: Vec<usize> = (0..case.findings.len()).filter(positive).collect();
                let mut rng = root(seed).child("initial").index(number).rng();
                if present.is_empty() { Vec::new() } else { vec![present[rng.below(present.len())]] }
            }
        };
        let reveal = |finding: usize| Asked { finding, reply: case.findings[finding], given: true };
        let asked = given.into_iter().map(reveal).collect();
        Self {
            seed,
            number,
            case,
            asked,
            cost: 0.0,
            status: Status::Running,
            declared: None,
            unshaped_return: 0.0,
            last_reward: None,
            impossible: 0,
            thresholds,
        }
    }

    /// Questions asked; what was given is not counted.
    pub fn questions(&self) -> usize {
        self.asked.iter().filter(|a| !a.given).count()
    }

    /// What is known of a finding: `None` if it was not asked.
    pub fn reply(&self, finding: usize) -> Option<Reply> {
        self.asked.iter().find(|a| a.finding == finding).map(|a| a.reply)
    }

    /// The answer that a question about `finding` gets: the same whenever it is asked, so that all policies meet the
    /// same patient.
    pub fn answer(&self, rules: &Rules, finding: usize) -> Reply {
        let state = self.case.findings[finding]?;
        let mut rng = root(self.seed).child("answers").index(self.number).index(finding as u64).rng();
        // Both numbers are drawn whatever they decide.
        let (missing, noise) = (rng.uniform(), rng.uniform());
        if missing < rules.channel.missing {
            return None;
        }
        let states = rules.states[finding];
        let row = (0..states).map(|answer| rules.channel.probability(finding, states, state, answer));
        Some(crate::diag_query::network::inverse_cdf(&row.collect::<Vec<_>>(), noise))
    }

    /// Whether a saved episode can belong to this problem.
    pub fn check(&self, problem: &Problem, rules: &Rules) -> Result<(), EnvError> {
        let (d, m) = (problem.diagnoses.len(), problem.findings.len());
        let state_fits = |finding: usize, state: Reply| state.is_none_or(|s| s < rules.states[finding]);
        let case_fits = self.case.diagnosis < d
            && self.case.findings.len() == m
            && self.case.findings.iter().enumerate().all(|(i, s)| state_fits(i, *s))
            && self.case.given.iter().all(|&i| i < m);
        let asked_fits = self.asked.iter().enumerate().all(|(at, a)| {
            a.finding < m
                && state_fits(a.finding, a.reply)
                && self.asked[..at].iter().all(|other| other.finding != a.finding)
        });
        let rest_fits = self.declared.is_none_or(|x| x < d)
            && self.cost.is_finite()
            && self.thresholds.len() == rules.thresholds().len()
            && self.questions() <= rules.t_max;
        if case_fits && asked_fits && rest_fits {
            Ok(())
        } else {
            Err(EnvError::State("its patient or answers do not fit this problem".to_owned()))
        }
    }
}

/// Enters an answer into a belief; `false` if the model holds it to be impossible, which leaves the belief as it was.
pub fn enter(belief: &mut dyn Belief, rules: &Rules, asked: &Asked) -> bool {
    let Some(answer) = asked.reply else { return true };
    let states = rules.states[asked.finding];
    // What is given from the start is true.
    let channel = if asked.given { &rules.exact } else { &rules.believed };
    belief.observe(asked.finding, &channel.likelihood(asked.finding, states, answer)).is_ok()
}
