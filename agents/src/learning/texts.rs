//! The text encoder of a learner: table of vectors, texts with a gradient, what reading costs.

use super::Setup;
use crate::scorer::{TextRows, TextTableView};
use candle_core::{Device, Tensor};
use retune::agent::{FeatureTable, Ledger, Stop};
use retune::backbone::{Backbone, BackboneOptions, FeatureCache, Tokens, Weights};
use retune::env::{ObsSpec, TextId};
use retune::nn::ParamStore;
use retune::persist::StateDict;
use retune::replay::NO_TEXT;
use retune::{Error, Result};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Name of the mean that text vectors are standardised with.
pub(crate) const TEXT_MEAN: &str = "text.mean";
/// Name of the standard deviation that text vectors are standardised with.
pub(crate) const TEXT_STD: &str = "text.std";

/// The encoder that a learner puts its scorer on.
#[derive(Clone, Debug)]
pub struct TextModel {
    /// Pretrained (or random) weights, shared by all trials.
    pub weights: Weights,
    /// What of it is trained, and how hidden states become a vector.
    pub options: BackboneOptions,
    /// Vectors that were made before; shared by all trials with the same weights.
    pub cache: FeatureCache,
    /// Looked at between batches of texts wherever they are read outside of a round of learning, which has a stop of
    /// its own: reading a catalogue takes many seconds.
    pub stop: Stop,
}

/// The encoder at work for one env.
#[derive(Debug)]
pub struct Texts {
    backbone: Backbone,
    /// The parameters of a frozen encoder on another device than the learner's.
    apart: Option<ParamStore>,
    tokens: Vec<Tokens>,
    pool: Vec<TextId>,
    cache: FeatureCache,
    stop: Stop,
    view: TextTableView,
    published: Arc<FeatureTable>,
    /// Updates of the encoder since the table was made.
    stale: u64,
}

/// A table from saved state that fits.
pub struct SavedTable {
    stale: u64,
    published: Arc<FeatureTable>,
    /// The same where the learner computes.
    table: Tensor,
}

impl Texts {
    /// Puts the encoder into `store`, reads the env's pool once, and fixes the constants that standardise vectors. A frozen
    /// encoder has a store of its own where the device of `setup` is not that of `store`.
    ///
    /// # Errors
    /// If the env has no texts, or a text cannot be encoded; [`Error::Interrupted`] if asked to stop.
    pub fn new(model: &TextModel, setup: &Setup<'_>, store: &mut ParamStore, ledger: &mut Ledger) -> Result<Self> {
        let spec = setup.spec;
        let pool = match &spec.obs {
            ObsSpec::Candidates(c) if !c.pool.is_empty() => c.pool.clone(),
            _ => return Err(Error::config("env", &spec.id, "a text encoder needs an env whose candidates have texts")),
        };
        let elsewhere = !setup.device.same_device(store.device());
        let mut apart = elsewhere.then(|| ParamStore::new(setup.device, setup.seed.child("init")));
        let backbone = Backbone::new(&model.weights, &model.options, apart.as_mut().unwrap_or(store))?;
        let texts: Vec<&str> = spec.texts.as_slice().iter().map(String::as_str).collect();
        let tokens = backbone.tokenize(&texts)?;
        let encoder = apart.as_ref().unwrap_or(store);
        let table = backbone.encode_table(encoder, &tokens, &pool, &model.cache, ledger, &model.stop)?;
        let ids: Vec<u32> = pool.iter().map(|id| id.0).collect();
        let view = TextTableView::new(&table.table.to_device(store.device())?, &ids)?;
        store.insert_frozen(TEXT_MEAN, &view.mean)?;
        store.insert_frozen(TEXT_STD, &view.std)?;
        let (cache, stop) = (model.cache.clone(), model.stop.clone());
        Ok(Self { backbone, apart, tokens, pool, cache, stop, view, published: Arc::new(table), stale: 0 })
    }

    /// Length of a vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.backbone.width()
    }

    /// Whether the encoder stays as it is.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.backbone.is_frozen()
    }

    /// The current table.
    #[must_use]
    pub fn view(&self) -> &TextTableView {
        &self.view
    }

    /// The texts `ids`, of which those in `graph` are read with a gradient where the encoder is trained; the others
    /// come from the table. `ledger` is charged with what is read.
    ///
    /// # Errors
    /// If a text cannot be encoded.
    pub fn rows(&self, store: &ParamStore, ids: &[u32], graph: &[u32], ledger: &mut Ledger) -> Result<TextRows> {
        if self.is_frozen() || graph.is_empty() {
            return self.view.rows(ids);
        }
        let read: BTreeSet<u32> = graph.iter().copied().filter(|&id| id != NO_TEXT).collect();
        let rest: BTreeSet<u32> = ids.iter().copied().filter(|id| !read.contains(id)).collect();
        let read: Vec<u32> = read.into_iter().collect();
        let rest: Vec<u32> = rest.into_iter().collect();
        let tokens: Vec<&Tokens> = read.iter().map(|&id| self.tokens_of(id)).collect::<Result<_>>()?;
        ledger.backward_tokens += self.backbone.tokens_read(&tokens);
        let encoded = self.view.standardise(&self.backbone.encode(store, &tokens)?)?;
        if rest.is_empty() {
            return Ok(TextRows::new(&read, &encoded));
        }
        let table = self.view.table.index_select(&Tensor::new(rest.as_slice(), store.device())?, 0)?;
        let vectors = Tensor::cat(&[&encoded, &self.view.standardise(&table)?], 0)?;
        Ok(TextRows::new(&[read, rest].concat(), &vectors))
    }

    fn tokens_of(&self, id: u32) -> Result<&Tokens> {
        self.tokens.get(id as usize).ok_or_else(|| Error::State(format!("text {id} of {}", self.tokens.len())))
    }

    /// Counts an update of the encoder; makes the table anew once `every` have gone by.
    ///
    /// # Errors
    /// If a text cannot be encoded; [`Error::Interrupted`] if asked to stop.
    pub fn updated(&mut self, store: &ParamStore, every: u64, ledger: &mut Ledger, stop: &Stop) -> Result<bool> {
        if self.is_frozen() {
            return Ok(false);
        }
        self.stale += 1;
        if self.stale < every {
            return Ok(false);
        }
        let table = self.encode(store, &self.pool, ledger, stop)?;
        self.view.table = table.table.to_device(store.device())?;
        self.published = Arc::new(table);
        self.stale = 0;
        Ok(true)
    }

    /// The table that training uses (for no texts), or a fresh one of `texts`.
    ///
    /// # Errors
    /// If a text cannot be encoded; [`Error::Interrupted`] if asked to stop.
    pub fn publish(&self, store: &ParamStore, texts: &[TextId], ledger: &mut Ledger) -> Result<Arc<FeatureTable>> {
        if texts.is_empty() {
            return Ok(self.published.clone());
        }
        Ok(Arc::new(self.encode(store, texts, ledger, &self.stop)?))
    }

    fn encode(&self, store: &ParamStore, texts: &[TextId], ledger: &mut Ledger, stop: &Stop) -> Result<FeatureTable> {
        let store = self.apart.as_ref().unwrap_or(store);
        self.backbone.encode_table(store, &self.tokens, texts, &self.cache, ledger, stop)
    }

    /// Puts the table into `state`, which may be older than the encoder. A frozen encoder makes the same one again.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        state.put(format!("{prefix}texts"), &(self.stale, &self.published.weight_version))?;
        if self.is_frozen() { Ok(()) } else { state.put_tensor(format!("{prefix}table"), &self.view.table) }
    }

    /// What [`Texts::install_saved`] needs, read and checked.
    ///
    /// # Errors
    /// [`Error::State`] if it is missing, or belongs to other weights.
    pub fn read(&self, state: &StateDict, prefix: &str) -> Result<SavedTable> {
        let (stale, weight_version): (u64, String) = state.get(&format!("{prefix}texts"))?;
        if self.is_frozen() {
            if weight_version != self.published.weight_version {
                let own = &self.published.weight_version;
                return Err(Error::State(format!("saved with the encoder {weight_version}, this one is {own}")));
            }
            return Ok(SavedTable { stale, published: self.published.clone(), table: self.view.table.clone() });
        }
        let table = state.tensor(&format!("{prefix}table"), &Device::Cpu)?;
        if table.dims() != self.view.table.dims() {
            let (saved, own) = (table.dims(), self.view.table.dims());
            return Err(Error::State(format!("the saved table of text vectors has shape {saved:?}, expected {own:?}")));
        }
        let there = table.to_device(self.view.table.device())?;
        Ok(SavedTable { stale, published: Arc::new(FeatureTable { table, weight_version }), table: there })
    }

    /// Takes over what [`Texts::read`] returned.
    pub fn install_saved(&mut self, saved: SavedTable) {
        self.view.table = saved.table;
        self.published = saved.published;
        self.stale = saved.stale;
    }
}
