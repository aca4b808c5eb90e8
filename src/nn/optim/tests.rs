//! AdamW against a second implementation in F64, and what it must refuse, keep and leave alone.

use super::*;
use crate::nn::{Init, ScheduleKind};
use crate::rng::Seed;
use candle_core::{DType, Device};

const NAMES: [&str; 4] = ["body.LayerNorm.weight", "body.weight", "head.bias", "head.weight"];

fn store(count: usize) -> ParamStore {
    let mut store = ParamStore::new(&Device::Cpu, Seed::root(1));
    for name in NAMES {
        store.init(name, &[count], Init::Normal(1.0)).unwrap();
    }
    store
}

fn values(store: &ParamStore, name: &str) -> Vec<f32> {
    store.detached(name).unwrap().to_vec1().unwrap()
}

/// Gradients that differ from update to update.
fn gradients(store: &ParamStore, update: u64, scale: f64) -> Gradients {
    let of = |name: &str, count: usize| {
        let mut rng = Seed::root(2).child(name).index(update).rng();
        let values: Vec<f32> = (0..count).map(|_| (rng.normal() * scale) as f32).collect();
        Tensor::from_vec(values, count, &Device::Cpu).unwrap()
    };
    Gradients::from_map(store.trainable().map(|(n, v)| (n.to_owned(), of(n, v.elem_count()))).collect())
}

fn config() -> AdamWConfig {
    AdamWConfig {
        learning_rate: 0.01,
        weight_decay: 0.1,
        max_grad_norm: Some(2.0),
        schedule: Schedule { kind: ScheduleKind::Cosine, warmup_updates: 3, total_updates: 12, end_factor: 0.1 },
        groups: vec![
            Group { prefix: "head".to_owned(), learning_rate: Some(0.05), weight_decay: None },
            Group { prefix: "head.w".to_owned(), learning_rate: Some(0.002), weight_decay: None },
        ],
        ..AdamWConfig::default()
    }
}

/// The update rule as the paper writes it, one parameter vector at a time, in F64.
#[derive(Default)]
struct Dumb {
    m: BTreeMap<String, Vec<f64>>,
    v: BTreeMap<String, Vec<f64>>,
    params: BTreeMap<String, Vec<f64>>,
}

impl Dumb {
    fn step(&mut self, t: i32, grads: &Gradients, config: &AdamWConfig) {
        let grads: BTreeMap<&str, Vec<f64>> =
            grads.iter().map(|(n, g)| (n, g.to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect())).collect();
        let norm = grads.values().flatten().map(|g| g * g).sum::<f64>().sqrt();
        let clip = (config.max_grad_norm.unwrap() / (norm + 1e-6)).min(1.0);
        let factor = config.schedule.factor(t as u64 - 1);
        for (name, grad) in grads {
            let lr = factor
                * if name == "head.weight" {
                    0.002
                } else if name == "head.bias" {
                    0.05
                } else {
                    0.01
                };
            let decay = if name.contains("LayerNorm") || name.ends_with("bias") { 0.0 } else { 0.1 };
            let (m, v) = (self.m.entry(name.to_owned()).or_default(), self.v.entry(name.to_owned()).or_default());
            m.resize(grad.len(), 0.0);
            v.resize(grad.len(), 0.0);
            for (i, theta) in self.params.get_mut(name).unwrap().iter_mut().enumerate() {
                let g = grad[i] * clip;
                *theta *= 1.0 - lr * decay;
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (m_hat, v_hat) = (m[i] / (1.0 - 0.9f64.powi(t)), v[i] / (1.0 - 0.999f64.powi(t)));
                *theta -= lr * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }
    }
}

#[test]
fn it_does_what_the_paper_says() {
    let (store, config) = (store(37), config());
    let mut optimizer = AdamW::new(config.clone()).unwrap();
    let params =
        NAMES.iter().map(|&n| (n.to_owned(), values(&store, n).into_iter().map(f64::from).collect())).collect();
    let mut dumb = Dumb { params, ..Dumb::default() };
    let mut clipped = 0;
    for update in 0..20 {
        // Small and large gradients, so that the limit is met in some updates only.
        let grads = gradients(&store, update, if update % 3 == 0 { 0.01 } else { 1.0 });
        let report = optimizer.step(&store, &grads).unwrap();
        clipped += usize::from(report.clip_factor < 1.0);
        assert_eq!(report.schedule_factor, config.schedule.factor(update));
        dumb.step(update as i32 + 1, &grads, &config);
    }
    assert_eq!((clipped, optimizer.updates()), (13, 20));
    for name in NAMES {
        for (found, expected) in values(&store, name).into_iter().zip(&dumb.params[name]) {
            assert!((f64::from(found) - expected).abs() < 1e-5, "{name}: {found} {expected}");
        }
    }
}

#[test]
fn the_fused_pass_and_the_plain_form_agree() {
    let count = 40_000;
    let store = store(count);
    let var = store.trainable().next().unwrap().1;
    let plain = Var::from_tensor(&var.as_detached_tensor()).unwrap();
    let mut moments = Moments::zeros(var).unwrap();
    let zeros = || Tensor::zeros(count, DType::F32, &Device::Cpu).unwrap();
    let (mut m, mut v) = (zeros(), zeros());
    for update in 0..3 {
        let grads = gradients(&store, update, 1.0);
        let grad = grads.get(NAMES[0]).unwrap();
        let constants = Constants::new(&config(), 0.01, 0.1, 0.7, update + 1);
        moments.apply(var, grad, &constants).unwrap();
        step::plain_step(&plain, grad, &mut m, &mut v, &constants).unwrap();
    }
    let difference = (var.as_tensor() - plain.as_tensor()).unwrap().abs().unwrap().max(0).unwrap();
    assert!(difference.to_scalar::<f32>().unwrap() < 1e-6);
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let store = store(100_000);
            let mut optimizer = AdamW::new(config()).unwrap();
            let norms: Vec<f64> = (0..3)
                .map(|update| optimizer.step(&store, &gradients(&store, update, 1.0)).unwrap().grad_norm)
                .collect();
            (norms, store.checksum(|_| true).unwrap())
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn saved_and_loaded_it_continues_bit_for_bit() {
    let (a, b) = (store(50), store(50));
    let mut first = AdamW::new(config()).unwrap();
    for update in 0..3 {
        first.step(&a, &gradients(&a, update, 1.0)).unwrap();
    }
    let mut state = StateDict::default();
    a.save(&mut state, "p/").unwrap();
    first.save(&mut state, "o/").unwrap();
    b.load(&state, "p/").unwrap();
    let mut second = AdamW::new(config()).unwrap();
    second.load(&state, "o/", &b).unwrap();
    for update in 3..6 {
        let grads = gradients(&a, update, 1.0);
        assert_eq!(first.step(&a, &grads).unwrap(), second.step(&b, &grads).unwrap());
    }
    assert_eq!(a.checksum(|_| true).unwrap(), b.checksum(|_| true).unwrap());
    let mut again = StateDict::default();
    first.save(&mut again, "").unwrap();
    let mut other = StateDict::default();
    second.save(&mut other, "").unwrap();
    assert_eq!(again, other);
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_changes_nothing() {
    let (a, small) = (store(50), store(49));
    let mut optimizer = AdamW::new(config()).unwrap();
    optimizer.step(&a, &gradients(&a, 0, 1.0)).unwrap();
    let mut state = StateDict::default();
    optimizer.save(&mut state, "").unwrap();
    let mut fresh = AdamW::new(config()).unwrap();
    let message = fresh.load(&state, "", &small).unwrap_err().to_string();
    assert!(message.contains("a moment of body.LayerNorm.weight has 50 values, the parameter 49"), "{message}");
    let mut frozen = store(50);
    frozen.set_trainable(|name| name != "head.bias").unwrap();
    let message = fresh.load(&state, "", &frozen).unwrap_err().to_string();
    assert!(message.contains("has moments of head.bias, which is not trained here"), "{message}");
    assert!(fresh.load(&state, "other/", &a).is_err());
    assert_eq!((fresh.updates(), fresh.moments.len()), (0, 0));
}

#[test]
fn frozen_parameters_and_those_without_a_gradient_keep_bits_and_have_no_state() {
    let mut store = store(10);
    store.set_trainable(|name| name != "body.weight").unwrap();
    let before: Vec<Vec<f32>> = NAMES.iter().map(|n| values(&store, n)).collect();
    let mut optimizer = AdamW::new(config()).unwrap();
    let all = gradients(&store, 0, 1.0);
    let some = all.iter().filter(|(n, _)| *n != "head.weight").map(|(n, g)| (n.to_owned(), g.clone())).collect();
    optimizer.step(&store, &Gradients::from_map(some)).unwrap();
    for (name, before) in NAMES.iter().zip(before) {
        let moves = !["body.weight", "head.weight"].contains(name);
        assert_eq!(values(&store, name) != before, moves, "{name}");
        assert_eq!(optimizer.moments.contains_key(*name), moves, "{name}");
    }
}

#[test]
fn the_first_gradient_that_is_not_finite_is_named_and_nothing_changes() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let store = store(10);
        let before = store.checksum(|_| true).unwrap();
        let mut grads: BTreeMap<String, Tensor> =
            gradients(&store, 0, 1.0).iter().map(|(n, g)| (n.to_owned(), g.clone())).collect();
        for name in ["body.weight", "head.weight"] {
            let mut values = grads[name].to_vec1::<f32>().unwrap();
            values[3] = bad;
            grads.insert(name.to_owned(), Tensor::new(values, &Device::Cpu).unwrap());
        }
        let mut optimizer = AdamW::new(config()).unwrap();
        let error = optimizer.step(&store, &Gradients::from_map(grads)).unwrap_err();
        assert!(matches!(&error, Error::NonFinite { name, update: 0, .. } if name == "the gradient of body.weight"));
        assert_eq!((store.checksum(|_| true).unwrap(), optimizer.updates()), (before, 0));
    }
}

#[test]
fn huge_gradients_do_not_overflow_the_norm() {
    let store = store(4);
    let huge = |_: &str| Tensor::new(&[1e30f32; 4], &Device::Cpu).unwrap();
    let grads = Gradients::from_map(NAMES.iter().map(|&n| (n.to_owned(), huge(n))).collect());
    let report = AdamW::new(config()).unwrap().step(&store, &grads).unwrap();
    assert!((report.grad_norm / 4e30 - 1.0).abs() < 1e-6);
    assert!(values(&store, "head.weight").iter().all(|v| v.is_finite()));
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let group = Group { prefix: "head".to_owned(), ..Group::default() };
    let cases = [
        (AdamWConfig { learning_rate: 0.0, ..config() }, "learning_rate = 0: must be positive and finite"),
        (AdamWConfig { beta2: 1.0, ..config() }, "beta2 = 1: must be at least 0 and less than 1"),
        (AdamWConfig { eps: -1.0, ..config() }, "eps = -1: must be positive and finite"),
        (AdamWConfig { weight_decay: -0.1, ..config() }, "weight_decay = -0.1: must be 0 or positive, and finite"),
        (AdamWConfig { max_grad_norm: Some(0.0), ..config() }, "max_grad_norm = 0: must be positive and finite"),
        (
            AdamWConfig { groups: vec![Group { learning_rate: Some(f64::NAN), ..group.clone() }], ..config() },
            "groups.head.learning_rate = NaN: must be positive and finite",
        ),
        (
            AdamWConfig { groups: vec![Group { weight_decay: Some(-1.0), ..group }], ..config() },
            "groups.head.weight_decay = -1: must be 0 or positive, and finite",
        ),
    ];
    for (config, message) in cases {
        assert_eq!(AdamW::new(config).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_group_may_have_a_weight_decay_of_its_own() {
    let store = store(5);
    let before: Vec<Vec<f32>> = NAMES.iter().map(|n| values(&store, n)).collect();
    let config = AdamWConfig {
        learning_rate: 0.1,
        weight_decay: 0.5,
        groups: vec![Group { prefix: "head.w".to_owned(), weight_decay: Some(2.0), ..Group::default() }],
        ..AdamWConfig::default()
    };
    // Without a gradient to follow, only the decay moves a parameter.
    let zero = |n: &str| store.detached(n).unwrap().zeros_like().unwrap();
    let grads = Gradients::from_map(NAMES.iter().map(|&n| (n.to_owned(), zero(n))).collect());
    AdamW::new(config).unwrap().step(&store, &grads).unwrap();
    for (name, before) in NAMES.iter().zip(before) {
        let factor = match *name {
            n if n.starts_with("head.w") => 0.8,
            n if n.ends_with("bias") || n.contains("LayerNorm") => 1.0,
            _ => 0.95,
        };
        for (now, before) in values(&store, name).iter().zip(before) {
            assert!((now - factor * before).abs() < 1e-6, "{name}: {now} from {before}, expected times {factor}");
        }
    }
}
