//! What it learns, what resuming keeps, what the rules ask.

use super::*;
use crate::answers::testing::{COST, Riddle};
use crate::learning::LearningConfig;
use crate::net::NetConfig;
use crate::testing::{DynAgent, go_on, runner, score, setup, train};
use retune::agent::Mode;
use retune::env::Env;
use retune::persist::StateDict;
use retune::rng::Seed;
use retune::rollout::RunnerConfig;
use std::sync::Arc;

const RUNNER: RunnerConfig = RunnerConfig { num_envs: 8, shard_size: 4, steps_per_round: 16, actors: 0 };

fn config(rule: QuestionRule) -> InquirerConfig {
    let mut net = NetConfig { hidden: vec![16], ..NetConfig::default() };
    net.optimizer.learning_rate = 1e-2;
    InquirerConfig { net, minibatch_size: 64, anneal_lr: false, rule, ..InquirerConfig::default() }
}

fn agent(rule: QuestionRule, seed: u64) -> InquirerAgent {
    let learning = LearningConfig { env_steps: 6400, ..LearningConfig::default() };
    InquirerAgent::new(&setup(&learning, Riddle::new().spec(), Seed::root(seed)), &config(rule)).unwrap()
}

fn bits(agent: &mut DynAgent) -> StateDict {
    let mut state = StateDict::default();
    agent.learner().save(&mut state, "a/").unwrap();
    state
}

#[test]
fn learnt_gains_lead_to_the_question_that_tells() {
    for rule in [QuestionRule::Gain, QuestionRule::GainPerCost, QuestionRule::Static] {
        for seed in [1, 2] {
            let mut agent = agent(rule, seed);
            let metrics = train(&mut agent, |_| Riddle::new(), &RUNNER, Seed::root(seed), 60);
            let (after, _) = score(&mut agent, |_| Riddle::new(), 200);
            assert!((after - (1.0 - COST)).abs() < 1e-9, "{rule:?} seed {seed}: {after}, {metrics:?}");
            let ledger = agent.learner().ledger();
            assert_eq!(ledger.env_steps, 60 * 128);
            assert!(ledger.labels > 0 && ledger.labels < ledger.env_steps, "one label an episode: {ledger:?}");
        }
    }
    // Negative control: random questions waste one in two episodes.
    let mut random = agent(QuestionRule::Random, 1);
    train(&mut random, |_| Riddle::new(), &RUNNER, Seed::root(1), 60);
    let (after, _) = score(&mut random, |_| Riddle::new(), 400);
    assert!((after - (1.0 - 1.5 * COST)).abs() < 0.01, "{after}");
}

#[test]
fn a_snapshot_with_another_threshold_acts_by_it() {
    let mut agent = agent(QuestionRule::Gain, 1);
    train(&mut agent, |_| Riddle::new(), &RUNNER, Seed::root(1), 60);
    let snapshot = agent.learner().snapshot(&[]).unwrap();
    let first = |threshold: f64| {
        let changed = Arc::new(with_threshold(&snapshot, threshold).unwrap().expect("it has a threshold"));
        let mut actor = agent.make_actor().unwrap();
        actor.load(&changed).unwrap();
        let obs = Arc::new(Riddle::new().reset(Some(1)).unwrap());
        let decided = actor.act(&[obs], &mut [Seed::root(1).rng()], Mode::Evaluate).unwrap();
        agent.group.range().contains(&(decided[0].action.0[0] as usize))
    };
    assert!(first(0.0) && !first(1.0), "answers at once with 0, asks with 1");
    assert!(with_threshold(&snapshot, 1.5).is_err() && with_threshold(&snapshot, f64::NAN).is_err());
    let other = Snapshot { params: std::collections::BTreeMap::new(), ..(*snapshot).clone() };
    assert!(with_threshold(&other, 0.5).unwrap().is_none());
}

#[test]
fn the_threshold_decides_when_to_answer() {
    let mut agent = agent(QuestionRule::Gain, 1);
    train(&mut agent, |_| Riddle::new(), &RUNNER, Seed::root(1), 60);
    agent.set_threshold(0.0).unwrap();
    let (at_once, se) = score(&mut agent, |_| Riddle::new(), 400);
    assert!(at_once.abs() < 4.0 * se, "{at_once}: a threshold of 0 asks nothing");
    agent.set_threshold(1.0).unwrap();
    let (never, _) = score(&mut agent, |_| Riddle::new(), 400);
    assert!((never - (1.0 - 2.0 * COST)).abs() < 1e-9, "{never}: a threshold of 1 asks everything");
    let error = agent.set_threshold(1.5).unwrap_err().to_string();
    assert!(error.starts_with("inquirer.threshold = 1.5"), "{error}");
}

#[test]
fn a_resumed_agent_has_the_same_bits_with_and_without_threads() {
    let mut whole = agent(QuestionRule::Gain, 3);
    let mut its = runner(&whole, |_| Riddle::new(), &RUNNER, Seed::root(3));
    go_on(&mut whole, &mut its, 5);
    let mut state = bits(&mut whole);
    its.save(&mut state, "runner/").unwrap();
    let rest = go_on(&mut whole, &mut its, 5);
    for actors in [0, 2] {
        let mut again = agent(QuestionRule::Gain, 77);
        let config = RunnerConfig { actors, ..RUNNER };
        let mut its = runner(&again, |_| Riddle::new(), &config, Seed::root(3));
        again.learner().load(&state, "a/").unwrap();
        its.load(&state, "runner/").unwrap();
        assert_eq!(go_on(&mut again, &mut its, 5), rest);
        assert!(bits(&mut again) == bits(&mut whole), "{actors} threads");
    }
    let error = agent(QuestionRule::Static, 3).learner().load(&state, "a/").unwrap_err().to_string();
    assert!(error.contains("saved with"), "{error}");
}

#[test]
fn settings_out_of_range_are_named() {
    InquirerConfig::default().validate().unwrap();
    let error = |change: fn(&mut InquirerConfig)| {
        let mut config = InquirerConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    };
    assert!(error(|c| c.update_epochs = 0).starts_with("inquirer.update_epochs = 0"));
    assert!(error(|c| c.minibatch_size = 0).starts_with("inquirer.minibatch_size = 0"));
    assert!(error(|c| c.gain_coef = -1.0).starts_with("inquirer.gain_coef = -1"));
    assert!(error(|c| c.threshold = 2.0).starts_with("inquirer.threshold = 2"));
}
