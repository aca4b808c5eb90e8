//! Policy gradient over slates: Plackett–Luce policy, baseline, entropy bonus. See `README.md` here.
//!
//! Metrics, means over the updates of a round: `loss`; `policy_loss`; `value_loss`, half the squared error of the
//! baseline in units of its scale; `entropy` of the first draw of a slate in nats; `grad_norm` before clipping.

pub(crate) mod advantage;
mod config;
mod learner;
pub(crate) mod plackett_luce;

pub use config::ReinforceConfig;

use crate::acting::{Policy, check_streams, ranked};
use crate::learning::{Guarded, LearningConfig, ModelPlan, Part, Setup, Trainer};
use crate::scorer::{Scorer, Tower};
use learner::ReinforceLearner;
use retune::Result;
use retune::agent::{Actor, Agent, Decision, Learner, Mode, Snapshot};
use retune::env::{CandidateObs, Slate};
use retune::rng::StreamRng;
use std::sync::Arc;

/// The agent.
pub struct ReinforceAgent {
    slate_size: usize,
    learner: Guarded<ReinforceLearner>,
}

impl ReinforceAgent {
    /// A fresh agent.
    ///
    /// # Errors
    /// [`retune::Error::Config`] if a setting is out of range or the env does not offer candidates and slates.
    pub fn new(setup: &Setup<'_>, config: &ReinforceConfig) -> Result<Self> {
        let trainer = trainer(setup, config.interaction_decay, config.baseline_decay)?;
        let slate_size = setup.slate_size()?;
        let shuffle = setup.seed.child("shuffle").rng();
        let learner = ReinforceLearner::new(config, slate_size, trainer, shuffle);
        Ok(Self { slate_size, learner: Guarded::new(learner, config.gamma, 1.0) })
    }
}

/// A policy over candidates and a baseline, each with a weight decay of its own: of the part of the policy in which
/// state and candidate meet, and of the baseline.
///
/// # Errors
/// If a setting is out of range or the env does not offer candidates.
pub(crate) fn trainer(setup: &Setup<'_>, interaction_decay: f64, baseline_decay: f64) -> Result<Trainer> {
    let plan = ModelPlan {
        // A softmax over candidates follows: a bias would cancel.
        towers: vec![Tower { name: "policy".into(), hidden: setup.learning.hidden, bias: false }],
        state_outputs: 1,
        parts: &[
            Part { name: "policy.inner.", rate: 1.0, decay: Some(interaction_decay) },
            Part { name: "state.", rate: 1.0, decay: Some(baseline_decay) },
        ],
    };
    // The gradient is that of the policy that acted, so the last parameters act, not their average.
    let learning = LearningConfig { average_decay: 0.0, ..setup.learning.clone() };
    Trainer::new(&Setup { learning: &learning, ..*setup }, plan)
}

impl Agent<CandidateObs, Slate> for ReinforceAgent {
    fn make_actor(&self) -> Result<Box<dyn Actor<CandidateObs, Slate>>> {
        let scorer: Scorer = self.learner.trainer().scorer().clone();
        Ok(Box::new(SlateActor::new(scorer, self.slate_size)))
    }

    fn learner(&mut self) -> &mut dyn Learner<CandidateObs, Slate> {
        &mut self.learner
    }
}

/// Draws slates in training, takes the most likely items in evaluation.
pub(crate) struct SlateActor {
    policy: Policy,
    slate_size: usize,
}

impl SlateActor {
    /// Slates of `slate_size` by the first tower of `scorer`.
    pub fn new(scorer: Scorer, slate_size: usize) -> Self {
        Self { policy: Policy::new(scorer), slate_size }
    }
}

impl Actor<CandidateObs, Slate> for SlateActor {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        self.policy.load(snapshot)
    }

    fn act(&mut self, obs: &[Arc<CandidateObs>], rngs: &mut [StreamRng], mode: Mode) -> Result<Vec<Decision<Slate>>> {
        check_streams(obs.len(), rngs.len())?;
        if obs.is_empty() {
            return Ok(Vec::new());
        }
        let all: Vec<&CandidateObs> = obs.iter().map(AsRef::as_ref).collect();
        let scores = self.policy.scores(&all)?;
        let mut decisions = Vec::with_capacity(obs.len());
        for (b, (o, rng)) in all.iter().zip(rngs).enumerate() {
            let logits: Vec<f64> = (0..o.num_candidates()).map(|i| scores.item(0, b, i)).collect();
            let decision = match mode {
                Mode::Evaluate => Decision { action: ranked(&o.mask, self.slate_size, |i| logits[i])?, log_prob: 0.0 },
                Mode::Train => {
                    let action = plackett_luce::sample(&logits, &o.mask, self.slate_size, rng)?;
                    let log_prob = plackett_luce::log_prob(&logits, &o.mask, &action.0) as f32;
                    Decision { action, log_prob }
                }
            };
            decisions.push(decision);
        }
        Ok(decisions)
    }
}
