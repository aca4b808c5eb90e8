//! Parameters, copies, optimizer: the network that a learner owns.

use super::actor::MlpPredictor;
use super::features::Features;
use super::model::Pass;
use super::noise::Noise;
use super::plan::Plan;
use crate::net::{Head, NetConfig, Network, Outputs, Predictor, Weights};
use candle_core::{Device, Tensor};
use retune::agent::{Ledger, Snapshot, Stop};
use retune::env::{CandidateSpec, TextId};
use retune::nn::mlp::Adam;
use retune::nn::{StepReport, checksum};
use retune::persist::StateDict;
use retune::replay::ObsBatch;
use retune::rng::{Seed, StreamRng};
use retune::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A copy of the parameters with noise of its own.
#[derive(Clone, Debug)]
struct Copy {
    params: Vec<f32>,
    noise: Noise,
}

/// A fully connected network with its optimizer.
#[derive(Clone, Debug)]
pub struct MlpNetwork {
    plan: Arc<Plan>,
    /// Without its texts.
    spec: CandidateSpec,
    online: Copy,
    target: Option<Copy>,
    reference: Option<Copy>,
    grads: Vec<f32>,
    /// For the gradients of one backward pass under noise.
    noisy_grads: Vec<f32>,
    optimizer: Adam,
    /// Of the forward pass that [`Network::backward`] is to differentiate.
    pass: Pass,
    pending: bool,
    /// Of predictions.
    other_pass: Pass,
    ledger: Ledger,
    /// Whether the parameters have been published as [`MlpNetwork::version`].
    published: bool,
    snapshot: Option<Arc<Snapshot>>,
    version: u64,
}

impl MlpNetwork {
    /// Fresh parameters from the streams `seed / init / <name>`.
    ///
    /// # Errors
    /// [`Error::Config`] if the candidates have only texts, which this network cannot read.
    pub fn new(spec: &CandidateSpec, config: &NetConfig, heads: &[Head], seed: Seed) -> Result<Self> {
        if spec.has_text && spec.candidate_dim == 0 {
            let expected = "candidates have only texts: a text model is needed to tell them apart";
            return Err(Error::config("text", "none", expected));
        }
        let plan = Plan::new(Features::new(spec), config, heads)?;
        let params = plan.init(config, seed.child("init"))?;
        let optimizer = Adam::new(config.optimizer, params.len())?;
        Ok(Self {
            grads: vec![0.0; params.len()],
            noisy_grads: Vec::new(),
            online: Copy { params, noise: Noise::default() },
            target: None,
            reference: None,
            optimizer,
            pass: Pass::default(),
            pending: false,
            other_pass: Pass::default(),
            ledger: Ledger::default(),
            published: false,
            snapshot: None,
            version: 1,
            plan: Arc::new(plan),
            spec: CandidateSpec { pool: Vec::new(), ..spec.clone() },
        })
    }

    /// Values of the parameter `name`, `[rows, columns]`.
    ///
    /// # Errors
    /// [`Error::State`] if there is none.
    pub fn parameter(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.plan.layout.block(name)?.read(&self.online.params))
    }

    /// Replaces the values of the parameter `name`.
    ///
    /// # Errors
    /// [`Error::State`] if there is none or it has another shape.
    pub fn set_parameter(&mut self, name: &str, values: &[f32]) -> Result<()> {
        self.changed();
        self.plan.layout.block(name)?.write(&mut self.online.params, values)?;
        self.online.noise.refresh(&self.plan, &self.online.params);
        Ok(())
    }

    /// Names of all parameters, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plan.layout.blocks().iter().map(|b| b.name.as_str())
    }

    /// What is published from now on is another version.
    fn changed(&mut self) {
        self.version += u64::from(std::mem::take(&mut self.published));
        self.snapshot = None;
    }

    /// Accumulated gradients by name.
    #[cfg(test)]
    pub(super) fn grads_for_test(&self) -> BTreeMap<String, Vec<f32>> {
        self.plan.layout.blocks().iter().map(|b| (b.name.clone(), b.read(&self.grads))).collect()
    }

    fn copy(&mut self, weights: Weights) -> Result<&mut Copy> {
        let copy = match weights {
            Weights::Online => Some(&mut self.online),
            Weights::Target => self.target.as_mut(),
            Weights::Reference => self.reference.as_mut(),
        };
        copy.ok_or_else(|| Error::State(format!("the network holds no {weights:?} parameters")))
    }

    fn put(&self, state: &mut StateDict, prefix: &str, params: &[f32]) {
        for block in self.plan.layout.blocks() {
            state.put_f32s(format!("{prefix}{}", block.name), &block.read(params));
        }
    }

    fn get(&self, state: &StateDict, prefix: &str) -> Result<Vec<f32>> {
        let mut params = vec![0.0; self.plan.layout.len()];
        for block in self.plan.layout.blocks() {
            block.write(&mut params, &state.f32s(&format!("{prefix}{}", block.name))?)?;
        }
        Ok(params)
    }
}

impl Network for MlpNetwork {
    fn heads(&self) -> &[Head] {
        &self.plan.heads
    }

    fn num_candidates(&self) -> usize {
        self.plan.features.num_candidates()
    }

    fn predict(&mut self, weights: Weights, obs: &ObsBatch, out: &mut Outputs) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let mut pass = std::mem::take(&mut self.other_pass);
        let copy = self.copy(weights)?;
        let done = plan.forward(copy.noise.weights(&copy.params), obs, &mut pass, out);
        self.other_pass = pass;
        done
    }

    fn forward(&mut self, obs: &ObsBatch, out: &mut Outputs) -> Result<()> {
        let weights = self.online.noise.weights(&self.online.params);
        self.plan.forward(weights, obs, &mut self.pass, out)?;
        self.pending = true;
        Ok(())
    }

    fn backward(&mut self, outputs: &Outputs) -> Result<()> {
        if !std::mem::take(&mut self.pending) {
            return Err(Error::State("a backward pass without a forward pass".into()));
        }
        let weights = self.online.noise.weights(&self.online.params);
        if self.plan.noisy.is_empty() {
            return self.plan.backward(weights, &mut self.grads, &mut self.pass, outputs);
        }
        // Apart from what has been accumulated: deviations have the gradient of the means times this noise.
        self.noisy_grads.clear();
        self.noisy_grads.resize(self.grads.len(), 0.0);
        self.plan.backward(weights, &mut self.noisy_grads, &mut self.pass, outputs)?;
        self.online.noise.deviations(&self.plan, &mut self.noisy_grads);
        self.grads.iter_mut().zip(&self.noisy_grads).for_each(|(sum, g)| *sum += g);
        Ok(())
    }

    fn step(&mut self, factor: f64, stop: &Stop) -> Result<StepReport> {
        stop.check()?;
        let report = self.optimizer.step(&self.plan.layout, &mut self.online.params, &mut self.grads, factor)?;
        self.online.noise.refresh(&self.plan, &self.online.params);
        self.pending = false;
        self.changed();
        self.ledger.updates += 1;
        Ok(report)
    }

    fn hold(&mut self, copy: Weights) -> Result<()> {
        let held = Some(self.online.clone());
        match copy {
            Weights::Online => {}
            Weights::Target => self.target = held,
            Weights::Reference => self.reference = held,
        }
        Ok(())
    }

    fn track(&mut self, tau: f64) -> Result<()> {
        let Some(target) = &mut self.target else { return self.hold(Weights::Target) };
        let tau = tau as f32;
        for (t, &p) in target.params.iter_mut().zip(&self.online.params) {
            *t += tau * (p - *t);
        }
        target.noise.refresh(&self.plan, &target.params);
        Ok(())
    }

    fn resample(&mut self, weights: Weights, rng: Option<&mut StreamRng>) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let copy = self.copy(weights)?;
        copy.noise.resample(&plan, &copy.params, rng);
        Ok(())
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
        self.plan.layout.count()
    }

    fn snapshot(&mut self, _: &[TextId]) -> Result<Arc<Snapshot>> {
        self.published = true;
        if let Some(snapshot) = &self.snapshot {
            return Ok(Arc::clone(snapshot));
        }
        let mut params = BTreeMap::new();
        for block in self.plan.layout.blocks() {
            let values = block.read(&self.online.params);
            params.insert(block.name.clone(), Tensor::from_vec(values, (block.rows, block.cols), &Device::Cpu)?);
        }
        let checksum = checksum(params.iter().map(|(name, t)| (name.as_str(), t)))?;
        let snapshot = Arc::new(Snapshot { version: self.version, checksum, params, features: None });
        self.snapshot = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    fn predictor(&self) -> Result<Box<dyn Predictor>> {
        Ok(Box::new(MlpPredictor::new(Arc::clone(&self.plan), &self.spec)))
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        let copies = (self.target.is_some(), self.reference.is_some());
        state.put(format!("{prefix}network"), &(copies, &self.ledger, self.version, self.published))?;
        self.put(state, prefix, &self.online.params);
        for (name, copy) in [("target", &self.target), ("reference", &self.reference)] {
            if let Some(copy) = copy {
                self.put(state, &format!("{prefix}{name}."), &copy.params);
            }
        }
        self.optimizer.save(state, prefix)
    }

    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        type Saved = ((bool, bool), Ledger, u64, bool);
        let ((target, reference), ledger, version, published): Saved = state.get(&format!("{prefix}network"))?;
        let online = self.get(state, prefix)?;
        let copy = |held: bool, name: &str| -> Result<Option<Copy>> {
            if !held {
                return Ok(None);
            }
            let params = self.get(state, &format!("{prefix}{name}."))?;
            Ok(Some(Copy { params, noise: Noise::default() }))
        };
        let (target, reference) = (copy(target, "target")?, copy(reference, "reference")?);
        self.optimizer.load(state, prefix)?;
        self.online = Copy { params: online, noise: Noise::default() };
        (self.target, self.reference) = (target, reference);
        (self.ledger, self.version, self.published) = (ledger, version, published);
        (self.snapshot, self.pending) = (None, false);
        self.grads.fill(0.0);
        Ok(())
    }
}
