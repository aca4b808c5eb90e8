//! A reference that knows the user model, though not the future.

use super::model::EvolutionModel;
use crate::rec_sim::choice::ChoiceKind;
use crate::rec_sim::reference::{ReferencePolicy, evaluate, slate_error};
use crate::rec_sim::shared::{Model, config_error};
use crate::rec_sim::sim::Sim;
use retune::env::EnvError;
use retune::rng::StreamRng;
use retune::slate::{ItemValues, SlateRule};

/// Steps after which an episode of the fixed-point search is cut. Sessions last 60 to 200 steps at the usual sizes.
const SEARCH_MAX_STEPS: u64 = 10_000;

/// Shows the slate that maximises minutes now plus `lambda` times the budget it leaves.
///
/// With g the budget gain, L the length and p the no-click penalty, a click on item i is worth
/// `w_i = L (1 − λ (1 − g·mean quality of its topic)) + p λ` relative to no click, and the slate maximises
/// `Σ v_i w_i / (Σ v_i + v_null)` exactly. `lambda` is the worth of a minute of budget. A strong reference, not an
/// upper bound: it ignores how interests drift.
#[derive(Clone, Debug)]
pub struct Planner {
    lambda: f64,
    /// `w` of each topic without the part that depends on the choice score.
    worth: Vec<f64>,
    /// Worth of one unit of choice score, through `user_quality_factor`.
    score_worth: f64,
    v: Vec<f64>,
    w: Vec<f64>,
}

impl Planner {
    /// A planner for this model that values a minute of budget at `lambda` minutes watched.
    ///
    /// # Errors
    /// [`EnvError::Config`] if `lambda` is not finite or the choice model is not proportional (the best slate of a
    /// cascade depends on its order; and a logit score that enters the utility depends on the whole slate).
    pub fn new(model: &EvolutionModel, lambda: f64) -> Result<Self, EnvError> {
        let config = model.config();
        let cascade =
            !matches!(config.choice_model, ChoiceKind::MultinomialProportional | ChoiceKind::MultinomialLogit);
        let score_in_utility = config.user_quality_factor != 0.0;
        if cascade || (score_in_utility && config.choice_model == ChoiceKind::MultinomialLogit) {
            let value = format!("{:?}", config.choice_model);
            return Err(config_error("choice_model", value, "multinomial_proportional for the planner"));
        }
        if !lambda.is_finite() {
            return Err(config_error("lambda", lambda, "a finite number of minutes per minute"));
        }
        let gain = config.document_length * lambda * config.budget_gain;
        let base = config.document_length * (1.0 - lambda) + config.step_penalty * lambda;
        let worth = |mean: &f64| base + gain * config.document_quality_factor * mean;
        Ok(Self {
            lambda,
            worth: model.topic_means().iter().map(worth).collect(),
            score_worth: gain * config.user_quality_factor,
            v: Vec::new(),
            w: Vec::new(),
        })
    }

    /// A planner whose `lambda` is the return it earns per minute of the initial budget, found by iteration over
    /// `seeds` until it moves by less than `tolerance`, 20 rounds at most.
    ///
    /// # Errors
    /// As [`Planner::new`], or if `seeds` is empty.
    pub fn fixed_point(model: &EvolutionModel, seeds: &[u64], tolerance: f64) -> Result<Self, EnvError> {
        if seeds.is_empty() {
            return Err(config_error("planner.episodes", 0, "at least 1"));
        }
        let mut sim = Sim::new(model.clone());
        let mut planner = Self::new(model, 1.0)?;
        for _ in 0..20 {
            let metrics = evaluate(&mut sim, &mut planner, seeds.iter().copied(), SEARCH_MAX_STEPS, 1.0)?;
            let lambda = metrics.summary().episode_return.mean / model.config().time_budget;
            let moved = (lambda - planner.lambda).abs();
            planner = Self::new(model, lambda)?;
            if moved < tolerance {
                break;
            }
        }
        Ok(planner)
    }

    /// The worth of a minute of budget in minutes watched.
    #[must_use]
    pub fn lambda(&self) -> f64 {
        self.lambda
    }
}

impl ReferencePolicy<EvolutionModel> for Planner {
    fn name(&self) -> &'static str {
        "planner"
    }

    fn select(&mut self, sim: &Sim<EvolutionModel>, _: &mut StreamRng, slate: &mut Vec<u32>) -> Result<(), EnvError> {
        let user = sim.user().ok_or(EnvError::EpisodeOver)?;
        let model = sim.model();
        self.v.clear();
        self.v.extend(sim.candidates().iter().map(|doc| user.interests[doc.topic as usize]));
        // Only ratios of weights matter, so the softmax over all candidates serves any slate of them.
        let nothing = model.choice().weigh(&mut self.v)?;
        self.w.clear();
        let worth = sim.candidates().iter().zip(&self.v);
        self.w.extend(worth.map(|(doc, v)| self.worth[doc.topic as usize] + self.score_worth * v));
        let values = ItemValues::new(&self.v, &self.w, &[], nothing, 0.0).map_err(slate_error)?;
        values.select_into(SlateRule::Optimal, model.loop_config().slate_size, slate).map_err(slate_error)
    }
}
