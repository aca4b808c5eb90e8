//! What is believed about a patient: a model of the findings given the diagnosis, and a belief that follows answers.

use super::gain::{Channel, entropy_bits};
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
        let mut start = NetworkBelief::new(calibration, local)?;
        // So that no episode has to compute what holds before its first answer.
        (0..findings.len()).for_each(|finding| _ = start.settled(finding));
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

/// What is known about a finding under the evidence of one version.
#[derive(Clone)]
struct Known {
    version: u64,
    /// P(state | diagnosis, answers), `[states, classes]`.
    table: Vec<f64>,
    /// Entropy of the state under each diagnosis, bits, `[classes]`.
    spread: Vec<f64>,
}

impl Known {
    fn new(version: u64, mut table: Vec<f64>, classes: usize) -> Self {
        normalise_lanes(&mut table, classes);
        let mut spread = vec![0.0; classes];
        for row in table.chunks(classes) {
            let lanes = spread.iter_mut().zip(row).filter(|(_, q)| **q > 0.0);
            lanes.for_each(|(h, q)| *h -= q * q.log2());
        }
        Self { version, table, spread }
    }

    /// The gain of the true state: its entropy less what is left of that under the diagnoses, bits, at least 0.
    fn gain(&self, posterior: &[f64]) -> f64 {
        let dot = |row: &[f64]| row.iter().zip(posterior).map(|(q, p)| q * p).sum::<f64>();
        let answers: Vec<f64> = self.table.chunks(posterior.len()).map(dot).collect();
        (entropy_bits(&answers) - dot(&self.spread)).max(0.0)
    }
}

#[derive(Clone)]
struct NetworkBelief {
    calibration: Calibration,
    /// Number in the tree of each finding.
    local: Arc<[usize]>,
    posterior: Vec<f64>,
    log_evidence: f64,
    /// Per finding. Shared, so that clones cost little.
    known: Vec<Option<Arc<Known>>>,
}

impl NetworkBelief {
    fn new(calibration: Calibration, local: Vec<usize>) -> Result<Self, InferenceError> {
        let known = vec![None; local.len()];
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

    /// What is known about a finding under the evidence as it is.
    fn settled(&mut self, finding: usize) -> &Known {
        let v = self.local[finding];
        let version = self.calibration.version(v);
        if self.known[finding].as_ref().is_none_or(|known| known.version != version) {
            // One clique answers for all findings that live there.
            let tree = self.calibration.tree();
            let (home, lanes) = (tree.home[v], tree.lanes);
            let together: Vec<(usize, usize)> =
                self.local.iter().copied().enumerate().filter(|(_, u)| tree.home[*u] == home).collect();
            let variables: Vec<usize> = together.iter().map(|(_, u)| *u).collect();
            let known = &mut self.known;
            self.calibration.marginals(&variables, |u, table| {
                let (finding, _) = together.iter().find(|(_, w)| *w == u).expect("only these were asked for");
                known[*finding] = Some(Arc::new(Known::new(version, table.to_vec(), lanes)));
            });
        }
        self.known[finding].as_ref().expect("it was just computed")
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
        &self.settled(finding).table
    }

    fn gains(&mut self, channel: &Channel, findings: &[usize]) -> Option<Vec<f64>> {
        if findings.iter().any(|&f| !channel.is_exact(f)) {
            return None;
        }
        let posterior = std::mem::take(&mut self.posterior);
        let gains = findings.iter().map(|&f| (1.0 - channel.missing) * self.settled(f).gain(&posterior)).collect();
        self.posterior = posterior;
        Some(gains)
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
