use super::*;
use crate::rec_sim::choice::normalise;
use crate::rec_sim::golden::{all_close, close, indices, numbers};
use crate::rec_sim::shared::Model;
use retune::env::{Env, Slate, Status};
use retune::rng::Seed;
use serde_json::{Map, Value, json};

// Made with RecSim 0.2.4; the README of the golden files says how.
const STEPS: &str = include_str!("../../../../tests/golden/rec_sim/interest_evolution_steps.json");
const SAMPLING: &str = include_str!("../../../../tests/golden/rec_sim/sampling.json");
const EPISODES: [&str; 2] = [
    include_str!("../../../../tests/golden/rec_sim/episode_interest_evolution_10_3.json"),
    include_str!("../../../../tests/golden/rec_sim/episode_interest_evolution_5_2.json"),
];

fn model(defaults: &Value, case: &Value) -> EvolutionModel {
    let mut keys: Map<String, Value> = defaults.as_object().unwrap().clone();
    if let Some(changes) = case.get("params").and_then(Value::as_object) {
        keys.extend(changes.clone());
    }
    keys.insert("num_candidates".into(), case["num_candidates"].clone());
    keys.insert("slate_size".into(), case["slate_size"].clone());
    EvolutionModel::features(serde_json::from_value(Value::Object(keys)).unwrap()).unwrap()
}

fn user(value: &Value) -> User {
    serde_json::from_value(value.clone()).unwrap()
}

fn items(candidates: &Value) -> Vec<Item> {
    let (topics, qualities) = (numbers(&candidates["topic"]), numbers(&candidates["quality"]));
    let lengths = candidates.get("length").map_or_else(|| vec![4.0; topics.len()], numbers);
    let item = |i: usize| {
        let topic = topics[i] as u32;
        Item { item: topic, topic, quality: qualities[i], length: lengths[i] }
    };
    (0..topics.len()).map(item).collect()
}

fn draws(value: &Value) -> Draws {
    // A step without a click never looks at the second draw.
    Draws { choice: value["choice"].as_f64().unwrap(), interest: value["interest"].as_f64().unwrap_or(f64::NAN) }
}

#[test]
fn steps_agree_with_the_original() {
    let file: Value = serde_json::from_str(STEPS).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let mut played = 0;
    for case in cases.iter().filter(|c| c["expect"].get("error").is_none()) {
        let (id, expect) = (&case["id"], &case["expect"]);
        let model = model(&file["default_params"], case);
        let (mut user, candidates, slate) = (user(&case["user"]), items(&case["candidates"]), indices(&case["slate"]));
        let mut scores = Vec::new();
        model.score(&user, &candidates, &slate, &mut scores).unwrap();
        let k = slate.len();
        assert!(all_close(&scores[..k], &numbers(&expect["scores"])), "{id} {scores:?}");
        assert!(close(scores[k], expect["no_click_score"].as_f64().unwrap()), "{id}");
        let outcome = model.transition(&mut user, &candidates, &slate, &scores, draws(&case["draws"]));
        normalise(&mut scores);
        assert!(all_close(&scores, &numbers(&expect["probs"])), "{id}");
        assert_eq!(outcome.chosen, serde_json::from_value(expect["chosen"].clone()).unwrap(), "{id}");
        assert!(close(outcome.reward, expect["reward"].as_f64().unwrap()), "{id} {}", outcome.reward);
        assert_eq!(outcome.terminated, expect["done"].as_bool().unwrap(), "{id}");
        assert!(all_close(&user.interests, &numbers(&expect["user"]["interests"])), "{id}");
        assert!(close(user.time_budget, expect["user"]["time_budget"].as_f64().unwrap()), "{id}");
        for (position, response) in expect["responses"].as_array().unwrap().iter().enumerate() {
            let clicked = outcome.chosen == Some(position);
            let facts = model.facts(&candidates[slate[position] as usize]);
            assert_eq!(response["click"], json!(u8::from(clicked)), "{id}");
            assert!(close(if clicked { outcome.reward } else { 0.0 }, response["watch_time"].as_f64().unwrap()));
            assert_eq!(response["cluster_id"], json!(facts.topic), "{id}");
            assert_eq!(response["quality"].as_f64().unwrap(), facts.quality, "{id}");
        }
        played += 1;
    }
    assert_eq!(played, 70);
}

#[test]
fn refusals_have_the_kinds_of_the_original_cases() {
    let file: Value = serde_json::from_str(STEPS).unwrap();
    let refused = file["cases"].as_array().unwrap().iter().filter(|c| c["expect"].get("error").is_some());
    let mut seen = 0;
    for case in refused {
        // A negative index cannot be written in this action type; the next thing to it is far out of range.
        let slate: Vec<i64> = serde_json::from_value(case["slate"].clone()).unwrap();
        let slate = Slate(slate.into_iter().map(|i| i as u32).collect());
        let mut env = InterestEvolution::from_model(model(&file["default_params"], case));
        env.reset(Some(1)).unwrap();
        env.step(&Slate((0..3).collect())).unwrap();
        let before = env.save_state().unwrap();
        match env.step(&slate).unwrap_err() {
            EnvError::Action { kind, .. } => assert_eq!(case["expect"]["error"], json!(kind), "{}", case["id"]),
            other => panic!("{other}"),
        }
        assert_eq!(env.save_state().unwrap(), before);
        seen += 1;
    }
    assert_eq!(seen, 7);
}

#[test]
fn samplers_agree_with_the_original() {
    let file: Value = serde_json::from_str(SAMPLING).unwrap();
    let config = EvolutionConfig::default();
    let means = topic_means(20, config.min_quality, config.max_quality);
    for case in file["interest_evolution_document"].as_array().unwrap() {
        let topic = case["draws"]["topic"].as_u64().unwrap() as usize;
        let quality = means[topic] + config.quality_sd * case["draws"]["quality_normal"].as_f64().unwrap();
        assert!(close(quality, case["expect"]["quality"].as_f64().unwrap()));
        assert_eq!(case["expect"]["length"].as_f64().unwrap(), config.document_length);
        let model = EvolutionModel::features(EvolutionConfig { num_candidates: 3, ..config.clone() }).unwrap();
        let item = Item { item: topic as u32, topic: topic as u32, quality, length: 4.0 };
        let user = User { interests: vec![0.0; 20], time_budget: 200.0 };
        let obs = model.observe(&user, &[item]);
        let row: Vec<f64> = obs.candidate_features.iter().map(|&x| f64::from(x)).collect();
        assert_eq!(row, numbers(&case["expect"]["observation"]));
    }
    for case in file["interest_evolution_user"].as_array().unwrap() {
        let interests: Vec<f64> = numbers(&case["draws"]["interest_uniforms"]).iter().map(|u| 2.0 * u - 1.0).collect();
        assert!(all_close(&interests, &numbers(&case["expect"]["interests"])));
        assert_eq!(case["expect"]["time_budget"].as_f64().unwrap(), config.time_budget);
    }
}

#[test]
fn sampled_users_and_items_follow_their_streams() {
    let model = EvolutionModel::features(EvolutionConfig::default()).unwrap();
    let (mut rng, mut same) = (Seed::root(4).rng(), Seed::root(4).rng());
    let user = model.sample_user(&mut rng);
    assert!(user.interests.iter().all(|&x| x == 2.0 * same.uniform() - 1.0));
    let mut docs = Vec::new();
    model.sample_candidates(&mut rng, &mut docs);
    for doc in docs {
        assert_eq!(doc.topic as usize, same.below(20));
        assert_eq!(doc.quality, model.topic_means()[doc.topic as usize] + 0.1 * same.normal());
    }
}

#[test]
fn whole_episodes_agree_with_the_original() {
    for text in EPISODES {
        let file: Value = serde_json::from_str(text).unwrap();
        let sizes = [&file["num_candidates"], &file["slate_size"]].map(|v| v.as_u64().unwrap() as usize);
        let model = EvolutionModel::features(EvolutionConfig::with_sizes(sizes[0], sizes[1])).unwrap();
        let mut user = user(&file["user"]);
        let (mut total, mut scores) = (0.0, Vec::new());
        let steps = file["steps"].as_array().unwrap();
        for step in steps {
            let (candidates, slate) = (items(&step["candidates"]), indices(&step["slate"]));
            model.score(&user, &candidates, &slate, &mut scores).unwrap();
            let outcome = model.transition(&mut user, &candidates, &slate, &scores, draws(&step["draws"]));
            assert_eq!(outcome.chosen, serde_json::from_value(step["chosen"].clone()).unwrap());
            assert!(close(outcome.reward, step["reward"].as_f64().unwrap()));
            assert_eq!(outcome.terminated, step["done"].as_bool().unwrap());
            assert!(close(user.time_budget, step["user_after"]["time_budget"].as_f64().unwrap()));
            total += outcome.reward;
        }
        assert!(close(total, file["episode_return"].as_f64().unwrap()));
        assert_eq!(steps.len() as u64, file["length"].as_u64().unwrap());
        assert!(all_close(&user.interests, &numbers(&file["user_final"]["interests"])));
    }
}

#[test]
fn topic_means_leave_no_topic_out() {
    for n in 1..40 {
        assert_eq!(topic_means(n, -3.0, 3.0).len(), n);
    }
    let means = topic_means(20, -3.0, 3.0);
    assert_eq!((means[0], means[13], means[14], means[19]), (-3.0, 0.0, 0.0, 3.0));
}

#[test]
fn settings_out_of_range_are_named() {
    let refuse = |config: EvolutionConfig| InterestEvolution::features(config).err().unwrap().to_string();
    let default = EvolutionConfig::default;
    assert_eq!(
        refuse(EvolutionConfig::with_sizes(3, 4)),
        "slate_size = 4: at most num_candidates = 3 (a slate has distinct items)"
    );
    assert_eq!(refuse(EvolutionConfig::with_sizes(0, 0)), "num_candidates = 0: at least 1");
    assert_eq!(refuse(EvolutionConfig::with_sizes(3, 0)), "slate_size = 0: at least 1");
    let message = refuse(EvolutionConfig { time_budget: f64::NAN, ..default() });
    assert_eq!(message, "time_budget = NaN: a finite number above 0");
    assert!(refuse(EvolutionConfig { min_normalizer: 0.0, ..default() }).starts_with("min_normalizer = 0: "));
    assert!(refuse(EvolutionConfig { num_topics: 0, ..default() }).starts_with("num_topics = 0: "));
    assert!(EvolutionConfig::default().validate().is_ok());
    let unknown = serde_json::from_value::<EvolutionConfig>(json!({ "slate_sise": 3 })).unwrap_err().to_string();
    assert!(unknown.contains("slate_sise"), "{unknown}");
}

/// Plays one episode with `choose` and returns its observations.
fn play(env: &mut InterestEvolution, seed: Option<u64>, choose: impl Fn(u64) -> u32) -> Vec<retune::env::CandidateObs> {
    let mut seen = vec![env.reset(seed).unwrap()];
    for t in 0.. {
        let first = choose(t);
        let step = env.step(&Slate(vec![first, (first + 1) % 10, (first + 2) % 10])).unwrap();
        seen.push(step.obs);
        if step.status == Status::Terminated {
            break;
        }
    }
    seen
}

#[test]
fn a_seed_fixes_users_and_candidates_whatever_the_policy() {
    let mut env = InterestEvolution::features(EvolutionConfig::default()).unwrap();
    let a = play(&mut env, Some(5), |_| 0);
    let a_next = play(&mut env, None, |_| 0);
    let mut other = InterestEvolution::features(EvolutionConfig::default()).unwrap();
    let b = play(&mut other, Some(5), |t| (t % 10) as u32);
    let b_next = play(&mut other, None, |t| (t % 10) as u32);
    for (a, b) in [(&a, &b), (&a_next, &b_next)] {
        assert_eq!(a[0].state, b[0].state);
        assert!(a.iter().zip(b).all(|(a, b)| a.candidate_features == b.candidate_features));
        assert_ne!(a.last(), b.last());
    }
    assert_ne!(a[0].state, a_next[0].state);
    assert_ne!(a[0].candidate_features, a_next[0].candidate_features);
    assert_eq!(play(&mut env, Some(5), |_| 0), a);
    assert_ne!(play(&mut env, Some(6), |_| 0)[0], a[0]);
}

#[test]
fn a_saved_state_continues_with_the_same_bits_in_another_instance() {
    let mut env = InterestEvolution::features(EvolutionConfig::default()).unwrap();
    env.reset(Some(8)).unwrap();
    for _ in 0..10 {
        env.step(&Slate(vec![3, 1, 2])).unwrap();
    }
    let text = serde_json::to_string(&env.save_state().unwrap()).unwrap();
    let mut other = InterestEvolution::features(EvolutionConfig::default()).unwrap();
    other.restore_state(&serde_json::from_str(&text).unwrap()).unwrap();
    for _ in 0..20 {
        assert_eq!(env.step(&Slate(vec![0, 9, 4])).unwrap(), other.step(&Slate(vec![0, 9, 4])).unwrap());
    }
    assert_eq!(env.reset(None).unwrap(), other.reset(None).unwrap());

    let mut smaller = InterestEvolution::features(EvolutionConfig::with_sizes(5, 3)).unwrap();
    smaller.reset(Some(1)).unwrap();
    let before = smaller.save_state().unwrap();
    assert!(matches!(smaller.restore_state(&env.save_state().unwrap()), Err(EnvError::State(_))));
    assert_eq!(smaller.save_state().unwrap(), before);
}

#[test]
fn stepping_without_a_running_episode_is_refused() {
    let mut env = InterestEvolution::features(EvolutionConfig::default()).unwrap();
    let any = Slate(vec![0, 1, 2]);
    assert!(matches!(env.step(&any), Err(EnvError::EpisodeOver)));
    play(&mut env, Some(1), |_| 0);
    let before = env.save_state().unwrap();
    assert!(matches!(env.step(&any), Err(EnvError::EpisodeOver)));
    assert!(matches!(env.step(&Slate(vec![0, 0, 1])), Err(EnvError::Action { kind: "duplicate_item", .. })));
    assert_eq!(env.save_state().unwrap(), before);
}

#[test]
fn kept_candidates_stay_for_the_life_of_a_seed() {
    let config = EvolutionConfig { resample_documents: false, ..EvolutionConfig::default() };
    let mut env = InterestEvolution::features(config).unwrap();
    let first = play(&mut env, Some(3), |_| 0);
    let second = play(&mut env, None, |_| 0);
    assert!(first.iter().chain(&second).all(|o| o.candidate_features == first[0].candidate_features));
    assert_ne!(first[0].state, second[0].state);
    assert_ne!(play(&mut env, Some(4), |_| 0)[0].candidate_features, first[0].candidate_features);
    assert_eq!(play(&mut env, Some(3), |_| 0), first);
}

#[test]
fn responses_name_the_consumed_item() {
    let mut env = InterestEvolution::features(EvolutionConfig::default()).unwrap();
    assert!(env.reset(Some(2)).unwrap().feedback.is_none());
    let mut clicks = 0;
    for _ in 0..30 {
        let step = env.step(&Slate(vec![7, 2, 5])).unwrap();
        let feedback = step.obs.feedback.unwrap();
        let facts = env.sim().last_step().unwrap();
        assert_eq!(feedback.chosen(), facts.chosen);
        assert_eq!(feedback.outcomes.iter().map(|o| f64::from(o.reward)).sum::<f64>(), step.reward);
        assert!(feedback.outcomes.iter().zip(&facts.slate).all(|(o, f)| o.quality == Some(f.quality as f32)));
        clicks += usize::from(facts.chosen.is_some());
    }
    assert!((5..25).contains(&clicks));
}
