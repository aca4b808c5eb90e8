//! From an arm and its settings to an agent.

use super::config::RecSimConfig;
use super::prepared::RecSimStudy;
use super::world::{Items, World};
use crate::arms::Arm;
use crate::backbones;
use crate::failure::bad_input;
use crate::study::{TrialId, TrialSeeds};
use anyhow::Result;
use retune::agent::{Agent, Stop};
use retune::backbone::BackboneOptions;
use retune::env::{CandidateObs, Slate};
use retune::nn::{Adafactor, AdamW, Algorithm, Sgd};
use retune::slate::SlateRule;
use retune_agents::q_learning::{Epsilon, QLearningConfig, TargetNetwork, TdLoss};
use retune_agents::reinforce::ReinforceConfig;
use retune_agents::supervised::SupervisedConfig;
use retune_agents::supervised_planner::{BudgetRule, PlannerConfig};
use retune_agents::supervised_then_q_learning::WarmStartConfig;
use retune_agents::top_k_reinforce::TopKReinforceConfig;
use retune_agents::{AgentConfig, AgentKind, LearningConfig, TextModel, build_agent};
use retune_envs::rec_sim::interest_evolution::EvolutionModel;
use serde::Deserialize;

/// Optimizers by the names of the setting `agent.optimizer`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OptimizerName {
    Adamw,
    Sgd,
    Adafactor,
}

/// An agent for candidate sets.
pub type SlateAgent = dyn Agent<CandidateObs, Slate>;

/// The table `agent` of the settings, for one arm.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentSettings {
    learning_starts: u64,
    env_steps_per_update: u64,
    batch_size: usize,
    buffer_size: usize,
    optimizer: OptimizerName,
    momentum: f64,
    nesterov: bool,
    learning_rate: f64,
    encoder_learning_rate: f64,
    weight_decay: f64,
    max_grad_norm: f64,
    average_decay: f64,
    hidden: usize,
    clusters: usize,
    encoder_batch_size: usize,
    table_refresh_updates: u64,
    interaction_hidden: usize,
    interaction_decay: f64,
    gamma: f64,
    target: SlateRule,
    serving: SlateRule,
    null_value: bool,
    huber_delta: f64,
    target_updates: u64,
    target_tau: f64,
    epsilon_start: f64,
    epsilon_end: f64,
    epsilon_share: f64,
    value_rate: f64,
    level_decay: f64,
    choice_coef: f64,
    reward_coef: f64,
    quality_coef: f64,
    supervised_share: f64,
    warm_start_epsilon: f64,
    gae_lambda: f64,
    ent_coef: f64,
    vf_coef: f64,
    max_ratio: f64,
    baseline_decay: f64,
    replay_size: usize,
    top_k: bool,
}

impl AgentSettings {
    fn of(config: &RecSimConfig, arm: &Arm) -> Result<Self> {
        Ok(toml::Value::Table(config.agent_table(arm)).try_into()?)
    }

    /// As the agents take it. `rule` is what `supervised_planner` is told about the hidden budget.
    fn config(&self, config: &RecSimConfig, rule: BudgetRule) -> AgentConfig {
        let (interaction_hidden, interaction_decay) = (self.interaction_hidden, self.interaction_decay);
        let warm = Epsilon { start: self.warm_start_epsilon, ..self.epsilon() };
        AgentConfig {
            learning: self.learning(config),
            supervised: SupervisedConfig {
                reward_coef: self.reward_coef,
                reward_hidden: interaction_hidden,
                interaction_decay,
            },
            q_learning: self.q_learning(),
            sarsa: self.q_learning(),
            reinforce: ReinforceConfig {
                gamma: self.gamma,
                gae_lambda: self.gae_lambda,
                ent_coef: self.ent_coef,
                vf_coef: self.vf_coef,
                max_ratio: self.max_ratio,
                interaction_decay,
                baseline_decay: self.baseline_decay,
            },
            top_k_reinforce: self.top_k_reinforce(),
            supervised_then_q_learning: WarmStartConfig {
                supervised_share: self.supervised_share,
                q_learning: QLearningConfig { epsilon: warm, ..self.q_learning() },
            },
            supervised_planner: PlannerConfig {
                rule,
                quality_coef: self.quality_coef,
                quality_hidden: interaction_hidden,
                interaction_decay,
            },
        }
    }

    fn top_k_reinforce(&self) -> TopKReinforceConfig {
        TopKReinforceConfig {
            gamma: self.gamma,
            ent_coef: self.ent_coef,
            vf_coef: self.vf_coef,
            max_ratio: self.max_ratio,
            replay_size: self.replay_size,
            top_k: self.top_k,
            interaction_decay: self.interaction_decay,
            baseline_decay: self.baseline_decay,
        }
    }

    fn epsilon(&self) -> Epsilon {
        Epsilon { start: self.epsilon_start, end: self.epsilon_end, share: self.epsilon_share }
    }

    fn learning(&self, config: &RecSimConfig) -> LearningConfig {
        LearningConfig {
            env_steps: config.train.env_steps,
            num_envs: config.train.num_envs,
            learning_starts: self.learning_starts,
            env_steps_per_update: self.env_steps_per_update,
            batch_size: self.batch_size,
            buffer_size: self.buffer_size,
            optimizer: self.optimizer(),
            learning_rate: self.learning_rate,
            encoder_learning_rate: self.encoder_learning_rate,
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            average_decay: self.average_decay,
            hidden: self.hidden,
            clusters: self.clusters,
            encoder_batch_size: self.encoder_batch_size,
            table_refresh_updates: self.table_refresh_updates,
        }
    }

    fn optimizer(&self) -> Algorithm {
        match self.optimizer {
            OptimizerName::Adamw => Algorithm::AdamW(AdamW::default()),
            OptimizerName::Sgd => Algorithm::Sgd(Sgd { momentum: self.momentum, nesterov: self.nesterov }),
            OptimizerName::Adafactor => Algorithm::Adafactor(Adafactor::default()),
        }
    }

    fn q_learning(&self) -> QLearningConfig {
        QLearningConfig {
            gamma: self.gamma,
            target: self.target,
            serving: self.serving,
            null_value: self.null_value,
            loss: if self.huber_delta > 0.0 { TdLoss::Huber { delta: self.huber_delta } } else { TdLoss::Squared },
            target_network: if self.target_tau > 0.0 {
                TargetNetwork::Soft { tau: self.target_tau }
            } else {
                TargetNetwork::Hard { updates: self.target_updates }
            },
            epsilon: self.epsilon(),
            value_rate: self.value_rate,
            advantage_hidden: self.interaction_hidden,
            interaction_decay: self.interaction_decay,
            level_decay: self.level_decay,
            choice_coef: self.choice_coef,
        }
    }
}

/// Checks that the settings of every arm go together.
///
/// # Errors
/// [`crate::failure::BadInput`] naming the arm and the settings.
pub fn check(config: &RecSimConfig, arms: &[Arm]) -> Result<()> {
    for arm in arms.iter().filter(|arm| arm.algorithm.trains) {
        let settings = AgentSettings::of(config, arm)?;
        if settings.learning_starts >= config.train.env_steps {
            return Err(bad_input(format!(
                "agent.learning_starts = {} (arm {arm}): expected less than train.env_steps = {}",
                settings.learning_starts, config.train.env_steps
            )));
        }
        if settings.buffer_size < settings.batch_size {
            return Err(bad_input(format!(
                "agent.buffer_size = {} (arm {arm}): expected at least agent.batch_size = {}",
                settings.buffer_size, settings.batch_size
            )));
        }
        if arm.algorithm.name == AgentKind::TopKReinforce.name() && settings.replay_size < settings.batch_size {
            return Err(bad_input(format!(
                "agent.replay_size = {} (arm {arm}): expected at least agent.batch_size = {}",
                settings.replay_size, settings.batch_size
            )));
        }
        settings.config(config, BudgetRule::default()).validate()?;
    }
    Ok(())
}

/// The agent of a trial, and the tokens that were read for it beforehand.
///
/// # Errors
/// If a setting is out of range or a text cannot be encoded.
pub fn build(study: &RecSimStudy, trial: &TrialId, stop: &Stop) -> retune::Result<(Box<SlateAgent>, u64)> {
    let RecSimStudy { config, world, backbones: encoders, device, .. } = study;
    let settings = AgentSettings::of(config, &trial.arm).map_err(|e| retune::Error::State(e.to_string()))?;
    let unknown = || retune::Error::State(format!("no agent is called {}", trial.arm.algorithm.name));
    let kind = AgentKind::from_name(trial.arm.algorithm.name).ok_or_else(unknown)?;
    let reads = encoders.as_ref().filter(|_| kind.is_trained());
    let encoder = reads.map(|all| all.encoder(&trial.arm, trial.seed, stop)).transpose()?;
    let shared_tokens = encoder.as_ref().map_or(0, |e| e.shared_tokens);
    let text = encoder.map(|encoder| TextModel {
        options: BackboneOptions {
            recompute: config.recompute,
            ..backbones::options(&encoder.weights, trial.arm.mode.of_backbone())
        },
        weights: encoder.weights,
        cache: encoder.cache,
        stop: stop.clone(),
    });
    let rule = if kind == AgentKind::SupervisedPlanner { told(world)? } else { BudgetRule::default() };
    let seed = TrialSeeds::new(config.seed, trial.seed).agent();
    let spec = world.spec(Items::Train)?;
    let agent = build_agent(kind, &settings.config(config, rule), &spec, text.as_ref(), device, seed)?;
    Ok((agent, shared_tokens))
}

/// The budget rule of these users, with the worth of a minute that the planner who knows everything found.
fn told(world: &World) -> retune::Result<BudgetRule> {
    let model: &EvolutionModel = world.model(Items::Train)?;
    let config = model.config();
    Ok(BudgetRule {
        watch: config.document_length,
        gain: config.budget_gain,
        no_click_cost: config.step_penalty,
        lambda: world.planner(Items::Train)?.lambda(),
    })
}
