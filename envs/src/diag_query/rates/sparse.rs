//! P(finding | disease) where most pairs have one background rate.
//!
//! Findings are present or absent and independent given the disease. Only pairs that differ from the background are
//! kept, so that a posterior and all gains together cost as many steps as there are such pairs: 12,000 diseases by
//! 11,000 findings would be half a gigabyte as a dense table of f32.

use crate::diag_query::gain::Channel;
use crate::diag_query::inference::{InferenceError, normalise};
use crate::diag_query::model::{Belief, Model};
use crate::diag_query::network::inverse_cdf;
use crate::diag_query::problem::{Case, CaseSource};
use retune::env::EnvError;
use retune::rng::StreamRng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Listed rates are kept within these.
const CLIP: (f64, f64) = (0.001, 0.999);

/// A table while it is filled.
#[derive(Clone, Debug)]
pub struct SparseRates {
    diseases: usize,
    background: f64,
    /// Per finding: disease and rate.
    listed: Vec<Vec<(u32, f64)>>,
}

impl SparseRates {
    /// All pairs at the background rate.
    ///
    /// # Errors
    /// [`EnvError::Config`] if the rate is not between 0 and 1, exclusive, or there are too many diseases.
    pub fn new(diseases: usize, findings: usize, background: f64) -> Result<Self, EnvError> {
        let wrong = |key: &str, value: String, expected: &str| {
            Err(EnvError::Config { key: key.to_owned(), value, expected: expected.to_owned() })
        };
        if !(background > 0.0 && background < 1.0) {
            return wrong("background", background.to_string(), "a rate above 0 and below 1");
        }
        if diseases == 0 || u32::try_from(diseases).is_err() {
            return wrong("diseases", diseases.to_string(), "1 to 2^32 − 1");
        }
        Ok(Self { diseases, background, listed: vec![Vec::new(); findings] })
    }

    /// Lists a pair; the rate is kept within 0.001 and 0.999. The last one for a pair counts.
    ///
    /// # Panics
    /// If there is no such finding or disease.
    pub fn set(&mut self, finding: usize, disease: usize, rate: f64) {
        assert!(disease < self.diseases, "disease {disease} of {}", self.diseases);
        let (disease, rate) = (disease as u32, rate.clamp(CLIP.0, CLIP.1));
        let list = &mut self.listed[finding];
        match list.binary_search_by_key(&disease, |(d, _)| *d) {
            Ok(at) => list[at].1 = rate,
            Err(at) => list.insert(at, (disease, rate)),
        }
    }

    /// The model with this prior over diseases, up to a factor.
    ///
    /// # Errors
    /// [`EnvError::Config`] if the prior does not fit.
    pub fn finish(self, mut prior: Vec<f64>) -> Result<SparseModel, EnvError> {
        let positive = prior.len() == self.diseases && prior.iter().all(|p| p.is_finite() && *p >= 0.0);
        if !positive || normalise(&mut prior).is_err() {
            let expected = format!("{} numbers from 0 with a positive sum", self.diseases);
            return Err(EnvError::Config {
                key: "prior".to_owned(),
                value: format!("{} numbers", prior.len()),
                expected,
            });
        }
        let states = vec![2; self.listed.len()];
        let listed = self.listed.into_iter().map(Vec::into_boxed_slice).collect();
        Ok(SparseModel(Arc::new(Table { prior, background: self.background, listed, states })))
    }
}

#[derive(Debug)]
struct Table {
    prior: Vec<f64>,
    background: f64,
    listed: Vec<Box<[(u32, f64)]>>,
    states: Vec<usize>,
}

/// A sparse table as a model and as a source of cases.
#[derive(Clone)]
pub struct SparseModel(Arc<Table>);

impl SparseModel {
    /// Pairs that differ from the background.
    #[must_use]
    pub fn num_listed(&self) -> usize {
        self.0.listed.iter().map(|l| l.len()).sum()
    }
}

impl std::fmt::Debug for SparseModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (diseases, findings) = (self.0.prior.len(), self.0.states.len());
        write!(f, "SparseModel({diseases} diseases, {findings} findings, {} listed)", self.num_listed())
    }
}

impl CaseSource for SparseModel {
    fn draw(&self, rng: &mut StreamRng) -> Case {
        let diagnosis = inverse_cdf(&self.0.prior, rng.uniform());
        let state = |list: &[(u32, f64)], u: f64| {
            let listed = list.binary_search_by_key(&(diagnosis as u32), |(d, _)| *d);
            usize::from(u < listed.map_or(self.0.background, |at| list[at].1))
        };
        let findings = self.0.listed.iter().map(|list| Some(state(list, rng.uniform()))).collect();
        Case { diagnosis, findings, given: Vec::new() }
    }
}

impl Model for SparseModel {
    fn num_classes(&self) -> usize {
        self.0.prior.len()
    }

    fn states(&self) -> &[usize] {
        &self.0.states
    }

    fn begin(&self) -> Box<dyn Belief> {
        let (posterior, table) = (self.0.prior.clone(), Arc::clone(&self.0));
        Box::new(SparseBelief { table, evidence: BTreeMap::new(), posterior, log_evidence: 0.0, out: Vec::new() })
    }
}

#[derive(Clone)]
struct SparseBelief {
    table: Arc<Table>,
    /// Likelihood of absent and present.
    evidence: BTreeMap<usize, [f64; 2]>,
    posterior: Vec<f64>,
    log_evidence: f64,
    out: Vec<f64>,
}

fn mix(likelihood: [f64; 2], rate: f64) -> f64 {
    likelihood[0] * (1.0 - rate) + likelihood[1] * rate
}

impl SparseBelief {
    /// From scratch, in the order of the findings: the bits then do not depend on the order of the answers.
    fn update(&mut self) -> Result<(), InferenceError> {
        let mut weights = self.table.prior.clone();
        let mut log_evidence = 0.0;
        for (&finding, &likelihood) in &self.evidence {
            let common = mix(likelihood, self.table.background);
            if common <= 0.0 {
                return Err(InferenceError::ImpossibleEvidence);
            }
            for &(disease, rate) in &*self.table.listed[finding] {
                weights[disease as usize] *= mix(likelihood, rate) / common;
            }
            log_evidence += common.ln() + normalise(&mut weights)?;
        }
        (self.posterior, self.log_evidence) = (weights, log_evidence);
        Ok(())
    }

    /// I(answer; disease) = H(answer) − Σ_d p_d H(answer | d), bits; unlisted diseases share one term.
    fn gain(&self, flip: f64, finding: usize) -> f64 {
        let shown = |rate: f64| rate * (1.0 - flip) + (1.0 - rate) * flip;
        let entropy = |p: f64| {
            let part = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
            part(p) + part(1.0 - p)
        };
        let (mut listed, mut present, mut conditional) = (0.0, 0.0, 0.0);
        for &(disease, rate) in &*self.table.listed[finding] {
            let (p, rate) = (self.posterior[disease as usize], shown(rate));
            listed += p;
            present += p * rate;
            conditional += p * entropy(rate);
        }
        let (rest, background) = ((1.0 - listed).max(0.0), shown(self.table.background));
        (entropy(present + rest * background) - conditional - rest * entropy(background)).max(0.0)
    }
}

impl Belief for SparseBelief {
    fn posterior(&self) -> &[f64] {
        &self.posterior
    }

    fn log_evidence(&self) -> f64 {
        self.log_evidence
    }

    fn observe(&mut self, finding: usize, likelihood: &[f64]) -> Result<(), InferenceError> {
        let [absent, present] = *likelihood else {
            return Err(InferenceError::Invalid(format!("likelihood {likelihood:?}, expected 2 numbers")));
        };
        let before = self.evidence.insert(finding, [absent, present]);
        let updated = self.update();
        if updated.is_err() {
            match before {
                Some(before) => self.evidence.insert(finding, before),
                None => self.evidence.remove(&finding),
            };
        }
        updated
    }

    fn conditionals(&mut self, finding: usize) -> &[f64] {
        let diseases = self.posterior.len();
        self.out.clear();
        self.out.resize(diseases, 1.0 - self.table.background);
        self.out.resize(2 * diseases, self.table.background);
        for &(disease, rate) in &*self.table.listed[finding] {
            self.out[disease as usize] = 1.0 - rate;
            self.out[diseases + disease as usize] = rate;
        }
        &self.out
    }

    fn gains(&mut self, channel: &Channel, findings: &[usize]) -> Option<Vec<f64>> {
        let flip = channel.symmetric_noise()?;
        Some(findings.iter().map(|&f| (1.0 - channel.missing) * self.gain(flip, f)).collect())
    }

    fn boxed(&self) -> Box<dyn Belief> {
        Box::new(self.clone())
    }
}
