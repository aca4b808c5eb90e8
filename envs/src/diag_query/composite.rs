//! Models with a hidden composite cause: findings are independent given `z`, and the diagnosis is a function of `z`.
//!
//! With z the diagnosis itself this is naive Bayes. Every posterior is an exact sum over z.

use super::inference::{InferenceError, normalise};
use super::model::{Belief, Model};
use super::problem::{Case, CaseSource, draw_state};
use retune::rng::StreamRng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Prior of z, the diagnosis of each z, and P(finding | z).
#[derive(Debug)]
pub struct CompositeModel {
    classes: usize,
    prior: Vec<f64>,
    class_of: Vec<usize>,
    states: Vec<usize>,
    /// Per finding `[states, z]`.
    rates: Vec<Vec<f64>>,
}

impl CompositeModel {
    /// A model from its tables: `prior` `[z]`, `class_of` `[z]` below `classes`, and per finding `[states, z]` with
    /// columns that sum to one.
    ///
    /// # Errors
    /// [`InferenceError::Invalid`] naming the table that does not fit.
    pub fn new(
        classes: usize,
        mut prior: Vec<f64>,
        class_of: Vec<usize>,
        mut rates: Vec<Vec<f64>>,
    ) -> Result<Self, InferenceError> {
        let invalid = |message: String| Err(InferenceError::Invalid(message));
        let z = prior.len();
        let positive = |p: &f64| p.is_finite() && *p >= 0.0;
        if z == 0 || !prior.iter().all(positive) || normalise(&mut prior).is_err() {
            return invalid("the prior is not a list of numbers from 0 with a positive sum".to_owned());
        }
        if class_of.len() != z || class_of.iter().any(|&c| c >= classes) {
            return invalid(format!("the diagnosis of each of {z} causes must be a number below {classes}"));
        }
        let mut states = Vec::with_capacity(rates.len());
        for (finding, table) in rates.iter_mut().enumerate() {
            if table.is_empty() || table.len() % z != 0 || !table.iter().all(positive) {
                return invalid(format!("finding {finding}: expected {z} numbers from 0 for each state"));
            }
            states.push(table.len() / z);
            for cause in 0..z {
                let sum: f64 = table.iter().skip(cause).step_by(z).sum();
                // Entries are finite here, so the sum is no NaN.
                if (sum - 1.0).abs() > 1e-4 {
                    return invalid(format!("finding {finding}, cause {cause}: rates sum to {sum}, expected 1"));
                }
                table.iter_mut().skip(cause).step_by(z).for_each(|p| *p /= sum);
            }
        }
        Ok(Self { classes, prior, class_of, states, rates })
    }

    /// Naive Bayes from complete or incomplete cases: counts plus `pseudo` for each state, `1` for each diagnosis.
    ///
    /// # Errors
    /// [`InferenceError::Invalid`] if a case does not fit `classes` and `states`.
    pub fn naive_bayes(classes: usize, states: &[usize], cases: &[Case], pseudo: f64) -> Result<Self, InferenceError> {
        let mut prior = vec![1.0; classes];
        let mut rates: Vec<Vec<f64>> = states.iter().map(|&s| vec![pseudo; s * classes]).collect();
        for (i, case) in cases.iter().enumerate() {
            let fits = case.diagnosis < classes
                && case.findings.len() == states.len()
                && case.findings.iter().zip(states).all(|(found, &states)| found.is_none_or(|f| f < states));
            if !fits {
                let expected = format!("{classes} diagnoses and {} findings", states.len());
                return Err(InferenceError::Invalid(format!("case {i} does not fit {expected}")));
            }
            prior[case.diagnosis] += 1.0;
            for (table, state) in rates.iter_mut().zip(&case.findings) {
                if let Some(state) = state {
                    table[state * classes + case.diagnosis] += 1.0;
                }
            }
        }
        for table in &mut rates {
            for class in 0..classes {
                let sum: f64 = table.iter().skip(class).step_by(classes).sum();
                table.iter_mut().skip(class).step_by(classes).for_each(|p| *p /= sum);
            }
        }
        Self::new(classes, prior, (0..classes).collect(), rates)
    }

    /// Naive Bayes with the priors and rates of another model: wrong wherever findings depend on each other.
    ///
    /// # Errors
    /// [`InferenceError::Invalid`] if a table of the model does not sum to one.
    pub fn naive_bayes_of(model: &dyn Model) -> Result<Self, InferenceError> {
        let mut belief = model.begin();
        let prior = belief.posterior().to_vec();
        let classes = prior.len();
        let rates = (0..model.states().len()).map(|finding| {
            let mut rates = belief.conditionals(finding).to_vec();
            // A diagnosis that cannot be has no rates; any do.
            for class in (0..classes).filter(|&c| prior[c] <= 0.0) {
                let share = classes as f64 / rates.len() as f64;
                rates.iter_mut().skip(class).step_by(classes).for_each(|p| *p = share);
            }
            rates
        });
        let rates = rates.collect();
        Self::new(classes, prior, (0..classes).collect(), rates)
    }

    fn column(&self, finding: usize, cause: usize) -> impl Iterator<Item = f64> {
        self.rates[finding].iter().skip(cause).step_by(self.prior.len()).copied()
    }
}

/// A composite model as it is shared by beliefs and as a source of cases.
#[derive(Clone, Debug)]
pub struct Composite(Arc<CompositeModel>);

impl Composite {
    /// Shares a model.
    #[must_use]
    pub fn new(model: CompositeModel) -> Self {
        Self(Arc::new(model))
    }
}

impl CaseSource for Composite {
    fn draw(&self, rng: &mut StreamRng) -> Case {
        let cause = draw_state(self.0.prior.iter().copied(), rng);
        let findings = (0..self.0.states.len()).map(|f| Some(draw_state(self.0.column(f, cause), rng))).collect();
        Case { diagnosis: self.0.class_of[cause], findings, given: Vec::new() }
    }
}

impl Model for Composite {
    fn num_classes(&self) -> usize {
        self.0.classes
    }

    fn states(&self) -> &[usize] {
        &self.0.states
    }

    fn begin(&self) -> Box<dyn Belief> {
        let mut belief = CompositeBelief {
            model: Arc::clone(&self.0),
            evidence: BTreeMap::new(),
            causes: Vec::new(),
            posterior: Vec::new(),
            log_evidence: 0.0,
            table: Vec::new(),
        };
        // The prior has a positive sum.
        belief.update().expect("a prior is possible");
        Box::new(belief)
    }
}

#[derive(Clone)]
struct CompositeBelief {
    model: Arc<CompositeModel>,
    evidence: BTreeMap<usize, Vec<f64>>,
    /// P(z | answers).
    causes: Vec<f64>,
    posterior: Vec<f64>,
    log_evidence: f64,
    table: Vec<f64>,
}

impl CompositeBelief {
    /// From scratch, in the order of the findings: the bits then do not depend on the order of the answers.
    fn update(&mut self) -> Result<(), InferenceError> {
        let model = &self.model;
        let mut causes = model.prior.clone();
        let mut log_evidence = 0.0;
        let mut likelihoods = vec![0.0; causes.len()];
        for (&finding, likelihood) in &self.evidence {
            likelihoods.fill(0.0);
            for (row, l) in model.rates[finding].chunks(causes.len()).zip(likelihood) {
                likelihoods.iter_mut().zip(row).for_each(|(sum, p)| *sum += p * l);
            }
            causes.iter_mut().zip(&likelihoods).for_each(|(p, l)| *p *= l);
            log_evidence += normalise(&mut causes)?;
        }
        self.posterior = vec![0.0; model.classes];
        for (p, &class) in causes.iter().zip(&model.class_of) {
            self.posterior[class] += p;
        }
        (self.causes, self.log_evidence) = (causes, log_evidence);
        Ok(())
    }
}

impl Belief for CompositeBelief {
    fn posterior(&self) -> &[f64] {
        &self.posterior
    }

    fn log_evidence(&self) -> f64 {
        self.log_evidence
    }

    fn observe(&mut self, finding: usize, likelihood: &[f64]) -> Result<(), InferenceError> {
        let before = self.evidence.insert(finding, likelihood.to_vec());
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
        let (model, classes) = (&self.model, self.posterior.len());
        self.table.clear();
        self.table.resize(model.states[finding] * classes, 0.0);
        let rows = self.table.chunks_mut(classes).zip(model.rates[finding].chunks(self.causes.len()));
        for (row, rates) in rows {
            for ((p, rate), &class) in self.causes.iter().zip(rates).zip(&model.class_of) {
                row[class] += p * rate;
            }
            row.iter_mut().zip(&self.posterior).filter(|(_, p)| **p > 0.0).for_each(|(cell, p)| *cell /= p);
        }
        &self.table
    }

    fn boxed(&self) -> Box<dyn Belief> {
        Box::new(self.clone())
    }
}
