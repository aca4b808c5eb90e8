use super::*;
use crate::learning::{Guards, LearningConfig};
use crate::net::NetConfig;
use crate::policy_gradient::tests::Match;
use crate::testing::{DynAgent, go_on, runner, score, setup, train};
use retune::env::Env;
use retune::persist::StateDict;
use retune::rng::Seed;
use retune::rollout::RunnerConfig;

const RUNNER: RunnerConfig = RunnerConfig { num_envs: 8, shard_size: 4, steps_per_round: 8, actors: 0 };

fn config() -> SacConfig {
    let base = SacConfig::default();
    let mut net = NetConfig { hidden: vec![16], ..base.net };
    net.optimizer.learning_rate = 1e-2;
    SacConfig {
        net,
        buffer_size: 1000,
        learning_starts: 128,
        tau: 0.05,
        alpha: 0.1,
        target_entropy_scale: 0.2,
        alpha_learning_rate: 1e-2,
        ..base
    }
}

fn agent(config: &SacConfig, seed: u64) -> Box<DynAgent> {
    let learning = LearningConfig { num_envs: RUNNER.num_envs, ..LearningConfig::default() };
    Box::new(SacAgent::new(&setup(&learning, Match::new().spec(), Seed::root(seed)), config).unwrap())
}

#[test]
fn it_learns_to_answer_what_it_is_shown() {
    for seed in [1, 2] {
        let mut agent = agent(&config(), seed);
        let metrics = train(agent.as_mut(), |_| Match::new(), &RUNNER, Seed::root(seed), 60);
        // Two of three candidates are legal: ln 2 is the most.
        let left = metrics["relative_entropy"];
        assert!((left - metrics["entropy"] / 2f64.ln()).abs() < 1e-9, "{metrics:?}");
        assert!(bits(agent.as_mut()).get::<Guards>("a/guards").is_ok());
        let (after, _) = score(agent.as_mut(), |_| Match::new(), 200);
        assert!(after > 2.95, "seed {seed}: {after} of 3, {metrics:?}");
    }
}

#[test]
fn the_temperature_brings_the_entropy_to_its_target() {
    let entropy = |scale: f64| {
        let config = SacConfig { target_entropy_scale: scale, ..config() };
        let mut agent = agent(&config, 1);
        train(agent.as_mut(), |_| Match::new(), &RUNNER, Seed::root(1), 100)["entropy"]
    };
    // Two candidates are legal: at most ln 2.
    let (low, high) = (entropy(0.2), entropy(0.9));
    let most = 2f64.ln();
    assert!((low - 0.2 * most).abs() < 0.15 * most && (high - 0.9 * most).abs() < 0.15 * most, "{low} and {high}");
}

fn bits(agent: &mut DynAgent) -> StateDict {
    let mut state = StateDict::default();
    agent.learner().save(&mut state, "a/").unwrap();
    state
}

#[test]
fn a_resumed_agent_has_the_same_bits_with_and_without_threads() {
    let mut whole = agent(&config(), 3);
    let mut its = runner(whole.as_ref(), |_| Match::new(), &RUNNER, Seed::root(3));
    go_on(whole.as_mut(), &mut its, 5);
    let mut state = bits(whole.as_mut());
    its.save(&mut state, "runner/").unwrap();
    let rest = go_on(whole.as_mut(), &mut its, 5);
    for actors in [0, 2] {
        let mut again = agent(&config(), 77);
        let config = RunnerConfig { actors, ..RUNNER };
        let mut its = runner(again.as_ref(), |_| Match::new(), &config, Seed::root(3));
        again.learner().load(&state, "a/").unwrap();
        its.load(&state, "runner/").unwrap();
        assert_eq!(go_on(again.as_mut(), &mut its, 5), rest);
        assert!(bits(again.as_mut()) == bits(whole.as_mut()), "with {actors} threads");
    }
}

#[test]
fn settings_out_of_range_are_named() {
    SacConfig::default().validate().unwrap();
    let error = |config: SacConfig| config.validate().unwrap_err().to_string();
    let base = SacConfig::default;
    assert!(error(SacConfig { tau: 0.0, ..base() }).starts_with("sac.tau = 0"));
    assert!(error(SacConfig { gamma: 2.0, ..base() }).starts_with("sac.gamma = 2"));
    assert!(error(SacConfig { alpha: 0.0, ..base() }).starts_with("sac.alpha = 0"));
    assert!(error(SacConfig { learning_starts: 10, ..base() }).starts_with("sac.learning_starts = 10"));
    assert!(error(SacConfig { buffer_size: 10, ..base() }).starts_with("sac.buffer_size = 10"));
}
