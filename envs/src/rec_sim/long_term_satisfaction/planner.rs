//! A reference that solves the user model by backward induction.

use super::config::SatisfactionConfig;
use super::model::SatisfactionModel;
use crate::rec_sim::reference::{ReferencePolicy, slate_error};
use crate::rec_sim::shared::Model;
use crate::rec_sim::sim::Sim;
use retune::env::EnvError;
use retune::rng::StreamRng;
use retune::slate::top_k_by;

/// Points of the grid over net positive exposure.
const EXPOSURES: usize = 121;
/// Points of the grid over clickbait scores.
const CLICKBAITS: usize = 101;
/// Gauss-Hermite nodes and weights for a standard normal: exact up to fifth-degree polynomials, and the noise on
/// exposure is small against the grid.
const NOISE: [(f64, f64); 3] =
    [(-1.732_050_807_568_877_2, 1.0 / 6.0), (0.0, 2.0 / 3.0), (1.732_050_807_568_877_2, 1.0 / 6.0)];

/// Puts the item with the largest expected engagement plus expected value of what follows first, the others after it in
/// that order.
///
/// Values come from backward induction over steps left and net positive exposure, for candidates that are C uniform
/// draws at each step. Optimal up to the grids where candidates are resampled.
#[derive(Clone, Debug)]
pub struct Planner {
    /// Largest exposure of the grid, which is symmetric.
    limit: f64,
    /// Expected engagement still to come: `[time_budget + 1][EXPOSURES]`, row by steps left.
    values: Vec<Vec<f64>>,
}

impl Planner {
    /// Solves the model.
    #[must_use]
    pub fn new(model: &SatisfactionModel) -> Self {
        let config = model.config();
        // Exposure settles within 1/(1 − memory).
        let limit = (1.5 / (1.0 - config.memory_discount)).max(6.0);
        let mut planner = Self { limit, values: vec![vec![0.0; EXPOSURES]] };
        let offered = config.num_candidates as f64;
        let mut worths = [0.0; CLICKBAITS];
        for left in 1..=config.time_budget as usize {
            let row = (0..EXPOSURES).map(|i| {
                let exposure = limit * (2.0 * i as f64 / (EXPOSURES - 1) as f64 - 1.0);
                for (j, worth) in worths.iter_mut().enumerate() {
                    *worth = planner.worth(config, left, exposure, (j as f64 + 0.5) / CLICKBAITS as f64);
                }
                expected_maximum(&mut worths, offered)
            });
            let row = row.collect();
            planner.values.push(row);
        }
        planner
    }

    /// Expected engagement from now on if an item of this clickbait score is consumed.
    fn worth(&self, config: &SatisfactionConfig, left: usize, exposure: f64, clickbait: f64) -> f64 {
        let (location, spread) = config.engagement(clickbait, config.satisfaction(exposure));
        let now = (location + 0.5 * spread * spread).exp();
        let later = NOISE
            .iter()
            .map(|&(z, weight)| weight * self.value(left - 1, config.next_exposure(exposure, clickbait, z)));
        now + later.sum::<f64>()
    }

    /// Value between grid points, linear; beyond the grid that of its edge.
    fn value(&self, left: usize, exposure: f64) -> f64 {
        let row = &self.values[left];
        let at = ((exposure / self.limit + 1.0) / 2.0 * (EXPOSURES - 1) as f64).clamp(0.0, (EXPOSURES - 1) as f64);
        let low = (at as usize).min(EXPOSURES - 2);
        let part = at - low as f64;
        row[low] * (1.0 - part) + row[low + 1] * part
    }
}

/// Expected largest of `n` independent draws from these equally likely values (sorted in place).
fn expected_maximum(values: &mut [f64], n: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let share = |rank: usize| (rank as f64 / values.len() as f64).powf(n);
    values.iter().enumerate().map(|(i, v)| v * (share(i + 1) - share(i))).sum()
}

impl ReferencePolicy<SatisfactionModel> for Planner {
    fn name(&self) -> &'static str {
        "planner"
    }

    fn select(
        &mut self,
        sim: &Sim<SatisfactionModel>,
        _: &mut StreamRng,
        slate: &mut Vec<u32>,
    ) -> Result<(), EnvError> {
        let user = sim.user().ok_or(EnvError::EpisodeOver)?;
        let (config, docs) = (sim.model().config(), sim.candidates());
        let left = (user.time_budget as usize).clamp(1, self.values.len() - 1);
        let worth = |i: usize| self.worth(config, left, user.net_positive_exposure, docs[i].clickbait);
        top_k_by(docs.len(), &[], sim.model().loop_config().slate_size, slate, worth).map_err(slate_error)
    }
}
