//! Labels of finished episodes, on a task with answers.

use crate::answers::testing::{COST, Riddle};
use crate::dqn::{Distribution, DqnAgent, DqnConfig, Exploration};
use crate::learning::LearningConfig;
use crate::q_learning::TargetNetwork;
use crate::testing::{go_on, runner, score, setup, train};
use retune::agent::{Agent, Mode};
use retune::env::{CandidateObs, Env, Slate};
use retune::persist::StateDict;
use retune::rng::Seed;
use retune::rollout::RunnerConfig;
use std::sync::Arc;

const RUNNER: RunnerConfig = RunnerConfig { num_envs: 4, shard_size: 2, steps_per_round: 8, actors: 0 };

fn config(label_coef: f64) -> DqnConfig {
    let plain = DqnConfig::default();
    let mut net = plain.net.clone();
    net.hidden = vec![16];
    net.optimizer.learning_rate = 5e-3;
    DqnConfig {
        gamma: 1.0,
        learning_starts: 64,
        batch_size: 32,
        buffer_size: 2_000,
        train_freq: 8,
        gradient_steps: 4,
        target_network: TargetNetwork::Hard { updates: 20 },
        exploration: Exploration { initial_eps: 1.0, final_eps: 0.2, fraction: 0.8 },
        label_coef,
        net,
        ..plain
    }
}

fn agent(config: &DqnConfig, env_steps: u64) -> DqnAgent {
    let learning = LearningConfig { env_steps, num_envs: RUNNER.num_envs, ..LearningConfig::default() };
    DqnAgent::new(&setup(&learning, Riddle::new().spec(), Seed::root(2)), config, "dqn").unwrap()
}

/// Observations without and with the question that tells, and the answer that is then right.
fn states() -> Vec<(CandidateObs, Option<usize>)> {
    let mut found = Vec::new();
    for seed in 0..8 {
        let mut env = Riddle::new();
        found.push((env.reset(Some(seed)).unwrap(), None));
        let known = env.step(&Slate(vec![0])).unwrap().obs;
        let truth = if known.state[0] > 0.0 { 3 } else { 2 };
        found.push((known, Some(truth)));
    }
    found
}

/// Largest error of the values of answers, in states in which they are known.
fn worst(agent: &mut DqnAgent) -> f64 {
    let states = states();
    let obs: Vec<Arc<CandidateObs>> = states.iter().map(|(obs, _)| Arc::new(obs.clone())).collect();
    let values = agent.values(&obs).unwrap();
    let error = |(row, (_, truth)): (&[f64], &(CandidateObs, Option<usize>))| {
        let expected = |answer: usize| truth.map_or(0.0, |right| if right == answer { 1.0 } else { -1.0 });
        (2..4).map(|answer| (row[answer] - expected(answer)).abs()).fold(0.0, f64::max)
    };
    values.chunks(4).zip(&states).map(error).fold(0.0, f64::max)
}

#[test]
fn labels_teach_the_values_of_all_answers_from_few_episodes() {
    let categorical = Distribution::Categorical { v_min: -1.2, v_max: 1.2, num_atoms: 25 };
    for config in [config(1.0), DqnConfig { distribution: categorical, ..config(1.0) }] {
        let mut with = agent(&config, 1_600);
        let metrics = train(&mut with, |_| Riddle::new(), &RUNNER, Seed::root(2), 50);
        assert!(metrics["label_loss"].is_finite());
        let ledger = with.learner().ledger();
        assert!(ledger.labels > 0 && ledger.labels < ledger.env_steps, "one label an episode: {ledger:?}");
        let found = worst(&mut with);
        assert!(found < 0.35, "{:?}: {found}", config.distribution);
        let (after, _) = score(&mut with, |_| Riddle::new(), 200);
        assert!((after - (1.0 - COST)).abs() < 1e-9, "{:?}: {after}", config.distribution);
    }
    // The control: a fifth of the budget, with and without.
    let error = |label_coef: f64| {
        let mut agent = agent(&config(label_coef), 320);
        train(&mut agent, |_| Riddle::new(), &RUNNER, Seed::root(2), 10);
        worst(&mut agent)
    };
    let (with, without) = (error(1.0), error(0.0));
    assert!(with < without, "{with} with labels, {without} without");
}

#[test]
fn random_actions_take_all_answers_as_often_as_one_question() {
    let answers = |label_coef: f64| {
        let agent = agent(&config(label_coef), 1_600);
        let mut actor = agent.make_actor().unwrap();
        let mut agent = agent;
        actor.load(&agent.learner().snapshot(&[]).unwrap()).unwrap();
        let obs = Arc::new(Riddle::new().reset(Some(1)).unwrap());
        let mut rngs = [Seed::root(9).rng()];
        let mut count = 0;
        for _ in 0..3_000 {
            let decided = actor.act(&[Arc::clone(&obs)], &mut rngs, Mode::Train).unwrap().remove(0);
            count += usize::from(decided.action.0[0] >= 2);
            let expected: f32 = if label_coef == 0.0 {
                0.25
            } else if decided.action.0[0] >= 2 {
                1.0 / 6.0
            } else {
                1.0 / 3.0
            };
            assert!((decided.log_prob - expected.ln()).abs() < 1e-6, "{decided:?}");
        }
        count
    };
    // Of 3,000: 1,500 and 1,000, four standard deviations of 27 and 26.
    let (alike, grouped) = (answers(0.0), answers(1.0));
    assert!((1390..1610).contains(&alike) && (895..1105).contains(&grouped), "{alike} {grouped}");
}

#[test]
fn a_restored_agent_goes_on_with_the_same_bits() {
    let bits = |agent: &mut DqnAgent| {
        let mut state = StateDict::default();
        agent.learner().save(&mut state, "a.").unwrap();
        state
    };
    // Smaller than what comes in, so that the oldest states go.
    let config = DqnConfig { label_memory: 100, ..config(0.5) };
    let seed = Seed::root(2);
    let mut whole = agent(&config, 640);
    train(&mut whole, |_| Riddle::new(), &RUNNER, seed, 20);
    let mut first = agent(&config, 640);
    let mut playing = runner(&first, |_| Riddle::new(), &RUNNER, seed);
    go_on(&mut first, &mut playing, 9);
    let mut state = bits(&mut first);
    playing.save(&mut state, "runner.").unwrap();
    let mut second = agent(&config, 640);
    second.learner().load(&state, "a.").unwrap();
    let mut playing = runner(&second, |_| Riddle::new(), &RUNNER, seed);
    playing.load(&state, "runner.").unwrap();
    go_on(&mut second, &mut playing, 11);
    assert!(bits(&mut whole) == bits(&mut second));
}

#[test]
fn an_env_without_answers_is_refused() {
    let env = super::tasks::Walk::new();
    let learning = LearningConfig { env_steps: 1_000, ..LearningConfig::default() };
    let made = DqnAgent::new(&setup(&learning, env.spec(), Seed::root(2)), &config(1.0), "dqn");
    let error = made.err().unwrap().to_string();
    assert!(error.starts_with("dqn.label_coef = 1"), "{error}");
}
