//! Settings of the planner that knows the budget rule.

use crate::learning::{at_least_one, positive, within};
use retune::Result;
use serde::{Deserialize, Serialize};

/// What the planner is told about the user's hidden budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetRule {
    /// Reward of a click and its cost in budget; above 0. Default: 4 minutes watched.
    pub watch: f64,
    /// Share of `watch` that a quality of 1 gives back; at least 0. Default: 0.9 / 3.4.
    pub gain: f64,
    /// Cost of "nothing chosen" in budget; at least 0. Default: half a minute.
    pub no_click_cost: f64,
    /// Worth of a unit of budget in units of the reward; at least 0. At its fixed point it is the return divided by
    /// the budget. Default: 10 candidates in slates of 3.
    pub lambda: f64,
}

impl Default for BudgetRule {
    fn default() -> Self {
        Self { watch: 4.0, gain: 0.9 / 3.4, no_click_cost: 0.5, lambda: 1.4 }
    }
}

impl BudgetRule {
    /// What a click on an item of this quality is worth more than nothing chosen.
    #[must_use]
    pub fn worth(&self, quality: f64) -> f64 {
        self.watch * (1.0 - self.lambda * (1.0 - self.gain * quality)) + self.no_click_cost * self.lambda
    }
}

/// Settings of `supervised_planner`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlannerConfig {
    /// The rule that it knows.
    pub rule: BudgetRule,
    /// Weight of the loss on qualities beside that on clicks; above 0.
    pub quality_coef: f64,
    /// Hidden units of the part of the quality model in which state and candidate meet; at least 1.
    pub quality_hidden: usize,
    /// Decoupled weight decay on that part; at least 0. Default: as for the advantages of `q_learning`.
    pub interaction_decay: f64,
}

impl Default for PlannerConfig {
    fn default() -> Self {
        Self { rule: BudgetRule::default(), quality_coef: 1.0, quality_hidden: 8, interaction_decay: 10.0 }
    }
}

impl PlannerConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`retune::Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        positive("supervised_planner.rule.watch", self.rule.watch)?;
        within("supervised_planner.rule.gain", self.rule.gain, 0.0, f64::MAX)?;
        within("supervised_planner.rule.no_click_cost", self.rule.no_click_cost, 0.0, f64::MAX)?;
        within("supervised_planner.rule.lambda", self.rule.lambda, 0.0, f64::MAX)?;
        positive("supervised_planner.quality_coef", self.quality_coef)?;
        at_least_one("supervised_planner.quality_hidden", self.quality_hidden as u64)?;
        within("supervised_planner.interaction_decay", self.interaction_decay, 0.0, f64::MAX)
    }
}
