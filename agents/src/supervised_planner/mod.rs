//! A reference: a supervised model of clicks and qualities, and a planner that knows the budget rule. See `README.md`
//! here.
//!
//! Metrics, means over the updates of a round: `loss`; `click_loss`, negative log-likelihood of what was chosen;
//! `quality_loss`, squared error of revealed qualities; `grad_norm`.

mod config;

pub use config::{BudgetRule, PlannerConfig};

use crate::acting::{Choose, HostScores, LoggingActor};
use crate::learning::{Guarded, ModelPlan, Objective, Part, ReplayLearner, Setup, Trainer};
use crate::q_learning::loss::choice_loss;
use crate::scorer::Tower;
use crate::supervised::{clicked, masked_mse};
use candle_core::Tensor;
use retune::agent::{Actor, Agent, Learner, Ledger, Metrics, Rollout};
use retune::env::{CandidateObs, Slate};
use retune::persist::StateDict;
use retune::replay::CandidateBatch;
use retune::slate::{ItemValues, SlateRule};
use retune::{Error, Result};

const CHOICE: usize = 0;
const QUALITY: usize = 1;

/// The agent.
pub struct PlannerAgent {
    slate_size: usize,
    rule: BudgetRule,
    learner: Guarded<ReplayLearner<QualityObjective>>,
}

impl PlannerAgent {
    /// A fresh agent.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range or the env does not offer candidates and slates.
    pub fn new(setup: &Setup<'_>, config: &PlannerConfig) -> Result<Self> {
        let plan = ModelPlan {
            towers: vec![
                Tower { name: "choice".into(), hidden: setup.learning.hidden, bias: true },
                Tower { name: "quality".into(), hidden: config.quality_hidden, bias: true },
            ],
            state_outputs: 0,
            parts: &[Part { name: "quality.inner.", rate: 1.0, decay: Some(config.interaction_decay) }],
        };
        let slate_size = setup.slate_size()?;
        let objective = QualityObjective { slate_size, quality_coef: config.quality_coef };
        let learner = Guarded::new(ReplayLearner::new(objective, Trainer::new(setup, plan)?, setup)?, 0.0, 1.0);
        Ok(Self { slate_size, rule: config.rule, learner })
    }
}

impl Agent<CandidateObs, Slate> for PlannerAgent {
    fn make_actor(&self) -> Result<Box<dyn Actor<CandidateObs, Slate>>> {
        let scorer = self.learner.trainer().scorer().clone();
        Ok(Box::new(LoggingActor::new(scorer, ByWorth(self.rule), self.slate_size)))
    }

    fn learner(&mut self) -> &mut dyn Learner<CandidateObs, Slate> {
        &mut self.learner
    }
}

/// The slate with the largest Σ v_i w_i / (Σ v_i + v_0).
struct ByWorth(BudgetRule);

impl Choose for ByWorth {
    fn choose(&self, scores: &HostScores, state: usize, mask: &[bool], size: usize) -> Result<Slate> {
        let v: Vec<f64> = (0..mask.len()).map(|i| scores.item(CHOICE, state, i).exp()).collect();
        let worth: Vec<f64> = (0..mask.len()).map(|i| self.0.worth(scores.item(QUALITY, state, i))).collect();
        Ok(ItemValues::new(&v, &worth, mask, 1.0, 0.0)?.select(SlateRule::Optimal, size)?)
    }
}

struct QualityObjective {
    slate_size: usize,
    quality_coef: f64,
}

impl Objective for QualityObjective {
    fn labels(&self, rollout: &Rollout<CandidateObs, Slate>) -> u64 {
        let steps = rollout.segments.iter().flat_map(|s| &s.steps);
        let qualities = steps.filter(|step| {
            let feedback = step.next_obs.feedback.as_ref();
            feedback.is_some_and(|f| f.chosen().is_some_and(|c| f.outcomes[c].quality.is_some()))
        });
        (rollout.env_steps() * self.slate_size + qualities.count()) as u64
    }

    fn loss(&mut self, trainer: &mut Trainer, batch: &CandidateBatch) -> Result<(Tensor, Metrics)> {
        if trainer.ledger().updates == 0 && batch.quality_known.iter().all(|&k| k == 0.0) {
            let message = "supervised_planner learns from revealed qualities, and this env has revealed none";
            return Err(Error::State(message.to_owned()));
        }
        let scores = trainer.scores(&batch.obs, &batch.slate)?;
        let shape = (self.slate_size, batch.size);
        let chosen = Tensor::from_slice(&batch.chosen, (1, batch.size), trainer.device())?;
        let choice = choice_loss(&scores.items[CHOICE], &chosen)?;
        let known = Tensor::from_slice(&batch.quality_known, (1, batch.size), trainer.device())?;
        let clicked = Tensor::from_vec(clicked(batch, self.slate_size), shape, trainer.device())?;
        let weight = clicked.broadcast_mul(&known)?;
        let target = Tensor::from_slice(&batch.quality, (1, batch.size), trainer.device())?.broadcast_as(shape)?;
        let quality = masked_mse(&scores.items[QUALITY], &target, &weight)?;
        let mut metrics = Metrics::new();
        metrics.insert("click_loss".into(), f64::from(choice.to_scalar::<f32>()?));
        metrics.insert("quality_loss".into(), f64::from(quality.to_scalar::<f32>()?));
        Ok(((choice + (quality * self.quality_coef)?)?, metrics))
    }

    fn numbers(&self, _ledger: &Ledger) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    fn save(&self, _state: &mut StateDict, _prefix: &str) -> Result<()> {
        Ok(())
    }

    fn restored(&self, _state: &StateDict, _prefix: &str) -> Result<Self> {
        Ok(Self { slate_size: self.slate_size, quality_coef: self.quality_coef })
    }
}
