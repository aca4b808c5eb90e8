//! Shapes, parameters and the forward pass of the scorer.

use super::{ItemBatch, StateBatch, TextRows};
use candle_core::{Device, Tensor};
use retune::env::{CandidateSpec, EnvSpec, ObsSpec};
use retune::nn::ops::log_softmax;
use retune::nn::{Init, ParamStore};
use retune::{Error, Result};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// All parameters of the scorer begin with this.
pub const PREFIX: &str = "scorer.";

/// Name of the projection onto soft clusters.
const CLUSTERS: &str = "clusters";

/// One number per candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tower {
    /// Its parameters begin with `scorer.<name>.`.
    pub name: Cow<'static, str>,
    /// Hidden units of the part in which state and candidate meet.
    pub hidden: usize,
    /// Whether its output has a bias: not where a softmax over the candidates of a state follows, which cancels it.
    pub bias: bool,
}

/// What goes into a scorer and what comes out.
#[derive(Clone, Debug, PartialEq)]
pub struct ScorerShape {
    /// What the env offers.
    pub candidates: CandidateSpec,
    /// Candidates per observation.
    pub num_candidates: usize,
    /// Features per candidate; 0 for none.
    pub candidate_dim: usize,
    /// Width of a text vector; 0 if candidates have no text.
    pub text_width: usize,
    /// Features per state; 0 for none.
    pub state_dim: usize,
    /// Events that are looked at; 0 for none.
    pub history_len: usize,
    /// Numbers per event.
    pub history_dim: usize,
    /// Hidden units of the state head and of the history encoder.
    pub hidden: usize,
    /// Soft clusters that candidates are summarised by before any tower sees them; 0 for none.
    pub clusters: usize,
    /// Outputs per candidate.
    pub towers: Vec<Tower>,
    /// Outputs per state; 0 leaves the state head out.
    pub state_outputs: usize,
}

impl ScorerShape {
    /// The shape that fits the observations of `spec`.
    ///
    /// # Errors
    /// [`Error::Config`] if the env does not offer candidates, or if candidates have neither features nor a text
    /// vector.
    pub fn new(
        spec: &EnvSpec,
        text_width: usize,
        (hidden, clusters): (usize, usize),
        towers: Vec<Tower>,
        state_outputs: usize,
    ) -> Result<Self> {
        let ObsSpec::Candidates(c) = &spec.obs else {
            return Err(Error::config("env", &spec.id, "agents of this family need an env that offers candidates"));
        };
        if c.candidate_dim == 0 && text_width == 0 {
            let expected = "candidates have no features, so a text model is needed to tell them apart";
            return Err(Error::config("env", &spec.id, expected));
        }
        Ok(Self {
            candidates: c.clone(),
            num_candidates: c.num_candidates,
            candidate_dim: c.candidate_dim,
            text_width,
            state_dim: c.state_dim,
            history_len: c.history_len,
            history_dim: c.history_dim,
            hidden,
            clusters,
            towers,
            state_outputs,
        })
    }

    /// Length of the state vector s.
    fn code_dim(&self) -> usize {
        self.state_dim + if self.history_len > 0 { self.hidden } else { 0 }
    }
}

/// What a scorer says about a minibatch.
#[derive(Clone, Debug)]
pub struct Scores {
    /// One `[candidates per state, states]` for each tower, in the order of [`ScorerShape::towers`].
    pub items: Vec<Tensor>,
    /// `[states, state_outputs]`; `None` without a state head.
    pub states: Option<Tensor>,
}

/// The scoring model: shapes only; the numbers are in [`Weights`].
#[derive(Clone, Debug)]
pub struct Scorer {
    shape: ScorerShape,
}

/// The tensors of a scorer, by name without [`PREFIX`].
#[derive(Clone, Debug)]
pub struct Weights(BTreeMap<String, Tensor>);

impl Weights {
    /// Tensors that are part of the graph where they are trained.
    ///
    /// # Errors
    /// If the store has lost one.
    pub fn graph(store: &ParamStore) -> Result<Self> {
        scorer_names(store)
            .map(|n| Ok((n.to_owned(), store.tensor(&format!("{PREFIX}{n}"))?)))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The same tensors without a graph; they see later updates.
    ///
    /// # Errors
    /// If the store has lost one.
    pub fn detached(store: &ParamStore) -> Result<Self> {
        scorer_names(store)
            .map(|n| Ok((n.to_owned(), store.detached(&format!("{PREFIX}{n}"))?)))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The scorer's part of published parameters.
    #[must_use]
    pub fn published(params: &BTreeMap<String, Tensor>) -> Self {
        let own = params.iter().filter_map(|(n, t)| Some((n.strip_prefix(PREFIX)?.to_owned(), t.clone())));
        Self(own.collect())
    }

    pub(super) fn get(&self, name: &str) -> Result<&Tensor> {
        self.0.get(name).ok_or_else(|| Error::State(format!("parameter {PREFIX}{name} is missing")))
    }
}

impl Weights {
    /// Where they are.
    #[must_use]
    pub fn device(&self) -> Device {
        self.0.values().next().map_or(Device::Cpu, |t| t.device().clone())
    }

    /// Names and tensors of the projections of texts.
    pub(super) fn of_texts(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().filter(|(n, _)| n.ends_with(".text")).map(|(n, t)| (n.as_str(), t))
    }
}

fn scorer_names(store: &ParamStore) -> impl Iterator<Item = &str> {
    store.names().filter_map(|n| n.strip_prefix(PREFIX))
}

impl Scorer {
    /// A scorer of this shape.
    #[must_use]
    pub fn new(shape: ScorerShape) -> Self {
        Self { shape }
    }

    /// Its shape.
    #[must_use]
    pub fn shape(&self) -> &ScorerShape {
        &self.shape
    }

    /// Names and shapes of all parameters with their initial values.
    fn layout(&self) -> Vec<(String, Vec<usize>, Init)> {
        let s = &self.shape;
        let (hidden, code) = (s.hidden, s.code_dim());
        let mut out: Vec<(String, Vec<usize>, Init)> = Vec::new();
        let mut add = |name: &str, shape: &[usize], init| {
            if shape.iter().all(|&d| d > 0) {
                out.push((name.to_owned(), shape.to_vec(), init));
            }
        };
        let given = [("features", s.candidate_dim), ("text", s.text_width)];
        let inputs = if s.clusters > 0 {
            for (input, dim) in given {
                add(&format!("{CLUSTERS}.{input}"), &[dim, s.clusters], fan(s.candidate_dim + s.text_width));
            }
            add(&format!("{CLUSTERS}.bias"), &[s.clusters], Init::Const(0.0));
            vec![("cluster", s.clusters)]
        } else {
            given.to_vec()
        };
        let width = inputs.iter().map(|(_, dim)| dim).sum();
        for tower in &s.towers {
            let name = |part: &str| format!("{}.{part}", tower.name);
            for &(input, dim) in &inputs {
                add(&name(&format!("linear.{input}")), &[dim, 1], Init::Normal(0.01));
            }
            // Without a state there is nothing to multiply with.
            let parts: &[&str] = if code > 0 { &["add", "mul"] } else { &["add"] };
            for part in parts {
                for &(input, dim) in &inputs {
                    let shape = [dim, tower.hidden];
                    add(&name(&format!("inner.{part}.{input}")), &shape, fan(width));
                }
                add(&name(&format!("inner.{part}.state")), &[code, tower.hidden], fan(code));
                add(&name(&format!("inner.{part}.bias")), &[tower.hidden], Init::Const(0.0));
            }
            add(&name("inner.out"), &[tower.hidden, 1], fan(tower.hidden));
            if tower.bias {
                add(&name("bias"), &[1], Init::Const(0.0));
            }
        }
        if s.state_outputs > 0 {
            if code > 0 {
                add("state.hidden.weight", &[code, hidden], fan(code));
                add("state.hidden.bias", &[hidden], Init::Const(0.0));
                // Small: at first every state has about the level that the learner starts from.
                let small = Init::Uniform(0.1 / (hidden as f32).sqrt());
                add("state.out.weight", &[hidden, s.state_outputs], small);
            }
            add("state.out.bias", &[s.state_outputs], Init::Const(0.0));
        }
        if s.history_len > 0 {
            let inputs = fan(s.text_width + s.history_dim + 1);
            add("history.text", &[s.text_width, hidden], inputs);
            add("history.numbers", &[s.history_dim + 1, hidden], inputs);
            add("history.bias", &[hidden], Init::Const(0.0));
            add("history.position", &[s.history_len, 1, 1], Init::Const(1.0 / s.history_len as f32));
        }
        out
    }

    /// Adds the parameters to `store`.
    ///
    /// # Errors
    /// If a name is taken.
    pub fn init(&self, store: &mut ParamStore) -> Result<()> {
        self.layout().iter().try_for_each(|(name, shape, init)| store.init(&format!("{PREFIX}{name}"), shape, *init))
    }

    /// Checks that `weights` has every parameter in its shape.
    ///
    /// # Errors
    /// [`Error::State`] naming the first that is missing or misshapen.
    pub fn check(&self, weights: &Weights) -> Result<()> {
        for (name, shape, _) in self.layout() {
            let actual = weights.get(&name)?.dims();
            if actual != shape {
                let message = format!("parameter {PREFIX}{name} has shape {actual:?}, expected {shape:?}");
                return Err(Error::State(message));
            }
        }
        Ok(())
    }

    /// Scores `items` in `states`. `texts` holds the candidates' texts, `past` those of histories.
    ///
    /// # Errors
    /// If a vector is missing or the tensors do not fit.
    pub fn forward(
        &self,
        weights: &Weights,
        states: &StateBatch,
        items: &ItemBatch,
        texts: Option<&TextRows>,
        past: Option<&TextRows>,
    ) -> Result<Scores> {
        let code = self.code(weights, states, past)?;
        let index = match texts {
            Some(rows) if self.shape.text_width > 0 => Some(rows.index(&items.texts)?),
            _ => None,
        };
        let mut inputs = Inputs { code: code.as_ref(), items, texts: texts.zip(index), clusters: None };
        if self.shape.clusters > 0 {
            inputs.clusters = Some(inputs.soft_clusters(weights, self.shape.clusters)?);
        }
        let items = self.shape.towers.iter().map(|t| inputs.tower(weights, t)).collect::<Result<_>>()?;
        Ok(Scores { items, states: self.state_head(weights, code.as_ref(), states.len)? })
    }

    /// The state head alone: `[states, state_outputs]`.
    ///
    /// # Errors
    /// If the tensors do not fit.
    pub fn values(&self, weights: &Weights, states: &StateBatch, past: Option<&TextRows>) -> Result<Option<Tensor>> {
        let code = self.code(weights, states, past)?;
        self.state_head(weights, code.as_ref(), states.len)
    }

    /// The state vector s, `[states, code_dim]`; `None` if nothing is known of a state.
    fn code(&self, weights: &Weights, states: &StateBatch, past: Option<&TextRows>) -> Result<Option<Tensor>> {
        let history = states.history.as_ref().map(|h| -> Result<Tensor> {
            let mut x = h.numbers.matmul(weights.get("history.numbers")?)?;
            if self.shape.text_width > 0 {
                let past = past.ok_or_else(|| Error::State("a history with texts needs their vectors".to_owned()))?;
                x = (x + past.project(weights, "history.text")?.index_select(&past.index(&h.texts)?, 0)?)?;
            }
            let x = x.broadcast_add(weights.get("history.bias")?)?.tanh()?;
            let x = x.reshape((self.shape.history_len, states.len, self.shape.hidden))?;
            let weight = h.present.broadcast_mul(weights.get("history.position")?)?;
            Ok(x.broadcast_mul(&weight)?.sum(0)?)
        });
        Ok(match (&states.features, history.transpose()?) {
            (Some(features), Some(history)) => Some(Tensor::cat(&[features, &history], 1)?),
            (Some(features), None) => Some(features.clone()),
            (None, history) => history,
        })
    }

    fn state_head(&self, weights: &Weights, code: Option<&Tensor>, len: usize) -> Result<Option<Tensor>> {
        if self.shape.state_outputs == 0 {
            return Ok(None);
        }
        let bias = weights.get("state.out.bias")?;
        let out = match code {
            Some(code) => {
                let hidden = code.matmul(weights.get("state.hidden.weight")?)?;
                let hidden = hidden.broadcast_add(weights.get("state.hidden.bias")?)?.relu()?;
                hidden.matmul(weights.get("state.out.weight")?)?.broadcast_add(bias)?
            }
            None => bias.reshape((1, self.shape.state_outputs))?.broadcast_as((len, self.shape.state_outputs))?,
        };
        Ok(Some(out))
    }
}

/// Uniform within one over the root of the number of inputs.
fn fan(inputs: usize) -> Init {
    Init::Uniform(1.0 / (inputs.max(1) as f32).sqrt())
}

/// What all towers read.
struct Inputs<'a> {
    /// `[states, code_dim]`.
    code: Option<&'a Tensor>,
    items: &'a ItemBatch,
    /// Vectors, and which of them each row of `items` has.
    texts: Option<(&'a TextRows, Tensor)>,
    /// Soft clusters of each row of `items`, `[rows, clusters]`; `None` where towers read candidates themselves.
    clusters: Option<Tensor>,
}

impl Inputs<'_> {
    /// Output of one tower, `[candidates per state, states]`.
    fn tower(&self, weights: &Weights, tower: &Tower) -> Result<Tensor> {
        let (rows, len) = (self.items.per_state, self.items.len);
        let inner = |part: &str| -> Result<Tensor> {
            let x = self.project(weights, &format!("{}.{part}", tower.name))?;
            Ok(x.reshape((rows, len, tower.hidden))?)
        };
        let bias = |part: &str| weights.get(&format!("{}.{part}.bias", tower.name));
        let state = |part: &str, code: &Tensor| -> Result<Tensor> {
            let x = code.matmul(weights.get(&format!("{}.{part}.state", tower.name))?)?;
            Ok(x.broadcast_add(bias(part)?)?)
        };
        let hidden = match self.code {
            Some(code) => {
                let sum = inner("inner.add")?.broadcast_add(&state("inner.add", code)?)?;
                (sum + inner("inner.mul")?.broadcast_mul(&state("inner.mul", code)?)?)?
            }
            None => inner("inner.add")?.broadcast_add(bias("inner.add")?)?,
        };
        let hidden = hidden.relu()?.reshape((rows * len, tower.hidden))?;
        let out = hidden.matmul(weights.get(&format!("{}.inner.out", tower.name))?)?;
        let out = (out + self.project(weights, &format!("{}.linear", tower.name))?)?;
        let out = if tower.bias { out.broadcast_add(weights.get(&format!("{}.bias", tower.name))?)? } else { out };
        Ok(out.reshape((rows, len))?)
    }

    /// How much each row of `items` belongs to each cluster, times the root of their number, which gives an even
    /// membership the length 1.
    fn soft_clusters(&self, weights: &Weights, clusters: usize) -> Result<Tensor> {
        let logits = self.project(weights, CLUSTERS)?.broadcast_add(weights.get(&format!("{CLUSTERS}.bias"))?)?;
        Ok((log_softmax(&logits)?.exp()? * (clusters as f64).sqrt())?)
    }

    /// W e for all rows of `items`, `[rows, units]`.
    fn project(&self, weights: &Weights, part: &str) -> Result<Tensor> {
        if let Some(clusters) = &self.clusters {
            return Ok(clusters.matmul(weights.get(&format!("{part}.cluster"))?)?);
        }
        let features = match &self.items.features {
            Some(x) => Some(x.matmul(weights.get(&format!("{part}.features"))?)?),
            None => None,
        };
        let text = match &self.texts {
            Some((rows, index)) => Some(rows.project(weights, &format!("{part}.text"))?.index_select(index, 0)?),
            None => None,
        };
        match (features, text) {
            (Some(f), Some(t)) => Ok((f + t)?),
            (Some(one), None) | (None, Some(one)) => Ok(one),
            (None, None) => Err(Error::State("candidates have neither features nor text vectors".to_owned())),
        }
    }
}
