//! The optimizers against a second implementation in F64, and what they must refuse, keep and leave alone.

mod golden;

use super::adafactor::Second;
use super::buffer::Buffer;
use super::*;
use crate::nn::{Init, Schedule, ScheduleKind, on_each_device};
use crate::rng::Seed;
use candle_core::{DType, Device, Tensor};

const NAMES: [&str; 4] = ["body.LayerNorm.weight", "body.weight", "head.bias", "head.weight"];

fn store(count: usize) -> ParamStore {
    let mut store = ParamStore::new(&Device::Cpu, Seed::root(1));
    for name in NAMES {
        store.init(name, &[count], Init::Normal(1.0)).unwrap();
    }
    store
}

fn values(store: &ParamStore, name: &str) -> Vec<f32> {
    store.detached(name).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Gradients that differ from update to update.
fn gradients(store: &ParamStore, update: u64, scale: f64) -> Gradients {
    let of = |name: &str, var: &Var| {
        let mut rng = Seed::root(2).child(name).index(update).rng();
        let values: Vec<f32> = (0..var.elem_count()).map(|_| (rng.normal() * scale) as f32).collect();
        Tensor::from_vec(values, var.dims(), var.device()).unwrap()
    };
    Gradients::from_map(store.trainable().map(|(n, v)| (n.to_owned(), of(n, v))).collect())
}

fn config() -> OptimizerConfig {
    OptimizerConfig {
        learning_rate: 0.01,
        weight_decay: 0.1,
        max_grad_norm: Some(2.0),
        schedule: Schedule { kind: ScheduleKind::Cosine, warmup_updates: 3, total_updates: 12, end_factor: 0.1 },
        groups: vec![
            Group { prefix: "head".to_owned(), learning_rate: Some(0.05), ..Group::default() },
            Group { prefix: "head.w".to_owned(), learning_rate: Some(0.002), ..Group::default() },
        ],
        ..OptimizerConfig::default()
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
    fn step(&mut self, t: i32, grads: &Gradients, config: &OptimizerConfig) {
        let grads: BTreeMap<&str, Vec<f64>> = grads
            .iter()
            .map(|(n, g)| (n, g.dense().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()))
            .collect();
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
    let mut optimizer = Optimizer::new(config.clone()).unwrap();
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

/// All algorithms, with every kind of state.
fn algorithms() -> [Algorithm; 5] {
    let adafactor = Adafactor { scale_parameter: true, relative_step: true, beta1: 0.9, ..Adafactor::default() };
    [
        Algorithm::AdamW(AdamW::default()),
        Algorithm::Sgd(Sgd { momentum: 0.0, nesterov: false }),
        Algorithm::Sgd(Sgd { momentum: 0.9, nesterov: true }),
        Algorithm::Adafactor(Adafactor::default()),
        Algorithm::Adafactor(adafactor),
    ]
}

/// The word table of a small model: of its rows, a batch reads few.
#[test]
fn rows_of_a_table_are_updated_as_its_dense_gradient_would() {
    let run = |algorithm: Algorithm, by_rows: bool| {
        let mut store = ParamStore::new(&Device::Cpu, Seed::root(1));
        store.init("head.table", &[1000, 70], Init::Normal(1.0)).unwrap();
        let mut optimizer = Optimizer::new(OptimizerConfig { algorithm, ..config() }).unwrap();
        let steps: Vec<StepReport> = (0..4u32)
            .map(|update| {
                let ids: Vec<u32> = (0..24).map(|i| (i * i * 7 + 31 * update) % 1000).collect();
                let looked_up = crate::nn::ops::embedding(
                    &store.tensor("head.table").unwrap(),
                    &Tensor::new(ids, &Device::Cpu).unwrap(),
                );
                let loss = looked_up.unwrap().sqr().unwrap().sum_all().unwrap();
                let mut grads = Gradients::of(&loss, &store, 0).unwrap();
                assert!(matches!(grads.get("head.table"), Some(Gradient::Rows(rows)) if rows.rows().len() <= 24));
                // As two micro-batches would.
                grads.add(&grads.clone()).unwrap();
                grads.scale(0.3).unwrap();
                if !by_rows {
                    let dense = grads.iter().map(|(name, grad)| (name.to_owned(), grad.dense().unwrap()));
                    grads = Gradients::from_map(dense.collect());
                }
                optimizer.step(&store, &grads).unwrap()
            })
            .collect();
        let mut state = StateDict::default();
        optimizer.save(&mut state, "").unwrap();
        (steps, store.checksum(|_| true).unwrap(), state)
    };
    for algorithm in algorithms() {
        assert!(run(algorithm, true) == run(algorithm, false), "{algorithm:?}");
    }
}

/// Matrices and vectors that several threads share.
fn matrices() -> ParamStore {
    matrices_on(&Device::Cpu)
}

fn matrices_on(device: &Device) -> ParamStore {
    let mut store = ParamStore::new(device, Seed::root(1));
    for (name, shape) in [("body.weight", &[230, 150][..]), ("head.bias", &[40_000]), ("head.weight", &[3, 20_000])] {
        store.init(name, shape, Init::Normal(1.0)).unwrap();
    }
    store
}

/// The same memory as other devices have it, so that the plain form runs.
fn plain(memory: Memory, var: &Var) -> Memory {
    let device = |shape: &[usize]| Buffer::Device(Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap());
    let all = || device(var.dims());
    match memory {
        Memory::AdamW(adam, _) => Memory::AdamW(adam, Moments { m: all(), v: all() }),
        Memory::Sgd(sgd, velocity) => Memory::Sgd(sgd, Velocity(velocity.0.map(|_| all()))),
        Memory::Adafactor(ada, factors) => {
            let second = match factors.second {
                Second::Whole(_) => Second::Whole(all()),
                Second::Factored { .. } => {
                    Second::Factored { rows: device(&var.dims()[..1]), columns: device(&var.dims()[1..]) }
                }
            };
            Memory::Adafactor(ada, Factors { second, first: factors.first.map(|_| all()) })
        }
    }
}

#[test]
fn the_fused_passes_and_the_plain_forms_agree() {
    let (store, other) = (matrices(), matrices());
    for algorithm in algorithms() {
        for ((name, var), (_, twin)) in store.trainable().zip(other.trainable()) {
            twin.set(&var.as_detached_tensor().copy().unwrap()).unwrap();
            let mut fused = Memory::new(&algorithm, var).unwrap();
            let mut plain = plain(Memory::new(&algorithm, var).unwrap(), var);
            for update in 0..3 {
                let rates = Rates { learning_rate: 0.01, weight_decay: 0.1, clip: 0.7, step: update + 1 };
                let gradients = gradients(&store, update, 1.0);
                fused.apply(var, gradients.get(name).unwrap(), &rates).unwrap();
                plain.apply(twin, gradients.get(name).unwrap(), &rates).unwrap();
            }
            let difference = (var.as_tensor() - twin.as_tensor()).unwrap().abs().unwrap().flatten_all().unwrap();
            let difference = difference.max(0).unwrap().to_scalar::<f32>().unwrap();
            assert!(difference < 2e-6, "{algorithm:?}, {name}: {difference}");
        }
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    for algorithm in algorithms() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let store = matrices();
                let mut optimizer = Optimizer::new(OptimizerConfig { algorithm, ..config() }).unwrap();
                let norms: Vec<f64> = (0..3)
                    .map(|update| optimizer.step(&store, &gradients(&store, update, 1.0)).unwrap().grad_norm)
                    .collect();
                (norms, store.checksum(|_| true).unwrap())
            })
        };
        assert_eq!(run(1), run(3), "{algorithm:?}");
    }
}

#[test]
fn saved_and_loaded_they_continue_bit_for_bit() {
    on_each_device(check_that_it_continues);
}

fn check_that_it_continues(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    for algorithm in algorithms() {
        let (a, b) = (matrices_on(device), matrices_on(device));
        let config = OptimizerConfig { algorithm, ..config() };
        let mut first = Optimizer::new(config.clone()).unwrap();
        for update in 0..3 {
            first.step(&a, &gradients(&a, update, 1.0)).unwrap();
        }
        let mut state = StateDict::default();
        a.save(&mut state, "p/").unwrap();
        first.save(&mut state, "o/").unwrap();
        // Through a file, as a checkpoint does.
        let path = folder.path().join(algorithm.name());
        crate::persist::save_file(&path, "test", &state).unwrap();
        let state = crate::persist::load_file(&path, "test").unwrap();
        b.load(&state, "p/").unwrap();
        let mut second = Optimizer::new(config).unwrap();
        second.load(&state, "o/", &b).unwrap();
        for update in 3..6 {
            let grads = gradients(&a, update, 1.0);
            assert_eq!(first.step(&a, &grads).unwrap(), second.step(&b, &grads).unwrap());
        }
        assert_eq!(a.checksum(|_| true).unwrap(), b.checksum(|_| true).unwrap(), "{algorithm:?}");
        let (mut again, mut other) = (StateDict::default(), StateDict::default());
        first.save(&mut again, "").unwrap();
        second.save(&mut other, "").unwrap();
        assert_eq!(again, other, "{algorithm:?}");
    }
}

#[test]
fn a_matrix_costs_adafactor_a_row_and_a_column() {
    let (store, mut state) = (matrices(), StateDict::default());
    let config = OptimizerConfig { algorithm: Algorithm::Adafactor(Adafactor::default()), ..config() };
    let mut optimizer = Optimizer::new(config).unwrap();
    optimizer.step(&store, &gradients(&store, 0, 1.0)).unwrap();
    optimizer.save(&mut state, "").unwrap();
    let values: usize = state.tensors.values().map(|t| t.data.len() / 4).sum();
    assert_eq!(values, (230 + 150) + 40_000 + (3 + 20_000));
}

#[test]
fn rows_without_a_gradient_stay_finite() {
    let store = matrices();
    let adafactor = Adafactor { relative_step: true, ..Adafactor::default() };
    let config = OptimizerConfig { algorithm: Algorithm::Adafactor(adafactor), ..OptimizerConfig::default() };
    let mut optimizer = Optimizer::new(config).unwrap();
    for update in 0..3 {
        let sparse = gradients(&store, update, 1.0)
            .iter()
            .map(|(name, grad)| {
                let mut values = grad.dense().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                values[..20_000].fill(0.0);
                (name.to_owned(), Tensor::from_vec(values, grad.dims(), &Device::Cpu).unwrap())
            })
            .collect();
        optimizer.step(&store, &Gradients::from_map(sparse)).unwrap();
    }
    for name in ["body.weight", "head.bias", "head.weight"] {
        assert!(values(&store, name).iter().all(|v| v.is_finite()), "{name}");
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_changes_nothing() {
    let (a, small) = (store(50), store(49));
    let mut optimizer = Optimizer::new(config()).unwrap();
    optimizer.step(&a, &gradients(&a, 0, 1.0)).unwrap();
    let mut state = StateDict::default();
    optimizer.save(&mut state, "").unwrap();
    let mut fresh = Optimizer::new(config()).unwrap();
    let message = fresh.load(&state, "", &small).unwrap_err().to_string();
    assert!(message.contains("body.LayerNorm.weight.m has 50 values, the parameter calls for 49"), "{message}");
    let mut frozen = store(50);
    frozen.set_trainable(|name| name != "head.bias").unwrap();
    let message = fresh.load(&state, "", &frozen).unwrap_err().to_string();
    assert!(message.contains("the optimizer state is of head.bias too, which is not trained here"), "{message}");
    assert!(fresh.load(&state, "other/", &a).is_err());
    let sgd = OptimizerConfig { algorithm: Algorithm::Sgd(Sgd::default()), ..config() };
    let message = Optimizer::new(sgd).unwrap().load(&state, "", &a).unwrap_err().to_string();
    assert!(message.contains("the optimizer state is of adamw, this optimizer is sgd"), "{message}");
    assert_eq!((fresh.updates(), fresh.slots.len()), (0, 0));
}

#[test]
fn frozen_parameters_and_those_without_a_gradient_keep_bits_and_have_no_state() {
    let mut store = store(10);
    store.set_trainable(|name| name != "body.weight").unwrap();
    let before: Vec<Vec<f32>> = NAMES.iter().map(|n| values(&store, n)).collect();
    let mut optimizer = Optimizer::new(config()).unwrap();
    let all = gradients(&store, 0, 1.0);
    let some =
        all.iter().filter(|(n, _)| *n != "head.weight").map(|(n, g)| (n.to_owned(), g.dense().unwrap())).collect();
    optimizer.step(&store, &Gradients::from_map(some)).unwrap();
    for (name, before) in NAMES.iter().zip(before) {
        let moves = !["body.weight", "head.weight"].contains(name);
        assert_eq!(values(&store, name) != before, moves, "{name}");
        assert_eq!(optimizer.slots.contains_key(*name), moves, "{name}");
    }
}

#[test]
fn the_first_gradient_that_is_not_finite_is_named_and_nothing_changes() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let store = store(10);
        let before = store.checksum(|_| true).unwrap();
        let mut grads: BTreeMap<String, Tensor> =
            gradients(&store, 0, 1.0).iter().map(|(n, g)| (n.to_owned(), g.dense().unwrap())).collect();
        for name in ["body.weight", "head.weight"] {
            let mut values = grads[name].to_vec1::<f32>().unwrap();
            values[3] = bad;
            grads.insert(name.to_owned(), Tensor::new(values, &Device::Cpu).unwrap());
        }
        let mut optimizer = Optimizer::new(config()).unwrap();
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
    let report = Optimizer::new(config()).unwrap().step(&store, &grads).unwrap();
    assert!((report.grad_norm / 4e30 - 1.0).abs() < 1e-6);
    assert!(values(&store, "head.weight").iter().all(|v| v.is_finite()));
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let group = Group { prefix: "head".to_owned(), ..Group::default() };
    let with = |algorithm| OptimizerConfig { algorithm, ..config() };
    let cases = [
        (OptimizerConfig { learning_rate: 0.0, ..config() }, "learning_rate = 0: must be positive and finite"),
        (
            with(Algorithm::AdamW(AdamW { beta2: 1.0, ..AdamW::default() })),
            "beta2 = 1: must be at least 0 and less than 1",
        ),
        (with(Algorithm::AdamW(AdamW { eps: -1.0, ..AdamW::default() })), "eps = -1: must be positive and finite"),
        (with(Algorithm::Sgd(Sgd { momentum: 0.0, nesterov: true })), "nesterov = true: needs a momentum above 0"),
        (
            with(Algorithm::Adafactor(Adafactor { decay_rate: 0.0, ..Adafactor::default() })),
            "decay_rate = 0: must be above 0 and at most 1",
        ),
        (OptimizerConfig { weight_decay: -0.1, ..config() }, "weight_decay = -0.1: must be 0 or positive, and finite"),
        (OptimizerConfig { max_grad_norm: Some(0.0), ..config() }, "max_grad_norm = 0: must be positive and finite"),
        (
            OptimizerConfig { groups: vec![Group { learning_rate: Some(f64::NAN), ..group.clone() }], ..config() },
            "groups.head.learning_rate = NaN: must be positive and finite",
        ),
        (
            OptimizerConfig { groups: vec![Group { weight_decay: Some(-1.0), ..group }], ..config() },
            "groups.head.weight_decay = -1: must be 0 or positive, and finite",
        ),
    ];
    for (config, message) in cases {
        assert_eq!(Optimizer::new(config).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_group_may_have_a_weight_decay_of_its_own() {
    let store = store(5);
    let before: Vec<Vec<f32>> = NAMES.iter().map(|n| values(&store, n)).collect();
    let config = OptimizerConfig {
        learning_rate: 0.1,
        weight_decay: 0.5,
        groups: vec![Group { prefix: "head.w".to_owned(), weight_decay: Some(2.0), ..Group::default() }],
        ..OptimizerConfig::default()
    };
    // Without a gradient to follow, only the decay moves a parameter.
    let zero = |n: &str| store.detached(n).unwrap().zeros_like().unwrap();
    let grads = Gradients::from_map(NAMES.iter().map(|&n| (n.to_owned(), zero(n))).collect());
    Optimizer::new(config).unwrap().step(&store, &grads).unwrap();
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

#[test]
fn the_most_specific_group_decides() {
    let group = |prefix: &str, contains: &str, rate: f64| Group {
        prefix: prefix.to_owned(),
        contains: contains.to_owned(),
        learning_rate: Some(rate),
        ..Group::default()
    };
    let groups = vec![group("backbone.", "", 1.0), group("backbone.", ".lora_", 2.0), group("head", "", 3.0)];
    let config = OptimizerConfig { groups, learning_rate: 4.0, ..OptimizerConfig::default() };
    let rates = ["backbone.encoder.layer.0.output.dense.weight", "backbone.x.lora_a", "head.weight", "value.weight"]
        .map(|name| config.learning_rate_of(name));
    assert_eq!(rates, [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn a_gradient_of_another_shape_is_refused() {
    let (store, narrow) = (store(4), store(3));
    let error = Optimizer::new(config()).unwrap().step(&store, &gradients(&narrow, 0, 1.0)).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("the gradient of body.LayerNorm.weight has shape [3], the parameter [4]"), "{message}");
}

#[test]
fn settings_survive_json() {
    for algorithm in algorithms() {
        let config = OptimizerConfig { algorithm, ..config() };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<OptimizerConfig>(&text).unwrap(), config, "{text}");
    }
    let wrong = r#"{"algorithm": {"name": "sgd", "momentun": 0.5}}"#;
    assert!(serde_json::from_str::<OptimizerConfig>(wrong).unwrap_err().to_string().contains("momentun"));
}
