//! Targets from the experience of another policy: Retrace and V-trace.

use super::returns::after;
use super::steps::narrowed;
use super::{Real, Steps};
use retune::Result;

/// Retrace(λ) targets for Q(s_t, a_t) (Munos et al., arXiv:1606.02647, equation 4):
/// `G_t = r_t + γ v'_t + γ c_{t+1} (1 − e_t) (G_{t+1} − Q(s_{t+1}, a_{t+1}))`, `c = λ min(1, π(a|s) / μ(a|s))`.
///
/// # Shapes
/// All `[num_steps, num_envs]`: `q_taken`, the values of the actions taken; `log_rhos`, their `ln π(a|s) − ln μ(a|s)`;
/// `following`, the expectation under π of the values of the state that follows each step.
///
/// # Errors
/// [`retune::Error::State`] if a table has another shape.
pub fn retrace<T: Real>(
    steps: &Steps<'_, T>,
    q_taken: &[T],
    log_rhos: &[T],
    following: &[T],
    gamma: f64,
    lambda: f64,
) -> Result<Vec<T>> {
    steps.require("q_taken", q_taken.len(), steps.len())?;
    steps.require("log_rhos", log_rhos.len(), steps.len())?;
    steps.require("following", following.len(), steps.len())?;
    let targets = steps.backward(|i, later| {
        let correction = match (later, steps.next(i)) {
            (Some(later), Some(next)) => lambda * log_rhos[next].wide().exp().min(1.0) * (later - q_taken[next].wide()),
            _ => 0.0,
        };
        steps.reward(i) + gamma * after(steps, following, i) + gamma * correction
    });
    Ok(narrowed(&targets))
}

/// Settings of V-trace. Defaults: all 1, as in the paper's experiments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VTraceConfig {
    /// Discount per env step.
    pub gamma: f64,
    /// λ of remark 2, in [0, 1].
    pub lambda: f64,
    /// ρ̄: decides which policy the values belong to; above 0.
    pub rho_bar: f64,
    /// c̄: decides how fast they get there; above 0.
    pub c_bar: f64,
    /// ρ̄ of the policy gradient; above 0.
    pub pg_rho_bar: f64,
}

/// Targets and advantages of V-trace.
#[derive(Clone, Debug, PartialEq)]
pub struct VTraceTargets<T> {
    /// Targets of the value function, `[num_steps, num_envs]`.
    pub value_targets: Vec<T>,
    /// Advantages of the actions taken, importance weight included, `[num_steps, num_envs]`.
    pub pg_advantages: Vec<T>,
}

/// Inputs of V-trace, `[num_steps, num_envs]` each.
#[derive(Clone, Copy, Debug)]
pub struct VTrace<'a, T> {
    /// `V(s_t)` under the learner.
    pub values: &'a [T],
    /// The values that follow each step, as [`super::following_values`] makes them.
    pub following: &'a [T],
    /// `ln π(a|s) − ln μ(a|s)` of the actions taken.
    pub log_rhos: &'a [T],
}

/// V-trace (Espeholt et al., arXiv:1802.01561, equation 1 and remark 1; λ of remark 2), ρ = exp(`log_rhos`):
/// `δ_t = min(ρ̄, ρ_t) (r_t + γ v'_t − V_t)`,
/// `target_t − V_t = δ_t + γ λ min(c̄, ρ_t) (1 − e_t) (target_{t+1} − V_{t+1})`,
/// `advantage_t = min(ρ̄_pg, ρ_t) (r_t + γ u_t − V_t)`, where `u_t` is `target_{t+1}`, or `v'_t` at the end of an
/// episode and at the last step.
///
/// # Errors
/// [`retune::Error::State`] if a table has another shape.
pub fn v_trace<T: Real>(
    steps: &Steps<'_, T>,
    inputs: VTrace<'_, T>,
    config: &VTraceConfig,
) -> Result<VTraceTargets<T>> {
    let VTrace { values, following, log_rhos } = inputs;
    steps.require("values", values.len(), steps.len())?;
    steps.require("following", following.len(), steps.len())?;
    steps.require("log_rhos", log_rhos.len(), steps.len())?;
    let gamma = config.gamma;
    let rho = |i: usize| log_rhos[i].wide().exp();
    let error = |i: usize, next: f64| steps.reward(i) + gamma * next - values[i].wide();
    let corrections = steps.backward(|i, later| {
        let delta = rho(i).min(config.rho_bar) * error(i, after(steps, following, i));
        delta + gamma * config.lambda * rho(i).min(config.c_bar) * later.unwrap_or(0.0)
    });
    let target = |i: usize| values[i].wide() + corrections[i];
    let advantage = |i: usize| {
        let next = steps.next(i).map_or_else(|| after(steps, following, i), target);
        T::narrow(rho(i).min(config.pg_rho_bar) * error(i, next))
    };
    Ok(VTraceTargets {
        value_targets: (0..steps.len()).map(|i| T::narrow(target(i))).collect(),
        pg_advantages: (0..steps.len()).map(advantage).collect(),
    })
}
