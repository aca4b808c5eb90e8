//! Observations side by side, in memory that is used again.

use retune::env::{CandidateObs, CandidateSpec};
use retune::replay::{NO_TEXT, ObsBatch};
use retune::{Error, Result};

/// Fills an [`ObsBatch`] for the observations of one env.
#[derive(Clone, Debug)]
pub struct Batcher {
    spec: CandidateSpec,
}

impl Batcher {
    /// For observations of this shape.
    #[must_use]
    pub fn new(spec: &CandidateSpec) -> Self {
        // The pool of texts may be long, and is of no use here.
        Self { spec: CandidateSpec { pool: Vec::new(), ..spec.clone() } }
    }

    /// What observations look like, without the pool.
    #[must_use]
    pub fn spec(&self) -> &CandidateSpec {
        &self.spec
    }

    /// Forgets all rows, keeps the memory.
    pub fn clear(batch: &mut ObsBatch) {
        batch.state.clear();
        batch.history_len.clear();
        batch.history_texts.clear();
        batch.history_features.clear();
        batch.candidate_features.clear();
        batch.candidate_texts.clear();
        batch.mask.clear();
    }

    /// Appends one row.
    ///
    /// # Errors
    /// [`Error::State`] naming the part that does not have the shape of the env; the batch is then of no use.
    pub fn push(&self, batch: &mut ObsBatch, obs: &CandidateObs) -> Result<()> {
        let s = &self.spec;
        let texts = if s.has_text { s.num_candidates } else { 0 };
        require("state features", obs.state.len(), s.state_dim)?;
        require("candidate features", obs.candidate_features.len(), s.num_candidates * s.candidate_dim)?;
        require("candidate texts", obs.candidate_texts.len(), texts)?;
        require("candidates", obs.mask.len(), s.num_candidates)?;
        if obs.history.len() > s.history_len {
            let (found, most) = (obs.history.len(), s.history_len);
            return Err(Error::State(format!("the history has {found} events, expected at most {most}")));
        }
        batch.state.extend_from_slice(&obs.state);
        batch.candidate_features.extend_from_slice(&obs.candidate_features);
        batch.candidate_texts.extend(obs.candidate_texts.iter().map(|t| t.0));
        batch.mask.extend(obs.mask.iter().map(|&m| u8::from(m)));
        for event in &obs.history {
            require("numbers in an event of the history", event.features.len(), s.history_dim)?;
            batch.history_texts.push(event.text.map_or(NO_TEXT, |t| t.0));
            batch.history_features.extend_from_slice(&event.features);
        }
        let missing = s.history_len - obs.history.len();
        batch.history_texts.extend(std::iter::repeat_n(NO_TEXT, missing));
        batch.history_features.extend(std::iter::repeat_n(0.0, missing * s.history_dim));
        batch.history_len.push(obs.history.len() as u32);
        Ok(())
    }

    /// Replaces `to` by the given rows of `from`, in this order.
    ///
    /// # Panics
    /// If a row is not there.
    pub fn gather(&self, from: &ObsBatch, rows: &[usize], to: &mut ObsBatch) {
        let [state, len, texts, events, features, names, mask] = self.widths();
        Self::clear(to);
        copy(&from.state, &mut to.state, state, rows);
        copy(&from.history_len, &mut to.history_len, len, rows);
        copy(&from.history_texts, &mut to.history_texts, texts, rows);
        copy(&from.history_features, &mut to.history_features, events, rows);
        copy(&from.candidate_features, &mut to.candidate_features, features, rows);
        copy(&from.candidate_texts, &mut to.candidate_texts, names, rows);
        copy(&from.mask, &mut to.mask, mask, rows);
    }

    /// Writes row `row` of `from` to row `at` of `to`, which is overwritten, or appended where `to` ends.
    ///
    /// # Panics
    /// If `row` is not there, or `at` is beyond the end.
    pub fn copy_row(&self, from: &ObsBatch, row: usize, to: &mut ObsBatch, at: usize) {
        let [state, len, texts, events, features, names, mask] = self.widths();
        put(&from.state, row, &mut to.state, at, state);
        put(&from.history_len, row, &mut to.history_len, at, len);
        put(&from.history_texts, row, &mut to.history_texts, at, texts);
        put(&from.history_features, row, &mut to.history_features, at, events);
        put(&from.candidate_features, row, &mut to.candidate_features, at, features);
        put(&from.candidate_texts, row, &mut to.candidate_texts, at, names);
        put(&from.mask, row, &mut to.mask, at, mask);
    }

    /// That a batch has this many rows of this shape.
    ///
    /// # Errors
    /// [`Error::State`] naming the column that does not.
    pub fn require_rows(&self, batch: &ObsBatch, rows: usize) -> Result<()> {
        let found = [
            ("state", batch.state.len()),
            ("history_len", batch.history_len.len()),
            ("history_texts", batch.history_texts.len()),
            ("history_features", batch.history_features.len()),
            ("candidate_features", batch.candidate_features.len()),
            ("candidate_texts", batch.candidate_texts.len()),
            ("mask", batch.mask.len()),
        ];
        for ((name, found), width) in found.into_iter().zip(self.widths()) {
            if rows.checked_mul(width) != Some(found) {
                return Err(Error::State(format!("column {name} has {found} values, expected {rows} rows of {width}")));
            }
        }
        Ok(())
    }

    /// Numbers a row of each column, in the order of [`ObsBatch`].
    fn widths(&self) -> [usize; 7] {
        let s = &self.spec;
        let (h, n) = (s.history_len, s.num_candidates);
        [s.state_dim, 1, h, h * s.history_dim, n * s.candidate_dim, if s.has_text { n } else { 0 }, n]
    }

    /// Rows in a batch.
    #[must_use]
    pub fn rows(&self, batch: &ObsBatch) -> usize {
        batch.mask.len() / self.spec.num_candidates.max(1)
    }
}

fn require(what: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::State(format!("an observation has {found} {what}, expected {expected}")))
}

fn copy<T: Copy>(from: &[T], to: &mut Vec<T>, width: usize, rows: &[usize]) {
    if width > 0 {
        rows.iter().for_each(|&row| to.extend_from_slice(&from[row * width..(row + 1) * width]));
    }
}

fn put<T: Copy>(from: &[T], row: usize, to: &mut Vec<T>, at: usize, width: usize) {
    let values = &from[row * width..(row + 1) * width];
    if at * width == to.len() {
        to.extend_from_slice(values);
    } else {
        to[at * width..(at + 1) * width].copy_from_slice(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::shop_spec_and_observations;

    #[test]
    fn agrees_with_the_batches_of_the_replay_memory() {
        let (spec, all) = shop_spec_and_observations(6);
        let batcher = Batcher::new(&spec);
        let mut batch = ObsBatch::default();
        all.iter().for_each(|o| batcher.push(&mut batch, o).unwrap());
        assert_eq!(batch, ObsBatch::of(&spec, all.iter()).unwrap());
        let mut some = ObsBatch::default();
        batcher.gather(&batch, &[4, 0, 4], &mut some);
        assert_eq!(some, ObsBatch::of(&spec, [&all[4], &all[0], &all[4]].into_iter()).unwrap());
        assert_eq!((batcher.rows(&batch), batcher.rows(&some)), (6, 3));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (spec, all) = shop_spec_and_observations(1);
        let batcher = Batcher::new(&spec);
        let mut bad = all[0].clone();
        bad.mask.pop();
        let error = batcher.push(&mut ObsBatch::default(), &bad).unwrap_err().to_string();
        assert!(error.contains("candidates, expected"), "{error}");
    }
}
