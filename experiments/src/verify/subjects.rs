//! What the checks examine.

use super::train;
use anyhow::Result;
use retune::env::Env;
use retune::replay::{Priorities, PriorityConfig};
use retune::slate::{ItemValues, SlateRule};
use retune_agents::dqn::DqnConfig;
use retune_agents::losses::{Support, cross_entropy, quantile_huber};
use retune_agents::net::NetConfig;
use retune_agents::policy_gradient::Recipe;
use retune_agents::sac::SacConfig;
use retune_agents::tabular::TabularConfig;
use retune_agents::targets::{
    Advantages, Steps, TraceCut, VTrace, VTraceConfig, VTraceTargets, discounted_returns, double_value, expected_value,
    following_values, gae, greedy_value, n_step, one_step_target, q_lambda, retrace, td_lambda, v_trace,
};
use retune_agents::top_k_reinforce::{importance_weight, multiplier, slate_multiplier};
use retune_envs::finite::Mdp;

type Core<T> = retune::Result<T>;

/// An environment of numbered states and actions.
pub type NumberedEnv = Box<dyn Env<Obs = u32, Action = u32>>;

/// n-step sums.
pub struct Sums {
    /// Sums of discounted rewards.
    pub reward_sums: Vec<f64>,
    /// Factors of the values that follow them.
    pub bootstrap_discounts: Vec<f64>,
    /// Both together.
    pub returns: Vec<f64>,
}

/// The functions under examination, each as the agents use it. See [`retune_agents::targets`],
/// [`retune_agents::losses`] and [`retune::slate`] for what they are.
#[derive(Clone)]
#[expect(clippy::type_complexity, reason = "these are the signatures of the functions under examination")]
pub struct Subjects {
    pub following_values: fn(&Steps<'_, f64>, &[f64], &[f64], &[f64]) -> Core<Vec<f64>>,
    pub discounted_returns: fn(&Steps<'_, f64>, Option<&[f64]>, f64) -> Core<Vec<f64>>,
    pub gae: fn(&Steps<'_, f64>, &[f64], &[f64], f64, f64) -> Core<Advantages<f64>>,
    pub n_step: fn(&Steps<'_, f64>, &[f64], f64, usize) -> Core<Sums>,
    pub td_lambda: fn(&Steps<'_, f64>, &[f64], f64, f64) -> Core<Vec<f64>>,
    pub q_lambda: fn(&Steps<'_, f64>, &[f64], &[u32], &[f64], f64, f64, TraceCut) -> Core<Vec<f64>>,
    pub retrace: fn(&Steps<'_, f64>, &[f64], &[f64], &[f64], f64, f64) -> Core<Vec<f64>>,
    pub v_trace: fn(&Steps<'_, f64>, VTrace<'_, f64>, &VTraceConfig) -> Core<VTraceTargets<f64>>,
    pub one_step_target: fn(f64, retune::env::Status, f64, f64) -> f64,
    pub greedy_value: fn(&[f64], &[bool]) -> Option<f64>,
    pub double_value: fn(&[f64], &[f64], &[bool]) -> Option<f64>,
    pub expected_value: fn(&[f64], &[f64]) -> f64,
    pub project: fn(&Support, f64, f64, &[f64], &mut [f64]),
    pub cross_entropy: fn(&[f64], &[f64], &mut [f64]) -> f64,
    pub quantile_huber: fn(&[f64], &[f64], f64, &mut [f64]) -> f64,
    pub priorities: fn(PriorityConfig, usize) -> Priorities,
    pub slate_value: fn(&ItemValues<'_>, &[u32]) -> f64,
    /// The slate that a rule puts together.
    pub select: fn(&ItemValues<'_>, SlateRule, usize) -> Result<Vec<u32>>,
    /// Trains a tabular agent for a number of env steps in each of two slots, and returns its values row by row.
    pub train: fn(&TabularConfig, &dyn Fn() -> NumberedEnv, usize) -> Result<Vec<f64>>,
    /// λ_K of the top-K correction.
    pub top_k_multiplier: fn(f64, usize) -> f64,
    /// The same for items of whole slates.
    pub top_k_slate_multiplier: fn(f64, usize) -> f64,
    /// Capped importance weight from two log-probabilities.
    pub importance_weight: fn(f64, f64, f64) -> f64,
    /// Trains a deep value agent for a number of env steps on an environment with so many states, and returns its
    /// values state by state.
    pub train_values: fn(&DqnConfig, &dyn Fn() -> NumberedEnv, usize, u64) -> Result<Vec<f64>>,
    /// Trains a policy for a number of env steps on a process of one state and two actions, and returns the
    /// probability of the second.
    pub train_policy: fn(&NetConfig, &Recipe, &Mdp, u64) -> Result<f64>,
    /// The same for soft actor-critic.
    pub train_sac: fn(&SacConfig, &Mdp, u64) -> Result<f64>,
}

impl Default for Subjects {
    fn default() -> Self {
        Self {
            following_values: following_values::<f64>,
            discounted_returns: discounted_returns::<f64>,
            gae: gae::<f64>,
            n_step: sums,
            td_lambda: td_lambda::<f64>,
            q_lambda: q_lambda::<f64>,
            retrace: retrace::<f64>,
            v_trace: v_trace::<f64>,
            one_step_target,
            greedy_value: greedy_value::<f64>,
            double_value: double_value::<f64>,
            expected_value: expected_value::<f64>,
            project: Support::project::<f64>,
            cross_entropy: cross_entropy::<f64>,
            quantile_huber: quantile_huber::<f64>,
            priorities: Priorities::new,
            slate_value: |items, slate| items.value(slate),
            select: |items, rule, size| Ok(items.select(rule, size)?.0),
            train: train::tabular,
            top_k_multiplier: multiplier,
            top_k_slate_multiplier: slate_multiplier,
            importance_weight,
            train_values: train::values,
            train_policy: train::policy,
            train_sac: train::sac,
        }
    }
}

fn sums(steps: &Steps<'_, f64>, following: &[f64], gamma: f64, n: usize) -> Core<Sums> {
    let sums = n_step(steps, gamma, n);
    let returns = sums.returns(steps, following)?;
    Ok(Sums { reward_sums: sums.reward_sums, bootstrap_discounts: sums.bootstrap_discounts, returns })
}
