//! Actors for the tests of this module.

use crate::agent::{Actor, Decision, Mode, Snapshot};
use crate::env::{CandidateObs, Slate};
use crate::rng::StreamRng;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Parameters that make a [`ShopActor`] prefer candidate features times `version`.
pub fn snapshot(version: u64) -> Arc<Snapshot> {
    let weight = Tensor::new(&[[version as f32]], &Device::Cpu).unwrap();
    let params = BTreeMap::from([("weight".to_owned(), weight)]);
    Arc::new(Snapshot { version, checksum: format!("sum-{version}"), params, features: None })
}

/// Samples slates of two without replacement, by Gumbel noise on scores that one matrix product makes.
#[derive(Default)]
pub struct ShopActor {
    weight: Option<Tensor>,
}

impl Actor<CandidateObs, Slate> for ShopActor {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        let missing = || Error::State("no weight".to_owned());
        self.weight = Some(snapshot.params.get("weight").ok_or_else(missing)?.clone());
        Ok(())
    }

    fn act(&mut self, obs: &[Arc<CandidateObs>], rngs: &mut [StreamRng], _mode: Mode) -> Result<Vec<Decision<Slate>>> {
        let width = obs[0].num_candidates();
        let flat: Vec<f32> = obs.iter().flat_map(|o| o.candidate_features.clone()).collect();
        let features = Tensor::from_vec(flat, (obs.len() * width, 1), &Device::Cpu)?;
        let weight = self.weight.as_ref().ok_or_else(|| Error::State("not loaded".to_owned()))?;
        let scores = features.matmul(weight)?.reshape((obs.len(), width))?.to_vec2::<f32>()?;
        Ok(obs.iter().zip(scores).zip(rngs).map(|((o, s), rng)| choose(o, &s, rng)).collect())
    }
}

fn choose(obs: &CandidateObs, scores: &[f32], rng: &mut StreamRng) -> Decision<Slate> {
    let mut noisy: Vec<(f64, u32)> =
        scores.iter().enumerate().map(|(i, s)| (f64::from(*s) + rng.gumbel(), i as u32)).collect();
    noisy.retain(|(_, i)| obs.mask[*i as usize]);
    noisy.sort_by(|a, b| b.0.total_cmp(&a.0));
    Decision { action: Slate(noisy[..2].iter().map(|(_, i)| *i).collect()), log_prob: -1.0 }
}
