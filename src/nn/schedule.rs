//! Learning-rate schedules.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// It stays.
    #[default]
    Constant,
    /// It falls linearly to `end_factor` at `total_updates`.
    Linear,
    /// It falls along half a cosine to `end_factor` at `total_updates`.
    Cosine,
}

/// Factor on the learning rate as a function of the update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// What follows the warm-up.
    pub kind: ScheduleKind,
    /// Updates over which the factor rises linearly: update 0 has 1/`warmup_updates`.
    pub warmup_updates: u64,
    /// Update at which a falling schedule ends; unused by `constant`.
    pub total_updates: u64,
    /// Factor at the end and after it; unused by `constant`.
    pub end_factor: f64,
}

impl Schedule {
    /// Refuses settings that contradict each other.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.end_factor) {
            return Err(Error::config("schedule.end_factor", self.end_factor, "must be between 0 and 1"));
        }
        if self.kind != ScheduleKind::Constant && self.total_updates <= self.warmup_updates {
            let expected = format!("must be larger than schedule.warmup_updates = {}", self.warmup_updates);
            return Err(Error::config("schedule.total_updates", self.total_updates, expected));
        }
        Ok(())
    }

    /// Factor at this update, counted from 0.
    #[must_use]
    pub fn factor(&self, update: u64) -> f64 {
        if update < self.warmup_updates {
            return (update + 1) as f64 / self.warmup_updates as f64;
        }
        let span = self.total_updates.saturating_sub(self.warmup_updates).max(1) as f64;
        let progress = ((update - self.warmup_updates) as f64 / span).min(1.0);
        let falling = match self.kind {
            ScheduleKind::Constant => return 1.0,
            ScheduleKind::Linear => 1.0 - progress,
            ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        };
        self.end_factor + (1.0 - self.end_factor) * falling
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: ScheduleKind) -> Schedule {
        Schedule { kind, warmup_updates: 4, total_updates: 14, end_factor: 0.2 }
    }

    #[test]
    fn warm_up_rises_linearly_and_reaches_one() {
        for kind in [ScheduleKind::Constant, ScheduleKind::Linear, ScheduleKind::Cosine] {
            let factors: Vec<f64> = (0..5).map(|u| schedule(kind).factor(u)).collect();
            assert_eq!(factors, [0.25, 0.5, 0.75, 1.0, 1.0], "{kind:?}");
        }
    }

    #[test]
    fn the_end_factor_is_reached_and_kept() {
        for kind in [ScheduleKind::Linear, ScheduleKind::Cosine] {
            for update in [14, 15, 1000] {
                assert!((schedule(kind).factor(update) - 0.2).abs() < 1e-12, "{kind:?} at {update}");
            }
            assert!((schedule(kind).factor(9) - 0.6).abs() < 1e-12, "half way between 1 and 0.2");
        }
        assert_eq!(schedule(ScheduleKind::Constant).factor(1000), 1.0);
        assert_eq!(Schedule::default().factor(0), 1.0);
    }

    #[test]
    fn a_schedule_without_room_is_refused() {
        let short = Schedule { total_updates: 4, ..schedule(ScheduleKind::Cosine) };
        let message = short.validate().expect_err("4 is not more than 4").to_string();
        assert_eq!(message, "schedule.total_updates = 4: must be larger than schedule.warmup_updates = 4");
        let steep = Schedule { end_factor: 1.5, ..schedule(ScheduleKind::Linear) };
        assert!(steep.validate().is_err());
    }
}
