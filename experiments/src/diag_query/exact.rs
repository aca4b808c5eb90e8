//! What can be said exactly: the worth of declaring at once, the best that any policy can do where the problem is small
//! enough, and what a policy that decides by what is known alone is worth.

use super::decisions::{Decisions, Shared};
use super::measure::{Played, expected_return};
use super::world::{Patients, World};
use anyhow::Result;
use retune::agent::{Actor, Mode, Snapshot, Stop};
use retune::env::{CandidateObs, Env, Slate};
use retune::rng::Seed;
use retune::track::{Anchor, Reference};
use retune::{Error, Result as CoreResult};
use retune_envs::diag_query::baselines::exact::{Value, optimum};
use retune_envs::diag_query::baselines::lattice::Lattice;
use retune_envs::diag_query::baselines::walk::{Decision, Known, believe, evaluate_layers};
use retune_envs::diag_query::baselines::{Policy, Situation, Task};
use retune_envs::diag_query::env::{Act, Asked, DiagQuery, Initial, View};
use retune_envs::diag_query::model::Model;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most cells of the table of all partial sets of answers. Above it dynamic programming would take minutes.
const MAX_CELLS: usize = 1 << 19;
/// Most situations that a policy is followed through: seconds for a small network.
const MAX_SITUATIONS: usize = 30_000;
/// Most numbers that a planner may go through in all where the problem was not tabulated: about a minute.
const MAX_WORK: f64 = 5e8;
/// Situations that an actor decides at once.
const BATCH: usize = 256;

/// Measure: the expected return over all patients and answers.
pub const EXACT_RETURN: &str = "exact_return";

/// Measure where there are too many situations for [`EXACT_RETURN`]: the return of the played cases, expected over their
/// diagnoses given the answers.
pub const EXPECTED_RETURN: &str = "expected_return";

/// A problem in which expectations over patients and answers can be taken.
pub struct Exact {
    model: Arc<dyn Model>,
    task: Task,
    t_max: usize,
    now: f64,
    best: Option<f64>,
    /// Whether `model` is a table, where to plan is to look up.
    tabulated: bool,
    /// What planners are worth, by name and by the bits of their threshold: the same for every seed.
    planned: Mutex<BTreeMap<(String, u64), Option<Value>>>,
    /// What planners would ask, whatever their threshold.
    decisions: Shared,
}

impl Exact {
    /// The problem of a study; `None` where what is known is not all that an agent may go by, or the truth is not a
    /// model: lists of cases, findings that are given or open others, budgets, wrong models.
    ///
    /// # Errors
    /// If the settings do not fit the problem.
    pub fn of(world: &World, patients: &Patients) -> Result<Option<Self>> {
        let env = world.planning(&patients.test, false)?;
        let config = env.config();
        let known = Arc::ptr_eq(&patients.best, patients.test.model.as_ref().unwrap_or(&patients.best));
        let plain = config.initial == Initial::None
            && config.budget.is_none()
            && config.model_knows_noise
            && known
            && !patients.is_list()
            && patients.held_out.is_none()
            && config.undeclarable.is_empty()
            && patients.test.findings.iter().all(|f| f.requires.is_none());
        if !plain {
            return Ok(None);
        }
        let (task, model) = (env.task(), Arc::clone(&patients.best));
        let now = task.declare(model.begin().posterior()).1;
        let (model, task, best, tabulated): (Arc<dyn Model>, Task, Option<f64>, bool) =
            match Lattice::new(model.as_ref(), &task, MAX_CELLS) {
                Ok(lattice) => {
                    let task = lattice.task(&task);
                    let best = optimum(&lattice, &task, config.t_max).expected_return;
                    (Arc::new(lattice), task, (best > now + 1e-9).then_some(best), true)
                }
                Err(_) => (model, task, None, false),
            };
        let (planned, decisions) = Default::default();
        Ok(Some(Self { model, task, t_max: config.t_max, now, best, tabulated, planned, decisions }))
    }

    /// Lines to compare with: the ends of the normalized scale, as far as they are known.
    #[must_use]
    pub fn references(&self) -> Vec<Reference> {
        let mut lines = vec![Reference {
            name: "declare_now (exact)".to_owned(),
            score: self.now,
            description: "Expected utility of declaring before any question.".to_owned(),
            anchor: Some(Anchor::Zero),
        }];
        lines.extend(self.best.map(|best| Reference {
            name: "optimum (exact)".to_owned(),
            score: best,
            description: "Expected return of the best policy that knows the model, by dynamic programming.".to_owned(),
            anchor: Some(Anchor::One),
        }));
        lines
    }

    /// The worth of what an actor does in the situations of `env`, a fresh environment of its own; `None` where the
    /// order of the answers is shown, or where there are too many situations.
    ///
    /// # Errors
    /// If the actor or the environment fails; [`Error::Interrupted`] if asked to stop.
    pub fn of_actor(
        &self,
        mut env: DiagQuery,
        actor: &mut dyn Actor<CandidateObs, Slate>,
        snapshot: &Arc<Snapshot>,
        stop: &Stop,
    ) -> CoreResult<Option<Value>> {
        if env.config().view == View::Text {
            return Ok(None);
        }
        env.reset(Some(0))?;
        actor.load(snapshot)?;
        let decide = |layer: &[&Known]| {
            let mut decisions = Vec::with_capacity(layer.len());
            for batch in layer.chunks(BATCH) {
                stop.check()?;
                let shown: CoreResult<Vec<Arc<CandidateObs>>> =
                    batch.iter().map(|known| Ok(Arc::new(env.imagine(asked(known))?))).collect();
                // A greedy decision draws nothing.
                let mut streams: Vec<_> = (0..batch.len() as u64).map(|i| Seed::root(i).rng()).collect();
                for decision in actor.act(&shown?, &mut streams, Mode::Evaluate)? {
                    decisions.push(meaning(&env, &decision.action)?);
                }
            }
            Ok::<_, Error>(decisions)
        };
        evaluate_layers(self.model.as_ref(), &self.task, MAX_SITUATIONS, decide)
    }

    /// The worth of the planner `name` that declares once `max p ≥ theta` or nothing is left to ask. Where the problem was
    /// tabulated it plans on the table, which says the same.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if asked to stop.
    pub fn of_policy(&self, name: &str, policy: &mut dyn Policy, theta: f64, stop: &Stop) -> CoreResult<Option<Value>> {
        let key = (name.to_owned(), theta.to_bits());
        if let Some(value) = self.planned.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(*value);
        }
        let decisions = self.decisions.of(name, &self.model);
        let decide = |layer: &[&Known]| {
            layer.iter().map(|known| stop.check().map(|()| self.plan(policy, &decisions, theta, known))).collect()
        };
        let value = evaluate_layers(self.model.as_ref(), &self.task, self.max_planned(name), decide)?;
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value);
        Ok(value)
    }

    /// Most situations that a planner is followed through: it goes through all answers of all findings for each, and
    /// through those of as many questions one after the other as it plans ahead.
    fn max_planned(&self, name: &str) -> usize {
        if self.tabulated {
            return MAX_SITUATIONS;
        }
        let ahead = match name {
            "utility_2" | "lookahead_2" => 2,
            "lookahead_3" => 3,
            _ => 1,
        };
        let answers = self.task.states.iter().sum::<usize>() as f64;
        (MAX_WORK / (answers.powi(ahead) * self.model.num_classes() as f64)).min(MAX_SITUATIONS as f64) as usize
    }

    fn plan(&self, policy: &mut dyn Policy, decisions: &Decisions, theta: f64, known: &Known) -> Decision {
        let mut belief = believe(self.model.as_ref(), &self.task, known);
        let open: Vec<usize> =
            (0..self.task.states.len()).filter(|i| known.binary_search_by_key(i, |(f, _)| *f).is_err()).collect();
        let left = self.t_max.saturating_sub(known.len());
        let over = left == 0 || open.is_empty() || belief.posterior().iter().any(|p| *p >= theta);
        let choose = |_: &_| policy.choose(Situation { task: &self.task, belief: belief.as_mut(), open: &open, left });
        let chosen = if over { None } else { decisions.of(asked(known), choose) };
        chosen.map_or_else(|| Decision::Declare(self.task.declare(belief.posterior()).0), Decision::Ask)
    }

    /// Measures without the chance of the diagnoses, by name: exact ones, or else those of the played cases, whose beliefs
    /// are of the problem's model.
    #[must_use]
    pub fn measures(&self, value: Option<&Value>, played: &[Played]) -> BTreeMap<String, f64> {
        let Some(value) = value else {
            let found = expected_return(played, &self.task.utilities);
            let named =
                found.map(|(mean, se)| [(EXPECTED_RETURN.to_owned(), mean), (format!("{EXPECTED_RETURN}_se"), se)]);
            return named.into_iter().flatten().collect();
        };
        let way = self.best.map(|best| (value.expected_return - self.now) / (best - self.now));
        let exact = [(EXACT_RETURN, Some(value.expected_return)), ("exact_accuracy", Some(value.accuracy))];
        let named = exact.into_iter().chain([("way_to_optimum", way)]);
        named.filter_map(|(name, value)| value.map(|value| (name.to_owned(), value))).collect()
    }
}

fn asked(known: &Known) -> Vec<Asked> {
    known.iter().map(|&(finding, reply)| Asked { finding, reply, given: false }).collect()
}

fn meaning(env: &DiagQuery, action: &Slate) -> CoreResult<Decision> {
    match action.0.first().and_then(|&candidate| env.act(candidate as usize)) {
        Some(Act::Ask(finding)) => Ok(Decision::Ask(finding)),
        Some(Act::Declare(diagnosis)) => Ok(Decision::Declare(diagnosis)),
        Some(Act::Stop) => Ok(Decision::Declare(env.posterior().map_or(0, retune_envs::diag_query::env::likeliest))),
        None => Err(Error::State(format!("the actor chose {action:?}, which means nothing here"))),
    }
}
