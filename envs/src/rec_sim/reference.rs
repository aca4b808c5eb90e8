//! Policies that see what is hidden: the scale on which agents are judged.

use super::metrics::Metrics;
use super::shared::Model;
use super::sim::Sim;
use retune::env::EnvError;
use retune::rng::{Seed, StreamRng};
use retune::slate::top_k_by;

/// A policy that may look at everything in the simulator.
pub trait ReferencePolicy<M: Model> {
    /// Name for tables and figures.
    fn name(&self) -> &'static str;

    /// Puts a legal slate for the current candidates into `slate`, whose content is replaced.
    ///
    /// # Errors
    /// [`EnvError::EpisodeOver`] before the first reset, or if the model cannot score the candidates.
    fn select(&mut self, sim: &Sim<M>, rng: &mut StreamRng, slate: &mut Vec<u32>) -> Result<(), EnvError>;
}

/// A uniformly random ordered choice of k candidates.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

/// The k items with the highest true score of the user, which is what a perfect click model would show. In
/// `long_term_satisfaction`: the largest clickbait first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Myopic;

/// The k items of the highest expected quality: mean of the topic where quality is hidden, shown quality otherwise,
/// smallest clickbait in `long_term_satisfaction`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TopQuality;

impl<M: Model> ReferencePolicy<M> for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn select(&mut self, sim: &Sim<M>, rng: &mut StreamRng, slate: &mut Vec<u32>) -> Result<(), EnvError> {
        let shape = sim.model().loop_config();
        slate.clear();
        while slate.len() < shape.slate_size {
            let item = rng.below(shape.num_candidates) as u32;
            if !slate.contains(&item) {
                slate.push(item);
            }
        }
        Ok(())
    }
}

impl<M: Model> ReferencePolicy<M> for Myopic {
    fn name(&self) -> &'static str {
        "myopic"
    }

    fn select(&mut self, sim: &Sim<M>, _: &mut StreamRng, slate: &mut Vec<u32>) -> Result<(), EnvError> {
        let user = sim.user().ok_or(EnvError::EpisodeOver)?;
        top_k(sim, slate, |doc| sim.model().click_score(user, doc))
    }
}

impl<M: Model> ReferencePolicy<M> for TopQuality {
    fn name(&self) -> &'static str {
        "top_quality"
    }

    fn select(&mut self, sim: &Sim<M>, _: &mut StreamRng, slate: &mut Vec<u32>) -> Result<(), EnvError> {
        top_k(sim, slate, |doc| sim.model().expected_quality(doc))
    }
}

fn top_k<M: Model>(sim: &Sim<M>, slate: &mut Vec<u32>, key: impl Fn(&M::Doc) -> f64) -> Result<(), EnvError> {
    let docs = sim.candidates();
    if docs.is_empty() {
        return Err(EnvError::EpisodeOver);
    }
    let size = sim.model().loop_config().slate_size;
    top_k_by(docs.len(), &[], size, slate, |i| key(&docs[i])).map_err(slate_error)
}

/// A slate that cannot be selected, as an error of the environment.
pub(crate) fn slate_error(error: retune::slate::SlateError) -> EnvError {
    EnvError::Action { kind: "no_slate", message: error.to_string() }
}

/// Plays one episode per seed and measures it.
///
/// Every episode is `reset(Some(seed))`, so an agent that is evaluated on the same seeds meets the same users and
/// candidates. An episode that reaches `max_steps` is truncated there. `gamma` discounts `discounted_return`.
///
/// # Errors
/// If the policy fails or makes an illegal slate.
pub fn evaluate<M: Model>(
    sim: &mut Sim<M>,
    policy: &mut dyn ReferencePolicy<M>,
    seeds: impl IntoIterator<Item = u64>,
    max_steps: u64,
    gamma: f64,
) -> Result<Metrics, EnvError> {
    let mut metrics = Metrics::new(sim, gamma);
    let mut slate = Vec::with_capacity(sim.model().loop_config().slate_size);
    for (episode, seed) in seeds.into_iter().enumerate() {
        sim.reset(Some(seed));
        let mut rng = Seed::root(seed).child("rec_sim").child("reference").rng();
        let mut terminated = false;
        while !terminated && sim.steps() < max_steps {
            policy.select(sim, &mut rng, &mut slate)?;
            terminated = sim.step(&slate)?.terminated;
            if let Some(facts) = sim.last_step() {
                metrics.record(episode, facts);
            }
        }
        metrics.finish_episode(episode, seed, !terminated);
    }
    Ok(metrics)
}
