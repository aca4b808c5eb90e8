//! Finite Markov decision processes as environments, in two observation forms.

use crate::finite::{Mdp, Place, spec};
use crate::rec_sim::shared::check_slate;
use retune::env::{
    ActionSpec, CandidateObs, CandidateSpec, Env, EnvError, EnvSpec, EnvState, Feedback, ItemOutcome, ObsSpec, Slate,
    Status, Step,
};

/// Names the random stream of both forms.
const STREAM: &str = "probe";

/// What both forms share: the process and where it stands.
#[derive(Clone, Debug)]
struct Walk {
    mdp: Mdp,
    place: Place,
}

impl Walk {
    fn new(mdp: Mdp) -> Self {
        Self { mdp, place: Place::new(STREAM) }
    }

    fn reset(&mut self, seed: Option<u64>) {
        self.place.reset(&self.mdp, seed, STREAM);
    }

    fn step(&mut self, action: u32) -> Result<(f64, Status), EnvError> {
        self.place.step(&self.mdp, action)
    }

    fn one_hot(&self) -> Vec<f32> {
        let mut obs = vec![0.0; self.mdp.num_states()];
        obs[self.place.state] = 1.0;
        obs
    }

    fn save(&self, id: &str) -> Result<EnvState, EnvError> {
        self.place.save(id)
    }

    fn restore(&mut self, id: &str, saved: &EnvState) -> Result<(), EnvError> {
        self.place.restore(&self.mdp, id, saved)
    }
}

/// An [`Mdp`] whose observation is the one-hot state, `[num_states]`, and whose action is a number.
///
/// The observation after a terminating step is that of the state it was taken in.
#[derive(Clone, Debug)]
pub struct Tabular {
    walk: Walk,
    spec: EnvSpec,
}

impl Tabular {
    /// The process as an environment.
    #[must_use]
    pub fn new(mdp: Mdp) -> Self {
        let obs = ObsSpec::Box { low: vec![0.0; mdp.num_states()], high: vec![1.0; mdp.num_states()] };
        let spec = spec(&mdp, "", obs, ActionSpec::Discrete { n: mdp.num_actions() });
        Self { walk: Walk::new(mdp), spec }
    }

    /// The process, with its exact values.
    #[must_use]
    pub fn mdp(&self) -> &Mdp {
        &self.walk.mdp
    }
}

impl Env for Tabular {
    type Obs = Vec<f32>;
    type Action = u32;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<Vec<f32>, EnvError> {
        self.walk.reset(seed);
        Ok(self.walk.one_hot())
    }

    fn step(&mut self, action: &u32) -> Result<Step<Vec<f32>>, EnvError> {
        let (reward, status) = self.walk.step(*action)?;
        Ok(Step { obs: self.walk.one_hot(), reward, status })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        self.walk.save(&self.spec.id)
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.walk.restore(&self.spec.id, state)
    }
}

/// An [`Mdp`] whose actions are candidates: the special case of a candidate set that never changes.
///
/// `state` is the one-hot state, candidate i has the one-hot feature of action i, and the slate has one item, which is
/// always consumed.
#[derive(Clone, Debug)]
pub struct CandidateTabular {
    walk: Walk,
    spec: EnvSpec,
}

impl CandidateTabular {
    /// The process as an environment.
    #[must_use]
    pub fn new(mdp: Mdp) -> Self {
        let actions = mdp.num_actions();
        let shape = CandidateSpec {
            num_candidates: actions,
            state_dim: mdp.num_states(),
            candidate_dim: actions,
            has_text: false,
            history_len: 0,
            history_dim: 0,
            answers: 0..0,
            pool: Vec::new(),
        };
        let spec = spec(&mdp, "/candidates", ObsSpec::Candidates(shape), ActionSpec::Slate { size: 1 });
        Self { walk: Walk::new(mdp), spec }
    }

    /// The process, with its exact values.
    #[must_use]
    pub fn mdp(&self) -> &Mdp {
        &self.walk.mdp
    }

    fn observe(&self) -> CandidateObs {
        let actions = self.walk.mdp.num_actions();
        let mut features = vec![0.0; actions * actions];
        features.iter_mut().step_by(actions + 1).for_each(|x| *x = 1.0);
        let outcome = |(_, reward): (u32, f64)| ItemOutcome { clicked: true, reward: reward as f32, quality: None };
        CandidateObs {
            state: self.walk.one_hot(),
            candidate_features: features,
            mask: vec![true; actions],
            feedback: self.walk.place.last.map(|last| Feedback { outcomes: vec![outcome(last)], best: None }),
            ..CandidateObs::default()
        }
    }
}

impl Env for CandidateTabular {
    type Obs = CandidateObs;
    type Action = Slate;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<CandidateObs, EnvError> {
        self.walk.reset(seed);
        Ok(self.observe())
    }

    fn step(&mut self, action: &Slate) -> Result<Step<CandidateObs>, EnvError> {
        check_slate(&action.0, 1, self.walk.mdp.num_actions())?;
        let (reward, status) = self.walk.step(action.0[0])?;
        Ok(Step { obs: self.observe(), reward, status })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        self.walk.save(&self.spec.id)
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.walk.restore(&self.spec.id, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_walked() {
        let mut env = Tabular::new(Mdp::chain(3));
        assert!(matches!(env.step(&1), Err(EnvError::EpisodeOver)));
        assert_eq!(env.reset(Some(0)).unwrap(), [1.0, 0.0, 0.0]);
        assert_eq!(env.step(&0).unwrap().obs, [1.0, 0.0, 0.0]);
        assert_eq!(env.step(&1).unwrap().obs, [0.0, 1.0, 0.0]);
        let before = env.save_state().unwrap();
        assert!(matches!(env.step(&2), Err(EnvError::Action { kind: "index_out_of_range", .. })));
        assert_eq!(env.save_state().unwrap(), before);
        env.step(&1).unwrap();
        let last = env.step(&1).unwrap();
        assert_eq!((last.reward, last.status), (1.0, Status::Terminated));
        assert!(matches!(env.step(&1), Err(EnvError::EpisodeOver)));
        env.restore_state(&before).unwrap();
        assert_eq!(env.step(&1).unwrap().obs, [0.0, 0.0, 1.0]);
        assert!(Tabular::new(Mdp::endless(5)).restore_state(&before).is_err());
        let mut shorter = Tabular::new(Mdp::chain(1));
        assert!(matches!(shorter.restore_state(&before), Err(EnvError::State(_))));
    }

    #[test]
    fn arms_pay_as_often_as_they_should_in_both_forms() {
        let mut plain = Tabular::new(Mdp::two_armed_bandit());
        let mut candidates = CandidateTabular::new(Mdp::two_armed_bandit());
        for (arm, p) in [(0, 0.2), (1, 0.8)] {
            let mut total = 0.0;
            for i in 0..4000 {
                let seed = (i == 0).then_some(arm.into());
                plain.reset(seed).unwrap();
                candidates.reset(seed).unwrap();
                let (a, b) = (plain.step(&arm).unwrap(), candidates.step(&Slate(vec![arm])).unwrap());
                assert_eq!((a.reward, a.status, a.obs), (b.reward, b.status, b.obs.state));
                assert_eq!(b.obs.feedback.unwrap().outcomes[0].reward, a.reward as f32);
                total += a.reward;
            }
            // Four standard errors of a mean of 4,000.
            assert!((total / 4000.0 - p).abs() < 4.0 * (0.16f64 / 4000.0).sqrt());
        }
    }

    #[test]
    fn only_a_wrapper_ends_the_endless_one() {
        let mut env = CandidateTabular::new(Mdp::endless(5));
        assert_eq!(env.spec().time_limit, Some(5));
        let obs = env.reset(None).unwrap();
        assert_eq!((obs.candidate_features, obs.mask), (vec![1.0, 0.0, 0.0, 1.0], vec![true; 2]));
        for _ in 0..50 {
            assert_eq!(env.step(&Slate(vec![0])).unwrap().status, Status::Running);
        }
        assert!(matches!(env.step(&Slate(vec![0, 1])), Err(EnvError::Action { kind: "wrong_slate_length", .. })));
        assert!(matches!(env.step(&Slate(vec![2])), Err(EnvError::Action { kind: "index_out_of_range", .. })));
    }
}
