//! Values against F64 loops, gradients against central differences of those loops.

use super::*;
use candle_core::{Device, Var};
use proptest::prelude::*;

fn numbers(seed: u64, count: usize, scale: f64) -> Vec<f32> {
    let mut rng = Seed::root(seed).rng();
    (0..count).map(|_| (rng.normal() * scale) as f32).collect()
}

fn flat(x: &Tensor) -> Vec<f64> {
    x.detach().flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
}

fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{what}: entry {i} is {a}, expected {b}");
    }
}

/// Compares an operation with the same function in F64: its values, and the gradient of Σ wᵢ·yᵢ for fixed random w
/// in every entry of every input.
fn check(inputs: &[(&[usize], Vec<f32>)], op: impl Fn(&[Tensor]) -> Tensor, exact: impl Fn(&[Vec<f64>]) -> Vec<f64>) {
    let vars: Vec<Var> =
        inputs.iter().map(|(shape, v)| Var::from_vec(v.clone(), *shape, &Device::Cpu).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = op(&tensors);
    let wide: Vec<Vec<f64>> = inputs.iter().map(|(_, v)| v.iter().map(|&x| f64::from(x)).collect()).collect();
    let expected = exact(&wide);
    close(&flat(&y), &expected, 1e-5, "value");

    let weights = numbers(99, expected.len(), 1.0);
    let loss = y.mul(&Tensor::from_vec(weights.clone(), y.dims(), &Device::Cpu).unwrap()).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    let objective =
        |inputs: &[Vec<f64>]| -> f64 { exact(inputs).iter().zip(&weights).map(|(y, &w)| y * f64::from(w)).sum() };
    for (i, var) in vars.iter().enumerate() {
        let numeric: Vec<f64> = (0..wide[i].len())
            .map(|at| {
                let moved = |by: f64| {
                    let mut inputs = wide.clone();
                    inputs[i][at] += by;
                    objective(&inputs)
                };
                (moved(1e-5) - moved(-1e-5)) / 2e-5
            })
            .collect();
        close(&flat(grads.get(var).unwrap()), &numeric, 2e-4, &format!("gradient of input {i}"));
    }
}

/// erf by its Taylor series, good to 1e-12 for |x| below 4.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..120 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn exact_linear(x: &[f64], w: &[f64], b: &[f64], inputs: usize) -> Vec<f64> {
    let rows = x.chunks(inputs);
    rows.flat_map(|x| {
        w.chunks(inputs).zip(b).map(|(w, b)| b + w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()).collect::<Vec<_>>()
    })
    .collect()
}

fn exact_softmax(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = x.iter().map(|v| (v - max).exp()).sum();
    x.iter().map(|v| (v - max).exp() / sum).collect()
}

#[test]
fn linear_with_and_without_leading_axes() {
    for shape in [&[3, 4][..], &[2, 3, 4], &[1, 1, 4]] {
        let rows = shape.iter().product::<usize>();
        let inputs = [(shape, numbers(1, rows, 1.0)), (&[5, 4][..], numbers(2, 20, 1.0)), (&[5], numbers(3, 5, 1.0))];
        check(&inputs, |t| linear(&t[0], &t[1], Some(&t[2])).unwrap(), |t| exact_linear(&t[0], &t[1], &t[2], 4));
        let y = linear(
            &Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap(),
            &Tensor::ones((5, 4), candle_core::DType::F32, &Device::Cpu).unwrap(),
            None,
        )
        .unwrap();
        assert_eq!(y.dims()[..shape.len() - 1], shape[..shape.len() - 1]);
    }
    let x = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
    let message = linear(&x, &x.t().unwrap(), None).unwrap_err().to_string();
    assert!(message.contains("the last axes must agree"), "{message}");
}

#[test]
fn activations() {
    let x = vec![-3.5, -1.0, -0.3, 0.2, 0.0, 1e-3, 0.9, 2.7, 3.3];
    let sqrt_2_pi = (2.0 / std::f64::consts::PI).sqrt();
    let gelu = |z: f64| z / 2.0 * (1.0 + erf(z / std::f64::consts::SQRT_2));
    let tanh_form = |z: f64| z / 2.0 * (1.0 + (sqrt_2_pi * (z + 0.044_715 * z * z * z)).tanh());
    let cases: [(Activation, &dyn Fn(f64) -> f64); 4] = [
        (Activation::Gelu, &gelu),
        (Activation::GeluTanh, &tanh_form),
        (Activation::Tanh, &f64::tanh),
        (Activation::Identity, &|z| z),
    ];
    for (act, exact) in cases {
        let inputs = [(&[9][..], x.clone())];
        check(&inputs, |t| activation(&t[0], act).unwrap(), |t| t[0].iter().map(|&z| exact(z)).collect());
    }
    let inputs = [(&[2][..], vec![-1.5, 2.0])];
    check(&inputs, |t| activation(&t[0], Activation::Relu).unwrap(), |t| t[0].iter().map(|z| z.max(0.0)).collect());
    assert!((gelu(1.0) - tanh_form(1.0)).abs() > 1e-4, "the two forms differ enough to be told apart");
}

#[test]
fn layer_norm_with_and_without_residual() {
    let exact = |x: &[f64], gamma: &[f64], beta: &[f64]| -> Vec<f64> {
        let norm = |row: &[f64]| {
            let mean = row.iter().sum::<f64>() / 6.0;
            let var = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 6.0;
            let scaled = row.iter().zip(gamma).zip(beta);
            scaled.map(|((v, g), b)| (v - mean) / (var + 1e-5).sqrt() * g + b).collect::<Vec<_>>()
        };
        x.chunks(6).flat_map(norm).collect()
    };
    let (x, r) = (numbers(1, 24, 2.0), numbers(2, 24, 1.0));
    let scale = [(&[6][..], numbers(3, 6, 1.0)), (&[6][..], numbers(4, 6, 1.0))];
    let [gamma, beta] = scale;
    let inputs = [(&[2, 2, 6][..], x.clone()), gamma.clone(), beta.clone()];
    check(&inputs, |t| layer_norm(&t[0], None, &t[1], &t[2], 1e-5).unwrap(), |t| exact(&t[0], &t[1], &t[2]));
    let inputs = [(&[4, 6][..], x), gamma, beta, (&[4, 6][..], r)];
    check(
        &inputs,
        |t| layer_norm(&t[0], Some(&t[3]), &t[1], &t[2], 1e-5).unwrap(),
        |t| exact(&t[0].iter().zip(&t[3]).map(|(a, b)| a + b).collect::<Vec<_>>(), &t[1], &t[2]),
    );
}

/// Attention of one row and one head after the other, `[rows, tokens, width]`.
fn exact_attention(
    q: &[f64],
    k: &[f64],
    v: &[f64],
    mask: &[f64],
    (tokens, width, heads): (usize, usize, usize),
) -> Vec<f64> {
    let size = width / heads;
    let mut out = vec![0.0; q.len()];
    for (row, keep) in mask.chunks(tokens).enumerate() {
        let base = row * tokens * width;
        for head in 0..heads {
            let at = |x: &[f64], token: usize| x[base + token * width + head * size..][..size].to_vec();
            for query in 0..tokens {
                let scores: Vec<f64> = (0..tokens)
                    .map(|key| {
                        let dot: f64 = at(q, query).iter().zip(at(k, key)).map(|(a, b)| a * b).sum();
                        dot / (size as f64).sqrt() + (1.0 - keep[key]) * f64::from(f32::MIN)
                    })
                    .collect();
                for (key, weight) in exact_softmax(&scores).into_iter().enumerate() {
                    for (i, value) in at(v, key).into_iter().enumerate() {
                        out[base + query * width + head * size + i] += weight * value;
                    }
                }
            }
        }
    }
    out
}

#[test]
fn attention_hides_what_the_mask_hides() {
    for (tokens, mask) in [
        (1, vec![1.0, 1.0]),
        (3, vec![1.0, 1.0, 1.0, 1.0, 1.0, 0.0]),
        (5, vec![1., 0., 0., 0., 0., 1., 1., 1., 1., 0.]),
    ] {
        let shape = [2, tokens, 4];
        let count = 2 * tokens * 4;
        let inputs = [1, 2, 3].map(|seed| (&shape[..], numbers(seed, count, 1.0)));
        let keep = Tensor::from_vec(mask.clone(), (2, tokens), &Device::Cpu).unwrap();
        let wide: Vec<f64> = mask.iter().map(|&m: &f32| f64::from(m)).collect();
        check(
            &inputs,
            |t| attention(&t[0], &t[1], &t[2], &keep, 2).unwrap(),
            |t| exact_attention(&t[0], &t[1], &t[2], &wide, (tokens, 4, 2)),
        );
    }
}

#[test]
fn softmax_and_log_softmax() {
    let x = vec![1.0, -2.0, 0.5, 30.0, 31.0, 29.0];
    let rows = |t: &[Vec<f64>]| t[0].chunks(3).flat_map(exact_softmax).collect::<Vec<f64>>();
    check(&[(&[2, 3], x.clone())], |t| softmax(&t[0]).unwrap(), rows);
    check(&[(&[2, 3], x)], |t| log_softmax(&t[0]).unwrap(), |t| rows(t).iter().map(|p| p.ln()).collect());
    let extreme = Tensor::new(&[[1e30f32, f32::MIN, 0.0], [f32::MIN, f32::MIN, f32::MIN]], &Device::Cpu).unwrap();
    close(&flat(&softmax(&extreme).unwrap()), &[1.0, 0.0, 0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0], 1e-6, "extreme");
}

#[test]
fn cross_entropy_is_the_mean_over_rows() {
    let labels = Tensor::new(&[2u32, 0], &Device::Cpu).unwrap();
    let exact = |t: &[Vec<f64>]| {
        let rows: Vec<Vec<f64>> = t[0].chunks(3).map(exact_softmax).collect();
        vec![-(rows[0][2].ln() + rows[1][0].ln()) / 2.0]
    };
    check(&[(&[2, 3], numbers(1, 6, 2.0))], |t| cross_entropy(&t[0], &labels).unwrap(), exact);
}

#[test]
fn binary_cross_entropy_is_finite_and_exact() {
    let exact = |x: f64, t: f64| x.max(0.0) - x * t + (-x.abs()).exp().ln_1p();
    let targets = [0.0f32, 1.0, 0.3, 1.0, 0.0];
    let t = Tensor::new(&targets, &Device::Cpu).unwrap();
    let of = |x: &[Vec<f64>]| x[0].iter().zip(targets).map(|(&x, t)| exact(x, f64::from(t))).collect();
    check(&[(&[5], vec![-3.0, -0.5, 0.7, 2.0, 6.0])], |x| bce_with_logits(&x[0], &t).unwrap(), of);

    let x = Var::from_vec(vec![-1e4f32, 1e4, 0.0, 0.0, 500.0], 5, &Device::Cpu).unwrap();
    let loss = bce_with_logits(&x, &t).unwrap();
    close(&flat(&loss), &[0.0, 0.0, std::f64::consts::LN_2, std::f64::consts::LN_2, 500.0], 1e-6, "extreme");
    let grads = loss.sum_all().unwrap().backward().unwrap();
    close(&flat(grads.get(&x).unwrap()), &[0.0, 0.0, 0.2, -0.5, 1.0], 1e-6, "extreme gradient");
}

#[test]
fn embedding_and_pooling() {
    let ids = Tensor::new(&[[2u32, 0, 2], [1, 1, 2]], &Device::Cpu).unwrap();
    let rows = [2, 0, 2, 1, 1, 2];
    let exact = |t: &[Vec<f64>]| rows.iter().flat_map(|&row| t[0][row * 4..][..4].to_vec()).collect();
    check(&[(&[4, 4], numbers(1, 16, 1.0))], |t| embedding(&t[0], &ids).unwrap(), exact);
    assert_eq!(
        embedding(&Tensor::zeros((4, 4), candle_core::DType::F32, &Device::Cpu).unwrap(), &ids).unwrap().dims(),
        [2, 3, 4]
    );

    let mask = Tensor::new(&[[1f32, 1.0, 0.0], [1.0, 0.0, 0.0]], &Device::Cpu).unwrap();
    let exact = |t: &[Vec<f64>]| vec![(t[0][0] + t[0][2]) / 2.0, (t[0][1] + t[0][3]) / 2.0, t[0][6], t[0][7]];
    check(&[(&[2, 3, 2], numbers(2, 12, 1.0))], |t| masked_mean_pool(&t[0], &mask).unwrap(), exact);
}

#[test]
fn dropout_keeps_the_mean_and_follows_its_key() {
    let x = Var::from_vec(vec![1f32; 40_000], (200, 200), &Device::Cpu).unwrap();
    let key = Seed::root(1).child("dropout");
    let y = dropout(&x, 0.25, &key).unwrap();
    let values = flat(&y);
    let scale = f64::from((1.0 / 0.75) as f32);
    assert!(values.iter().all(|&v| v == 0.0 || v == scale));
    let dropped = values.iter().filter(|&&v| v == 0.0).count() as f64 / 40_000.0;
    // Standard deviation 0.0022; five of them.
    assert!((dropped - 0.25).abs() < 0.011, "{dropped}");
    assert_eq!(flat(&dropout(&x, 0.25, &key).unwrap()), values);
    assert_ne!(flat(&dropout(&x, 0.25, &key.index(1)).unwrap()), values);
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(flat(grads.get(&x).unwrap()), values, "the backward pass uses the same mask");
    for p in [-0.1, 1.0, f64::NAN] {
        assert!(dropout(&x, p, &key).is_err(), "{p}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Rows of a batch do not influence each other: what the backbone's promise rests on. Its batches avoid the small
    /// products that are left out here.
    #[test]
    fn rows_are_independent_where_products_are_not_small(rows in 2usize..140, out in 1usize..100, inputs in 3usize..900) {
        let part = rows / 2 + 1;
        prop_assume!(part * out > 256 && (part > 64 || out > 64));
        let x = Tensor::from_vec(numbers(1, rows * inputs, 1.0), (rows, inputs), &Device::Cpu).unwrap();
        let w = Tensor::from_vec(numbers(2, out * inputs, 1.0), (out, inputs), &Device::Cpu).unwrap();
        let whole = linear(&x, &w, None).unwrap();
        let some = linear(&x.narrow(0, 0, part).unwrap(), &w, None).unwrap();
        prop_assert_eq!(flat(&whole.narrow(0, 0, part).unwrap()), flat(&some));
    }
}

/// What runs on a GPU, here on the CPU, with some inputs trained and some not.
#[test]
fn the_forms_for_gpus_have_the_values_and_gradients_of_the_compositions() {
    let normal = |seed: u64, shape: &[usize]| {
        Tensor::from_vec(numbers(seed, shape.iter().product(), 1.0), shape, &Device::Cpu).unwrap()
    };
    type Op = fn(&[Tensor]) -> Result<Tensor>;
    let pairs: [(Op, Op, Vec<Tensor>); 3] = [
        (|t| softmax_on_gpu(&t[0]), |t| softmax(&t[0]), vec![normal(1, &[3, 4, 7])]),
        (|t| softmax_on_gpu(&t[0].transpose(0, 1)?), |t| softmax(&t[0].transpose(0, 1)?), vec![normal(2, &[5, 9])]),
        (
            |t| layer_norm_on_gpu(&t[0], &t[1], &t[2], 1e-5),
            |t| layer_norm(&t[0], None, &t[1], &t[2], 1e-5),
            vec![normal(3, &[2, 6, 11]), normal(4, &[11]), normal(5, &[11])],
        ),
    ];
    for (which, (gpu, composed, inputs)) in pairs.into_iter().enumerate() {
        for trained in 1..1 << inputs.len() {
            let run = |op: Op| {
                let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
                let tensors: Vec<Tensor> = vars
                    .iter()
                    .enumerate()
                    .map(|(i, v)| if trained >> i & 1 == 1 { v.as_tensor().clone() } else { v.as_detached_tensor() })
                    .collect();
                let y = op(&tensors).unwrap();
                let loss = y.mul(&normal(9, y.dims())).unwrap().sum_all().unwrap();
                let grads = loss.backward().unwrap();
                let mut all = vec![Some(y.detach())];
                all.extend(vars.iter().map(|v| grads.get(v).cloned()));
                all.into_iter().map(|t| t.map(|t| flat(&t))).collect::<Vec<_>>()
            };
            for (i, (found, expected)) in run(gpu).iter().zip(run(composed)).enumerate() {
                assert_eq!(found.is_some(), expected.is_some(), "{which}, trained {trained:b}, tensor {i}");
                if let (Some(found), Some(expected)) = (found, expected) {
                    close(found, &expected, 1e-5, &format!("{which}, trained {trained:b}, tensor {i}"));
                }
            }
        }
    }
    // Where nothing is trained there is no graph.
    assert!(!softmax_on_gpu(&normal(1, &[2, 2])).unwrap().track_op());
}
