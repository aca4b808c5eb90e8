//! Factorised Gaussian noise on weights (Fortunato et al., arXiv:1706.10295, section 3, equations 10 and 11).

use super::plan::{Noisy, Plan};
use retune::rng::StreamRng;

/// Parameters with noise on them.
#[derive(Clone, Debug, Default)]
pub(super) struct Noise {
    /// What the network computes with; empty while there is no noise.
    effective: Vec<f32>,
    /// f(ε) of inputs and outputs of each noisy layer, in the order of [`Plan::noisy`].
    draws: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Noise {
    /// Draws anew, or goes back to the means without a stream.
    pub fn resample(&mut self, plan: &Plan, params: &[f32], rng: Option<&mut StreamRng>) {
        self.effective.clear();
        self.draws.clear();
        let Some(rng) = rng else { return };
        if plan.noisy.is_empty() {
            return;
        }
        for layer in &plan.noisy {
            let mut draw = |count: usize| (0..count).map(|_| scaled(rng.normal())).collect();
            self.draws.push((draw(layer.weight.rows), draw(layer.weight.cols)));
        }
        self.refresh(plan, params);
    }

    /// Puts the same noise on parameters that have changed.
    pub fn refresh(&mut self, plan: &Plan, params: &[f32]) {
        if self.draws.is_empty() {
            return;
        }
        self.effective.clear();
        self.effective.extend_from_slice(params);
        for (layer, (inputs, outputs)) in plan.noisy.iter().zip(&self.draws) {
            let Noisy { weight, weight_sigma, bias, bias_sigma } = layer;
            let mean = weight.of_mut(&mut self.effective).chunks_exact_mut(weight.stride);
            let sigma = weight_sigma.of(params).chunks_exact(weight.stride);
            for ((mean, sigma), &input) in mean.zip(sigma).zip(inputs) {
                add_noise(mean, sigma, outputs, input);
            }
            add_noise(bias.of_mut(&mut self.effective), bias_sigma.of(params), outputs, 1.0);
        }
    }

    /// The parameters to compute with.
    pub fn weights<'a>(&'a self, params: &'a [f32]) -> &'a [f32] {
        if self.effective.is_empty() { params } else { &self.effective }
    }

    /// Given in `grads` the gradient with respect to the parameters with noise on them, sets that of the deviations.
    /// That of the means is the same.
    pub fn deviations(&self, plan: &Plan, grads: &mut [f32]) {
        for (layer, (inputs, outputs)) in plan.noisy.iter().zip(&self.draws) {
            let rows = layer.weight.of(grads).to_vec();
            let sigma = layer.weight_sigma.of_mut(grads).chunks_exact_mut(layer.weight.stride);
            for ((sigma, row), &input) in sigma.zip(rows.chunks_exact(layer.weight.stride)).zip(inputs) {
                set_product(sigma, row, outputs, input);
            }
            let row = layer.bias.of(grads).to_vec();
            set_product(layer.bias_sigma.of_mut(grads), &row, outputs, 1.0);
        }
    }
}

/// f(ε) = sgn(ε)·√|ε|.
fn scaled(draw: f64) -> f32 {
    (draw.abs().sqrt().copysign(draw)) as f32
}

fn add_noise(mean: &mut [f32], sigma: &[f32], outputs: &[f32], input: f32) {
    for ((mean, &sigma), &output) in mean.iter_mut().zip(sigma).zip(outputs) {
        *mean += sigma * (input * output);
    }
}

fn set_product(to: &mut [f32], grad: &[f32], outputs: &[f32], input: f32) {
    for ((to, &grad), &output) in to.iter_mut().zip(grad).zip(outputs) {
        *to = grad * (input * output);
    }
}
