//! The table `agent` of the settings, for one arm, and what each family of agents makes of it.

use super::{Family, PolicyAlgorithm};
use crate::arms::{self, Arm, Kind};
use crate::config::Layers;
use crate::failure::bad_input;
use crate::study::{Collection, TrainMode, check_threads};
use anyhow::Result;
use retune::nn::mlp::{Activation, AdamConfig};
use retune::replay::PriorityConfig;
use retune_agents::dqn::{Bootstrap, Distribution, DqnConfig, Exploration, Prioritized};
use retune_agents::inquirer::{InquirerConfig, QuestionRule};
use retune_agents::losses::TdLoss;
use retune_agents::net::{NetConfig, NetInit};
use retune_agents::policy_gradient::{
    A2cConfig, GrpoConfig, ImpalaConfig, LabelConfig, PpoConfig, Recipe, VanillaConfig,
};
use retune_agents::q_learning::TargetNetwork;
use retune_agents::sac::SacConfig;
use retune_agents::tabular::{Linear, TabularAlgorithm, TabularConfig, TraceKind};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Refuses a setting for one arm that the arm does not look at.
fn check_use(arm: &Arm, spelling: &str, key: &str, layers: &Layers<'_>) -> Result<()> {
    let family = Family::of(&arm.algorithm).name();
    let users = &layers.schema().get(&format!("agent.{key}"), "")?.used_by;
    if users.iter().any(|user| user == family || user == "all") {
        return Ok(());
    }
    Err(bad_input(format!(
        "{}: {} does not use agent.{key}, only agents of the family {} do",
        layers.show(&format!("arm.{spelling}.{key}")),
        arm.algorithm.name,
        users.join(", ")
    )))
}

/// What every study of these agents checks alike: settings of one arm are such as it looks at, slots fill their shards,
/// shards their threads. Settings of arms that do not take part are taken out of `own`.
///
/// # Errors
/// [`crate::failure::BadInput`] naming the setting and where it came from.
pub fn settle_arms(
    arms: &[Arm],
    common: &toml::Table,
    own: &mut BTreeMap<String, toml::Table>,
    (mode, actors): (TrainMode, usize),
    parse: impl Fn(&str) -> Result<Arm>,
    layers: &Layers<'_>,
) -> Result<()> {
    for (spelling, table) in own.iter() {
        let arm = parse(spelling)?;
        table.keys().try_for_each(|key| check_use(&arm, spelling, key, layers))?;
    }
    for arm in arms.iter().filter(|arm| arm.algorithm.kind != Kind::Reference) {
        let collection = AgentSettings::from_table(arms::settings(arm, common, own))?.collection();
        if collection.shard_size > collection.num_envs {
            return Err(bad_input(format!(
                "agent.shard_size = {} (arm {arm}): expected at most agent.num_envs = {}",
                collection.shard_size, collection.num_envs
            )));
        }
        check_threads(mode, actors, collection.num_shards(), layers)?;
    }
    // Only what this study uses goes into its manifest.
    let used: Vec<String> = arms.iter().flat_map(Arm::setting_names).collect();
    own.retain(|spelling, _| used.contains(spelling));
    Ok(())
}

/// What is learnt of the return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Learnt {
    Mean,
    Categorical,
    Quantile,
}

/// All settings of agents; meaning, unit and range of each are in `presets/deep/settings.toml`. No agent uses all
/// of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSettings {
    num_envs: usize,
    shard_size: usize,
    num_steps: usize,
    gamma: f64,
    reward_scale: f64,
    learning_rate: f64,
    learning_rate_end: f64,
    hidden: Vec<usize>,
    activation: Activation,
    adam_eps: f64,
    max_grad_norm: f64,
    exploration_initial_eps: f64,
    exploration_final_eps: f64,
    exploration_fraction: f64,
    buffer_size: usize,
    learning_starts: u64,
    batch_size: usize,
    train_freq: u64,
    gradient_steps: u64,
    target_update_interval: u64,
    tau: f64,
    n_step: usize,
    double_q: bool,
    dueling: bool,
    noisy: bool,
    direct: bool,
    prioritized: bool,
    priority_alpha: f64,
    priority_beta: f64,
    distribution: Learnt,
    v_min: f64,
    v_max: f64,
    num_atoms: usize,
    num_quantiles: usize,
    huber_delta: f64,
    initial_q: f64,
    visit_exponent: f64,
    lambda: f64,
    trace: TraceKind,
    gae_lambda: f64,
    update_epochs: usize,
    minibatch_size: usize,
    clip_coef: f64,
    clip_vloss: bool,
    norm_adv: bool,
    ent_coef: f64,
    anneal_ent: bool,
    label_coef: f64,
    label_memory: usize,
    label_warmup: f64,
    label_updates: usize,
    label_reward: bool,
    gain_coef: f64,
    threshold: f64,
    vf_coef: f64,
    target_kl: f64,
    kl_coef: f64,
    anneal_clip: bool,
    rho_bar: f64,
    c_bar: f64,
    group_size: usize,
    alpha: f64,
    autotune: bool,
    target_entropy_scale: f64,
}

impl AgentSettings {
    /// From the table of one arm.
    ///
    /// # Errors
    /// If a setting is missing or unknown, which the schema excludes.
    pub fn from_table(table: toml::Table) -> Result<Self> {
        Ok(toml::Value::Table(table).try_into()?)
    }

    /// How experience is collected.
    #[must_use]
    pub fn collection(&self) -> Collection {
        let shard_size = if self.shard_size == 0 { self.num_envs } else { self.shard_size };
        Collection { num_envs: self.num_envs, shard_size, steps_per_round: self.num_steps }
    }

    /// Observations that an agent of this family holds at once over a budget of `env_steps`.
    #[must_use]
    pub fn observations_held(&self, family: Family, env_steps: u64) -> usize {
        match family {
            Family::Value(_) | Family::Sac => self.buffer_size.min(usize::try_from(env_steps).unwrap_or(usize::MAX)),
            _ => self.num_envs.saturating_mul(self.num_steps),
        }
    }

    /// For DQN and its relatives, with targets from `bootstrap`.
    #[must_use]
    pub fn dqn(&self, bootstrap: Bootstrap) -> DqnConfig {
        DqnConfig {
            gamma: self.gamma,
            reward_scale: self.reward_scale,
            buffer_size: self.buffer_size,
            learning_starts: self.learning_starts,
            batch_size: self.batch_size,
            train_freq: self.train_freq,
            gradient_steps: self.gradient_steps,
            target_network: if self.tau > 0.0 {
                TargetNetwork::Soft { tau: self.tau }
            } else {
                TargetNetwork::Hard { updates: self.target_update_interval }
            },
            exploration: Exploration {
                initial_eps: self.exploration_initial_eps,
                final_eps: self.exploration_final_eps,
                fraction: self.exploration_fraction,
            },
            bootstrap,
            double_q: self.double_q,
            dueling: self.dueling,
            n_step: self.n_step,
            prioritized: self.prioritized.then(|| Prioritized {
                priorities: PriorityConfig { alpha: self.priority_alpha, ..PriorityConfig::default() },
                beta: self.priority_beta,
            }),
            distribution: self.distribution(),
            loss: if self.huber_delta > 0.0 { TdLoss::Huber { delta: self.huber_delta } } else { TdLoss::Squared },
            label_coef: self.label_coef,
            label_memory: self.label_memory,
            learning_rate_end: self.learning_rate_end,
            net: NetConfig { shared: true, init: NetInit::Torch, ..self.net() },
        }
    }

    /// What `algorithm` makes of a round.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn policy(&self, algorithm: PolicyAlgorithm) -> retune::Result<Recipe> {
        let (gamma, ent_coef, vf_coef, kl_coef) = (self.gamma, self.ent_coef, self.vf_coef, self.kl_coef);
        let (anneal_ent, labels) = (self.anneal_ent, self.labels());
        let net = NetConfig::default();
        // Schedules fall to 0 or not at all in these agents.
        let anneal_lr = self.learning_rate_end < 1.0;
        let recipe = match algorithm {
            PolicyAlgorithm::Ppo => PpoConfig {
                net,
                gamma,
                gae_lambda: self.gae_lambda,
                update_epochs: self.update_epochs,
                minibatch_size: self.minibatch_size,
                clip_coef: self.clip_coef,
                clip_vloss: self.clip_vloss,
                norm_adv: self.norm_adv,
                ent_coef,
                anneal_ent,
                labels,
                vf_coef,
                target_kl: (self.target_kl > 0.0).then_some(self.target_kl),
                kl_coef,
                anneal_lr,
                anneal_clip: self.anneal_clip,
            }
            .recipe()?,
            PolicyAlgorithm::A2c => {
                let (gae_lambda, norm_adv) = (self.gae_lambda, self.norm_adv);
                A2cConfig {
                    net,
                    gamma,
                    gae_lambda,
                    norm_adv,
                    ent_coef,
                    anneal_ent,
                    labels,
                    vf_coef,
                    kl_coef,
                    anneal_lr,
                }
                .recipe()
            }
            PolicyAlgorithm::Vanilla => {
                let norm_adv = self.norm_adv;
                VanillaConfig { net, gamma, norm_adv, ent_coef, anneal_ent, labels, vf_coef, kl_coef, anneal_lr }
                    .recipe()
            }
            PolicyAlgorithm::Impala => ImpalaConfig {
                net,
                gamma,
                lambda: self.gae_lambda,
                rho_bar: self.rho_bar,
                c_bar: self.c_bar,
                pg_rho_bar: self.rho_bar,
                update_epochs: self.update_epochs,
                ent_coef,
                anneal_ent,
                labels,
                vf_coef,
                kl_coef,
                anneal_lr,
            }
            .recipe(),
            PolicyAlgorithm::Grpo => GrpoConfig {
                net,
                group_size: self.group_size,
                normalize: self.norm_adv,
                clip_coef: self.clip_coef,
                update_epochs: self.update_epochs,
                ent_coef,
                anneal_ent,
                labels,
                kl_coef,
                anneal_lr,
            }
            .recipe()?,
        };
        Ok(Recipe { reward_scale: self.reward_scale, ..recipe })
    }

    /// What is learnt from the labels that end episodes.
    fn labels(&self) -> LabelConfig {
        LabelConfig {
            coef: self.label_coef,
            memory: self.label_memory,
            warmup: self.label_warmup,
            updates: self.label_updates,
            reward: self.label_reward,
        }
    }

    /// The network of policies and their values: layers of their own, orthogonal at the start.
    #[must_use]
    pub fn policy_net(&self) -> NetConfig {
        NetConfig { shared: false, init: NetInit::Orthogonal, ..self.net() }
    }

    /// For the supervised baseline of tasks that end with an answer.
    #[must_use]
    pub fn inquirer(&self, rule: QuestionRule) -> InquirerConfig {
        InquirerConfig {
            net: self.policy_net(),
            update_epochs: self.update_epochs,
            minibatch_size: self.minibatch_size,
            gain_coef: self.gain_coef,
            anneal_lr: self.learning_rate_end < 1.0,
            rule,
            threshold: self.threshold,
        }
    }

    /// For discrete soft actor-critic.
    #[must_use]
    pub fn sac(&self) -> SacConfig {
        SacConfig {
            net: NetConfig { shared: false, init: NetInit::Torch, ..self.net() },
            gamma: self.gamma,
            tau: self.tau,
            buffer_size: self.buffer_size,
            learning_starts: usize::try_from(self.learning_starts).unwrap_or(usize::MAX),
            batch_size: self.batch_size,
            env_steps_per_update: self.train_freq,
            alpha: self.alpha,
            autotune: self.autotune,
            target_entropy_scale: self.target_entropy_scale,
            alpha_learning_rate: self.learning_rate,
        }
    }

    /// For the tabular agents, over a budget of `env_steps`.
    #[must_use]
    pub fn tabular(&self, algorithm: TabularAlgorithm, env_steps: u64) -> TabularConfig {
        let share = |fraction: f64| (env_steps as f64 * fraction).round() as u64;
        TabularConfig {
            algorithm,
            gamma: self.gamma,
            learning_rate: Linear {
                start: self.learning_rate,
                end: self.learning_rate * self.learning_rate_end,
                env_steps,
            },
            visit_exponent: self.visit_exponent,
            epsilon: Linear {
                start: self.exploration_initial_eps,
                end: self.exploration_final_eps,
                env_steps: share(self.exploration_fraction),
            },
            initial_q: self.initial_q,
            n_steps: self.n_step,
            lambda: self.lambda,
            trace: self.trace,
        }
    }

    fn distribution(&self) -> Distribution {
        match self.distribution {
            Learnt::Mean => Distribution::Mean,
            Learnt::Categorical => {
                Distribution::Categorical { v_min: self.v_min, v_max: self.v_max, num_atoms: self.num_atoms }
            }
            // Where the loss on quantiles becomes linear is fixed at 1, as in the paper.
            Learnt::Quantile => Distribution::Quantile { num_quantiles: self.num_quantiles, kappa: 1.0 },
        }
    }

    fn net(&self) -> NetConfig {
        NetConfig {
            hidden: self.hidden.clone(),
            activation: self.activation,
            noisy: self.noisy,
            direct: self.direct,
            optimizer: AdamConfig {
                learning_rate: self.learning_rate,
                eps: self.adam_eps,
                max_grad_norm: Some(self.max_grad_norm),
                ..AdamConfig::default()
            },
            ..NetConfig::default()
        }
    }
}
