use super::*;
use crate::rec_sim::catalogue::{CatalogueConfig, Columns, Source};
use crate::rec_sim::choice::ChoiceKind;
use crate::rec_sim::golden::{agrees, assert_agrees, policy_row};
use crate::rec_sim::reference::{Myopic, Random, ReferencePolicy, TopQuality, evaluate};
use crate::rec_sim::sim::Sim;
use retune_assets::wordnet_glosses::CSV;
use serde_json::Value;

const POLICY_NAMES: [&str; 4] = ["random", "myopic", "top_quality", "planner"];

fn policy(name: &str, model: &EvolutionModel, row: &Value) -> Box<dyn ReferencePolicy<EvolutionModel>> {
    match name {
        "random" => Box::new(Random),
        "myopic" => Box::new(Myopic),
        "top_quality" => Box::new(TopQuality),
        _ => Box::new(Planner::new(model, row["policy_parameter"]["lambda"].as_f64().unwrap()).unwrap()),
    }
}

fn compare_with_golden(make: impl Fn(EvolutionConfig) -> EvolutionModel, sizes: (usize, usize), episodes: u64) {
    let mut sim = Sim::new(make(EvolutionConfig::with_sizes(sizes.0, sizes.1)));
    for name in POLICY_NAMES {
        let row = policy_row("interest_evolution", "default", sizes, name);
        let mut policy = policy(name, sim.model(), &row);
        assert_eq!(policy.name(), name);
        let metrics = evaluate(&mut sim, policy.as_mut(), 0..episodes, 10_000, 0.99).unwrap();
        assert!(metrics.episodes().all(|e| !e.truncated));
        assert_agrees(&metrics.summary(), &row);
    }
}

fn features(config: EvolutionConfig) -> EvolutionModel {
    EvolutionModel::features(config).unwrap()
}

#[test]
fn references_earn_what_they_earn_in_the_original_at_10_3() {
    compare_with_golden(features, (10, 3), 2000);
}

#[test]
fn references_earn_what_they_earn_in_the_original_at_20_3() {
    compare_with_golden(features, (20, 3), 1500);
}

#[test]
fn references_earn_what_they_earn_in_the_original_at_5_2() {
    compare_with_golden(features, (5, 2), 2000);
}

#[test]
fn a_wrong_model_does_not_pass_the_acceptance_rule() {
    let wrong = EvolutionConfig { step_penalty: 0.55, ..EvolutionConfig::default() };
    let mut sim = Sim::new(features(wrong));
    let summary = evaluate(&mut sim, &mut Random, 0..2000, 10_000, 0.99).unwrap().summary();
    let row = policy_row("interest_evolution", "default", (10, 3), "random");
    assert!(!agrees(summary.episode_return, &row["episode_return"]));
}

/// The text form on drawn qualities: fixed cards make a pool whose mean quality is off by up to a hundredth, well
/// inside the noise of this many episodes.
#[test]
fn references_carry_over_to_the_text_form() {
    let source = Source::read("wordnet_glosses.csv", CSV.as_bytes(), &Columns::wordnet()).unwrap();
    let catalogue = Catalogue::build(source, &CatalogueConfig::default()).unwrap();
    for (split, episodes) in [(Split::Train, 600), (Split::Cold, 400)] {
        let text = |config| EvolutionModel::text(config, &catalogue, split, ObservationMode::Interests).unwrap();
        compare_with_golden(text, (10, 3), episodes);
    }
}

#[test]
fn the_fixed_point_of_lambda_is_return_per_minute_of_budget() {
    let seeds: Vec<u64> = (0..300).collect();
    for (sizes, lambda) in [((10, 3), 1.4), ((5, 2), 1.1)] {
        let model = features(EvolutionConfig::with_sizes(sizes.0, sizes.1));
        let planner = Planner::fixed_point(&model, &seeds, 0.002).unwrap();
        assert!((planner.lambda() - lambda).abs() < 0.05, "{}", planner.lambda());
    }
}

#[test]
fn the_planner_refuses_what_it_cannot_plan_for() {
    let cascade = EvolutionConfig { choice_model: ChoiceKind::CascadeExponential, ..EvolutionConfig::default() };
    let message = Planner::new(&features(cascade), 1.0).unwrap_err().to_string();
    assert!(message.contains("multinomial_proportional"), "{message}");
    assert!(Planner::new(&features(EvolutionConfig::default()), f64::NAN).is_err());
    assert!(Planner::fixed_point(&features(EvolutionConfig::default()), &[], 0.1).is_err());
}
