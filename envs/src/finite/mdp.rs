//! Finite Markov decision processes and their exact solution.

use crate::rec_sim::shared::config_error;
use retune::env::EnvError;

/// One thing that an action can lead to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Its probability.
    pub probability: f64,
    /// Reward that comes with it.
    pub reward: f64,
    /// The next state; what is seen last if the episode terminates.
    pub next: usize,
    /// Whether the episode terminates, so that nothing of value follows.
    pub terminated: bool,
}

impl Outcome {
    /// The one thing that happens: `reward`, then state `next`.
    #[must_use]
    pub fn certain(reward: f64, next: usize) -> Self {
        Self { probability: 1.0, reward, next, terminated: false }
    }

    /// The one thing that happens: `reward`, and the episode ends with `last` on show.
    #[must_use]
    pub fn end(reward: f64, last: usize) -> Self {
        Self { probability: 1.0, reward, next: last, terminated: true }
    }

    /// The same with another probability.
    #[must_use]
    pub fn with_probability(self, probability: f64) -> Self {
        Self { probability, ..self }
    }
}

/// A finite Markov decision process with known transitions.
#[derive(Clone, Debug, PartialEq)]
pub struct Mdp {
    name: String,
    description: String,
    time_limit: Option<u64>,
    /// Probability of beginning in each state, `[num_states]`.
    start: Vec<f64>,
    num_actions: usize,
    /// Outcomes of every pair, one after the other: those of action a in state s begin at
    /// `first[s * num_actions + a]`. Flat, because an environment looks one up in every step.
    outcomes: Vec<Outcome>,
    /// `[num_states * num_actions + 1]`.
    first: Vec<u32>,
}

impl Mdp {
    /// A process from its transitions, `outcomes[state][action]` each a distribution, and the probability `start` of
    /// beginning in each state.
    ///
    /// # Errors
    /// [`EnvError::Config`] naming `start` or the state and action whose entry is not a distribution, leads nowhere or
    /// pays a reward that is not finite.
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        start: Vec<f64>,
        outcomes: Vec<Vec<Vec<Outcome>>>,
    ) -> Result<Self, EnvError> {
        let states = outcomes.len();
        let num_actions = outcomes.first().map_or(0, Vec::len);
        if num_actions == 0 || outcomes.iter().any(|row| row.len() != num_actions) {
            let expected = "at least one state, and the same number of actions, at least one, in every state";
            return Err(config_error("outcomes", format!("{states} states"), expected));
        }
        require_distribution("start", states, start.len(), start.iter().copied())?;
        let mut flat = Vec::new();
        let mut first = vec![0];
        for (i, cell) in outcomes.iter().flatten().enumerate() {
            let key = format!("outcomes of action {} in state {}", i % num_actions, i / num_actions);
            require_distribution(&key, cell.len(), cell.len(), cell.iter().map(|o| o.probability))?;
            if let Some(o) = cell.iter().find(|o| o.next >= states || !o.reward.is_finite()) {
                let expected = format!("a finite reward and a next state below {states}");
                return Err(config_error(&key, format!("{o:?}"), expected));
            }
            flat.extend_from_slice(cell);
            first.push(flat.len() as u32);
        }
        let (name, description) = (name.into(), description.into());
        Ok(Self { name, description, time_limit: None, start, num_actions, outcomes: flat, first })
    }

    /// The same process with episodes cut after `time_limit` env steps. The cut is a truncation and no part of the
    /// process: it has no influence on any value but [`Mdp::best_return_within`].
    #[must_use]
    pub fn with_time_limit(mut self, time_limit: u64) -> Self {
        self.time_limit = Some(time_limit);
        self
    }

    /// Stable name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One sentence for people.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Env steps after which a wrapper is to truncate.
    #[must_use]
    pub fn time_limit(&self) -> Option<u64> {
        self.time_limit
    }

    /// Number of states.
    #[must_use]
    pub fn num_states(&self) -> usize {
        self.start.len()
    }

    /// Number of actions in every state.
    #[must_use]
    pub fn num_actions(&self) -> usize {
        self.num_actions
    }

    /// Probability of beginning in each state, `[num_states]`.
    #[must_use]
    pub fn start(&self) -> &[f64] {
        &self.start
    }

    /// What action `action` can lead to in state `state`.
    ///
    /// # Panics
    /// If there is no such state or action.
    #[must_use]
    pub fn outcomes(&self, state: usize, action: usize) -> &[Outcome] {
        assert!(action < self.num_actions, "action {action} of {}", self.num_actions);
        let cell = state * self.num_actions + action;
        &self.outcomes[self.first[cell] as usize..self.first[cell + 1] as usize]
    }

    /// The state in which an episode begins whose draw from U[0, 1) is `u`.
    #[must_use]
    pub fn first_state(&self, u: f64) -> usize {
        chosen(self.start.iter().copied(), u)
    }

    /// What happens when the draw from U[0, 1) is `u`: the first outcome whose cumulative probability exceeds it.
    ///
    /// # Panics
    /// If there is no such state or action.
    #[must_use]
    pub fn outcome(&self, state: usize, action: usize, u: f64) -> &Outcome {
        let outcomes = self.outcomes(state, action);
        &outcomes[chosen(outcomes.iter().map(|o| o.probability), u)]
    }

    /// Lowest and highest reward.
    #[must_use]
    pub fn reward_range(&self) -> (f64, f64) {
        let rewards = self.outcomes.iter().map(|o| o.reward);
        rewards.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), r| (low.min(r), high.max(r)))
    }

    /// Action values of the best policy, by value iteration to 1e-13: `[num_states][num_actions]`.
    ///
    /// # Errors
    /// [`EnvError::Config`] if `gamma` is not in [0, 1).
    pub fn optimal_q(&self, gamma: f64) -> Result<Vec<Vec<f64>>, EnvError> {
        self.solve(gamma, |_, q| best(q))
    }

    /// Action values of a stochastic policy `[num_states][num_actions]`: first that action, then the policy.
    ///
    /// # Errors
    /// [`EnvError::Config`] if `gamma` is not in [0, 1) or the policy has another shape.
    pub fn q_of(&self, policy: &[Vec<f64>], gamma: f64) -> Result<Vec<Vec<f64>>, EnvError> {
        if policy.len() != self.num_states() || policy.iter().any(|row| row.len() != self.num_actions()) {
            let expected = format!("{} rows of {} probabilities", self.num_states(), self.num_actions());
            return Err(config_error("policy", format!("{} rows", policy.len()), expected));
        }
        self.solve(gamma, |state, q| policy[state].iter().zip(q).map(|(p, q)| p * q).sum())
    }

    /// Highest expected undiscounted return of an episode cut after `steps` env steps, over policies that know how
    /// many steps are left (so an upper bound for those that do not).
    #[must_use]
    pub fn best_return_within(&self, steps: u64) -> f64 {
        let mut values = vec![0.0; self.num_states()];
        for _ in 0..steps {
            values = self.backup(1.0, &values).iter().map(|q| best(q)).collect();
        }
        self.start.iter().zip(&values).map(|(p, v)| p * v).sum()
    }

    /// Expected undiscounted return of a stochastic policy `[num_states][num_actions]` over an episode cut after
    /// `steps` env steps.
    ///
    /// # Panics
    /// If the policy has another shape.
    #[must_use]
    pub fn return_within(&self, policy: &[Vec<f64>], steps: u64) -> f64 {
        let mut values = vec![0.0; self.num_states()];
        for _ in 0..steps {
            let q = self.backup(1.0, &values);
            values = q.iter().zip(policy).map(|(q, p)| q.iter().zip(p).map(|(q, p)| q * p).sum()).collect();
        }
        self.start.iter().zip(&values).map(|(p, v)| p * v).sum()
    }

    /// `Q(s, a) = E[r + γ V(s′)]`, `[num_states][num_actions]`.
    fn backup(&self, gamma: f64, values: &[f64]) -> Vec<Vec<f64>> {
        let follows = |o: &Outcome| if o.terminated { 0.0 } else { values[o.next] };
        let q = |s: usize, a: usize| -> f64 {
            self.outcomes(s, a).iter().map(|o| o.probability * (o.reward + gamma * follows(o))).sum()
        };
        (0..self.num_states()).map(|s| (0..self.num_actions).map(|a| q(s, a)).collect()).collect()
    }

    /// Iterates the backup with `V(s) = value(s, Q(s, ·))`.
    fn solve(&self, gamma: f64, value: impl Fn(usize, &[f64]) -> f64) -> Result<Vec<Vec<f64>>, EnvError> {
        if !(0.0..1.0).contains(&gamma) {
            return Err(config_error("gamma", gamma, "at least 0 and below 1"));
        }
        let mut values = vec![0.0; self.num_states()];
        loop {
            let q = self.backup(gamma, &values);
            let next: Vec<f64> = q.iter().enumerate().map(|(s, row)| value(s, row)).collect();
            let moved = next.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // The error left is at most γ/(1 − γ) times the last move; rounding keeps large values from standing still.
            let scale = next.iter().fold(1.0f64, |a, v| a.max(v.abs()));
            values = next;
            if moved * gamma <= 1e-13 * scale * (1.0 - gamma).max(1e-2) {
                return Ok(q);
            }
        }
    }
}

fn best(q: &[f64]) -> f64 {
    q.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// The first index whose cumulative probability exceeds `u`; the last possible one where rounding leaves none.
fn chosen(probabilities: impl DoubleEndedIterator<Item = f64> + ExactSizeIterator + Clone, u: f64) -> usize {
    let mut sum = 0.0;
    let exceeds = |p: f64| {
        sum += p;
        sum > u
    };
    let last = || probabilities.clone().rposition(|p| p > 0.0).unwrap_or_default();
    probabilities.clone().position(exceeds).unwrap_or_else(last)
}

fn require_distribution(
    key: &str,
    expected: usize,
    found: usize,
    probabilities: impl Iterator<Item = f64> + Clone,
) -> Result<(), EnvError> {
    // Thirds and the like do not add up to exactly 1; this is far more than their rounding.
    let sums_to_one = (probabilities.clone().sum::<f64>() - 1.0).abs() < 1e-9;
    if found == expected && sums_to_one && probabilities.clone().all(|p| (0.0..=1.0).contains(&p)) {
        return Ok(());
    }
    let given: Vec<f64> = probabilities.collect();
    Err(config_error(key, format!("{given:?}"), format!("{expected} probabilities that add up to 1")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two states; action 0 of state 0 is a coin.
    fn coin(p: f64, next: usize) -> Result<Mdp, EnvError> {
        let flip = vec![Outcome::certain(0.0, 1).with_probability(p), Outcome::end(1.0, 0).with_probability(0.5)];
        let stay = [vec![Outcome::certain(2.0, next)]];
        Mdp::new(
            "coin",
            "A coin.",
            vec![0.25, 0.75],
            vec![vec![flip], stay.concat().into_iter().map(|o| vec![o]).collect()],
        )
    }

    #[test]
    fn what_is_not_a_process_is_refused_with_its_place() {
        let mdp = coin(0.5, 1).unwrap();
        assert_eq!((mdp.num_states(), mdp.num_actions(), mdp.reward_range()), (2, 1, (0.0, 2.0)));
        assert_eq!((mdp.first_state(0.2), mdp.first_state(0.25), mdp.first_state(1.0)), (0, 1, 1));
        assert_eq!(mdp.outcome(0, 0, 0.4999).next, 1);
        assert!(mdp.outcome(0, 0, 0.5).terminated);
        let message = |result: Result<Mdp, EnvError>| result.unwrap_err().to_string();
        assert!(message(coin(0.6, 1)).starts_with("outcomes of action 0 in state 0 = [0.6, 0.5]"));
        assert!(message(coin(0.5, 2)).contains("in state 1"));
        assert!(message(Mdp::new("m", "", vec![1.0], Vec::new())).starts_with("outcomes = 0 states"));
        let ragged = vec![vec![vec![Outcome::end(0.0, 0)]; 2], vec![vec![Outcome::end(0.0, 0)]]];
        assert!(Mdp::new("m", "", vec![1.0, 0.0], ragged).is_err());
        let half = Mdp::new("m", "", vec![0.5], vec![vec![vec![Outcome::end(0.0, 0)]]]);
        assert!(message(half).starts_with("start = [0.5]: 1 probabilities"));
    }

    #[test]
    fn returns_within_a_time_limit_count_only_the_steps_before_it() {
        // From state 1 every step pays 2; from state 0 half of the episodes get there a step later.
        let mdp = coin(0.5, 1).unwrap();
        let only = vec![vec![1.0]; 2];
        let expected = 0.75 * 10.0 + 0.25 * 0.5 * (1.0 + 8.0);
        assert!((mdp.return_within(&only, 5) - expected).abs() < 1e-12);
        assert!((mdp.best_return_within(5) - expected).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn an_outcome_comes_up_as_often_as_its_probability(u in 0.0..1.0f64, cut in 0.01..0.99f64) {
            let split = vec![Outcome::end(0.0, 0).with_probability(cut), Outcome::end(1.0, 0).with_probability(1.0 - cut)];
            let mdp = Mdp::new("m", "", vec![1.0], vec![vec![split]]).unwrap();
            prop_assert_eq!(mdp.outcome(0, 0, u).reward, f64::from(u8::from(u >= cut)));
        }
    }
}
