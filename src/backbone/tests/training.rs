//! What is trained in each mode, that it gets gradients, and that the rest keeps its bits.

use super::tiny::{self, backbone, bits, options, refs, texts};
use crate::Error;
use crate::backbone::{Backbone, BackboneOptions, LoadOptions, Tokens, TrainMode, Weights};
use crate::nn::{Gradients, Init, Movement, Optimizer, OptimizerConfig, ParamStore, on_each_device, ops};
use crate::persist::StateDict;
use candle_core::{Device, Tensor};

/// A linear head of two classes.
pub(super) fn add_head(store: &mut ParamStore, width: usize) {
    store.init("head.weight", &[2, width], Init::Normal(0.3)).unwrap();
    store.init("head.bias", &[2], Init::Const(0.1)).unwrap();
}

pub(super) fn loss_of(store: &ParamStore, pooled: &Tensor) -> Tensor {
    let (w, b) = (store.tensor("head.weight").unwrap(), store.tensor("head.bias").unwrap());
    let labels: Vec<u32> = (0..pooled.dim(0).unwrap() as u32).map(|i| i % 2).collect();
    let logits = ops::linear(pooled, &w, Some(&b)).unwrap();
    ops::cross_entropy(&logits, &Tensor::new(labels, pooled.device()).unwrap()).unwrap()
}

pub(super) fn gradients(backbone: &Backbone, store: &ParamStore, texts: &[Tokens], update: u64) -> Gradients {
    let loss = loss_of(store, &backbone.encode(store, &refs(texts)).unwrap());
    Gradients::of(&loss, store, update).unwrap()
}

/// Trains on one batch, with the coverage check; returns the optimizer.
pub(super) fn train(backbone: &Backbone, store: &ParamStore, texts: &[Tokens], updates: u64) -> Optimizer {
    let mut optimizer = Optimizer::new(OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() }).unwrap();
    for update in 0..updates {
        let gradients = gradients(backbone, store, texts, update);
        gradients.check_coverage(store, update, |_| false).unwrap();
        optimizer.step(store, &gradients).unwrap();
    }
    optimizer
}

pub(super) fn modes() -> Vec<(&'static str, BackboneOptions)> {
    let with = |mode, top_layers, train_embeddings| BackboneOptions { mode, top_layers, train_embeddings, ..options() };
    let mut every_linear = with(TrainMode::Lora, 1, true);
    every_linear.lora.targets =
        ["query", "key", "value", "attention.output", "intermediate", "output"].map(str::to_owned).to_vec();
    vec![
        ("frozen", with(TrainMode::Frozen, 1, true)),
        ("lora", with(TrainMode::Lora, 1, true)),
        ("lora everywhere", every_linear),
        ("top 1", with(TrainMode::TopN, 1, true)),
        ("top 2", with(TrainMode::TopN, 2, true)),
        ("full", with(TrainMode::Full, 1, true)),
        ("full without embeddings", with(TrainMode::Full, 1, false)),
    ]
}

#[test]
fn each_mode_trains_what_it_says_and_nothing_else() {
    on_each_device(check_modes);
}

fn check_modes(device: &Device) {
    // A layer has 16 parameters, the embeddings 5, the head 2; an adapter is 2 matrices.
    let expected = [2, 2 + 3 * 2 * 2, 2 + 3 * 6 * 2, 2 + 16, 2 + 32, 2 + 53, 2 + 48];
    for ((name, options), expected) in modes().into_iter().zip(expected) {
        let (backbone, mut store) = tiny::backbone_on(device, &options);
        add_head(&mut store, tiny::WIDTH);
        assert_eq!(store.trainable().count(), expected, "{name}");
        let texts = texts(&backbone);
        let names: Vec<String> = store.names().map(str::to_owned).collect();
        let before: Vec<Vec<u32>> = names.iter().map(|n| bits(&store.detached(n).unwrap())).collect();
        let movement = Movement::start(&store).unwrap();
        let optimizer = train(&backbone, &store, &texts, 3);
        assert_eq!(movement.unmoved(&store).unwrap(), Vec::<String>::new(), "{name}");
        let mut state = StateDict::default();
        optimizer.save(&mut state, "").unwrap();
        for (parameter, before) in names.iter().zip(before) {
            let trained = store.is_trainable(parameter);
            assert_eq!(bits(&store.detached(parameter).unwrap()) != before, trained, "{name}: {parameter}");
            assert_eq!(state.tensors.contains_key(&format!("{parameter}.m")), trained, "{name}: {parameter}");
        }
    }
}

#[test]
fn below_the_lowest_trained_layer_there_is_no_graph() {
    for (name, options) in modes() {
        let (backbone, store) = backbone(&options);
        let forward = backbone.forward(&store, true);
        let texts = texts(&backbone);
        let plan = crate::backbone::batching::Plan { width: 16, rows: vec![0] };
        let batch = crate::backbone::batching::Batch::new(&refs(&texts), &plan, 1, &Device::Cpu).unwrap();
        let mut x = forward.embed(&batch).unwrap();
        let mut tracked = vec![x.track_op()];
        for layer in 0..tiny::LAYERS {
            x = forward.layer(layer, &x, &batch.mask).unwrap();
            tracked.push(x.track_op());
        }
        let expected = match name {
            "frozen" => [false, false, false, false],
            "top 1" => [false, false, false, true],
            "top 2" => [false, false, true, true],
            "full" => [true; 4],
            _ => [false, true, true, true],
        };
        assert_eq!(tracked, expected, "{name}");
        let detached = backbone.encode_detached(&store, &refs(&texts)).unwrap();
        assert!(!detached.track_op(), "{name}");
    }
}

/// The same model with candle's own layer norm between the layers: same values, but the gradient ends there.
#[test]
fn an_operation_that_cuts_the_graph_fails_the_coverage_check() {
    for mode in [TrainMode::Full, TrainMode::Lora] {
        let (backbone, mut store) = backbone(&BackboneOptions { mode, ..options() });
        add_head(&mut store, tiny::WIDTH);
        let texts = texts(&backbone);
        let loss = |cut: bool| {
            let forward = backbone.forward(&store, true);
            let plan = crate::backbone::batching::Plan { width: 16, rows: vec![0, 2] };
            let batch = crate::backbone::batching::Batch::new(&refs(&texts), &plan, 1, &Device::Cpu).unwrap();
            let mut x = forward.embed(&batch).unwrap();
            for layer in 0..tiny::LAYERS {
                x = forward.layer(layer, &x, &batch.mask).unwrap();
                if layer == 1 {
                    let (one, zero) =
                        (Tensor::ones(16, x.dtype(), x.device()), Tensor::zeros(16, x.dtype(), x.device()));
                    let (one, zero) = (one.unwrap(), zero.unwrap());
                    x = if cut {
                        #[allow(clippy::disallowed_methods, reason = "the operation the check must find")]
                        candle_nn::ops::layer_norm(&x, &one, &zero, 1e-12).unwrap()
                    } else {
                        ops::layer_norm(&x, None, &one, &zero, 1e-12).unwrap()
                    };
                }
            }
            loss_of(&store, &ops::masked_mean_pool(&x, &batch.mask).unwrap())
        };
        let whole = Gradients::of(&loss(false), &store, 0).unwrap();
        whole.check_coverage(&store, 0, |_| false).unwrap();
        let cut = Gradients::of(&loss(true), &store, 0).unwrap();
        let Err(Error::Coverage(message)) = cut.check_coverage(&store, 0, |_| false) else { panic!("{mode:?}") };
        assert!(message.contains("no gradient reaches backbone.e"), "{message}");
        assert!(message.contains("encoder.layer.1.") && message.contains("encoder.layer.0."), "{message}");
        assert!(message.contains("the last operation with a gradient uses backbone.encoder.layer.2."), "{message}");
    }
}

#[test]
fn a_model_that_is_fully_cut_off_is_found() {
    let (backbone, mut store) = backbone(&BackboneOptions { mode: TrainMode::Full, ..options() });
    add_head(&mut store, tiny::WIDTH);
    let texts = texts(&backbone);
    let loss = loss_of(&store, &backbone.encode_detached(&store, &refs(&texts)).unwrap());
    let found = Gradients::of(&loss, &store, 0).unwrap().check_coverage(&store, 0, |_| false);
    let message = found.expect_err("nothing of the backbone is trained").to_string();
    assert!(message.contains("the last operation with a gradient uses head."), "{message}");
}

#[test]
fn frozen_weights_are_held_once_for_any_number_of_stores() {
    let weights = tiny::weights();
    let mut stores = Vec::new();
    for seed in 0..2 {
        let mut store = ParamStore::new(&Device::Cpu, crate::rng::Seed::root(seed));
        Backbone::new(&weights, &options(), &mut store).unwrap();
        stores.push(store);
    }
    let address = |store: &ParamStore| {
        let tensor = store.detached("backbone.embeddings.word_embeddings.weight").unwrap();
        let (storage, _) = tensor.storage_and_layout();
        let candle_core::Storage::Cpu(candle_core::CpuStorage::F32(values)) = &*storage else { panic!("on the CPU") };
        values.as_ptr()
    };
    assert_eq!(address(&stores[0]), address(&stores[1]));
}

#[test]
fn a_trained_backbone_drops_its_second_copy_of_what_it_trains() {
    for (name, options) in modes() {
        let (backbone, store) = backbone(&options);
        let kept: Vec<&str> = backbone.weights().tensors().map(|(name, _)| name).collect();
        for (canonical, _) in tiny::weights().tensors() {
            let full = format!("backbone.{canonical}");
            if store.contains(&full) {
                // Held once: in the store if it is trained, else in the memory that all stores share.
                assert_eq!(kept.contains(&canonical), store.is_shared(&full), "{name}: {canonical}");
            }
        }
        let trained = store.trainable().filter(|(n, _)| !n.contains("lora")).map(|(_, v)| 4 * v.elem_count());
        assert!(backbone.weights().bytes() + trained.sum::<usize>() <= tiny::weights().bytes(), "{name}");
        let same_version = backbone.weight_version(&store).unwrap() == tiny::weights().version();
        assert_eq!(same_version, options.mode != TrainMode::Lora, "{name}");
    }
}

#[test]
fn trials_on_the_same_weights_do_not_disturb_each_other() {
    let weights = tiny::weights();
    let version = weights.version().to_owned();
    let options = BackboneOptions { mode: TrainMode::Full, ..options() };
    let mut store = ParamStore::new(&Device::Cpu, crate::rng::Seed::root(0));
    let backbone = Backbone::new(&weights, &options, &mut store).unwrap();
    add_head(&mut store, tiny::WIDTH);
    train(&backbone, &store, &texts(&backbone), 2);
    let fresh = tiny::weights();
    for ((name, a), (_, b)) in weights.tensors().zip(fresh.tensors()) {
        assert_eq!(bits(a), bits(b), "{name}");
    }
    assert_eq!(weights.version(), version);
    assert_ne!(backbone.weight_version(&store).unwrap(), version);
}

#[test]
fn a_trained_model_is_saved_and_read_back_with_the_same_bits_and_version() {
    for (name, options) in modes() {
        let (backbone, mut store) = backbone(&options);
        add_head(&mut store, tiny::WIDTH);
        let texts = texts(&backbone);
        assert_eq!(backbone.weight_version(&store).unwrap() == tiny::weights().version(), backbone.adapters.is_none());
        let optimizer = train(&backbone, &store, &texts, 2);
        let version = backbone.weight_version(&store).unwrap();

        // Through saved state, as a checkpoint does, and on from there.
        let mut state = StateDict::default();
        store.save(&mut state, "params/").unwrap();
        optimizer.save(&mut state, "optim/").unwrap();
        let (again, mut other) = super::tiny::backbone(&options);
        add_head(&mut other, tiny::WIDTH);
        other.load(&state, "params/").unwrap();
        assert_eq!(again.weight_version(&other).unwrap(), version, "{name}");
        let mut resumed = Optimizer::new(optimizer.config().clone()).unwrap();
        resumed.load(&state, "optim/", &other).unwrap();
        let mut optimizer = optimizer;
        for update in 2..4 {
            optimizer.step(&store, &gradients(&backbone, &store, &texts, update)).unwrap();
            resumed.step(&other, &gradients(&again, &other, &texts, update)).unwrap();
        }
        assert_eq!(store.checksum(|_| true).unwrap(), other.checksum(|_| true).unwrap(), "{name}");

        // Through a model directory.
        let dir = tempfile::tempdir().unwrap();
        let saved = backbone.to_weights(&store).unwrap();
        saved.save_dir(dir.path()).unwrap();
        let read = Weights::from_dir(dir.path(), &LoadOptions { strict: true, ..LoadOptions::default() }).unwrap();
        assert_eq!(read.version(), saved.version(), "{name}");
        if backbone.adapters.is_none() {
            assert_eq!(read.version(), backbone.weight_version(&store).unwrap(), "{name}");
        }
        let mut frozen = ParamStore::new(&Device::Cpu, crate::rng::Seed::root(9));
        let frozen_backbone = Backbone::new(&read, &super::tiny::options(), &mut frozen).unwrap();
        let own = backbone.encode_detached(&store, &refs(&texts)).unwrap();
        let other = frozen_backbone.encode_detached(&frozen, &refs(&texts)).unwrap();
        if backbone.adapters.is_none() {
            assert_eq!(bits(&own), bits(&other), "{name}");
        }
    }
}
