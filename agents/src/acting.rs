//! What all actors with a scorer share: published weights, batched scores on the host, random slates.

use crate::learning::{TEXT_MEAN, TEXT_STD};
use crate::scorer::{ItemBatch, Scorer, StateBatch, TextRows, TextTableView, Weights};
use candle_core::{DType, Device, Tensor};
use retune::agent::{Actor, Decision, Mode, Snapshot};
use retune::env::{CandidateObs, Slate};
use retune::replay::ObsBatch;
use retune::rng::StreamRng;
use retune::slate::{SlateError, top_k_by};
use retune::{Error, Result};
use std::sync::Arc;

/// A scorer with published weights.
#[derive(Debug)]
pub(crate) struct Policy {
    scorer: Scorer,
    loaded: Option<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    weights: Weights,
    texts: Option<TextTableView>,
    /// Projections of the whole table, made once a batch needs a good part of it.
    projected: Option<TextRows>,
    device: Device,
}

/// A batch that asks for more than one row in so many of the table has the whole table projected.
const PROJECT_ALL_SHARE: usize = 8;

/// Scores of a batch on the host.
#[derive(Clone, Debug)]
pub(crate) struct HostScores {
    len: usize,
    items: Vec<Vec<f32>>,
    states: Vec<f32>,
    state_outputs: usize,
}

impl HostScores {
    /// Output `tower` for candidate `item` of state `state`.
    pub fn item(&self, tower: usize, state: usize, item: usize) -> f64 {
        f64::from(self.items[tower][item * self.len + state])
    }

    /// Output `index` of the state head for state `state`.
    pub fn state(&self, state: usize, index: usize) -> f64 {
        f64::from(self.states[state * self.state_outputs + index])
    }

    /// Scores on the host, checked to be finite.
    ///
    /// # Errors
    /// If one is not finite; `update` goes into the message.
    pub fn new(scores: &crate::scorer::Scores, update: u64) -> Result<Self> {
        let host = |t: &Tensor| -> Result<Vec<f32>> { Ok(t.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?) };
        let items: Vec<Vec<f32>> = scores.items.iter().map(&host).collect::<Result<_>>()?;
        let states = scores.states.as_ref().map(&host).transpose()?.unwrap_or_default();
        if let Some(bad) = items.iter().flatten().chain(&states).find(|x| !x.is_finite()) {
            let detail = format!("a score is {bad}; a text without a vector gives NaN");
            return Err(Error::NonFinite { name: "scores".into(), update, detail });
        }
        let (_, len) = scores.items.first().map_or(Ok((0, 0)), |t| t.dims2())?;
        let state_outputs = scores.states.as_ref().map_or(Ok(0), |t| t.dim(1))?;
        Ok(Self { len, items, states, state_outputs })
    }
}

impl Policy {
    pub fn new(scorer: Scorer) -> Self {
        Self { scorer, loaded: None }
    }

    /// Takes over published parameters; returns their single numbers through [`number`].
    pub fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        let weights = Weights::published(&snapshot.params);
        self.scorer.check(&weights)?;
        let texts = if self.scorer.shape().text_width > 0 {
            let table = snapshot.features.as_ref().ok_or_else(|| Error::State("no text vectors published".into()))?;
            let fixed = |name: &str| {
                let value = snapshot.params.get(name).cloned();
                value.ok_or_else(|| Error::State(format!("parameter {name} is missing")))
            };
            Some(TextTableView { table: table.table.clone(), mean: fixed(TEXT_MEAN)?, std: fixed(TEXT_STD)? })
        } else {
            None
        };
        let device = weights.device();
        self.loaded = Some(Loaded { weights, texts, projected: None, device });
        Ok(())
    }

    /// Scores of all candidates of each observation.
    pub fn scores(&mut self, obs: &[&CandidateObs]) -> Result<HostScores> {
        let loaded = self.loaded.as_mut().ok_or_else(|| Error::State("the actor has not loaded a snapshot".into()))?;
        let shape = self.scorer.shape();
        let obs = ObsBatch::of(&shape.candidates, obs.iter().copied())?;
        let states = StateBatch::new(shape, &obs, &loaded.device)?;
        let items = ItemBatch::all(shape, &obs, &loaded.device)?;
        let rows = loaded.rows(&states, &items)?;
        let scores = self.scorer.forward(&loaded.weights, &states, &items, rows.as_ref(), rows.as_ref())?;
        HostScores::new(&scores, 0)
    }
}

impl Loaded {
    /// The texts of a batch; `None` without texts.
    fn rows(&mut self, states: &StateBatch, items: &ItemBatch) -> Result<Option<TextRows>> {
        let Some(texts) = &self.texts else { return Ok(None) };
        if self.projected.is_none() && items.texts().len() * PROJECT_ALL_SHARE >= texts.table.dim(0)? {
            self.projected = Some(texts.all()?.projected(&self.weights)?);
        }
        match &self.projected {
            Some(all) => Ok(Some(all.clone())),
            None => Ok(Some(texts.rows(&[items.texts(), states.texts()].concat())?)),
        }
    }
}

/// A single published number.
pub(crate) fn number(snapshot: &Snapshot, name: &str) -> Result<f64> {
    let value = snapshot.params.get(name).ok_or_else(|| Error::State(format!("parameter {name} is missing")))?;
    Ok(f64::from(value.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?[0]))
}

/// The `size` legal candidates with the largest keys.
pub(crate) fn ranked(mask: &[bool], size: usize, key: impl Fn(usize) -> f64) -> Result<Slate> {
    let mut slate = Vec::with_capacity(size);
    top_k_by(mask.len(), mask, size, &mut slate, key)?;
    Ok(Slate(slate))
}

/// A uniformly random ordered slate of legal candidates and the logarithm of its probability.
///
/// # Errors
/// If fewer than `size` candidates are legal.
pub(crate) fn random_slate(mask: &[bool], size: usize, rng: &mut StreamRng) -> Result<(Slate, f64)> {
    let mut legal: Vec<u32> = (0..mask.len() as u32).filter(|&i| mask[i as usize]).collect();
    if legal.len() < size {
        return Err(SlateError::TooFew { slate_size: size, legal: legal.len() }.into());
    }
    let log_prob = uniform_log_prob(legal.len(), size);
    for j in 0..size {
        let other = j + rng.below(legal.len() - j);
        legal.swap(j, other);
    }
    legal.truncate(size);
    Ok((Slate(legal), log_prob))
}

/// Puts together the slate that was learnt to be best.
pub(crate) trait Choose: Send {
    /// Takes over published single numbers.
    fn load(&mut self, _snapshot: &Snapshot) -> Result<()> {
        Ok(())
    }

    /// The slate for state `state` of a batch.
    fn choose(&self, scores: &HostScores, state: usize, mask: &[bool], size: usize) -> Result<Slate>;
}

/// Logs random slates in training and uses what was learnt in evaluation: the actor of supervised baselines.
#[derive(Debug)]
pub(crate) struct LoggingActor<C> {
    policy: Policy,
    choose: C,
    slate_size: usize,
}

impl<C> LoggingActor<C> {
    pub fn new(scorer: Scorer, choose: C, slate_size: usize) -> Self {
        Self { policy: Policy::new(scorer), choose, slate_size }
    }
}

impl<C: Choose> Actor<CandidateObs, Slate> for LoggingActor<C> {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        self.choose.load(snapshot)?;
        self.policy.load(snapshot)
    }

    fn act(&mut self, obs: &[Arc<CandidateObs>], rngs: &mut [StreamRng], mode: Mode) -> Result<Vec<Decision<Slate>>> {
        check_streams(obs.len(), rngs.len())?;
        if mode == Mode::Train {
            return random_decisions(obs, rngs, self.slate_size);
        }
        let all: Vec<&CandidateObs> = obs.iter().map(AsRef::as_ref).collect();
        let scores = if all.is_empty() { return Ok(Vec::new()) } else { self.policy.scores(&all)? };
        let decide = |(i, o): (usize, &&CandidateObs)| {
            let action = self.choose.choose(&scores, i, &o.mask, self.slate_size)?;
            Ok(Decision { action, log_prob: 0.0 })
        };
        all.iter().enumerate().map(decide).collect()
    }
}

/// Refuses a number of streams other than that of observations.
pub(crate) fn check_streams(obs: usize, streams: usize) -> Result<()> {
    if obs == streams { Ok(()) } else { Err(Error::State(format!("{obs} observations but {streams} streams"))) }
}

/// A uniformly random slate for each observation.
pub(crate) fn random_decisions(
    obs: &[Arc<CandidateObs>],
    rngs: &mut [StreamRng],
    size: usize,
) -> Result<Vec<Decision<Slate>>> {
    let decide = |(o, rng): (&Arc<CandidateObs>, &mut StreamRng)| {
        let (action, log_prob) = random_slate(&o.mask, size, rng)?;
        Ok(Decision { action, log_prob: log_prob as f32 })
    };
    obs.iter().zip(rngs).map(decide).collect()
}

/// Logarithm of the probability of each ordered slate of `size` out of `legal` under the uniform policy.
pub(crate) fn uniform_log_prob(legal: usize, size: usize) -> f64 {
    -(0..size).map(|j| ((legal - j) as f64).ln()).sum::<f64>()
}
