//! Fused kernels beside their plain twins, at the shapes of a MiniLM encoder: 32 texts of 32 tokens, width 384,
//! 12 heads, inner width 1536; and the first layer of a small policy network, one observation at a time.

use candle_core::{Device, Result, Tensor, Var};
use criterion::Criterion;
use retune::nn::ops::Activation;
use retune::nn::{fused, plain};
use retune::rng::Seed;
use std::hint::black_box;

/// Uniform values in [−1, 1) from a stream of their own.
fn noise(name: &str, shape: &[usize]) -> Result<Tensor> {
    let mut rng = Seed::root(0).child("bench").child(name).rng();
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| (2.0 * rng.uniform() - 1.0) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// Times `f` on tracked inputs, forward alone (on untracked copies) and forward with backward.
fn pair(c: &mut Criterion, name: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    let vars = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tracked: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let step = || fused::backward(&f(&tracked)?.sum_all()?);
    // Both forms once, so that an error is reported instead of timed.
    f(inputs)?;
    step()?;
    c.bench_function(&format!("{name}/forward"), |b| b.iter(|| black_box(f(black_box(inputs)))));
    c.bench_function(&format!("{name}/forward+backward"), |b| b.iter(|| black_box(step())));
    Ok(())
}

/// All kernel benchmarks.
///
/// # Errors
/// If a kernel fails.
pub fn bench(c: &mut Criterion) -> Result<()> {
    let x = noise("x", &[32, 32, 384])?;
    let (w, b) = (noise("w", &[1536, 384])?, noise("b", &[1536])?);
    let inner = [x.clone(), w, b];
    pair(c, "linear_gelu/fused", &inner, |t| fused::linear_act(&t[0], &t[1], Some(&t[2]), Activation::Gelu))?;
    pair(c, "linear_gelu/plain", &inner, |t| plain::linear_act(&t[0], &t[1], Some(&t[2]), Activation::Gelu))?;
    let norm = [x.clone(), noise("r", &[32, 32, 384])?, noise("gamma", &[384])?, noise("beta", &[384])?];
    pair(c, "layer_norm/fused", &norm, |t| fused::layer_norm(&t[0], Some(&t[1]), &t[2], &t[3], 1e-12))?;
    pair(c, "layer_norm/plain", &norm, |t| plain::layer_norm(&t[0], Some(&t[1]), &t[2], &t[3], 1e-12))?;
    let qkv = [x.clone(), noise("k", &[32, 32, 384])?, noise("v", &[32, 32, 384])?];
    let mask = Tensor::ones((32, 32), candle_core::DType::F32, &Device::Cpu)?;
    pair(c, "attention/fused", &qkv, |t| fused::attention(&t[0], &t[1], &t[2], &mask, 12))?;
    pair(c, "attention/plain", &qkv, |t| plain::attention(&t[0], &t[1], &t[2], &mask, 12))?;
    let gelu = [noise("z", &[32, 32, 1536])?];
    pair(c, "gelu/fused", &gelu, |t| fused::activation(&t[0], Activation::Gelu))?;
    pair(c, "gelu/plain", &gelu, |t| plain::activation(&t[0], Activation::Gelu))?;
    let lora = [x, noise("down", &[8, 384])?, noise("up", &[384, 8])?];
    let base = noise("base", &[384, 384])?;
    pair(c, "linear_lora/fused", &lora, |t| fused::linear_lora(&t[0], &base, None, &t[1], &t[2], 2.0))?;
    pair(c, "linear_lora/plain", &lora, |t| plain::linear_lora(&t[0], &base, None, &t[1], &t[2], 2.0))?;
    let small = [noise("obs", &[1, 4])?, noise("w1", &[64, 4])?, noise("b1", &[64])?];
    pair(c, "small_linear_tanh/fused", &small, |t| fused::linear_act(&t[0], &t[1], Some(&t[2]), Activation::Tanh))?;
    pair(c, "small_linear_tanh/plain", &small, |t| plain::linear_act(&t[0], &t[1], Some(&t[2]), Activation::Tanh))
}
