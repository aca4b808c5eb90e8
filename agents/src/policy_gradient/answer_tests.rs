//! Policies that choose when to answer, with a classifier that says what.

use super::tests::{RUNNER, bits, recipes};
use super::*;
use crate::answers::testing::{COST, Riddle};
use crate::learning::LearningConfig;
use crate::testing::{DynAgent, go_on, runner, score, setup, train};
use retune::env::Env;
use retune::rng::Seed;
use retune::rollout::RunnerConfig;

fn agent(net: &NetConfig, recipe: &Recipe, label_coef: f64, seed: u64) -> Box<DynAgent> {
    let learning = LearningConfig { env_steps: 6400, ..LearningConfig::default() };
    let recipe = Recipe { label_coef, gamma: 1.0, ..recipe.clone() };
    let env = Riddle::new();
    Box::new(PolicyGradientAgent::new(&setup(&learning, env.spec(), Seed::root(seed)), net, &recipe).unwrap())
}

#[test]
fn every_algorithm_learns_what_to_ask_before_it_answers() {
    for (net, recipe) in recipes() {
        let mut agent = agent(&net, &recipe, 1.0, 1);
        let metrics = train(agent.as_mut(), |_| Riddle::new(), &RUNNER, Seed::root(1), 100);
        let (after, _) = score(agent.as_mut(), |_| Riddle::new(), 200);
        assert!(after > 1.0 - COST - 0.06, "{}: {after}, {metrics:?}", recipe.name);
        assert!(agent.learner().ledger().labels > 0 && metrics["answer_accuracy"] > 0.5, "{metrics:?}");
    }
}

#[test]
fn without_a_classifier_no_labels_are_used() {
    let (net, recipe) = recipes().remove(0);
    let mut agent = agent(&net, &recipe, 0.0, 1);
    let metrics = train(agent.as_mut(), |_| Riddle::new(), &RUNNER, Seed::root(1), 3);
    assert_eq!(agent.learner().ledger().labels, 0);
    assert!(!metrics.contains_key("answer_loss"));
}

#[test]
fn a_resumed_agent_keeps_the_states_that_wait_for_their_label() {
    for (net, recipe) in recipes() {
        let mut whole = agent(&net, &recipe, 1.0, 3);
        let mut its = runner(whole.as_ref(), |_| Riddle::new(), &RUNNER, Seed::root(3));
        go_on(whole.as_mut(), &mut its, 5);
        let mut state = bits(whole.as_mut());
        its.save(&mut state, "runner/").unwrap();
        let rest = go_on(whole.as_mut(), &mut its, 5);
        for actors in [0, 2] {
            let mut again = agent(&net, &recipe, 1.0, 77);
            let config = RunnerConfig { actors, ..RUNNER };
            let mut its = runner(again.as_ref(), |_| Riddle::new(), &config, Seed::root(3));
            again.learner().load(&state, "a/").unwrap();
            its.load(&state, "runner/").unwrap();
            assert_eq!(go_on(again.as_mut(), &mut its, 5), rest, "{}", recipe.name);
            assert!(bits(again.as_mut()) == bits(whole.as_mut()), "{} with {actors} threads", recipe.name);
        }
        let error = agent(&net, &recipe, 0.0, 3).learner().load(&state, "a/").unwrap_err().to_string();
        assert!(error.contains("classifier of answers"), "{error}");
    }
}

#[test]
fn an_env_without_answers_is_refused() {
    let env = super::tests::Match::new();
    let (net, recipe) = recipes().remove(0);
    let learning = LearningConfig::default();
    let recipe = Recipe { label_coef: 0.5, ..recipe };
    let made = PolicyGradientAgent::new(&setup(&learning, env.spec(), Seed::root(1)), &net, &recipe);
    assert!(made.err().unwrap().to_string().starts_with("ppo.label_coef = 0.5"));
}
