//! Environments with a fixed set of actions, shown as candidate sets.

use crate::rec_sim::shared::{check_slate, config_error};
use retune::env::{
    ActionSpec, CandidateObs, CandidateSpec, Env, EnvError, EnvSpec, EnvState, Feedback, ItemOutcome, ObsSpec, Slate,
    Step,
};
use serde::{Deserialize, Serialize};

/// An observation that can be written as a vector of numbers.
pub trait StateFeatures {
    /// The features of this observation of the given form: a vector as it is, a number as one-hot vector.
    fn state_features(&self, spec: &ObsSpec) -> Vec<f32>;
}

impl<const N: usize> StateFeatures for [f32; N] {
    fn state_features(&self, _spec: &ObsSpec) -> Vec<f32> {
        self.to_vec()
    }
}

impl StateFeatures for Vec<f32> {
    fn state_features(&self, _spec: &ObsSpec) -> Vec<f32> {
        self.clone()
    }
}

impl StateFeatures for u32 {
    fn state_features(&self, spec: &ObsSpec) -> Vec<f32> {
        let mut one_hot = vec![0.0; state_dim(spec)];
        // An observation outside its spec shows as a vector of zeros, which the checker of environments reports.
        if let Some(x) = one_hot.get_mut(*self as usize) {
            *x = 1.0;
        }
        one_hot
    }
}

/// Length of the feature vector; 0 for candidate sets, which have a form of their own.
fn state_dim(spec: &ObsSpec) -> usize {
    match spec {
        ObsSpec::Discrete { n } => *n,
        ObsSpec::Box { low, .. } => low.len(),
        ObsSpec::Candidates(_) => 0,
    }
}

/// Which of its actions an environment allows after an observation, `[num_actions]`; `None` for all.
type Mask<E> = fn(&E, &<E as Env>::Obs) -> Option<Vec<bool>>;

/// An environment with numbered actions as one with candidates: candidate i is action i, and a slate holds one.
///
/// # Observation
/// `state` is the observation of the environment, `[state_dim]`, one-hot where it is a number. Candidates have no
/// features (an agent tells them apart by their index) unless [`AsCandidates::with_action_features`] asks for them.
/// `mask` allows every action unless [`AsCandidates::masked`] is used. `feedback` says that the action was consumed
/// and what it paid.
#[derive(Clone, Debug)]
pub struct AsCandidates<E: Env> {
    env: E,
    spec: EnvSpec,
    num_actions: usize,
    action_features: bool,
    mask: Option<Mask<E>>,
    /// What the mask allows now; empty without one and after the end.
    legal: Vec<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    legal: Vec<bool>,
    inner: EnvState,
}

impl<E> AsCandidates<E>
where
    E: Env<Action = u32>,
    E::Obs: StateFeatures,
{
    /// Shows `env` with its actions as candidates without features.
    ///
    /// # Errors
    /// If its observations are candidate sets already, or it has no numbered actions.
    pub fn new(env: E) -> Result<Self, EnvError> {
        let mut spec = env.spec().clone();
        let ActionSpec::Discrete { n: num_actions } = spec.action else {
            return Err(config_error("env", &spec.id, "an environment with numbered actions"));
        };
        if matches!(spec.obs, ObsSpec::Candidates(_)) {
            return Err(config_error("env", &spec.id, "an environment whose observation is a number or a vector"));
        }
        spec.id.push_str("/candidates");
        spec.action = ActionSpec::Slate { size: 1 };
        spec.obs = ObsSpec::Candidates(shape(state_dim(&spec.obs), num_actions, 0));
        Ok(Self { env, spec, num_actions, action_features: false, mask: None, legal: Vec::new() })
    }

    /// Gives candidate i the one-hot vector of i as features, for models that know candidates by their features alone.
    #[must_use]
    pub fn with_action_features(mut self) -> Self {
        self.action_features = true;
        self.spec.id.push_str("/action_features");
        self.spec.obs = ObsSpec::Candidates(shape(state_dim(&self.env.spec().obs), self.num_actions, self.num_actions));
        self
    }

    /// Allows only the actions that `mask` names after an observation, `[num_actions]` or `None` for all.
    #[must_use]
    pub fn masked(mut self, mask: Mask<E>) -> Self {
        self.mask = Some(mask);
        self.spec.id.push_str("/masked");
        self
    }

    /// The wrapped environment.
    pub fn inner(&self) -> &E {
        &self.env
    }

    fn show(&mut self, obs: &E::Obs, feedback: Option<Feedback>) -> CandidateObs {
        self.legal = self.mask.and_then(|mask| mask(&self.env, obs)).unwrap_or_default();
        let n = self.num_actions;
        let mut candidate_features = Vec::new();
        if self.action_features {
            candidate_features.resize(n * n, 0.0);
            candidate_features.iter_mut().step_by(n + 1).for_each(|x| *x = 1.0);
        }
        CandidateObs {
            state: obs.state_features(&self.env.spec().obs),
            candidate_features,
            mask: if self.legal.is_empty() { vec![true; n] } else { self.legal.clone() },
            feedback,
            ..CandidateObs::default()
        }
    }
}

fn shape(state_dim: usize, num_candidates: usize, candidate_dim: usize) -> CandidateSpec {
    CandidateSpec {
        num_candidates,
        state_dim,
        candidate_dim,
        has_text: false,
        history_len: 0,
        history_dim: 0,
        answers: 0..0,
        pool: Vec::new(),
    }
}

impl<E> Env for AsCandidates<E>
where
    E: Env<Action = u32>,
    E::Obs: StateFeatures,
{
    type Obs = CandidateObs;
    type Action = Slate;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<CandidateObs, EnvError> {
        let obs = self.env.reset(seed)?;
        Ok(self.show(&obs, None))
    }

    fn step(&mut self, action: &Slate) -> Result<Step<CandidateObs>, EnvError> {
        check_slate(&action.0, 1, self.num_actions)?;
        let index = action.0[0];
        if self.legal.get(index as usize) == Some(&false) {
            let message = format!("action {index} is masked, expected one of those the mask allows: {:?}", self.legal);
            return Err(EnvError::Action { kind: "masked", message });
        }
        let step = self.env.step(&index)?;
        let outcome = ItemOutcome { clicked: true, reward: step.reward as f32, quality: None };
        let obs = self.show(&step.obs, Some(Feedback { outcomes: vec![outcome], best: None }));
        if step.status.is_over() {
            // The mask that was shown last forbids nothing: what comes now is refused because the episode is over.
            self.legal.clear();
        }
        Ok(Step { obs, reward: step.reward, status: step.status })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        let state = State { legal: self.legal.clone(), inner: self.env.save_state()? };
        let state = serde_json::to_value(state).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(EnvState { env: self.spec.id.clone(), state })
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        if state.env != self.spec.id {
            return Err(EnvError::State(format!("it belongs to {}, not to {}", state.env, self.spec.id)));
        }
        let saved = State::deserialize(&state.state).map_err(|e| EnvError::State(format!("{}: {e}", self.spec.id)))?;
        if ![0, self.num_actions].contains(&saved.legal.len()) {
            let message = format!("a mask of {} for {} actions", saved.legal.len(), self.num_actions);
            return Err(EnvError::State(message));
        }
        self.env.restore_state(&saved.inner)?;
        self.legal = saved.legal;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finite::Finite;
    use crate::probe::{CandidateTabular, Mdp};
    use retune::env::Status;

    #[test]
    fn the_same_steps_as_the_environment_inside() {
        let mut env = AsCandidates::new(Finite::new(Mdp::chain(3))).unwrap();
        let mut inside = Finite::new(Mdp::chain(3));
        assert_eq!(env.spec().id, "probe/chain/candidates");
        let first = env.reset(Some(1)).unwrap();
        inside.reset(Some(1)).unwrap();
        assert_eq!((first.state, first.mask, first.feedback), (vec![1.0, 0.0, 0.0], vec![true; 2], None));
        assert!(first.candidate_features.is_empty());
        for _ in 0..3 {
            let (shown, step) = (env.step(&Slate(vec![1])).unwrap(), inside.step(&1).unwrap());
            assert_eq!((shown.reward, shown.status), (step.reward, step.status));
            assert_eq!(shown.obs.state.iter().position(|&x| x == 1.0), Some(step.obs as usize));
            assert_eq!(shown.obs.feedback.unwrap().outcomes[0].reward, step.reward as f32);
        }
    }

    #[test]
    fn with_action_features_it_is_the_tabular_form_with_candidates() {
        let mut env = AsCandidates::new(Finite::new(Mdp::chain(3))).unwrap().with_action_features();
        let mut known = CandidateTabular::new(Mdp::chain(3));
        assert_eq!(env.spec().obs, known.spec().obs);
        assert_eq!(env.reset(None).unwrap(), known.reset(None).unwrap());
        for action in [1, 0, 1, 1] {
            assert_eq!(env.step(&Slate(vec![action])).unwrap(), known.step(&Slate(vec![action])).unwrap());
        }
    }

    #[test]
    fn a_masked_action_is_refused_and_the_mask_is_part_of_the_state() {
        let right_only = vec![vec![false, true]; 3];
        let build = || {
            let env = Finite::new(Mdp::chain(3)).with_mask(right_only.clone()).unwrap();
            AsCandidates::new(env).unwrap().masked(|env, &state| env.mask(state as usize).map(<[bool]>::to_vec))
        };
        let mut env = build();
        assert_eq!(env.reset(None).unwrap().mask, [false, true]);
        assert!(matches!(env.step(&Slate(vec![0])), Err(EnvError::Action { kind: "masked", .. })));
        let mut again = build();
        again.restore_state(&env.save_state().unwrap()).unwrap();
        assert!(again.step(&Slate(vec![0])).is_err());
        assert_eq!(again.step(&Slate(vec![1])).unwrap().status, Status::Running);
        // Negative control: without the mask the same action is fine.
        let mut open = AsCandidates::new(Finite::new(Mdp::chain(3))).unwrap();
        open.reset(None).unwrap();
        assert!(open.step(&Slate(vec![0])).is_ok());
        assert!(open.restore_state(&env.save_state().unwrap()).is_err());
    }

    #[test]
    fn only_numbered_actions_can_be_wrapped() {
        // Slates are refused by the compiler; a spec that says one thing while the type says another, at run time.
        #[derive(Debug)]
        struct Odd(Finite, EnvSpec);
        impl Env for Odd {
            type Obs = u32;
            type Action = u32;
            fn spec(&self) -> &EnvSpec {
                &self.1
            }
            fn reset(&mut self, seed: Option<u64>) -> Result<u32, EnvError> {
                self.0.reset(seed)
            }
            fn step(&mut self, action: &u32) -> Result<Step<u32>, EnvError> {
                self.0.step(action)
            }
            fn save_state(&self) -> Result<EnvState, EnvError> {
                self.0.save_state()
            }
            fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
                self.0.restore_state(state)
            }
        }
        let env = Finite::new(Mdp::chain(2));
        let spec = EnvSpec { action: ActionSpec::Slate { size: 1 }, ..env.spec().clone() };
        assert!(AsCandidates::new(Odd(env, spec)).unwrap_err().to_string().contains("numbered actions"));
    }
}
