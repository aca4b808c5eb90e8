//! Agents for single decisions and for tables, by name.

use crate::arms::{Algorithm, Kind};
use retune_agents::dqn::Bootstrap;
use retune_agents::inquirer::QuestionRule;
use retune_agents::tabular::TabularAlgorithm;

/// Every algorithm, references first.
pub const ALGORITHMS: &[Algorithm] = &[
    Algorithm::reference("random", "Takes a uniformly random legal action."),
    Algorithm::rl("dqn", "Deep Q-learning from replayed experience."),
    Algorithm::rl("double_dqn", "DQN whose targets choose and value the next action with different networks."),
    Algorithm::rl("c51", "DQN that learns the distribution of returns on fixed atoms."),
    Algorithm::rl("qr_dqn", "DQN that learns quantiles of the return."),
    Algorithm::rl("rainbow", "DQN with all extensions: double, dueling, n-step, prioritised, C51, noisy layers."),
    Algorithm::rl("deep_sarsa", "The value of the next action that was really taken, from replayed experience."),
    Algorithm::rl("deep_expected_sarsa", "The expected value of the next action, from replayed experience."),
    Algorithm::rl("vanilla", "REINFORCE with a baseline, on whole episodes."),
    Algorithm::rl("a2c", "Actor-critic, one update per round."),
    Algorithm::rl("ppo", "Actor-critic, several clipped updates per round."),
    Algorithm::rl("impala", "Actor-critic that corrects for policies that acted earlier (V-trace)."),
    Algorithm::rl("grpo", "Policy gradient whose baseline is the mean of a group of episodes."),
    Algorithm::rl("sac", "Soft actor-critic for discrete actions, from replayed experience."),
    table("q_learning", "A table of values towards the best next action."),
    table("double_q", "Two tables, each valuing the other's best action."),
    table("sarsa", "A table of values towards the next action that was really taken."),
    table("expected_sarsa", "A table of values towards the expectation over the next action."),
    table("tree_backup", "A table of values, several steps ahead without importance weights."),
    table("sarsa_lambda", "Sarsa with eligibility traces."),
    table("q_lambda", "Q-learning with eligibility traces that exploring cuts."),
];

/// Supervised baselines for tasks that end with an answer, such as a diagnosis.
pub const ANSWERING: &[Algorithm] = &[
    supervised("supervised", "Classifier on random questions; asks the largest learnt drop of its loss."),
    supervised("supervised_per_cost", "The same classifier; asks the largest learnt drop of its loss per cost."),
    supervised("supervised_static", "The same classifier; asks in one order, by the mean drop of its loss."),
    supervised("supervised_random", "The same classifier; asks any open question."),
];

const fn supervised(name: &'static str, about: &'static str) -> Algorithm {
    Algorithm { name, kind: Kind::Supervised, trains: true, about }
}

const fn table(name: &'static str, about: &'static str) -> Algorithm {
    Algorithm { name, kind: Kind::Rl, trains: false, about }
}

/// Policy gradients on fresh experience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyAlgorithm {
    /// REINFORCE with a baseline.
    Vanilla,
    /// A2C.
    A2c,
    /// PPO.
    Ppo,
    /// V-trace.
    Impala,
    /// Group baselines.
    Grpo,
}

/// Algorithms with the same settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Nothing to learn.
    Random,
    /// DQN and its relatives; what their targets take at the next state.
    Value(Bootstrap),
    /// Policy gradients.
    Policy(PolicyAlgorithm),
    /// Soft actor-critic.
    Sac,
    /// A classifier of answers with a rule for questions.
    Inquirer(QuestionRule),
    /// Tables.
    Tabular(TabularAlgorithm),
}

impl Family {
    /// That of an algorithm of [`ALGORITHMS`] or [`ANSWERING`].
    #[must_use]
    pub fn of(algorithm: &Algorithm) -> Self {
        let tabular = TabularAlgorithm::ALL.into_iter().find(|tabular| tabular.name() == algorithm.name);
        match (tabular, algorithm.name) {
            (Some(tabular), _) => Self::Tabular(tabular),
            (None, "deep_sarsa") => Self::Value(Bootstrap::Taken),
            (None, "deep_expected_sarsa") => Self::Value(Bootstrap::Expected),
            (None, "vanilla") => Self::Policy(PolicyAlgorithm::Vanilla),
            (None, "a2c") => Self::Policy(PolicyAlgorithm::A2c),
            (None, "ppo") => Self::Policy(PolicyAlgorithm::Ppo),
            (None, "impala") => Self::Policy(PolicyAlgorithm::Impala),
            (None, "grpo") => Self::Policy(PolicyAlgorithm::Grpo),
            (None, "sac") => Self::Sac,
            (None, "supervised") => Self::Inquirer(QuestionRule::Gain),
            (None, "supervised_per_cost") => Self::Inquirer(QuestionRule::GainPerCost),
            (None, "supervised_static") => Self::Inquirer(QuestionRule::Static),
            (None, "supervised_random") => Self::Inquirer(QuestionRule::Random),
            (None, _) if algorithm.kind == Kind::Reference => Self::Random,
            (None, _) => Self::Value(Bootstrap::Greedy),
        }
    }

    /// As settings name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Value(_) => "value",
            Self::Policy(_) => "policy",
            Self::Sac => "sac",
            Self::Inquirer(_) => "supervised",
            Self::Tabular(_) => "tabular",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tabular_algorithm_is_an_arm() {
        for tabular in TabularAlgorithm::ALL {
            let arm = ALGORITHMS.iter().find(|a| a.name == tabular.name()).expect("an arm");
            assert_eq!(Family::of(arm), Family::Tabular(tabular));
        }
    }
}
