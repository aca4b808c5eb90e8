//! Forward and backward pass of a planned network.

use super::combine::{Dueling, pad, stream_cols, unpad};
use super::plan::{Input, Part, Plan};
use crate::net::Outputs;
use retune::nn::mlp::{Trace, padded};
use retune::replay::ObsBatch;
use retune::{Error, Result};

/// Memory of one pass, used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Pass {
    rows: usize,
    states: Vec<f32>,
    candidates: Vec<f32>,
    mask: Vec<u8>,
    /// For each part, its trunk and its streams.
    traces: Vec<PartTrace>,
    /// Values and value gradients of dueling heads.
    values: Vec<f32>,
    grads: Vec<f32>,
}

/// Memory of one part.
#[derive(Clone, Debug, Default)]
struct PartTrace {
    trunk: Trace,
    streams: Vec<Trace>,
    /// Layers of the input itself, by stream; nothing where a stream has none.
    direct: Vec<Trace>,
}

impl Plan {
    /// Outputs of all heads under `params`; `pass` then holds what [`Plan::backward`] needs.
    pub fn forward(&self, params: &[f32], obs: &ObsBatch, pass: &mut Pass, out: &mut Outputs) -> Result<()> {
        let rows = self.features.rows(obs);
        self.check(obs, rows)?;
        pass.rows = rows;
        self.features.states(obs, &mut pass.states);
        if self.features.per_candidate() {
            self.features.candidates(obs, &pass.states, &mut pass.candidates);
        }
        pass.mask.clear();
        pass.mask.extend_from_slice(&obs.mask);
        pass.traces.resize_with(self.parts.len(), Default::default);
        for (part, PartTrace { trunk, streams, direct }) in self.parts.iter().zip(&mut pass.traces) {
            let (input, width, count) = inputs(self, part, &pass.states, &pass.candidates, rows);
            streams.resize_with(part.streams.len(), Trace::default);
            match &part.trunk {
                None => part.streams[0].stack.forward(params, input, width, count, &mut streams[0]),
                Some(stack) => {
                    stack.forward(params, input, width, count, trunk);
                    let wide = padded(stack.outputs());
                    for (stream, trace) in part.streams.iter().zip(streams.iter_mut()) {
                        stream.stack.forward(params, trunk.output(), wide, count, trace);
                    }
                }
            }
            direct.resize_with(part.streams.len(), Trace::default);
            for ((stream, trace), extra) in part.streams.iter().zip(streams).zip(direct) {
                let Some(layer) = &stream.direct else { continue };
                layer.forward(params, input, width, count, extra);
                trace.add_output(extra.output());
            }
        }
        self.collect(pass, out);
        Ok(())
    }

    /// Adds the gradient of the parameters, given that of the outputs, to `grads`.
    pub fn backward(&self, params: &[f32], grads: &mut [f32], pass: &mut Pass, outputs: &Outputs) -> Result<()> {
        self.distribute(pass, outputs)?;
        let Pass { rows, states, candidates, traces, .. } = pass;
        for (part, PartTrace { trunk, streams, direct }) in self.parts.iter().zip(traces) {
            // Heads that a loss does not look at cost nothing.
            if streams.iter().all(Trace::grad_output_is_zero) {
                continue;
            }
            let (input, width, _) = inputs(self, part, states, candidates, *rows);
            for ((stream, trace), extra) in part.streams.iter().zip(streams.iter()).zip(direct) {
                let Some(layer) = &stream.direct else { continue };
                // The sum hands its gradient to both terms.
                extra.grad_output().copy_from_slice(trace.grad_input());
                layer.backward(params, grads, input, width, extra, false);
            }
            let Some(stack) = &part.trunk else {
                part.streams[0].stack.backward(params, grads, input, width, &mut streams[0], false);
                continue;
            };
            let wide = padded(stack.outputs());
            trunk.grad_output();
            for (stream, trace) in part.streams.iter().zip(streams) {
                stream.stack.backward(params, grads, trunk.output(), wide, trace, true);
                trunk.add_grad_output(trace.grad_input());
            }
            stack.backward(params, grads, input, width, trunk, false);
        }
        Ok(())
    }

    /// Outputs of streams to outputs of heads.
    fn collect(&self, pass: &mut Pass, out: &mut Outputs) {
        let candidates = self.features.num_candidates();
        out.reset(&self.heads, candidates, pass.rows);
        for (part, PartTrace { streams: traces, .. }) in self.parts.iter().zip(&pass.traces) {
            for (stream, trace) in part.streams.iter().zip(traces).filter(|(s, _)| !s.is_value) {
                unpad(trace.output(), stream.stack.outputs(), out.head_mut(stream.head));
            }
        }
        for (part, PartTrace { streams: traces, .. }) in self.parts.iter().zip(&pass.traces) {
            for (stream, trace) in part.streams.iter().zip(traces).filter(|(s, _)| s.is_value) {
                let width = stream.stack.outputs();
                pass.values.resize(pass.rows * width, 0.0);
                unpad(trace.output(), width, &mut pass.values);
                let dueling = Dueling { candidates, width, mask: &pass.mask };
                dueling.combine(&pass.values, out.head_mut(stream.head));
            }
        }
    }

    /// Gradients of heads to gradients of streams.
    fn distribute(&self, pass: &mut Pass, outputs: &Outputs) -> Result<()> {
        let candidates = self.features.num_candidates();
        for (part, PartTrace { streams: traces, .. }) in self.parts.iter().zip(&mut pass.traces) {
            for (stream, trace) in part.streams.iter().zip(traces) {
                let head = &self.heads[stream.head];
                let given = outputs.head(stream.head);
                let expected = pass.rows * stream_cols(head, false, candidates);
                if given.len() != expected {
                    let (name, found) = (head.name, given.len());
                    let message = format!("{found} gradients for the head {name}, expected {expected}");
                    return Err(Error::State(message));
                }
                let width = stream.stack.outputs();
                if !head.dueling {
                    pad(given, width, trace.grad_output());
                    continue;
                }
                pass.grads.clear();
                pass.grads.extend_from_slice(given);
                pass.values.resize(pass.rows * head.width, 0.0);
                let dueling = Dueling { candidates, width: head.width, mask: &pass.mask };
                dueling.separate(&mut pass.grads, &mut pass.values);
                pad(if stream.is_value { &pass.values } else { &pass.grads }, width, trace.grad_output());
            }
        }
        Ok(())
    }

    fn check(&self, obs: &ObsBatch, rows: usize) -> Result<()> {
        let n = self.features.num_candidates();
        let candidates = self.features.candidate_width() - self.features.state_width();
        if obs.mask.len() != rows * n || obs.candidate_features.len() != rows * n * candidates {
            return Err(Error::State(format!("a batch of {} candidates does not fit {n} per state", obs.mask.len())));
        }
        if self.features.state_rows(obs) != rows {
            let found = obs.state.len();
            return Err(Error::State(format!("a batch of {rows} observations has {found} state features")));
        }
        Ok(())
    }
}

/// Input of a part, its width and its rows.
fn inputs<'a>(
    plan: &Plan,
    part: &Part,
    states: &'a [f32],
    candidates: &'a [f32],
    rows: usize,
) -> (&'a [f32], usize, usize) {
    match part.input {
        Input::State => (states, plan.features.state_width(), rows),
        Input::Candidate => (candidates, plan.features.candidate_width(), rows * plan.features.num_candidates()),
    }
}
