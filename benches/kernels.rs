//! Fused kernels beside their plain twins, at the shapes of a MiniLM encoder: 32 texts of 32 tokens, width 384,
//! 12 heads, inner width 1536; and the first layer of a small policy network, one observation at a time.

use candle_core::{DType, Device, Result, Tensor, Var};
use criterion::Criterion;
use retune::nn::ops::Activation;
use retune::nn::{
    Adafactor, AdamW, Algorithm, Gradients, Init, Optimizer, OptimizerConfig, ParamStore, Quantised, Sgd, fused, plain,
};
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

/// Both maps of the feed-forward part; `inner` holds the input and the parameters of the first.
fn feed_forward(c: &mut Criterion, inner: &[Tensor]) -> Result<()> {
    let all: Vec<Tensor> = [inner, &[noise("w2", &[384, 1536])?, noise("b2", &[384])?]].concat();
    let act = Activation::Gelu;
    pair(c, "feed_forward/fused", &all, |t| fused::feed_forward(&t[0], [&t[1], &t[2], &t[3], &t[4]], act))?;
    pair(c, "feed_forward/plain", &all, |t| {
        plain::linear(&plain::linear_act(&t[0], &t[1], Some(&t[2]), act)?, &t[3], Some(&t[4]))
    })
}

/// What has no plain twin of the same signature, or none worth timing at this size.
fn rest(c: &mut Criterion) -> Result<()> {
    let logits = [noise("logits", &[1024, 16])?];
    let labels = Tensor::from_vec((0..1024u32).map(|i| i % 16).collect::<Vec<_>>(), 1024, &Device::Cpu)?;
    pair(c, "cross_entropy/fused", &logits, |t| fused::cross_entropy(&t[0], &labels))?;
    pair(c, "cross_entropy/plain", &logits, |t| plain::cross_entropy(&t[0], &labels))?;
    pair(c, "log_softmax/fused", &logits, |t| fused::log_softmax(&t[0]))?;
    pair(c, "log_softmax/plain", &logits, |t| plain::log_softmax(&t[0]))?;
    let targets = noise("targets", &[1024, 16])?.abs()?;
    pair(c, "bce_with_logits/fused", &logits, |t| fused::bce_with_logits(&t[0], &targets))?;
    pair(c, "bce_with_logits/plain", &logits, |t| plain::bce_with_logits(&t[0], &targets))?;
    let (table, ids) = ([noise("table", &[30_522, 384])?], Tensor::arange(0u32, 1024, &Device::Cpu)?);
    pair(c, "embedding/fused", &table, |t| fused::embedding(&t[0], &ids))?;
    pair(c, "embedding/plain", &table, |t| plain::embedding(&t[0], &ids))?;
    let (hidden, mask) = ([noise("hidden", &[32, 32, 384])?], Tensor::ones((32, 32), DType::F32, &Device::Cpu)?);
    pair(c, "masked_mean_pool/fused", &hidden, |t| fused::masked_mean_pool(&t[0], &mask))?;
    pair(c, "masked_mean_pool/plain", &hidden, |t| plain::masked_mean_pool(&t[0], &mask))?;
    let matrix = Quantised::from_f32(&noise("matrix", &[1536, 384])?).map_err(candle_core::Error::wrap)?;
    c.bench_function("dequantise/fused", |b| b.iter(|| black_box(matrix.to_f32())));
    optimizers(c)
}

/// One update of a word table.
fn optimizers(c: &mut Criterion) -> Result<()> {
    let algorithms = [
        ("adamw", Algorithm::AdamW(AdamW::default())),
        ("sgd", Algorithm::Sgd(Sgd::default())),
        ("adafactor", Algorithm::Adafactor(Adafactor::default())),
    ];
    for (name, algorithm) in algorithms {
        let config = OptimizerConfig { algorithm, ..OptimizerConfig::default() };
        let mut optimizer = Optimizer::new(config).map_err(candle_core::Error::wrap)?;
        let mut store = ParamStore::new(&Device::Cpu, Seed::root(0));
        store.init("table", &[30_522, 384], Init::Const(0.1)).map_err(candle_core::Error::wrap)?;
        let grad = Tensor::full(0.01f32, (30_522, 384), &Device::Cpu)?;
        let gradients = Gradients::from_map([("table".to_owned(), grad)].into());
        c.bench_function(&format!("optimizer/{name}"), |b| b.iter(|| black_box(optimizer.step(&store, &gradients))));
    }
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
    let mask = Tensor::ones((32, 32), DType::F32, &Device::Cpu)?;
    pair(c, "attention/fused", &qkv, |t| fused::attention(&t[0], &t[1], &t[2], &mask, 12))?;
    pair(c, "attention/plain", &qkv, |t| plain::attention(&t[0], &t[1], &t[2], &mask, 12))?;
    let gelu = [noise("z", &[32, 32, 1536])?];
    pair(c, "gelu/fused", &gelu, |t| fused::activation(&t[0], Activation::Gelu))?;
    pair(c, "gelu/plain", &gelu, |t| plain::activation(&t[0], Activation::Gelu))?;
    let drop = Seed::root(0).child("dropout");
    pair(c, "dropout/fused", &gelu, |t| fused::dropout(&t[0], 0.1, &drop))?;
    pair(c, "dropout/plain", &gelu, |t| plain::dropout(&t[0], 0.1, &drop))?;
    feed_forward(c, &inner)?;
    let lora = [x, noise("down", &[8, 384])?, noise("up", &[384, 8])?];
    let base = noise("base", &[384, 384])?;
    pair(c, "linear_lora/fused", &lora, |t| fused::linear_lora(&t[0], &base, None, &t[1], &t[2], 2.0))?;
    pair(c, "linear_lora/plain", &lora, |t| plain::linear_lora(&t[0], &base, None, &t[1], &t[2], 2.0))?;
    rest(c)?;
    let small = [noise("obs", &[1, 4])?, noise("w1", &[64, 4])?, noise("b1", &[64])?];
    pair(c, "small_linear_tanh/fused", &small, |t| fused::linear_act(&t[0], &t[1], Some(&t[2]), Activation::Tanh))?;
    pair(c, "small_linear_tanh/plain", &small, |t| plain::linear_act(&t[0], &t[1], Some(&t[2]), Activation::Tanh))
}
