//! The same bits with threads and after an interruption.

use super::super::{Linear, TabularAgent, TabularConfig};
use super::{Trial, all_forms};
use retune::agent::{Agent, Learner, Stop};
use retune::env::{Env, TimeLimit};
use retune::persist::StateDict;
use retune::rng::Seed;
use retune::rollout::RunnerConfig;
use retune_envs::control::{LakeMap, frozen_lake};
use retune_envs::finite::{Finite, Mdp};

fn lake() -> TimeLimit<Finite> {
    TimeLimit::new(Finite::new(frozen_lake(LakeMap::Small, true)), 9).unwrap()
}

fn slots(actors: usize) -> RunnerConfig {
    RunnerConfig { num_envs: 5, shard_size: 2, steps_per_round: 7, actors }
}

fn trial(config: &TabularConfig, actors: usize) -> Trial<TimeLimit<Finite>> {
    Trial::new(config, lake, &slots(actors), 4)
}

fn forms() -> Vec<TabularConfig> {
    let lively = |c: TabularConfig| TabularConfig {
        epsilon: Linear { start: 1.0, end: 0.1, env_steps: 500 },
        initial_q: 0.5,
        visit_exponent: 0.5,
        ..c
    };
    all_forms().into_iter().map(lively).collect()
}

fn state<E: Env<Obs = u32, Action = u32> + 'static>(trial: &mut Trial<E>) -> StateDict {
    let mut state = StateDict::default();
    trial.agent.learner().save(&mut state, "agent/").unwrap();
    trial.runner.save(&mut state, "runner/").unwrap();
    state
}

/// Through text and bytes, as in another process.
fn reread(state: &StateDict) -> StateDict {
    let values = serde_json::from_str(&serde_json::to_string(&state.values).unwrap()).unwrap();
    StateDict { values, tensors: state.tensors.clone() }
}

#[test]
fn threads_and_interruptions_change_no_bit() {
    for config in forms() {
        let mut whole = trial(&config, 0).rounds(30);
        let mut first = trial(&config, 2).rounds(13);
        let mut second = trial(&config, 1);
        let saved = reread(&state(&mut first));
        second.agent.learner().load(&saved, "agent/").unwrap();
        second.runner.load(&saved, "runner/").unwrap();
        second.go_on(17);
        assert_eq!(state(&mut second), state(&mut whole), "{config:?}");
        // Negative control: a round less is another state.
        assert_ne!(state(&mut trial(&config, 0).rounds(29)), state(&mut whole));
    }
}

#[test]
fn a_state_of_another_agent_is_refused_and_changes_nothing() {
    let forms = forms();
    let mut state_of_first = StateDict::default();
    trial(&forms[0], 0).rounds(3).agent.learner().save(&mut state_of_first, "").unwrap();
    for config in &forms[1..] {
        let mut other = trial(config, 0).rounds(3);
        let before = state(&mut other);
        let error = other.agent.learner().load(&state_of_first, "").unwrap_err().to_string();
        assert!(error.contains("belongs to a tabular agent with"), "{error}");
        assert_eq!(state(&mut other), before);
    }
    // The same settings, another shape; and a damaged table.
    let chain = Finite::new(Mdp::chain(3));
    let mut small = TabularAgent::new(&forms[0], chain.spec(), &Seed::root(0)).unwrap();
    assert!(small.learner().load(&state_of_first, "").is_err());
    let mut cut = reread(&state_of_first);
    cut.tensors.get_mut("q").unwrap().data.truncate(8);
    let mut same = trial(&forms[0], 0);
    assert!(same.agent.learner().load(&cut, "").unwrap_err().to_string().starts_with("cannot restore: tensor q"));
    same.agent.learner().load(&state_of_first, "").unwrap();
}

#[test]
fn bad_input_is_an_error_that_names_it() {
    let vector = retune_envs::probe::Tabular::new(Mdp::chain(3));
    let error = TabularAgent::new(&TabularConfig::default(), vector.spec(), &Seed::root(0)).err().unwrap().to_string();
    assert!(error.contains("probe/chain") && error.contains("numbered states"), "{error}");
    let zero = TabularConfig { n_steps: 0, ..TabularConfig::default() };
    assert!(TabularAgent::new(&zero, lake().spec(), &Seed::root(0)).is_err());

    let mut trial = trial(&TabularConfig::default(), 0);
    let snapshot = trial.agent.learner().snapshot(&[]).unwrap();
    let (mut rollout, _) = trial.runner.collect(&snapshot).unwrap();
    rollout.segments[0].steps[0].action = 9;
    let error = trial.agent.learner().learn(rollout, &Stop::new()).unwrap_err().to_string();
    assert!(error.contains("action: 9") && error.contains("4 actions"), "{error}");

    let (mut rollout, _) = trial.runner.collect(&snapshot).unwrap();
    rollout.segments[0].steps[0].reward = f64::INFINITY;
    let error = trial.agent.learner().learn(rollout, &Stop::new()).unwrap_err().to_string();
    assert!(error.starts_with("non-finite value in q"), "{error}");

    let mut unloaded = trial.agent.make_actor().unwrap();
    let act = unloaded.act(&[std::sync::Arc::new(0)], &mut [Seed::root(0).rng()], retune::agent::Mode::Train);
    assert!(act.unwrap_err().to_string().contains("must load"));
    let learner: &dyn Learner<u32, u32> = trial.agent.tabular();
    assert_eq!(learner.trainable_parameters(), 64);
}
