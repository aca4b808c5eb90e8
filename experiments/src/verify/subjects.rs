//! What the checks examine.

use anyhow::Result;
use retune::agent::{Agent, Stop};
use retune::env::Env;
use retune::replay::{Priorities, PriorityConfig};
use retune::rng::Seed;
use retune::rollout::{Runner, RunnerConfig};
use retune::slate::{ItemValues, SlateRule};
use retune_agents::losses::{Support, cross_entropy, quantile_huber};
use retune_agents::tabular::{TabularAgent, TabularConfig};
use retune_agents::targets::{
    Advantages, Steps, TraceCut, VTrace, VTraceConfig, VTraceTargets, discounted_returns, double_value, expected_value,
    following_values, gae, greedy_value, n_step, one_step_target, q_lambda, retrace, td_lambda, v_trace,
};

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
            train,
        }
    }
}

fn sums(steps: &Steps<'_, f64>, following: &[f64], gamma: f64, n: usize) -> Core<Sums> {
    let sums = n_step(steps, gamma, n);
    let returns = sums.returns(steps, following)?;
    Ok(Sums { reward_sums: sums.reward_sums, bootstrap_discounts: sums.bootstrap_discounts, returns })
}

fn train(config: &TabularConfig, make: &dyn Fn() -> NumberedEnv, steps: usize) -> Result<Vec<f64>> {
    let seed = Seed::root(1);
    let stop = Stop::new();
    let mut agent = TabularAgent::new(config, make().spec(), &seed.child("agent"))?;
    let slots = RunnerConfig { num_envs: 2, shard_size: 2, steps_per_round: 1, actors: 0 };
    let mut runner = Runner::new(|_| Ok(make()), || agent.make_actor(), &slots, seed, &stop)?;
    for _ in 0..steps {
        let snapshot = agent.learner().snapshot(&[])?;
        let (rollout, _) = runner.collect(&snapshot)?;
        agent.learner().learn(rollout, &stop)?;
    }
    Ok(agent.tabular().acting_values().values().to_vec())
}
