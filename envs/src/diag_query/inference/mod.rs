//! Exact inference in discrete Bayesian networks.
//!
//! [`Inference`] answers queries: the posterior of any variable, the probability of evidence, joint posteriors of
//! pairs. [`NetworkModel`](super::model::NetworkModel) follows one episode, in which answers only add up.
//!
//! ```
//! use retune_envs::diag_query::{bif, inference::{Evidence, Inference, InferenceOptions}};
//! use std::{collections::BTreeMap, sync::Arc};
//!
//! let file = "variable rain { type discrete [ 2 ] { yes, no }; } variable wet { type discrete [ 2 ] { yes, no }; }
//!     probability ( rain ) { table 0.2, 0.8; } probability ( wet | rain ) { (yes) 0.9, 0.1; (no) 0.1, 0.9; }";
//! let network = bif::read("rain.bif", file.as_bytes(), &bif::BifLimits::default())?;
//! let mut inference = Inference::new(Arc::new(network), InferenceOptions::default());
//! let answer = inference.posterior(0, &BTreeMap::from([(1, Evidence::State(0))]))?;
//! assert!((answer.probabilities[0] - 0.18 / 0.26).abs() < 1e-12);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Three ways lead to an exact answer, all within rounding of each other. Where the junction tree of the whole network with
//! the target as lanes is small ([`InferenceOptions::reuse_cells`]), it is compiled once per target and kept with its
//! messages; evidence is entered as differences to the last query. Otherwise barren variables (no ancestors of target or
//! evidence) are left out, tables are cut to the evidence, and the query is answered by variable elimination; or, with many
//! variables or tables in one product, by a tree for the query alone, which rescales as it goes. Where even that would not
//! fit, likelihood weighting answers, with its standard error, if it is allowed to; otherwise the query is refused before
//! memory is taken. Answers are remembered ([`InferenceOptions::memo`]), and never depend on the order of the evidence.

mod calibration;
mod direct;
mod elimination;
#[cfg(test)]
mod golden;
mod scale;
#[cfg(test)]
mod tests;
mod tree;
mod weighting;

use super::network::Network;
pub(super) use calibration::Calibration;
use direct::{Direct, Weights};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
pub(super) use tree::{LaneTables, Scope, Tree};

/// What is known about a variable.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// Its state.
    State(usize),
    /// P(what was seen | state) for each state, up to a factor: a noisy answer.
    Likelihood(Vec<f64>),
}

/// What is known, by number of the variable.
pub type EvidenceMap = BTreeMap<usize, Evidence>;

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InferenceError {
    /// The evidence has probability zero.
    #[error("the evidence is impossible: it has probability zero in the network")]
    ImpossibleEvidence,
    /// The tables would not fit.
    #[error("the query would take {cells:.3e} cells, expected at most {limit} (sampling is off)")]
    TooLarge {
        /// Cells of all cliques.
        cells: f64,
        /// [`InferenceOptions::max_cells`].
        limit: usize,
    },
    /// Sampling found nothing that fits the evidence.
    #[error("none of {samples} samples is compatible with the evidence; expected more samples or likelier evidence")]
    NoSupport {
        /// Samples drawn.
        samples: usize,
    },
    /// A variable, state or likelihood that the network does not have.
    #[error("{0}")]
    Invalid(String),
}

/// How queries are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InferenceOptions {
    /// Most cells of all cliques of one query together; 8 bytes each, and about as much again for messages.
    pub max_cells: usize,
    /// Most cells of a tree that is kept between queries, one a target. Where the tree of the whole network is larger,
    /// a tree for the query alone is faster.
    pub reuse_cells: usize,
    /// Samples of likelihood weighting where `max_cells` is not enough; 0 refuses such queries.
    pub samples: usize,
    /// Seed of the samples.
    pub seed: u64,
    /// Answers that are remembered; 0 remembers none.
    pub memo: usize,
}

impl Default for InferenceOptions {
    /// 2^26 cells (half a gibibyte), 3 · 2^10 kept a target, no sampling, 4,096 answers remembered.
    fn default() -> Self {
        Self { max_cells: 1 << 26, reuse_cells: 3 << 10, samples: 0, seed: 0, memo: 4096 }
    }
}

/// How good an answer is.
#[derive(Clone, Debug, PartialEq)]
pub enum Quality {
    /// Exact up to rounding.
    Exact,
    /// Likelihood weighting.
    Sampled {
        /// Of each probability.
        standard_errors: Vec<f64>,
        /// (Σw)² / Σw².
        effective_samples: f64,
    },
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// P(state | evidence).
    pub probabilities: Vec<f64>,
    /// ln P(evidence), nats.
    pub log_evidence: f64,
    /// Exact or sampled.
    pub quality: Quality,
}

/// Most cells of a query that is answered without a tree.
const DIRECT_CELLS: usize = 1 << 20;

/// The exact form of evidence as a key of the memory of answers.
type MemoKey = (usize, Vec<(usize, Vec<u64>)>);

/// Queries on one network.
pub struct Inference {
    network: Arc<Network>,
    options: InferenceOptions,
    /// Per target: its tree with the last evidence, or `None` where it would be too large.
    trees: BTreeMap<usize, Option<Calibration>>,
    /// Per target, its tables with the target as the last axis.
    tables: BTreeMap<usize, LaneTables>,
    /// Buffers of queries without a tree; `None` leaves such queries to trees.
    direct: Option<Direct>,
    memo: HashMap<MemoKey, Answer>,
    memo_order: VecDeque<MemoKey>,
}

impl Inference {
    /// Queries on `network`.
    #[must_use]
    pub fn new(network: Arc<Network>, options: InferenceOptions) -> Self {
        let (trees, tables) = (BTreeMap::new(), BTreeMap::new());
        let (memo, memo_order) = (HashMap::new(), VecDeque::new());
        let direct = Some(Direct::new(&network));
        Self { network, options, trees, tables, direct, memo, memo_order }
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// P(target | evidence), `[states]`. The target may itself be among the evidence.
    ///
    /// # Errors
    /// [`InferenceError`]; [`InferenceError::TooLarge`] before memory is taken.
    pub fn posterior(&mut self, target: usize, evidence: &EvidenceMap) -> Result<Answer, InferenceError> {
        self.check(target, evidence)?;
        if self.options.memo == 0 {
            return self.compute(target, evidence);
        }
        let bits = |e: &Evidence| match e {
            Evidence::State(s) => vec![*s as u64],
            // The leading mark keeps a likelihood of one number apart from a state.
            Evidence::Likelihood(l) => std::iter::once(u64::MAX).chain(l.iter().map(|p| p.to_bits())).collect(),
        };
        let key: MemoKey = (target, evidence.iter().map(|(&v, e)| (v, bits(e))).collect());
        if let Some(known) = self.memo.get(&key) {
            return Ok(known.clone());
        }
        let answer = self.compute(target, evidence)?;
        if self.memo_order.len() == self.options.memo
            && let Some(oldest) = self.memo_order.pop_front()
        {
            self.memo.remove(&oldest);
        }
        self.memo_order.push_back(key.clone());
        self.memo.insert(key, answer.clone());
        Ok(answer)
    }

    /// ln P(evidence), nats.
    ///
    /// # Errors
    /// [`InferenceError`].
    pub fn log_evidence(&mut self, evidence: &EvidenceMap) -> Result<f64, InferenceError> {
        // Any target will do; one of the evidence adds no variable that would otherwise be barren.
        let target = evidence.keys().next().copied().unwrap_or_default();
        Ok(self.posterior(target, evidence)?.log_evidence)
    }

    /// P(a, b | evidence), `[states of a, states of b]`.
    ///
    /// # Errors
    /// [`InferenceError`].
    pub fn pair(&mut self, a: usize, b: usize, evidence: &EvidenceMap) -> Result<Vec<f64>, InferenceError> {
        self.check(b, evidence)?;
        let of_a = self.posterior(a, evidence)?.probabilities;
        let states_b = self.network.variables()[b].states.len();
        let mut joint = vec![0.0; of_a.len() * states_b];
        for (state, &p) in of_a.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            let mut more = evidence.clone();
            more.insert(a, Evidence::State(state));
            let of_b = self.posterior(b, &more)?.probabilities;
            joint[state * states_b..][..states_b].iter_mut().zip(of_b).for_each(|(cell, q)| *cell = p * q);
        }
        Ok(joint)
    }

    fn check(&self, target: usize, evidence: &EvidenceMap) -> Result<(), InferenceError> {
        let n = self.network.len();
        if let Some(v) = evidence.keys().chain([&target]).find(|&&v| v >= n) {
            return Err(InferenceError::Invalid(format!("variable {v}, expected a number below {n}")));
        }
        for (&v, e) in evidence {
            let variable = &self.network.variables()[v];
            check_evidence(&variable.name, variable.states.len(), e)?;
        }
        Ok(())
    }

    fn compute(&mut self, target: usize, evidence: &EvidenceMap) -> Result<Answer, InferenceError> {
        self.tables.entry(target).or_insert_with(|| LaneTables::new(&self.network, target));
        if let Some(calibration) = self.kept_tree(target) {
            let unknown = |v: &usize| !evidence.contains_key(&calibration.tree().variables[*v]);
            let stale: Vec<usize> = calibration.known().iter().copied().filter(unknown).collect();
            stale.into_iter().for_each(|v| calibration.set(v, None));
            for (v, e) in evidence {
                if let Some(v) = calibration.tree().local[*v] {
                    let states = calibration.tree().states[v];
                    calibration.set(v, Some(&e.likelihood(states)));
                }
            }
            return answer(calibration.lanes(), evidence.get(&target));
        }
        let limit = self.options.max_cells.min(DIRECT_CELLS);
        let class = &self.tables[&target];
        if let Some(direct) = &mut self.direct
            && let Some(Weights { lanes, log_scale, .. }) = direct.weights(&self.network, class, evidence, limit)
        {
            return answer((lanes, log_scale), evidence.get(&target));
        }
        match self.compile_for(target, evidence) {
            Ok(mut calibration) => answer(calibration.lanes(), evidence.get(&target)),
            Err(_) if self.options.samples > 0 => {
                weighting::posterior(&self.network, target, evidence, self.options.samples, self.options.seed)
            }
            Err(cells) => Err(InferenceError::TooLarge { cells: cells.0, limit: self.options.max_cells }),
        }
    }

    /// The tree of the whole network for this target, if it may be kept.
    fn kept_tree(&mut self, target: usize) -> Option<&mut Calibration> {
        if !self.trees.contains_key(&target) {
            let n = self.network.len();
            let (keep, given) = (vec![true; n], vec![None; n]);
            let scope = Scope { network: &self.network, class: &self.tables[&target], keep: &keep, given: &given };
            let tree = Tree::compile(&scope, self.options.reuse_cells.min(self.options.max_cells)).ok();
            self.trees.insert(target, tree.map(|tree| Calibration::new(Arc::new(tree))));
        }
        self.trees.get_mut(&target)?.as_mut()
    }

    /// A tree for one query: without barren variables, cut to the evidence.
    fn compile_for(&self, target: usize, evidence: &EvidenceMap) -> Result<Calibration, tree::TooManyCells> {
        let keep = ancestors(&self.network, evidence.keys().copied().chain([target]));
        let mut given = vec![None; self.network.len()];
        for (&v, e) in evidence.iter().filter(|(v, _)| **v != target) {
            if let Evidence::State(state) = e {
                given[v] = Some(*state);
            }
        }
        let scope = Scope { network: &self.network, class: &self.tables[&target], keep: &keep, given: &given };
        let tree = Tree::compile(&scope, self.options.max_cells)?;
        let mut calibration = Calibration::new(Arc::new(tree));
        for (&v, e) in evidence {
            if let Some(local) = calibration.tree().local[v] {
                let states = calibration.tree().states[local];
                calibration.set(local, Some(&e.likelihood(states)));
            }
        }
        Ok(calibration)
    }
}

impl Evidence {
    /// The likelihood of each of `states`.
    pub(super) fn likelihood(&self, states: usize) -> Vec<f64> {
        match self {
            Self::State(state) => (0..states).map(|s| f64::from(u8::from(s == *state))).collect(),
            Self::Likelihood(likelihood) => likelihood.clone(),
        }
    }
}

/// Refuses evidence that does not fit a variable.
pub(super) fn check_evidence(name: &str, states: usize, evidence: &Evidence) -> Result<(), InferenceError> {
    match evidence {
        Evidence::State(state) if *state < states => Ok(()),
        Evidence::State(state) => {
            Err(InferenceError::Invalid(format!("{name}: state {state}, expected a number below {states}")))
        }
        Evidence::Likelihood(l) if l.len() == states && l.iter().all(|p| p.is_finite() && *p >= 0.0) => Ok(()),
        Evidence::Likelihood(l) => {
            let expected = format!("expected {states} finite numbers from 0");
            Err(InferenceError::Invalid(format!("{name}: likelihood {l:?}, {expected}")))
        }
    }
}

/// Turns the weight of each state of the target, known up to the factor `exp(-log_scale)`, into an answer.
fn answer(
    (mut probabilities, log_scale): (Vec<f64>, f64),
    of_class: Option<&Evidence>,
) -> Result<Answer, InferenceError> {
    if let Some(evidence) = of_class {
        let likelihood = evidence.likelihood(probabilities.len());
        probabilities.iter_mut().zip(likelihood).for_each(|(p, l)| *p *= l);
    }
    let log_evidence = normalise(&mut probabilities)? + log_scale;
    Ok(Answer { probabilities, log_evidence, quality: Quality::Exact })
}

/// Divides by the sum and returns its logarithm.
pub(super) fn normalise(weights: &mut [f64]) -> Result<f64, InferenceError> {
    let sum: f64 = weights.iter().sum();
    if sum > 0.0 {
        weights.iter_mut().for_each(|w| *w /= sum);
        Ok(sum.ln())
    } else {
        Err(InferenceError::ImpossibleEvidence)
    }
}

/// The given variables and all that they descend from.
pub(super) fn ancestors(network: &Network, of: impl Iterator<Item = usize>) -> Vec<bool> {
    let mut found = vec![false; network.len()];
    let mut open: Vec<usize> = of.collect();
    while let Some(v) = open.pop() {
        if !std::mem::replace(&mut found[v], true) {
            open.extend(&network.variables()[v].parents);
        }
    }
    found
}
