//! Eligibility traces.

use super::config::TraceKind;
use super::memory::Memory;
use super::table::QTable;

/// Traces below this have no influence that `f64` could show next to values of the order of 1.
const NEGLIGIBLE: f64 = 1e-12;

/// One update of all traced pairs after a step of which `cell` is the pair.
///
/// `reward` plus γ times `value` is the target; `decay` is γλ, or 0 where the trace is cut after this step. Dutch traces
/// are those of true online SARSA(λ) (van Seijen and Sutton 2014, algorithm 1), whose correction makes the values equal
/// to those of the online λ-return at every step.
#[derive(Clone, Copy, Debug)]
pub struct TraceUpdate {
    pub cell: usize,
    pub target: f64,
    /// What `target` bootstraps from, undiscounted.
    pub value: f64,
    pub alpha: f64,
    pub decay: f64,
    pub kind: TraceKind,
}

impl TraceUpdate {
    /// Makes it, and returns the temporal-difference error.
    pub fn apply(&self, q: &mut QTable, memory: &mut Memory) -> f64 {
        let current = q.values()[self.cell];
        let delta = self.target - current;
        self.visit(memory);
        let correction = match (self.kind, memory.bootstrapped) {
            (TraceKind::Dutch, Some(before)) => current - before,
            _ => 0.0,
        };
        for &(cell, trace) in &memory.traces {
            q.add(cell as usize, self.alpha * (delta + correction) * trace);
        }
        q.add(self.cell, -self.alpha * correction);
        self.fade(memory);
        delta
    }

    fn visit(&self, memory: &mut Memory) {
        let at = memory.traces.iter().position(|&(cell, _)| cell as usize == self.cell);
        let at = at.unwrap_or_else(|| {
            memory.traces.push((self.cell as u32, 0.0));
            memory.traces.len() - 1
        });
        let trace = &mut memory.traces[at].1;
        *trace = match self.kind {
            TraceKind::Replacing => 1.0,
            TraceKind::Accumulating => *trace + 1.0,
            TraceKind::Dutch => (1.0 - self.alpha) * *trace + 1.0,
        };
    }

    fn fade(&self, memory: &mut Memory) {
        memory.bootstrapped = (self.decay > 0.0).then_some(self.value);
        memory.traces.iter_mut().for_each(|(_, trace)| *trace *= self.decay);
        memory.traces.retain(|&(_, trace)| trace > NEGLIGIBLE);
    }
}
