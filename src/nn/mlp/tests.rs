use super::*;
use crate::nn::fused::threads::with_threads;
use crate::nn::{Gradients, Optimizer, ParamStore, ops};
use crate::persist::StateDict;
use crate::rng::{Seed, StreamRng};
use candle_core::{Device, Tensor};
use proptest::prelude::*;

struct Net {
    layout: Layout,
    stack: Stack,
    params: Vec<f32>,
}

fn net(sizes: &[usize], act: Activation) -> Net {
    let layout = Layout::new(Stack::shapes("l", sizes)).unwrap();
    let stack = Stack::new(&layout, "l", sizes, act, Activation::Identity).unwrap();
    let mut params = vec![0.0; layout.len()];
    for block in layout.blocks() {
        torch_uniform(block, &mut params, block.rows.max(4), &mut Seed::root(3).child(&block.name).rng());
    }
    Net { layout, stack, params }
}

fn normals(count: usize, rng: &mut StreamRng) -> Vec<f32> {
    (0..count).map(|_| rng.normal() as f32).collect()
}

/// Output, `[rows, outputs]`.
fn forward(net: &Net, params: &[f32], x: &[f32], rows: usize, trace: &mut Trace) -> Vec<f32> {
    net.stack.forward(params, x, net.stack.inputs(), rows, trace);
    let wide = padded(net.stack.outputs());
    trace.output()[..rows * wide].chunks(wide).flat_map(|r| r[..net.stack.outputs()].to_vec()).collect()
}

/// Gradients with respect to parameters and input of Σ weight·output.
fn gradients(net: &Net, x: &[f32], weight: &[f32], rows: usize) -> (Vec<f32>, Vec<f32>) {
    let mut trace = Trace::default();
    forward(net, &net.params, x, rows, &mut trace);
    let outputs = net.stack.outputs();
    for (to, from) in trace.grad_output().chunks_mut(padded(outputs)).zip(weight.chunks(outputs)) {
        to[..outputs].copy_from_slice(from);
    }
    let mut grads = vec![0.0; net.layout.len()];
    net.stack.backward(&net.params, &mut grads, x, net.stack.inputs(), &mut trace, true);
    (grads, trace.grad_input().to_vec())
}

/// Rectified outputs have the gradient of the plain ones where they are above 0, and NaN goes through.
#[test]
fn a_rectifier_at_the_end() {
    let (rows, sizes) = (37, [6, 40, 5]);
    let plain = net(&sizes, Activation::Relu);
    let stack = Stack::new(&plain.layout, "l", &sizes, Activation::Relu, Activation::Relu).unwrap();
    let rectified = Net { layout: plain.layout.clone(), stack, params: plain.params.clone() };
    let mut rng = Seed::root(5).rng();
    let (mut x, weight) = (normals(rows * sizes[0], &mut rng), normals(rows * sizes[2], &mut rng));
    let before = forward(&plain, &plain.params, &x, rows, &mut Trace::default());
    let after = forward(&rectified, &plain.params, &x, rows, &mut Trace::default());
    assert!(before.iter().zip(&after).all(|(b, a)| b.max(0.0) == *a));
    assert!(after.contains(&0.0) && after.iter().any(|y| *y > 0.0));
    let masked: Vec<f32> = weight.iter().zip(&after).map(|(w, y)| if *y > 0.0 { *w } else { 0.0 }).collect();
    assert_eq!(gradients(&rectified, &x, &weight, rows), gradients(&plain, &x, &masked, rows));
    assert_ne!(gradients(&rectified, &x, &weight, rows), gradients(&plain, &x, &weight, rows));
    x[sizes[0]] = f32::NAN;
    let broken = forward(&rectified, &plain.params, &x, rows, &mut Trace::default());
    let row = |i: usize| &broken[i * sizes[2]..][..sizes[2]];
    assert!(row(1).iter().all(|y| y.is_nan()) && row(0).iter().chain(row(2)).all(|y| y.is_finite()));
}

/// A large batch is computed in tasks of some rows, each with its part of the outputs whose slope it takes.
#[test]
fn gradients_of_inputs_have_the_same_bits_in_any_batch() {
    let net = net(&[5, 300, 300, 3], Activation::Relu);
    let mut rng = Seed::root(7).rng();
    let (rows, part) = (128, 16);
    let (x, weight) = (normals(rows * 5, &mut rng), normals(rows * 3, &mut rng));
    let parts = x.chunks(part * 5).zip(weight.chunks(part * 3));
    let small: Vec<f32> = parts.flat_map(|(x, weight)| gradients(&net, x, weight, part).1).collect();
    let large = with_threads(2, || gradients(&net, &x, &weight, rows).1);
    assert!(large.iter().any(|g| *g != 0.0) && small == large);
}

/// The same network in candle.
fn twin(net: &Net, act: Activation, store: &ParamStore, x: &Tensor) -> Tensor {
    let names: Vec<&str> = net.stack.names().collect();
    let mut y = x.clone();
    for (i, name) in names.iter().enumerate() {
        let weight = store.tensor(&format!("{name}.weight")).unwrap();
        let bias = store.tensor(&format!("{name}.bias")).unwrap();
        y = y.matmul(&weight).unwrap().broadcast_add(&bias).unwrap();
        y = match act {
            _ if i + 1 == names.len() => y,
            Activation::Identity => y,
            Activation::Tanh => ops::activation(&y, ops::Activation::Tanh).unwrap(),
            Activation::Relu => ops::activation(&y, ops::Activation::Relu).unwrap(),
        };
    }
    y
}

fn store_of(net: &Net) -> ParamStore {
    let mut store = ParamStore::new(&Device::Cpu, Seed::root(0));
    for block in net.layout.blocks() {
        let tensor = Tensor::from_vec(block.read(&net.params), (block.rows, block.cols), &Device::Cpu).unwrap();
        store.insert(&block.name, &tensor).unwrap();
    }
    store
}

fn close(a: &[f32], b: &[f32], tolerance: f32) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance * (1.0 + b.abs()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn values_and_gradients_agree_with_candle(
        sizes in prop::collection::vec(1usize..70, 2..5), rows in 1usize..50, seed in 0u64..1000,
        act in prop::sample::select(vec![Activation::Identity, Activation::Tanh, Activation::Relu]),
    ) {
        let net = net(&sizes, act);
        let mut rng = Seed::root(seed).rng();
        let x = normals(rows * sizes[0], &mut rng);
        let weight = normals(rows * net.stack.outputs(), &mut rng);
        let store = store_of(&net);
        let input = candle_core::Var::from_tensor(&Tensor::from_slice(&x, (rows, sizes[0]), &Device::Cpu).unwrap());
        let input = input.unwrap();
        let y = twin(&net, act, &store, &input);
        let got = forward(&net, &net.params, &x, rows, &mut Trace::default());
        prop_assert!(close(&got, &y.flatten_all().unwrap().to_vec1::<f32>().unwrap(), 1e-5));
        let weights = Tensor::from_slice(&weight, y.dims(), &Device::Cpu).unwrap();
        let loss = (y * weights).unwrap().sum_all().unwrap();
        let raw = loss.backward().unwrap();
        let want = Gradients::of(&loss, &store, 0).unwrap();
        let (grads, grad_input) = gradients(&net, &x, &weight, rows);
        for block in net.layout.blocks() {
            let want = want.get(&block.name).unwrap().dense().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            prop_assert!(close(&block.read(&grads), &want, 1e-4), "{}", block.name);
        }
        let wide = padded(sizes[0]);
        let own: Vec<f32> = grad_input.chunks(wide).flat_map(|r| r[..sizes[0]].to_vec()).collect();
        let want = raw.get(&input).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        prop_assert!(close(&own[..want.len()], &want, 1e-4));
        // Padding takes part in nothing.
        let padding: f32 = net.layout.blocks().iter().flat_map(|b| {
            b.of(&grads).chunks(b.stride).flat_map(|r| r[b.cols..].to_vec()).collect::<Vec<_>>()
        }).map(f32::abs).sum();
        prop_assert_eq!(padding, 0.0);
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for act in [Activation::Tanh, Activation::Relu] {
        let mut net = net(&[3, 17, 5, 2], act);
        let mut rng = Seed::root(5).rng();
        let (x, weight) = (normals(12, &mut rng), normals(8, &mut rng));
        let (grads, _) = gradients(&net, &x, &weight, 4);
        let loss = |net: &Net| -> f64 {
            let y = forward(net, &net.params, &x, 4, &mut Trace::default());
            y.iter().zip(&weight).map(|(y, w)| f64::from(y * w)).sum()
        };
        for block in net.layout.clone().blocks() {
            for at in [block.offset, block.offset + block.cols - 1] {
                let (kept, step) = (net.params[at], 1e-3);
                net.params[at] = kept + step;
                let up = loss(&net);
                net.params[at] = kept - step;
                let down = loss(&net);
                net.params[at] = kept;
                let numeric = (up - down) / f64::from(2.0 * step);
                assert!(
                    (numeric - f64::from(grads[at])).abs() < 5e-3,
                    "{act:?} {}: {} not {numeric}",
                    block.name,
                    grads[at]
                );
                // Negative control: a gradient of the wrong sign would not pass.
                assert!(numeric.abs() < 1e-2 || (numeric + f64::from(grads[at])).abs() > 5e-3);
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_batch_and_with_any_number_of_threads() {
    // 4·300·300·… multiply-adds: large enough for packed panels and for several threads.
    let net = net(&[5, 300, 300, 3], Activation::Relu);
    let rows = 160;
    let x = normals(rows * 5, &mut Seed::root(2).rng());
    assert!(rows * 300 * 304 > MIN_PARALLEL_WORK, "or this test shows nothing");
    let weight = normals(rows * 3, &mut Seed::root(4).rng());
    let one = with_threads(1, || {
        (forward(&net, &net.params, &x, rows, &mut Trace::default()), gradients(&net, &x, &weight, rows))
    });
    let three = with_threads(3, || {
        (forward(&net, &net.params, &x, rows, &mut Trace::default()), gradients(&net, &x, &weight, rows))
    });
    assert!(one == three);
    for row in [0, 1, rows - 1] {
        let alone = forward(&net, &net.params, &x[row * 5..][..5], 1, &mut Trace::default());
        assert_eq!(alone, one.0[row * 3..][..3]);
    }
}

/// Up to four outputs the gradient of the last weights is computed transposed, with five it is not.
#[test]
fn gradients_of_narrow_layers_have_the_bits_of_wide_ones() {
    let (narrow, mut wide) = (net(&[3, 40, 4], Activation::Tanh), net(&[3, 40, 5], Activation::Tanh));
    for (from, to) in narrow.layout.blocks().iter().zip(wide.layout.blocks()) {
        let values = from.read(&narrow.params);
        let cols = |row: &[f32]| (0..to.cols).map(|c| row.get(c).copied().unwrap_or(0.5)).collect::<Vec<f32>>();
        let values: Vec<f32> = values.chunks(from.cols).flat_map(cols).collect();
        to.write(&mut wide.params, &values).unwrap();
    }
    let mut rng = Seed::root(6).rng();
    let (rows, x) = (37, normals(37 * 3, &mut rng));
    let weight = normals(rows * 4, &mut rng);
    let with_fifth: Vec<f32> = weight.chunks(4).flat_map(|row| [row, &[0.25]].concat()).collect();
    let (ours, theirs) = (gradients(&narrow, &x, &weight, rows).0, gradients(&wide, &x, &with_fifth, rows).0);
    let block = |net: &Net| net.layout.block("l1.weight").unwrap().clone();
    let (ours, theirs) = (block(&narrow).read(&ours), block(&wide).read(&theirs));
    let theirs: Vec<f32> = theirs.chunks(5).flat_map(|row| row[..4].to_vec()).collect();
    assert!(ours.iter().any(|&g| g != 0.0) && ours == theirs);
}

#[test]
fn a_trace_can_be_reused_for_smaller_and_larger_batches() {
    let net = net(&[4, 20, 2], Activation::Tanh);
    let mut trace = Trace::default();
    for rows in [7, 1, 30, 2] {
        let x = normals(rows * 4, &mut Seed::root(rows as u64).rng());
        let fresh = forward(&net, &net.params, &x, rows, &mut Trace::default());
        assert_eq!(forward(&net, &net.params, &x, rows, &mut trace), fresh);
    }
}

#[test]
fn adam_makes_the_steps_of_the_general_optimizer() {
    let mut net = net(&[4, 10, 3], Activation::Tanh);
    let store = store_of(&net);
    let config = AdamConfig { weight_decay: 0.1, max_grad_norm: Some(0.7), eps: 1e-5, ..AdamConfig::default() };
    let mut general = Optimizer::new(config.general()).unwrap();
    let mut adam = Adam::new(config, net.layout.len()).unwrap();
    let mut rng = Seed::root(9).rng();
    for _ in 0..5 {
        let (x, weight) = (normals(24, &mut rng), normals(18, &mut rng));
        let (mut grads, _) = gradients(&net, &x, &weight, 6);
        let input = Tensor::from_slice(&x, (6, 4), &Device::Cpu).unwrap();
        let y = twin(&net, Activation::Tanh, &store, &input);
        let loss = (y * Tensor::from_slice(&weight, (6, 3), &Device::Cpu).unwrap()).unwrap().sum_all().unwrap();
        let want = general.step(&store, &Gradients::of(&loss, &store, 0).unwrap()).unwrap();
        let got = adam.step(&net.layout, &mut net.params, &mut grads, 1.0).unwrap();
        assert!((got.grad_norm - want.grad_norm).abs() < 1e-5 * want.grad_norm && got.clip_factor < 1.0);
        assert!(grads.iter().all(|&g| g == 0.0));
    }
    for block in net.layout.blocks() {
        let want = store.detached(&block.name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(close(&block.read(&net.params), &want, 1e-6), "{}", block.name);
    }
}

#[test]
fn a_saved_optimizer_makes_the_same_steps_and_refuses_other_shapes() {
    let net = net(&[4, 6, 2], Activation::Tanh);
    let grads = normals(net.layout.len(), &mut Seed::root(1).rng());
    let mut adam = Adam::new(AdamConfig::default(), net.layout.len()).unwrap();
    let mut params = net.params.clone();
    adam.step(&net.layout, &mut params, &mut grads.clone(), 1.0).unwrap();
    let mut state = StateDict::default();
    adam.save(&mut state, "x/").unwrap();
    let mut again = Adam::new(AdamConfig::default(), net.layout.len()).unwrap();
    again.load(&state, "x/").unwrap();
    let mut other = params.clone();
    adam.step(&net.layout, &mut params, &mut grads.clone(), 0.5).unwrap();
    again.step(&net.layout, &mut other, &mut grads.clone(), 0.5).unwrap();
    assert_eq!(params, other);
    let error = Adam::new(AdamConfig::default(), 3).unwrap().load(&state, "x/").unwrap_err().to_string();
    assert!(error.contains("expected 3"), "{error}");
}

#[test]
fn a_gradient_that_is_not_finite_is_named_and_changes_nothing() {
    let mut net = net(&[4, 6, 2], Activation::Tanh);
    let mut adam = Adam::new(AdamConfig::default(), net.layout.len()).unwrap();
    let mut grads = vec![0.0; net.layout.len()];
    grads[net.layout.block("l1.weight").unwrap().offset] = f32::NAN;
    let before = net.params.clone();
    let error = adam.step(&net.layout, &mut net.params, &mut grads, 1.0).unwrap_err().to_string();
    assert!(error.contains("l1.weight"), "{error}");
    assert_eq!((net.params, adam.updates()), (before, 0));
}

#[test]
fn orthogonal_matrices_are_orthogonal() {
    let layout = Layout::new([("tall".to_owned(), 20, 7), ("wide".to_owned(), 5, 33)]).unwrap();
    let mut flat = vec![0.0; layout.len()];
    for block in layout.blocks() {
        orthogonal(block, &mut flat, 2.0, &mut Seed::root(1).child(&block.name).rng());
        let values = block.read(&flat);
        let tall = block.rows >= block.cols;
        let (few, many) = if tall { (block.cols, block.rows) } else { (block.rows, block.cols) };
        let at = |vector: usize, i: usize| f64::from(values[if tall { i * few + vector } else { vector * many + i }]);
        for (a, b) in (0..few).flat_map(|a| (0..few).map(move |b| (a, b))) {
            let product: f64 = (0..many).map(|i| at(a, i) * at(b, i)).sum();
            let want = if a == b { 4.0 } else { 0.0 };
            assert!((product - want).abs() < 1e-5, "{} {a} {b}: {product}", block.name);
        }
    }
}

#[test]
fn layouts_refuse_what_cannot_be_named() {
    let shape = |name: &str, cols| (name.to_owned(), 2, cols);
    assert!(Layout::new([shape("a", 1), shape("a", 2)]).unwrap_err().to_string().contains("a is defined twice"));
    assert!(Layout::new([shape("a", 0)]).is_err());
    let layout = Layout::new([shape("b", 3), shape("a", 2)]).unwrap();
    assert_eq!(layout.blocks().iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((layout.count(), layout.len()), (10, 64));
    let mut flat = vec![0.0; 64];
    let block = layout.block("b").unwrap();
    block.write(&mut flat, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    assert_eq!(block.read(&flat), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert!(block.write(&mut flat, &[1.0]).unwrap_err().to_string().contains("b has shape [2, 3]"));
    assert!(layout.block("c").is_err());
}
