//! Small policy networks, at the shapes of the PyTorch peer: 4-64-64-2 with tanh, 4-256-256-2 with ReLU; one thread.

use super::{Case, Timing, time};
use anyhow::Result;
use retune::nn::fused::threads::with_single_thread;
use retune::nn::mlp::{Activation, Adam, AdamConfig, Layout, Stack, Trace, padded, torch_uniform};
use retune::rng::Seed;

pub(super) fn cases() -> Vec<Case> {
    let networks = [("mlp64", 64, Activation::Tanh), ("mlp256", 256, Activation::Relu)];
    let mut cases = Vec::new();
    for (name, width, act) in networks {
        for (kind, rows) in [("forward", 1), ("train", 64), ("train", 256)] {
            let case = format!("{name}/{kind}/b{rows}");
            let train = kind == "train";
            cases.push(Case::new(&case, false, move || with_single_thread(|| run(width, act, rows, train))));
        }
    }
    cases
}

/// Forward pass alone, or forward, mean squared error, backward and AdamW.
fn run(width: usize, act: Activation, rows: usize, train: bool) -> Result<Timing> {
    let sizes = [4, width, width, 2];
    let layout = Layout::new(Stack::shapes("layer", &sizes))?;
    let stack = Stack::new(&layout, "layer", &sizes, act, Activation::Identity)?;
    let (mut params, mut grads) = (vec![0.0; layout.len()], vec![0.0; layout.len()]);
    for block in layout.blocks() {
        torch_uniform(block, &mut params, block.rows.max(4), &mut Seed::root(0).child(&block.name).rng());
    }
    let mut rng = Seed::root(0).child("bench").rng();
    let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| rng.normal() as f32).collect() };
    let (x, target) = (draw(rows * 4), draw(rows * 2));
    let config = AdamConfig { max_grad_norm: None, weight_decay: 0.01, ..AdamConfig::default() };
    let (mut adam, mut trace, mut errors) = (Adam::new(config, layout.len())?, Trace::default(), Vec::new());
    time(|| {
        stack.forward(&params, &x, 4, rows, &mut trace);
        if !train {
            return Ok(());
        }
        // d/dy of the mean over rows and both outputs.
        errors.clear();
        for (y, t) in trace.output().chunks(padded(2)).zip(target.chunks(2)) {
            errors.extend([(y[0] - t[0]) / rows as f32, (y[1] - t[1]) / rows as f32]);
        }
        for (grad, error) in trace.grad_output().chunks_mut(padded(2)).zip(errors.chunks(2)) {
            grad[..2].copy_from_slice(error);
        }
        stack.backward(&params, &mut grads, &x, 4, &mut trace, false);
        adam.step(&layout, &mut params, &mut grads, 1.0)?;
        Ok(())
    })
}
