//! The scoring model on texts as a network: the backbone frozen, adapted or fully trained, as the text model says.
//!
//! Gradients go from plain numbers into candle's graph through the surrogate `Σ output·gradient`, whose gradient is the
//! right one for every parameter. Where the encoder is trained, the texts of the first
//! [`LearningConfig::encoder_batch_size`] rows of a batch are read with a gradient; the others, predictions, and actors
//! take their vectors from the table that is made anew every [`LearningConfig::table_refresh_updates`] updates. The head
//! has [`LearningConfig::hidden`] units and begins as the scorer does; of [`NetConfig`], the optimizer alone has a
//! meaning here.

mod actor;
mod outputs;
#[cfg(test)]
mod tests;

use super::{Head, NetConfig, Network, Outputs, Predictor, Weights};
use crate::acting::HostScores;
use crate::learning::{LearningConfig, Setup, TEXT_MEAN, TEXT_STD, Texts};
use crate::scorer::{self, ItemBatch, PREFIX, Scorer, ScorerShape, Scores, StateBatch, TextTableView};
use actor::ScorerPredictor;
use candle_core::Tensor;
use outputs::Wiring;
use retune::agent::{Ledger, Snapshot, Stop};
use retune::backbone;
use retune::env::TextId;
use retune::nn::{Gradients, Group, Optimizer, OptimizerConfig, ParamStore, StepReport, checksum, host_copy};
use retune::persist::StateDict;
use retune::replay::ObsBatch;
use retune::rng::StreamRng;
use retune::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A scorer with its text encoder and optimizer.
pub struct ScorerNetwork {
    wiring: Wiring,
    scorer: Scorer,
    store: ParamStore,
    texts: Option<Texts>,
    learning: LearningConfig,
    optimizer: Optimizer,
    target: Option<Held>,
    reference: Option<Held>,
    pending: Option<Pending>,
    grads: Option<Gradients>,
    ledger: Ledger,
    version: u64,
    checksum: String,
}

/// A copy of the head's parameters, by full name.
struct Held {
    params: BTreeMap<String, Tensor>,
    /// The text vectors that belong to it; `None` where it uses the current ones.
    texts: Option<TextTableView>,
}

/// What a backward pass needs.
struct Pending {
    scores: Scores,
    mask: Vec<u8>,
    rows: usize,
}

impl ScorerNetwork {
    /// Fresh parameters on the text model of `setup`.
    ///
    /// # Errors
    /// [`Error::Config`] if env, heads and text model do not fit or a setting is out of range.
    pub fn new(setup: &Setup<'_>, config: &NetConfig, heads: &[Head]) -> Result<Self> {
        setup.learning.validate()?;
        if config.direct {
            let expected = "expected false: the scoring model on texts has no layers of the inputs themselves";
            return Err(Error::config("net.direct", true, expected));
        }
        if config.noisy {
            let expected = "expected false: the scoring model on texts has no noisy layers";
            return Err(Error::config("net.noisy", true, expected));
        }
        let mut store = ParamStore::new(&setup.learner_device(), setup.seed.child("init"));
        let mut ledger = Ledger::default();
        let texts = setup.text.map(|model| Texts::new(model, setup, &mut store, &mut ledger)).transpose()?;
        let width = texts.as_ref().map_or(0, Texts::width);
        let wiring = Wiring::new(heads, super::candidates(setup.spec)?.num_candidates);
        let sizes = (setup.learning.hidden, setup.learning.clusters);
        let towers = wiring.towers(setup.learning.hidden);
        let scorer = Scorer::new(ScorerShape::new(setup.spec, width, sizes, towers, wiring.state_outputs)?);
        scorer.init(&mut store)?;
        let encoder = Group {
            prefix: backbone::PREFIX.to_owned(),
            contains: String::new(),
            learning_rate: Some(setup.learning.encoder_learning_rate),
            weight_decay: Some(config.optimizer.weight_decay),
        };
        let optimizer = Optimizer::new(OptimizerConfig { groups: vec![encoder], ..config.optimizer.general() })?;
        Ok(Self {
            wiring,
            scorer,
            store,
            texts,
            learning: setup.learning.clone(),
            optimizer,
            target: None,
            reference: None,
            pending: None,
            grads: None,
            ledger,
            version: 0,
            checksum: String::new(),
        })
    }

    fn rows(&self, obs: &ObsBatch) -> usize {
        obs.mask.len() / self.wiring.num_candidates.max(1)
    }

    fn inputs(&self, obs: &ObsBatch) -> Result<(StateBatch, ItemBatch)> {
        let (shape, device) = (self.scorer.shape(), self.store.device());
        Ok((StateBatch::new(shape, obs, device)?, ItemBatch::all(shape, obs, device)?))
    }

    fn held(&self, weights: Weights) -> Result<Option<&Held>> {
        let held = match weights {
            Weights::Online => return Ok(None),
            Weights::Target => &self.target,
            Weights::Reference => &self.reference,
        };
        let missing = || Error::State(format!("the network holds no {weights:?} parameters"));
        held.as_ref().map(Some).ok_or_else(missing)
    }

    fn copy(&self, with_texts: bool) -> Result<Held> {
        let params = self.store.copies(|name| name.starts_with(PREFIX))?;
        let texts = self.texts.as_ref().filter(|_| with_texts).map(|t| t.view().clone());
        Ok(Held { params, texts })
    }

    /// Names of what is trained: what can have changed.
    fn trained(&self) -> Vec<String> {
        self.store.trainable().map(|(name, _)| name.to_owned()).collect()
    }

    /// The copy of this name from `state`.
    fn saved_copy(&self, state: &StateDict, prefix: &str, with_texts: bool) -> Result<Held> {
        let device = self.store.device();
        let mut params = BTreeMap::new();
        for name in self.store.names().filter(|n| n.starts_with(PREFIX)) {
            params.insert(name.to_owned(), state.tensor(&format!("{prefix}{name}"), device)?);
        }
        self.scorer.check(&scorer::Weights::published(&params))?;
        let texts = match self.texts.as_ref().filter(|_| with_texts) {
            Some(own) => {
                let table = state.tensor(&format!("{prefix}table"), device)?;
                Some(TextTableView { table, ..own.view().clone() })
            }
            None => None,
        };
        Ok(Held { params, texts })
    }
}

impl Network for ScorerNetwork {
    fn heads(&self) -> &[Head] {
        &self.wiring.heads
    }

    fn num_candidates(&self) -> usize {
        self.wiring.num_candidates
    }

    fn predict(&mut self, weights: Weights, obs: &ObsBatch, out: &mut Outputs) -> Result<()> {
        let rows = self.rows(obs);
        if rows == 0 {
            out.reset(&self.wiring.heads, self.wiring.num_candidates, 0);
            return Ok(());
        }
        let held = self.held(weights)?;
        let params = match held {
            Some(held) => scorer::Weights::published(&held.params),
            None => scorer::Weights::detached(&self.store)?,
        };
        let (states, items) = self.inputs(obs)?;
        let texts = held.and_then(|h| h.texts.as_ref()).or(self.texts.as_ref().map(Texts::view));
        let own = texts.map(|t| t.rows(&[items.texts(), states.texts()].concat())).transpose()?;
        let scores = self.scorer.forward(&params, &states, &items, own.as_ref(), own.as_ref())?;
        let scores = HostScores::new(&scores, self.ledger.updates)?;
        self.wiring.outputs(&scores, rows, &obs.mask, out);
        Ok(())
    }

    fn forward(&mut self, obs: &ObsBatch, out: &mut Outputs) -> Result<()> {
        let (states, items) = self.inputs(obs)?;
        let rows = match &self.texts {
            Some(texts) => {
                let graph = items.texts_of_first(self.learning.encoder_batch_size);
                let all = [items.texts(), states.texts()].concat();
                Some(texts.rows(&self.store, &all, &graph, &mut self.ledger)?)
            }
            None => None,
        };
        let weights = scorer::Weights::graph(&self.store)?;
        let scores = self.scorer.forward(&weights, &states, &items, rows.as_ref(), rows.as_ref())?;
        let rows = self.rows(obs);
        self.wiring.outputs(&HostScores::new(&scores, self.ledger.updates)?, rows, &obs.mask, out);
        self.pending = Some(Pending { scores, mask: obs.mask.clone(), rows });
        Ok(())
    }

    fn backward(&mut self, grads: &Outputs) -> Result<()> {
        let none = || Error::State("a backward pass without a forward pass".into());
        let Pending { scores, mask, rows } = self.pending.take().ok_or_else(none)?;
        let (towers, states) = self.wiring.gradients(grads, rows, &mask);
        let device = self.store.device();
        let weighted = |output: &Tensor, grad: Vec<f32>| -> Result<Tensor> {
            Ok((output * Tensor::from_vec(grad, output.dims(), device)?)?.sum_all()?)
        };
        let mut parts = Vec::new();
        for (output, grad) in scores.items.iter().zip(towers) {
            parts.push(weighted(output, grad)?);
        }
        if let Some(output) = &scores.states {
            parts.push(weighted(output, states)?);
        }
        let surrogate = Tensor::stack(&parts, 0)?.sum_all()?;
        let new = Gradients::of(&surrogate, &self.store, self.ledger.updates)?;
        // A loss may well have no gradient at some output; a parameter that the graph does not reach is a mistake.
        new.check_coverage(&self.store, self.ledger.updates, |_| true)?;
        match &mut self.grads {
            Some(sum) => sum.add(&new)?,
            none => *none = Some(new),
        }
        Ok(())
    }

    fn step(&mut self, factor: f64, stop: &Stop) -> Result<StepReport> {
        stop.check()?;
        let grads = self.grads.take().ok_or_else(|| Error::State("an update without a backward pass".into()))?;
        let report = self.optimizer.step_at(&self.store, &grads, factor)?;
        self.ledger.updates += 1;
        if let Some(texts) = &mut self.texts {
            texts.updated(&self.store, self.learning.table_refresh_updates, &mut self.ledger, stop)?;
        }
        Ok(report)
    }

    fn hold(&mut self, copy: Weights) -> Result<()> {
        match copy {
            Weights::Online => {}
            Weights::Target => self.target = Some(self.copy(false)?),
            Weights::Reference => self.reference = Some(self.copy(true)?),
        }
        Ok(())
    }

    fn track(&mut self, tau: f64) -> Result<()> {
        let Some(target) = &mut self.target else { return self.hold(Weights::Target) };
        for (name, value) in &mut target.params {
            let moved = ((&*value * (1.0 - tau))? + (self.store.detached(name)? * tau)?)?;
            *value = moved.detach();
        }
        Ok(())
    }

    fn resample(&mut self, weights: Weights, _: Option<&mut StreamRng>) -> Result<()> {
        self.held(weights).map(|_| ())
    }

    fn updates(&self) -> u64 {
        self.optimizer.updates()
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    fn trainable_parameters(&self) -> usize {
        self.store.trainable_count()
    }

    fn snapshot(&mut self, texts: &[TextId]) -> Result<Arc<Snapshot>> {
        let mut params = BTreeMap::new();
        for name in self.store.names().filter(|name| name.starts_with(PREFIX)) {
            params.insert(name.to_owned(), host_copy(&self.store.detached(name)?)?);
        }
        let mut features = None;
        if let Some(model) = &self.texts {
            for name in [TEXT_MEAN, TEXT_STD] {
                params.insert(name.to_owned(), host_copy(&self.store.detached(name)?)?);
            }
            features = Some(model.publish(&self.store, texts, &mut self.ledger)?);
        }
        let mut sum = checksum(params.iter().map(|(n, t)| (n.as_str(), t)))?;
        if let Some(table) = &features {
            sum = format!("{sum}+{}", table.weight_version);
        }
        if sum != self.checksum {
            self.version += 1;
            self.checksum.clone_from(&sum);
        }
        Ok(Arc::new(Snapshot { version: self.version, checksum: sum, params, features }))
    }

    fn predictor(&self) -> Result<Box<dyn Predictor>> {
        Ok(Box::new(ScorerPredictor::new(self.wiring.clone(), self.scorer.clone())))
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        for name in self.trained() {
            state.put_tensor(format!("{prefix}params/{name}"), &self.store.detached(&name)?)?;
        }
        for (copy, held) in [("target", &self.target), ("reference", &self.reference)] {
            let Some(held) = held else { continue };
            for (name, value) in &held.params {
                state.put_tensor(format!("{prefix}{copy}/{name}"), value)?;
            }
            if let Some(texts) = &held.texts {
                state.put_tensor(format!("{prefix}{copy}/table"), &texts.table)?;
            }
        }
        self.optimizer.save(state, &format!("{prefix}optimizer/"))?;
        if let Some(texts) = &self.texts {
            texts.save(state, prefix)?;
        }
        let copies = (self.target.is_some(), self.reference.is_some());
        state.put(format!("{prefix}network"), &(copies, &self.ledger, self.version, &self.checksum))
    }

    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        type Saved = ((bool, bool), Ledger, u64, String);
        let ((target, reference), ledger, version, checksum): Saved = state.get(&format!("{prefix}network"))?;
        let mut params = Vec::new();
        for name in self.trained() {
            let value = state.tensor(&format!("{prefix}params/{name}"), self.store.device())?;
            let own = self.store.detached(&name)?;
            if own.dims() != value.dims() {
                let message = format!("{name} has shape {:?}, expected {:?}", value.dims(), own.dims());
                return Err(Error::State(message));
            }
            params.push((name, value));
        }
        let copy = |held: bool, name: &str, texts: bool| {
            held.then(|| self.saved_copy(state, &format!("{prefix}{name}/"), texts)).transpose()
        };
        let (target, reference) = (copy(target, "target", false)?, copy(reference, "reference", true)?);
        let texts = self.texts.as_ref().map(|t| t.read(state, prefix)).transpose()?;
        // The last that can fail, and it changes nothing if it does.
        self.optimizer.load(state, &format!("{prefix}optimizer/"), &self.store)?;
        params.iter().try_for_each(|(name, value)| self.store.set(name, value))?;
        if let (Some(own), Some(saved)) = (&mut self.texts, texts) {
            own.install_saved(saved);
        }
        (self.target, self.reference, self.pending, self.grads) = (target, reference, None, None);
        (self.ledger, self.version, self.checksum) = (ledger, version, checksum);
        Ok(())
    }
}
