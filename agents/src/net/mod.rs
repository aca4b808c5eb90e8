//! Networks as algorithms see them: plain numbers out, gradients with respect to these numbers in.
//!
//! An algorithm asks for named [`Head`]s (a logit or a value per candidate, a value per state, …), reads their outputs
//! as `f32` slices, and hands back the gradient of its loss with respect to each output. What lies between is chosen
//! by configuration: [`mlp`] for observations that are numbers, [`scorer`] for candidates with texts, with the
//! backbone frozen, adapted or fully trained. So a loss is written once, with its analytic gradient, and nothing in an
//! algorithm depends on the backbone.
//!
//! ```text
//!   ObsBatch ──forward──▶ Outputs ──(loss of the algorithm)──▶ gradients ──backward──▶ step ──▶ snapshot ──▶ Predictor
//! ```

pub mod batch;
mod config;
pub mod mlp;
pub mod scorer;

pub use batch::Batcher;
pub use config::{NetConfig, NetInit};

#[cfg(test)]
pub(crate) mod testing;

use crate::learning::Setup;
use retune::agent::{Ledger, Snapshot, Stop};
use retune::env::{CandidateObs, CandidateSpec, EnvSpec, ObsSpec, TextId};
use retune::nn::StepReport;
use retune::persist::StateDict;
use retune::replay::ObsBatch;
use retune::rng::StreamRng;
use retune::{Error, Result};
use std::sync::Arc;

/// What an output belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Per {
    /// One row of `width` numbers for each candidate: logits, action values.
    Candidate,
    /// One row of `width` numbers for the state: a baseline, the value of choosing nothing.
    State,
}

/// One kind of output that an algorithm asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Its parameters carry this name.
    pub name: &'static str,
    /// What it belongs to.
    pub per: Per,
    /// Numbers for each of them: 1 for a logit or a value, the atoms or quantiles of a distribution.
    pub width: usize,
    /// Whether a value of the state and advantages of the candidates are learnt apart, and put together as
    /// `V + A − mean A` with the mean over the legal candidates (Wang et al., arXiv:1511.06581, equation 9). Only for
    /// [`Per::Candidate`].
    pub dueling: bool,
    /// Gain of the orthogonal initialisation of the last layer: 0.01 for a policy, 1 for values.
    pub gain: f64,
}

impl Head {
    /// A number per candidate whose first values are close to zero: the logits of a policy.
    #[must_use]
    pub fn policy() -> Self {
        Self { name: "policy", per: Per::Candidate, width: 1, dueling: false, gain: 0.01 }
    }

    /// A number per state: a baseline.
    #[must_use]
    pub fn value() -> Self {
        Self { name: "value", per: Per::State, width: 1, dueling: false, gain: 1.0 }
    }

    /// `width` numbers per candidate: action values, or the atoms of their distributions.
    #[must_use]
    pub fn q(name: &'static str, width: usize, dueling: bool) -> Self {
        Self { name, per: Per::Candidate, width, dueling, gain: 1.0 }
    }
}

/// Numbers for each head of a batch, or gradients with respect to them.
///
/// # Shapes
/// `[rows, num_candidates, width]` for a head per candidate, `[rows, width]` for one per state, row by row. Values of
/// candidates that may not be chosen mean nothing; gradients with respect to them should be zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    heads: Vec<Vec<f32>>,
}

impl Outputs {
    /// The numbers of head `index`, in the order in which the heads were asked for.
    ///
    /// # Panics
    /// If there is no such head.
    #[must_use]
    pub fn head(&self, index: usize) -> &[f32] {
        &self.heads[index]
    }

    /// The same, to write to.
    ///
    /// # Panics
    /// If there is no such head.
    pub fn head_mut(&mut self, index: usize) -> &mut [f32] {
        &mut self.heads[index]
    }

    /// The numbers of all heads, to write to several at once.
    pub fn heads_mut(&mut self) -> &mut [Vec<f32>] {
        &mut self.heads
    }

    /// Zeros for `rows` observations.
    pub fn reset(&mut self, heads: &[Head], num_candidates: usize, rows: usize) {
        self.heads.resize_with(heads.len(), Vec::new);
        for (values, head) in self.heads.iter_mut().zip(heads) {
            let per_row = if head.per == Per::Candidate { num_candidates } else { 1 };
            values.clear();
            values.resize(rows * per_row * head.width, 0.0);
        }
    }

    /// [`Error::NonFinite`] naming the first head with a number that is not finite.
    ///
    /// # Errors
    /// See above; `update` goes into the message.
    pub fn require_finite(&self, heads: &[Head], update: u64) -> Result<()> {
        for (values, head) in self.heads.iter().zip(heads) {
            if let Some(bad) = values.iter().find(|x| !x.is_finite()) {
                let detail = format!("the network says {bad}");
                return Err(Error::NonFinite { name: format!("output {}", head.name), update, detail });
            }
        }
        Ok(())
    }
}

/// Which of the parameters a network keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weights {
    /// Those that are trained.
    Online,
    /// A copy that follows them, for targets.
    Target,
    /// A copy that stays, for a penalty on leaving it. With an adapter this is the model without it.
    Reference,
}

/// A trained network with its optimizer and copies.
pub trait Network {
    /// The heads, in the order of [`Outputs`].
    fn heads(&self) -> &[Head];

    /// Candidates per observation.
    fn num_candidates(&self) -> usize;

    /// Outputs for a batch; nothing is kept for a backward pass, and one that is pending stays possible.
    ///
    /// # Errors
    /// If the batch does not have the shapes of the env, or [`Weights`] are asked for that were never held.
    fn predict(&mut self, weights: Weights, obs: &ObsBatch, out: &mut Outputs) -> Result<()>;

    /// Outputs for a batch under [`Weights::Online`], to be followed by [`Network::backward`].
    ///
    /// # Errors
    /// If the batch does not have the shapes of the env.
    fn forward(&mut self, obs: &ObsBatch, out: &mut Outputs) -> Result<()>;

    /// Adds the gradient of a loss, given by its gradient with respect to the outputs of the last
    /// [`Network::forward`], to that of all parameters. Once per forward pass.
    ///
    /// # Errors
    /// [`Error::State`] without a forward pass.
    fn backward(&mut self, grads: &Outputs) -> Result<()>;

    /// Clips the accumulated gradients by their global norm (in name order), makes one update at `factor` times the
    /// learning rate, and clears them.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming the first parameter whose gradient is not finite, and then nothing has changed;
    /// [`Error::Interrupted`] if asked to stop.
    fn step(&mut self, factor: f64, stop: &Stop) -> Result<StepReport>;

    /// Makes the copy equal to the online parameters. Nothing for [`Weights::Online`].
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    fn hold(&mut self, copy: Weights) -> Result<()>;

    /// `target ← (1 − tau)·target + tau·online`; held first if it was not.
    ///
    /// # Errors
    /// If a tensor cannot be changed.
    fn track(&mut self, tau: f64) -> Result<()>;

    /// Draws new noise for noisy layers (Fortunato et al., arXiv:1706.10295); without a stream, or before the first
    /// call, layers use their means. Nothing happens without noisy layers.
    ///
    /// # Errors
    /// If there is no such copy.
    fn resample(&mut self, weights: Weights, rng: Option<&mut StreamRng>) -> Result<()>;

    /// Updates made so far.
    fn updates(&self) -> u64;

    /// What reading texts has cost, and the updates; the learner adds the rest.
    fn ledger(&self) -> &Ledger;

    /// The same, to add to.
    fn ledger_mut(&mut self) -> &mut Ledger;

    /// Number of parameters that are trained.
    fn trainable_parameters(&self) -> usize;

    /// The online parameters, for [`Predictor::load`]; with the vectors of `texts` (empty: those it trains on).
    ///
    /// # Errors
    /// If a tensor cannot be made or a text not be encoded.
    fn snapshot(&mut self, texts: &[TextId]) -> Result<Arc<Snapshot>>;

    /// A network for an actor, without parameters.
    ///
    /// # Errors
    /// If it cannot be made.
    fn predictor(&self) -> Result<Box<dyn Predictor>>;

    /// Puts parameters, copies, optimizer and ledger into `state`, under names that begin with `prefix`.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()>;

    /// Takes everything back, bit for bit.
    ///
    /// # Errors
    /// [`Error::State`] naming what is missing or has another shape; nothing is then changed.
    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()>;
}

/// A network with published parameters, for actors.
pub trait Predictor: Send {
    /// Takes over published parameters.
    ///
    /// # Errors
    /// If one is missing or has another shape.
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()>;

    /// Outputs for each observation. With `noise`, noisy layers draw from it; without, they use their means.
    ///
    /// # Errors
    /// [`Error::State`] before [`Predictor::load`] or for an observation of another shape; [`Error::NonFinite`] if an
    /// output is not finite.
    fn predict(&mut self, obs: &[Arc<CandidateObs>], noise: Option<&mut StreamRng>, out: &mut Outputs) -> Result<()>;
}

/// The candidate sets of a task.
///
/// # Errors
/// [`Error::Config`] if the env offers none.
pub fn candidates(spec: &EnvSpec) -> Result<&CandidateSpec> {
    match &spec.obs {
        ObsSpec::Candidates(c) => Ok(c),
        _ => Err(Error::config("env", &spec.id, "agents of this family need an env that offers candidates")),
    }
}

/// A network with these heads for the task of `setup`, as its text model and `config` say.
///
/// # Errors
/// [`Error::Config`] if a setting is out of range, the env offers no candidates, or these cannot be told apart.
pub fn build(setup: &Setup<'_>, config: &NetConfig, heads: &[Head]) -> Result<Box<dyn Network>> {
    config.validate()?;
    let spec = candidates(setup.spec)?;
    if setup.text.is_some() {
        return Ok(Box::new(scorer::ScorerNetwork::new(setup, config, heads)?));
    }
    Ok(Box::new(mlp::MlpNetwork::new(spec, config, heads, setup.seed)?))
}
