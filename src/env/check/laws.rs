//! The laws, one function each.

use super::{CheckConfig, CheckReport, CheckRow, Sampler};
use crate::Result;
use crate::env::{ActionSpec, Env, EnvError, EnvSpec, EnvState, ObsSpec, Status, Step, TimeLimit};
use crate::rng::{Seed, StreamRng};
use std::time::Instant;

/// Plays an environment and reports for every law whether it holds.
///
/// `make_env` must give equal environments. The time limit that the spec declares is applied, as runners do.
///
/// # Errors
/// If an environment cannot be made, or a setting is out of range.
pub fn check_env<E: Env>(
    mut make_env: impl FnMut() -> Result<E>,
    sampler: &dyn Sampler<E::Obs, E::Action>,
    config: &CheckConfig,
) -> Result<CheckReport> {
    for (key, value) in [("episodes", config.episodes), ("max_steps", config.max_steps)] {
        if value == 0 {
            return Err(crate::Error::config(key, value, "expected at least 1"));
        }
    }
    let spec = make_env()?.spec().clone();
    let mut checker = Checker { make_env: &mut make_env, sampler, config, spec };
    let mut rows = vec![row("the spec is well-formed", spec_finding(&checker.spec))];
    for (name, law) in Checker::LAWS {
        rows.push(row(name, law(&mut checker)));
    }
    // Where that fails, a law has failed for the same reason and says so.
    let steps_per_second = checker.speed().ok().flatten();
    Ok(CheckReport { env: checker.spec.id, rows, steps_per_second })
}

/// What was tried, or what went wrong.
type Finding = Result<String, String>;

fn row(law: &str, finding: Finding) -> CheckRow {
    let (passed, detail) = match finding {
        Ok(detail) => (true, detail),
        Err(detail) => (false, detail),
    };
    CheckRow { law: law.to_owned(), passed, detail }
}

fn spec_finding(spec: &EnvSpec) -> Finding {
    spec_problem(spec).map_or_else(|| Ok(spec.id.clone()), Err)
}

/// The first thing in a spec that cannot be right.
fn spec_problem(spec: &EnvSpec) -> Option<String> {
    let (low, high) = spec.reward_range;
    let checks = [
        (spec.id.is_empty(), "the id is empty".to_owned()),
        (spec.reward_unit.is_empty(), "the reward has no unit".to_owned()),
        (low.is_nan() || high.is_nan() || low > high, format!("the reward range is {low} to {high}")),
        (spec.time_limit == Some(0), "the time limit is 0 steps".to_owned()),
    ];
    let first = checks.into_iter().find(|(wrong, _)| *wrong).map(|(_, message)| message);
    first.or_else(|| obs_problem(spec)).or_else(|| match (&spec.action, &spec.obs) {
        (ActionSpec::Discrete { n: 0 }, _) => Some("there are 0 actions".to_owned()),
        (ActionSpec::Slate { size }, ObsSpec::Candidates(c)) if *size == 0 || *size > c.num_candidates => {
            Some(format!("a slate of {size} out of {} candidates", c.num_candidates))
        }
        (ActionSpec::Slate { .. }, ObsSpec::Candidates(_)) | (ActionSpec::Discrete { .. }, _) => None,
        (ActionSpec::Slate { .. }, _) => Some("slates without candidates".to_owned()),
    })
}

fn obs_problem(spec: &EnvSpec) -> Option<String> {
    match &spec.obs {
        ObsSpec::Discrete { n: 0 } => Some("there are 0 states".to_owned()),
        ObsSpec::Discrete { .. } => None,
        ObsSpec::Box { low, high } => {
            let fits = low.len() == high.len() && low.iter().zip(high).all(|(l, h)| l <= h);
            (!fits || low.is_empty()).then(|| format!("the bounds are {low:?} to {high:?}"))
        }
        ObsSpec::Candidates(c) if c.has_text && spec.texts.is_empty() => {
            Some("candidates have texts, but the table of texts is empty".to_owned())
        }
        ObsSpec::Candidates(_) => None,
    }
}

/// One episode as it was played.
#[derive(PartialEq)]
struct Episode<O, A> {
    first: O,
    steps: Vec<(A, Step<O>)>,
}

struct Checker<'a, E: Env> {
    make_env: &'a mut dyn FnMut() -> Result<E>,
    sampler: &'a dyn Sampler<E::Obs, E::Action>,
    config: &'a CheckConfig,
    spec: EnvSpec,
}

type Law<'a, E> = fn(&mut Checker<'a, E>) -> Finding;

impl<'a, E: Env> Checker<'a, E> {
    const LAWS: [(&'static str, Law<'a, E>); 8] = [
        ("observations fit the spec", Self::observations),
        ("rewards are finite and within their range", Self::rewards),
        ("legal actions exist and are accepted, and episodes end", Self::legal_actions),
        ("the same seed gives the same trajectory", Self::same_seed),
        ("a refused action changes nothing", Self::refusals),
        ("a saved state continues in another instance", Self::save_and_restore),
        ("a foreign state is refused and changes nothing", Self::foreign_states),
        ("there is no step without a running episode", Self::episode_bounds),
    ];

    fn observations(&mut self) -> Finding {
        self.for_each_episode(|checker, episode| {
            let shown = std::iter::once(&episode.first).chain(episode.steps.iter().map(|(_, step)| &step.obs));
            for (t, obs) in shown.enumerate() {
                if let Some(problem) = checker.sampler.problem(&checker.spec, obs) {
                    return Err(format!("after {t} steps: {problem}"));
                }
            }
            Ok(())
        })
    }

    fn rewards(&mut self) -> Finding {
        let (low, high) = self.spec.reward_range;
        self.for_each_episode(|_, episode| {
            let wrong = |r: f64| !r.is_finite() || r < low || r > high;
            match episode.steps.iter().enumerate().find(|(_, (_, step))| wrong(step.reward)) {
                Some((t, (_, step))) => Err(format!("step {t}: reward {}, the spec says {low} to {high}", step.reward)),
                None => Ok(()),
            }
        })
    }

    fn legal_actions(&mut self) -> Finding {
        self.for_each_episode(|_, _| Ok(()))
    }

    /// Two instances, one of them used before, play the same two episodes: one from a seed, one that follows on.
    fn same_seed(&mut self) -> Finding {
        let mut used = self.fresh()?;
        self.play(&mut used, Some(self.config.seed), 99)?;
        for i in 0..self.config.episodes {
            let mut other = self.fresh()?;
            for (reset, kind) in [(Some(self.episode_seed(i)), "seed"), (None, "reset without a seed after it")] {
                let (a, b) = (self.play(&mut used, reset, i)?, self.play(&mut other, reset, i)?);
                if a != b {
                    let t = a.steps.iter().zip(&b.steps).take_while(|(a, b)| a == b).count();
                    return Err(format!("{kind}: two instances differ after {t} equal steps"));
                }
            }
        }
        Ok(format!("{} pairs of episodes, in a new and a used instance", 2 * self.config.episodes))
    }

    /// Offers illegal actions at every step, and compares with an episode in which nobody did.
    fn refusals(&mut self) -> Finding {
        let (mut env, mut calm) = (self.fresh()?, self.fresh()?);
        let mut refused = 0;
        for i in 0..self.config.episodes {
            let expected = self.play(&mut calm, Some(self.episode_seed(i)), i)?;
            let mut obs = reset(&mut env, Some(self.episode_seed(i)))?;
            for (t, (action, step)) in expected.steps.iter().enumerate() {
                for bad in self.sampler.illegal(&self.spec, &obs) {
                    require_refusal(&mut env, &bad)?;
                    refused += 1;
                }
                let found = env.step(action).map_err(|e| format!("step {t}: {e}"))?;
                if found != *step {
                    return Err(format!("after refused actions, step {t} is another: hidden state or a draw was used"));
                }
                obs = found.obs;
            }
        }
        Ok(format!("{refused} illegal actions refused"))
    }

    /// Saves in the middle of an episode and goes on in an instance that was never reset.
    fn save_and_restore(&mut self) -> Finding {
        let mut env = self.fresh()?;
        for i in 0..self.config.episodes {
            let whole = self.play(&mut env, Some(self.episode_seed(i)), i)?;
            let following = self.play(&mut env, None, i)?;
            let cut = self.stream(i).child("cut").rng().below(whole.steps.len());
            reset(&mut env, Some(self.episode_seed(i)))?;
            for (t, (action, _)) in whole.steps[..cut].iter().enumerate() {
                env.step(action).map_err(|e| format!("step {t}: {e}"))?;
            }
            let mut other = self.fresh()?;
            other.restore_state(&through_text(&save(&env)?)?).map_err(|e| format!("restoring at step {cut}: {e}"))?;
            if save(&other)? != save(&env)? {
                return Err(format!("saved again right after restoring at step {cut}, the state is another"));
            }
            for (t, (action, step)) in whole.steps.iter().enumerate().skip(cut) {
                if other.step(action).map_err(|e| format!("restored at step {cut}, step {t}: {e}"))? != *step {
                    return Err(format!("restored at step {cut}, step {t} is another than without the interruption"));
                }
            }
            if self.play(&mut other, None, i)? != following {
                return Err(format!("restored at step {cut}, the next episode is another"));
            }
        }
        Ok(format!("{} episodes continued in another instance, and the episodes after them", self.config.episodes))
    }

    fn foreign_states(&mut self) -> Finding {
        // Without the wrapper, which would refuse such states on the environment's behalf.
        let mut env = (self.make_env)().map_err(|e| e.to_string())?;
        let obs = reset(&mut env, Some(self.episode_seed(0)))?;
        let before = save(&env)?;
        let own = through_text(&before)?;
        let foreign = [
            ("of another environment", EnvState { env: format!("not {}", own.env), ..own.clone() }),
            ("without content", EnvState { state: serde_json::Value::Null, ..own }),
        ];
        for (what, state) in foreign {
            match env.restore_state(&state) {
                Err(EnvError::State(_)) => {}
                Err(other) => return Err(format!("a state {what} gives another kind of error: {other}")),
                Ok(()) => return Err(format!("a state {what} is accepted")),
            }
            if save(&env)? != before {
                return Err(format!("a refused state {what} changes the environment"));
            }
        }
        let action = self.sampler.legal(&self.spec, &obs, &mut self.stream(0).rng())?;
        env.step(&action).map_err(|e| format!("step after refused states: {e}"))?;
        Ok("states of another environment and without content refused".to_owned())
    }

    /// Steps before the first reset and after the end.
    fn episode_bounds(&mut self) -> Finding {
        let mut env = self.fresh()?;
        let obs = reset(&mut env, Some(self.episode_seed(0)))?;
        let action = self.sampler.legal(&self.spec, &obs, &mut self.stream(0).rng())?;
        require_over(&mut self.fresh()?, &action, "before the first reset")?;
        for i in 0..self.config.episodes {
            let episode = self.play(&mut env, Some(self.episode_seed(i)), i)?;
            let (action, _) = episode.steps.last().ok_or("an episode without a step")?;
            require_over(&mut env, action, "after the end")?;
        }
        Ok(format!("before the first reset and after {} episodes", self.config.episodes))
    }

    fn speed(&mut self) -> Result<Option<f64>, String> {
        let wanted = self.config.speed_steps;
        let mut env = self.fresh()?;
        let mut rng = self.stream(0).child("speed").rng();
        let mut obs = reset(&mut env, Some(self.config.seed))?;
        let start = Instant::now();
        for _ in 0..wanted {
            let action = self.sampler.legal(&self.spec, &obs, &mut rng)?;
            let step = env.step(&action).map_err(|e| e.to_string())?;
            obs = if step.status.is_over() { reset(&mut env, None)? } else { step.obs };
        }
        let secs = start.elapsed().as_secs_f64();
        Ok((wanted > 0 && secs > 0.0).then(|| wanted as f64 / secs))
    }

    fn for_each_episode(
        &mut self,
        mut judge: impl FnMut(&Self, &Episode<E::Obs, E::Action>) -> Result<(), String>,
    ) -> Finding {
        let mut env = self.fresh()?;
        let mut steps = 0;
        for i in 0..self.config.episodes {
            let episode = self.play(&mut env, Some(self.episode_seed(i)), i)?;
            steps += episode.steps.len();
            judge(self, &episode)?;
        }
        Ok(format!("{} episodes, {steps} steps", self.config.episodes))
    }

    /// Plays to the end. `choices` numbers the stream that actions are drawn from.
    fn play(
        &self,
        env: &mut TimeLimit<E>,
        seed: Option<u64>,
        choices: u64,
    ) -> Result<Episode<E::Obs, E::Action>, String> {
        let mut rng: StreamRng = self.stream(choices).child("actions").rng();
        let first = reset(env, seed)?;
        let mut episode = Episode { first: first.clone(), steps: Vec::new() };
        let mut obs = first;
        for t in 0..self.config.max_steps {
            let action = self.sampler.legal(&self.spec, &obs, &mut rng).map_err(|e| format!("step {t}: {e}"))?;
            let step = env.step(&action).map_err(|e| format!("step {t}, legal action {action:?}: {e}"))?;
            obs = step.obs.clone();
            let status = step.status;
            episode.steps.push((action, step));
            if status != Status::Running {
                return Ok(episode);
            }
        }
        Err(format!("no end within {} steps, and the spec declares no earlier time limit", self.config.max_steps))
    }

    /// An instance that was never reset.
    fn fresh(&mut self) -> Result<TimeLimit<E>, String> {
        let env = (self.make_env)().map_err(|e| e.to_string())?;
        TimeLimit::from_spec(env).map_err(|e| e.to_string())
    }

    /// Root of the random choices around episode `i`.
    fn stream(&self, i: u64) -> Seed {
        Seed::root(self.config.seed).child("check").index(i)
    }

    fn episode_seed(&self, i: u64) -> u64 {
        self.stream(i).child("episode").to_u64()
    }
}

fn reset<E: Env>(env: &mut E, seed: Option<u64>) -> Result<E::Obs, String> {
    env.reset(seed).map_err(|e| format!("reset({seed:?}): {e}"))
}

fn save<E: Env>(env: &E) -> Result<EnvState, String> {
    env.save_state().map_err(|e| format!("saving the state: {e}"))
}

/// What a state is after it was written to a file and read again.
fn through_text(state: &EnvState) -> Result<EnvState, String> {
    let text = serde_json::to_string(state).map_err(|e| format!("writing the state: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("reading the state: {e}"))
}

/// That `bad` is refused as an illegal action and leaves no trace in the saved state.
fn require_refusal<E: Env>(env: &mut E, bad: &E::Action) -> Result<(), String> {
    let before = save(env)?;
    match env.step(bad) {
        Err(EnvError::Action { .. }) => {}
        Err(other) => return Err(format!("illegal action {bad:?} gives another kind of error: {other}")),
        Ok(_) => return Err(format!("illegal action {bad:?} is accepted")),
    }
    if save(env)? == before { Ok(()) } else { Err(format!("refused action {bad:?} changes the saved state")) }
}

/// That a step is refused because no episode is running, and leaves no trace in the saved state.
fn require_over<E: Env>(env: &mut E, action: &E::Action, when: &str) -> Result<(), String> {
    let before = save(env)?;
    match env.step(action) {
        Err(EnvError::EpisodeOver) => {}
        Err(other) => return Err(format!("a step {when} gives another error: {other}")),
        Ok(_) => return Err(format!("a step {when} is accepted")),
    }
    if save(env)? == before { Ok(()) } else { Err(format!("a refused step {when} changes the saved state")) }
}
