//! What a fully connected network reads of an observation.

use retune::env::CandidateSpec;
use retune::replay::{NO_TEXT, ObsBatch};

/// Widths of the inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Features {
    num_candidates: usize,
    candidate_dim: usize,
    state_dim: usize,
    history_len: usize,
    history_dim: usize,
}

impl Features {
    pub fn new(spec: &CandidateSpec) -> Self {
        Self {
            num_candidates: spec.num_candidates,
            candidate_dim: spec.candidate_dim,
            state_dim: spec.state_dim,
            history_len: spec.history_len,
            history_dim: spec.history_dim,
        }
    }

    /// Width of the input of heads per state: the state, then for each event of the history, the latest first, its
    /// numbers, 1 if it is there, and 1 if nothing was consumed in it. A state without any numbers reads as a 1.
    pub fn state_width(&self) -> usize {
        (self.state_dim + self.history_len * (self.history_dim + 2)).max(1)
    }

    /// Width of the input of heads per candidate.
    pub fn candidate_width(&self) -> usize {
        self.state_width() + self.candidate_dim
    }

    /// Whether each candidate is an input row of its own.
    pub fn per_candidate(&self) -> bool {
        self.candidate_dim > 0
    }

    /// Candidates per observation.
    pub fn num_candidates(&self) -> usize {
        self.num_candidates
    }

    /// Observations in `obs`.
    pub fn rows(&self, obs: &ObsBatch) -> usize {
        obs.mask.len() / self.num_candidates.max(1)
    }

    /// Rows that the state features of `obs` make; `rows` where a state has none.
    pub fn state_rows(&self, obs: &ObsBatch) -> usize {
        obs.state.len().checked_div(self.state_dim).unwrap_or_else(|| self.rows(obs))
    }

    /// Replaces `out` by the inputs of heads per state, `[rows, state_width]`.
    pub fn states(&self, obs: &ObsBatch, out: &mut Vec<f32>) {
        out.clear();
        if self.history_len == 0 {
            out.extend_from_slice(&obs.state);
            if self.state_dim == 0 {
                out.resize(self.rows(obs), 1.0);
            }
            return;
        }
        let (h, d) = (self.history_len, self.history_dim);
        for row in 0..self.rows(obs) {
            out.extend_from_slice(&obs.state[row * self.state_dim..][..self.state_dim]);
            let events = obs.history_len[row] as usize;
            for back in 0..h {
                if back >= events {
                    out.extend(std::iter::repeat_n(0.0, d + 2));
                    continue;
                }
                let event = row * h + events - 1 - back;
                out.extend_from_slice(&obs.history_features[event * d..][..d]);
                let nothing = obs.history_texts.get(event) == Some(&NO_TEXT);
                out.extend([1.0, if nothing { 1.0 } else { 0.0 }]);
            }
        }
    }

    /// Replaces `out` by the inputs of heads per candidate, `[rows·num_candidates, candidate_width]`, given `states`.
    pub fn candidates(&self, obs: &ObsBatch, states: &[f32], out: &mut Vec<f32>) {
        out.clear();
        let (width, n, c) = (self.state_width(), self.num_candidates, self.candidate_dim);
        for row in 0..self.rows(obs) {
            let features = &obs.candidate_features[row * n * c..][..n * c];
            for candidate in features.chunks_exact(c) {
                out.extend_from_slice(&states[row * width..][..width]);
                out.extend_from_slice(candidate);
            }
        }
    }
}
