//! Adapters beside, merged, saved alone.

use super::tiny::{self, backbone, bits, options, refs, refused, texts};
use super::training::{add_head, train};
use crate::backbone::{Backbone, BackboneOptions, TrainMode, Weights};
use crate::nn::ParamStore;
use crate::rng::Seed;
use candle_core::{Device, Tensor};
use std::path::Path;

fn lora() -> BackboneOptions {
    BackboneOptions { mode: TrainMode::Lora, ..options() }
}

fn trained() -> (Backbone, ParamStore) {
    let (backbone, mut store) = backbone(&lora());
    add_head(&mut store, tiny::WIDTH);
    train(&backbone, &store, &texts(&backbone), 5);
    (backbone, store)
}

fn vectors(backbone: &Backbone, store: &ParamStore) -> Tensor {
    backbone.encode_detached(store, &refs(&texts(backbone))).unwrap()
}

fn off(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

#[test]
fn fresh_adapters_change_nothing_and_start_from_their_own_streams() {
    let (with, store) = backbone(&lora());
    let (without, plain) = backbone(&options());
    assert_eq!(bits(&vectors(&with, &store)), bits(&vectors(&without, &plain)));
    let name = "backbone.encoder.layer.0.attention.self.query.lora_a";
    let a = store.detached(name).unwrap().to_vec2::<f32>().unwrap().concat();
    assert!(a.iter().all(|v| v.abs() <= 0.25) && a.iter().any(|v| v.abs() > 0.2), "uniform in ±1/√16");
    let mut more = lora();
    more.lora.targets.push("output".to_owned());
    let (_, other) = backbone(&more);
    assert_eq!(bits(&other.detached(name).unwrap()), bits(&store.detached(name).unwrap()));
}

#[test]
fn merged_and_beside_agree_and_unmerge_restores_the_bits() {
    let (mut backbone, mut store) = trained();
    let beside = vectors(&backbone, &store);
    let (before, version) = (store.checksum(|_| true).unwrap(), backbone.weight_version(&store).unwrap());
    backbone.merge(&mut store).unwrap();
    let merged = vectors(&backbone, &store);
    assert_ne!(bits(&merged), bits(&beside), "if these were equal, merging would have done nothing");
    assert!(off(&merged, &beside) <= 5e-6, "{}", off(&merged, &beside));
    assert_ne!(backbone.weight_version(&store).unwrap(), version);
    assert_eq!(backbone.weight_version(&store).unwrap(), backbone.to_weights(&store).unwrap().version());
    assert_eq!(refused(backbone.merge(&mut store)), "cannot restore: the adapters are merged already");
    backbone.unmerge(&mut store).unwrap();
    assert_eq!(store.checksum(|_| true).unwrap(), before);
    assert_eq!(backbone.weight_version(&store).unwrap(), version);
    assert_eq!(bits(&vectors(&backbone, &store)), bits(&beside));
    assert!(backbone.unmerge(&mut store).is_err());
}

#[test]
fn the_merged_copy_is_a_model_of_its_own() {
    let (backbone, store) = trained();
    let weights = backbone.to_weights(&store).unwrap();
    let mut other = ParamStore::new(&Device::Cpu, Seed::root(1));
    let frozen = Backbone::new(&weights, &options(), &mut other).unwrap();
    let distance = off(&vectors(&backbone, &store), &vectors(&frozen, &other));
    assert!(distance <= 5e-6, "{distance}");
}

#[test]
fn adapters_travel_alone() {
    let (trained_backbone, store) = trained();
    let file = trained_backbone.save_adapters(&store).unwrap();
    let (fresh, other) = backbone(&lora());
    fresh.load_adapters(&other, Path::new("a.safetensors"), &file).unwrap();
    assert_eq!(bits(&vectors(&fresh, &other)), bits(&vectors(&trained_backbone, &store)));
    assert_eq!(fresh.weight_version(&other).unwrap(), trained_backbone.weight_version(&store).unwrap());
}

#[test]
fn adapters_fit_only_the_base_and_settings_they_were_trained_with() {
    let (backbone, store) = trained();
    let file = backbone.save_adapters(&store).unwrap();
    let path = Path::new("a.safetensors");

    let other = Weights::random(&tiny::weights(), Seed::root(3)).unwrap();
    let mut on_other = ParamStore::new(&Device::Cpu, Seed::root(1));
    let wrong_base = Backbone::new(&other, &lora(), &mut on_other).unwrap();
    assert_eq!(
        refused(wrong_base.load_adapters(&on_other, path, &file)),
        format!(
            "a.safetensors: adapter base_version is {}, this backbone has {}",
            tiny::weights().version(),
            other.version()
        )
    );
    let mut options = lora();
    options.lora.rank = 4;
    let (wrong_rank, store4) = super::tiny::backbone(&options);
    let before = store4.checksum(|_| true).unwrap();
    let message = refused(wrong_rank.load_adapters(&store4, path, &file));
    assert_eq!(message, "a.safetensors: adapter rank is 8, this backbone has 4");
    assert_eq!(store4.checksum(|_| true).unwrap(), before);
    let model = tiny::weights().to_safetensors().unwrap();
    let message = refused(backbone.load_adapters(&store, path, &model));
    assert!(message.starts_with("a.safetensors: adapter alpha is absent"), "{message}");
    let (frozen, plain) = super::tiny::backbone(&super::tiny::options());
    assert!(refused(frozen.save_adapters(&plain)).contains("its mode is not lora"));
}
