//! Measuring agents and references on the same users.

use super::world::{Items, StudyEnv, World};
use crate::study::Measurement;
use retune::agent::{Actor, Mode, Snapshot, Stop};
use retune::env::{CandidateObs, Slate, Status};
use retune::rollout::{Evaluation, Observed, evaluate};
use retune::{Error, Result};
use retune_envs::rec_sim::interest_evolution::{EvolutionModel, Planner};
use retune_envs::rec_sim::reference::{Myopic, Random, ReferencePolicy, TopQuality};
use retune_envs::rec_sim::{Metrics, Sim, Summary};
use std::sync::Arc;

/// Discount of `discounted_return`, that of the SlateQ paper.
const GAMMA: f64 = 0.99;

/// Movement of the planner's worth of a minute below which its search ends, minutes per minute. A hundredth moves the
/// planner's return by less than its standard error.
const PLANNER_TOLERANCE: f64 = 0.01;

/// Users of one round of the planner's search; its return then has a standard error below two percent.
pub const PLANNER_USERS: usize = 400;

/// Lets the agent behind `snapshot` serve the given users. Leaves no trace in training.
///
/// # Errors
/// As [`evaluate`].
pub fn measure_agent(
    world: &World,
    items: Items,
    actor: &mut dyn Actor<CandidateObs, Slate>,
    snapshot: &Arc<Snapshot>,
    users: &[u64],
    batch: usize,
    stop: &Stop,
) -> Result<Measurement> {
    let mut metrics = Metrics::new(&Sim::new(world.model(items)?.clone()), GAMMA);
    let mut observer = |seen: Observed<'_, StudyEnv>| {
        let last = seen.env.inner().sim().last_step();
        metrics.record(seen.episode, last.ok_or_else(|| Error::State("a step left no facts".to_owned()))?);
        if seen.step.status.is_over() {
            let truncated = seen.step.status == Status::Truncated;
            metrics.finish_episode(seen.episode, users[seen.episode], truncated);
        }
        Ok(())
    };
    let evaluation = Evaluation { seeds: users, batch, mode: Mode::Evaluate, time_limit: None };
    evaluate(|_| world.env(items), actor, snapshot, &evaluation, stop, &mut observer)?;
    Ok(measurement(&metrics.summary()))
}

/// Lets a reference policy serve the given users.
///
/// # Errors
/// If there is no reference of that name, or it fails; [`Error::Interrupted`] between two users if asked to stop.
pub fn measure_reference(world: &World, items: Items, name: &str, users: &[u64], stop: &Stop) -> Result<Measurement> {
    let mut sim = Sim::new(world.model(items)?.clone());
    let mut policy = reference(world, items, name)?;
    let watched = users.iter().copied().take_while(|_| !stop.is_requested());
    let metrics = retune_envs::rec_sim::evaluate(&mut sim, policy.as_mut(), watched, world.time_limit(), GAMMA)?;
    stop.check()?;
    Ok(measurement(&metrics.summary()))
}

fn reference(world: &World, items: Items, name: &str) -> Result<Box<dyn ReferencePolicy<EvolutionModel>>> {
    match name {
        "random" => Ok(Box::new(Random)),
        "myopic" => Ok(Box::new(Myopic)),
        "top_quality" => Ok(Box::new(TopQuality)),
        "planner" => Ok(Box::new(world.planner(items)?)),
        _ => Err(Error::State(format!("there is no reference policy {name}"))),
    }
}

/// The planner for these items, with the worth of a minute that it earns itself.
///
/// # Errors
/// If the user model has no planner.
pub fn plan(model: &EvolutionModel, users: &[u64]) -> Result<Planner> {
    Ok(Planner::fixed_point(model, users, PLANNER_TOLERANCE)?)
}

fn measurement(summary: &Summary) -> Measurement {
    let all = [
        ("episode_return_se", summary.episode_return.se),
        ("discounted_return", summary.discounted_return.mean),
        ("episode_length", summary.episode_length.mean),
        ("ctr", summary.ctr.mean),
        ("mean_quality", summary.mean_quality.mean),
        ("topics_consumed", summary.topics_consumed.mean),
        ("topic_entropy", summary.topic_entropy.mean),
        ("slate_diversity", summary.slate_diversity.mean),
        ("coverage", summary.coverage),
        ("coverage_consumed", summary.coverage_consumed),
        ("gini", summary.gini),
    ];
    let metrics = all.into_iter().filter(|(_, v)| v.is_finite()).map(|(k, v)| (k.to_owned(), v)).collect();
    Measurement { episode_return: summary.episode_return.mean, metrics, details: serde_json::Value::Null }
}
