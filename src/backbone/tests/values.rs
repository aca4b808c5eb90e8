//! What a vector may depend on, and what it must not.

use super::tiny::{self, Files, backbone, bits, options, refs, refused, texts};
use crate::backbone::batching::{Batch, Plan};
use crate::backbone::{Backbone, BackboneOptions, Dropout, LoadOptions, Pooling, Tokens, TrainMode, Weights};
use crate::nn::ParamStore;
use crate::rng::Seed;
use candle_core::Device;

#[test]
fn a_vector_does_not_depend_on_its_company() {
    let mut thin = BackboneOptions { mode: TrainMode::Lora, ..options() };
    thin.lora.rank = 1;
    for options in [options(), BackboneOptions { mode: TrainMode::Full, ..options() }, thin] {
        check_company(&options);
    }
}

fn check_company(options: &BackboneOptions) {
    let (backbone, mut store) = backbone(options);
    super::training::add_head(&mut store, tiny::WIDTH);
    let texts = texts(&backbone);
    // Adapters begin without effect.
    super::training::train(&backbone, &store, &texts, 2);
    let together = backbone.encode(&store, &refs(&texts)).unwrap();
    let mut reversed = refs(&texts);
    reversed.reverse();
    let reversed = backbone.encode(&store, &reversed).unwrap();
    for (i, text) in texts.iter().enumerate() {
        let alone = bits(&backbone.encode(&store, &[text]).unwrap());
        assert_eq!(bits(&together.get(i).unwrap()), alone, "text {i} in a batch");
        assert_eq!(bits(&reversed.get(texts.len() - 1 - i).unwrap()), alone, "text {i} in the reversed batch");
    }
}

#[test]
fn repeated_texts_are_computed_once_and_rows_keep_their_order() {
    let (backbone, store) = backbone(&options());
    let texts = texts(&backbone);
    let order = [3, 0, 3, 1, 0];
    let repeated: Vec<&Tokens> = order.iter().map(|&i| &texts[i]).collect();
    let rows = backbone.encode(&store, &repeated).unwrap();
    for (row, &i) in order.iter().enumerate() {
        assert_eq!(bits(&rows.get(row).unwrap()), bits(&backbone.encode(&store, &[&texts[i]]).unwrap()));
    }
    let once: u64 = [3, 0, 1].iter().map(|&i| texts[i].len() as u64).sum();
    assert_eq!(backbone.tokens_read(&repeated), once);
}

#[test]
fn padding_does_not_matter() {
    for pooling in [Pooling::Mean, Pooling::Cls] {
        let (backbone, store) = backbone(&BackboneOptions { pooling, ..options() });
        let forward = backbone.forward(&store, false);
        for text in &texts(&backbone) {
            let vector = |width| {
                let batch = Batch::new(&[text], &Plan { width, rows: vec![0] }, 1, &Device::Cpu).unwrap();
                let x = forward.hidden(&batch).unwrap();
                forward.pool(&x, &batch.mask, pooling, false).unwrap().to_vec2::<f32>().unwrap().remove(0)
            };
            let exact = vector(text.len());
            for width in [text.len() + 1, 40] {
                let off = exact.iter().zip(vector(width.min(40))).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off <= 5e-6, "{pooling:?}: {} tokens in {width}: {off}", text.len());
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (backbone, mut store) = backbone(&BackboneOptions { mode: TrainMode::Full, ..options() });
            super::training::add_head(&mut store, tiny::WIDTH);
            let texts = texts(&backbone);
            super::training::train(&backbone, &store, &texts, 3);
            store.checksum(|_| true).unwrap()
        })
    };
    assert_eq!(run(1), run(2));
}

#[test]
fn poolings_and_length_one() {
    let mut files = Files::new();
    let eye: Vec<f32> = (0..256).map(|i| f32::from(u8::from(i % 17 == 0))).collect();
    files.tensors.insert("pooler.dense.weight".to_owned(), tiny::Raw::f32(&[16, 16], &eye));
    files.tensors.insert("pooler.dense.bias".to_owned(), tiny::Raw::f32(&[16], &[0.25; 16]));
    let weights = files.load(&LoadOptions { strict: true, pooler: true, ..LoadOptions::default() }).unwrap();
    let vector = |pooling, l2| {
        let mut store = ParamStore::new(&Device::Cpu, Seed::root(1));
        let backbone = Backbone::new(&weights, &BackboneOptions { pooling, l2, ..options() }, &mut store).unwrap();
        let tokens = backbone.tokenize(&["the film"]).unwrap();
        let states = backbone.hidden_states(&store, &tokens[0]).unwrap();
        let first = states[tiny::LAYERS].get(0).unwrap().to_vec1::<f32>().unwrap();
        (backbone.encode(&store, &refs(&tokens)).unwrap().to_vec2::<f32>().unwrap().remove(0), first)
    };
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-6);
    let (cls, first) = vector(Pooling::Cls, false);
    assert!(close(&cls, &first));
    let (pooled, _) = vector(Pooling::Pooler, false);
    let expected: Vec<f32> = first.iter().map(|t| (t + 0.25).tanh()).collect();
    assert!(close(&pooled, &expected), "{pooled:?} {expected:?}");
    let (unit, _) = vector(Pooling::Mean, true);
    assert!((unit.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5);
}

#[test]
fn segments_change_the_vector() {
    let (backbone, store) = backbone(&options());
    let pair = backbone.tokenize_pairs(&[("the film", "was good")]).unwrap().remove(0);
    assert_eq!(pair.ids(), [2, 5, 6, 3, 7, 8, 3]);
    assert_eq!(pair.segments(), [0, 0, 0, 0, 1, 1, 1]);
    let flat = Tokens::new(pair.ids().to_vec(), vec![0; 7]).unwrap();
    assert_ne!(bits(&backbone.encode(&store, &[&pair]).unwrap()), bits(&backbone.encode(&store, &[&flat]).unwrap()));
}

#[test]
fn a_pad_token_in_a_text_is_attended_to() {
    let (backbone, store) = backbone(&options());
    let spelled = backbone.tokenize(&["film [PAD]", "film"]).unwrap();
    assert_eq!(spelled[0].ids(), [2, 6, 0, 3]);
    let rows = backbone.encode(&store, &refs(&spelled)).unwrap();
    assert_ne!(bits(&rows.get(0).unwrap()), bits(&rows.get(1).unwrap()));
}

#[test]
fn dropout_is_a_function_of_its_key() {
    let (backbone, store) = backbone(&BackboneOptions { mode: TrainMode::Full, ..options() });
    let texts = texts(&backbone);
    let run = |key: u64, p: f64| {
        let dropout = Dropout { hidden: p, attention: p, key: Seed::root(key) };
        bits(&backbone.encode_with_dropout(&store, &refs(&texts), &dropout).unwrap())
    };
    assert_eq!(run(1, 0.2), run(1, 0.2));
    assert_ne!(run(1, 0.2), run(2, 0.2));
    let without = bits(&backbone.encode(&store, &refs(&texts)).unwrap());
    assert_eq!(run(1, 0.0), without);
    assert_eq!(bits(&backbone.encode_detached(&store, &refs(&texts)).unwrap()), without, "evaluation has none");
    assert_ne!(run(1, 0.2), without);
}

#[test]
fn options_and_tokens_out_of_range_are_refused() {
    let refuse = |options: BackboneOptions| {
        let mut store = ParamStore::new(&Device::Cpu, Seed::root(1));
        refused(Backbone::new(&tiny::weights(), &options, &mut store))
    };
    assert_eq!(
        refuse(BackboneOptions { max_length: 41, ..options() }),
        "max_length = 41: must be between 2 and max_position_embeddings = 40"
    );
    for top_layers in [0, 4] {
        assert_eq!(
            refuse(BackboneOptions { mode: TrainMode::TopN, top_layers, ..options() }),
            format!("top_layers = {top_layers}: must be between 1 and num_hidden_layers = 3")
        );
    }
    assert_eq!(
        refuse(BackboneOptions { pooling: Pooling::Pooler, ..options() }),
        "pooling = pooler: the weights were loaded without a pooler; use mean or cls"
    );
    let mut lora = BackboneOptions { mode: TrainMode::Lora, ..options() };
    lora.lora.targets = vec!["query".to_owned(), "kwery".to_owned()];
    assert_eq!(
        refuse(lora.clone()),
        "lora.targets = kwery: must be of query, key, value, attention.output, intermediate, output"
    );
    lora.lora.rank = 17;
    assert_eq!(refuse(lora), "lora.rank = 17: must be between 1 and 16");

    let (backbone, store) = backbone(&options());
    let encode =
        |ids: Vec<u32>, segments: Vec<u32>| refused(backbone.encode(&store, &[&Tokens::new(ids, segments).unwrap()]));
    assert_eq!(encode(vec![12], vec![0]), "tokens.ids = 12: must be below 12");
    assert_eq!(encode(vec![1], vec![2]), "tokens.segments = 2: must be below 2");
    assert_eq!(encode(vec![1; 41], vec![0; 41]), "tokens = 41: at most max_position_embeddings = 40");
    assert_eq!(refused(Tokens::new(vec![], vec![])), "tokens = []: at least one token to attend to");
    assert_eq!(refused(Tokens::new(vec![1], vec![])), "tokens.segments = 0: as many as ids, 1");
    assert_eq!(refused(backbone.encode(&store, &[])), "texts = []: at least one text to encode");
}

#[test]
fn random_weights_have_the_form_of_a_model_before_pretraining() {
    let like = tiny::weights();
    let (a, b) = (Weights::random(&like, Seed::root(1)).unwrap(), Weights::random(&like, Seed::root(1)).unwrap());
    assert_eq!(a.version(), b.version());
    assert_ne!(a.version(), Weights::random(&like, Seed::root(2)).unwrap().version());
    for (name, tensor) in a.tensors() {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        if name.ends_with("LayerNorm.weight") {
            assert!(values.iter().all(|&v| v == 1.0), "{name}");
        } else if name.ends_with("bias") {
            assert!(values.iter().all(|&v| v == 0.0), "{name}");
        } else {
            let std = (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt();
            // 0.4 is the initializer_range; the tables have as few as 32 entries, 12 of 192 of them zero.
            assert!((0.25..0.55).contains(&std), "{name}: {std}");
        }
    }
    let words = a.tensors().find(|(n, _)| *n == "embeddings.word_embeddings.weight").unwrap().1;
    assert!(words.get(0).unwrap().to_vec1::<f32>().unwrap().iter().all(|&v| v == 0.0), "[PAD]");
    assert!(words.get(1).unwrap().to_vec1::<f32>().unwrap().iter().all(|&v| v != 0.0));
}

#[test]
fn all_of_it_may_cross_threads() {
    fn check<T: Send + Sync>() {}
    check::<Weights>();
    check::<Backbone>();
    check::<crate::backbone::FeatureCache>();
}

#[test]
fn layers_are_repeated_or_left_out() {
    let weights = tiny::weights();
    let vector = |weights: &Weights| {
        let mut store = ParamStore::new(&Device::Cpu, Seed::root(0));
        let backbone = Backbone::new(weights, &options(), &mut store).unwrap();
        bits(&backbone.encode(&store, &refs(&texts(&backbone))).unwrap())
    };
    let (one, four) = (weights.with_layers(1).unwrap(), weights.with_layers(4).unwrap());
    let of = |weights: &Weights, name: &str| bits(weights.tensors().find(|(n, _)| *n == name).unwrap().1);
    let bias = |layer: usize| format!("encoder.layer.{layer}.output.dense.bias");
    assert_eq!(of(&four, &bias(3)), of(&weights, &bias(0)));
    assert_eq!(of(&four, &bias(2)), of(&weights, &bias(2)));
    assert_eq!(one.config().num_hidden_layers, 1);
    assert_eq!(four.shapes().count() - weights.shapes().count(), (weights.shapes().count() - one.shapes().count()) / 2);
    assert_ne!(vector(&one), vector(&four));
    let folder = tempfile::tempdir().unwrap();
    four.save_dir(folder.path()).unwrap();
    let again = Weights::from_dir(folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!(again.version(), four.version());
    assert!(refused(weights.with_layers(0)).contains("layers = 0"));
}
