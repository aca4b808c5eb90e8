//! What every agent must do.

use crate::testing::{DynAgent, bandit_value_of, build, go_on, runner, score, train};
use crate::top_k_reinforce::TopKReinforceConfig;
use crate::{AgentConfig, AgentKind, LearningConfig, Role, TextModel, build_agent};
use candle_core::Device;
use retune::Error;
use retune::agent::{Agent, Mode, Rollout, Segment, Stop, Transition};
use retune::backbone::{BackboneOptions, FeatureCache, LoadOptions, TrainMode, Weights};
use retune::env::{CandidateObs, Env, Slate, Status, TextId};
use retune::persist::StateDict;
use retune::rng::{Seed, StreamRng};
use retune::rollout::RunnerConfig;
use retune_envs::probe::SlateBandit;
use retune_envs::rec_sim::{EvolutionConfig, InterestEvolution};
use std::sync::Arc;

const RUNNER: RunnerConfig = RunnerConfig { num_envs: 6, shard_size: 4, steps_per_round: 10, actors: 0 };

fn config() -> AgentConfig {
    AgentConfig {
        learning: LearningConfig {
            env_steps: 600,
            learning_starts: 60,
            env_steps_per_update: 20,
            batch_size: 32,
            // Smaller than the budget, so that the oldest transitions go.
            buffer_size: 150,
            num_envs: 6,
            hidden: 8,
            ..LearningConfig::default()
        },
        top_k_reinforce: TopKReinforceConfig { replay_size: 150, ..TopKReinforceConfig::default() },
        ..AgentConfig::default()
    }
}

fn evolution(_: usize) -> InterestEvolution {
    InterestEvolution::features(EvolutionConfig::with_sizes(5, 2)).unwrap()
}

fn state_of(agent: &mut DynAgent) -> StateDict {
    let mut state = StateDict::default();
    agent.learner().save(&mut state, "learner.").unwrap();
    state
}

/// Compares two saved states without printing megabytes.
fn assert_same(a: &StateDict, b: &StateDict, who: &str) {
    let names = |s: &StateDict| -> Vec<String> { s.tensors.keys().chain(s.values.keys()).cloned().collect() };
    assert_eq!(names(a), names(b), "{who}");
    let tensors = a.tensors.iter().filter(|(n, t)| b.tensors[*n] != **t).map(|(n, _)| n);
    let values = a.values.iter().filter(|(n, v)| b.values[*n] != **v).map(|(n, _)| n);
    let different: Vec<&String> = tensors.chain(values).collect();
    assert!(different.is_empty(), "{who}: {different:?} differ");
}

#[test]
fn a_restored_agent_goes_on_with_the_same_bits() {
    let config = config();
    let spec = evolution(0).spec().clone();
    for kind in AgentKind::ALL {
        let seed = Seed::root(3);
        let mut whole = build(kind, &config, &spec, seed);
        train(whole.as_mut(), evolution, &RUNNER, seed, 8);

        let mut first = build(kind, &config, &spec, seed);
        let mut playing = runner(first.as_mut(), evolution, &RUNNER, seed);
        go_on(first.as_mut(), &mut playing, 4);
        let mut state = state_of(first.as_mut());
        playing.save(&mut state, "runner.").unwrap();

        let mut second = build(kind, &config, &spec, seed);
        second.learner().load(&state, "learner.").unwrap();
        let mut playing = runner(second.as_mut(), evolution, &RUNNER, seed);
        playing.load(&state, "runner.").unwrap();
        go_on(second.as_mut(), &mut playing, 4);

        assert_same(&state_of(whole.as_mut()), &state_of(second.as_mut()), kind.name());
        let (a, b) = (whole.learner().snapshot(&[]).unwrap(), second.learner().snapshot(&[]).unwrap());
        assert_eq!((a.version, &a.checksum), (b.version, &b.checksum), "{}", kind.name());
    }
}

#[test]
fn a_state_of_another_agent_is_refused_and_changes_nothing() {
    let config = config();
    let spec = evolution(0).spec().clone();
    for kind in AgentKind::ALL.into_iter().filter(|k| k.is_trained()) {
        let seed = Seed::root(3);
        let mut agent = build(kind, &config, &spec, seed);
        train(agent.as_mut(), evolution, &RUNNER, seed, 3);
        let before = state_of(agent.as_mut());
        let wider = LearningConfig { hidden: 9, ..config.learning.clone() };
        let mut other = build(kind, &AgentConfig { learning: wider, ..config.clone() }, &spec, seed);
        train(other.as_mut(), evolution, &RUNNER, seed, 3);
        let error = agent.learner().load(&state_of(other.as_mut()), "learner.").unwrap_err();
        assert!(error.to_string().starts_with("cannot restore"), "{}: {error}", kind.name());
        assert_same(&before, &state_of(agent.as_mut()), kind.name());
    }
}

#[test]
fn the_same_seed_gives_the_same_agent_and_another_does_not() {
    let config = config();
    let spec = evolution(0).spec().clone();
    for kind in AgentKind::ALL.into_iter().filter(|k| k.is_trained()) {
        let run = |seed: u64| {
            let seed = Seed::root(seed);
            let mut agent = build(kind, &config, &spec, seed);
            train(agent.as_mut(), evolution, &RUNNER, seed, 3);
            agent.learner().snapshot(&[]).unwrap().checksum.clone()
        };
        assert_eq!(run(1), run(1), "{}", kind.name());
        assert_ne!(run(1), run(2), "{}", kind.name());
    }
}

#[test]
fn all_arms_get_the_same_steps_and_updates() {
    let config = config();
    let spec = evolution(0).spec().clone();
    for kind in AgentKind::ALL {
        let seed = Seed::root(4);
        let mut agent = build(kind, &config, &spec, seed);
        train(agent.as_mut(), evolution, &RUNNER, seed, 10);
        let ledger = agent.learner().ledger();
        assert_eq!(ledger.env_steps, 600, "{}", kind.name());
        assert_eq!(ledger.updates, if kind.is_trained() { 27 } else { 0 }, "{}", kind.name());
        let unlabelled = matches!(kind, AgentKind::Random | AgentKind::Reinforce | AgentKind::TopKReinforce);
        assert_eq!(ledger.labels > 0, !unlabelled, "{}", kind.name());
        assert_eq!(ledger.forward_tokens + ledger.backward_tokens, 0, "{}", kind.name());
    }
}

#[test]
fn slates_do_not_depend_on_the_other_observations_of_a_call() {
    let config = config();
    let spec = evolution(0).spec().clone();
    let obs: Vec<Arc<CandidateObs>> = (0..40).map(|i| Arc::new(evolution(0).reset(Some(i)).unwrap())).collect();
    for kind in AgentKind::ALL {
        let seed = Seed::root(5);
        let mut agent = build(kind, &config, &spec, seed);
        train(agent.as_mut(), evolution, &RUNNER, seed, 4);
        let mut actor = agent.make_actor().unwrap();
        actor.load(&agent.learner().snapshot(&[]).unwrap()).unwrap();
        for mode in [Mode::Train, Mode::Evaluate] {
            let streams = || -> Vec<StreamRng> { (0..40).map(|i| Seed::root(6).index(i).rng()).collect() };
            let together = actor.act(&obs, &mut streams(), mode).unwrap();
            let mut alone = Vec::new();
            for (o, rng) in obs.iter().zip(streams().iter_mut()) {
                alone.extend(actor.act(std::slice::from_ref(o), std::slice::from_mut(rng), mode).unwrap());
            }
            let slates =
                |d: &[retune::agent::Decision<Slate>]| -> Vec<Slate> { d.iter().map(|d| d.action.clone()).collect() };
            assert_eq!(slates(&together), slates(&alone), "{} {mode:?}", kind.name());
        }
    }
}

#[test]
fn only_legal_candidates_are_shown() {
    let config = config();
    let spec = evolution(0).spec().clone();
    let mut obs = evolution(0).reset(Some(1)).unwrap();
    obs.mask = vec![false, true, false, true, false];
    for kind in AgentKind::ALL {
        let seed = Seed::root(7);
        let mut agent = build(kind, &config, &spec, seed);
        let mut actor = agent.make_actor().unwrap();
        actor.load(&agent.learner().snapshot(&[]).unwrap()).unwrap();
        for (mode, draw) in [(Mode::Train, 0), (Mode::Train, 1), (Mode::Evaluate, 2)] {
            let mut rng = [Seed::root(8).index(draw).rng()];
            let decision = actor.act(&[Arc::new(obs.clone())], &mut rng, mode).unwrap().remove(0);
            let mut slate = decision.action.0;
            slate.sort_unstable();
            assert_eq!(slate, [1, 3], "{} {mode:?}", kind.name());
            assert!(decision.log_prob <= 0.0, "{} {mode:?}", kind.name());
        }
        obs.mask = vec![false, true, false, false, false];
        let mut rng = [Seed::root(8).rng()];
        let error = actor.act(&[Arc::new(obs.clone())], &mut rng, Mode::Train).unwrap_err();
        assert_eq!(error.to_string(), "slate_size = 2: only 1 candidates may be chosen", "{}", kind.name());
        obs.mask = vec![false, true, false, true, false];
    }
}

#[test]
fn gradients_and_labels_lead_to_better_slates_than_chance() {
    // Attractive items pay least in this bandit, so clicks alone are no guide.
    let learning = LearningConfig {
        env_steps: 8_000,
        learning_starts: 200,
        env_steps_per_update: 10,
        batch_size: 64,
        num_envs: 10,
        ..LearningConfig::default()
    };
    let mut config = AgentConfig { learning, ..AgentConfig::default() };
    // One decision an episode: targets are rewards, and need no averaging over the future.
    config.supervised_then_q_learning.q_learning.value_rate = 1.0;
    let runner = RunnerConfig { num_envs: 10, shard_size: 10, steps_per_round: 20, actors: 0 };
    let spec = SlateBandit::features().spec().clone();
    let (best, random) = (SlateBandit::best_return(), SlateBandit::random_return());
    for kind in
        [AgentKind::Supervised, AgentKind::Reinforce, AgentKind::TopKReinforce, AgentKind::SupervisedThenQLearning]
    {
        for seed in [1, 2, 3] {
            let seed = Seed::root(seed);
            let mut agent = build(kind, &config, &spec, seed);
            train(agent.as_mut(), |_| SlateBandit::features(), &runner, seed, 40);
            let share = (bandit_value_of(agent.as_mut(), SlateBandit::features()) - random) / (best - random);
            assert!(share > 0.5, "{}: {share} of the way from chance to the best", kind.name());
        }
    }
}

#[test]
fn random_and_popular_agents_score_what_the_specification_says() {
    // Random 154.3 in this form; all items of a topic are clicked alike, so popularity gains nothing.
    let config = config();
    let spec = evolution(0).spec().clone();
    for kind in [AgentKind::Random, AgentKind::Popular] {
        let seed = Seed::root(9);
        let mut agent = build(kind, &config, &spec, seed);
        train(agent.as_mut(), evolution, &RUNNER, seed, 10);
        let (mean, se) = score(agent.as_mut(), evolution, 400);
        assert!((mean - 154.3).abs() < 4.0 * se + 6.0, "{}: {mean} ± {se}", kind.name());
    }
}

#[test]
fn popular_counts_clicks_per_time_shown() {
    let spec = SlateBandit::features().spec().clone();
    let config = config();
    let mut agent = build(AgentKind::Popular, &config, &spec, Seed::root(1));
    let offer = |items: [usize; 4], clicked: Option<usize>| {
        let mut features = vec![0.0; 4 * 6];
        items.iter().enumerate().for_each(|(i, item)| features[i * 6 + item] = 1.0);
        let outcome = |j| retune::env::ItemOutcome { clicked: clicked == Some(j), ..Default::default() };
        Arc::new(CandidateObs {
            state: vec![1.0],
            candidate_features: features,
            mask: vec![true; 4],
            feedback: Some(retune::env::Feedback { outcomes: vec![outcome(0), outcome(1)], best: None }),
            ..CandidateObs::default()
        })
    };
    let step = |items, slate: [u32; 2], clicked| Transition {
        obs: offer(items, None),
        action: Slate(slate.to_vec()),
        log_prob: 0.0,
        reward: 0.0,
        status: Status::Terminated,
        next_obs: offer(items, clicked),
    };
    // Item 3 is clicked 1 of 1 times, item 2 1 of 2, item 0 0 of 1; all together 2 of 4; 1, 4 and 5 never shown.
    let steps = vec![step([0, 1, 2, 3], [2, 0], Some(0)), step([2, 3, 4, 5], [0, 1], Some(1))];
    let rollout = Rollout { round: 0, version: 0, segments: vec![Segment { env: 0, steps }] };
    let metrics = agent.learner().learn(rollout, &Stop::new()).unwrap();
    assert_eq!((metrics["items"], metrics["click_rate"]), (3.0, 0.5));
    let mut actor = agent.make_actor().unwrap();
    actor.load(&agent.learner().snapshot(&[]).unwrap()).unwrap();
    let mut show = |items| {
        let mut rng = [Seed::root(2).rng()];
        actor.act(&[offer(items, None)], &mut rng, Mode::Evaluate).unwrap().remove(0).action.0
    };
    assert_eq!(show([0, 3, 1, 4])[0], 1, "the item that is always clicked comes first");
    assert!(!show([0, 3, 1, 4]).contains(&0), "the item that is never clicked comes last");
    // Items that were never shown keep one order, wherever they stand.
    let mut items = |offer: [usize; 4]| -> Vec<usize> { show(offer).iter().map(|&i| offer[i as usize]).collect() };
    assert_eq!(items([1, 4, 5, 0]), items([5, 0, 4, 1]));
}

#[test]
fn bad_settings_are_refused_by_name() {
    let cases = [
        (r#"{"learning":{"env_steps":0}}"#, "learning.env_steps = 0: must be at least 1"),
        (r#"{"learning":{"batch_size":0}}"#, "learning.batch_size = 0: must be at least 1"),
        (
            r#"{"learning":{"env_steps":10,"learning_starts":10}}"#,
            "learning.learning_starts = 10: must be below learning.env_steps = 10",
        ),
        (r#"{"learning":{"buffer_size":8}}"#, "learning.buffer_size = 8: must be at least learning.batch_size = 256"),
        (r#"{"learning":{"learning_rate":0.0}}"#, "learning.learning_rate = 0: must be above 0 and finite"),
        (r#"{"learning":{"average_decay":1.0}}"#, "learning.average_decay = 1: must be at least 0 and below 1"),
        (r#"{"q_learning":{"gamma":1.0}}"#, "q_learning.gamma = 1: must be at least 0 and below 1"),
        (r#"{"sarsa":{"loss":{"huber":{"delta":-1.0}}}}"#, "sarsa.loss.huber.delta = -1: must be above 0 and finite"),
        (
            r#"{"q_learning":{"target_network":{"hard":{"updates":0}}}}"#,
            "q_learning.target_network.hard.updates = 0: must be at least 1",
        ),
        (r#"{"q_learning":{"epsilon":{"end":1.5}}}"#, "q_learning.epsilon.end = 1.5: must be between 0 and 1"),
        (r#"{"top_k_reinforce":{"replay_size":0}}"#, "top_k_reinforce.replay_size = 0: must be at least 1"),
        (r#"{"reinforce":{"gae_lambda":1.1}}"#, "reinforce.gae_lambda = 1.1: must be between 0 and 1"),
        (
            r#"{"supervised_then_q_learning":{"supervised_share":2.0}}"#,
            "supervised_then_q_learning.supervised_share = 2: must be between 0 and 1",
        ),
        (
            r#"{"supervised_planner":{"rule":{"watch":0.0}}}"#,
            "supervised_planner.rule.watch = 0: must be above 0 and finite",
        ),
        (r#"{"supervised":{"reward_coef":0.0}}"#, "supervised.reward_coef = 0: must be above 0 and finite"),
    ];
    for (json, message) in cases {
        let config: AgentConfig = serde_json::from_str(json).unwrap();
        assert_eq!(config.validate().unwrap_err().to_string(), message);
    }
    AgentConfig::default().validate().unwrap();
    let unknown = serde_json::from_str::<AgentConfig>(r#"{"q_learning":{"gama":0.9}}"#).unwrap_err();
    assert!(unknown.to_string().contains("unknown field `gama`"), "{unknown}");
}

#[test]
fn kinds_have_names_and_roles() {
    for kind in AgentKind::ALL {
        assert_eq!(AgentKind::from_name(kind.name()), Some(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        assert!(!kind.description().is_empty());
    }
    assert_eq!(AgentKind::from_name("qlearning"), None);
    assert_eq!(AgentKind::SupervisedPlanner.role(), Role::Reference);
}

mod texts {
    use super::*;

    fn model(mode: TrainMode) -> TextModel {
        use retune_assets::minilm_l3 as files;
        let options = LoadOptions::default();
        let weights =
            Weights::from_bytes(files::NAME, files::CONFIG, files::TOKENIZER, files::WEIGHTS, &options).unwrap();
        let options = BackboneOptions { mode, ..BackboneOptions::default() };
        TextModel { weights, options, cache: FeatureCache::new(1 << 20), stop: Stop::new() }
    }

    fn bandit(_: usize) -> SlateBandit {
        SlateBandit::texts()
    }

    fn with_texts(kind: AgentKind, config: &AgentConfig, text: &TextModel) -> Box<dyn Agent<CandidateObs, Slate>> {
        with_texts_on(&Device::Cpu, kind, config, text)
    }

    fn with_texts_on(
        device: &Device,
        kind: AgentKind,
        config: &AgentConfig,
        text: &TextModel,
    ) -> Box<dyn Agent<CandidateObs, Slate>> {
        let spec = bandit(0).spec().clone();
        build_agent(kind, config, &spec, Some(text), device, Seed::root(1)).unwrap()
    }

    /// Settings under which an agent makes a few small updates.
    fn few_updates() -> (AgentConfig, RunnerConfig) {
        let learning = LearningConfig {
            env_steps: 160,
            learning_starts: 40,
            env_steps_per_update: 20,
            batch_size: 16,
            buffer_size: 100,
            num_envs: 4,
            hidden: 8,
            encoder_batch_size: 4,
            table_refresh_updates: 2,
            ..LearningConfig::default()
        };
        let runner = RunnerConfig { num_envs: 4, shard_size: 4, steps_per_round: 10, actors: 0 };
        (AgentConfig { learning, ..AgentConfig::default() }, runner)
    }

    /// A few updates of every agent that learns, on every device: what was learnt there is saved, and goes on here.
    #[test]
    fn every_agent_learns_on_every_device() {
        let (config, runner_config) = few_updates();
        // The same vectors need not be read again for each agent.
        let text = model(TrainMode::Frozen);
        retune::nn::on_each_device(|device| {
            for kind in AgentKind::ALL.into_iter().filter(|k| k.is_trained() && *k != AgentKind::SupervisedPlanner) {
                let mut there = with_texts_on(device, kind, &config, &text);
                let start = there.learner().snapshot(&[]).unwrap().checksum.clone();
                train(there.as_mut(), bandit, &runner_config, Seed::root(2), 3);
                let end = there.learner().snapshot(&[]).unwrap().checksum.clone();
                assert_ne!(start, end, "{} on {device:?}", kind.name());
                let mut here = with_texts(kind, &config, &text);
                here.learner().load(&state_of(there.as_mut()), "learner.").unwrap();
                assert_eq!(here.learner().snapshot(&[]).unwrap().checksum, end, "{} on {device:?}", kind.name());
                let (a, b) = (bandit_value_of(there.as_mut(), bandit(0)), bandit_value_of(here.as_mut(), bandit(0)));
                assert!((a - b).abs() < 0.02 * b.abs(), "{} on {device:?}: {a}, on the CPU {b}", kind.name());
            }
        });
    }

    #[test]
    fn frozen_vectors_are_enough_for_a_bandit_of_texts() {
        let learning = LearningConfig {
            env_steps: 6_000,
            learning_starts: 200,
            env_steps_per_update: 20,
            batch_size: 64,
            num_envs: 10,
            ..LearningConfig::default()
        };
        let config = AgentConfig { learning, ..AgentConfig::default() };
        let runner = RunnerConfig { num_envs: 10, shard_size: 10, steps_per_round: 20, actors: 0 };
        let (best, random) = (SlateBandit::best_return(), SlateBandit::random_return());
        let text = model(TrainMode::Frozen);
        let mut agent = with_texts(AgentKind::QLearning, &config, &text);
        train(agent.as_mut(), bandit, &runner, Seed::root(1), 30);
        let share = (bandit_value_of(agent.as_mut(), bandit(0)) - random) / (best - random);
        assert!(share > 0.7, "{share} of the way from chance to the best");
        let ledger = agent.learner().ledger();
        assert!(ledger.forward_tokens > 0);
        assert_eq!(ledger.backward_tokens, 0);
        let again = with_texts(AgentKind::Supervised, &config, &text).learner().ledger();
        assert_eq!((again.forward_tokens, again.cached_tokens), (0, ledger.forward_tokens));
    }

    #[test]
    fn a_trained_encoder_is_covered_moves_and_is_restored() {
        let (config, runner_config) = few_updates();
        let mut text = model(TrainMode::Lora);
        for kind in [AgentKind::QLearning, AgentKind::Reinforce, AgentKind::TopKReinforce, AgentKind::Supervised] {
            let seed = Seed::root(2);
            // Each gets a cache of its own: what a shared one saves is counted in the ledger.
            let mut fresh = || {
                text.cache = FeatureCache::new(1 << 20);
                with_texts(kind, &config, &text)
            };
            let mut whole = fresh();
            let start = whole.learner().snapshot(&[]).unwrap();
            train(whole.as_mut(), bandit, &runner_config, seed, 4);
            let state_of_whole = state_of(whole.as_mut());
            let end = whole.learner().snapshot(&[]).unwrap();
            let version = |s: &retune::agent::Snapshot| s.features.as_ref().unwrap().weight_version.clone();
            assert_ne!(version(&start), version(&end), "{}", kind.name());
            assert!(whole.learner().ledger().backward_tokens > 0);

            let mut first = fresh();
            let mut playing = runner(first.as_mut(), bandit, &runner_config, seed);
            go_on(first.as_mut(), &mut playing, 3);
            let mut state = state_of(first.as_mut());
            playing.save(&mut state, "runner.").unwrap();
            let mut second = fresh();
            second.learner().load(&state, "learner.").unwrap();
            let mut playing = runner(second.as_mut(), bandit, &runner_config, seed);
            playing.load(&state, "runner.").unwrap();
            go_on(second.as_mut(), &mut playing, 1);
            assert_same(&state_of_whole, &state_of(second.as_mut()), kind.name());
        }
    }

    #[test]
    fn reading_texts_ends_at_a_request_to_stop() {
        let spec = bandit(0).spec().clone();
        let ids: Vec<TextId> = (0..spec.texts.as_slice().len() as u32).map(TextId).collect();
        for mode in [TrainMode::Frozen, TrainMode::Lora] {
            // Without room, so that nothing is found in the cache and everything must be read.
            let text = TextModel { cache: FeatureCache::new(0), ..model(mode) };
            let mut agent = with_texts(AgentKind::QLearning, &config(), &text);
            agent.learner().snapshot(&ids).expect("nobody has asked to stop");
            let before = agent.learner().ledger();
            text.stop.request();
            assert!(matches!(agent.learner().snapshot(&ids), Err(Error::Interrupted)), "{mode:?}");
            assert_eq!(agent.learner().ledger(), before, "{mode:?}: a text was read after the request");
            agent.learner().snapshot(&[]).expect("the table of training is there already");
            let again = build_agent(AgentKind::QLearning, &config(), &spec, Some(&text), &Device::Cpu, Seed::root(1));
            assert!(matches!(again, Err(Error::Interrupted)), "{mode:?}");
        }
    }

    #[test]
    fn an_env_of_texts_needs_a_model_of_texts() {
        let config = config();
        let spec = bandit(0).spec().clone();
        let error = build_agent(AgentKind::QLearning, &config, &spec, None, &Device::Cpu, Seed::root(1)).err();
        let message = error.expect("refused").to_string();
        assert!(message.contains("a text model is needed"), "{message}");
    }
}
