//! Every check passes, and fails on a broken variant of what it examines.

use super::{Subjects, checks, verify};
use retune::env::{Env, EnvError, EnvSpec, EnvState, Status, Step, TimeLimit};
use retune::replay::{Priorities, PriorityConfig};
use retune_agents::dqn::{Bootstrap, DqnConfig};
use retune_agents::losses::Support;
use retune_agents::policy_gradient::Recipe;
use retune_agents::sac::SacConfig;
use retune_agents::tabular::{TabularAlgorithm, TabularConfig};
use retune_agents::targets::{Steps, TraceCut, VTrace, gae, greedy_value, q_lambda, retrace, v_trace};
use std::collections::BTreeSet;

#[test]
fn every_check_passes() {
    let report = verify(&Subjects::default());
    assert!(report.passed(), "{}", report.text());
    let names: BTreeSet<&str> = report.rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), report.rows.len(), "names are unique");
    assert!(report.rows.iter().all(|row| row.numbers > 0));
}

/// The targets of a rollout in which truncation is taken for termination.
fn truncation_terminates(
    steps: &Steps<'_, f64>,
    values: &[f64],
    finals: &[f64],
    last: &[f64],
) -> retune::Result<Vec<f64>> {
    let poisoned: Vec<f64> = finals.iter().map(|_| 0.0).collect();
    retune_agents::targets::following_values(steps, values, &poisoned, last)
}

/// A rollout that ends where it stops.
fn rollout_terminates(
    steps: &Steps<'_, f64>,
    values: &[f64],
    finals: &[f64],
    last: &[f64],
) -> retune::Result<Vec<f64>> {
    retune_agents::targets::following_values(steps, values, finals, &vec![0.0; last.len()])
}

/// Training with another discount.
fn forgetful(
    config: &TabularConfig,
    make: &dyn Fn() -> super::subjects::NumberedEnv,
    steps: usize,
) -> anyhow::Result<Vec<f64>> {
    let config = TabularConfig { gamma: 0.9 * config.gamma, ..config.clone() };
    (Subjects::default().train)(&config, make, steps)
}

/// Takes a time limit for an end.
struct Confused(TimeLimit<super::subjects::NumberedEnv>);

impl Env for Confused {
    type Obs = u32;
    type Action = u32;

    fn spec(&self) -> &EnvSpec {
        self.0.spec()
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<u32, EnvError> {
        self.0.reset(seed)
    }

    fn step(&mut self, action: &u32) -> Result<Step<u32>, EnvError> {
        let step = self.0.step(action)?;
        Ok(Step { status: if step.status.is_over() { Status::Terminated } else { Status::Running }, ..step })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        self.0.save_state()
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.0.restore_state(state)
    }
}

fn confused(
    config: &TabularConfig,
    make: &dyn Fn() -> super::subjects::NumberedEnv,
    steps: usize,
) -> anyhow::Result<Vec<f64>> {
    let wrapped = || -> super::subjects::NumberedEnv { Box::new(Confused(TimeLimit::from_spec(make()).unwrap())) };
    (Subjects::default().train)(config, &wrapped, steps)
}

/// The same for deep agents.
fn confused_values(
    config: &DqnConfig,
    make: &dyn Fn() -> super::subjects::NumberedEnv,
    states: usize,
    steps: u64,
) -> anyhow::Result<Vec<f64>> {
    let wrapped = || -> super::subjects::NumberedEnv { Box::new(Confused(TimeLimit::from_spec(make()).unwrap())) };
    (Subjects::default().train_values)(config, &wrapped, states, steps)
}

/// A broken variant, and the checks that must notice it (by how their names begin).
type Broken = (&'static str, fn(&mut Subjects), &'static [&'static str]);

const BROKEN: &[Broken] = &[
    (
        "truncation terminates",
        |s| s.following_values = truncation_terminates,
        &[
            "discounted returns",
            "n-step returns",
            "TD(lambda) keeps",
            "TD(lambda) across",
            "GAE ",
            "V-trace keeps",
            "V-trace advantages",
            "V-trace across",
            "V-trace without",
            "V-trace, rho",
            "Watkins",
            "Retrace",
            "generalized",
            "n-step",
            "Q(lambda)",
            "V-trace",
        ],
    ),
    (
        "a rollout terminates where it stops",
        |s| s.following_values = rollout_terminates,
        &[
            "discounted returns keep",
            "n-step returns keep",
            "TD(lambda) keeps",
            "GAE keeps",
            "V-trace keeps",
            "GAE advantages",
            "V-trace advantages",
        ],
    ),
    (
        "returns are not discounted",
        |s| s.discounted_returns = |steps, f, _| retune_agents::targets::discounted_returns(steps, f, 1.0),
        &["discounted returns"],
    ),
    (
        "GAE with the discount in the wrong place",
        |s| s.gae = |steps, v, f, gamma, lambda| gae(steps, v, f, gamma, lambda * gamma),
        &["generalized"],
    ),
    (
        "GAE without values",
        |s| s.gae = |steps, v, f, gamma, lambda| gae(steps, &vec![0.0; v.len()], f, gamma, lambda),
        &["generalized", "GAE advantages"],
    ),
    (
        "n is one less",
        |s| s.n_step = |steps, f, gamma, n| (Subjects::default().n_step)(steps, f, gamma, n.max(2) - 1),
        &["n-step returns", "n-step between"],
    ),
    (
        "TD(lambda) always bootstraps",
        |s| s.td_lambda = |steps, f, gamma, _| retune_agents::targets::td_lambda(steps, f, gamma, 0.0),
        &["TD(lambda)", "TD(lambda) between"],
    ),
    (
        "traces are never cut",
        |s| s.q_lambda = |steps, q, a, f, gamma, lambda, _| q_lambda(steps, q, a, f, gamma, lambda, TraceCut::Peng),
        &["Q(lambda)", "Watkins"],
    ),
    (
        "Retrace without correction",
        |s| s.retrace = |steps, q, rho, f, gamma, lambda| retrace(steps, q, &vec![0.0; rho.len()], f, gamma, lambda),
        &["Retrace"],
    ),
    (
        "V-trace without correction",
        |s| {
            s.v_trace = |steps, inputs, config| {
                let ones = vec![0.0; inputs.log_rhos.len()];
                let inputs = VTrace { values: inputs.values, following: inputs.following, log_rhos: &ones };
                v_trace(steps, inputs, config)
            }
        },
        &["V-trace", "V-trace without", "V-trace, rho"],
    ),
    (
        "termination does not stop the bootstrap",
        |s| s.one_step_target = |r, _, gamma, v| r + gamma * v,
        &[
            "SARSA, one",
            "expected SARSA, one",
            "Q-learning, one",
            "double Q-learning, one",
            "Q-learning keeps",
            "double Q-learning keeps",
            "expected SARSA keeps",
        ],
    ),
    (
        "the mean for the maximum",
        |s| s.greedy_value = |q, _| Some(q.iter().sum::<f64>() / q.len() as f64),
        &["Q-learning, one", "Q-learning keeps", "Q(lambda)"],
    ),
    (
        "double Q-learning with one network",
        |s| s.double_value = |_, target, mask| greedy_value(target, mask),
        &["double Q-learning, one"],
    ),
    (
        "double Q-learning that takes the worst",
        |s| s.double_value = |_, target, _| target.iter().copied().reduce(f64::min),
        &["double Q-learning keeps"],
    ),
    (
        "the expectation over a uniform policy",
        |s| s.expected_value = |q, _| q.iter().sum::<f64>() / q.len() as f64,
        &["expected SARSA, one", "expected SARSA keeps", "Retrace"],
    ),
    (
        "mass falls on the lower atom",
        |s| {
            s.project = |support, r, discount, probs, out| {
                out.fill(0.0);
                for (j, p) in probs.iter().enumerate() {
                    let last = support.num_atoms() - 1;
                    let at = (r + discount * support.atom(j) - support.atom(0)) / support.width();
                    out[at.clamp(0.0, last as f64) as usize] += p;
                }
            }
        },
        &["C51 projection", "C51 projection, expectation"],
    ),
    (
        "cross-entropy without the maximum",
        |s| s.cross_entropy = |logits, target, _| -logits.iter().zip(target).map(|(l, t)| l * t).sum::<f64>(),
        &["C51 cross-entropy"],
    ),
    (
        "quantiles in the wrong order",
        |s| {
            s.quantile_huber = |theta, targets, kappa, grad| {
                let reversed: Vec<f64> = theta.iter().rev().copied().collect();
                retune_agents::losses::quantile_huber(&reversed, targets, kappa, grad)
            }
        },
        &["quantile Huber"],
    ),
    (
        "priorities to another power",
        |s| s.priorities = |config, len| Priorities::new(PriorityConfig { alpha: 1.0 - config.alpha, ..config }, len),
        &["prioritised replay, prob", "prioritised replay, imp"],
    ),
    (
        "a slate is worth its best item",
        |s| s.slate_value = |items, slate| slate.iter().map(|&i| items.value(&[i])).fold(f64::NEG_INFINITY, f64::max),
        &["SlateQ targets: SARSA", "SlateQ targets with"],
    ),
    (
        "every slate is the first items",
        |s| s.select = |_, _, size| Ok((0..size as u32).collect()),
        &["SlateQ serving", "SlateQ targets: SARSA"],
    ),
    (
        "another discount in training",
        |s| s.train = forgetful,
        &[
            "tabular Q-learning",
            "tabular double",
            "tabular tree",
            "tabular Q(lambda)",
            "tabular SARSA",
            "tabular expected",
            "tabular agents",
            "tabular Q-learning along",
            "tabular SARSA(lambda), state",
        ],
    ),
    ("agents that take a time limit for an end", |s| s.train = confused, &["tabular agents across"]),
    (
        "agents that do not learn",
        |s| s.train = |config, make, _| (Subjects::default().train)(config, make, 3),
        &["tabular Q-learning, mean"],
    ),
    (
        "every item counts K-fold",
        |s| s.top_k_multiplier = |_, k| k as f64,
        &["top-K: lambda_K", "top-K gradient from i"],
    ),
    (
        "lambda_K for items of whole slates",
        |s| s.top_k_slate_multiplier = retune_agents::top_k_reinforce::multiplier,
        &["top-K: lambda_K", "top-K gradient from s"],
    ),
    (
        "whoever acted is taken for the policy",
        |s| s.importance_weight = |_, _, cap| f64::min(1.0, cap),
        &["top-K gradient from i", "top-K gradient from s", "top-K weights"],
    ),
    (
        "weights without a cap",
        |s| s.importance_weight = |policy, behaviour, _| (policy - behaviour).exp(),
        &["top-K weights"],
    ),
    (
        "another discount in deep training",
        |s| {
            s.train_values = |config, make, states, steps| {
                let config = DqnConfig { gamma: 0.9 * config.gamma, ..config.clone() };
                (Subjects::default().train_values)(&config, make, states, steps)
            }
        },
        &["DQN", "double DQN", "dueling DQN", "C51", "QR-DQN", "DQN, 3 steps, random", "deep SARSA", "DQN, one value"],
    ),
    (
        "deep agents that take a time limit for an end",
        |s| s.train_values = confused_values,
        &["DQN across", "DQN, 3 steps, across", "C51 across", "QR-DQN across", "deep expected SARSA across"],
    ),
    (
        "deep agents that look one step ahead",
        |s| {
            s.train_values = |config, make, states, steps| {
                let config = DqnConfig { n_step: 1, ..config.clone() };
                (Subjects::default().train_values)(&config, make, states, steps)
            }
        },
        &["DQN, 3 steps, random", "DQN, 2 steps, a state"],
    ),
    (
        "deep SARSA towards the best action",
        |s| {
            s.train_values = |config, make, states, steps| {
                let config = DqnConfig { bootstrap: Bootstrap::Greedy, ..config.clone() };
                (Subjects::default().train_values)(&config, make, states, steps)
            }
        },
        &["deep SARSA", "deep expected SARSA", "deep expected SARSA, own"],
    ),
    (
        "a larger entropy bonus",
        |s| {
            s.train_policy = |net, recipe, mdp, steps| {
                let recipe = Recipe { ent_coef: recipe.ent_coef + 0.25, ..recipe.clone() };
                (Subjects::default().train_policy)(net, &recipe, mdp, steps)
            }
        },
        &["REINFORCE with", "A2C", "PPO", "actor-critic with", "GRPO", "policy gradients without"],
    ),
    (
        "a higher temperature",
        |s| {
            s.train_sac = |config, mdp, steps| {
                let config = SacConfig { alpha: 1.5 * config.alpha, ..config.clone() };
                (Subjects::default().train_sac)(&config, mdp, steps)
            }
        },
        &["SAC"],
    ),
];

/// One broken variant may break more than is listed; every check must be listed somewhere.
#[test]
fn every_check_notices_what_is_broken() {
    let mut noticed = BTreeSet::new();
    for (what, breaks, names) in BROKEN {
        let mut subjects = Subjects::default();
        breaks(&mut subjects);
        let concerned = checks().into_iter().filter(|check| names.iter().any(|name| check.name.starts_with(name)));
        let failed: Vec<&str> = concerned
            .filter(|check| !(check.run)(&subjects).is_ok_and(|found| found.passed()))
            .map(|check| check.name)
            .collect();
        for name in *names {
            assert!(failed.iter().any(|check| check.starts_with(name)), "{what}: no check `{name}…` in {failed:?}");
        }
        noticed.extend(failed);
    }
    let all: BTreeSet<&str> = checks().iter().map(|check| check.name).collect();
    let missed: Vec<_> = all.difference(&noticed).collect();
    assert!(missed.is_empty(), "no broken variant makes these fail: {missed:?}");
}

#[test]
fn nothing_compared_is_no_pass_and_nan_is_a_failure() {
    let mut found = super::Found::within(1.0);
    assert!(!found.passed());
    found.compare(f64::NAN, 0.0);
    found.compare(0.0, 0.0);
    assert!(!found.passed());
    let mut fine = super::Found::within(0.1);
    fine.compare(10.5, 10.0);
    assert!(fine.passed() && fine.compare_all(&[1.0], &[]).is_err());
    assert_eq!(TabularAlgorithm::ALL.len(), 7);
    assert!(Support::new(0.0, 1.0, 1).is_err());
}
