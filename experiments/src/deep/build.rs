//! From an arm and its settings to an agent.

use super::{AgentSettings, Family};
use crate::arms::Arm;
use retune::agent::Agent;
use retune::env::{CandidateObs, EnvSpec, Slate};
use retune::rng::Seed;
use retune::{Error, Result};
use retune_agents::dqn::DqnAgent;
use retune_agents::inquirer::InquirerAgent;
use retune_agents::policy_gradient::PolicyGradientAgent;
use retune_agents::sac::SacAgent;
use retune_agents::tabular::{BlockTableAgent, TabularAgent, TabularAlgorithm};
use retune_agents::{AgentConfig, AgentKind, Setup, build_agent};

/// The agent of an arm that sees candidates.
///
/// # Errors
/// [`Error::Config`] if a setting is out of range or contradicts another, or the agent does not fit the task.
pub fn build(arm: &Arm, settings: &AgentSettings, setup: &Setup<'_>) -> Result<Box<dyn Agent<CandidateObs, Slate>>> {
    Ok(match Family::of(&arm.algorithm) {
        Family::Random => {
            let config = AgentConfig::default();
            build_agent(AgentKind::Random, &config, setup.spec, None, setup.device, setup.seed)?
        }
        Family::Value(bootstrap) => {
            let agent = DqnAgent::new(setup, &settings.dqn(bootstrap), "agent");
            Box::new(agent.map_err(|e| of_arm(arm, "", e))?)
        }
        Family::Policy(algorithm) => {
            let recipe = settings.policy(algorithm);
            let agent = recipe.and_then(|recipe| PolicyGradientAgent::new(setup, &settings.policy_net(), &recipe));
            Box::new(agent.map_err(|e| of_arm(arm, "", e))?)
        }
        Family::Sac => Box::new(SacAgent::new(setup, &settings.sac()).map_err(|e| of_arm(arm, "", e))?),
        Family::Inquirer(rule) => {
            Box::new(InquirerAgent::new(setup, &settings.inquirer(rule)).map_err(|e| of_arm(arm, "", e))?)
        }
        Family::Tabular(_) => {
            let expected = format!("the arm {arm} learns tables and needs a task with numbered states");
            return Err(Error::config("env.id", &setup.spec.id, expected));
        }
    })
}

/// The agent of an arm that learns a table over states of one-hot `blocks` of these sizes.
///
/// # Errors
/// [`Error::Config`] if a setting is out of range or contradicts another, or the table would be too large.
pub fn build_block_table(
    (arm, algorithm): (&Arm, TabularAlgorithm),
    settings: &AgentSettings,
    blocks: &[usize],
    setup: &Setup<'_>,
) -> Result<Box<dyn Agent<CandidateObs, Slate>>> {
    let config = settings.tabular(algorithm, setup.learning.env_steps);
    let agent = BlockTableAgent::new(&config, blocks, setup.spec, &setup.seed);
    Ok(Box::new(agent.map_err(|error| {
        // The size of the table is a matter of what is shown, not of a setting of agents.
        let section = if matches!(&error, Error::Config { key, .. } if key == "env") { "" } else { "agent." };
        of_arm(arm, section, error)
    })?))
}

/// The agent of an arm that learns a table, over a budget of `env_steps`; `None` for arms that see candidates.
///
/// # Errors
/// [`Error::Config`] if a setting is out of range or contradicts another, or there are no numbered states.
pub fn build_table(
    arm: &Arm,
    settings: &AgentSettings,
    spec: Option<&EnvSpec>,
    env_steps: u64,
    seed: Seed,
) -> Result<Option<TabularAgent>> {
    let (Family::Tabular(algorithm), Some(spec)) = (Family::of(&arm.algorithm), spec) else { return Ok(None) };
    let agent = TabularAgent::new(&settings.tabular(algorithm, env_steps), spec, &seed);
    agent.map(Some).map_err(|e| of_arm(arm, "agent.", e))
}

/// The setting that an agent's own one comes from: agents name theirs `ppo.gamma` or `net.optimizer.eps`, here they are
/// `agent.gamma` and `agent.eps`. `None` where the key is not one of an agent.
fn setting(algorithm: &str, key: &str) -> Option<String> {
    let prefix = |part: &str| key.strip_prefix(part);
    let own = prefix(&format!("{algorithm}."))
        .or_else(|| prefix("agent."))
        .or_else(|| key.starts_with("net.").then_some(key))?;
    let own = own.strip_prefix("net.").unwrap_or(own);
    Some(format!("agent.{}", own.strip_prefix("optimizer.").unwrap_or(own)))
}

/// The same error with the arm named.
fn of_arm(arm: &Arm, section: &str, error: Error) -> Error {
    match error {
        Error::Config { key, value, expected } => {
            let key = setting(arm.algorithm.name, &key).unwrap_or_else(|| format!("{section}{key}"));
            Error::Config { key, value, expected: format!("{expected} (arm {arm})") }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::setting;

    #[test]
    fn settings_are_named_as_a_person_writes_them() {
        let named = |key| setting("ppo", key);
        assert_eq!(named("ppo.gamma").as_deref(), Some("agent.gamma"));
        assert_eq!(named("net.direct").as_deref(), Some("agent.direct"));
        assert_eq!(named("agent.net.optimizer.learning_rate").as_deref(), Some("agent.learning_rate"));
        assert_eq!(named("env"), None);
    }
}
