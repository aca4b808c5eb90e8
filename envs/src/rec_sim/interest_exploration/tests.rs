use super::*;
use crate::rec_sim::golden::{all_close, assert_agrees, close, indices, number, numbers, parse, policy_row, position};
use crate::rec_sim::reference::{Myopic, Random, ReferencePolicy, TopQuality, evaluate};
use crate::rec_sim::shared::Model;
use crate::rec_sim::sim::Sim;
use retune::env::{Env, Slate, Status};
use serde_json::Value;

const STEPS: &str = include_str!("../../../../tests/golden/rec_sim/interest_exploration_steps.json");
const SAMPLING: &str = include_str!("../../../../tests/golden/rec_sim/sampling.json");
const EPISODE: &str = include_str!("../../../../tests/golden/rec_sim/episode_interest_exploration_5_2.json");

fn model(case: &Value) -> ExplorationModel {
    let sizes = [&case["num_candidates"], &case["slate_size"]].map(|v| v.as_u64().unwrap() as usize);
    let mut config = ExplorationConfig::with_sizes(sizes[0], sizes[1]);
    if let Some(topics) = case.pointer("/params/num_topics") {
        assert_eq!(topics, 10);
        config = ExplorationConfig { num_candidates: sizes[0], slate_size: sizes[1], ..ExplorationConfig::hard() };
    }
    if let Some(mass) = case.pointer("/params/no_click_mass") {
        config.no_click_mass = number(mass);
    }
    ExplorationModel::new(config).unwrap()
}

fn items(candidates: &Value) -> Vec<Item> {
    let rows = numbers(&candidates["topic"]).into_iter().zip(numbers(&candidates["quality"]));
    rows.map(|(topic, quality)| Item { topic: topic as u32, quality }).collect()
}

#[test]
fn steps_agree_with_the_original() {
    let file = parse(STEPS);
    let mut played = 0;
    for case in file["cases"].as_array().unwrap() {
        let (id, expect, model) = (&case["id"], &case["expect"], model(case));
        if let Some(error) = expect.get("error") {
            let slate: Vec<i64> = serde_json::from_value(case["slate"].clone()).unwrap();
            let mut env = InterestExploration::from_model(model);
            env.reset(Some(1)).unwrap();
            let before = env.save_state().unwrap();
            match env.step(&Slate(slate.into_iter().map(|i| i as u32).collect())).unwrap_err() {
                EnvError::Action { kind, .. } => assert_eq!(error, kind, "{id}"),
                other => panic!("{id} {other}"),
            }
            assert_eq!(env.save_state().unwrap(), before);
            continue;
        }
        let mut user: User = serde_json::from_value(case["user"].clone()).unwrap();
        let (candidates, slate, mut scores) = (items(&case["candidates"]), indices(&case["slate"]), Vec::new());
        model.score(&user, &candidates, &slate, &mut scores).unwrap();
        assert!(all_close(&scores, &numbers(&expect["probs"])), "{id} {scores:?}");
        let outcome = model.transition(&mut user, &candidates, &slate, &scores, number(&case["draws"]["choice"]));
        assert_eq!(outcome.chosen, position(&expect["chosen"]), "{id}");
        assert_eq!(outcome.reward, number(&expect["reward"]), "{id}");
        assert_eq!(outcome.terminated, expect["done"].as_bool().unwrap(), "{id}");
        assert_eq!(user.affinity, numbers(&expect["user"]["affinity"]), "{id}");
        played += 1;
    }
    assert!(played > 40);
}

#[test]
fn samplers_agree_with_the_original() {
    let file = parse(SAMPLING);
    let model = ExplorationModel::new(ExplorationConfig::default()).unwrap();
    for case in file["interest_exploration_document"].as_array().unwrap() {
        let item = model.item(number(&case["draws"]["topic_uniform"]), number(&case["draws"]["quality_normal"]));
        assert_eq!(case["expect"]["topic"], item.topic);
        assert!(close(item.quality, number(&case["expect"]["quality"])));
    }
    for case in file["interest_exploration_user"].as_array().unwrap() {
        let kind = model.kind(number(&case["draws"]["type_uniform"]));
        let user = model.user(kind, numbers(&case["draws"]["affinity_normals"]).into_iter());
        assert!(all_close(&user.affinity, &numbers(&case["expect"]["affinity"])));
    }
}

#[test]
fn a_whole_episode_agrees_with_the_original() {
    let file = parse(EPISODE);
    let model = model(&file);
    let mut user: User = serde_json::from_value(file["user"].clone()).unwrap();
    let (mut total, mut scores) = (0.0, Vec::new());
    for step in file["steps"].as_array().unwrap() {
        let (candidates, slate) = (items(&step["candidates"]), indices(&step["slate"]));
        model.score(&user, &candidates, &slate, &mut scores).unwrap();
        let outcome = model.transition(&mut user, &candidates, &slate, &scores, number(&step["draws"]["choice"]));
        assert_eq!(outcome.chosen, position(&step["chosen"]));
        total += outcome.reward;
    }
    assert_eq!(total, number(&file["episode_return"]));
}

#[test]
fn references_earn_what_they_earn_in_the_original() {
    let default = |c, k| ("default", ExplorationConfig::with_sizes(c, k));
    for (preset, config) in [default(10, 3), default(20, 3), default(5, 2), ("hard", ExplorationConfig::hard())] {
        let sizes = (config.num_candidates, config.slate_size);
        let mut sim = Sim::new(ExplorationModel::new(config).unwrap());
        let policies: [&mut dyn ReferencePolicy<ExplorationModel>; 3] = [&mut Random, &mut Myopic, &mut TopQuality];
        for policy in policies {
            let row = policy_row("interest_exploration", preset, sizes, policy.name());
            let metrics = evaluate(&mut sim, policy, 0..1000, 100, 0.99).unwrap();
            assert!(metrics.episodes().all(|e| e.truncated));
            assert_agrees(&metrics.summary(), &row);
        }
    }
}

#[test]
fn nothing_of_the_user_is_shown_and_the_session_goes_on() {
    let mut env = InterestExploration::exploration(ExplorationConfig::default()).unwrap();
    assert_eq!(env.spec().time_limit, Some(100));
    let obs = env.reset(Some(1)).unwrap();
    assert!(obs.state.is_empty());
    assert_eq!(obs.candidate_features.len(), 30);
    for _ in 0..200 {
        assert_eq!(env.step(&Slate(vec![0, 1, 2])).unwrap().status, Status::Running);
    }
    let saved = serde_json::to_string(&env.save_state().unwrap()).unwrap();
    let mut other = InterestExploration::exploration(ExplorationConfig::default()).unwrap();
    other.restore_state(&serde_json::from_str(&saved).unwrap()).unwrap();
    assert_eq!(env.step(&Slate(vec![4, 5, 6])).unwrap(), other.step(&Slate(vec![4, 5, 6])).unwrap());
}

#[test]
fn settings_out_of_range_are_named() {
    let refuse = |config: ExplorationConfig| ExplorationModel::new(config).unwrap_err().to_string();
    let default = ExplorationConfig::default;
    let message = refuse(ExplorationConfig { topic_probs: vec![0.5, 0.6], ..default() });
    assert_eq!(message, "topic_probs = 1.1: probabilities that add up to 1");
    let message = refuse(ExplorationConfig { quality_means: vec![0.1], ..default() });
    assert_eq!(message, "quality_means = 1 entries: 2, one for each of topic_probs");
    assert!(refuse(ExplorationConfig { affinity_sds: vec![], ..default() }).starts_with("affinity_sds = 0 rows: 2"));
    assert!(refuse(ExplorationConfig { time_limit: 0, ..default() }).starts_with("time_limit = 0: "));
    assert!(default().validate().is_ok() && ExplorationConfig::hard().validate().is_ok());
}
