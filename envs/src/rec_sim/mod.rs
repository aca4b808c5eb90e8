//! Recommendation to simulated users, after RecSim 0.2.4 (Ie et al., arXiv:1909.04847).
//!
//! A user is offered C candidates at each step; the agent shows k of them; the user consumes at most one and changes.
//! [`shared`] holds what the environments have in common, [`sim`] the loop without observations (fast, sees
//! everything), [`env`] the [`retune::env::Env`] on top of it. [`interest_evolution`] rewards minutes watched, has a
//! feature form and a text form, and is the one studies are made of; [`interest_exploration`] and
//! [`long_term_satisfaction`] ask for exploration and for patience. [`mod@reference`] holds policies that see what is
//! hidden, [`metrics`] what is measured, [`catalogue`] the items of the text form.

pub mod catalogue;
pub mod choice;
pub mod env;
#[cfg(test)]
mod golden;
pub mod interest_evolution;
pub mod interest_exploration;
#[cfg(test)]
mod laws;
pub mod long_term_satisfaction;
pub mod metrics;
pub mod reference;
pub mod shared;
pub mod sim;

pub use catalogue::{Catalogue, CatalogueConfig, Split};
pub use env::RecSim;
pub use interest_evolution::{EvolutionConfig, EvolutionModel, InterestEvolution, ObservationMode};
pub use interest_exploration::{ExplorationConfig, ExplorationModel, InterestExploration};
pub use long_term_satisfaction::{LongTermSatisfaction, SatisfactionConfig, SatisfactionModel};
pub use metrics::{EpisodeRecord, Metrics, Summary, normalized_score};
pub use reference::{ReferencePolicy, evaluate};
pub use shared::{ItemFacts, LoopConfig, Model, Outcome, StepFacts};
pub use sim::Sim;
