//! A learner that is watched for the usual ways of failing quietly.

use super::guards::Guards;
use super::texts::{TEXT_MEAN, TEXT_STD};
use candle_core::Tensor;
use retune::Result;
use retune::agent::{Learner, Ledger, Metrics, Rollout, Snapshot, Stop};
use retune::env::TextId;
use retune::persist::StateDict;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Names of published numbers that acting needs begin so; nothing trains them.
pub(crate) const ACTOR: &str = "actor.";

/// Metrics that are mean values of states or of what was chosen there.
const VALUES: [&str; 3] = ["q", "value", "q_none"];

/// Metric: the mean entropy of the policy over that of uniform choice among the legal candidates, in [0, 1].
pub(crate) const RELATIVE_ENTROPY: &str = "relative_entropy";

/// Entropy of uniform choice among the legal actions, mean over `rows` states, nats.
pub(crate) fn largest_entropy(mask: &[u8], rows: usize) -> f64 {
    let actions = mask.len() / rows.max(1);
    let legal = mask.chunks(actions.max(1)).map(|row| row.iter().filter(|&&m| m != 0).count().max(1) as f64);
    legal.map(f64::ln).sum::<f64>() / rows.max(1) as f64
}

/// A learner and its [`Guards`], which look at the rewards that come in, at the metrics of every round and at the
/// parameters that are published.
pub(crate) struct Guarded<L> {
    learner: L,
    guards: Guards,
    gamma: f64,
    reward_scale: f64,
}

impl<L> Guarded<L> {
    /// Watches `learner`, whose values are discounted by `gamma` and count rewards times `reward_scale`.
    pub fn new(learner: L, gamma: f64, reward_scale: f64) -> Self {
        Self { learner, guards: Guards::default(), gamma, reward_scale }
    }
}

impl<L> Deref for Guarded<L> {
    type Target = L;

    fn deref(&self) -> &L {
        &self.learner
    }
}

impl<L> DerefMut for Guarded<L> {
    fn deref_mut(&mut self) -> &mut L {
        &mut self.learner
    }
}

/// Whether a published tensor must move. Single numbers need not: the bias of a score cancels in a softmax over candidates,
/// and were nothing to train its layer, the weights would stand still as well.
fn must_move(name: &str, tensor: &Tensor) -> bool {
    !name.starts_with(ACTOR) && name != TEXT_MEAN && name != TEXT_STD && tensor.elem_count() > 1
}

impl<O, A, L: Learner<O, A>> Learner<O, A> for Guarded<L> {
    fn snapshot(&mut self, texts: &[TextId]) -> Result<Arc<Snapshot>> {
        let snapshot = self.learner.snapshot(texts)?;
        let trained = snapshot.params.iter().filter(|(name, tensor)| must_move(name, tensor));
        self.guards.parameters(self.learner.ledger().updates, trained)?;
        Ok(snapshot)
    }

    fn learn(&mut self, rollout: Rollout<O, A>, stop: &Stop) -> Result<Metrics> {
        for step in rollout.segments.iter().flat_map(|segment| &segment.steps) {
            self.guards.reward(self.reward_scale * step.reward);
        }
        let metrics = self.learner.learn(rollout, stop)?;
        let update = self.learner.ledger().updates;
        for value in VALUES.iter().filter_map(|name| metrics.get(*name)) {
            self.guards.value(update, *value, self.gamma);
        }
        if let Some(&share) = metrics.get(RELATIVE_ENTROPY) {
            self.guards.entropy(update, share);
        }
        Ok(metrics)
    }

    fn ledger(&self) -> Ledger {
        self.learner.ledger()
    }

    fn trainable_parameters(&self) -> usize {
        self.learner.trainable_parameters()
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        self.learner.save(state, prefix)?;
        state.put(format!("{prefix}guards"), &self.guards)
    }

    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        let guards = state.get(&format!("{prefix}guards"))?;
        self.learner.load(state, prefix)?;
        self.guards = guards;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::build;
    use crate::{AgentConfig, AgentKind};
    use candle_core::Device;
    use retune::agent::{Segment, Transition};
    use retune::env::{Env, Status};
    use retune::rng::Seed;
    use std::collections::BTreeMap;

    /// Publishes and measures what it is told to.
    struct Fake {
        params: BTreeMap<String, Tensor>,
        metrics: Metrics,
        updates: u64,
    }

    impl Learner<u32, u32> for Fake {
        fn snapshot(&mut self, _: &[TextId]) -> Result<Arc<Snapshot>> {
            let params = self.params.clone();
            Ok(Arc::new(Snapshot { version: 0, checksum: String::new(), params, features: None }))
        }

        fn learn(&mut self, _: Rollout<u32, u32>, _: &Stop) -> Result<Metrics> {
            self.updates += 100;
            Ok(self.metrics.clone())
        }

        fn ledger(&self) -> Ledger {
            Ledger { updates: self.updates, ..Ledger::default() }
        }

        fn trainable_parameters(&self) -> usize {
            2
        }

        fn save(&self, _: &mut StateDict, _: &str) -> Result<()> {
            Ok(())
        }

        fn load(&mut self, _: &StateDict, _: &str) -> Result<()> {
            Ok(())
        }
    }

    fn tensor(x: f32) -> Tensor {
        Tensor::new(&[x, x], &Device::Cpu).unwrap()
    }

    fn learner(metrics: &[(&str, f64)]) -> Guarded<Fake> {
        let names = ["weight", "actor.epsilon", TEXT_MEAN, TEXT_STD];
        let mut params: BTreeMap<_, _> = names.iter().map(|name| ((*name).to_owned(), tensor(1.0))).collect();
        params.insert("bias".to_owned(), Tensor::new(&[0f32], &Device::Cpu).unwrap());
        let metrics = metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Guarded::new(Fake { params, metrics, updates: 0 }, 0.9, 0.5)
    }

    fn rollout(reward: f64) -> Rollout<u32, u32> {
        let step = Transition {
            obs: Arc::new(0),
            action: 0,
            log_prob: 0.0,
            reward,
            status: Status::Running,
            next_obs: Arc::new(0),
        };
        Rollout { round: 0, version: 0, segments: vec![Segment { env: 0, steps: vec![step] }] }
    }

    /// Warnings after two rounds in which the weight moves or not.
    fn warnings(metrics: &[(&str, f64)], moves: bool) -> Vec<String> {
        let mut learner = learner(metrics);
        learner.snapshot(&[]).unwrap();
        learner.learn(rollout(-2.0), &Stop::new()).unwrap();
        if moves {
            learner.params.insert("weight".to_owned(), tensor(2.0));
        }
        learner.snapshot(&[]).unwrap();
        learner.guards.given().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_fed_to_acting_need_not_move_and_what_is_trained_must() {
        assert_eq!(warnings(&[], true), Vec::<String>::new());
        assert_eq!(warnings(&[], false), ["parameters_still"]);
    }

    #[test]
    fn values_are_held_against_scaled_rewards() {
        // |r| is at most 1 after scaling, so returns are at most 10, and ten times that is too much.
        for name in VALUES {
            assert_eq!(warnings(&[(name, 99.0)], true), Vec::<String>::new());
            assert_eq!(warnings(&[(name, -101.0)], true), ["value_explosion"]);
        }
    }

    #[test]
    fn a_policy_without_choice_is_noticed() {
        assert_eq!(warnings(&[(RELATIVE_ENTROPY, 0.01)], true), Vec::<String>::new());
        assert_eq!(warnings(&[(RELATIVE_ENTROPY, 1e-4)], true), ["entropy_collapse"]);
    }

    #[test]
    fn uniform_choice_among_the_legal_actions_has_the_largest_entropy() {
        assert!((largest_entropy(&[1, 1, 0, 1, 0, 0], 2) - 0.5 * 2f64.ln()).abs() < 1e-12);
        assert_eq!(largest_entropy(&[], 0), 0.0);
    }

    #[test]
    fn warnings_are_given_once_in_a_resumed_run() {
        let mut first = learner(&[("q", 1e9)]);
        first.learn(rollout(1.0), &Stop::new()).unwrap();
        let mut state = StateDict::default();
        first.save(&mut state, "a/").unwrap();
        let mut second = learner(&[("q", 1e9)]);
        second.load(&state, "a/").unwrap();
        assert_eq!(second.guards, first.guards);
        assert!(second.load(&StateDict::default(), "a/").is_err());
    }

    /// Every agent of the slate family is watched: its saved state says so.
    #[test]
    fn agents_over_slates_are_watched() {
        let env = retune_envs::probe::SlateBandit::features();
        for kind in AgentKind::ALL.into_iter().filter(|kind| kind.is_trained()) {
            let mut agent = build(kind, &AgentConfig::default(), env.spec(), Seed::root(0));
            let mut state = StateDict::default();
            agent.learner().save(&mut state, "a/").unwrap();
            assert!(state.get::<Guards>("a/guards").is_ok(), "{}", kind.name());
        }
    }
}
