//! Observations as tensors.

use super::ScorerShape;
use candle_core::{Device, Tensor};
use retune::replay::{NO_TEXT, ObsBatch};
use retune::{Error, Result};

/// The states of a minibatch.
#[derive(Clone, Debug)]
pub struct StateBatch {
    /// How many there are.
    pub(super) len: usize,
    /// `[len, state_dim]`; `None` if states have no features.
    pub(super) features: Option<Tensor>,
    /// `None` if observations have no history.
    pub(super) history: Option<HistoryBatch>,
}

/// Recent events, the latest first: row `h * len + b` is the event `h` steps before the end of history `b`.
#[derive(Clone, Debug)]
pub(super) struct HistoryBatch {
    /// Text of each event, `[history_len * len]`; [`NO_TEXT`] where there is none. Empty without texts.
    pub texts: Vec<u32>,
    /// Event numbers, then 1 if nothing was consumed: `[history_len * len, history_dim + 1]`.
    pub numbers: Tensor,
    /// 1 where there is an event, 0 where the history is shorter: `[history_len, len, 1]`.
    pub present: Tensor,
}

impl StateBatch {
    /// The states of `obs`.
    ///
    /// # Errors
    /// If the arrays do not fit the device.
    pub fn new(shape: &ScorerShape, obs: &ObsBatch, device: &Device) -> Result<Self> {
        let len = obs.mask.len() / shape.num_candidates;
        let features = match shape.state_dim {
            0 => None,
            dim => Some(Tensor::from_slice(&obs.state, (len, dim), device)?),
        };
        let history = match shape.history_len {
            0 => None,
            _ => Some(HistoryBatch::new(shape, obs, len, device)?),
        };
        Ok(Self { len, features, history })
    }

    /// Ids of the texts in histories, with repetitions and [`NO_TEXT`].
    #[must_use]
    pub fn texts(&self) -> &[u32] {
        self.history.as_ref().map_or(&[], |h| &h.texts)
    }
}

impl HistoryBatch {
    fn new(shape: &ScorerShape, obs: &ObsBatch, len: usize, device: &Device) -> Result<Self> {
        let (most, dim) = (shape.history_len, shape.history_dim);
        let (rows, width) = (most * len, dim + 1);
        let mut texts = vec![NO_TEXT; if shape.text_width > 0 { rows } else { 0 }];
        let mut numbers = vec![0.0f32; rows * width];
        let mut present = vec![0.0f32; rows];
        for b in 0..len {
            let events = obs.history_len[b] as usize;
            for h in 0..events {
                let (row, source) = (h * len + b, b * most + events - 1 - h);
                numbers[row * width..][..dim].copy_from_slice(&obs.history_features[source * dim..][..dim]);
                match obs.history_texts[source] {
                    NO_TEXT => numbers[row * width + dim] = 1.0,
                    id if shape.text_width > 0 => texts[row] = id,
                    _ => {}
                }
                present[row] = 1.0;
            }
        }
        Ok(Self {
            texts,
            numbers: Tensor::from_vec(numbers, (rows, width), device)?,
            present: Tensor::from_vec(present, (most, len, 1), device)?,
        })
    }
}

/// Some candidates of each state of a minibatch, the same number for each.
///
/// Row `j * len + b` is the j-th chosen candidate of state b. With the state as the inner index a state's code is
/// spread over its candidates by repeating a contiguous block, which candle does without an index per element.
#[derive(Clone, Debug)]
pub struct ItemBatch {
    /// Candidates per state.
    pub(super) per_state: usize,
    /// States.
    pub(super) len: usize,
    /// `[per_state * len, candidate_dim]`; `None` if candidates have no features.
    pub(super) features: Option<Tensor>,
    /// Text ids, `[per_state * len]`; empty if candidates have no texts.
    pub(super) texts: Vec<u32>,
}

impl ItemBatch {
    /// All candidates of each observation, in order.
    ///
    /// # Errors
    /// If the arrays do not fit the device.
    pub fn all(shape: &ScorerShape, obs: &ObsBatch, device: &Device) -> Result<Self> {
        Self::gather(shape, obs, shape.num_candidates, |_, j| j, device)
    }

    /// The candidates that slates show, in slate order.
    ///
    /// # Shapes
    /// `slates`: `[batch, slate_size]`, candidate indices.
    ///
    /// # Errors
    /// [`Error::State`] for an index outside the candidates.
    pub fn slates(shape: &ScorerShape, obs: &ObsBatch, slates: &[u32], device: &Device) -> Result<Self> {
        if let Some(bad) = slates.iter().find(|&&i| i as usize >= shape.num_candidates) {
            return Err(Error::State(format!("candidate {bad} of {}: no such candidate", shape.num_candidates)));
        }
        let size = slates.len() / (obs.mask.len() / shape.num_candidates).max(1);
        Self::gather(shape, obs, size, |b, j| slates[b * size + j] as usize, device)
    }

    fn gather(
        shape: &ScorerShape,
        obs: &ObsBatch,
        per_state: usize,
        candidate: impl Fn(usize, usize) -> usize,
        device: &Device,
    ) -> Result<Self> {
        let (offered, dim) = (shape.num_candidates, shape.candidate_dim);
        let len = obs.mask.len() / offered;
        let mut features = Vec::with_capacity(per_state * len * dim);
        let mut texts = Vec::with_capacity(if shape.text_width > 0 { per_state * len } else { 0 });
        for j in 0..per_state {
            for b in 0..len {
                let row = b * offered + candidate(b, j);
                features.extend_from_slice(&obs.candidate_features[row * dim..(row + 1) * dim]);
                if shape.text_width > 0 {
                    texts.push(obs.candidate_texts[row]);
                }
            }
        }
        let features = if dim == 0 { None } else { Some(Tensor::from_vec(features, (per_state * len, dim), device)?) };
        Ok(Self { per_state, len, features, texts })
    }

    /// The text ids, one for each row; empty if candidates have no texts.
    #[must_use]
    pub fn texts(&self) -> &[u32] {
        &self.texts
    }

    /// The text ids of the first `states` states.
    #[must_use]
    pub fn texts_of_first(&self, states: usize) -> Vec<u32> {
        let each = self.texts.chunks(self.len.max(1));
        each.flat_map(|of_slot| &of_slot[..states.min(of_slot.len())]).copied().collect()
    }
}
