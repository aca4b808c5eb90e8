//! Against PyTorch, on every device present. The tolerances are chosen so that the nearest real mistake (a layer norm
//! eps of 1e-6, tanh GELU, decay on biases) misses them; plain F32 on a GPU gets four times as much.

use crate::backbone::{Backbone, BackboneOptions, LoadOptions, Tokens, TrainMode, Weights};
use crate::nn::{Gradients, Optimizer, OptimizerConfig, ParamStore, ops};
use crate::rng::Seed;
use candle_core::{Device, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;

static WEIGHTS: LazyLock<Weights> = LazyLock::new(|| {
    use retune_assets::minilm_l3::{CONFIG, NAME, TOKENIZER, WEIGHTS};
    Weights::from_bytes(NAME, CONFIG, TOKENIZER, WEIGHTS, &LoadOptions { strict: true, ..LoadOptions::default() })
        .unwrap()
});

fn golden(name: &str) -> Value {
    let text = match name {
        "embeddings" => include_str!("../../../tests/golden/backbone/embeddings.json"),
        "finetune" => include_str!("../../../tests/golden/backbone/finetune.json"),
        _ => include_str!("../../../tests/golden/backbone/finetune_lora.json"),
    };
    serde_json::from_str(text).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    numbers(value).iter().map(|&v| v as u32).collect()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    let values = tensor.detach().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.into_iter().map(f64::from).collect()
}

fn l2(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert!(a.len() >= b.len() && !b.is_empty());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn assert_relative(found: f64, golden: f64, tolerance: f64, what: &str) {
    assert!(
        (found / golden - 1.0).abs() <= tolerance,
        "{what}: {found}, golden {golden}, relative tolerance {tolerance}"
    );
}

fn fill(n: u64, count: usize, scale: f64) -> Vec<f32> {
    let value = |i: u64| scale * (((7919 * i + 104_729 * n + 12345) % 10007) as f64 / 10007.0 - 0.5);
    (0..count as u64).map(|i| value(i) as f32).collect()
}

fn backbone(options: &BackboneOptions, device: &Device) -> (Backbone, ParamStore) {
    let mut store = ParamStore::new(device, Seed::root(0));
    (Backbone::new(&WEIGHTS, options, &mut store).unwrap(), store)
}

/// The devices to test on, each with the factor on all tolerances.
fn devices() -> Vec<(Device, f64)> {
    let mut devices = vec![(Device::Cpu, 1.0)];
    if cfg!(feature = "cuda") {
        devices.extend(Device::new_cuda(0).map(|device| (device, 4.0)));
    }
    devices
}

#[test]
fn the_embedded_weights_are_those_of_the_goldens() {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(retune_assets::minilm_l3::WEIGHTS);
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, golden("embeddings")["model_sha256"].as_str().unwrap());
    assert_eq!(WEIGHTS.tensors().count(), 53);
    assert!(WEIGHTS.report().unused.is_empty());
}

#[test]
fn ids_and_embeddings() {
    devices().iter().for_each(|(device, slack)| check_embeddings(device, *slack));
}

fn check_embeddings(device: &Device, slack: f64) {
    let golden = golden("embeddings");
    let mut tokens: BTreeMap<&str, Tokens> = BTreeMap::new();
    for case in golden["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let max_length = case["max_length"].as_u64().unwrap() as usize;
        let (backbone, store) = backbone(&BackboneOptions { max_length, ..BackboneOptions::default() }, device);
        let text = case["text"].as_str().unwrap();
        let own = match case.get("pair") {
            Some(pair) => backbone.tokenize_pairs(&[(text, pair.as_str().unwrap())]).unwrap().remove(0),
            None => backbone.tokenize(&[text]).unwrap().remove(0),
        };
        assert_eq!(own.ids(), ids(&case["ids"]), "{name}");
        let segments = case.get("type_ids").map_or_else(|| vec![0; own.len()], ids);
        assert_eq!(own.segments(), segments, "{name}");
        let vector = flat(&backbone.encode(&store, &[&own]).unwrap());
        let off = largest_difference(&vector, &numbers(&case["first16"]));
        assert!(off <= 5e-6 * slack, "{name}: {off}");
        if let Some(full) = case.get("full") {
            let off = largest_difference(&vector, &numbers(full));
            assert!(off <= 5e-6 * slack, "{name}: {off}");
        }
        assert_relative(l2(&vector), number(&case["l2"]), 2e-6 * slack, name);
        tokens.insert(name, own);
    }
    let (backbone, store) = backbone(&BackboneOptions { max_length: 512, ..BackboneOptions::default() }, device);
    for batch in golden["batches"].as_array().unwrap() {
        let texts: Vec<&Tokens> =
            batch["cases"].as_array().unwrap().iter().map(|n| &tokens[n.as_str().unwrap()]).collect();
        let vectors = backbone.encode(&store, &texts).unwrap();
        for (row, first16) in batch["first16"].as_array().unwrap().iter().enumerate() {
            let vector = flat(&vectors.get(row).unwrap());
            let off = largest_difference(&vector, &numbers(first16));
            assert!(off <= 5e-6 * slack, "row {row} of {}: {off}", batch["name"]);
            assert_relative(l2(&vector), numbers(&batch["l2"])[row], 2e-6 * slack, "batch");
        }
    }
}

#[test]
fn hidden_states_after_every_layer() {
    devices().iter().for_each(|(device, slack)| check_hidden_states(device, *slack));
}

fn check_hidden_states(device: &Device, slack: f64) {
    let golden = golden("embeddings");
    let (backbone, store) = backbone(&BackboneOptions::default(), device);
    let case = golden["cases"].as_array().unwrap().iter().find(|c| c.get("layers").is_some()).unwrap();
    let tokens = backbone.tokenize(&[case["text"].as_str().unwrap()]).unwrap();
    let states = backbone.hidden_states(&store, &tokens[0]).unwrap();
    let layers = case["layers"].as_array().unwrap();
    assert_eq!(states.len(), layers.len());
    for (state, layer) in states.iter().zip(layers) {
        let values = flat(state);
        let off = largest_difference(&values, &numbers(&layer["token0_first8"]));
        assert!(off <= 5e-6 * slack, "{}: {off}", layer["after"]);
        assert_relative(l2(&values), number(&layer["l2"]), 2e-6 * slack, layer["after"].as_str().unwrap());
    }
}

/// Five AdamW steps on the golden batch, checked number by number.
struct FineTuning {
    golden: Value,
    backbone: Backbone,
    store: ParamStore,
    texts: Vec<Tokens>,
    labels: Tensor,
    start: BTreeMap<String, Vec<f64>>,
    slack: f64,
}

impl FineTuning {
    fn new(file: &str, mode: TrainMode, (device, slack): &(Device, f64)) -> Self {
        let golden = golden(file);
        let (backbone, mut store) = backbone(&BackboneOptions { mode, ..BackboneOptions::default() }, device);
        let width = backbone.width();
        let tensor = |n, shape: &[usize], scale| {
            Tensor::from_vec(fill(n, shape.iter().product(), scale), shape, &Device::Cpu).unwrap()
        };
        store.insert("head.weight", &tensor(0, &[2, width], 0.2)).unwrap();
        store.insert("head.bias", &tensor(1, &[2], 0.1)).unwrap();
        if mode == TrainMode::Lora {
            let mut n = 2;
            for layer in 0..3 {
                for linear in ["query", "value"] {
                    let name = format!("backbone.encoder.layer.{layer}.attention.self.{linear}");
                    store.set(&format!("{name}.lora_a"), &tensor(n, &[8, width], 0.1)).unwrap();
                    store.set(&format!("{name}.lora_b"), &tensor(n + 1, &[width, 8], 0.02)).unwrap();
                    n += 2;
                }
            }
        }
        let batch = golden["batch"].as_array().unwrap();
        let texts: Vec<&str> = batch.iter().map(|row| row["text"].as_str().unwrap()).collect();
        let texts = backbone.tokenize(&texts).unwrap();
        let labels: Vec<u32> = batch.iter().map(|row| row["label"].as_u64().unwrap() as u32).collect();
        let labels = Tensor::new(labels, device).unwrap();
        let start = store.trainable().map(|(name, var)| (name.to_owned(), flat(var))).collect();
        Self { golden, backbone, store, texts, labels, start, slack: *slack }
    }

    fn forward(&self) -> (Tensor, Tensor) {
        let texts: Vec<&Tokens> = self.texts.iter().collect();
        let pooled = self.backbone.encode(&self.store, &texts).unwrap();
        let (w, b) = (self.store.tensor("head.weight").unwrap(), self.store.tensor("head.bias").unwrap());
        let logits = ops::linear(&pooled, &w, Some(&b)).unwrap();
        (ops::cross_entropy(&logits, &self.labels).unwrap(), logits)
    }

    fn run(&self) {
        let config = OptimizerConfig { learning_rate: 1e-4, ..OptimizerConfig::default() };
        let mut optimizer = Optimizer::new(config).unwrap();
        for step in 0..5 {
            let (loss, logits) = self.forward();
            let tolerance = if step == 0 { 1e-6 } else { 1e-4 };
            let golden = number(&self.golden["loss_before_step"][step]);
            assert_relative(flat(&loss)[0], golden, tolerance * self.slack, &format!("loss before step {step}"));
            let gradients = Gradients::of(&loss, &self.store, step as u64).unwrap();
            gradients.check_coverage(&self.store, step as u64, |_| false).unwrap();
            if step == 0 {
                self.check_logits(&logits, "initial_logits", 5e-6);
                self.check_gradients(&gradients);
            }
            let report = optimizer.step(&self.store, &gradients).unwrap();
            let golden = number(&self.golden["grad_norm_before_clip"][step]);
            assert_relative(report.grad_norm, golden, 5e-5 * self.slack, &format!("gradient norm at step {step}"));
        }
        let (loss, logits) = self.forward();
        assert_relative(flat(&loss)[0], number(&self.golden["loss_after_step"][4]), 1e-4 * self.slack, "last loss");
        self.check_logits(&logits, "final_logits", 2e-4);
        self.check_movement();
    }

    fn check_logits(&self, logits: &Tensor, key: &str, tolerance: f64) {
        let golden: Vec<f64> = self.golden[key].as_array().unwrap().iter().flat_map(numbers).collect();
        let off = largest_difference(&flat(logits), &golden);
        assert!(off <= tolerance * self.slack, "{key}: {off}");
    }

    /// Golden records by the name in the store.
    fn records(&self) -> Vec<(String, &Value)> {
        let records = self.golden["parameters"].as_object().unwrap();
        let full = |name: &String| if name.starts_with("head.") { name.clone() } else { format!("backbone.{name}") };
        records.iter().map(|(name, record)| (full(name), record)).collect()
    }

    fn check_gradients(&self, gradients: &Gradients) {
        let records = self.records();
        assert_eq!(gradients.iter().count(), records.len());
        for (name, record) in records {
            let grad = flat(&gradients.get(&name).unwrap().dense().unwrap());
            if record.get("zero_in_exact_arithmetic").is_some() {
                assert!(l2(&grad) < 1e-6, "{name}");
                continue;
            }
            let norm = number(&record["grad_l2"]);
            assert_relative(l2(&grad), norm, 1e-4 * self.slack, &name);
            let probe: Vec<f64> = fill(3, grad.len(), 1.0).into_iter().map(f64::from).collect();
            let off = (dot(&grad, &probe) - number(&record["grad_dot"])).abs() / norm;
            assert!(off <= 3e-5 * self.slack, "grad_dot of {name}: {off}");
        }
    }

    fn check_movement(&self) {
        for (name, record) in self.records() {
            if record.get("zero_in_exact_arithmetic").is_some() {
                continue;
            }
            let (start, end) = (&self.start[&name], flat(&self.store.detached(&name).unwrap()));
            let moved: Vec<f64> = end.iter().zip(start).map(|(end, start)| end - start).collect();
            let golden = number(&record["moved_l2"]);
            assert_relative(l2(&moved), golden, 1e-4 * self.slack, &name);
            let off = (dot(&moved, start) / l2(start) - number(&record["moved_along_start"])).abs() / golden;
            assert!(off <= 1e-3 * self.slack, "moved_along_start of {name}: {off}");
        }
    }
}

#[test]
fn full_fine_tuning() {
    devices().iter().for_each(|device| FineTuning::new("finetune", TrainMode::Full, device).run());
}

#[test]
fn lora_fine_tuning() {
    devices().iter().for_each(|device| FineTuning::new("finetune_lora", TrainMode::Lora, device).run());
}

#[test]
fn lora_merge() {
    devices().iter().for_each(check_merge);
}

fn check_merge(device: &(Device, f64)) {
    let mut case = FineTuning::new("finetune_lora", TrainMode::Lora, device);
    let merge = case.golden["merge"].clone();
    let tokens = case.backbone.tokenize(&[merge["text"].as_str().unwrap()]).unwrap();
    let beside = flat(&case.backbone.encode_detached(&case.store, &[&tokens[0]]).unwrap());
    case.backbone.merge(&mut case.store).unwrap();
    let merged = flat(&case.backbone.encode_detached(&case.store, &[&tokens[0]]).unwrap());
    let off = largest_difference(&merged, &numbers(&merge["first16"]));
    assert!(off <= 5e-6 * case.slack, "{off}");
    assert_relative(l2(&merged), number(&merge["l2"]), 2e-6 * case.slack, "merged");
    assert!(largest_difference(&beside, &merged) <= 5e-6 * case.slack);
}

/// The tiny model of the other tests never reaches the sizes at which work is split between threads.
#[test]
fn company_and_threads_do_not_matter_at_full_size() {
    let (backbone, store) = backbone(&BackboneOptions::default(), &Device::Cpu);
    let long = "a film that was neither good nor bad ".repeat(9);
    let texts = backbone.tokenize(&["a film", "a very good film indeed", &long, "one more", &long[7..]]).unwrap();
    let vectors = |threads: usize, chosen: &[usize]| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let chosen: Vec<&Tokens> = chosen.iter().map(|&i| &texts[i]).collect();
        pool.install(|| backbone.encode(&store, &chosen).unwrap()).to_vec2::<f32>().unwrap()
    };
    let together = vectors(1, &[0, 1, 2, 3, 4]);
    assert_eq!(vectors(2, &[0, 1, 2, 3, 4]), together);
    for (i, vector) in together.iter().enumerate() {
        assert_eq!(&vectors(2, &[i])[0], vector, "text {i}");
    }
}
