//! All agents by name, their settings, and how they are built.

use crate::learning::{LearningConfig, Setup, TextModel};
use crate::popular::PopularAgent;
use crate::q_learning::{NextSlate, QLearningConfig, ValueAgent};
use crate::random::RandomAgent;
use crate::reinforce::{ReinforceAgent, ReinforceConfig};
use crate::supervised::{SupervisedAgent, SupervisedConfig};
use crate::supervised_planner::{PlannerAgent, PlannerConfig};
use crate::supervised_then_q_learning::WarmStartConfig;
use crate::top_k_reinforce::{TopKReinforceAgent, TopKReinforceConfig};
use crate::{sarsa, supervised_then_q_learning};
use candle_core::Device;
use retune::agent::Agent;
use retune::env::{CandidateObs, EnvSpec, Slate};
use retune::rng::Seed;
use retune::{Error, Result};
use serde::{Deserialize, Serialize};

/// The agents of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentKind {
    /// [`crate::random`].
    Random,
    /// [`crate::popular`].
    Popular,
    /// [`crate::supervised`].
    Supervised,
    /// [`crate::sarsa`].
    Sarsa,
    /// [`crate::q_learning`].
    QLearning,
    /// [`crate::reinforce`].
    Reinforce,
    /// [`crate::top_k_reinforce`].
    TopKReinforce,
    /// [`crate::supervised_then_q_learning`].
    SupervisedThenQLearning,
    /// [`crate::supervised_planner`].
    SupervisedPlanner,
}

/// What an agent stands for in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Learns from rewards what its own behaviour brings.
    Rl,
    /// Learns from labels, or not at all.
    Supervised,
    /// Knows something that the others must find out; drawn for orientation.
    Reference,
}

impl AgentKind {
    /// All kinds, in the order of reports.
    pub const ALL: [Self; 9] = [
        Self::Random,
        Self::Popular,
        Self::Supervised,
        Self::Sarsa,
        Self::QLearning,
        Self::Reinforce,
        Self::TopKReinforce,
        Self::SupervisedThenQLearning,
        Self::SupervisedPlanner,
    ];

    /// Stable name, as in files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Popular => "popular",
            Self::Supervised => "supervised",
            Self::Sarsa => "sarsa",
            Self::QLearning => "q_learning",
            Self::Reinforce => "reinforce",
            Self::TopKReinforce => "top_k_reinforce",
            Self::SupervisedThenQLearning => "supervised_then_q_learning",
            Self::SupervisedPlanner => "supervised_planner",
        }
    }

    /// One line for people.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Random => "uniformly random slates",
            Self::Popular => "the items clicked most often per time shown in random slates",
            Self::Supervised => "learns clicks and their reward from random slates, then shows what pays most at once",
            Self::Sarsa => "slate values of its own behaviour, with a value for nothing chosen",
            Self::QLearning => "slate values of the best behaviour, with a value for nothing chosen",
            Self::Reinforce => "policy gradient over slates with a baseline and an entropy bonus",
            Self::TopKReinforce => {
                "policy gradient on replayed slates, corrected for who acted and for the slate's size"
            }
            Self::SupervisedThenQLearning => "q_learning that begins as a supervised model, on the same budget",
            Self::SupervisedPlanner => "learns clicks and qualities, then plans with the budget rule it is told",
        }
    }

    /// What it stands for.
    #[must_use]
    pub fn role(self) -> Role {
        match self {
            Self::Random | Self::Popular | Self::Supervised => Role::Supervised,
            Self::Sarsa | Self::QLearning | Self::Reinforce | Self::TopKReinforce | Self::SupervisedThenQLearning => {
                Role::Rl
            }
            Self::SupervisedPlanner => Role::Reference,
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it has parameters that are trained by gradients, and so a text encoder to put them on.
    #[must_use]
    pub fn is_trained(self) -> bool {
        !matches!(self, Self::Random | Self::Popular)
    }
}

/// Settings of all agents of a study. What they share stands once, so that no arm gets more than another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// Budget and optimization.
    pub learning: LearningConfig,
    /// `supervised`.
    pub supervised: SupervisedConfig,
    /// `q_learning`.
    pub q_learning: QLearningConfig,
    /// `sarsa`; its `target` has no effect.
    pub sarsa: QLearningConfig,
    /// `reinforce`.
    pub reinforce: ReinforceConfig,
    /// `top_k_reinforce`.
    pub top_k_reinforce: TopKReinforceConfig,
    /// `supervised_then_q_learning`.
    pub supervised_then_q_learning: WarmStartConfig,
    /// `supervised_planner`.
    pub supervised_planner: PlannerConfig,
}

impl AgentConfig {
    /// Refuses settings out of range, of whichever agent.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key, the value and what would be right.
    pub fn validate(&self) -> Result<()> {
        self.learning.validate()?;
        self.supervised.validate()?;
        self.q_learning.validate("q_learning")?;
        self.sarsa.validate("sarsa")?;
        self.reinforce.validate()?;
        self.top_k_reinforce.validate()?;
        self.supervised_then_q_learning.validate()?;
        self.supervised_planner.validate()
    }
}

/// Builds an agent for the task that `spec` describes as training sees it: its pool are the texts that may be met.
/// `text` reads the texts; without it they are not looked at. All streams of the agent lie under `seed`.
///
/// # Errors
/// [`Error::Config`] if a setting is out of range, the env does not offer candidates and slates, its candidates have
/// only texts and there is no `text`, or the agent does not read texts and there is one.
pub fn build_agent(
    kind: AgentKind,
    config: &AgentConfig,
    spec: &EnvSpec,
    text: Option<&TextModel>,
    device: &Device,
    seed: Seed,
) -> Result<Box<dyn Agent<CandidateObs, Slate>>> {
    config.validate()?;
    if !kind.is_trained() && text.is_some() {
        let expected = format!("{} does not read texts; leave the text model out", kind.name());
        return Err(Error::config("text", "given", expected));
    }
    let setup = &Setup { learning: &config.learning, spec, text, device, seed };
    Ok(match kind {
        AgentKind::Random => Box::new(RandomAgent::new(setup)?),
        AgentKind::Popular => Box::new(PopularAgent::new(setup)?),
        AgentKind::Supervised => Box::new(SupervisedAgent::new(setup, &config.supervised)?),
        AgentKind::Sarsa => Box::new(sarsa::agent(setup, &config.sarsa)?),
        AgentKind::QLearning => Box::new(ValueAgent::new(setup, &config.q_learning, NextSlate::Best, 0)?),
        AgentKind::Reinforce => Box::new(ReinforceAgent::new(setup, &config.reinforce)?),
        AgentKind::TopKReinforce => Box::new(TopKReinforceAgent::new(setup, &config.top_k_reinforce)?),
        AgentKind::SupervisedThenQLearning => {
            Box::new(supervised_then_q_learning::agent(setup, &config.supervised_then_q_learning)?)
        }
        AgentKind::SupervisedPlanner => Box::new(PlannerAgent::new(setup, &config.supervised_planner)?),
    })
}
