//! Random legal actions, actions that must be refused, and what a well-formed observation is.

use crate::env::{ActionSpec, CandidateObs, CandidateSpec, EnvSpec, ObsSpec, Slate, TextId};
use crate::rng::StreamRng;

/// What a check must know about a kind of observation and action.
pub trait Sampler<O, A> {
    /// A legal action for `obs`, drawn from `rng` alone.
    ///
    /// # Errors
    /// What is wrong, if there is no legal action.
    fn legal(&self, spec: &EnvSpec, obs: &O, rng: &mut StreamRng) -> Result<A, String>;

    /// Actions that the environment must refuse when it shows `obs`.
    fn illegal(&self, spec: &EnvSpec, obs: &O) -> Vec<A>;

    /// What is wrong with `obs` according to `spec`, if anything.
    fn problem(&self, spec: &EnvSpec, obs: &O) -> Option<String>;
}

/// For environments with candidate sets and slates.
#[derive(Clone, Copy, Debug, Default)]
pub struct CandidateSampler;

impl Sampler<CandidateObs, Slate> for CandidateSampler {
    fn legal(&self, spec: &EnvSpec, obs: &CandidateObs, rng: &mut StreamRng) -> Result<Slate, String> {
        let size = slate_size(spec)?;
        let mut open = open_candidates(obs);
        if open.len() < size {
            return Err(format!("the mask allows {} candidates, a slate needs {size}", open.len()));
        }
        for i in 0..size {
            let j = i + rng.below(open.len() - i);
            open.swap(i, j);
        }
        open.truncate(size);
        Ok(Slate(open))
    }

    fn illegal(&self, spec: &EnvSpec, obs: &CandidateObs) -> Vec<Slate> {
        let open = open_candidates(obs);
        let Ok(size) = slate_size(spec) else { return Vec::new() };
        let Some(legal) = open.get(..size).filter(|slate| !slate.is_empty()) else { return Vec::new() };
        let with_first = |first: u32| Slate([&[first], &legal[1..]].concat());
        let mut illegal = vec![
            Slate(legal[1..].to_vec()),
            Slate([legal, &legal[..1]].concat()),
            with_first(obs.num_candidates() as u32),
            with_first(u32::MAX),
        ];
        if size > 1 {
            illegal.push(with_first(legal[1]));
        }
        illegal.extend(obs.mask.iter().position(|open| !open).map(|closed| with_first(closed as u32)));
        illegal
    }

    fn problem(&self, spec: &EnvSpec, obs: &CandidateObs) -> Option<String> {
        let ObsSpec::Candidates(shape) = &spec.obs else {
            return Some("the spec does not describe candidate sets".to_owned());
        };
        sizes(spec, shape, obs).or_else(|| contents(spec, obs)).or_else(|| history(spec, shape, obs))
    }
}

fn slate_size(spec: &EnvSpec) -> Result<usize, String> {
    match spec.action {
        ActionSpec::Slate { size } => Ok(size),
        ActionSpec::Discrete { .. } => Err("the spec does not describe slates".to_owned()),
    }
}

/// Indices of the candidates that the mask allows.
fn open_candidates(obs: &CandidateObs) -> Vec<u32> {
    obs.mask.iter().enumerate().filter(|(_, open)| **open).map(|(i, _)| i as u32).collect()
}

fn sizes(spec: &EnvSpec, shape: &CandidateSpec, obs: &CandidateObs) -> Option<String> {
    let n = shape.num_candidates;
    let outcomes = obs.feedback.as_ref().map(|f| f.outcomes.len());
    let expected = [
        ("state", obs.state.len(), shape.state_dim),
        ("candidate_features", obs.candidate_features.len(), n * shape.candidate_dim),
        ("candidate_texts", obs.candidate_texts.len(), if shape.has_text { n } else { 0 }),
        ("mask", obs.mask.len(), n),
        ("feedback.outcomes", outcomes.unwrap_or_default(), outcomes.map_or(0, |_| slate_size(spec).unwrap_or(0))),
    ];
    let wrong = expected.into_iter().find(|(_, found, expected)| found != expected);
    let wrong = wrong.map(|(name, found, expected)| format!("{name} has {found} entries, the spec says {expected}"));
    wrong.or_else(|| not_an_answer(shape, obs))
}

/// An answer that is said to have been right and is none.
fn not_an_answer(shape: &CandidateSpec, obs: &CandidateObs) -> Option<String> {
    let best = obs.feedback.as_ref().and_then(|f| f.best)?;
    let answers = &shape.answers;
    (!answers.contains(&(best as usize))).then(|| format!("feedback.best is {best}, the spec has answers {answers:?}"))
}

fn contents(spec: &EnvSpec, obs: &CandidateObs) -> Option<String> {
    let outcomes = obs.feedback.iter().flat_map(|f| &f.outcomes);
    let rewards: Vec<f32> = outcomes.flat_map(|o| [Some(o.reward), o.quality]).flatten().collect();
    let floats = [("state", &obs.state), ("candidate_features", &obs.candidate_features), ("feedback", &rewards)];
    let not_finite = floats.into_iter().find_map(|(name, values)| {
        values.iter().find(|v| !v.is_finite()).map(|v| format!("{name} holds {v}, expected finite numbers"))
    });
    not_finite.or_else(|| unknown_text(spec, obs.candidate_texts.iter().copied()))
}

fn history(spec: &EnvSpec, shape: &CandidateSpec, obs: &CandidateObs) -> Option<String> {
    if obs.history.len() > shape.history_len {
        return Some(format!("history has {} events, the spec says at most {}", obs.history.len(), shape.history_len));
    }
    let wrong = obs.history.iter().find(|event| {
        event.features.len() != shape.history_dim || event.features.iter().any(|value| !value.is_finite())
    });
    let wrong = wrong.map(|e| format!("event {e:?}, the spec says {} finite numbers", shape.history_dim));
    wrong.or_else(|| unknown_text(spec, obs.history.iter().filter_map(|event| event.text)))
}

fn unknown_text(spec: &EnvSpec, mut texts: impl Iterator<Item = TextId>) -> Option<String> {
    let unknown = texts.find(|&text| spec.texts.get(text).is_none());
    unknown.map(|text| format!("text {} of a table of {}", text.0, spec.texts.len()))
}

/// For environments with a fixed set of actions.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiscreteSampler;

/// An action that is a number.
pub trait DiscreteAction: Sized {
    /// The action with this number; `None` if the type cannot express it.
    fn from_index(index: usize) -> Option<Self>;
}

impl DiscreteAction for u32 {
    fn from_index(index: usize) -> Option<Self> {
        index.try_into().ok()
    }
}

impl DiscreteAction for usize {
    fn from_index(index: usize) -> Option<Self> {
        Some(index)
    }
}

/// An observation of numbers.
pub trait NumericObs {
    /// What is wrong with it according to `spec`, if anything.
    fn problem(&self, spec: &ObsSpec) -> Option<String>;
}

impl<O: NumericObs, A: DiscreteAction> Sampler<O, A> for DiscreteSampler {
    fn legal(&self, spec: &EnvSpec, _obs: &O, rng: &mut StreamRng) -> Result<A, String> {
        match spec.action {
            ActionSpec::Discrete { n } if n > 0 => {
                A::from_index(rng.below(n)).ok_or_else(|| format!("the action type cannot express {n} actions"))
            }
            _ => Err("the spec does not describe at least one discrete action".to_owned()),
        }
    }

    fn illegal(&self, spec: &EnvSpec, _obs: &O) -> Vec<A> {
        match spec.action {
            ActionSpec::Discrete { n } => [n, n + 1, u32::MAX as usize].into_iter().filter_map(A::from_index).collect(),
            ActionSpec::Slate { .. } => Vec::new(),
        }
    }

    fn problem(&self, spec: &EnvSpec, obs: &O) -> Option<String> {
        obs.problem(&spec.obs)
    }
}

impl NumericObs for Vec<f32> {
    fn problem(&self, spec: &ObsSpec) -> Option<String> {
        box_problem(self, spec)
    }
}

impl<const N: usize> NumericObs for [f32; N] {
    fn problem(&self, spec: &ObsSpec) -> Option<String> {
        box_problem(self, spec)
    }
}

impl NumericObs for u32 {
    fn problem(&self, spec: &ObsSpec) -> Option<String> {
        (*self as usize).problem(spec)
    }
}

impl NumericObs for usize {
    fn problem(&self, spec: &ObsSpec) -> Option<String> {
        match spec {
            ObsSpec::Discrete { n } if self < n => None,
            _ => Some(format!("state {self}, the spec says {spec:?}")),
        }
    }
}

fn box_problem(values: &[f32], spec: &ObsSpec) -> Option<String> {
    let ObsSpec::Box { low, high } = spec else {
        return Some(format!("a vector, the spec says {spec:?}"));
    };
    if values.len() != low.len() {
        return Some(format!("{} numbers, the spec says {}", values.len(), low.len()));
    }
    // Written so that NaN is out of range.
    let outside = values.iter().zip(low.iter().zip(high)).position(|(v, (low, high))| !(low <= v && v <= high));
    outside.map(|i| format!("component {i} is {}, the spec says {} to {}", values[i], low[i], high[i]))
}
