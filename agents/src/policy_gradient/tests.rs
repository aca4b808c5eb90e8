//! What the learners learn, what resuming keeps, and what settings they refuse.

use super::*;
use crate::learning::{Guards, LearningConfig};
use crate::net::NetConfig;
use crate::testing::{DynAgent, go_on, runner, score, setup, train};
use retune::agent::Stop;
use retune::env::{ActionSpec, CandidateObs, CandidateSpec, Env, EnvError, EnvSpec, EnvState, ObsSpec, Status, Step};
use retune::persist::StateDict;
use retune::rng::{Seed, StreamRng};
use retune::rollout::RunnerConfig;
use serde::{Deserialize, Serialize};

/// Two kinds of state. In each, candidate 0 or 1 pays, the other does not, and the third pays most but may not be
/// chosen; the episode lasts three steps and the kind changes at random.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    spec: EnvSpec,
    /// What an answer that fits pays.
    pay: f64,
    state: MatchState,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct MatchState {
    kind: usize,
    left: u32,
    rng: StreamRng,
}

impl Match {
    pub(crate) fn new() -> Self {
        let candidates = CandidateSpec {
            num_candidates: 3,
            state_dim: 2,
            candidate_dim: 0,
            has_text: false,
            history_len: 0,
            history_dim: 0,
            answers: 0..0,
            pool: Vec::new(),
        };
        let spec = EnvSpec {
            id: "test/match".to_owned(),
            description: "Answers what it is shown.".to_owned(),
            obs: ObsSpec::Candidates(candidates),
            action: ActionSpec::Slate { size: 1 },
            reward_unit: "points",
            reward_range: (0.0, 9.0),
            time_limit: None,
            texts: retune::env::TextTable::default(),
        };
        Self { spec, pay: 1.0, state: MatchState { kind: 0, left: 0, rng: Seed::root(0).rng() } }
    }

    fn obs(&mut self) -> CandidateObs {
        self.state.kind = self.state.rng.below(2);
        let mut state = vec![0.0; 2];
        state[self.state.kind] = 1.0;
        CandidateObs { state, mask: vec![true, true, false], ..CandidateObs::default() }
    }
}

impl Env for Match {
    type Obs = CandidateObs;
    type Action = Slate;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<CandidateObs, EnvError> {
        if let Some(seed) = seed {
            self.state.rng = Seed::root(seed).rng();
        }
        self.state.left = 3;
        Ok(self.obs())
    }

    fn step(&mut self, action: &Slate) -> Result<Step<CandidateObs>, EnvError> {
        let action = action.0[0] as usize;
        if action == 2 {
            return Err(EnvError::Action { kind: "illegal", message: "candidate 2 is masked".to_owned() });
        }
        let reward = if action == self.state.kind { self.pay } else { 0.0 };
        self.state.left -= 1;
        let status = if self.state.left == 0 { Status::Terminated } else { Status::Running };
        Ok(Step { obs: self.obs(), reward, status })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        let state = serde_json::to_value(&self.state).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(EnvState { env: self.spec.id.clone(), state })
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.state = MatchState::deserialize(&state.state).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(())
    }
}

pub(super) const RUNNER: RunnerConfig = RunnerConfig { num_envs: 8, shard_size: 4, steps_per_round: 8, actors: 0 };

fn small(learning_rate: f64) -> NetConfig {
    let mut net = NetConfig { hidden: vec![16], ..NetConfig::default() };
    net.optimizer.learning_rate = learning_rate;
    net
}

/// All algorithms with settings for a tiny task.
pub(super) fn recipes() -> Vec<(NetConfig, Recipe)> {
    let ppo = PpoConfig { minibatch_size: 32, anneal_lr: false, ..PpoConfig::default() };
    let impala = ImpalaConfig { anneal_lr: false, ..ImpalaConfig::default() };
    let grpo = GrpoConfig { group_size: 8, kl_coef: 0.001, ..GrpoConfig::default() };
    vec![
        (small(1e-2), ppo.recipe().unwrap()),
        (small(2e-2), A2cConfig::default().recipe()),
        (small(2e-2), VanillaConfig::default().recipe()),
        (small(1e-2), impala.recipe()),
        (small(1e-2), grpo.recipe().unwrap()),
    ]
}

fn agent(net: &NetConfig, recipe: &Recipe, spec: &EnvSpec, seed: u64) -> Box<DynAgent> {
    let learning = LearningConfig { env_steps: 6400, ..LearningConfig::default() };
    Box::new(PolicyGradientAgent::new(&setup(&learning, spec, Seed::root(seed)), net, recipe).unwrap())
}

#[test]
fn every_algorithm_learns_to_answer_what_it_is_shown() {
    let env = Match::new();
    for (net, recipe) in recipes() {
        for seed in [1, 2] {
            let mut agent = agent(&net, &recipe, env.spec(), seed);
            let (before, _) = score(agent.as_mut(), |_| Match::new(), 200);
            let metrics = train(agent.as_mut(), |_| Match::new(), &RUNNER, Seed::root(seed), 60);
            let (after, _) = score(agent.as_mut(), |_| Match::new(), 200);
            assert!(before < 2.7, "{}: {before} before, or the test shows nothing", recipe.name);
            assert!(after > 2.95, "{} seed {seed}: {after} of 3, {metrics:?}", recipe.name);
        }
    }
}

/// Powers of two change no digits.
#[test]
fn scaled_rewards_are_as_good_as_other_rewards() {
    let parameters = |recipe: &Recipe, net: &NetConfig, pay: f64| {
        let make = |_| Match { pay, ..Match::new() };
        let mut agent = agent(net, recipe, Match::new().spec(), 1);
        train(agent.as_mut(), make, &RUNNER, Seed::root(1), 4);
        agent.learner().snapshot(&[]).unwrap().checksum.clone()
    };
    for (net, recipe) in recipes() {
        let scaled = Recipe { reward_scale: 0.25, ..recipe.clone() };
        let without_unit = matches!(recipe.estimator, Estimator::Group { .. });
        let pay = if without_unit { 1.0 } else { 4.0 };
        assert_eq!(parameters(&scaled, &net, pay), parameters(&recipe, &net, 1.0), "{}", recipe.name);
        let moved = parameters(&scaled, &net, 1.0) != parameters(&recipe, &net, 1.0);
        assert_ne!(moved, without_unit, "{}", recipe.name);
    }
}

#[test]
fn a_strong_pull_to_the_reference_keeps_the_policy_where_it_began() {
    let env = Match::new();
    let config = PpoConfig { net: small(1e-2), minibatch_size: 32, kl_coef: 100.0, ..PpoConfig::default() };
    let mut held = agent(&config.net, &config.recipe().unwrap(), env.spec(), 1);
    let metrics = train(held.as_mut(), |_| Match::new(), &RUNNER, Seed::root(1), 30);
    assert!(metrics["reference_kl"] < 0.01, "{metrics:?}");
    // Negative control: a weak pull lets it go.
    let config = PpoConfig { kl_coef: 1e-6, ..config };
    let mut free = agent(&config.net, &config.recipe().unwrap(), env.spec(), 1);
    let metrics = train(free.as_mut(), |_| Match::new(), &RUNNER, Seed::root(1), 30);
    assert!(metrics["reference_kl"] > 0.2, "{metrics:?}");
}

#[test]
fn a_tiny_target_kl_ends_the_updates_of_a_round() {
    let env = Match::new();
    let config = PpoConfig { net: small(1e-2), minibatch_size: 32, target_kl: Some(1e-9), ..PpoConfig::default() };
    let mut agent = agent(&config.net, &config.recipe().unwrap(), env.spec(), 1);
    let metrics = train(agent.as_mut(), |_| Match::new(), &RUNNER, Seed::root(1), 2);
    assert_eq!(metrics["stopped_early"], 1.0);
    // The first update of a round is made with the policy that acted.
    assert_eq!(agent.learner().ledger().updates, 2);
}

/// A policy that settles is said to have settled; one that is paid for choice is not.
#[test]
fn a_policy_that_explores_no_more_is_noticed() {
    let warnings = |ent_coef: f64| {
        let config =
            PpoConfig { net: small(5e-2), minibatch_size: 32, ent_coef, anneal_lr: false, ..PpoConfig::default() };
        let mut agent = agent(&config.net, &config.recipe().unwrap(), Match::new().spec(), 1);
        let metrics = train(agent.as_mut(), |_| Match::new(), &RUNNER, Seed::root(1), 100);
        let guards: Guards = bits(agent.as_mut()).get("a/guards").unwrap();
        (guards.given().map(str::to_owned).collect::<Vec<_>>(), metrics["relative_entropy"])
    };
    let (given, left) = warnings(0.0);
    assert!(given == ["entropy_collapse"] && left < 1e-3, "{given:?}, {left}");
    let (given, left) = warnings(1.0);
    assert!(given.is_empty() && left > 0.1 && left <= 1.0, "{given:?}, {left}");
}

pub(super) fn bits(agent: &mut DynAgent) -> StateDict {
    let mut state = StateDict::default();
    agent.learner().save(&mut state, "a/").unwrap();
    state
}

/// An agent that goes on from what was saved after `before` rounds, with and without threads, must end with the bits of one
/// that was never stopped; `agent` makes one from a seed. Returns what was saved.
pub(super) fn resumes_exactly<E>(
    agent: impl Fn(u64) -> Box<DynAgent>,
    env: impl Fn(usize) -> E + Copy,
    before: usize,
    name: &str,
) -> StateDict
where
    E: Env<Obs = CandidateObs, Action = Slate> + 'static,
{
    let mut whole = agent(3);
    let mut its = runner(whole.as_ref(), env, &RUNNER, Seed::root(3));
    go_on(whole.as_mut(), &mut its, before);
    let mut state = bits(whole.as_mut());
    its.save(&mut state, "runner/").unwrap();
    let rest = go_on(whole.as_mut(), &mut its, 5);
    for actors in [0, 2] {
        let mut again = agent(77);
        let config = RunnerConfig { actors, ..RUNNER };
        let mut its = runner(again.as_ref(), env, &config, Seed::root(3));
        again.learner().load(&state, "a/").unwrap();
        its.load(&state, "runner/").unwrap();
        assert_eq!(go_on(again.as_mut(), &mut its, 5), rest, "{name}");
        assert!(bits(again.as_mut()) == bits(whole.as_mut()), "{name} with {actors} threads");
    }
    state
}

#[test]
fn a_resumed_agent_has_the_same_bits_with_and_without_threads() {
    for (net, recipe) in recipes() {
        let spec = Match::new().spec;
        resumes_exactly(|seed| agent(&net, &recipe, &spec, seed), |_| Match::new(), 5, recipe.name);
    }
}

#[test]
fn the_state_of_another_algorithm_is_refused() {
    let env = Match::new();
    let all = recipes();
    let state = bits(agent(&all[0].0, &all[0].1, env.spec(), 1).as_mut());
    let mut other = agent(&all[1].0, &all[1].1, env.spec(), 1);
    let error = other.learner().load(&state, "a/").unwrap_err().to_string();
    assert!(error.contains("the saved agent is ppo, this one is a2c"), "{error}");
}

#[test]
fn a_request_to_stop_is_seen_between_updates() {
    let env = Match::new();
    let (net, recipe) = recipes().remove(0);
    let mut agent = agent(&net, &recipe, env.spec(), 1);
    let mut its = runner(agent.as_ref(), |_| Match::new(), &RUNNER, Seed::root(3));
    let (rollout, _) = its.collect(&agent.learner().snapshot(&[]).unwrap()).unwrap();
    let stop = Stop::new();
    stop.request();
    assert!(matches!(agent.learner().learn(rollout, &stop), Err(Error::Interrupted)));
}

#[test]
fn defaults_are_valid_and_settings_out_of_range_are_named() {
    let valid = [
        PpoConfig::default().recipe().unwrap(),
        PpoConfig::cartpole().recipe().unwrap(),
        A2cConfig::default().recipe(),
        VanillaConfig::default().recipe(),
        ImpalaConfig::default().recipe(),
        GrpoConfig::default().recipe().unwrap(),
    ];
    valid.iter().for_each(|r| r.validate().unwrap());
    let error = |config: PpoConfig| config.recipe().and_then(|r| r.validate()).unwrap_err().to_string();
    let base = PpoConfig::default;
    assert!(error(PpoConfig { gamma: 1.5, ..base() }).starts_with("ppo.gamma = 1.5"));
    assert!(error(PpoConfig { gae_lambda: -0.1, ..base() }).starts_with("ppo.gae_lambda"));
    assert!(error(PpoConfig { clip_coef: 0.0, ..base() }).starts_with("ppo.clip_coef"));
    assert!(error(PpoConfig { update_epochs: 0, ..base() }).starts_with("ppo.update_epochs"));
    assert!(error(PpoConfig { minibatch_size: 1, ..base() }).starts_with("ppo.minibatch_size = 1"));
    assert!(error(PpoConfig { target_kl: Some(0.0), ..base() }).starts_with("ppo.target_kl"));
    assert!(error(PpoConfig { ent_coef: f64::NAN, ..base() }).starts_with("ppo.ent_coef"));
    let scaled = Recipe { reward_scale: 0.0, ..base().recipe().unwrap() };
    assert!(scaled.validate().unwrap_err().to_string().starts_with("ppo.reward_scale = 0"));
    let group = GrpoConfig { group_size: 1, ..GrpoConfig::default() }.recipe().unwrap();
    assert!(group.validate().unwrap_err().to_string().starts_with("grpo.group_size = 1"));
    let impala = ImpalaConfig { rho_bar: 0.0, ..ImpalaConfig::default() }.recipe();
    assert!(impala.validate().unwrap_err().to_string().starts_with("impala.rho_bar"));
}

#[test]
fn slates_of_several_candidates_are_refused() {
    let mut spec = Match::new().spec().clone();
    spec.action = ActionSpec::Slate { size: 2 };
    let learning = LearningConfig::default();
    let made = PolicyGradientAgent::a2c(&setup(&learning, &spec, Seed::root(1)), &A2cConfig::default());
    assert!(made.err().unwrap().to_string().starts_with("slate_size = 2"));
}
