//! Policies without learning as arms.

use super::decisions::{Decisions, Shared, situation};
use super::exact::Exact;
use super::measure::{Details, Played, accuracy_at_k, measurement};
use super::world::{Patients, World};
use crate::study::{Measurement, TrialSeeds};
use retune::agent::Stop;
use retune::env::Env;
use retune::rng::Seed;
use retune::{Error, Result};
use retune_envs::diag_query::baselines::{
    ExpectedUtility, GreedyGain, Lookahead, Policy, RandomQuestions, Situation, StaticOrder, Task,
};
use retune_envs::diag_query::composite::{Composite, CompositeModel};
use retune_envs::diag_query::env::{Act, Asked, DiagQuery};
use retune_envs::diag_query::gain::Channel;
use retune_envs::diag_query::model::{Belief, Model};
use retune_envs::diag_query::problem::Problem;
use std::sync::Arc;

/// Never sure enough.
const NEVER: f64 = 2.0;

/// A reference at work on one problem.
struct Player<'a> {
    problem: &'a Arc<Problem>,
    env: DiagQuery,
    task: Task,
    model: Arc<dyn Model>,
    /// Of this planner in all seeds.
    decisions: Arc<Decisions>,
}

/// How many cases are played for what.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Cases of the final evaluation.
    pub test: usize,
    /// Cases by which θ is chosen.
    pub validation: usize,
    /// Cases to tell.
    pub stories: usize,
}

/// What a reference is measured on.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// What all seeds share.
    pub world: &'a World,
    /// The patients of a seed.
    pub patients: &'a Patients,
    /// Those of them that are played: the test, or what is held out.
    pub problem: &'a Arc<Problem>,
    /// Where expectations over `problem` can be taken.
    pub exact: Option<&'a Exact>,
    /// What planners have decided before.
    pub decisions: &'a Shared,
}

/// Plays a reference. One that does not stop by itself declares once `max p ≥ θ`, θ chosen for the highest return on
/// validation cases.
///
/// # Errors
/// If there is no reference of that name or an environment fails; [`Error::Interrupted`] between two cases if asked to
/// stop.
pub fn measure(ground: Ground<'_>, name: &str, seeds: &TrialSeeds, sizes: Sizes, stop: &Stop) -> Result<Measurement> {
    let Ground { world, patients, problem, exact, decisions } = ground;
    let free = name == "bayes_all";
    let test_seeds = patients.test_seeds(&seeds.test(sizes.test), &seeds.test_stream());
    let t_max = if free { problem.findings.len() } else { world.t_max() };
    let attached = problem.model.as_ref().ok_or_else(|| Error::State("a planner needs a model".to_owned()))?;
    let decisions = decisions.of(name, attached);
    let mut player = Player::new(world, problem, patients, name, free, Arc::clone(&decisions))?;
    let mut played = player.play(name, &test_seeds, stop)?;
    let without_stopping = accuracy_at_k(&played, t_max);
    let mut theta = None;
    if !stops_itself(name) {
        let mut chooser = Player::new(world, &patients.validation, patients, name, free, decisions)?;
        let validation = chooser.play(name, &seeds.validation(sizes.validation), stop)?;
        let chosen = best_threshold(&validation, &player.task);
        played.iter_mut().for_each(|p| cut(p, chosen, &player.task));
        theta = Some(chosen);
    }
    let (mut found, details) = measurement(player.problem, &played, t_max, sizes.stories)?;
    let lambda = Some(world.lambda());
    let details = Details { theta, lambda, accuracy_at_k_without_stopping: without_stopping, ..details };
    found.details = serde_json::to_value(details).map_err(|e| Error::State(e.to_string()))?;
    // What draws at random is not what it is worth in one run, and what sees everything plays another game; the model
    // of naive Bayes is not that of the problem.
    if let Some(exact) = exact.filter(|_| !matches!(name, "random" | "bayes_all" | "naive_bayes_gain")) {
        let mut policy = policy(name, player.model.as_ref(), 0)?;
        let value = exact.of_policy(name, policy.as_mut(), theta.unwrap_or(NEVER), stop)?;
        found.metrics.extend(exact.measures(value.as_ref(), &played));
    }
    found.metrics.extend(theta.filter(|t| *t <= 1.0).map(|t| ("threshold".to_owned(), t)));
    Ok(found)
}

fn stops_itself(name: &str) -> bool {
    matches!(name, "utility_1" | "utility_2" | "bayes_all" | "declare_now")
}

impl<'a> Player<'a> {
    fn new(
        world: &World,
        problem: &'a Arc<Problem>,
        patients: &Patients,
        name: &str,
        free: bool,
        decisions: Arc<Decisions>,
    ) -> Result<Self> {
        let env = world.planning(problem, free)?;
        let attached = problem.model.clone().ok_or_else(|| Error::State("a planner needs a model".to_owned()))?;
        let model: Arc<dyn Model> = match name {
            "naive_bayes_gain" => {
                let of = CompositeModel::naive_bayes_of(attached.as_ref()).map_err(|e| Error::State(e.to_string()))?;
                Arc::new(Composite::new(of))
            }
            "bayes_all" => Arc::clone(&patients.best),
            _ => attached,
        };
        Ok(Self { problem, task: env.task(), env, model, decisions })
    }

    fn play(&mut self, name: &str, seeds: &[u64], stop: &Stop) -> Result<Vec<Played>> {
        let mut played = Vec::with_capacity(seeds.len());
        for &seed in seeds {
            stop.check()?;
            let mut policy = policy(name, self.model.as_ref(), seed)?;
            let remembers = !matches!(name, "random" | "declare_now" | "bayes_all" | "static_order");
            played.push(self.play_one(policy.as_mut(), remembers, seed)?);
        }
        Ok(played)
    }

    fn play_one(&mut self, policy: &mut dyn Policy, remembers: bool, seed: u64) -> Result<Played> {
        let mut mask = self.env.reset(Some(seed))?.mask;
        let mut belief = self.model.begin();
        for asked in self.env.asked() {
            enter(belief.as_mut(), &self.task, asked);
        }
        let mut played = Played {
            case: self.env.case().cloned().ok_or_else(|| Error::State("an episode without a patient".to_owned()))?,
            asked: self.env.asked().to_vec(),
            costs: Vec::new(),
            posteriors: vec![belief.posterior().to_vec()],
            declared: 0,
            episode_return: 0.0,
        };
        loop {
            let open: Vec<usize> = (0..self.task.states.len()).filter(|&i| mask[i]).collect();
            let left = self.env.config().t_max.saturating_sub(played.costs.len());
            let chosen = if open.is_empty() {
                None
            } else if remembers {
                let (task, model) = (&self.task, &self.model);
                self.decisions.of(situation(&played.asked), |known| {
                    // An answer that contradicts those before it is left out, so a belief may depend on their order; a
                    // decision that others go by must not.
                    let mut belief = model.begin();
                    known.iter().for_each(|asked| enter(belief.as_mut(), task, asked));
                    policy.choose(Situation { task, belief: belief.as_mut(), open: &open, left })
                })
            } else {
                policy.choose(Situation { task: &self.task, belief: belief.as_mut(), open: &open, left })
            };
            let Some(finding) = chosen else { break };
            mask = self.env.step(&self.env.candidate(Act::Ask(finding)))?.obs.mask;
            let asked = *self.env.asked().last().ok_or_else(|| Error::State("a question left no trace".to_owned()))?;
            enter(belief.as_mut(), &self.task, &asked);
            played.asked.push(asked);
            played.costs.push(self.task.costs[finding]);
            played.posteriors.push(belief.posterior().to_vec());
        }
        settle(&mut played, &self.task);
        Ok(played)
    }
}

/// Takes in an answer, one that was given as it is; one that the model holds to be impossible leaves the belief as it was.
fn enter(belief: &mut dyn Belief, task: &Task, asked: &Asked) {
    if let Some(answer) = asked.reply {
        let channel = if asked.given { &Channel::exact() } else { &task.channel };
        let likelihood = channel.likelihood(asked.finding, task.states[asked.finding], answer);
        belief.observe(asked.finding, &likelihood).unwrap_or_default();
    }
}

/// Declares by the last belief.
fn settle(played: &mut Played, task: &Task) {
    let Some(last) = played.posteriors.last() else { return };
    played.declared = task.declare(last).0;
    let utility = task.utilities.of(played.case.diagnosis, played.declared);
    played.episode_return = utility - task.lambda * played.costs.iter().sum::<f64>();
}

/// Ends the episode where the likeliest diagnosis first has at least `theta`.
fn cut(played: &mut Played, theta: f64, task: &Task) {
    let sure = |p: &Vec<f64>| p.iter().any(|x| *x >= theta);
    let Some(at) = played.posteriors.iter().position(sure) else { return };
    let given = played.asked.iter().filter(|a| a.given).count();
    played.posteriors.truncate(at + 1);
    played.costs.truncate(at);
    played.asked.truncate(given + at);
    settle(played, task);
}

/// The threshold of the highest mean return; among equals the lowest.
fn best_threshold(played: &[Played], task: &Task) -> f64 {
    let fine = (0..=98).map(|i| f64::from(i) / 100.0).chain([0.985, 0.99, 0.995, 0.999, 0.9999, NEVER]);
    let value = |theta: f64| {
        let mut cases = played.to_vec();
        cases.iter_mut().for_each(|p| cut(p, theta, task));
        cases.iter().map(|p| p.episode_return).sum::<f64>()
    };
    let mut best = (NEVER, f64::NEG_INFINITY);
    for theta in fine {
        let value = value(theta);
        if value > best.1 + 1e-9 {
            best = (theta, value);
        }
    }
    best.0
}

/// Asks nothing.
struct Nothing;

impl Policy for Nothing {
    fn choose(&mut self, _: Situation<'_>) -> Option<usize> {
        None
    }
}

/// Asks everything, in the order of the findings.
struct Everything;

impl Policy for Everything {
    fn choose(&mut self, situation: Situation<'_>) -> Option<usize> {
        situation.open.first().copied()
    }
}

fn policy(name: &str, model: &dyn Model, seed: u64) -> Result<Box<dyn Policy>> {
    Ok(match name {
        "random" => Box::new(RandomQuestions::new(Seed::root(seed).child("questions").rng())),
        "static_order" => Box::new(StaticOrder::by_gain(model)),
        "greedy_gain" | "naive_bayes_gain" => Box::new(GreedyGain::default()),
        "gain_per_cost" => Box::new(GreedyGain { per_cost: true, ..GreedyGain::default() }),
        "utility_1" => Box::new(ExpectedUtility { steps: 1 }),
        "utility_2" => Box::new(ExpectedUtility { steps: 2 }),
        "lookahead_2" => Box::new(Lookahead { depth: 2 }),
        "lookahead_3" => Box::new(Lookahead { depth: 3 }),
        "bayes_all" => Box::new(Everything),
        "declare_now" => Box::new(Nothing),
        _ => return Err(Error::State(format!("there is no reference policy {name}"))),
    })
}
