use super::*;
use crate::rec_sim::golden::{agrees, assert_agrees, close, indices, number, numbers, parse, policy_row};
use crate::rec_sim::reference::{Myopic, Random, ReferencePolicy, TopQuality, evaluate};
use crate::rec_sim::shared::Model;
use crate::rec_sim::sim::Sim;
use retune::env::{Env, Slate};
use serde_json::{Map, Value, json};

const STEPS: &str = include_str!("../../../../tests/golden/rec_sim/long_term_satisfaction_steps.json");
const SAMPLING: &str = include_str!("../../../../tests/golden/rec_sim/sampling.json");
const EPISODE: &str = include_str!("../../../../tests/golden/rec_sim/episode_long_term_satisfaction_5_2.json");

fn model(case: &Value) -> SatisfactionModel {
    let mut keys: Map<String, Value> = case.get("params").and_then(Value::as_object).cloned().unwrap_or_default();
    keys.insert("num_candidates".into(), case["num_candidates"].clone());
    keys.insert("slate_size".into(), case["slate_size"].clone());
    SatisfactionModel::new(serde_json::from_value(Value::Object(keys)).unwrap()).unwrap()
}

fn items(candidates: &Value) -> Vec<Item> {
    numbers(&candidates["clickbait"]).into_iter().map(|clickbait| Item { clickbait }).collect()
}

fn draws(value: &Value) -> Draws {
    Draws { engagement: number(&value["engagement_normal"]), exposure: number(&value["npe_normal"]) }
}

fn assert_user(user: &User, want: &Value, id: &Value) {
    assert!(close(user.net_positive_exposure, number(&want["net_positive_exposure"])), "{id}");
    assert!(close(user.satisfaction, number(&want["satisfaction"])), "{id}");
    assert_eq!(want["time_budget"], json!(user.time_budget), "{id}");
}

#[test]
fn steps_agree_with_the_original() {
    let file = parse(STEPS);
    let mut played = 0;
    for case in file["cases"].as_array().unwrap() {
        let (id, expect, model) = (&case["id"], &case["expect"], model(case));
        if let Some(error) = expect.get("error") {
            let slate: Vec<i64> = serde_json::from_value(case["slate"].clone()).unwrap();
            let mut env = LongTermSatisfaction::from_model(model);
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
        assert_eq!(scores, numbers(&expect["probs"]), "{id}");
        let outcome = model.transition(&mut user, &candidates, &slate, &scores, draws(&case["draws"]));
        assert_eq!(json!(outcome.chosen), expect["chosen"], "{id}");
        assert!(close(outcome.reward, number(&expect["reward"])), "{id} {}", outcome.reward);
        assert!(close(model.reported(outcome.reward), number(&expect["responses"][0]["engagement"])), "{id}");
        assert_eq!(outcome.terminated, expect["done"].as_bool().unwrap(), "{id}");
        assert_user(&user, &expect["user"], id);
        played += 1;
    }
    assert!(played > 50);
}

#[test]
fn samplers_agree_with_the_original() {
    let file = parse(SAMPLING);
    let model = SatisfactionModel::new(SatisfactionConfig::default()).unwrap();
    for case in file["long_term_satisfaction_user"].as_array().unwrap() {
        assert_user(&model.user(number(&case["draws"]["npe_uniform"])), &case["expect"], &Value::Null);
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
        let outcome = model.transition(&mut user, &candidates, &slate, &scores, draws(&step["draws"]));
        assert!(close(outcome.reward, number(&step["reward"])));
        assert_eq!(outcome.terminated, step["done"].as_bool().unwrap());
        assert_user(&user, &step["user_after"], &Value::Null);
        total += outcome.reward;
    }
    assert!(close(total, number(&file["episode_return"])));
}

fn compare(preset: &str, config: SatisfactionConfig) {
    let sizes = (config.num_candidates, config.slate_size);
    let mut sim = Sim::new(SatisfactionModel::new(config).unwrap());
    let policies: [&mut dyn ReferencePolicy<SatisfactionModel>; 3] = [&mut Random, &mut Myopic, &mut TopQuality];
    for policy in policies {
        let row = policy_row("long_term_satisfaction", preset, sizes, policy.name());
        assert_agrees(&evaluate(&mut sim, policy, 0..2000, 1000, 0.99).unwrap().summary(), &row);
    }
}

#[test]
fn references_earn_what_they_earn_in_the_original() {
    for (c, k) in [(10, 3), (20, 3), (5, 2)] {
        compare("default", SatisfactionConfig::with_sizes(c, k));
    }
    compare("sensitive", SatisfactionConfig::sensitive());
    compare("hard", SatisfactionConfig::hard());
}

/// Returns agree by the acceptance rule. The mix of items may differ a little, because the value is flat around the best
/// rule: in `hard` the golden planner shows a mean clickbait of .4100 and this one .4143, whatever the grid (25 to 481
/// exposures, 21 to 301 clickbait scores, 20,000 episodes), for a return of 1426.4 ± 1.9 against 1424.3 ± 3.5.
#[test]
fn the_planner_earns_what_the_golden_one_earns() {
    for (preset, config) in [("sensitive", SatisfactionConfig::sensitive()), ("hard", SatisfactionConfig::hard())] {
        let mut sim = Sim::new(SatisfactionModel::new(config).unwrap());
        let mut planner = Planner::new(sim.model());
        let summary = evaluate(&mut sim, &mut planner, 0..2000, 1000, 0.99).unwrap().summary();
        let row = policy_row("long_term_satisfaction", preset, (10, 1), "planner");
        assert!(agrees(summary.episode_return, &row["episode_return"]), "{summary:?}");
        assert!(agrees(summary.discounted_return, &row["discounted_return_099"]), "{summary:?}");
        let clickbait = number(&row["mean_consumed_clickbait"]["mean"]);
        assert!((summary.mean_quality.mean - clickbait).abs() < 0.008, "{summary:?}");
    }
}

#[test]
fn only_the_first_position_counts_and_engagement_is_clipped_in_the_response() {
    let config = SatisfactionConfig { choc_mean: 20.0, kale_mean: 20.0, ..SatisfactionConfig::default() };
    let mut env = LongTermSatisfaction::satisfaction(config).unwrap();
    let obs = env.reset(Some(3)).unwrap();
    assert_eq!((obs.state.len(), obs.candidate_features.len()), (0, 10));
    let step = env.step(&Slate(vec![4, 2, 9])).unwrap();
    let feedback = step.obs.feedback.unwrap();
    assert_eq!(feedback.chosen(), Some(0));
    assert_eq!(feedback.outcomes[0].reward, 100.0);
    assert!(step.reward > 100.0);
    assert!(feedback.outcomes.iter().all(|o| o.quality.is_none()));
}

#[test]
fn settings_out_of_range_are_named() {
    let refuse = |config: SatisfactionConfig| SatisfactionModel::new(config).unwrap_err().to_string();
    let default = SatisfactionConfig::default;
    let message = refuse(SatisfactionConfig { memory_discount: 1.0, ..default() });
    assert_eq!(message, "memory_discount = 1: at least 0 and below 1");
    assert!(refuse(SatisfactionConfig { time_budget: 0, ..default() }).starts_with("time_budget = 0: "));
    assert!(refuse(SatisfactionConfig { kale_stddev: -1.0, ..default() }).starts_with("kale_stddev = -1: "));
    for config in [default(), SatisfactionConfig::sensitive(), SatisfactionConfig::hard()] {
        assert!(config.validate().is_ok());
    }
}
