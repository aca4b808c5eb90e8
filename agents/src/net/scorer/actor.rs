//! A scorer with published parameters.

use super::outputs::Wiring;
use crate::acting::Policy;
use crate::net::{Outputs, Predictor};
use crate::scorer::Scorer;
use retune::Result;
use retune::agent::Snapshot;
use retune::env::CandidateObs;
use retune::rng::StreamRng;
use std::sync::Arc;

/// A scorer that acts.
pub(super) struct ScorerPredictor {
    wiring: Wiring,
    policy: Policy,
    mask: Vec<u8>,
}

impl ScorerPredictor {
    pub fn new(wiring: Wiring, scorer: Scorer) -> Self {
        Self { wiring, policy: Policy::new(scorer), mask: Vec::new() }
    }
}

impl Predictor for ScorerPredictor {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        self.policy.load(snapshot)
    }

    fn predict(&mut self, obs: &[Arc<CandidateObs>], _: Option<&mut StreamRng>, out: &mut Outputs) -> Result<()> {
        let all: Vec<&CandidateObs> = obs.iter().map(AsRef::as_ref).collect();
        let scores = self.policy.scores(&all)?;
        self.mask.clear();
        self.mask.extend(all.iter().flat_map(|o| o.mask.iter().map(|&m| u8::from(m))));
        self.wiring.outputs(&scores, all.len(), &self.mask, out);
        Ok(())
    }
}
