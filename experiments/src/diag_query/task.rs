//! Training and measuring on patients.

use super::exact::Exact;
use super::measure::{Details, Played, measurement};
use super::prepared::{HELD_OUT, RENAMED, SPLIT};
use super::world::{Patients, World};
use crate::study::{Measurement, Task, TaskActor, TrialSeeds, measure_returns};
use retune::agent::{Mode, Snapshot, Stop};
use retune::env::TextId;
use retune::rollout::{Evaluation, Observed, evaluate};
use retune::{Error, Result};
use retune_agents::inquirer::with_threshold;
use retune_envs::diag_query::env::{Act, DiagQuery, View};
use retune_envs::diag_query::problem::Problem;
use std::sync::Arc;

/// The patients of a seed, as an agent with one view meets them.
pub struct QueryTask<'a> {
    /// What all seeds share.
    pub world: &'a World,
    /// The patients.
    pub patients: &'a Patients,
    /// Where expectations can be taken.
    pub exact: Option<&'a Exact>,
    /// What the agent sees.
    pub view: View,
    /// The streams of the seed.
    pub seeds: TrialSeeds,
    /// Cases that a measurement plays side by side.
    pub batch: usize,
    /// Cases by which a stopping threshold is chosen.
    pub validation: usize,
    /// Cases to tell after the final evaluation.
    pub stories: usize,
}

/// Stopping thresholds to choose from: finer where classifiers are sure. At 0 nothing is asked, at 1 everything.
const THRESHOLDS: [f64; 20] = [
    0.0, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.84, 0.88, 0.91, 0.94, 0.96, 0.975, 0.985, 0.993, 0.998, 1.0,
];

impl QueryTask<'_> {
    fn play(
        &self,
        (problem, renamed): (&Arc<Problem>, bool),
        actor: &mut TaskActor<Self>,
        snapshot: &Arc<Snapshot>,
        episodes: &[u64],
        stop: &Stop,
    ) -> Result<Vec<Played>> {
        let (prior, mut cases): (_, Vec<Option<Played>>) = (self.prior(problem), vec![None; episodes.len()]);
        let mut observer = |seen: Observed<'_, DiagQuery>| {
            let env = seen.env;
            let case = env.case().ok_or_else(|| Error::State("an episode without a patient".to_owned()))?;
            let played = cases[seen.episode].get_or_insert_with(|| Played {
                case: case.clone(),
                asked: Vec::new(),
                costs: Vec::new(),
                posteriors: Vec::new(),
                declared: 0,
                episode_return: 0.0,
            });
            let posterior = || env.posterior().map_or_else(Vec::new, <[f64]>::to_vec);
            if let Some(Act::Ask(finding)) = seen.action.0.first().and_then(|&c| env.act(c as usize)) {
                played.costs.push(env.finding_cost(finding));
                played.posteriors.push(posterior());
            }
            if seen.step.status.is_over() {
                played.asked = env.asked().to_vec();
                played.declared = env.declared().unwrap_or_default();
                played.episode_return = env.unshaped_return();
                let first = self.first(&prior, env, episodes[seen.episode])?;
                played.posteriors.insert(0, first);
            }
            Ok(())
        };
        let evaluation = Evaluation { seeds: episodes, batch: self.batch, mode: Mode::Evaluate, time_limit: None };
        let env = |_| self.world.measuring(problem, self.view, renamed);
        evaluate(env, actor, snapshot, &evaluation, stop, &mut observer)?;
        Ok(cases.into_iter().flatten().collect())
    }

    /// Parameters with the stopping threshold of the highest mean return on validation cases, among equals the lowest,
    /// and that threshold; as they are if their agent has none. Planners get theirs in the same way.
    fn tuned(
        &self,
        actor: &mut TaskActor<Self>,
        snapshot: &Arc<Snapshot>,
        stop: &Stop,
    ) -> Result<(Arc<Snapshot>, Option<f64>)> {
        let (episodes, mut best) = (self.seeds.validation(self.validation), None::<(f64, Arc<Snapshot>, f64)>);
        for threshold in THRESHOLDS {
            let Some(changed) = with_threshold(snapshot, threshold)? else { break };
            let changed = Arc::new(changed);
            let env = |_| self.world.tuning(self.patients, self.view);
            let found = measure_returns(env, actor, &changed, &episodes, self.batch, None, stop)?.episode_return;
            if best.as_ref().is_none_or(|(.., value)| found > *value) {
                best = Some((threshold, changed, found));
            }
        }
        Ok(best.map_or_else(|| (Arc::clone(snapshot), None), |(threshold, changed, _)| (changed, Some(threshold))))
    }

    /// The belief of the attached model before any answer.
    fn prior(&self, problem: &Arc<Problem>) -> Vec<f64> {
        problem.model.as_ref().map_or_else(Vec::new, |model| model.begin().posterior().to_vec())
    }

    /// The belief before the first question.
    fn first(&self, prior: &[f64], env: &DiagQuery, seed: u64) -> Result<Vec<f64>> {
        if env.asked().iter().all(|asked| !asked.given) {
            return Ok(prior.to_vec());
        }
        let mut again = self.world.measuring(env.problem(), self.view, false)?;
        retune::env::Env::reset(&mut again, Some(seed))?;
        Ok(again.posterior().map_or_else(Vec::new, <[f64]>::to_vec))
    }
}

impl Task for QueryTask<'_> {
    type Env = DiagQuery;

    fn env(&self) -> Result<DiagQuery> {
        self.world.training(self.patients, self.view)
    }

    fn texts(&self, split: &str) -> Result<Vec<TextId>> {
        if split != RENAMED.name || self.view != View::Text {
            return Ok(Vec::new());
        }
        // Thresholds are chosen in the own wording, by the same snapshot.
        let shown = |renamed: bool| -> Result<Vec<TextId>> {
            Ok(self.world.measuring(&self.patients.test, self.view, renamed)?.shown_texts())
        };
        Ok([shown(false)?, shown(true)?].concat())
    }

    /// On validation patients, so that watching training takes nothing from the test.
    fn measure(
        &self,
        _split: &str,
        actor: &mut TaskActor<Self>,
        snapshot: &Arc<Snapshot>,
        episodes: &[u64],
        stop: &Stop,
    ) -> Result<Measurement> {
        let problem = &self.patients.validation;
        let (snapshot, _) = self.tuned(actor, snapshot, stop)?;
        let played = self.play((problem, false), actor, &snapshot, episodes, stop)?;
        Ok(measurement(problem, &played, self.world.t_max(), 0)?.0)
    }

    fn measure_final(
        &self,
        split: &str,
        actor: &mut TaskActor<Self>,
        snapshot: &Arc<Snapshot>,
        episodes: &[u64],
        stop: &Stop,
    ) -> Result<Measurement> {
        let held_out = self.patients.held_out.as_ref().filter(|_| split == HELD_OUT.name);
        let problem = held_out.unwrap_or(&self.patients.test);
        let episodes = self.patients.test_seeds(episodes, &self.seeds.test_stream());
        let (snapshot, theta) = self.tuned(actor, snapshot, stop)?;
        let played = self.play((problem, split == RENAMED.name), actor, &snapshot, &episodes, stop)?;
        let (mut found, details): (Measurement, Details) =
            measurement(problem, &played, self.world.t_max(), self.stories)?;
        let details = Details { theta, lambda: Some(self.world.lambda()), ..details };
        found.metrics.extend(theta.map(|theta| ("threshold".to_owned(), theta)));
        if let Some(exact) = self.exact.filter(|_| split == SPLIT.name) {
            let env = self.world.measuring(problem, self.view, false)?;
            let value = exact.of_actor(env, actor, &snapshot, stop)?;
            found.metrics.extend(exact.measures(value.as_ref(), &played));
        }
        found.details = serde_json::to_value(details).map_err(|e| Error::State(e.to_string()))?;
        Ok(found)
    }
}
