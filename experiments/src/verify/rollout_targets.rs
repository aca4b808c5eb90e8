//! Targets of rollouts and of single steps against the golden files.

use super::golden::{Case, TOLERANCE, cases};
use super::{Found, Listed, Subjects};
use anyhow::{Context, Result};
use retune_agents::targets::{Steps, TraceCut, VTrace, VTraceConfig};

const GAE: &str = include_str!("../../../tests/golden/targets/gae.json");
const RETURNS: &str = include_str!("../../../tests/golden/targets/discounted_returns.json");
const N_STEP: &str = include_str!("../../../tests/golden/targets/n_step.json");
const TD_LAMBDA: &str = include_str!("../../../tests/golden/targets/td_lambda.json");
const Q_LAMBDA: &str = include_str!("../../../tests/golden/targets/q_lambda.json");
const RETRACE: &str = include_str!("../../../tests/golden/targets/retrace.json");
const V_TRACE: &str = include_str!("../../../tests/golden/targets/v_trace.json");
const ONE_STEP: &str = include_str!("../../../tests/golden/targets/one_step_targets.json");

/// Where the golden files of targets and losses come from.
pub const SOURCE: &str = "golden: rlax, Stable-Baselines3";

pub const CHECKS: &[Listed] = &[
    ("discounted returns", SOURCE, returns),
    ("generalized advantage estimation", SOURCE, gae),
    ("n-step returns", SOURCE, n_step),
    ("TD(lambda)", SOURCE, td_lambda),
    ("Q(lambda), Watkins and Peng", SOURCE, q_lambda),
    ("Retrace", SOURCE, retrace),
    ("V-trace", SOURCE, v_trace),
    ("SARSA, one step", "golden: plain formulas", |s| one_step(s, "sarsa")),
    ("expected SARSA, one step", "golden: plain formulas", |s| one_step(s, "expected_sarsa")),
    ("Q-learning, one step", "golden: plain formulas", |s| one_step(s, "q_learning")),
    ("double Q-learning, one step", "golden: plain formulas", |s| one_step(s, "double_q_learning")),
];

/// The values that follow each step of a case with state values; those of the states themselves may be missing.
fn following(subjects: &Subjects, steps: &Steps<'_, f64>, case: &Case) -> Result<Vec<f64>> {
    let final_values = case.table("final_values")?;
    let values = if case.has("values") { case.table("values")? } else { final_values.clone() };
    Ok((subjects.following_values)(steps, &values, &final_values, &case.table("last_values")?)?)
}

fn returns(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for case in cases(RETURNS)? {
        let rollout = case.rollout()?;
        let steps = rollout.steps()?;
        let following = following(subjects, &steps, &case)?;
        let following = case.flag("bootstrap").then_some(following.as_slice());
        let got = (subjects.discounted_returns)(&steps, following, case.number("gamma")?)?;
        found.compare_all(&got, &case.expected("returns")?)?;
    }
    Ok(found)
}

fn gae(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for case in cases(GAE)? {
        let rollout = case.rollout()?;
        let steps = rollout.steps()?;
        let following = following(subjects, &steps, &case)?;
        let (gamma, lambda) = (case.number("gamma")?, case.number("gae_lambda")?);
        let got = (subjects.gae)(&steps, &case.table("values")?, &following, gamma, lambda)?;
        found.compare_all(&got.advantages, &case.expected("advantages")?)?;
        found.compare_all(&got.returns, &case.expected("returns")?)?;
    }
    Ok(found)
}

fn n_step(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for case in cases(N_STEP)? {
        let rollout = case.rollout()?;
        let steps = rollout.steps()?;
        let following = following(subjects, &steps, &case)?;
        let got = (subjects.n_step)(&steps, &following, case.number("gamma")?, case.number("n")? as usize)?;
        found.compare_all(&got.reward_sums, &case.expected("reward_sums")?)?;
        found.compare_all(&got.bootstrap_discounts, &case.expected("bootstrap_discounts")?)?;
        found.compare_all(&got.returns, &case.expected("returns")?)?;
    }
    Ok(found)
}

fn td_lambda(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for case in cases(TD_LAMBDA)? {
        let rollout = case.rollout()?;
        let steps = rollout.steps()?;
        let following = following(subjects, &steps, &case)?;
        let got = (subjects.td_lambda)(&steps, &following, case.number("gamma")?, case.number("lambda")?)?;
        found.compare_all(&got, &case.expected("returns")?)?;
    }
    Ok(found)
}

/// `f` of every row of a table of action values.
fn reduced(table: &[f64], width: usize, f: impl Fn(usize, &[f64]) -> Option<f64>) -> Result<Vec<f64>> {
    let rows = table.chunks(width).enumerate();
    rows.map(|(i, row)| f(i, row)).collect::<Option<_>>().context("a state without a value")
}

fn q_lambda(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for case in cases(Q_LAMBDA)? {
        let rollout = case.rollout()?;
        let steps = rollout.steps()?;
        let width = case.width("q_values")?;
        let largest = |key: &str| reduced(&case.table(key)?, width, |_, row| (subjects.greedy_value)(row, &[]));
        let (now, end, last) = (largest("q_values")?, largest("final_q")?, largest("last_q")?);
        let following = (subjects.following_values)(&steps, &now, &end, &last)?;
        let q = case.table("q_values")?;
        let actions: Vec<u32> = case.indices("actions")?.into_iter().map(|a| a as u32).collect();
        let (gamma, lambda) = (case.number("gamma")?, case.number("lambda")?);
        for (cut, name) in [(TraceCut::Watkins, "watkins"), (TraceCut::Peng, "peng")] {
            let got = (subjects.q_lambda)(&steps, &q, &actions, &following, gamma, lambda, cut)?;
            found.compare_all(&got, &case.expected(name)?)?;
        }
    }
    Ok(found)
}

fn retrace(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for case in cases(RETRACE)? {
        let rollout = case.rollout()?;
        let steps = rollout.steps()?;
        let width = case.width("q_values")?;
        let expected = |q: &str, probs: &str| {
            let probs = case.table(probs)?;
            reduced(&case.table(q)?, width, |i, row| Some((subjects.expected_value)(row, &probs[i * width..][..width])))
        };
        let now = expected("q_values", "target_probs")?;
        let (end, last) = (expected("final_q", "final_probs")?, expected("last_q", "last_probs")?);
        let following = (subjects.following_values)(&steps, &now, &end, &last)?;
        let actions = case.indices("actions")?;
        let taken = |key: &str| reduced(&case.table(key)?, width, |i, row| row.get(actions[i]).copied());
        let behaviour = case.table("behaviour_probs")?;
        let log_rhos: Vec<f64> = taken("target_probs")?.iter().zip(&behaviour).map(|(p, b)| p.ln() - b.ln()).collect();
        let (gamma, lambda) = (case.number("gamma")?, case.number("lambda")?);
        let got = (subjects.retrace)(&steps, &taken("q_values")?, &log_rhos, &following, gamma, lambda)?;
        found.compare_all(&got, &case.expected("targets")?)?;
    }
    Ok(found)
}

fn v_trace(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for case in cases(V_TRACE)? {
        let rollout = case.rollout()?;
        let steps = rollout.steps()?;
        let following = following(subjects, &steps, &case)?;
        let (values, log_rhos) = (case.table("values")?, case.table("log_rhos")?);
        let config = VTraceConfig {
            gamma: case.number("gamma")?,
            lambda: case.number("lambda")?,
            rho_bar: case.number("rho_bar")?,
            c_bar: case.number("c_bar")?,
            pg_rho_bar: case.number("pg_rho_bar")?,
        };
        let inputs = VTrace { values: &values, following: &following, log_rhos: &log_rhos };
        let got = (subjects.v_trace)(&steps, inputs, &config)?;
        found.compare_all(&got.value_targets, &case.expected("value_targets")?)?;
        found.compare_all(&got.pg_advantages, &case.expected("pg_advantages")?)?;
    }
    Ok(found)
}

fn one_step(subjects: &Subjects, name: &str) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for case in cases(ONE_STEP)? {
        let width = case.width("q_next")?;
        let (online, target, probs) = (case.table("q_next")?, case.table("q_next_target")?, case.table("next_probs")?);
        let (next, rewards, status) = (case.indices("next_actions")?, case.table("rewards")?, case.status()?);
        let expected = case.expected(name)?;
        for (i, &reward) in rewards.iter().enumerate() {
            let row = |table: &[f64]| table[i * width..][..width].to_vec();
            let value = match name {
                "sarsa" => row(&target).get(next[i]).copied(),
                "expected_sarsa" => Some((subjects.expected_value)(&row(&target), &row(&probs))),
                "q_learning" => (subjects.greedy_value)(&row(&target), &[]),
                _ => (subjects.double_value)(&row(&online), &row(&target), &[]),
            };
            let value = value.context("a state without a value")?;
            found.compare((subjects.one_step_target)(reward, status[i], case.number("gamma")?, value), expected[i]);
        }
    }
    Ok(found)
}
