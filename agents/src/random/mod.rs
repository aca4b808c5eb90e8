//! Uniformly random slates: the floor of every comparison. Learns nothing; reports no metrics. See `README.md` here.

use crate::acting::{check_streams, random_decisions};
use crate::learning::Setup;
use candle_core::Tensor;
use retune::Result;
use retune::agent::{Actor, Agent, Decision, Learner, Ledger, Metrics, Mode, Rollout, Snapshot, Stop};
use retune::env::{CandidateObs, Slate, TextId};
use retune::nn::checksum;
use retune::persist::StateDict;
use retune::rng::StreamRng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The agent.
pub struct RandomAgent {
    slate_size: usize,
    learner: CountingLearner,
}

impl RandomAgent {
    /// A fresh agent.
    ///
    /// # Errors
    /// [`retune::Error::Config`] if actions are not slates.
    pub fn new(setup: &Setup<'_>) -> Result<Self> {
        Ok(Self { slate_size: setup.slate_size()?, learner: CountingLearner::default() })
    }
}

impl Agent<CandidateObs, Slate> for RandomAgent {
    fn make_actor(&self) -> Result<Box<dyn Actor<CandidateObs, Slate>>> {
        Ok(Box::new(RandomActor { slate_size: self.slate_size }))
    }

    fn learner(&mut self) -> &mut dyn Learner<CandidateObs, Slate> {
        &mut self.learner
    }
}

struct RandomActor {
    slate_size: usize,
}

impl Actor<CandidateObs, Slate> for RandomActor {
    fn load(&mut self, _snapshot: &Arc<Snapshot>) -> Result<()> {
        Ok(())
    }

    fn act(&mut self, obs: &[Arc<CandidateObs>], rngs: &mut [StreamRng], _mode: Mode) -> Result<Vec<Decision<Slate>>> {
        check_streams(obs.len(), rngs.len())?;
        random_decisions(obs, rngs, self.slate_size)
    }
}

/// Counts env steps.
#[derive(Default)]
struct CountingLearner {
    ledger: Ledger,
}

impl Learner<CandidateObs, Slate> for CountingLearner {
    fn snapshot(&mut self, _texts: &[TextId]) -> Result<Arc<Snapshot>> {
        let params: BTreeMap<String, Tensor> = BTreeMap::new();
        let checksum = checksum(params.iter().map(|(n, t)| (n.as_str(), t)))?;
        Ok(Arc::new(Snapshot { version: 1, checksum, params, features: None }))
    }

    fn learn(&mut self, rollout: Rollout<CandidateObs, Slate>, _stop: &Stop) -> Result<Metrics> {
        self.ledger.env_steps += rollout.env_steps() as u64;
        Ok(Metrics::new())
    }

    fn ledger(&self) -> Ledger {
        self.ledger
    }

    fn trainable_parameters(&self) -> usize {
        0
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        state.put(format!("{prefix}ledger"), &self.ledger)
    }

    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        self.ledger = state.get(&format!("{prefix}ledger"))?;
        Ok(())
    }
}
