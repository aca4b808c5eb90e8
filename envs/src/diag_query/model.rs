//! What is believed about a patient: a model of the findings given the diagnosis, and a belief that follows answers.

use super::gain::Channel;
use super::inference::{Calibration, InferenceError, LaneTables, Scope, Tree, normalise};
use super::network::Network;
use std::fmt::Debug;
use std::sync::Arc;

/// A probabilistic model of a diagnosis and its findings.
pub trait Model: Debug + Send + Sync {
    /// Number of diagnoses, D.
    fn num_classes(&self) -> usize;

    /// States of each finding.
    fn states(&self) -> &[usize];

    /// The belief before any answer.
    fn begin(&self) -> Box<dyn Belief>;
}

/// A belief in one episode. A pure function of what was observed: bit for bit the same in whatever order findings came.
pub trait Belief: Send {
    /// P(diagnosis | answers), `[classes]`.
    fn posterior(&self) -> &[f64];

    /// ln P(answers), nats.
    fn log_evidence(&self) -> f64;

    /// Takes in P(answer | state) for each state of a finding; replaces what was known about it.
    ///
    /// # Errors
    /// [`InferenceError::ImpossibleEvidence`] if the answer contradicts earlier ones; the belief is then unchanged.
    fn observe(&mut self, finding: usize, likelihood: &[f64]) -> Result<(), InferenceError>;

    /// P(state | diagnosis, answers) of a finding, `[states, classes]`; zeros for a diagnosis that is ruled out.
    fn conditionals(&mut self, finding: usize) -> &[f64];

    /// Expected drop of the entropy by asking each of `findings`, bits, where this is faster than by
    /// [`Belief::conditionals`]; `None` where it is not.
    fn gains(&mut self, _channel: &Channel, _findings: &[usize]) -> Option<Vec<f64>> {
        None
    }

    /// A copy.
    fn boxed(&self) -> Box<dyn Belief>;
}

/// A Bayesian network with one variable as the diagnosis and others as findings.
#[derive(Clone)]
pub struct NetworkModel {
    class: usize,
    findings: Vec<usize>,
    states: Vec<usize>,
    start: NetworkBelief,
}

impl NetworkModel {
    /// Compiles the junction tree for diagnosis `class` and these findings, both by number in the network. Variables
    /// that matter to neither are left out.
    ///
    /// # Errors
    /// [`InferenceError::TooLarge`] above `max_cells`, before memory is taken; [`InferenceError::Invalid`] if the
    /// diagnosis is among the findings or a finding stands twice.
    pub fn new(network: &Network, class: usize, findings: &[usize], max_cells: usize) -> Result<Self, InferenceError> {
        for (i, f) in findings.iter().enumerate() {
            let name = &network.variables()[*f].name;
            if *f == class || findings[..i].contains(f) {
                let what = if *f == class { "is the diagnosis" } else { "stands twice among the findings" };
                return Err(InferenceError::Invalid(format!("{name} {what}, expected findings that are distinct")));
            }
        }
        let keep = super::inference::ancestors(network, findings.iter().copied().chain([class]));
        let given = vec![None; network.len()];
        let tables = LaneTables::new(network, class);
        let scope = Scope { network, class: &tables, keep: &keep, given: &given };
        let tree = Tree::compile(&scope, max_cells)
            .map_err(|cells| InferenceError::TooLarge { cells: cells.0, limit: max_cells })?;
        let states: Vec<usize> = findings.iter().map(|&f| network.variables()[f].states.len()).collect();
        let local: Vec<usize> = findings.iter().map(|&f| tree.local[f].expect("findings are kept")).collect();
        let mut calibration = Calibration::new(Arc::new(tree));
        calibration.settle();
        let start = NetworkBelief::new(calibration, local)?;
        Ok(Self { class, findings: findings.to_vec(), states, start })
    }

    /// Number of the diagnosis in the network.
    #[must_use]
    pub fn class(&self) -> usize {
        self.class
    }

    /// Numbers of the findings in the network.
    #[must_use]
    pub fn findings(&self) -> &[usize] {
        &self.findings
    }
}

impl Debug for NetworkModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NetworkModel({} classes, {} findings)", self.num_classes(), self.findings.len())
    }
}

impl Model for NetworkModel {
    fn num_classes(&self) -> usize {
        self.start.posterior.len()
    }

    fn states(&self) -> &[usize] {
        &self.states
    }

    fn begin(&self) -> Box<dyn Belief> {
        Box::new(self.start.clone())
    }
}

/// Conditionals of a finding and the version of the evidence they belong to.
type Known = Option<(u64, Vec<f64>)>;

#[derive(Clone)]
struct NetworkBelief {
    calibration: Calibration,
    /// Number in the tree of each finding.
    local: Arc<[usize]>,
    posterior: Vec<f64>,
    log_evidence: f64,
    known: Vec<Known>,
}

impl NetworkBelief {
    fn new(calibration: Calibration, local: Vec<usize>) -> Result<Self, InferenceError> {
        let known: Vec<Known> = vec![None; local.len()];
        let mut made = Self { calibration, local: local.into(), posterior: Vec::new(), log_evidence: 0.0, known };
        made.update()?;
        Ok(made)
    }

    fn update(&mut self) -> Result<(), InferenceError> {
        let (mut lanes, log_scale) = self.calibration.lanes();
        self.log_evidence = normalise(&mut lanes)? + log_scale;
        self.posterior = lanes;
        Ok(())
    }
}

impl Belief for NetworkBelief {
    fn posterior(&self) -> &[f64] {
        &self.posterior
    }

    fn log_evidence(&self) -> f64 {
        self.log_evidence
    }

    fn observe(&mut self, finding: usize, likelihood: &[f64]) -> Result<(), InferenceError> {
        let v = self.local[finding];
        let before = self.calibration.evidence(v).map(<[f64]>::to_vec);
        self.calibration.set(v, Some(likelihood));
        let updated = self.update();
        if updated.is_err() {
            self.calibration.set(v, before.as_deref());
        }
        updated
    }

    fn conditionals(&mut self, finding: usize) -> &[f64] {
        let v = self.local[finding];
        let version = self.calibration.version(v);
        if self.known[finding].as_ref().is_none_or(|(of, _)| *of != version) {
            // One clique answers for all findings that live there.
            let tree = self.calibration.tree();
            let home = tree.home[v];
            let together: Vec<(usize, usize)> =
                self.local.iter().copied().enumerate().filter(|(_, u)| tree.home[*u] == home).collect();
            let variables: Vec<usize> = together.iter().map(|(_, u)| *u).collect();
            let (known, lanes) = (&mut self.known, self.posterior.len());
            self.calibration.marginals(&variables, |u, table| {
                let (finding, _) = together.iter().find(|(_, w)| *w == u).expect("only these were asked for");
                let mut table = table.to_vec();
                normalise_lanes(&mut table, lanes);
                known[*finding] = Some((version, table));
            });
        }
        &self.known[finding].as_ref().expect("it was just computed").1
    }

    fn boxed(&self) -> Box<dyn Belief> {
        Box::new(self.clone())
    }
}

/// Makes each lane sum to one over the states; lanes of zeros stay.
fn normalise_lanes(table: &mut [f64], lanes: usize) {
    let mut sums = vec![0.0; lanes];
    for row in table.chunks(lanes) {
        sums.iter_mut().zip(row).for_each(|(sum, p)| *sum += p);
    }
    for row in table.chunks_mut(lanes) {
        row.iter_mut().zip(&sums).filter(|(_, sum)| **sum > 0.0).for_each(|(p, sum)| *p /= sum);
    }
}
