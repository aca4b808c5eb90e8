//! Every algorithm against PyTorch or transformers; `tests/golden/optim/generate.py` made the numbers.

use super::*;
use crate::nn::{Schedule, ScheduleKind, on_each_device};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../../tests/golden/optim/optimizers.json")).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn algorithm(case: &str) -> Algorithm {
    let adafactor = |change: fn(&mut Adafactor)| {
        let mut settings = Adafactor::default();
        change(&mut settings);
        Algorithm::Adafactor(settings)
    };
    match case {
        "adamw" => Algorithm::AdamW(AdamW::default()),
        "adamw_betas" => Algorithm::AdamW(AdamW { beta1: 0.8, beta2: 0.95, eps: 1e-3 }),
        "sgd" => Algorithm::Sgd(Sgd { momentum: 0.0, nesterov: false }),
        "sgd_momentum" => Algorithm::Sgd(Sgd { momentum: 0.9, nesterov: false }),
        "sgd_nesterov" => Algorithm::Sgd(Sgd { momentum: 0.9, nesterov: true }),
        "adafactor" => adafactor(|_| {}),
        "adafactor_scaled" => adafactor(|a| (a.scale_parameter, a.clip_threshold) = (true, 0.5)),
        "adafactor_momentum" => adafactor(|a| (a.beta1, a.decay_rate) = (0.9, 0.6)),
        "adafactor_relative" => adafactor(|a| (a.scale_parameter, a.relative_step) = (true, true)),
        other => panic!("no settings for the case {other}"),
    }
}

fn config_of(golden: &Value, case: &str) -> OptimizerConfig {
    let (numbers, rates) = (&golden["cases"][case], &golden["learning_rates"]);
    let rate = |of: &str| numbers["rate_scale"].as_f64().unwrap() * rates[of].as_f64().unwrap();
    OptimizerConfig {
        algorithm: algorithm(case),
        learning_rate: rate("body"),
        weight_decay: numbers["weight_decay"].as_f64().unwrap(),
        max_grad_norm: golden["max_grad_norm"].as_f64(),
        schedule: Schedule { kind: ScheduleKind::Cosine, warmup_updates: 3, total_updates: 12, end_factor: 0.1 },
        groups: vec![Group { prefix: "head".to_owned(), learning_rate: Some(rate("head")), ..Group::default() }],
    }
}

/// Largest difference to the reference after all updates, as a share of the distance moved.
fn error_of(golden: &Value, case: &str, config: OptimizerConfig, device: &Device) -> f64 {
    let mut store = ParamStore::new(device, Seed::root(0));
    let tensor = |name: &str, values: &Value| {
        let shape: Vec<usize> = serde_json::from_value(golden["shapes"][name].clone()).unwrap();
        Tensor::from_vec(floats(values), shape, device).unwrap()
    };
    for (name, values) in golden["start"].as_object().unwrap() {
        store.insert(name, &tensor(name, values)).unwrap();
    }
    let mut optimizer = Optimizer::new(config).unwrap();
    let norms = floats(&golden["cases"][case]["grad_norms"]);
    for (gradients, norm) in golden["gradients"].as_array().unwrap().iter().zip(norms) {
        let gradients = gradients.as_object().unwrap().iter().map(|(n, g)| (n.clone(), tensor(n, g))).collect();
        let report = optimizer.step(&store, &Gradients::from_map(gradients)).unwrap();
        assert!((report.grad_norm / f64::from(norm) - 1.0).abs() < 1e-6, "{case}: {}, {norm}", report.grad_norm);
    }
    let (mut error, mut moved) = (0.0f64, 0.0f64);
    for (name, end) in golden["cases"][case]["end"].as_object().unwrap() {
        let start = floats(&golden["start"][name]);
        let found = store.detached(name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for ((found, end), start) in found.iter().zip(floats(end)).zip(start) {
            error = error.max(f64::from((found - end).abs()));
            moved = moved.max(f64::from((end - start).abs()));
        }
    }
    error / moved
}

#[test]
fn every_algorithm_agrees_with_its_reference() {
    let golden = golden();
    on_each_device(|device| {
        for case in golden["cases"].as_object().unwrap().keys() {
            let error = error_of(&golden, case, config_of(&golden, case), device);
            assert!(error < 1e-5, "{case} on {device:?}: {error}");
        }
    });
}

#[test]
fn a_wrong_setting_does_not_agree() {
    let golden = golden();
    type Change = fn(&mut OptimizerConfig);
    let wrong: [(&str, Change); 6] = [
        ("adamw", |c| c.algorithm = Algorithm::AdamW(AdamW { beta2: 0.99, ..AdamW::default() })),
        ("adamw", |c| c.groups.clear()),
        ("sgd_momentum", |c| c.algorithm = Algorithm::Sgd(Sgd { momentum: 0.9, nesterov: true })),
        ("sgd", |c| c.weight_decay = 0.0),
        ("adafactor", |c| c.schedule = Schedule::default()),
        ("adafactor_relative", |c| {
            c.algorithm = Algorithm::Adafactor(Adafactor { scale_parameter: true, ..Adafactor::default() });
        }),
    ];
    for (case, change) in wrong {
        let mut config = config_of(&golden, case);
        change(&mut config);
        assert!(error_of(&golden, case, config, &Device::Cpu) > 1e-4, "{case}");
    }
}
