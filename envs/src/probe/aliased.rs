//! Two states that look the same.

use crate::finite::{Finite, Mdp, Outcome};
use retune::env::{Env, EnvError, EnvSpec, EnvState, ObsSpec, Step};

/// Two steps in a row that both show state 0; the second one pays 1 and terminates. There is one action.
///
/// Who sees one state can only give it one value. With TD(λ) it is `(1 + γλ) / (2 − γ(1 − λ))`: between that of the
/// bootstrap, `1 / (2 − γ)`, and the mean of the returns, `(1 + γ) / 2`.
#[derive(Clone, Debug)]
pub struct Aliased {
    inside: Finite,
    spec: EnvSpec,
}

/// The two states in disguise.
///
/// # Panics
/// Never: the process is a constant.
#[must_use]
pub fn aliased() -> Aliased {
    let outcomes = vec![vec![vec![Outcome::certain(0.0, 1)]], vec![vec![Outcome::end(1.0, 1)]]];
    let about = "Two steps that look the same; the second pays.";
    let mdp = Mdp::new("probe/aliased", about, vec![1.0, 0.0], outcomes).expect("two certain steps");
    let inside = Finite::new(mdp);
    let spec = EnvSpec { obs: ObsSpec::Discrete { n: 1 }, ..inside.spec().clone() };
    Aliased { inside, spec }
}

impl Env for Aliased {
    type Obs = u32;
    type Action = u32;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<u32, EnvError> {
        self.inside.reset(seed)?;
        Ok(0)
    }

    fn step(&mut self, action: &u32) -> Result<Step<u32>, EnvError> {
        Ok(Step { obs: 0, ..self.inside.step(action)? })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        self.inside.save_state()
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.inside.restore_state(state)
    }
}
