//! A model on every device present does what it does on the CPU, and what was trained on one goes on on another.

use super::tiny::{self, backbone, backbone_on, bits, options, refs, texts};
use super::training::{add_head, gradients, modes};
use crate::backbone::{BackboneOptions, Dropout, TrainMode, WeightForm};
use crate::nn::{Optimizer, OptimizerConfig, ParamStore, on_each_device};
use crate::persist::StateDict;
use crate::rng::Seed;
use candle_core::{Device, Tensor};

/// Largest difference of two tensors, wherever they live.
fn off(a: &Tensor, b: &Tensor) -> f32 {
    let values = |t: &Tensor| t.detach().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (a, b) = (values(a), values(b));
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// A model with a head after `updates` updates, and the loss gradients of each.
fn trained(
    device: &Device,
    options: &BackboneOptions,
    updates: u64,
) -> (crate::backbone::Backbone, ParamStore, Optimizer) {
    let (backbone, mut store) = backbone_on(device, options);
    add_head(&mut store, tiny::WIDTH);
    let texts = texts(&backbone);
    let config = OptimizerConfig { learning_rate: 1e-3, ..OptimizerConfig::default() };
    let mut optimizer = Optimizer::new(config).unwrap();
    for update in 0..updates {
        let gradients = gradients(&backbone, &store, &texts, update);
        gradients.check_coverage(&store, update, |_| false).unwrap();
        optimizer.step(&store, &gradients).unwrap();
    }
    (backbone, store, optimizer)
}

#[test]
fn vectors_agree_in_both_forms_of_weights() {
    on_each_device(|device| {
        for form in [WeightForm::F32, WeightForm::U8] {
            let weights = tiny::weights().in_form(form).unwrap();
            let vectors = |device: &Device| {
                let mut store = ParamStore::new(device, Seed::root(5));
                let backbone = crate::backbone::Backbone::new(&weights, &options(), &mut store).unwrap();
                assert_eq!(backbone.weight_version(&store).unwrap(), weights.version(), "{device:?}");
                backbone.encode(&store, &refs(&texts(&backbone))).unwrap()
            };
            let error = off(&vectors(device), &vectors(&Device::Cpu));
            assert!(error <= 2e-5, "{device:?}, {form:?}: {error}");
        }
    });
}

#[test]
fn dropout_has_the_same_mask_everywhere() {
    on_each_device(|device| {
        let vectors = |device: &Device| {
            let (backbone, store) = backbone_on(device, &BackboneOptions { mode: TrainMode::Full, ..options() });
            let dropout = Dropout { hidden: 0.2, attention: 0.2, key: Seed::root(3) };
            backbone.encode_with_dropout(&store, &refs(&texts(&backbone)), &dropout).unwrap()
        };
        let error = off(&vectors(device), &vectors(&Device::Cpu));
        assert!(error <= 2e-5, "{device:?}: {error}");
    });
}

#[test]
fn training_moves_every_mode_to_the_same_place() {
    on_each_device(|device| {
        for (name, options) in modes() {
            let (here, there) = (trained(&Device::Cpu, &options, 4), trained(device, &options, 4));
            for (parameter, _) in here.1.trainable() {
                let (a, b) = (here.1.detached(parameter).unwrap(), there.1.detached(parameter).unwrap());
                // Four steps of 1e-3; where a gradient is rounding alone, its sign decides, so not to the last digit.
                let error = off(&a, &b);
                let noise = parameter.ends_with("key.bias");
                assert!(error <= if noise { 8e-3 } else { 2e-4 }, "{device:?}, {name}, {parameter}: {error}");
            }
        }
    });
}

#[test]
fn a_model_trained_on_a_device_goes_on_on_the_cpu() {
    on_each_device(|device| {
        for (name, options) in modes() {
            let (there_backbone, there, optimizer) = trained(device, &options, 2);
            let mut state = StateDict::default();
            there.save(&mut state, "params/").unwrap();
            optimizer.save(&mut state, "optim/").unwrap();
            let (here_backbone, mut here) = backbone(&options);
            add_head(&mut here, tiny::WIDTH);
            here.load(&state, "params/").unwrap();
            assert_eq!(here.checksum(|_| true).unwrap(), there.checksum(|_| true).unwrap(), "{device:?}, {name}");
            let version = here_backbone.weight_version(&here).unwrap();
            assert_eq!(version, there_backbone.weight_version(&there).unwrap(), "{device:?}, {name}");
            if there_backbone.adapters.is_none() {
                // Adapters are merged by a product, which another device rounds otherwise.
                let saved = there_backbone.to_weights(&there).unwrap();
                assert_eq!(saved.version(), here_backbone.to_weights(&here).unwrap().version(), "{device:?}, {name}");
            }
            let mut resumed = Optimizer::new(optimizer.config().clone()).unwrap();
            resumed.load(&state, "optim/", &here).unwrap();
            resumed.step(&here, &gradients(&here_backbone, &here, &texts(&here_backbone), 2)).unwrap();
            assert_eq!(resumed.updates(), 3);
        }
    });
}

#[test]
fn adapters_are_merged_and_taken_out_again_on_every_device() {
    on_each_device(|device| {
        let lora = BackboneOptions { mode: TrainMode::Lora, ..options() };
        let (mut backbone, mut store, _) = trained(device, &lora, 4);
        let texts = texts(&backbone);
        let vectors = |backbone: &crate::backbone::Backbone, store: &ParamStore| {
            backbone.encode_detached(store, &refs(&texts)).unwrap()
        };
        let (beside, before) = (vectors(&backbone, &store), store.checksum(|_| true).unwrap());
        backbone.merge(&mut store).unwrap();
        let error = off(&vectors(&backbone, &store), &beside);
        assert!(error > 0.0 && error <= 5e-5, "{device:?}: {error}");
        backbone.unmerge(&mut store).unwrap();
        assert_eq!(store.checksum(|_| true).unwrap(), before, "{device:?}");
        assert_eq!(bits(&vectors(&backbone, &store)), bits(&beside), "{device:?}");
        let file = backbone.save_adapters(&store).unwrap();
        let (other, on_cpu) = super::tiny::backbone(&lora);
        other.load_adapters(&on_cpu, std::path::Path::new("a.safetensors"), &file).unwrap();
        let error = off(&vectors(&other, &on_cpu), &beside);
        assert!(error <= 2e-5, "{device:?}: {error}");
    });
}
