//! Small networks at the shapes of `bench_mlp.py`: 4-64-64-2 with tanh, 4-256-256-2 with ReLU; one thread.
//! Forward pass, and a whole training step: forward, mean squared error, backward, AdamW.

use criterion::Criterion;
use retune::Result;
use retune::nn::fused::threads::with_single_thread;
use retune::nn::mlp::{Activation, Adam, AdamConfig, Layout, Stack, Trace, padded, torch_uniform};
use retune::rng::Seed;
use std::hint::black_box;

struct Net {
    layout: Layout,
    stack: Stack,
    params: Vec<f32>,
    grads: Vec<f32>,
    adam: Adam,
    trace: Trace,
}

impl Net {
    fn new(width: usize, act: Activation) -> Result<Self> {
        let sizes = [4, width, width, 2];
        let layout = Layout::new(Stack::shapes("layer", &sizes))?;
        let stack = Stack::new(&layout, "layer", &sizes, act, Activation::Identity)?;
        let mut params = vec![0.0; layout.len()];
        for block in layout.blocks() {
            torch_uniform(block, &mut params, block.rows.max(4), &mut Seed::root(0).child(&block.name).rng());
        }
        let config = AdamConfig { max_grad_norm: None, weight_decay: 0.01, ..AdamConfig::default() };
        let adam = Adam::new(config, layout.len())?;
        Ok(Self { grads: vec![0.0; layout.len()], layout, stack, params, adam, trace: Trace::default() })
    }

    fn forward(&mut self, x: &[f32], rows: usize) {
        self.stack.forward(&self.params, x, 4, rows, &mut self.trace);
    }

    fn train(&mut self, x: &[f32], target: &[f32], errors: &mut Vec<f32>, rows: usize) -> Result<()> {
        self.forward(x, rows);
        let wide = padded(2);
        errors.clear();
        for (y, t) in self.trace.output().chunks(wide).zip(target.chunks(2)) {
            errors.extend([(y[0] - t[0]) / rows as f32, (y[1] - t[1]) / rows as f32]);
        }
        for (grad, error) in self.trace.grad_output().chunks_mut(wide).zip(errors.chunks(2)) {
            grad[..2].copy_from_slice(error);
        }
        self.stack.backward(&self.params, &mut self.grads, x, 4, &mut self.trace, false);
        self.adam.step(&self.layout, &mut self.params, &mut self.grads, 1.0)?;
        Ok(())
    }
}

/// All benchmarks of small networks.
///
/// # Errors
/// If a network cannot be made.
pub fn bench(c: &mut Criterion) -> Result<()> {
    for (name, width, act) in [("mlp64", 64, Activation::Tanh), ("mlp256", 256, Activation::Relu)] {
        let mut rng = Seed::root(0).child("bench").rng();
        let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| rng.normal() as f32).collect() };
        let (x, target) = (draw(256 * 4), draw(256 * 2));
        let mut net = Net::new(width, act)?;
        for rows in [1, 8, 64, 256] {
            c.bench_function(&format!("{name}/forward/b{rows}"), |b| {
                with_single_thread(|| b.iter(|| net.forward(black_box(&x), rows)));
            });
        }
        for rows in [32, 64, 256] {
            let mut errors = Vec::new();
            // Once, so that an error is reported instead of timed.
            net.train(&x, &target, &mut errors, rows)?;
            c.bench_function(&format!("{name}/train/b{rows}"), |b| {
                with_single_thread(|| b.iter(|| black_box(net.train(black_box(&x), &target, &mut errors, rows))));
            });
        }
    }
    Ok(())
}
