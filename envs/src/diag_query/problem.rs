//! What is asked about: diagnoses, findings, where cases come from and what is known about them.

use super::model::Model;
use super::network::{Network, inverse_cdf};
use retune::env::EnvError;
use retune::rng::{Seed, StreamRng};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::sync::Arc;

/// What can be declared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// Name in the data.
    pub id: String,
    /// Name for people and for agents that read.
    pub name: String,
    /// DDXPlus severity, 1 (worst) to 5.
    pub severity: Option<u8>,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Name in the data.
    pub id: String,
    /// Name for people and for agents that read.
    pub name: String,
    /// Names of the states; at least one.
    pub states: Vec<String>,
    /// The state that means "absent" or "normal".
    pub default: usize,
    /// Kind of test, which sets the cost under [`super::env::Costs::Clinical`].
    pub kind: TestKind,
    /// A finding that must have been answered with another than its default state before this one may be asked.
    pub requires: Option<usize>,
}

/// Kind of test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestKind {
    /// Age or sex, which everybody sees. Shown as one slot a state by [`super::env::View::Signed`]; never the finding
    /// that is revealed at random.
    Demographic,
    /// A question to the patient.
    History,
    /// Bodily examination.
    Exam,
    /// A laboratory test.
    Lab,
    /// Imaging.
    Imaging,
    /// An invasive test.
    Invasive,
}

impl TestKind {
    /// The `clinical` cost.
    #[must_use]
    pub fn clinical_cost(self) -> f64 {
        match self {
            Self::Demographic => 0.0,
            Self::History => 0.5,
            Self::Exam => 1.0,
            Self::Lab => 3.0,
            Self::Imaging => 5.0,
            Self::Invasive => 10.0,
        }
    }
}

/// One patient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Number of the diagnosis.
    pub diagnosis: usize,
    /// State of each finding; `None` where the data have none, which is answered with `unknown`.
    pub findings: Vec<Option<usize>>,
    /// Findings that the data reveal at the start.
    pub given: Vec<usize>,
}

/// Where cases come from.
pub trait CaseSource: Debug + Send + Sync {
    /// A case, from `rng` alone.
    fn draw(&self, rng: &mut StreamRng) -> Case;

    /// Most findings that a case reveals at the start.
    fn max_given(&self) -> usize {
        0
    }

    /// How many cases there are where they are a list, each as likely as any other: the number of the one that
    /// [`CaseSource::draw`] returns is then [`StreamRng::below`] of this on the same stream. `None` where cases are drawn
    /// without end.
    fn listed(&self) -> Option<usize> {
        None
    }
}

/// Diagnoses, findings, cases, and a model if there is one.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Stable name, such as `hepar2/PBC`.
    pub name: String,
    /// What can be declared; at least one.
    pub diagnoses: Vec<Diagnosis>,
    /// What can be asked; ties are broken in this order.
    pub findings: Vec<Finding>,
    /// Where cases come from.
    pub source: Arc<dyn CaseSource>,
    /// A model for beliefs, gains and stopping. It need not be the one that cases come from.
    pub model: Option<Arc<dyn Model>>,
}

impl Problem {
    /// States of each finding.
    #[must_use]
    pub fn states(&self) -> Vec<usize> {
        self.findings.iter().map(|f| f.states.len()).collect()
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// [`EnvError::Config`] naming what does not fit.
    pub fn validate(&self) -> Result<(), EnvError> {
        let wrong = |key: &str, value: String, expected: &str| {
            Err(EnvError::Config { key: format!("{}: {key}", self.name), value, expected: expected.to_owned() })
        };
        if self.diagnoses.is_empty() {
            return wrong("diagnoses", "0".to_owned(), "at least 1");
        }
        for (i, finding) in self.findings.iter().enumerate() {
            if finding.default >= finding.states.len() {
                return wrong(&finding.id, format!("default state {}", finding.default), "one of its states");
            }
            if finding.requires.is_some_and(|r| r >= self.findings.len() || r == i) {
                return wrong(&finding.id, format!("requires {:?}", finding.requires), "another finding");
            }
        }
        if let Some(model) = &self.model {
            let (found, expected) = (model.num_classes(), self.diagnoses.len());
            if found != expected {
                return wrong("model", format!("{found} diagnoses"), &format!("{expected} diagnoses"));
            }
            if model.states() != self.states() {
                return wrong("model", format!("states {:?}", model.states()), "the states of the findings");
            }
        }
        Ok(())
    }
}

/// Patients drawn from a Bayesian network.
#[derive(Debug)]
pub struct NetworkSource {
    network: Arc<Network>,
    class: usize,
    findings: Vec<usize>,
}

impl NetworkSource {
    /// Patients with variable `class` as diagnosis and `findings`, all by number in the network.
    #[must_use]
    pub fn new(network: Arc<Network>, class: usize, findings: Vec<usize>) -> Self {
        Self { network, class, findings }
    }
}

impl CaseSource for NetworkSource {
    fn draw(&self, rng: &mut StreamRng) -> Case {
        let states = self.network.sample(rng);
        let findings = self.findings.iter().map(|&f| Some(states[f])).collect();
        Case { diagnosis: states[self.class], findings, given: Vec::new() }
    }
}

/// Patients from a list, each as likely as any other.
#[derive(Debug)]
pub struct ListSource {
    cases: Vec<Case>,
}

impl ListSource {
    /// Patients from `cases`.
    ///
    /// # Errors
    /// [`EnvError::Config`] if there are none.
    pub fn new(cases: Vec<Case>) -> Result<Self, EnvError> {
        if cases.is_empty() {
            let (key, value, expected) = ("cases".to_owned(), "0".to_owned(), "at least 1".to_owned());
            return Err(EnvError::Config { key, value, expected });
        }
        Ok(Self { cases })
    }

    /// The patients.
    #[must_use]
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }
}

impl CaseSource for ListSource {
    fn draw(&self, rng: &mut StreamRng) -> Case {
        self.cases[rng.below(self.cases.len())].clone()
    }

    fn listed(&self) -> Option<usize> {
        Some(self.cases.len())
    }

    fn max_given(&self) -> usize {
        self.cases.iter().map(|c| c.given.len()).max().unwrap_or_default()
    }
}

/// Draws by which it is found out whether a source has patients of some kind at all.
const TRIED_DRAWS: usize = 20_000;

/// Those patients of a source that have one of some diagnoses.
#[derive(Debug)]
pub struct Selected {
    source: Arc<dyn CaseSource>,
    kept: Vec<bool>,
}

impl Selected {
    /// Patients with a diagnosis that is `kept`.
    ///
    /// # Errors
    /// [`EnvError::Config`] if the source is a list, or if none of many patients has such a diagnosis.
    pub fn new(source: Arc<dyn CaseSource>, kept: Vec<bool>) -> Result<Self, EnvError> {
        let wrong = |value: String, expected: &str| {
            let (key, expected) = ("diagnoses".to_owned(), expected.to_owned());
            Err(EnvError::Config { key, value, expected })
        };
        if let Some(cases) = source.listed() {
            return wrong(format!("some of {cases} recorded cases"), "patients that are drawn without end");
        }
        let mut rng = Seed::root(0).child("selected").rng();
        let is_kept = |case: &Case| kept.get(case.diagnosis) == Some(&true);
        if !(0..TRIED_DRAWS).any(|_| is_kept(&source.draw(&mut rng))) {
            let numbers: Vec<usize> = (0..kept.len()).filter(|&d| kept[d]).collect();
            return wrong(format!("numbers {numbers:?}"), "diagnoses that patients have");
        }
        Ok(Self { source, kept })
    }
}

impl CaseSource for Selected {
    fn draw(&self, rng: &mut StreamRng) -> Case {
        loop {
            let case = self.source.draw(rng);
            if self.kept.get(case.diagnosis) == Some(&true) {
                return case;
            }
        }
    }

    fn max_given(&self) -> usize {
        self.source.max_given()
    }
}

/// A state by inverse CDF, for sources that draw from their own tables.
pub(crate) fn draw_state(probabilities: impl IntoIterator<Item = f64>, rng: &mut StreamRng) -> usize {
    inverse_cdf(&probabilities.into_iter().collect::<Vec<_>>(), rng.uniform())
}
