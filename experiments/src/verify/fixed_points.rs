//! At the right values a target is right on average: its expectation over all trajectories is the value itself. Off
//! policy that holds only with the right correction, at the end of an episode only with the right bootstrap.

use super::enumerate::{Path, expectation, paths};
use super::{Found, Listed, Subjects};
use anyhow::{Context, Result};
use retune::env::Status;
use retune_agents::targets::{Steps, TraceCut, VTrace, VTraceConfig};
use retune_envs::control::cliff_walking;
use retune_envs::finite::Mdp;

/// Value iteration stops at 1e-13; values reach 100.
const TOLERANCE: f64 = 1e-10;
const GAMMA: f64 = 0.9;
/// Steps of the trajectories.
const HORIZON: usize = 3;
/// How a trajectory that goes on is cut: by the rollout, or by a time limit.
const CUTS: [Status; 2] = [Status::Running, Status::Truncated];
const LAMBDAS: [f64; 3] = [0.0, 0.6, 1.0];

const ON_POLICY: &str = "policy evaluation: chain, cliff, bandit";
const OFF_POLICY: &str = "value iteration: off-policy pair";
const TIME_LIMIT: &str = "closed form: time limit, 1/(1 - gamma)";
const ALIASED: &str = "closed form: aliased state";

pub const CHECKS: &[Listed] = &[
    ("discounted returns keep exact values", ON_POLICY, |s| values_stay(s, returns)),
    ("n-step returns keep exact values", ON_POLICY, |s| values_stay(s, n_step)),
    ("TD(lambda) keeps exact values", ON_POLICY, |s| values_stay(s, td_lambda)),
    ("GAE keeps exact values", ON_POLICY, |s| values_stay(s, gae_returns)),
    ("V-trace keeps exact values", ON_POLICY, |s| values_stay(s, v_trace_on_policy)),
    ("GAE advantages are Q - V", ON_POLICY, |s| advantages(s, gae_advantage)),
    ("V-trace advantages are Q - V", ON_POLICY, |s| advantages(s, v_trace_advantage)),
    ("discounted returns across a time limit", TIME_LIMIT, |s| time_limit(s, returns)),
    ("n-step returns across a time limit", TIME_LIMIT, |s| time_limit(s, n_step)),
    ("TD(lambda) across a time limit", TIME_LIMIT, |s| time_limit(s, td_lambda)),
    ("GAE across a time limit", TIME_LIMIT, |s| time_limit(s, gae_returns)),
    ("V-trace across a time limit", TIME_LIMIT, |s| time_limit(s, v_trace_on_policy)),
    ("TD(lambda) between bootstrap and Monte Carlo", ALIASED, aliased_td_lambda),
    ("n-step between bootstrap and Monte Carlo", ALIASED, aliased_n_step),
    ("Q-learning keeps the best values", OFF_POLICY, q_learning),
    ("double Q-learning keeps the best values", OFF_POLICY, double_q_learning),
    ("expected SARSA keeps a policy's values", OFF_POLICY, expected_sarsa),
    ("Watkins' Q(lambda) keeps the best values", OFF_POLICY, q_lambda),
    ("Retrace keeps the target policy's values", OFF_POLICY, retrace),
    ("V-trace without clipping: the target policy", OFF_POLICY, |s| v_trace(s, 1e9)),
    ("V-trace, rho_bar 1: the policy in between", OFF_POLICY, |s| v_trace(s, 1.0)),
];

type Policy = Vec<Vec<f64>>;

/// The same probabilities in every state.
fn everywhere(mdp: &Mdp, row: &[f64]) -> Policy {
    vec![row.to_vec(); mdp.num_states()]
}

fn expected(q: &[f64], policy: &[f64]) -> f64 {
    q.iter().zip(policy).map(|(q, p)| q * p).sum()
}

/// A process with the policy that is followed, and its values.
struct Evaluated {
    mdp: Mdp,
    policy: Policy,
    q: Policy,
}

impl Evaluated {
    fn new(mdp: Mdp, row: &[f64]) -> Result<Self> {
        let policy = everywhere(&mdp, row);
        let q = mdp.q_of(&policy, GAMMA)?;
        Ok(Self { mdp, policy, q })
    }

    fn all() -> Result<[Self; 3]> {
        Ok([
            Self::new(Mdp::chain(4), &[0.3, 0.7])?,
            Self::new(cliff_walking(false), &[0.1, 0.6, 0.2, 0.1])?,
            Self::new(Mdp::two_armed_bandit(), &[0.5, 0.5])?,
        ])
    }

    fn value(&self, state: usize) -> f64 {
        expected(&self.q[state], &self.policy[state])
    }
}

/// What one rollout says about its first step, for every setting of the function: the values of the states and the
/// values that follow come with it.
type Target = fn(&Subjects, &Steps<'_, f64>, &[f64], &[f64]) -> Result<Vec<f64>>;

fn returns(subjects: &Subjects, steps: &Steps<'_, f64>, _: &[f64], following: &[f64]) -> Result<Vec<f64>> {
    Ok(vec![(subjects.discounted_returns)(steps, Some(following), GAMMA)?[0]])
}

fn n_step(subjects: &Subjects, steps: &Steps<'_, f64>, _: &[f64], following: &[f64]) -> Result<Vec<f64>> {
    (1..=HORIZON).map(|n| Ok((subjects.n_step)(steps, following, GAMMA, n)?.returns[0])).collect()
}

fn td_lambda(subjects: &Subjects, steps: &Steps<'_, f64>, _: &[f64], following: &[f64]) -> Result<Vec<f64>> {
    LAMBDAS.iter().map(|&l| Ok((subjects.td_lambda)(steps, following, GAMMA, l)?[0])).collect()
}

fn gae_returns(subjects: &Subjects, steps: &Steps<'_, f64>, values: &[f64], following: &[f64]) -> Result<Vec<f64>> {
    LAMBDAS.iter().map(|&l| Ok((subjects.gae)(steps, values, following, GAMMA, l)?.returns[0])).collect()
}

fn gae_advantage(subjects: &Subjects, steps: &Steps<'_, f64>, values: &[f64], following: &[f64]) -> Result<Vec<f64>> {
    LAMBDAS.iter().map(|&l| Ok((subjects.gae)(steps, values, following, GAMMA, l)?.advantages[0])).collect()
}

fn clipped(lambda: f64, bar: f64) -> VTraceConfig {
    VTraceConfig { gamma: GAMMA, lambda, rho_bar: bar, c_bar: bar, pg_rho_bar: bar }
}

fn v_trace_on_policy(
    subjects: &Subjects,
    steps: &Steps<'_, f64>,
    values: &[f64],
    following: &[f64],
) -> Result<Vec<f64>> {
    let inputs = VTrace { values, following, log_rhos: &vec![0.0; values.len()] };
    LAMBDAS.iter().map(|&l| Ok((subjects.v_trace)(steps, inputs, &clipped(l, 1.0))?.value_targets[0])).collect()
}

fn v_trace_advantage(
    subjects: &Subjects,
    steps: &Steps<'_, f64>,
    values: &[f64],
    following: &[f64],
) -> Result<Vec<f64>> {
    let inputs = VTrace { values, following, log_rhos: &vec![0.0; values.len()] };
    LAMBDAS.iter().map(|&l| Ok((subjects.v_trace)(steps, inputs, &clipped(l, 1.0))?.pg_advantages[0])).collect()
}

/// Expectations of all settings of a target over trajectories.
fn means(subjects: &Subjects, paths: &[Path], target: Target, of: impl Fn(usize) -> f64) -> Result<Vec<f64>> {
    let mut sums = Vec::new();
    for path in paths {
        let steps = path.steps()?;
        let (values, final_values, after) = path.values_around(&of);
        let following = (subjects.following_values)(&steps, &values, &final_values, &after)?;
        let targets = target(subjects, &steps, &values, &following)?;
        sums.resize(targets.len(), 0.0);
        sums.iter_mut().zip(targets).for_each(|(sum, target)| *sum += path.probability * target);
    }
    Ok(sums)
}

fn values_stay(subjects: &Subjects, target: Target) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for process in Evaluated::all()? {
        for (state, cut) in (0..process.mdp.num_states()).flat_map(|s| CUTS.map(|cut| (s, cut))) {
            let paths = paths(&process.mdp, &process.policy, state, None, HORIZON, cut);
            for mean in means(subjects, &paths, target, |s| process.value(s))? {
                found.compare(mean, process.value(state));
            }
        }
    }
    Ok(found)
}

fn advantages(subjects: &Subjects, target: Target) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for process in Evaluated::all()? {
        for (state, cut) in (0..process.mdp.num_states()).flat_map(|s| CUTS.map(|cut| (s, cut))) {
            for (action, q) in process.q[state].iter().enumerate() {
                let paths = paths(&process.mdp, &process.policy, state, Some(action), HORIZON, cut);
                for mean in means(subjects, &paths, target, |s| process.value(s))? {
                    found.compare(mean, q - process.value(state));
                }
            }
        }
    }
    Ok(found)
}

/// The task pays 1 for ever and is cut after three steps, which must not show in its value.
fn time_limit(subjects: &Subjects, target: Target) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    let mdp = Mdp::endless(HORIZON as u64);
    let exact = 1.0 / (1.0 - GAMMA);
    let paths = paths(&mdp, &everywhere(&mdp, &[1.0, 0.0]), 0, None, HORIZON, Status::Truncated);
    for mean in means(subjects, &paths, target, |_| exact)? {
        found.compare(mean, exact);
    }
    Ok(found)
}

/// Two steps that look the same, the second of which pays 1 and ends the episode. Who sees one state gives it one value
/// V, and the mean of the targets of both visits must be V.
fn aliased(
    subjects: &Subjects,
    value: f64,
    target: impl Fn(&Steps<'_, f64>, &[f64]) -> Result<Vec<f64>>,
) -> Result<f64> {
    let status = [Status::Running, Status::Terminated];
    let steps = Steps::new(1, &[0.0, 1.0], &status)?;
    let following = (subjects.following_values)(&steps, &[value; 2], &[1e3; 2], &[1e3])?;
    Ok(target(&steps, &following)?.iter().sum::<f64>() / 2.0)
}

fn aliased_td_lambda(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(1e-12);
    for lambda in LAMBDAS {
        // V = ½ [γ ((1 − λ) V + λ) + 1].
        let exact = (1.0 + GAMMA * lambda) / (2.0 - GAMMA * (1.0 - lambda));
        let mean =
            aliased(subjects, exact, |steps, following| Ok((subjects.td_lambda)(steps, following, GAMMA, lambda)?))?;
        found.compare(mean, exact);
    }
    Ok(found)
}

fn aliased_n_step(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(1e-12);
    for (n, exact) in [(1, 1.0 / (2.0 - GAMMA)), (2, (1.0 + GAMMA) / 2.0)] {
        let mean =
            aliased(subjects, exact, |steps, following| Ok((subjects.n_step)(steps, following, GAMMA, n)?.returns))?;
        found.compare(mean, exact);
    }
    Ok(found)
}

/// Who acts (`behaviour`) and who is to be valued (`target`).
struct Pair {
    mdp: Mdp,
    behaviour: Policy,
    target: Policy,
}

impl Pair {
    fn all() -> [Self; 2] {
        let pair = |mdp: Mdp, behaviour: &[f64], target: &[f64]| Self {
            behaviour: everywhere(&mdp, behaviour),
            target: everywhere(&mdp, target),
            mdp,
        };
        [
            pair(Mdp::chain(3), &[0.6, 0.4], &[0.1, 0.9]),
            pair(cliff_walking(true), &[0.25; 4], &[0.15, 0.65, 0.15, 0.05]),
        ]
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let actions = self.mdp.num_actions();
        (0..self.mdp.num_states()).flat_map(move |s| (0..actions).map(move |a| (s, a)))
    }

    /// Two steps, since a slippery cliff branches twelvefold.
    fn paths(&self, state: usize, action: Option<usize>, cut: Status) -> Vec<Path> {
        paths(&self.mdp, &self.behaviour, state, action, 2, cut)
    }

    fn log_rhos(&self, path: &Path) -> Vec<f64> {
        let pairs = path.states.iter().zip(&path.actions);
        pairs.map(|(&s, &a)| self.target[s][a].ln() - self.behaviour[s][a].ln()).collect()
    }
}

/// The expectation of a one-step target from every pair, compared with `exact`. `value` is what it bootstraps from.
fn one_step(
    subjects: &Subjects,
    exact: impl Fn(&Pair) -> Result<Policy>,
    value: impl Fn(&Pair, usize, &[f64]) -> Option<f64>,
) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for pair in Pair::all() {
        let q = exact(&pair)?;
        for (state, action) in pair.pairs() {
            let paths = paths(&pair.mdp, &pair.behaviour, state, Some(action), 1, Status::Truncated);
            let mean = expectation(&paths, |path| {
                let next = path.states[1];
                let value = value(&pair, next, &q[next]).context("a state without a value")?;
                Ok((subjects.one_step_target)(path.rewards[0], path.status[0], GAMMA, value))
            })?;
            found.compare(mean, q[state][action]);
        }
    }
    Ok(found)
}

fn q_learning(subjects: &Subjects) -> Result<Found> {
    one_step(subjects, |pair| Ok(pair.mdp.optimal_q(GAMMA)?), |_, _, q| (subjects.greedy_value)(q, &[]))
}

fn double_q_learning(subjects: &Subjects) -> Result<Found> {
    one_step(subjects, |pair| Ok(pair.mdp.optimal_q(GAMMA)?), |_, _, q| (subjects.double_value)(q, q, &[]))
}

fn expected_sarsa(subjects: &Subjects) -> Result<Found> {
    let value = |pair: &Pair, state: usize, q: &[f64]| Some((subjects.expected_value)(q, &pair.target[state]));
    one_step(subjects, |pair| Ok(pair.mdp.q_of(&pair.target, GAMMA)?), value)
}

fn q_lambda(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for pair in Pair::all() {
        let q = pair.mdp.optimal_q(GAMMA)?;
        let best = |s: usize| q[s].iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for ((state, action), cut) in pair.pairs().flat_map(|at| CUTS.map(|cut| (at, cut))) {
            let mean = expectation(&pair.paths(state, Some(action), cut), |path| {
                let steps = path.steps()?;
                let (values, ends, after) = path.values_around(best);
                let following = (subjects.following_values)(&steps, &values, &ends, &after)?;
                let rows = path.states[..path.actions.len()].iter().map(|&s| q[s].clone()).collect::<Vec<_>>().concat();
                let actions: Vec<u32> = path.actions.iter().map(|&a| a as u32).collect();
                let cut = TraceCut::Watkins;
                Ok((subjects.q_lambda)(&steps, &rows, &actions, &following, GAMMA, 0.8, cut)?[0])
            })?;
            found.compare(mean, q[state][action]);
        }
    }
    Ok(found)
}

fn retrace(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for pair in Pair::all() {
        let q = pair.mdp.q_of(&pair.target, GAMMA)?;
        let value = |s: usize| (subjects.expected_value)(&q[s], &pair.target[s]);
        for ((state, action), cut) in pair.pairs().flat_map(|at| CUTS.map(|cut| (at, cut))) {
            let mean = expectation(&pair.paths(state, Some(action), cut), |path| {
                let steps = path.steps()?;
                let (values, ends, after) = path.values_around(value);
                let following = (subjects.following_values)(&steps, &values, &ends, &after)?;
                let taken: Vec<f64> = path.states.iter().zip(&path.actions).map(|(&s, &a)| q[s][a]).collect();
                Ok((subjects.retrace)(&steps, &taken, &pair.log_rhos(path), &following, GAMMA, 1.0)?[0])
            })?;
            found.compare(mean, q[state][action]);
        }
    }
    Ok(found)
}

/// Espeholt et al., equation 4: the fixed point is the value of the policy in proportion to `min(ρ̄ μ, π)`.
fn v_trace(subjects: &Subjects, bar: f64) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for pair in Pair::all() {
        let between = |(mu, pi): (&f64, &f64)| (bar * mu).min(*pi);
        let normalized = |weights: Vec<f64>| {
            let total: f64 = weights.iter().sum();
            weights.into_iter().map(|w| w / total).collect()
        };
        let rows = pair.behaviour.iter().zip(&pair.target);
        let policy: Policy = rows.map(|(mu, pi)| normalized(mu.iter().zip(pi).map(between).collect())).collect();
        let q = pair.mdp.q_of(&policy, GAMMA)?;
        let value = |s: usize| expected(&q[s], &policy[s]);
        for (state, cut) in (0..pair.mdp.num_states()).flat_map(|s| CUTS.map(|cut| (s, cut))) {
            let mean = expectation(&pair.paths(state, None, cut), |path| {
                let steps = path.steps()?;
                let (values, ends, after) = path.values_around(value);
                let following = (subjects.following_values)(&steps, &values, &ends, &after)?;
                let inputs = VTrace { values: &values, following: &following, log_rhos: &pair.log_rhos(path) };
                Ok((subjects.v_trace)(&steps, inputs, &clipped(1.0, bar))?.value_targets[0])
            })?;
            found.compare(mean, value(state));
        }
    }
    Ok(found)
}
