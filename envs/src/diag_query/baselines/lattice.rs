//! Every partial set of answers of a small problem in one table.
//!
//! The table holds P(diagnosis, answers) for each combination of "not asked" and the answers of each finding, so that a
//! belief is a place in it. Exact policy values visit tens of thousands of such places.

use super::Task;
use crate::diag_query::gain::{Channel, answer_table};
use crate::diag_query::inference::{InferenceError, normalise};
use crate::diag_query::model::{Belief, Model};
use std::fmt::Debug;
use std::sync::Arc;

/// A small problem as a table. The findings of this model are *answers*: noise is inside, and is not to be entered again.
#[derive(Clone)]
pub struct Lattice(Arc<Table>);

struct Table {
    classes: usize,
    states: Vec<usize>,
    /// Steps of the place for each finding; slot 0 is "not asked", slot `a + 1` answer a.
    strides: Vec<usize>,
    /// `[places, classes]`.
    joint: Vec<f64>,
}

impl Lattice {
    /// Tabulates a model whose answers come through the channel of `task`; unknown answers stay outside.
    ///
    /// # Errors
    /// [`InferenceError::TooLarge`] above `max_cells`, before memory is taken.
    pub fn new(model: &dyn Model, task: &Task, max_cells: usize) -> Result<Self, InferenceError> {
        let (classes, states) = (model.num_classes(), model.states().to_vec());
        let cells: f64 = states.iter().map(|&s| (s + 1) as f64).product::<f64>() * classes as f64;
        if cells > max_cells as f64 {
            return Err(InferenceError::TooLarge { cells, limit: max_cells });
        }
        let mut strides = vec![0; states.len()];
        let mut stride = 1;
        for (i, s) in states.iter().enumerate().rev() {
            strides[i] = stride;
            stride *= s + 1;
        }
        let mut table = Table { classes, states, strides, joint: vec![0.0; stride * classes] };
        table.fill(model.begin().as_mut(), task, 0, 0);
        // "Not asked" is the sum over the answers, one finding after the other.
        for i in 0..table.states.len() {
            table.marginalise(i);
        }
        Ok(Self(Arc::new(table)))
    }

    /// The task on this model: the noise is in the answers already.
    #[must_use]
    pub fn task(&self, task: &Task) -> Task {
        Task { channel: Channel::symmetric(0.0, task.channel.missing), ..task.clone() }
    }
}

impl Table {
    /// P(diagnosis, answers) of all complete sets of answers to findings from `at` on.
    fn fill(&mut self, belief: &mut dyn Belief, task: &Task, at: usize, place: usize) {
        if at == self.states.len() {
            let scale = belief.log_evidence().exp();
            let cells = &mut self.joint[place * self.classes..][..self.classes];
            cells.iter_mut().zip(belief.posterior()).for_each(|(cell, p)| *cell = p * scale);
            return;
        }
        let table = answer_table(belief, &task.channel, at, self.states[at]);
        for answer in 0..self.states[at] {
            let row = &table[answer * self.classes..][..self.classes];
            let possible = row.iter().zip(belief.posterior()).any(|(q, p)| q * p > 0.0);
            if possible && let Some(mut next) = super::after(belief, task, at, answer) {
                self.fill(next.as_mut(), task, at + 1, place + (answer + 1) * self.strides[at]);
            }
        }
    }

    fn marginalise(&mut self, finding: usize) {
        let (stride, slots) = (self.strides[finding], self.states[finding] + 1);
        for place in 0..self.joint.len() / self.classes {
            let slot = place / stride % slots;
            if slot > 0 {
                let free = place - slot * stride;
                for y in 0..self.classes {
                    self.joint[free * self.classes + y] += self.joint[place * self.classes + y];
                }
            }
        }
    }
}

impl Debug for Lattice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lattice({} classes, states {:?})", self.0.classes, self.0.states)
    }
}

impl Model for Lattice {
    fn num_classes(&self) -> usize {
        self.0.classes
    }

    fn states(&self) -> &[usize] {
        &self.0.states
    }

    fn begin(&self) -> Box<dyn Belief> {
        let posterior = self.0.joint[..self.0.classes].to_vec();
        Box::new(Place { table: Arc::clone(&self.0), place: 0, posterior, log_evidence: 0.0, out: Vec::new() })
    }
}

#[derive(Clone)]
struct Place {
    table: Arc<Table>,
    place: usize,
    posterior: Vec<f64>,
    log_evidence: f64,
    out: Vec<f64>,
}

impl Belief for Place {
    fn posterior(&self) -> &[f64] {
        &self.posterior
    }

    fn log_evidence(&self) -> f64 {
        self.log_evidence
    }

    fn observe(&mut self, finding: usize, likelihood: &[f64]) -> Result<(), InferenceError> {
        let (stride, slots) = (self.table.strides[finding], self.table.states[finding] + 1);
        let certain = likelihood.iter().filter(|l| **l > 0.0).count() == 1;
        let answer = likelihood.iter().position(|l| *l > 0.0).filter(|_| certain);
        let answer = answer.ok_or(InferenceError::Invalid("a lattice takes certain answers only".to_owned()))?;
        let place = self.place - self.place / stride % slots * stride + (answer + 1) * stride;
        let mut weights = self.table.joint[place * self.table.classes..][..self.table.classes].to_vec();
        self.log_evidence = normalise(&mut weights)?;
        (self.place, self.posterior) = (place, weights);
        Ok(())
    }

    fn conditionals(&mut self, finding: usize) -> &[f64] {
        let (classes, stride) = (self.table.classes, self.table.strides[finding]);
        let row = |place: usize| &self.table.joint[place * classes..][..classes];
        let all = row(self.place);
        self.out.clear();
        for answer in 0..self.table.states[finding] {
            let cells = row(self.place + (answer + 1) * stride).iter().zip(all);
            self.out.extend(cells.map(|(part, all)| if *all > 0.0 { part / all } else { 0.0 }));
        }
        &self.out
    }

    fn boxed(&self) -> Box<dyn Belief> {
        Box::new(self.clone())
    }
}
