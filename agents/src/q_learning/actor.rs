//! Serves slates by value, some at random in training.

use super::QLearningConfig;
use super::values::StateValues;
use crate::acting::{Policy, check_streams, number, random_slate, uniform_log_prob};
use crate::learning::ValueUnit;
use crate::scorer::Scorer;
use retune::Result;
use retune::agent::{Actor, Decision, Mode, Snapshot};
use retune::env::{CandidateObs, Slate};
use retune::rng::StreamRng;
use std::sync::Arc;

/// Name of the published share of random slates.
pub(super) const EPSILON: &str = "actor.epsilon";
/// Name of the published level of values.
pub(super) const VALUE_LEVEL: &str = "actor.value_level";
/// Name of the published scale of values.
pub(super) const VALUE_SCALE: &str = "actor.value_scale";

/// The actor of the value learners.
#[derive(Debug)]
pub(super) struct ValueActor {
    config: QLearningConfig,
    slate_size: usize,
    policy: Policy,
    epsilon: f64,
    unit: ValueUnit,
}

impl ValueActor {
    pub fn new(config: &QLearningConfig, scorer: Scorer, slate_size: usize) -> Self {
        Self {
            config: config.clone(),
            slate_size,
            policy: Policy::new(scorer),
            epsilon: 1.0,
            unit: ValueUnit::default(),
        }
    }
}

impl Actor<CandidateObs, Slate> for ValueActor {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        let unit = ValueUnit { level: number(snapshot, VALUE_LEVEL)?, scale: number(snapshot, VALUE_SCALE)? };
        let epsilon = number(snapshot, EPSILON)?;
        self.policy.load(snapshot)?;
        (self.unit, self.epsilon) = (unit, epsilon);
        Ok(())
    }

    fn act(&mut self, obs: &[Arc<CandidateObs>], rngs: &mut [StreamRng], mode: Mode) -> Result<Vec<Decision<Slate>>> {
        check_streams(obs.len(), rngs.len())?;
        let train = mode == Mode::Train;
        let explores: Vec<bool> = rngs.iter_mut().map(|rng| train && rng.uniform() < self.epsilon).collect();
        // Random slates need no scores: in the first phase of training nearly all are random.
        let scored: Vec<&CandidateObs> =
            obs.iter().zip(&explores).filter(|(_, e)| !**e).map(|(o, _)| o.as_ref()).collect();
        let scores = if scored.is_empty() { None } else { Some(self.policy.scores(&scored)?) };
        let epsilon = if train { self.epsilon } else { 0.0 };
        let mut next = 0..scored.len();
        let mut decisions = Vec::with_capacity(obs.len());
        for (i, o) in obs.iter().enumerate() {
            let legal = o.mask.iter().filter(|&&m| m).count();
            let (action, probability) = match (&scores, explores[i]) {
                (Some(scores), false) => {
                    let row = next.next().expect("one row for each observation that does not explore");
                    let values = StateValues::read(scores, row, o.num_candidates(), self.unit, &self.config);
                    let slate = values.select(&o.mask, self.config.serving, self.slate_size)?;
                    (slate, 1.0 - epsilon + epsilon * uniform_log_prob(legal, self.slate_size).exp())
                }
                _ => {
                    let (slate, log_prob) = random_slate(&o.mask, self.slate_size, &mut rngs[i])?;
                    (slate, epsilon * log_prob.exp())
                }
            };
            decisions.push(Decision { action, log_prob: probability.ln() as f32 });
        }
        Ok(decisions)
    }
}
