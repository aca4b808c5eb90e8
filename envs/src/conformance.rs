//! Every environment of this crate passes the checker that users run on their own.

use crate::AsCandidates;
use crate::control::{CartPole, ControlTask};
use crate::finite::Finite;
use crate::probe::{CandidateTabular, Mdp, Probe, SlateBandit, Tabular, TextProbe, aliased};
use crate::rec_sim::catalogue::{Columns, Source};
use crate::rec_sim::{
    Catalogue, CatalogueConfig, EvolutionConfig, ExplorationConfig, InterestEvolution, InterestExploration,
    LongTermSatisfaction, ObservationMode, SatisfactionConfig, Split,
};
use retune::env::check::{CandidateSampler, CheckConfig, DiscreteSampler, Sampler, check_env};
use retune::env::{Env, EnvError, TimeLimit};

fn check<E: Env>(make: impl Fn() -> Result<E, EnvError>, sampler: &dyn Sampler<E::Obs, E::Action>) {
    // Speed is the business of the benchmark.
    let config = CheckConfig { speed_steps: 0, ..CheckConfig::default() };
    let report = check_env(|| Ok(make()?), sampler, &config).unwrap();
    assert!(report.passed(), "{report:#?}");
}

#[test]
fn recommendation_environments_conform() {
    let candidates = &CandidateSampler;
    check(|| InterestEvolution::features(EvolutionConfig::default()), candidates);
    let kept = EvolutionConfig { resample_documents: false, ..EvolutionConfig::with_sizes(20, 3) };
    check(|| InterestEvolution::features(kept.clone()), candidates);
    let csv = retune_assets::wordnet_glosses::CSV.as_bytes();
    let source = Source::read("wordnet_glosses.csv", csv, &Columns::wordnet()).unwrap();
    let catalogue = Catalogue::build(source, &CatalogueConfig::default()).unwrap();
    for (split, mode) in [(Split::Train, ObservationMode::Interests), (Split::Cold, ObservationMode::History)] {
        check(|| InterestEvolution::text(EvolutionConfig::default(), &catalogue, split, mode), candidates);
    }
    check(|| InterestExploration::exploration(ExplorationConfig::hard()), candidates);
    check(|| LongTermSatisfaction::satisfaction(SatisfactionConfig::hard()), candidates);
}

#[test]
fn control_environments_conform_in_both_forms() {
    for task in ControlTask::ALL {
        let report = task.check(&CheckConfig { speed_steps: 0, ..CheckConfig::default() }).unwrap();
        assert!(report.passed(), "{report:#?}");
        // With a limit, since a random walk along the cliff takes long.
        check(|| TimeLimit::new(task.candidates()?, 300), &CandidateSampler);
    }
    let with_features = || Ok(AsCandidates::new(CartPole::new())?.with_action_features());
    check(with_features, &CandidateSampler);
}

#[test]
fn probe_environments_conform() {
    for mdp in [Mdp::two_armed_bandit(), Mdp::chain(4), Mdp::endless(5)] {
        check(|| Ok(Tabular::new(mdp.clone())), &DiscreteSampler);
        check(|| Ok(CandidateTabular::new(mdp.clone())), &CandidateSampler);
        check(|| Ok(Finite::new(mdp.clone())), &DiscreteSampler);
    }
    check(|| Ok(aliased()), &DiscreteSampler);
    Probe::ALL.iter().for_each(|probe| check(|| probe.env(), &CandidateSampler));
    check(|| Ok(TextProbe::new()), &CandidateSampler);
    check(|| Ok(SlateBandit::features()), &CandidateSampler);
    check(|| Ok(SlateBandit::texts()), &CandidateSampler);
}
