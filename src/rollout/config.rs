//! Settings of a runner.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How experience is collected. The first three settings decide what is collected, to the bit; `actors` does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunnerConfig {
    /// Env slots played side by side; at least 1.
    pub num_envs: usize,
    /// Env slots that one actor decides for in one call, 1 to `num_envs`; the last shard has the rest. Larger shards
    /// make larger tensors, more shards can keep more threads busy.
    pub shard_size: usize,
    /// Env steps of each slot in one round; at least 1.
    pub steps_per_round: usize,
    /// Actor threads; 0 plays in the caller's thread. At most one per shard.
    pub actors: usize,
}

impl Default for RunnerConfig {
    /// Four shards of four slots: enough shards for four threads, and shards wide enough that a small network's
    /// matrix products are not dominated by the cost of the call. 16 steps a round is the order of published
    /// synchronous actor-critic settings (5 to 20).
    fn default() -> Self {
        Self { num_envs: 16, shard_size: 4, steps_per_round: 16, actors: 0 }
    }
}

impl RunnerConfig {
    /// Number of shards.
    #[must_use]
    pub fn num_shards(&self) -> usize {
        self.num_envs.div_ceil(self.shard_size.max(1))
    }

    /// Env steps of one round over all slots.
    #[must_use]
    pub fn env_steps_per_round(&self) -> usize {
        self.num_envs * self.steps_per_round
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] with the first setting that is out of range.
    pub fn validate(&self) -> Result<()> {
        let at_least_one = |key, value: usize| {
            if value == 0 { Err(Error::config(key, value, "expected at least 1")) } else { Ok(()) }
        };
        at_least_one("num_envs", self.num_envs)?;
        at_least_one("shard_size", self.shard_size)?;
        at_least_one("steps_per_round", self.steps_per_round)?;
        if self.shard_size > self.num_envs {
            let expected = format!("expected at most num_envs = {}", self.num_envs);
            return Err(Error::config("shard_size", self.shard_size, expected));
        }
        if self.actors > self.num_shards() {
            let expected = format!(
                "expected at most {}, the number of shards (num_envs = {} in shards of shard_size = {}); more threads \
                 would have nothing to do",
                self.num_shards(),
                self.num_envs,
                self.shard_size
            );
            return Err(Error::config("actors", self.actors, expected));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        RunnerConfig::default().validate().unwrap();
        assert_eq!(RunnerConfig::default().num_shards(), 4);
    }

    #[test]
    fn every_impossible_setting_is_named() {
        let good = RunnerConfig { num_envs: 5, shard_size: 2, steps_per_round: 3, actors: 3 };
        good.validate().unwrap();
        let cases = [
            (RunnerConfig { num_envs: 0, ..good.clone() }, "num_envs = 0"),
            (RunnerConfig { shard_size: 0, ..good.clone() }, "shard_size = 0"),
            (RunnerConfig { shard_size: 6, ..good.clone() }, "shard_size = 6"),
            (RunnerConfig { steps_per_round: 0, ..good.clone() }, "steps_per_round = 0"),
            (RunnerConfig { actors: 4, ..good.clone() }, "actors = 4: expected at most 3"),
        ];
        for (config, start) in cases {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
        assert!(serde_json::from_str::<RunnerConfig>(r#"{"num_envs":1,"num_env":2}"#).is_err());
    }
}
