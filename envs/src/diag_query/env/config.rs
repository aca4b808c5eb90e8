//! Settings of the environment.

use crate::diag_query::payoffs::Payoffs;
use crate::diag_query::problem::Problem;
use retune::env::EnvError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most bins of a number in [`View::Bins`].
pub const MAX_BINS: usize = 1000;

/// Dearest question, in cost units. Networks compute with 32 bits: far above it their numbers are no longer finite.
pub const MAX_COST: f64 = 1e6;

/// What the agent is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// Per finding one-hot over (not asked, unknown, its states), then time and cost.
    Vector,
    /// Per finding one-hot over (unknown, its states), all 0 while it was not asked; then time and cost. It says the same
    /// as [`View::Vector`], but networks learn faster from it what several answers mean together: most findings are not
    /// asked, and their inputs are silent.
    Known,
    /// Per finding one number: 0 not asked, ±1 for present and absent, `(index + 1) / n` with more than two states;
    /// unknown is 0 with a second number of 1; age and sex have one slot a state. Then time and cost.
    Signed,
    /// Texts of what is known; candidates are read.
    Text,
    /// The posterior of the attached model, its entropy, time, cost, and which findings were asked. An oracle feature.
    Belief,
    /// [`View::Belief`] and the information gain of each finding, bits. An oracle feature.
    BeliefGain,
    /// The belief candidate by candidate, so that what is learnt about one question holds for all: a question shows its
    /// information gain and its cost, a diagnosis its probability, the state the entropy, the highest probability, time
    /// and cost. An oracle feature.
    Candidates,
    /// The belief in bins, for tables: one-hot blocks of the likeliest diagnosis, its probability, the entropy and the
    /// number of questions asked; see [`super::DiagQuery::blocks`]. An oracle feature.
    Bins,
}

impl View {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Vector, "vector"),
        (Self::Known, "known"),
        (Self::Signed, "signed"),
        (Self::Text, "text"),
        (Self::Belief, "belief"),
        (Self::BeliefGain, "belief_gain"),
        (Self::Candidates, "candidates"),
        (Self::Bins, "bins"),
    ];

    /// Name in files and in the id of the environment.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(view, _)| *view == self).map_or("", |(_, name)| name)
    }

    /// Whether it shows what the attached model believes.
    #[must_use]
    pub fn uses_model(self) -> bool {
        matches!(self, Self::Belief | Self::BeliefGain | Self::Candidates | Self::Bins)
    }
}

/// What an answer costs, in the unit of [`DiagQueryConfig::budget`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Costs {
    /// 1 each.
    Unit,
    /// By kind of test: history 0.5, examination 1, laboratory 3, imaging 5, invasive 10.
    Clinical,
    /// By id of the finding; every finding must be named.
    Map(BTreeMap<String, f64>),
}

/// What is known before the first question, free of charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initial {
    /// Nothing.
    None,
    /// One finding that is not in its default state, each as likely; nothing if there is none.
    RandomPositive,
    /// What the case volunteers.
    FromData,
}

/// What a declaration is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Utility {
    /// +1 right, −1 wrong.
    Simple,
    /// `[true diagnosis][declared diagnosis]`.
    Matrix(Vec<Vec<f64>>),
    /// +1 right, `−(1 + κ (5 − s) / 4)` wrong, s the severity of the true diagnosis, 1 worst.
    Severity {
        /// κ ≥ 0.
        kappa: f64,
    },
}

/// Rewards on top, to make learning easier. Results are scored without them: [`super::DiagQuery::unshaped_return`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shaping {
    /// None.
    None,
    /// Yuan and Yu 2021 ("AARLC"), as in the public DDXPlus code: each question `μ(−1 + 0.7 + [positive])`, plus
    /// `ν max(0, (H_t − H_{t+1}) / H_0)` with H the entropy of the attached model, nats. When H drops below the threshold
    /// K of the likeliest diagnosis, that diagnosis is declared: −μ, and +2μ if right, after which K moves by a
    /// hundredth towards H. It changes the optimum.
    Aarlc {
        /// μ; published 1.
        mu: f64,
        /// ν; published 2.826.
        nu: f64,
        /// K at the start, nats; not published, 0.1 by default here.
        threshold: f64,
    },
    /// `γ Φ(b') − Φ(b)` with Φ = −H / H_0, and 0 at the end. It leaves the optimum unchanged.
    Potential {
        /// The discount γ of the agent.
        gamma: f64,
    },
}

/// Settings of [`super::DiagQuery`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiagQueryConfig {
    /// What the agent is shown.
    pub view: View,
    /// Bins of the probability and of the entropy in [`View::Bins`]; both 1 to [`MAX_BINS`].
    pub bins: (usize, usize),
    /// Most questions, at least 1. 10 for networks, 20 for dialogues, 30 for DDXPlus.
    pub t_max: usize,
    /// Most that questions may cost together; none by default.
    pub budget: Option<f64>,
    /// λ: what a unit of cost takes from the reward; at least 0.
    pub lambda: f64,
    /// What an answer costs.
    pub costs: Costs,
    /// ρ: probability that an answer is one of the other states, all alike; below 1.
    pub noise: f64,
    /// P(answer | state) by id of the finding, in place of ρ; rows are states and sum to one.
    pub confusion: BTreeMap<String, Vec<Vec<f64>>>,
    /// m: probability that an answer is `unknown`; below 1.
    pub missing: f64,
    /// What is known before the first question.
    pub initial: Initial,
    /// Whether there is an action that declares the likeliest diagnosis of the attached model.
    pub stop: bool,
    /// What a declaration is worth.
    pub utility: Utility,
    /// Rewards on top.
    pub shaping: Shaping,
    /// Whether the attached model knows ρ, m and the confusions. If not, it takes every answer for the true state; an
    /// answer that it holds to be impossible then leaves its belief as it was, and is counted.
    pub model_knows_noise: bool,
    /// Other names of findings and diagnoses, by id. [`View::Text`] then has texts in both wordings.
    pub synonyms: BTreeMap<String, String>,
    /// Whether texts are in the other wording.
    pub renamed: bool,
    /// Ids of diagnoses that may not be declared, such as those that are held out of training.
    pub undeclarable: BTreeSet<String>,
    /// Seed that the first `reset(None)` starts from.
    pub seed: u64,
}

impl Default for DiagQueryConfig {
    /// The specification's defaults for networks: clinical costs at λ = 0.01, ten questions, exact answers.
    fn default() -> Self {
        Self {
            view: View::Vector,
            bins: (10, 6),
            t_max: 10,
            budget: None,
            lambda: 0.01,
            costs: Costs::Clinical,
            noise: 0.0,
            confusion: BTreeMap::new(),
            missing: 0.0,
            initial: Initial::None,
            stop: false,
            utility: Utility::Simple,
            shaping: Shaping::None,
            model_knows_noise: true,
            synonyms: BTreeMap::new(),
            renamed: false,
            undeclarable: BTreeSet::new(),
            seed: 0,
        }
    }
}

fn wrong(key: &str, value: impl std::fmt::Display, expected: &str) -> EnvError {
    EnvError::Config { key: key.to_owned(), value: value.to_string(), expected: expected.to_owned() }
}

impl DiagQueryConfig {
    /// Checks all settings against a problem.
    ///
    /// # Errors
    /// [`EnvError::Config`] naming key, value and what would be right.
    pub fn validate(&self, problem: &Problem) -> Result<(), EnvError> {
        let at_least_zero = |key: &str, value: f64| {
            let ok = value.is_finite() && value >= 0.0;
            if ok { Ok(()) } else { Err(wrong(key, value, "a finite number from 0")) }
        };
        for (key, bins) in [("probability_bins", self.bins.0), ("entropy_bins", self.bins.1)] {
            if !(1..=MAX_BINS).contains(&bins) {
                return Err(wrong(key, bins, &format!("1 to {MAX_BINS}")));
            }
        }
        if self.t_max == 0 {
            return Err(wrong("t_max", 0, "at least 1"));
        }
        at_least_zero("lambda", self.lambda)?;
        at_least_zero("budget", self.budget.unwrap_or_default())?;
        for (key, value) in [("noise", self.noise), ("missing", self.missing)] {
            if !(0.0..1.0).contains(&value) {
                return Err(wrong(key, value, "a probability below 1"));
            }
        }
        self.check_names(problem)?;
        self.costs(problem)?;
        self.confusions(problem)?;
        self.utilities(problem)?;
        match self.shaping {
            Shaping::None => {}
            Shaping::Aarlc { mu, nu, threshold } => {
                at_least_zero("shaping.mu", mu)?;
                at_least_zero("shaping.nu", nu)?;
                at_least_zero("shaping.threshold", threshold)?;
            }
            Shaping::Potential { gamma } if (0.0..=1.0).contains(&gamma) => {}
            Shaping::Potential { gamma } => return Err(wrong("shaping.gamma", gamma, "a number from 0 to 1")),
        }
        if problem.model.is_none() {
            let needs = [
                ("view", self.view.name(), self.view.uses_model()),
                ("stop", "true", self.stop),
                ("shaping", "an entropy", self.shaping != Shaping::None),
            ];
            if let Some((key, value, _)) = needs.into_iter().find(|(.., needs)| *needs) {
                return Err(wrong(key, value, "a problem with an attached model"));
            }
        }
        Ok(())
    }

    fn check_names(&self, problem: &Problem) -> Result<(), EnvError> {
        let is_diagnosis = |id: &String| problem.diagnoses.iter().any(|d| d.id == *id);
        let is_finding = |id: &String| problem.findings.iter().any(|f| f.id == *id);
        if let Some(id) = self.synonyms.keys().find(|id| !is_finding(id) && !is_diagnosis(id)) {
            return Err(wrong("synonyms", id, "the id of a finding or a diagnosis"));
        }
        if let Some(id) = self.undeclarable.iter().find(|id| !is_diagnosis(id)) {
            let ids: Vec<&str> = problem.diagnoses.iter().take(20).map(|d| d.id.as_str()).collect();
            return Err(wrong("undeclarable", id, &format!("the id of a diagnosis, such as {}", ids.join(", "))));
        }
        if problem.diagnoses.iter().all(|d| self.undeclarable.contains(&d.id)) {
            return Err(wrong("undeclarable", "all diagnoses", "at least one that may be declared"));
        }
        Ok(())
    }

    /// The cost of each finding.
    ///
    /// # Errors
    /// [`EnvError::Config`] for a cost that is no number from 0 to [`MAX_COST`], missing, or of no finding.
    pub fn costs(&self, problem: &Problem) -> Result<Vec<f64>, EnvError> {
        let map = match &self.costs {
            Costs::Unit => return Ok(vec![1.0; problem.findings.len()]),
            Costs::Clinical => return Ok(problem.findings.iter().map(|f| f.kind.clinical_cost()).collect()),
            Costs::Map(map) => map,
        };
        known_findings("costs", map.keys(), problem)?;
        if let Some((id, cost)) = map.iter().find(|(_, cost)| !(0.0..=MAX_COST).contains(*cost)) {
            return Err(wrong(&format!("costs.{id}"), cost, &format!("a number from 0 to {MAX_COST}")));
        }
        let missing = |id: &str| wrong(&format!("costs.{id}"), "none", "a cost for every finding");
        problem.findings.iter().map(|f| map.get(&f.id).copied().ok_or_else(|| missing(&f.id))).collect()
    }

    /// The confusion matrix of each finding that has one, row by row.
    pub(super) fn confusions(&self, problem: &Problem) -> Result<Vec<Option<Vec<f64>>>, EnvError> {
        known_findings("confusion", self.confusion.keys(), problem)?;
        let check = |id: &str, states: usize, matrix: &Vec<Vec<f64>>| {
            let row = |row: &Vec<f64>| {
                let sum: f64 = row.iter().sum();
                row.len() == states && row.iter().all(|p| (0.0..=1.0).contains(p)) && (sum - 1.0).abs() < 1e-9
            };
            if matrix.len() == states && matrix.iter().all(row) {
                return Ok(matrix.concat());
            }
            let expected = format!("{states} rows of {states} probabilities that sum to 1");
            Err(wrong(&format!("confusion.{id}"), format!("{matrix:?}"), &expected))
        };
        let of = |f: &crate::diag_query::problem::Finding| {
            self.confusion.get(&f.id).map(|matrix| check(&f.id, f.states.len(), matrix)).transpose()
        };
        problem.findings.iter().map(of).collect()
    }

    /// What declaring is worth.
    pub(super) fn utilities(&self, problem: &Problem) -> Result<Payoffs, EnvError> {
        let d = problem.diagnoses.len();
        match &self.utility {
            Utility::Simple => Ok(Payoffs::simple(d)),
            Utility::Matrix(rows) => {
                let fits = rows.len() == d && rows.iter().all(|r| r.len() == d && r.iter().all(|u| u.is_finite()));
                if fits {
                    Ok(Payoffs::Matrix(rows.concat()))
                } else {
                    Err(wrong("utility", format!("{} rows", rows.len()), &format!("{d} rows of {d} finite numbers")))
                }
            }
            Utility::Severity { kappa } => {
                if !kappa.is_finite() || *kappa < 0.0 {
                    return Err(wrong("utility.kappa", kappa, "a finite number from 0"));
                }
                let severities: Option<Vec<f64>> =
                    problem.diagnoses.iter().map(|d| d.severity.map(f64::from)).collect();
                let Some(severities) = severities else {
                    return Err(wrong("utility", "severity", "diagnoses with a severity (DDXPlus has them)"));
                };
                Ok(Payoffs::Wrong(severities.iter().map(|s| -(1.0 + kappa * (5.0 - s) / 4.0)).collect()))
            }
        }
    }
}

fn known_findings<'a>(key: &str, ids: impl Iterator<Item = &'a String>, problem: &Problem) -> Result<(), EnvError> {
    for id in ids {
        if !problem.findings.iter().any(|f| f.id == *id) {
            return Err(wrong(&format!("{key}.{id}"), id, "the id of a finding"));
        }
    }
    Ok(())
}
