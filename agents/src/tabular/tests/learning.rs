//! The best policy of published tasks, judged exactly: the table of transitions gives the expected return of the greedy
//! policy without playing.

use super::super::policy::argmax;
use super::super::{Linear, TabularAlgorithm, TabularConfig, TraceKind};
use super::Trial;
use retune::rollout::RunnerConfig;
use retune_envs::control::{LakeMap, cliff_walking, frozen_lake, taxi};
use retune_envs::finite::{Finite, Mdp};

/// Four slots, eight steps between publications.
const SLOTS: RunnerConfig = RunnerConfig { num_envs: 4, shard_size: 4, steps_per_round: 8, actors: 0 };

/// Expected return of what was learnt, over episodes of `limit` steps.
fn learnt(config: &TabularConfig, mdp: &Mdp, env_steps: usize, limit: u64, seed: u64) -> f64 {
    let make = || Finite::new(mdp.clone());
    let trial = Trial::new(config, make, &SLOTS, seed).rounds(env_steps / SLOTS.env_steps_per_round());
    let table = trial.agent.tabular().acting_values();
    let greedy = |s: usize| {
        let best = argmax(table.row(s as u32)) as usize;
        (0..mdp.num_actions()).map(|a| f64::from(u8::from(a == best))).collect()
    };
    mdp.return_within(&(0..mdp.num_states()).map(greedy).collect::<Vec<Vec<f64>>>(), limit)
}

fn with(algorithm: TabularAlgorithm, n_steps: usize) -> TabularConfig {
    TabularConfig { algorithm, n_steps, ..TabularConfig::default() }
}

/// Thirteen steps along the cliff are the optimum. Lasting exploration does not keep off-policy algorithms from it.
#[test]
fn cliff_walking_is_solved() {
    use TabularAlgorithm::{DoubleQ, QLambda, QLearning, TreeBackup};
    let mdp = cliff_walking(false);
    for (algorithm, n_steps) in [(QLearning, 1), (DoubleQ, 1), (TreeBackup, 3), (QLambda, 1)] {
        let config = TabularConfig {
            gamma: 1.0,
            lambda: 0.5,
            learning_rate: Linear::constant(0.5),
            epsilon: Linear::constant(0.4),
            ..with(algorithm, n_steps)
        };
        assert_eq!(learnt(&config, &mdp, 200_000, 100, 1), -13.0, "{algorithm:?}");
    }
}

/// What Sutton and Barto show in example 6.6: with lasting exploration SARSA walks the safe way, Q-learning the edge.
#[test]
fn lasting_exploration_makes_sarsa_walk_the_safe_way() {
    let mdp = cliff_walking(false);
    let play = |algorithm| {
        let config = TabularConfig { gamma: 1.0, learning_rate: Linear::constant(0.1), ..with(algorithm, 1) };
        learnt(&config, &mdp, 100_000, 100, 1)
    };
    assert_eq!(play(TabularAlgorithm::QLearning), -13.0);
    let safe = play(TabularAlgorithm::ExpectedSarsa);
    assert!((-19.0..=-15.0).contains(&safe), "{safe}");
}

#[test]
fn frozen_lake_is_solved() {
    let mdp = frozen_lake(LakeMap::Small, true);
    let best = mdp.best_return_within(100);
    for algorithm in [TabularAlgorithm::QLearning, TabularAlgorithm::DoubleQ, TabularAlgorithm::QLambda] {
        let config = TabularConfig {
            gamma: 0.99,
            lambda: 0.3,
            learning_rate: Linear { start: 0.3, end: 0.01, env_steps: 150_000 },
            epsilon: Linear::constant(0.6),
            ..with(algorithm, 1)
        };
        let found = learnt(&config, &mdp, 200_000, 100, 1);
        // The best knows how many steps are left; the best that does not is 0.004 below it.
        assert!(found > best - 0.01, "{algorithm:?}: {found}, the best is {best}");
    }
}

#[test]
fn taxi_is_solved() {
    let mdp = taxi();
    let best = mdp.best_return_within(200);
    for (algorithm, n_steps) in [(TabularAlgorithm::QLearning, 1), (TabularAlgorithm::TreeBackup, 3)] {
        let config = TabularConfig {
            learning_rate: Linear::constant(1.0),
            epsilon: Linear { start: 1.0, end: 0.3, env_steps: 240_000 },
            ..with(algorithm, n_steps)
        };
        let found = learnt(&config, &mdp, 300_000, 200, 1);
        assert!(found > best - 0.01, "{algorithm:?}: {found}, the best is {best}");
    }
}

/// Negative control of the three tests above: what was hardly trained is far from the best.
#[test]
fn without_training_nothing_is_solved() {
    let config = TabularConfig::default();
    assert!(learnt(&config, &cliff_walking(false), 100, 100, 1) < -90.0);
    assert!(learnt(&config, &frozen_lake(LakeMap::Small, true), 100, 100, 1) < 0.5);
    assert!(learnt(&config, &taxi(), 100, 200, 1) < -100.0);
}
