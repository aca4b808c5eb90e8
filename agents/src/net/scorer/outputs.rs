//! Which tower and which state output belongs to which head, and how numbers get from one form to the other.

use crate::acting::HostScores;
use crate::net::mlp::Dueling;
use crate::net::{Head, Outputs, Per};
use crate::scorer::Tower;

/// Heads as towers and state outputs of a scorer.
#[derive(Clone, Debug)]
pub(super) struct Wiring {
    pub heads: Vec<Head>,
    pub num_candidates: usize,
    /// First tower of a head per candidate.
    towers: Vec<usize>,
    /// First state output of a head per state, or of the value stream of a dueling head.
    states: Vec<usize>,
    num_towers: usize,
    pub state_outputs: usize,
}

impl Wiring {
    pub fn new(heads: &[Head], num_candidates: usize) -> Self {
        let mut new = Self {
            heads: heads.to_vec(),
            num_candidates,
            towers: Vec::new(),
            states: Vec::new(),
            num_towers: 0,
            state_outputs: 0,
        };
        for head in heads {
            new.towers.push(new.num_towers);
            new.states.push(new.state_outputs);
            if head.per == Per::Candidate {
                new.num_towers += head.width;
            }
            if head.per == Per::State || head.dueling {
                new.state_outputs += head.width;
            }
        }
        new
    }

    /// A tower for each number per candidate.
    pub fn towers(&self, hidden: usize) -> Vec<Tower> {
        let per_candidate = self.heads.iter().filter(|h| h.per == Per::Candidate);
        per_candidate
            .flat_map(|head| {
                (0..head.width).map(move |i| {
                    let name = if head.width == 1 { head.name.into() } else { format!("{}{i}", head.name).into() };
                    // A bias would cancel under a softmax, and in the advantages of a dueling head.
                    Tower { name, hidden, bias: head.name != Head::policy().name && !head.dueling }
                })
            })
            .collect()
    }

    /// Outputs of heads for `rows` observations with these masks.
    pub fn outputs(&self, scores: &HostScores, rows: usize, mask: &[u8], out: &mut Outputs) {
        out.reset(&self.heads, self.num_candidates, rows);
        for (h, head) in self.heads.iter().enumerate() {
            let width = head.width;
            for (at, value) in out.head_mut(h).iter_mut().enumerate() {
                let (index, part) = (at / width, at % width);
                *value = match head.per {
                    Per::State => scores.state(index, self.states[h] + part),
                    Per::Candidate => {
                        let (row, item) = (index / self.num_candidates, index % self.num_candidates);
                        scores.item(self.towers[h] + part, row, item)
                    }
                } as f32;
            }
            if head.dueling {
                let value = |at: usize| scores.state(at / width, self.states[h] + at % width) as f32;
                let values: Vec<f32> = (0..rows * width).map(value).collect();
                let dueling = Dueling { candidates: self.num_candidates, width, mask };
                dueling.combine(&values, out.head_mut(h));
            }
        }
    }

    /// Gradients with respect to towers, `[num_candidates, rows]` each, and to state outputs, `[rows, state_outputs]`.
    pub fn gradients(&self, grads: &Outputs, rows: usize, mask: &[u8]) -> (Vec<Vec<f32>>, Vec<f32>) {
        let n = self.num_candidates;
        let mut towers = vec![vec![0.0; n * rows]; self.num_towers];
        let mut states = vec![0.0; rows * self.state_outputs];
        for (h, head) in self.heads.iter().enumerate() {
            let width = head.width;
            let mut given = grads.head(h).to_vec();
            let mut values = if head.per == Per::State { given.clone() } else { vec![0.0; rows * width] };
            if head.dueling {
                Dueling { candidates: n, width, mask }.separate(&mut given, &mut values);
            }
            if head.per == Per::Candidate {
                for (at, &g) in given.iter().enumerate() {
                    let (index, part) = (at / width, at % width);
                    towers[self.towers[h] + part][(index % n) * rows + index / n] = g;
                }
            }
            if head.per == Per::State || head.dueling {
                for (at, &g) in values.iter().enumerate() {
                    states[(at / width) * self.state_outputs + self.states[h] + at % width] = g;
                }
            }
        }
        (towers, states)
    }
}
