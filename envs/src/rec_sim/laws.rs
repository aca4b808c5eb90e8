//! Laws that every recommendation environment obeys, whatever is asked of it.

use super::catalogue::{Catalogue, CatalogueConfig, Columns, Source, Split};
use super::env::RecSim;
use super::interest_evolution::{EvolutionConfig, InterestEvolution, ObservationMode};
use super::interest_exploration::{ExplorationConfig, InterestExploration};
use super::long_term_satisfaction::{LongTermSatisfaction, SatisfactionConfig};
use super::shared::Model;
use proptest::prelude::*;
use retune::env::{Env, EnvError, EnvState, ObsSpec, Slate, Status};

/// What the error should be by the plain reading of the rules; `None` for a legal slate.
fn expected_refusal(slate: &[u32], k: usize, c: usize) -> Option<&'static str> {
    let mut distinct = slate.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    if slate.len() != k {
        Some("wrong_slate_length")
    } else if slate.iter().any(|&i| i as usize >= c) {
        Some("index_out_of_range")
    } else if distinct.len() != k {
        Some("duplicate_item")
    } else {
        None
    }
}

/// Plays `slates` on two instances, the second of which is replaced by a restored one at every step.
fn obeys<M: Model>(make: impl Fn() -> RecSim<M>, seed: u64, slates: &[Vec<u32>]) -> Result<(), TestCaseError> {
    let (mut env, mut twin) = (make(), make());
    let shape = *env.sim().model().loop_config();
    let mut over = false;
    prop_assert_eq!(env.reset(Some(seed)).unwrap(), twin.reset(Some(seed)).unwrap());
    for slate in slates {
        let before = env.save_state().unwrap();
        let text = serde_json::to_string(&before).unwrap();
        twin = make();
        twin.restore_state(&serde_json::from_str::<EnvState>(&text).unwrap()).unwrap();
        prop_assert_eq!(&twin.save_state().unwrap(), &before);
        let action = Slate(slate.clone());
        let (got, again) = (env.step(&action), twin.step(&action));
        match (expected_refusal(slate, shape.slate_size, shape.num_candidates), got) {
            (Some(kind), Err(EnvError::Action { kind: got, .. })) => prop_assert_eq!(kind, got),
            (None, Err(EnvError::EpisodeOver)) => prop_assert!(over),
            (None, Ok(step)) => {
                prop_assert!(!over);
                let (low, high) = env.spec().reward_range;
                prop_assert!(low <= step.reward && step.reward <= high);
                prop_assert_eq!(&step, &again.unwrap());
                let ObsSpec::Candidates(spec) = &env.spec().obs else { panic!("not a candidate set") };
                prop_assert_eq!(step.obs.state.len(), spec.state_dim);
                prop_assert_eq!(step.obs.candidate_features.len(), spec.num_candidates * spec.candidate_dim);
                prop_assert_eq!(step.obs.candidate_texts.len(), if spec.has_text { spec.num_candidates } else { 0 });
                prop_assert!(step.obs.candidate_texts.iter().all(|id| spec.pool.contains(id)));
                prop_assert_eq!(step.obs.feedback.unwrap().outcomes.len(), shape.slate_size);
                over = step.status == Status::Terminated;
                continue;
            }
            (expected, got) => prop_assert!(false, "expected {:?}, got {:?}", expected, got),
        }
        prop_assert!(again.is_err());
        prop_assert_eq!(env.save_state().unwrap(), before);
    }
    prop_assert_eq!(env.reset(None).unwrap(), twin.reset(None).unwrap());
    Ok(())
}

fn catalogue() -> Catalogue {
    let rows: String = (0..60).map(|i| format!("item {i},topic {}\n", i % 6)).collect();
    let columns = Columns { text: vec!["t".to_owned()], topic: Some("g".to_owned()), quality: None };
    let source = Source::read("shop.csv", format!("t,g\n{rows}").as_bytes(), &columns).unwrap();
    Catalogue::build(source, &CatalogueConfig::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn laws_hold_for_legal_and_illegal_slates(
        seed in any::<u64>(),
        slates in prop::collection::vec(prop_oneof![
            4 => Just((0..6u32).collect::<Vec<_>>()).prop_shuffle().prop_map(|mut s| { s.truncate(2); s }),
            1 => prop::collection::vec(0..8u32, 0..4),
        ], 1..60),
    ) {
        // A small budget, so that sessions also end.
        let evolution = EvolutionConfig { time_budget: 30.0, ..EvolutionConfig::with_sizes(6, 2) };
        obeys(|| InterestEvolution::features(evolution.clone()).unwrap(), seed, &slates)?;
        let catalogue = catalogue();
        for mode in [ObservationMode::Interests, ObservationMode::History] {
            obeys(
                || InterestEvolution::text(evolution.clone(), &catalogue, Split::Cold, mode).unwrap(), seed, &slates,
            )?;
        }
        let exploration = ExplorationConfig::with_sizes(6, 2);
        obeys(|| InterestExploration::exploration(exploration.clone()).unwrap(), seed, &slates)?;
        let satisfaction = SatisfactionConfig { time_budget: 20, ..SatisfactionConfig::with_sizes(6, 2) };
        obeys(|| LongTermSatisfaction::satisfaction(satisfaction.clone()).unwrap(), seed, &slates)?;
    }
}
