//! Reading golden files. Their form is described in `tests/golden/targets/README.md`.

use anyhow::{Context, Result, ensure};
use retune::env::Status;
use retune_agents::targets::Steps;
use serde_json::Value;

/// The tolerance that the files state for double precision.
pub const TOLERANCE: f64 = 1e-9;

/// One case of a file.
pub struct Case(Value);

/// The cases of a file.
pub fn cases(json: &str) -> Result<Vec<Case>> {
    let file: Value = serde_json::from_str(json)?;
    let cases = file["cases"].as_array().context("a golden file without cases")?;
    ensure!(!cases.is_empty(), "a golden file without cases");
    Ok(cases.iter().cloned().map(Case).collect())
}

impl Case {
    /// The number `key`.
    pub fn number(&self, key: &str) -> Result<f64> {
        self.0[key].as_f64().with_context(|| format!("{}: no number {key}", self.0["name"]))
    }

    /// Whether the flag `key` is set.
    pub fn flag(&self, key: &str) -> bool {
        self.0[key] == true
    }

    /// All numbers of the table `key`, row by row; flags as 0 and 1.
    pub fn table(&self, key: &str) -> Result<Vec<f64>> {
        flat(&self.0[key]).with_context(|| format!("{}: {key}", self.0["name"]))
    }

    /// The table `key` of what is expected.
    pub fn expected(&self, key: &str) -> Result<Vec<f64>> {
        flat(&self.0["expected"][key]).with_context(|| format!("{}: expected.{key}", self.0["name"]))
    }

    /// Whether the case has the table `key`.
    pub fn has(&self, key: &str) -> bool {
        !self.0[key].is_null()
    }

    /// Entries of the innermost rows of the table `key`.
    pub fn width(&self, key: &str) -> Result<usize> {
        let mut value = &self.0[key];
        let mut width = None;
        while let Some(rows) = value.as_array() {
            width = Some(rows.len());
            value = rows.first().unwrap_or(&Value::Null);
        }
        width.with_context(|| format!("{}: no table {key}", self.0["name"]))
    }

    /// A table of indices.
    pub fn indices(&self, key: &str) -> Result<Vec<usize>> {
        Ok(self.table(key)?.into_iter().map(|x| x as usize).collect())
    }

    /// Statuses from the two flags of every step; termination wins.
    pub fn status(&self) -> Result<Vec<Status>> {
        let (terminated, truncated) = (self.table("terminated")?, self.table("truncated")?);
        ensure!(terminated.len() == truncated.len(), "{}: flags of different shapes", self.0["name"]);
        let one = |(terminated, truncated): (&f64, &f64)| match (*terminated != 0.0, *truncated != 0.0) {
            (true, _) => Status::Terminated,
            (false, true) => Status::Truncated,
            (false, false) => Status::Running,
        };
        Ok(terminated.iter().zip(&truncated).map(one).collect())
    }

    /// Rewards and statuses.
    pub fn rollout(&self) -> Result<Rollout> {
        Ok(Rollout { num_envs: self.width("rewards")?, rewards: self.table("rewards")?, status: self.status()? })
    }
}

/// Rewards and statuses of a rollout, `[num_steps, num_envs]`.
pub struct Rollout {
    num_envs: usize,
    rewards: Vec<f64>,
    status: Vec<Status>,
}

impl Rollout {
    pub fn steps(&self) -> Result<Steps<'_, f64>> {
        Ok(Steps::new(self.num_envs, &self.rewards, &self.status)?)
    }
}

fn flat(value: &Value) -> Result<Vec<f64>> {
    match value {
        Value::Array(rows) => Ok(rows.iter().map(flat).collect::<Result<Vec<_>>>()?.concat()),
        Value::Bool(flag) => Ok(vec![f64::from(u8::from(*flag))]),
        number => Ok(vec![number.as_f64().context("expected numbers")?]),
    }
}
