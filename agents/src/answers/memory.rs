//! A bounded memory of labelled states.

use super::LabelledRows;
use crate::net::Batcher;
use retune::persist::StateDict;
use retune::replay::ObsBatch;
use retune::rng::StreamRng;
use retune::{Error, Result};
use serde::{Deserialize, Serialize};

/// The states in which the last `capacity` labelled episodes gave their answer, or all of their states, with their labels,
/// in flat columns.
///
/// A rule that shows only where several answers come together is seen in few episodes of a round, and a classifier
/// forgets it until it comes again; from a memory it is learnt by many passes. Only the state of the answer is kept:
/// that is where the classifier is asked, and states before it dilute what can be learnt. When full, the oldest goes.
#[derive(Clone, Debug)]
pub(crate) struct LabelMemory {
    header: Header,
    obs: ObsBatch,
    labels: Vec<u32>,
    picked: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    capacity: usize,
    /// Row that the next state goes to.
    next: usize,
    rng: StreamRng,
}

impl LabelMemory {
    /// An empty memory for `capacity` states, at least 1, that draws from `rng`. Memory is taken as it fills.
    pub fn new(capacity: usize, rng: StreamRng) -> Self {
        let header = Header { capacity: capacity.max(1), next: 0, rng };
        Self { header, obs: ObsBatch::default(), labels: Vec::new(), picked: Vec::new() }
    }

    /// Takes in the last state of every episode of `rows`.
    pub fn push(&mut self, batcher: &Batcher, rows: &LabelledRows) {
        (0..rows.len()).filter(|&row| !rows.goes_on[row]).for_each(|row| self.keep(batcher, rows, row));
    }

    /// Takes in every state of `rows`.
    pub fn push_all(&mut self, batcher: &Batcher, rows: &LabelledRows) {
        (0..rows.len()).for_each(|row| self.keep(batcher, rows, row));
    }

    fn keep(&mut self, batcher: &Batcher, rows: &LabelledRows, row: usize) {
        let at = self.header.next;
        batcher.copy_row(&rows.obs, row, &mut self.obs, at);
        match self.labels.get_mut(at) {
            Some(label) => *label = rows.labels[row],
            None => self.labels.push(rows.labels[row]),
        }
        self.header.next = (at + 1) % self.header.capacity;
    }

    /// What is drawn from.
    pub fn stream(&mut self) -> &mut StreamRng {
        &mut self.header.rng
    }

    /// Replaces `obs` and `labels` by `count` states drawn uniformly with replacement; none if it is empty.
    pub fn sample(&mut self, batcher: &Batcher, count: usize, obs: &mut ObsBatch, labels: &mut Vec<u32>) {
        let (held, rng) = (self.labels.len(), &mut self.header.rng);
        self.picked.clear();
        self.picked.extend((0..if held > 0 { count } else { 0 }).map(|_| rng.below(held)));
        batcher.gather(&self.obs, &self.picked, obs);
        labels.clear();
        labels.extend(self.picked.iter().map(|&row| self.labels[row]));
    }

    /// Puts the exact content into `state`, under names that begin with `prefix`.
    ///
    /// # Errors
    /// If the header cannot be expressed.
    pub fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        state.put(format!("{prefix}memory"), &self.header)?;
        state.put_u32s(format!("{prefix}memory.labels"), &self.labels);
        for (name, values) in [
            ("state", &self.obs.state),
            ("history_features", &self.obs.history_features),
            ("candidate_features", &self.obs.candidate_features),
        ] {
            state.put_f32s(format!("{prefix}memory.{name}"), values);
        }
        for (name, values) in [
            ("history_len", &self.obs.history_len),
            ("history_texts", &self.obs.history_texts),
            ("candidate_texts", &self.obs.candidate_texts),
        ] {
            state.put_u32s(format!("{prefix}memory.{name}"), values);
        }
        state.put_u8s(format!("{prefix}memory.mask"), &self.obs.mask);
        Ok(())
    }

    /// Takes the content back; what is drawn from now on has the same bits.
    ///
    /// # Errors
    /// [`Error::State`] if it was saved with another capacity or is not whole; nothing has changed then.
    pub fn load(&mut self, batcher: &Batcher, state: &StateDict, prefix: &str) -> Result<()> {
        let header: Header = state.get(&format!("{prefix}memory"))?;
        let (found, expected) = (header.capacity, self.header.capacity);
        if found != expected {
            let message = format!("{prefix}memory was saved with room for {found} states, this one has {expected}");
            return Err(Error::State(message));
        }
        let labels = state.u32s(&format!("{prefix}memory.labels"))?;
        let name = |column: &str| format!("{prefix}memory.{column}");
        let obs = ObsBatch {
            state: state.f32s(&name("state"))?,
            history_len: state.u32s(&name("history_len"))?,
            history_texts: state.u32s(&name("history_texts"))?,
            history_features: state.f32s(&name("history_features"))?,
            candidate_features: state.f32s(&name("candidate_features"))?,
            candidate_texts: state.u32s(&name("candidate_texts"))?,
            mask: state.u8s(&name("mask"))?,
        };
        let rows = labels.len();
        batcher.require_rows(&obs, rows)?;
        let filling = rows < expected && header.next == rows;
        let full = rows == expected && header.next < expected;
        if !(filling || full) {
            let next = header.next;
            return Err(Error::State(format!("{prefix}memory holds {rows} states but goes on at row {next}")));
        }
        (self.header, self.obs, self.labels) = (header, obs, labels);
        Ok(())
    }
}
