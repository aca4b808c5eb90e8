//! 8-bit weights: what is lost, what is not, what is saved, and what they are refused for.

use super::tiny::{self, Files, Raw, bits, refs, refused};
use crate::backbone::{Backbone, BackboneOptions, LoadOptions, Pooling, TrainMode, WeightForm, Weights};
use crate::nn::{ParamStore, Quantised};
use crate::rng::Seed;
use candle_core::{Device, Tensor};
use safetensors::tensor::Dtype;

const U8: LoadOptions = LoadOptions { strict: true, pooler: false, form: WeightForm::U8 };

fn embedded(form: WeightForm) -> Weights {
    use retune_assets::minilm_l3::{CONFIG, NAME, TOKENIZER, WEIGHTS};
    Weights::from_bytes(NAME, CONFIG, TOKENIZER, WEIGHTS, &LoadOptions { form, ..U8 }).unwrap()
}

fn frozen(weights: &Weights, options: &BackboneOptions) -> (Backbone, ParamStore) {
    let mut store = ParamStore::new(&Device::Cpu, Seed::root(0));
    (Backbone::new(weights, options, &mut store).unwrap(), store)
}

/// The tiny model with every matrix that has rows in 8 bits in the file.
fn quantised_files() -> Files {
    let mut files = Files::new();
    files.metadata.insert("quantisation".to_owned(), "u8-row-v1".to_owned());
    let matrices: Vec<String> =
        files.tensors.iter().filter(|(_, raw)| raw.shape.len() == 2).map(|(name, _)| name.clone()).collect();
    for name in matrices {
        let raw = files.tensors[&name].clone();
        let (rows, columns) = (raw.shape[0], raw.shape[1]);
        let values = raw.values();
        let scales: Vec<f32> =
            values.chunks(columns).map(|row| row.iter().fold(0f32, |m, v| m.max(v.abs())) / 127.0).collect();
        let q = values.iter().enumerate().map(|(i, v)| ((v / scales[i / columns]).round() + 128.0) as u8).collect();
        files.tensors.insert(name.clone(), Raw { dtype: Dtype::U8, shape: raw.shape, data: q });
        files.tensors.insert(format!("{name}.scale"), Raw::f32(&[rows], &scales));
    }
    files
}

#[test]
fn a_file_of_8_bit_matrices_gives_the_same_bits_in_both_forms() {
    let files = quantised_files();
    let (wide, narrow) = (files.load(&LoadOptions::default()).unwrap(), files.load(&U8).unwrap());
    assert_eq!(wide.version(), narrow.version());
    assert_eq!(wide.parameter_count(), narrow.parameter_count());
    assert_eq!((wide.quantised().count(), narrow.tensors().filter(|(_, t)| t.rank() == 2).count()), (0, 0));
    for pooling in [Pooling::Mean, Pooling::Cls] {
        let options = BackboneOptions { pooling, ..tiny::options() };
        let ((a, store_a), (b, store_b)) = (frozen(&wide, &options), frozen(&narrow, &options));
        let texts = tiny::texts(&a);
        let vectors = a.encode(&store_a, &refs(&texts)).unwrap();
        assert_eq!(bits(&vectors), bits(&b.encode(&store_b, &refs(&texts)).unwrap()));
        let pairs = a.tokenize_pairs(&[("the film", "was good"), ("bad", "!")]).unwrap();
        let vectors = a.encode(&store_a, &refs(&pairs)).unwrap();
        assert_eq!(bits(&vectors), bits(&b.encode(&store_b, &refs(&pairs)).unwrap()));
        assert_eq!(a.weight_version(&store_a).unwrap(), b.weight_version(&store_b).unwrap());
        assert_eq!(store_a.checksum(|_| true).unwrap(), store_b.checksum(|_| true).unwrap());
        assert_eq!(b.to_weights(&store_b).unwrap().version(), wide.version());
    }
    assert_eq!(wide.to_safetensors().unwrap(), narrow.to_safetensors().unwrap());
}

#[test]
fn the_embedded_model_takes_a_quarter_of_the_memory_and_gives_the_same_vectors() {
    let (wide, narrow) = (embedded(WeightForm::F32), embedded(WeightForm::U8));
    assert_eq!(wide.version(), narrow.version());
    assert_eq!(wide.bytes(), 4 * wide.parameter_count());
    assert!(4 * narrow.bytes() < wide.bytes() + wide.bytes() / 50, "{} of {}", narrow.bytes(), wide.bytes());
    let options = BackboneOptions::default();
    let ((a, store_a), (b, store_b)) = (frozen(&wide, &options), frozen(&narrow, &options));
    let texts = a.tokenize(&["A great phone, I love it.", "", "It broke after a week and nobody answers."]).unwrap();
    let vectors = a.encode(&store_a, &refs(&texts)).unwrap();
    assert_eq!(bits(&vectors), bits(&b.encode(&store_b, &refs(&texts)).unwrap()));
}

#[test]
fn rounding_f32_weights_costs_little_and_the_cost_is_seen() {
    let files = {
        // Wide enough that its matrices are worth an 8-bit form.
        let mut files = Files::new();
        files.config["hidden_size"] = 64.into();
        files.config["intermediate_size"] = 256.into();
        let seed = Seed::root(4);
        let parsed = crate::backbone::BertConfig::parse(
            std::path::Path::new("config.json"),
            files.config.to_string().as_bytes(),
        );
        for (name, shape) in crate::backbone::names::expected(&parsed.unwrap(), false) {
            let mut rng = seed.child(&name).rng();
            let centre = if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 };
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| (centre + 0.1 * rng.normal()) as f32).collect();
            files.tensors.insert(name, Raw::f32(&shape, &values));
        }
        files
    };
    let (wide, narrow) = (files.load(&LoadOptions::default()).unwrap(), files.load(&U8).unwrap());
    let later = wide.in_form(WeightForm::U8).unwrap();
    assert_eq!(later.version(), narrow.version());
    assert_eq!(later.in_form(WeightForm::F32).unwrap().version(), narrow.version(), "what is lost stays lost");
    assert_eq!(narrow.quantised().count(), 2 * tiny::LAYERS, "the two maps of each block's inner part");
    assert_ne!(wide.version(), narrow.version());
    let ((a, store_a), (b, store_b)) = (frozen(&wide, &tiny::options()), frozen(&narrow, &tiny::options()));
    let texts = tiny::texts(&a);
    let (x, y) = (a.encode(&store_a, &refs(&texts)).unwrap(), b.encode(&store_b, &refs(&texts)).unwrap());
    let cosine = |x: &Tensor, y: &Tensor| {
        let dot = |x: &Tensor, y: &Tensor| (x * y).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
    };
    for i in 0..texts.len() {
        let found = cosine(&x.get(i).unwrap(), &y.get(i).unwrap());
        assert!(found > 0.999, "text {i}: {found}");
    }
    assert_ne!(bits(&x), bits(&y));
}

#[test]
fn what_trains_refuses_8_bits() {
    let weights = quantised_files().load(&U8).unwrap();
    for mode in [TrainMode::Lora, TrainMode::TopN, TrainMode::Full] {
        let mut store = ParamStore::new(&Device::Cpu, Seed::root(0));
        let options = BackboneOptions { mode, ..tiny::options() };
        let message = refused(Backbone::new(&weights, &options, &mut store));
        assert_eq!(message, "weights = u8: 8-bit weights cannot be trained; load them as f32, or use the mode frozen");
        assert_eq!(store.names().count(), 0);
    }
}

#[test]
fn a_random_model_keeps_the_form() {
    let like = embedded(WeightForm::U8);
    let random = Weights::random(&like, Seed::root(1)).unwrap();
    assert_eq!((random.form(), random.bytes()), (WeightForm::U8, like.bytes()));
}

#[test]
fn a_store_hands_out_what_it_keeps_in_8_bits_widened_and_lets_nobody_write_there() {
    let mut store = ParamStore::new(&Device::Cpu, Seed::root(0));
    let matrix = Tensor::new(&[[0.5f32, -1.0], [2.0, 0.0]], &Device::Cpu).unwrap();
    let quantised = Quantised::from_f32(&matrix).unwrap();
    store.insert_quantised("w", &quantised).unwrap();
    let widened = quantised.to_f32().unwrap();
    assert_eq!(bits(&store.tensor("w").unwrap()), bits(&widened));
    assert!(store.is_shared("w") && !store.is_trainable("w") && store.quantised("w").is_some());
    assert!(store.set("w", &matrix).unwrap_err().to_string().contains("frozen in shared memory"));
    store.set_trainable(|_| true).unwrap();
    assert!(store.quantised("w").is_none() && store.is_trainable("w"));
    assert_eq!(bits(&store.tensor("w").unwrap()), bits(&widened));
}
