//! One optimizer step and everything around it.

use super::texts::{TEXT_MEAN, TEXT_STD, Texts};
use super::{Average, LearningConfig, Setup};
use crate::scorer::{ItemBatch, PREFIX, Scorer, ScorerShape, Scores, StateBatch, TextRows, Tower, Weights};
use candle_core::{Device, Tensor};
use retune::agent::{Ledger, Snapshot, Stop};
use retune::backbone;
use retune::env::TextId;
use retune::nn::{
    Gradients, Group, Optimizer, OptimizerConfig, ParamStore, Schedule, ScheduleKind, checksum, host_copy,
};
use retune::persist::StateDict;
use retune::replay::ObsBatch;
use retune::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a learner asks of the model.
pub struct ModelPlan<'a> {
    /// Outputs per candidate.
    pub towers: Vec<Tower>,
    /// Outputs per state.
    pub state_outputs: usize,
    /// Parts that are optimized in a way of their own.
    pub parts: &'a [Part<'a>],
}

/// How the parameters whose name begins with `name` are optimized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part<'a> {
    /// Beginning of the names, without the scorer's prefix; of several that fit, the longest decides.
    pub name: &'a str,
    /// Factor on the learning rate.
    pub rate: f64,
    /// Decoupled weight decay; `None` for that of all.
    pub decay: Option<f64>,
}

/// Parameters of a scorer, and of an encoder where there are texts, with optimizer, average and ledger.
#[derive(Debug)]
pub struct Trainer {
    config: LearningConfig,
    scorer: Scorer,
    store: ParamStore,
    texts: Option<Texts>,
    optimizer: Optimizer,
    average: Average,
    ledger: Ledger,
    version: u64,
    checksum: String,
}

impl Trainer {
    /// A scorer with fresh parameters for the observations of `spec`. Texts are read only if a model for them is
    /// given.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range or env and model do not fit; else if a tensor cannot be made.
    pub fn new(setup: &Setup<'_>, plan: ModelPlan<'_>) -> Result<Self> {
        let (config, spec) = (setup.learning, setup.spec);
        config.validate()?;
        let mut store = ParamStore::new(&setup.learner_device(), setup.seed.child("init"));
        let mut ledger = Ledger::default();
        let texts = setup.text.map(|model| Texts::new(model, setup, &mut store, &mut ledger)).transpose()?;
        let width = texts.as_ref().map_or(0, Texts::width);
        let scorer = Scorer::new(ScorerShape::new(
            spec,
            width,
            (config.hidden, config.clusters),
            plan.towers,
            plan.state_outputs,
        )?);
        scorer.init(&mut store)?;
        let optimizer = Optimizer::new(optimizer_config(config, plan.parts))?;
        Ok(Self {
            config: config.clone(),
            scorer,
            average: Average::new(&store, |n| n.starts_with(PREFIX))?,
            optimizer,
            store,
            texts,
            ledger,
            version: 0,
            checksum: String::new(),
        })
    }

    /// Settings.
    #[must_use]
    pub fn config(&self) -> &LearningConfig {
        &self.config
    }

    /// The model.
    #[must_use]
    pub fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// The parameters.
    #[must_use]
    pub fn store(&self) -> &ParamStore {
        &self.store
    }

    /// What has been spent.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What has been spent, to add to.
    pub fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Where tensors live.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.store.device()
    }

    /// Updates that the env steps so far pay for and that have not been made.
    #[must_use]
    pub fn updates_due(&self) -> u64 {
        self.config.updates_after(self.ledger.env_steps).saturating_sub(self.ledger.updates)
    }

    /// Scores of the shown candidates, part of the graph: `[slate_size, batch]` for each tower. Where the encoder is
    /// trained, the slates of the first [`LearningConfig::encoder_batch_size`] states are read with a gradient.
    ///
    /// # Shapes
    /// `slates`: `[batch, slate_size]`.
    ///
    /// # Errors
    /// If the tensors do not fit.
    pub fn scores(&mut self, obs: &ObsBatch, slates: &[u32]) -> Result<Scores> {
        let shape = self.scorer.shape();
        let states = StateBatch::new(shape, obs, self.device())?;
        let items = ItemBatch::slates(shape, obs, slates, self.device())?;
        self.forward(&states, &items, self.config.encoder_batch_size)
    }

    /// Scores of all candidates, part of the graph: `[num_candidates, batch]` for each tower.
    ///
    /// # Errors
    /// If the tensors do not fit.
    pub fn scores_of_all(&mut self, obs: &ObsBatch) -> Result<Scores> {
        let shape = self.scorer.shape();
        let states = StateBatch::new(shape, obs, self.device())?;
        let items = ItemBatch::all(shape, obs, self.device())?;
        self.forward(&states, &items, self.config.encoder_batch_size)
    }

    fn forward(&mut self, states: &StateBatch, items: &ItemBatch, read: usize) -> Result<Scores> {
        let (rows, past) = match &self.texts {
            None => (None, None),
            Some(texts) => {
                let graph = items.texts_of_first(read);
                let rows = texts.rows(&self.store, items.texts(), &graph, &mut self.ledger)?;
                (Some(rows), past_rows(texts, states)?)
            }
        };
        self.scorer.forward(&Weights::graph(&self.store)?, states, items, rows.as_ref(), past.as_ref())
    }

    /// Scores of all candidates of `obs` under other weights, without a graph. `rows` may hold their texts already.
    ///
    /// # Errors
    /// If the tensors do not fit.
    pub fn scores_under(&self, weights: &Weights, obs: &ObsBatch, rows: Option<&TextRows>) -> Result<Scores> {
        let shape = self.scorer.shape();
        let states = StateBatch::new(shape, obs, self.device())?;
        let items = ItemBatch::all(shape, obs, self.device())?;
        let (own, past) = match &self.texts {
            None => (None, None),
            Some(texts) => {
                let own = if rows.is_none() { Some(texts.view().rows(items.texts())?) } else { None };
                (own, past_rows(texts, &states)?)
            }
        };
        self.scorer.forward(weights, &states, &items, rows.or(own.as_ref()), past.as_ref())
    }

    /// The state head under the current weights without a graph, `[batch, state_outputs]`.
    ///
    /// # Errors
    /// If the tensors do not fit.
    pub fn values(&self, obs: &ObsBatch) -> Result<Option<Tensor>> {
        let states = StateBatch::new(self.scorer.shape(), obs, self.device())?;
        let past = self.texts.as_ref().map(|texts| past_rows(texts, &states)).transpose()?.flatten();
        self.scorer.values(&Weights::detached(&self.store)?, &states, past.as_ref())
    }

    /// All texts of the table, projected under `weights`; `None` without texts. Worth it where the weights serve for
    /// several minibatches.
    ///
    /// # Errors
    /// If the tensors do not fit.
    pub fn project_all(&self, weights: &Weights) -> Result<Option<TextRows>> {
        self.texts.as_ref().map(|texts| texts.view().all()?.projected(weights)).transpose()
    }

    /// One optimizer step down `loss`. Returns the norm of the gradient before clipping.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if the loss or a gradient is not finite; [`Error::Coverage`] if on the first update a
    /// trained parameter gets no gradient.
    pub fn step(&mut self, loss: &Tensor, stop: &Stop) -> Result<StepOutcome> {
        let update = self.ledger.updates;
        let gradients = Gradients::of(loss, &self.store, update)?;
        gradients.check_coverage(&self.store, update, |_| false)?;
        let report = self.optimizer.step(&self.store, &gradients)?;
        self.average.update(&self.store, self.config.average_decay)?;
        self.ledger.updates += 1;
        let table_changed = match &mut self.texts {
            Some(texts) => texts.updated(&self.store, self.config.table_refresh_updates, &mut self.ledger, stop)?,
            None => false,
        };
        Ok(StepOutcome { grad_norm: report.grad_norm, table_changed })
    }

    /// Publishes the averaged parameters together with some single numbers that acting needs.
    ///
    /// # Errors
    /// If a tensor cannot be copied or a text cannot be encoded.
    pub fn publish(&mut self, numbers: &[(&str, f64)], texts: &[TextId]) -> Result<Arc<Snapshot>> {
        let mut params: BTreeMap<String, Tensor> = BTreeMap::new();
        for (name, value) in self.average.values() {
            params.insert(name.clone(), host_copy(value)?);
        }
        for (name, value) in numbers {
            params.insert((*name).to_owned(), Tensor::new(&[*value as f32], &Device::Cpu)?);
        }
        let features = match &self.texts {
            Some(model) => {
                for name in [TEXT_MEAN, TEXT_STD] {
                    params.insert(name.to_owned(), host_copy(&self.store.detached(name)?)?);
                }
                Some(model.publish(&self.store, texts, &mut self.ledger)?)
            }
            None => None,
        };
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

    /// Puts everything into `state`.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        for name in self.saved_names() {
            state.put_tensor(format!("{prefix}params/{name}"), &self.store.detached(&name)?)?;
        }
        self.average.save(state, &format!("{prefix}average/"))?;
        self.optimizer.save(state, &format!("{prefix}optimizer/"))?;
        if let Some(texts) = &self.texts {
            texts.save(state, prefix)?;
        }
        state.put(format!("{prefix}ledger"), &self.ledger)?;
        state.put(format!("{prefix}published"), &(self.version, &self.checksum))
    }

    /// Takes everything back.
    ///
    /// # Errors
    /// [`Error::State`] if it belongs to another agent, env or encoder; nothing is then changed.
    pub fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        let average = self.average.restored(state, &format!("{prefix}average/"))?;
        let params = self.saved_names().into_iter().map(|name| {
            let value = state.tensor(&format!("{prefix}params/{name}"), self.device())?;
            let own = self.store.detached(&name)?;
            if own.dims() != value.dims() {
                let message = format!("{name} has shape {:?}, expected {:?}", value.dims(), own.dims());
                return Err(Error::State(message));
            }
            Ok((name, value))
        });
        let params: Vec<(String, Tensor)> = params.collect::<Result<_>>()?;
        let texts = self.texts.as_ref().map(|t| t.read(state, prefix)).transpose()?;
        let ledger = state.get(&format!("{prefix}ledger"))?;
        let (version, checksum) = state.get(&format!("{prefix}published"))?;
        // The last that can fail, and it changes nothing if it does.
        self.optimizer.load(state, &format!("{prefix}optimizer/"), &self.store)?;
        for (name, value) in &params {
            self.store.set(name, value)?;
        }
        if let (Some(own), Some(saved)) = (&mut self.texts, texts) {
            own.install_saved(saved);
        }
        (self.average, self.ledger, self.version, self.checksum) = (average, ledger, version, checksum);
        Ok(())
    }

    /// Parameters that can have changed. The rest comes from the weights.
    fn saved_names(&self) -> Vec<String> {
        self.store.trainable().map(|(name, _)| name.to_owned()).collect()
    }
}

/// What [`Trainer::step`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOutcome {
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Whether the table of text vectors was made anew.
    pub table_changed: bool,
}

/// Texts of histories: always from the table.
fn past_rows(texts: &Texts, states: &StateBatch) -> Result<Option<TextRows>> {
    if states.texts().is_empty() { Ok(None) } else { Ok(Some(texts.view().rows(states.texts())?)) }
}

fn optimizer_config(config: &LearningConfig, parts: &[Part<'_>]) -> OptimizerConfig {
    let part = |part: &Part<'_>| Group {
        prefix: format!("{PREFIX}{}", part.name),
        contains: String::new(),
        learning_rate: Some(part.rate * config.learning_rate),
        weight_decay: part.decay,
    };
    let encoder = Group {
        prefix: backbone::PREFIX.to_owned(),
        contains: String::new(),
        learning_rate: Some(config.encoder_learning_rate),
        weight_decay: Some(0.01),
    };
    OptimizerConfig {
        algorithm: config.optimizer,
        learning_rate: config.learning_rate,
        weight_decay: config.weight_decay,
        max_grad_norm: Some(config.max_grad_norm),
        schedule: Schedule { kind: ScheduleKind::Linear, total_updates: config.total_updates(), ..Schedule::default() },
        groups: parts.iter().map(part).chain([encoder]).collect(),
    }
}
