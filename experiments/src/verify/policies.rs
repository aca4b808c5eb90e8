//! What policy gradients learn on a two-armed bandit.
//!
//! With an entropy bonus of weight τ the best policy is the softmax of the values over τ: a probability well inside
//! (0, 1), which a wrong sign, a wrong baseline, a wrong weight and a wrong bonus all miss. Group baselines hold the
//! reward itself, so that of its advantage the share 1 − 1/G is left.

use super::{Found, Listed, Subjects};
use anyhow::Result;
use retune::nn::mlp::Activation;
use retune_agents::net::{NetConfig, NetInit};
use retune_agents::policy_gradient::{A2cConfig, GrpoConfig, ImpalaConfig, PpoConfig, Recipe, VanillaConfig};
use retune_agents::sac::SacConfig;
use retune_envs::finite::Mdp;

/// Weight of the entropy bonus, and temperature of SAC.
const TAU: f64 = 0.5;
/// What one arm pays more than the other.
const GAP: f64 = 0.6;
const GROUP: usize = 16;
const SOFT: &str = "closed form: softmax of values over tau";
const GREEDY: &str = "closed form: the better arm";

pub const CHECKS: &[Listed] = &[
    ("REINFORCE with baseline, soft optimum", SOFT, |s| soft(s, &vanilla(TAU), 1.0)),
    ("A2C, soft optimum", SOFT, |s| soft(s, &a2c(TAU), 1.0)),
    ("PPO, soft optimum", SOFT, |s| soft(s, &ppo(TAU)?, 1.0)),
    ("actor-critic with V-trace, soft optimum", SOFT, |s| soft(s, &impala(TAU), 1.0)),
    ("GRPO, soft optimum", SOFT, |s| soft(s, &grpo(TAU)?, 1.0 - 1.0 / GROUP as f64)),
    ("SAC, soft optimum", SOFT, sac),
    ("policy gradients without a bonus", GREEDY, greedy),
];

fn vanilla(ent_coef: f64) -> Recipe {
    VanillaConfig { norm_adv: false, ent_coef, anneal_lr: true, ..VanillaConfig::default() }.recipe()
}

fn a2c(ent_coef: f64) -> Recipe {
    A2cConfig { ent_coef, anneal_lr: true, ..A2cConfig::default() }.recipe()
}

fn ppo(ent_coef: f64) -> Result<Recipe> {
    let config = PpoConfig { norm_adv: false, clip_vloss: false, ent_coef, minibatch_size: 64, ..PpoConfig::default() };
    Ok(config.recipe()?)
}

fn impala(ent_coef: f64) -> Recipe {
    ImpalaConfig { ent_coef, ..ImpalaConfig::default() }.recipe()
}

fn grpo(ent_coef: f64) -> Result<Recipe> {
    let config = GrpoConfig { group_size: GROUP, normalize: false, ent_coef, kl_coef: 0.0, ..GrpoConfig::default() };
    Ok(GrpoConfig { anneal_lr: true, ..config }.recipe()?)
}

fn net(init: NetInit) -> NetConfig {
    let mut net = NetConfig { hidden: vec![8], activation: Activation::Tanh, init, ..NetConfig::default() };
    net.optimizer.learning_rate = 1e-2;
    net
}

/// Probability of the better arm where it is worth `gap` more.
fn sigmoid(gap: f64) -> f64 {
    1.0 / (1.0 + (-gap / TAU).exp())
}

fn soft(subjects: &Subjects, recipe: &Recipe, share: f64) -> Result<Found> {
    let mut found = Found::within(0.03);
    let better = (subjects.train_policy)(&net(NetInit::Orthogonal), recipe, &Mdp::two_armed_bandit(), 25_600)?;
    found.compare(better, sigmoid(GAP * share));
    Ok(found)
}

fn sac(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(0.03);
    let config = SacConfig {
        net: net(NetInit::Torch),
        tau: 0.05,
        buffer_size: 6_400,
        learning_starts: 128,
        batch_size: 64,
        env_steps_per_update: 4,
        alpha: TAU,
        autotune: false,
        ..SacConfig::default()
    };
    let better = (subjects.train_sac)(&config, &Mdp::two_armed_bandit(), 6_400)?;
    found.compare(better, sigmoid(GAP));
    Ok(found)
}

/// Without a bonus the better arm is all that is left.
fn greedy(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(0.05);
    for recipe in [vanilla(0.0), a2c(0.0), ppo(0.0)?, impala(0.0), grpo(0.0)?] {
        let better = (subjects.train_policy)(&net(NetInit::Orthogonal), &recipe, &Mdp::two_armed_bandit(), 12_800)?;
        found.compare(better, 1.0);
    }
    Ok(found)
}
