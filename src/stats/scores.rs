//! The score matrix and normalization against two references.

use crate::{Error, Result};

/// Scores of one method: one number for each run (seed) and task. Never empty, always finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    num_runs: usize,
    num_tasks: usize,
    /// Task by task, because every consumer goes through the runs of one task: `values[task * num_runs + run]`.
    values: Vec<f64>,
}

impl Scores {
    /// A matrix from rows of runs.
    ///
    /// # Shapes
    /// `rows`: `[num_runs][num_tasks]`.
    ///
    /// # Errors
    /// If there is no run or no task, if rows differ in length, or if a score is not finite.
    pub fn from_runs<R: AsRef<[f64]>>(rows: &[R]) -> Result<Self> {
        let num_tasks = rows.first().map_or(0, |row| row.as_ref().len());
        if num_tasks == 0 {
            return Err(Error::config("scores", "[]", "at least one run and one task are needed"));
        }
        for (run, row) in rows.iter().enumerate() {
            let row = row.as_ref();
            if row.len() != num_tasks {
                let expected = format!("every run has {num_tasks} tasks, as the first one");
                return Err(Error::config(&format!("scores[{run}].len()"), row.len(), expected));
            }
            if let Some(task) = row.iter().position(|v| !v.is_finite()) {
                return Err(Error::config(&format!("scores[{run}][{task}]"), row[task], "a finite number is needed"));
            }
        }
        let values = (0..num_tasks).flat_map(|task| rows.iter().map(move |row| row.as_ref()[task])).collect();
        Ok(Self { num_runs: rows.len(), num_tasks, values })
    }

    /// A matrix of one task from one score a seed.
    ///
    /// # Errors
    /// As [`Scores::from_runs`].
    pub fn from_seeds(scores: &[f64]) -> Result<Self> {
        let rows: Vec<[f64; 1]> = scores.iter().map(|&v| [v]).collect();
        Self::from_runs(&rows)
    }

    /// Number of runs (seeds).
    #[must_use]
    pub fn num_runs(&self) -> usize {
        self.num_runs
    }

    /// Number of tasks.
    #[must_use]
    pub fn num_tasks(&self) -> usize {
        self.num_tasks
    }

    /// The scores of all runs on `task`.
    ///
    /// # Panics
    /// If `task` is not below [`Scores::num_tasks`].
    #[must_use]
    pub fn task(&self, task: usize) -> &[f64] {
        &self.values[task * self.num_runs..][..self.num_runs]
    }

    /// All scores, task by task: `[num_tasks * num_runs]`.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The mean over runs of each task: `[num_tasks]`.
    #[must_use]
    pub fn task_means(&self) -> Vec<f64> {
        self.values.chunks_exact(self.num_runs).map(|runs| runs.iter().sum::<f64>() / self.num_runs as f64).collect()
    }

    /// The same matrix with `f` applied to every score.
    pub(super) fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { values: self.values.iter().map(|&v| f(v)).collect(), ..*self }
    }
}

/// Puts scores on a scale on which one reference is 0 and another is 1: (x − zero) / (one − zero).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    zero: f64,
    one: f64,
}

impl Normalization {
    /// The scale between two reference scores, such as a random policy and a planner. `one` may be below `zero` where
    /// lower is better.
    ///
    /// # Errors
    /// If a reference is not finite, or if both are the same.
    pub fn new(zero: f64, one: f64) -> Result<Self> {
        if !zero.is_finite() || !one.is_finite() {
            return Err(Error::config("references", format!("{zero}, {one}"), "finite numbers are needed"));
        }
        if zero == one {
            let expected = "two references that differ are needed, or the scale has no length";
            return Err(Error::config("references", format!("{zero}, {one}"), expected));
        }
        Ok(Self { zero, one })
    }

    /// `score` on this scale. May be below 0 or above 1.
    #[must_use]
    pub fn apply(&self, score: f64) -> f64 {
        (score - self.zero) / (self.one - self.zero)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_task_by_task() {
        let scores = Scores::from_runs(&[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]).unwrap();
        assert_eq!(scores.task(1), [10.0, 20.0, 30.0]);
        assert_eq!(scores.task_means(), [2.0, 20.0]);
    }

    #[test]
    fn refusals_name_the_entry() {
        let message = |rows: &[Vec<f64>]| Scores::from_runs(rows).unwrap_err().to_string();
        assert!(message(&[]).contains("at least one run"));
        assert!(message(&[vec![], vec![]]).contains("one task"));
        assert!(message(&[vec![1.0, 2.0], vec![1.0]]).contains("scores[1].len() = 1"));
        assert!(message(&[vec![1.0], vec![f64::NAN]]).contains("scores[1][0] = NaN"));
        assert!(message(&[vec![f64::INFINITY]]).contains("scores[0][0] = inf"));
    }

    #[test]
    fn normalization_maps_the_references_to_zero_and_one() {
        let scale = Normalization::new(158.0, 280.0).unwrap();
        assert_eq!((scale.apply(158.0), scale.apply(280.0), scale.apply(219.0)), (0.0, 1.0, 0.5));
        let cost = Normalization::new(10.0, 2.0).unwrap();
        assert_eq!(cost.apply(4.0), 0.75);
        assert!(Normalization::new(1.0, 1.0).is_err());
        assert!(Normalization::new(f64::NAN, 1.0).is_err());
    }
}
