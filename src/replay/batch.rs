//! Candidate-set observations and transitions as flat arrays, ready to become tensors.

use super::column::{AnyColumn, Column};
use crate::env::{CandidateObs, CandidateSpec, Status};
use crate::{Error, Result};

/// Stands in a text column where there is no text: an event without one, or padding after the last event.
pub const NO_TEXT: u32 = u32::MAX;

/// Observations side by side. Sizes: `B` observations, `S` state features, `N` candidates with `C` features each, `H`
/// events of history with `D` numbers each, all as [`CandidateSpec`] says. Arrays are row-major; an array whose row
/// would be empty is empty.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ObsBatch {
    /// `[B, S]`.
    pub state: Vec<f32>,
    /// Events that are there, `[B]`, each at most `H`.
    pub history_len: Vec<u32>,
    /// `[B, H]`, oldest first, then padding; [`NO_TEXT`] where there is none.
    pub history_texts: Vec<u32>,
    /// `[B, H, D]`, zero in the padding.
    pub history_features: Vec<f32>,
    /// `[B, N, C]`.
    pub candidate_features: Vec<f32>,
    /// Text numbers, `[B, N]`; empty if candidates have no text.
    pub candidate_texts: Vec<u32>,
    /// 1 where a candidate may be chosen, else 0, `[B, N]`.
    pub mask: Vec<u8>,
}

impl ObsBatch {
    /// Lays observations side by side, for instance those an actor is asked about.
    ///
    /// # Errors
    /// [`Error::State`] if one does not have the shapes of `spec`.
    pub fn of<'a>(spec: &CandidateSpec, obs: impl ExactSizeIterator<Item = &'a CandidateObs>) -> Result<Self> {
        let mut columns = ObsColumns::new(spec, &CURRENT, obs.len())?;
        for (row, obs) in obs.enumerate() {
            columns.write(row, obs)?;
        }
        Ok(columns.into_batch())
    }
}

/// Transitions side by side. Sizes as in [`ObsBatch`], and `K` slots of the slate.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CandidateBatch {
    /// `B`.
    pub size: usize,
    /// Before the step.
    pub obs: ObsBatch,
    /// Candidate indices in slate order, `[B, K]`.
    pub slate: Vec<u32>,
    /// Log-probability of the slate under the policy that acted, `[B]`.
    pub log_prob: Vec<f32>,
    /// Slate position that was consumed, `[B]`; `K` if none was.
    pub chosen: Vec<u32>,
    /// What the consumed position contributed to the reward, `[B]`; 0 if none was consumed.
    pub item_reward: Vec<f32>,
    /// Quality that the consumption revealed, `[B]`; 0 where nothing was revealed.
    pub quality: Vec<f32>,
    /// 1 where a quality was revealed, else 0, `[B]`.
    pub quality_known: Vec<f32>,
    /// Reward of the step, rounded to single precision, `[B]`.
    pub reward: Vec<f32>,
    /// How the step left the episode, `[B]`. Only [`Status::Terminated`] removes the bootstrap.
    pub status: Vec<Status>,
    /// After the step, the final observation where the episode is over.
    pub next_obs: ObsBatch,
    /// Slate of the following step, `[B, K]`; zeros after a terminated step, where it has no meaning. Empty if the
    /// memory was built without [`super::CandidateReplayConfig::needs_next_action`].
    pub next_slate: Vec<u32>,
}

impl CandidateBatch {
    /// 0 where the episode terminated, else 1, `[B]`: the factor of the value of what follows.
    #[must_use]
    pub fn bootstrap(&self) -> Vec<f32> {
        self.status.iter().map(|&s| if s == Status::Terminated { 0.0 } else { 1.0 }).collect()
    }
}

/// Names of the columns of an observation, so that two of them can be saved side by side.
pub(super) struct ObsNames {
    state: &'static str,
    history_len: &'static str,
    history_texts: &'static str,
    history_features: &'static str,
    candidate_features: &'static str,
    candidate_texts: &'static str,
    mask: &'static str,
}

pub(super) const CURRENT: ObsNames = ObsNames {
    state: "obs.state",
    history_len: "obs.history_len",
    history_texts: "obs.history_texts",
    history_features: "obs.history_features",
    candidate_features: "obs.candidate_features",
    candidate_texts: "obs.candidate_texts",
    mask: "obs.mask",
};

pub(super) const NEXT: ObsNames = ObsNames {
    state: "next_obs.state",
    history_len: "next_obs.history_len",
    history_texts: "next_obs.history_texts",
    history_features: "next_obs.history_features",
    candidate_features: "next_obs.candidate_features",
    candidate_texts: "next_obs.candidate_texts",
    mask: "next_obs.mask",
};

/// Observations in rows.
#[derive(Clone, Debug)]
pub(super) struct ObsColumns {
    history_dim: usize,
    state: Column<f32>,
    history_len: Column<u32>,
    history_texts: Column<u32>,
    history_features: Column<f32>,
    candidate_features: Column<f32>,
    candidate_texts: Column<u32>,
    mask: Column<u8>,
}

impl ObsColumns {
    pub fn new(spec: &CandidateSpec, names: &ObsNames, rows: usize) -> Result<Self> {
        let n = spec.num_candidates;
        let text_width = if spec.has_text { n } else { 0 };
        Ok(Self {
            history_dim: spec.history_dim,
            state: Column::new(names.state, rows, spec.state_dim)?,
            history_len: Column::new(names.history_len, rows, 1)?,
            history_texts: Column::new(names.history_texts, rows, spec.history_len)?,
            history_features: Column::new(names.history_features, rows, spec.history_len * spec.history_dim)?,
            candidate_features: Column::new(names.candidate_features, rows, n * spec.candidate_dim)?,
            candidate_texts: Column::new(names.candidate_texts, rows, text_width)?,
            mask: Column::new(names.mask, rows, n)?,
        })
    }

    pub fn write(&mut self, row: usize, obs: &CandidateObs) -> Result<()> {
        self.state.set(row, &obs.state)?;
        self.candidate_features.set(row, &obs.candidate_features)?;
        let texts: Vec<u32> = obs.candidate_texts.iter().map(|t| t.0).collect();
        self.candidate_texts.set(row, &texts)?;
        let mask: Vec<u8> = obs.mask.iter().map(|&m| u8::from(m)).collect();
        self.mask.set(row, &mask)?;
        self.write_history(row, obs)
    }

    pub fn gather(&self, rows: &[usize]) -> ObsBatch {
        ObsBatch {
            state: self.state.gather(rows),
            history_len: self.history_len.gather(rows),
            history_texts: self.history_texts.gather(rows),
            history_features: self.history_features.gather(rows),
            candidate_features: self.candidate_features.gather(rows),
            candidate_texts: self.candidate_texts.gather(rows),
            mask: self.mask.gather(rows),
        }
    }

    pub fn into_batch(self) -> ObsBatch {
        ObsBatch {
            state: self.state.into_data(),
            history_len: self.history_len.into_data(),
            history_texts: self.history_texts.into_data(),
            history_features: self.history_features.into_data(),
            candidate_features: self.candidate_features.into_data(),
            candidate_texts: self.candidate_texts.into_data(),
            mask: self.mask.into_data(),
        }
    }

    pub fn columns(&self) -> [&dyn AnyColumn; 7] {
        [
            &self.state,
            &self.history_len,
            &self.history_texts,
            &self.history_features,
            &self.candidate_features,
            &self.candidate_texts,
            &self.mask,
        ]
    }

    pub fn columns_mut(&mut self) -> [&mut dyn AnyColumn; 7] {
        [
            &mut self.state,
            &mut self.history_len,
            &mut self.history_texts,
            &mut self.history_features,
            &mut self.candidate_features,
            &mut self.candidate_texts,
            &mut self.mask,
        ]
    }

    fn write_history(&mut self, row: usize, obs: &CandidateObs) -> Result<()> {
        let texts = self.history_texts.row_mut(row);
        if obs.history.len() > texts.len() {
            let (found, most) = (obs.history.len(), texts.len());
            return Err(Error::State(format!("the history has {found} events, expected at most {most}")));
        }
        texts.fill(NO_TEXT);
        let features = self.history_features.row_mut(row);
        features.fill(0.0);
        for (i, event) in obs.history.iter().enumerate() {
            if event.features.len() != self.history_dim {
                let (found, expected) = (event.features.len(), self.history_dim);
                return Err(Error::State(format!("event {i} of the history has {found} numbers, expected {expected}")));
            }
            texts[i] = event.text.map_or(NO_TEXT, |t| t.0);
            features[i * self.history_dim..][..self.history_dim].copy_from_slice(&event.features);
        }
        self.history_len.set_one(row, obs.history.len() as u32);
        Ok(())
    }
}
