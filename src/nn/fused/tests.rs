//! Every fused kernel against its plain twin in F64 (values and gradients), against finite differences, and against
//! itself on other numbers of threads; and the twin in F32 on other devices, where it is what runs.

use super::*;
use crate::nn::ops::Activation;
use crate::nn::{devices, plain};
use crate::rng::Seed;
use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;

const ACTIVATIONS: [Activation; 5] =
    [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Tanh, Activation::Identity];

/// Standard normal values from the stream `seed / name`.
fn randn(seed: u64, name: &str, shape: &[usize]) -> Tensor {
    let mut rng = Seed::root(seed).child(name).rng();
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A mask whose row i ends in padding: the lengths depend on the seed and reach from `least` to all tokens.
fn padded_mask(seed: u64, rows: usize, tokens: usize, least: usize) -> Tensor {
    let mut rng = Seed::root(seed).child("mask").rng();
    let lengths: Vec<usize> = (0..rows).map(|_| least + rng.below(tokens + 1 - least)).collect();
    let values: Vec<f32> =
        lengths.iter().flat_map(|&n| (0..tokens).map(move |t| if t < n { 1.0 } else { 0.0 })).collect();
    Tensor::from_vec(values, (rows, tokens), &Device::Cpu).unwrap()
}

/// `x` in the type of `like`, where `like` lives.
fn beside(x: &Tensor, like: &Tensor) -> Tensor {
    x.to_device(like.device()).unwrap().to_dtype(like.dtype()).unwrap()
}

/// Ids where `like` lives.
fn ids_beside(ids: &Tensor, like: &Tensor) -> Tensor {
    ids.to_device(like.device()).unwrap()
}

/// Output and gradients of Σ weights·f(inputs) on the CPU, the weights being fixed noise, as F64 values.
fn evaluate(inputs: &[Tensor], dtype: DType, f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Vec<Vec<f64>> {
    evaluate_on(&Device::Cpu, inputs, dtype, f)
}

/// The same on `device`.
fn evaluate_on(
    device: &Device,
    inputs: &[Tensor],
    dtype: DType,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<Vec<f64>> {
    let there = |x: &Tensor| x.to_dtype(dtype).unwrap().to_device(device).unwrap().copy().unwrap();
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(&there(x)).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let out = f(&tensors).unwrap();
    let weights = beside(&randn(99, "weights", out.dims()), &out);
    let grads = (&out * weights).unwrap().sum_all().unwrap().backward().unwrap();
    let flat = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let mut all = vec![flat(&out)];
    all.extend(vars.iter().map(|v| flat(grads.get(v).expect("every input has a gradient"))));
    all
}

/// Asserts that both forms agree to `tolerance` of the largest entry (and of 1), output and gradients apart.
fn assert_twins(
    inputs: &[Tensor],
    tolerance: f64,
    fused: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    assert_twins_of_size(inputs, tolerance, 1.0, fused, plain);
}

/// The same, to `tolerance` of `size` where all entries are smaller: a sum whose terms cancel is as inexact as they are.
fn assert_twins_of_size(
    inputs: &[Tensor],
    tolerance: f64,
    size: f64,
    fused: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let want = evaluate(inputs, DType::F64, &plain);
    let agrees = |got: Vec<Vec<f64>>, tolerance: f64, device: &Device| {
        for (which, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_eq!(got.len(), want.len());
            let scale = want.iter().fold(size, |m, v| m.max(v.abs()));
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                let error = (got - want).abs() / scale;
                assert!(
                    error <= tolerance,
                    "{device:?}, tensor {which}, entry {i}: {got} instead of {want} (scale {scale})"
                );
            }
        }
    };
    agrees(evaluate(inputs, DType::F32, fused), tolerance, &Device::Cpu);
    // The plain form of F32 keeps more intermediate values than a kernel does, each of them rounded.
    for device in devices().iter().filter(|device| !device.is_cpu()) {
        agrees(evaluate_on(device, inputs, DType::F32, &plain), 8.0 * tolerance, device);
    }
}

/// Asserts that the gradient along a random direction is what central differences of the fused form say.
fn assert_slope(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let directions: Vec<Tensor> =
        inputs.iter().enumerate().map(|(i, x)| randn(i as u64, "direction", x.dims())).collect();
    let grads = evaluate(inputs, DType::F32, &f);
    let analytic: f64 = grads[1..]
        .iter()
        .zip(&directions)
        .map(|(g, d)| {
            let d = d.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            g.iter().zip(d).map(|(g, d)| g * f64::from(d)).sum::<f64>()
        })
        .sum();
    let step = 1e-2;
    let loss = |sign: f64| -> f64 {
        let moved: Vec<Tensor> =
            inputs.iter().zip(&directions).map(|(x, d)| (x + (d * (sign * step)).unwrap()).unwrap()).collect();
        let out = f(&moved).unwrap();
        let out: Vec<f32> = out.flatten_all().unwrap().to_vec1().unwrap();
        let weights: Vec<f32> = randn(99, "weights", &[out.len()]).to_vec1().unwrap();
        out.iter().zip(weights).map(|(&o, w)| f64::from(o) * f64::from(w)).sum()
    };
    let numeric = (loss(1.0) - loss(-1.0)) / (2.0 * step);
    let error = (analytic - numeric).abs() / analytic.abs().max(1.0);
    assert!(error < 3e-3, "the gradient says {analytic}, differences say {numeric}");
}

/// Asserts the same bits of output and gradients for 1, 2, 3 and 5 threads.
fn assert_deterministic(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor> + Sync) {
    let bits = |threads| {
        let values = threads::with_threads(threads, || evaluate(inputs, DType::F32, &f));
        values.into_iter().flatten().map(f64::to_bits).collect::<Vec<_>>()
    };
    let one = bits(1);
    for threads in [2, 3, 5] {
        assert!(one == bits(threads), "{threads} threads give other bits than one");
    }
}

/// The plain form with factors in the type of the input: it makes them in F32.
fn plain_dropout(x: &Tensor, p: f64, key: &Seed) -> Result<Tensor> {
    let factors = plain::dropout(&Tensor::ones(x.shape(), DType::F32, x.device())?, p, key)?;
    x.mul(&factors.to_dtype(x.dtype())?)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn linear_is_its_twin(seed: u64, rows in 1usize..40, tokens in 1usize..4, n in 1usize..70, m in 1usize..70, act in 0usize..5, bias: bool) {
        let act = ACTIVATIONS[act];
        let w = (randn(seed, "w", &[m, n]) / (n as f64).sqrt()).unwrap();
        let mut inputs = vec![randn(seed, "x", &[rows, tokens, n]), w];
        if bias {
            inputs.push(randn(seed, "b", &[m]));
        }
        assert_twins(&inputs, 2e-6, |t| linear_act(&t[0], &t[1], t.get(2), act), |t| plain::linear_act(&t[0], &t[1], t.get(2), act));
    }

    #[test]
    fn feed_forward_is_its_twin(seed: u64, rows in 1usize..30, n in 1usize..50, h in 1usize..90, m in 1usize..50, act in 0usize..5) {
        let act = ACTIVATIONS[act];
        let scaled = |name: &str, shape: [usize; 2]| (randn(seed, name, &shape) / (shape[1] as f64).sqrt()).unwrap();
        let inputs = [randn(seed, "x", &[rows, n]), scaled("w1", [h, n]), randn(seed, "b1", &[h]), scaled("w2", [m, h]), randn(seed, "b2", &[m])];
        let plain = |t: &[Tensor]| plain::linear(&plain::linear_act(&t[0], &t[1], Some(&t[2]), act)?, &t[3], Some(&t[4]));
        // What a gradient of b1 is like where its terms, one a row and output, do not happen to cancel.
        let size = (rows as f64 * m as f64 / h as f64).sqrt().max(1.0);
        assert_twins_of_size(&inputs, 3e-6, size, |t| feed_forward(&t[0], [&t[1], &t[2], &t[3], &t[4]], act), plain);
        assert_deterministic(&inputs, |t| feed_forward(&t[0], [&t[1], &t[2], &t[3], &t[4]], act));
    }

    #[test]
    fn dropout_is_its_twin(seed: u64, rows in 1usize..300, n in 1usize..70, p in 0.01f64..0.9) {
        let key = Seed::root(seed).child("dropout");
        let inputs = [randn(seed, "x", &[rows, n])];
        assert_twins(&inputs, 1e-7, |t| dropout(&t[0], p, &key), |t| plain_dropout(&t[0], p, &key));
        assert_deterministic(&inputs, |t| dropout(&t[0], p, &key));
    }

    #[test]
    fn attention_with_dropout_is_its_twin(seed: u64, rows in 1usize..6, tokens in 1usize..20, heads in 1usize..4, p in 0.01f64..0.9) {
        let key = Seed::root(seed).child("dropout");
        let inputs = ["q", "k", "v"].map(|name| randn(seed, name, &[rows, tokens, 6 * heads]));
        let mask = padded_mask(seed, rows, tokens, 1);
        // The factors of the twin are F32, so it runs in F32 too.
        let weights = randn(99, "weights", inputs[0].dims());
        let run = |fused: bool, device: &Device| {
            let vars = inputs.clone().map(|x| Var::from_tensor(&x.to_device(device).unwrap()).unwrap());
            let f = if fused { attention_dropout } else { plain::attention_dropout };
            let out = f(&vars[0], &vars[1], &vars[2], &beside(&mask, &vars[0]), heads, p, &key).unwrap();
            let grads = out.mul(&beside(&weights, &out)).unwrap().sum_all().unwrap().backward().unwrap();
            let mut all = vec![out.detach()];
            all.extend(vars.iter().map(|v| grads.get(v).unwrap().clone()));
            all.into_iter().map(|t| t.to_device(&Device::Cpu).unwrap()).collect::<Vec<_>>()
        };
        let fused = run(true, &Device::Cpu);
        for device in devices() {
            for (got, want) in fused.iter().zip(run(false, &device)) {
                let scale = want.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap().max(1.0);
                let error = (got - want).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                prop_assert!(error <= 1e-5 * scale, "{device:?}: {error} of {scale}");
            }
        }
        assert_deterministic(&inputs, |t| attention_dropout(&t[0], &t[1], &t[2], &mask, heads, p, &key));
    }

    #[test]
    fn linear_of_views_is_its_twin(seed: u64, rows in 1usize..9, tokens in 1usize..9, n in 1usize..40, m in 1usize..40) {
        let inputs = [randn(seed, "x", &[tokens, rows, n]), randn(seed, "w", &[n, m]), randn(seed, "b", &[2 * m])];
        let view = |t: &[Tensor]| Ok::<_, candle_core::Error>((t[0].transpose(0, 1)?, t[1].t()?, t[2].narrow(0, m, m)?));
        assert_twins(
            &inputs, 2e-6,
            |t| { let (x, w, b) = view(t)?; linear(&x, &w, Some(&b)) },
            |t| { let (x, w, b) = view(t)?; plain::linear(&x, &w, Some(&b)) },
        );
    }

    #[test]
    fn activations_are_their_twins(seed: u64, len in 1usize..300, scale in 0.1f64..4.0, act in 0usize..5) {
        let x = (randn(seed, "x", &[len]) * scale).unwrap();
        let act = ACTIVATIONS[act];
        assert_twins(&[x], 1e-6, |t| activation(&t[0], act), |t| plain::activation(&t[0], act));
    }

    #[test]
    fn layer_norm_is_its_twin(seed: u64, rows in 1usize..80, width in 2usize..100, residual: bool, offset in -3.0f64..3.0) {
        let shifted = (randn(seed, "x", &[rows, width]) + offset).unwrap();
        let mut inputs = vec![shifted, randn(seed, "gamma", &[width]), randn(seed, "beta", &[width])];
        if residual {
            inputs.push(randn(seed, "r", &[rows, width]));
        }
        // Of two values the normalised ones are ±1, whose gradient cancels down to eps: hence not the default eps.
        assert_twins(&inputs, 5e-6, |t| layer_norm(&t[0], t.get(3), &t[1], &t[2], 1e-2), |t| plain::layer_norm(&t[0], t.get(3), &t[1], &t[2], 1e-2));
    }

    #[test]
    fn attention_is_its_twin(seed: u64, rows in 1usize..4, tokens in 1usize..40, heads in 1usize..4, width in 1usize..20, least in 0usize..2) {
        let shape = [rows, tokens, heads * width];
        let inputs = ["q", "k", "v"].map(|name| randn(seed, name, &shape));
        let mask = padded_mask(seed, rows, tokens, least);
        assert_twins(&inputs, 2e-6, |t| attention(&t[0], &t[1], &t[2], &mask, heads), |t| plain::attention(&t[0], &t[1], &t[2], &beside(&mask, &t[0]), heads));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn embedding_is_its_twin(seed: u64, table in 1usize..30, width in 1usize..20, rows in 1usize..5, tokens in 1usize..9) {
        let mut rng = Seed::root(seed).child("ids").rng();
        let ids: Vec<u32> = (0..rows * tokens).map(|_| rng.below(table) as u32).collect();
        let ids = Tensor::from_vec(ids, (rows, tokens), &Device::Cpu).unwrap();
        assert_twins(&[randn(seed, "table", &[table, width])], 1e-6, |t| embedding(&t[0], &ids), |t| plain::embedding(&t[0], &ids_beside(&ids, &t[0])));
    }

    #[test]
    fn embedding_sum_is_its_twin(seed: u64, table in 1usize..30, width in 1usize..20, rows in 1usize..5, tokens in 1usize..9, spare in 0usize..3) {
        let mut rng = Seed::root(seed).child("ids").rng();
        let mut draw = |count: usize| {
            let ids: Vec<u32> = (0..rows * tokens).map(|_| rng.below(count) as u32).collect();
            Tensor::from_vec(ids, (rows, tokens), &Device::Cpu).unwrap()
        };
        let (ids, kinds) = (draw(table), draw(2));
        let inputs = [("words", table), ("positions", tokens + spare), ("segments", 2)].map(|(name, n)| randn(seed, name, &[n, width]));
        assert_twins(&inputs, 1e-6, |t| embedding_sum(&t[0], &t[1], &t[2], &ids, &kinds), |t| plain::embedding_sum(&t[0], &t[1], &t[2], &ids_beside(&ids, &t[0]), &ids_beside(&kinds, &t[0])));
    }

    #[test]
    fn linear_lora_is_its_twin(seed: u64, rows in 1usize..40, n in 1usize..50, m in 1usize..50, rank in 1usize..9, bias: bool) {
        let scaled = |name: &str, shape: [usize; 2]| (randn(seed, name, &shape) / (shape[1] as f64).sqrt()).unwrap();
        let inputs = [randn(seed, "x", &[rows, n]), scaled("a", [rank, n]), scaled("b", [m, rank])];
        let (w, b) = (scaled("w", [m, n]), bias.then(|| randn(seed, "bias", &[m])));
        assert_twins(
            &inputs, 3e-6,
            |t| linear_lora(&t[0], &w, b.as_ref(), &t[1], &t[2], 0.5),
            |t| plain::linear_lora(&t[0], &beside(&w, &t[0]), b.as_ref().map(|b| beside(b, &t[0])).as_ref(), &t[1], &t[2], 0.5),
        );
    }

    #[test]
    fn mean_pool_is_its_twin(seed: u64, rows in 1usize..5, tokens in 1usize..40, width in 1usize..40) {
        let mask = padded_mask(seed, rows, tokens, 1);
        let x = randn(seed, "x", &[rows, tokens, width]);
        assert_twins(&[x], 1e-6, |t| masked_mean_pool(&t[0], &mask), |t| plain::masked_mean_pool(&t[0], &beside(&mask, &t[0])));
    }

    #[test]
    fn softmax_and_losses_are_their_twins(seed: u64, rows in 1usize..9, classes in 1usize..70, scale in 0.1f64..30.0) {
        let x = (randn(seed, "x", &[rows, classes]) * scale).unwrap();
        assert_twins(std::slice::from_ref(&x), 1e-6, |t| softmax(&t[0]), |t| plain::softmax(&t[0]));
        assert_twins(std::slice::from_ref(&x), 5e-6, |t| log_softmax(&t[0]), |t| plain::log_softmax(&t[0]));
        let mut rng = Seed::root(seed).child("labels").rng();
        let labels: Vec<u32> = (0..rows).map(|_| rng.below(classes) as u32).collect();
        let labels = Tensor::from_vec(labels, rows, &Device::Cpu).unwrap();
        assert_twins(std::slice::from_ref(&x), 1e-6, |t| cross_entropy(&t[0], &labels), |t| plain::cross_entropy(&t[0], &ids_beside(&labels, &t[0])));
        let targets = candle_nn::ops::sigmoid(&randn(seed, "t", &[rows, classes])).unwrap();
        assert_twins(&[x, targets], 1e-6, |t| bce_with_logits(&t[0], &t[1]), |t| plain::bce_with_logits(&t[0], &t[1]));
    }
}

#[test]
fn losses_stay_finite_at_the_ends() {
    let x = Tensor::new(&[[f32::MIN, 0.0, 300.0]], &Device::Cpu).unwrap();
    let y = log_softmax(&x).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(y[0][1..], [-300.0, 0.0]);
    assert_eq!(y[0][0], f32::MIN);
    let x = Var::new(&[-1e4f32, 0.0, 1e4], &Device::Cpu).unwrap();
    let t = Tensor::new(&[1f32, 0.5, 0.0], &Device::Cpu).unwrap();
    let loss = bce_with_logits(&x, &t).unwrap();
    assert_eq!(loss.to_vec1::<f32>().unwrap(), [1e4, std::f32::consts::LN_2, 1e4]);
    let grad = loss.sum_all().unwrap().backward().unwrap().get(&x).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(grad, [-1.0, 0.0, 1.0]);
}

#[test]
fn slopes_agree_with_finite_differences() {
    let (x, w, b) = (randn(1, "x", &[6, 5]), randn(1, "w", &[4, 5]), randn(1, "b", &[4]));
    for act in [Activation::Gelu, Activation::GeluTanh, Activation::Tanh, Activation::Identity] {
        assert_slope(&[x.clone(), w.clone(), b.clone()], |t| linear_act(&t[0], &t[1], Some(&t[2]), act));
        assert_slope(std::slice::from_ref(&x), |t| activation(&t[0], act));
    }
    let (gamma, beta) = (randn(1, "gamma", &[5]), randn(1, "beta", &[5]));
    assert_slope(&[x.clone(), randn(2, "r", &[6, 5]), gamma, beta], |t| {
        layer_norm(&t[0], Some(&t[1]), &t[2], &t[3], 1e-12)
    });
    let inputs = ["q", "k", "v"].map(|name| randn(3, name, &[2, 5, 6]));
    let mask = padded_mask(4, 2, 5, 1);
    assert_slope(&inputs, |t| attention(&t[0], &t[1], &t[2], &mask, 2));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (x, w, b) = (randn(1, "x", &[300, 96]), randn(1, "w", &[200, 96]), randn(1, "b", &[200]));
    assert_deterministic(&[x.clone(), w, b], |t| linear_act(&t[0], &t[1], Some(&t[2]), Activation::Gelu));
    // A long inner dimension, which a library might be tempted to split.
    let (x, w) = (randn(1, "x", &[32, 3000]), randn(1, "w", &[40, 3000]));
    assert_deterministic(&[x, w], |t| linear(&t[0], &t[1], None));
    let (x, gamma, beta) = (randn(1, "x", &[700, 384]), randn(1, "gamma", &[384]), randn(1, "beta", &[384]));
    assert_deterministic(&[x.clone(), gamma, beta], |t| layer_norm(&t[0], Some(&t[0]), &t[1], &t[2], 1e-12));
    assert_deterministic(&[x], |t| activation(&t[0], Activation::Gelu));
    let inputs = ["q", "k", "v"].map(|name| randn(3, name, &[7, 33, 96]));
    let mask = padded_mask(4, 7, 33, 1);
    assert_deterministic(&inputs, |t| attention(&t[0], &t[1], &t[2], &mask, 3));
}

#[test]
fn a_row_without_anything_to_attend_to_gets_the_mean() {
    let v = randn(1, "v", &[1, 4, 6]);
    let mask = Tensor::zeros((1, 4), DType::F32, &Device::Cpu).unwrap();
    let out = attention(&v, &v, &v, &mask, 2).unwrap();
    let mean = v.mean_keepdim(1).unwrap().broadcast_as(out.shape()).unwrap();
    let error = (out - mean).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(error < 1e-6, "{error}");
}

#[test]
fn padding_changes_no_bit_of_what_is_before_it() {
    let [q, k, v] = ["q", "k", "v"].map(|name| randn(5, name, &[1, 9, 8]));
    let ones = Tensor::ones((1, 5), DType::F32, &Device::Cpu).unwrap();
    let mask = ones.pad_with_zeros(1, 0, 4).unwrap();
    let short = |x: &Tensor| x.narrow(1, 0, 5).unwrap();
    let alone = attention(&short(&q), &short(&k), &short(&v), &ones, 2).unwrap();
    let padded = attention(&q, &k, &v, &mask, 2).unwrap();
    let error = (alone - short(&padded)).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(error < 1e-6, "{error}");
}

#[test]
fn what_is_not_trained_gets_no_gradient() {
    let x = Var::from_tensor(&randn(1, "x", &[4, 6])).unwrap();
    let (w, b) = (randn(1, "w", &[6, 6]), randn(1, "b", &[6]));
    let y = linear_act(&x, &w, Some(&b), Activation::Gelu).unwrap();
    let y = layer_norm(&y, Some(&x), &b, &b, 1e-12).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&x).is_some());
    assert!(grads.get(&w).is_none() && grads.get(&b).is_none());
    // The other way round: a trained weight behind an input that is data.
    let w = Var::from_tensor(&w).unwrap();
    let data = x.as_detached_tensor();
    let grads = linear(&data, &w, None).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&w).is_some() && grads.get(&data).is_none());
}

#[test]
fn backward_gives_the_gradients_of_candle() {
    let x = randn(1, "x", &[4, 6]);
    let [w, b] = [randn(1, "w", &[6, 6]), randn(1, "b", &[6])].map(|t| Var::from_tensor(&t).unwrap());
    let gamma = Var::from_tensor(&randn(1, "gamma", &[6])).unwrap();
    // The weight is used twice by kernels and once by candle itself.
    let h = linear_act(&x, &w, Some(&b), Activation::Gelu).unwrap();
    let h = layer_norm(&linear(&h, &w, Some(&b)).unwrap(), Some(&h), &gamma, &b, 1e-12).unwrap();
    let loss = h.matmul(&w).unwrap().sqr().unwrap().sum_all().unwrap();
    let (ours, candle) = (backward(&loss).unwrap(), loss.backward().unwrap());
    for var in [&w, &b, &gamma] {
        let (ours, candle) = (ours.get(var).unwrap(), candle.get(var).unwrap());
        let scale = candle.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        let error = (ours - candle).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(error <= 1e-6 * scale, "{error} of {scale}");
    }
    // Nothing is left behind: the next plain backward pass sees all gradients again.
    assert!(loss.backward().unwrap().get(&b).is_some());
    // A pass that frees what it has used gives the same bits, and is the last.
    let (before, last) = (backward(&loss).unwrap(), backward_once(&loss).unwrap());
    for var in [&w, &b, &gamma] {
        let bits = |g: &Tensor| g.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits);
        assert!(bits(before.get(var).unwrap()).eq(bits(last.get(var).unwrap())));
    }
    let message = loss.backward().unwrap_err().to_string();
    assert!(message.contains("an earlier backward pass has used up this graph"), "{message}");
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let (x, w, b) = (randn(1, "x", &[3, 4]), randn(1, "w", &[5, 6]), randn(1, "b", &[4]));
    let message = linear(&x, &w, None).unwrap_err().to_string();
    assert!(message.contains("[3, 4]") && message.contains("[5, 6]"), "{message}");
    let message = linear(&x, &x, Some(&b)).unwrap_err().to_string();
    assert!(message.contains("bias has shape [4]"), "{message}");
    let message = layer_norm(&x, Some(&w), &b, &b, 1e-12).unwrap_err().to_string();
    assert!(message.contains("residual [5, 6]"), "{message}");
    let q = randn(1, "q", &[2, 3, 4]);
    let message = attention(&q, &q, &q, &b, 2).unwrap_err().to_string();
    assert!(message.contains("mask [4]"), "{message}");
    let (five, three) =
        (Tensor::new(&[5u32], &Device::Cpu).unwrap(), Tensor::new(&[0u32, 4, 3], &Device::Cpu).unwrap());
    let message = embedding(&w, &five).unwrap_err().to_string();
    assert!(message.contains("id 5 at position 0") && message.contains("5 rows"), "{message}");
    let message = cross_entropy(&x, &three).unwrap_err().to_string();
    assert!(message.contains("label 4 of row 1"), "{message}");
    assert!(attention(&q, &q, &q, &x, 3).unwrap_err().to_string().contains("3 heads"));
    let (hidden, mask) = (Tensor::ones((2, 3, 4), DType::F32, &Device::Cpu).unwrap(), [[1f32, 1.0, 0.0], [0.0; 3]]);
    let mask = Tensor::new(&mask, &Device::Cpu).unwrap();
    for pooled in [masked_mean_pool(&hidden, &mask), plain::masked_mean_pool(&hidden, &mask)] {
        let message = pooled.unwrap_err().to_string();
        assert!(message.contains("row 1 is all padding"), "{message}");
    }
    let message = masked_mean_pool(&hidden, &mask.narrow(1, 0, 2).unwrap()).unwrap_err().to_string();
    assert!(message.contains("[2, 3, 4]") && message.contains("[2, 2]"), "{message}");
}
