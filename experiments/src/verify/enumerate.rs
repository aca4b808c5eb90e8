//! Every trajectory of a tiny process, with its probability.

use anyhow::Result;
use retune::env::Status;
use retune_agents::targets::Steps;
use retune_envs::finite::Mdp;

/// In places that must not matter.
const POISON: f64 = 1e3;

/// One trajectory.
#[derive(Clone, Debug)]
pub struct Path {
    /// Under the policy, given where it begins.
    pub probability: f64,
    /// One more than there are steps.
    pub states: Vec<usize>,
    pub actions: Vec<usize>,
    pub rewards: Vec<f64>,
    pub status: Vec<Status>,
}

impl Path {
    /// The trajectory as a rollout of one env slot.
    pub fn steps(&self) -> Result<Steps<'_, f64>> {
        Ok(Steps::new(1, &self.rewards, &self.status)?)
    }

    /// `of` the states in which the steps are taken.
    pub fn values(&self, of: impl Fn(usize) -> f64) -> Vec<f64> {
        self.states[..self.rewards.len()].iter().map(|&s| of(s)).collect()
    }

    /// What [`retune_agents::targets::following_values`] wants to know: values of the states, of the final
    /// observations, and of the one after the rollout; poison where the function must not look.
    pub fn values_around(&self, of: impl Fn(usize) -> f64) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let last = self.states[self.rewards.len()];
        let truncated = |status: &Status| if *status == Status::Truncated { of(last) } else { POISON };
        let running = self.status.last() == Some(&Status::Running);
        let after = vec![if running { of(last) } else { POISON }];
        (self.values(&of), self.status.iter().map(truncated).collect(), after)
    }
}

/// All trajectories from `state` under `policy` (`[num_states][num_actions]`) of at most `horizon` steps, of which the
/// first takes `first` if given. One that is not over by then ends with status `cut`.
pub fn paths(
    mdp: &Mdp,
    policy: &[Vec<f64>],
    state: usize,
    first: Option<usize>,
    horizon: usize,
    cut: Status,
) -> Vec<Path> {
    let start =
        Path { probability: 1.0, states: vec![state], actions: Vec::new(), rewards: Vec::new(), status: Vec::new() };
    let mut open = vec![start];
    let mut done = Vec::new();
    for step in 1..=horizon {
        let mut longer = Vec::new();
        for path in open {
            let state = path.states[step - 1];
            for (action, &likely) in policy[state].iter().enumerate() {
                let chance = match first {
                    Some(first) if step == 1 => f64::from(u8::from(action == first)),
                    _ => likely,
                };
                for outcome in mdp.outcomes(state, action).iter().filter(|o| chance * o.probability > 0.0) {
                    let mut path = path.clone();
                    path.probability *= chance * outcome.probability;
                    path.actions.push(action);
                    path.rewards.push(outcome.reward);
                    path.states.push(outcome.next);
                    let last = if step == horizon { cut } else { Status::Running };
                    path.status.push(if outcome.terminated { Status::Terminated } else { last });
                    if outcome.terminated { done.push(path) } else { longer.push(path) }
                }
            }
        }
        open = longer;
    }
    done.extend(open);
    done
}

/// Expectation of `target` over trajectories.
pub fn expectation(paths: &[Path], mut target: impl FnMut(&Path) -> Result<f64>) -> Result<f64> {
    let mut sum = 0.0;
    for path in paths {
        sum += path.probability * target(path)?;
    }
    Ok(sum)
}
