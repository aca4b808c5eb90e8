//! A network with published parameters.

use super::model::Pass;
use super::noise::Noise;
use super::plan::Plan;
use crate::net::{Batcher, Outputs, Predictor};
use retune::agent::Snapshot;
use retune::env::{CandidateObs, CandidateSpec};
use retune::replay::ObsBatch;
use retune::rng::StreamRng;
use retune::{Error, Result};
use std::sync::Arc;

/// A fully connected network that acts.
#[derive(Debug)]
pub struct MlpPredictor {
    plan: Arc<Plan>,
    batcher: Batcher,
    params: Vec<f32>,
    version: Option<u64>,
    noise: Noise,
    batch: ObsBatch,
    pass: Pass,
}

impl MlpPredictor {
    pub(super) fn new(plan: Arc<Plan>, spec: &CandidateSpec) -> Self {
        Self {
            plan,
            batcher: Batcher::new(spec),
            params: Vec::new(),
            version: None,
            noise: Noise::default(),
            batch: ObsBatch::default(),
            pass: Pass::default(),
        }
    }
}

impl Predictor for MlpPredictor {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        self.version = None;
        self.params.resize(self.plan.layout.len(), 0.0);
        for block in self.plan.layout.blocks() {
            let missing = || Error::State(format!("parameter {} is missing", block.name));
            let values = snapshot.params.get(&block.name).ok_or_else(missing)?;
            block.write(&mut self.params, &values.flatten_all()?.to_vec1()?)?;
        }
        self.version = Some(snapshot.version);
        Ok(())
    }

    fn predict(&mut self, obs: &[Arc<CandidateObs>], noise: Option<&mut StreamRng>, out: &mut Outputs) -> Result<()> {
        let version = self.version.ok_or_else(|| Error::State("the actor has not loaded a snapshot".into()))?;
        self.noise.resample(&self.plan, &self.params, noise);
        Batcher::clear(&mut self.batch);
        for obs in obs {
            self.batcher.push(&mut self.batch, obs)?;
        }
        self.plan.forward(self.noise.weights(&self.params), &self.batch, &mut self.pass, out)?;
        out.require_finite(&self.plan.heads, version)
    }
}
