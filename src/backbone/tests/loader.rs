//! What is read, to which bits, and what is refused in which words.

use super::tiny::{self, Files, Raw, bits, refused};
use crate::backbone::{LoadOptions, Weights};
use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::tensor::Dtype;
use serde_json::json;
use std::path::Path;

const QUERY: &str = "encoder.layer.1.attention.self.query.weight";

fn version(files: &Files) -> String {
    files.load(&LoadOptions { strict: true, ..LoadOptions::default() }).unwrap().version().to_owned()
}

fn tensor(weights: &Weights, name: &str) -> Vec<u32> {
    bits(weights.tensors().find(|(n, _)| *n == name).unwrap().1)
}

#[test]
fn every_spelling_gives_the_same_weights() {
    let files = Files::new();
    let expected = version(&files);
    for prefix in ["bert.", "module.", "module.bert.", "0.auto_model."] {
        let renamed = files.renamed(|name| format!("{prefix}{name}"));
        assert_eq!(version(&renamed), expected, "{prefix}");
        let weights = renamed.load(&LoadOptions::default()).unwrap();
        assert_eq!(weights.report().prefix, prefix);
    }
    let old =
        |name: &str| name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
    assert_eq!(version(&files.renamed(|name| format!("bert.{}", old(name)))), expected);
}

#[test]
fn two_names_for_one_parameter_are_refused() {
    let mut files = Files::new();
    let gamma = files.tensors["embeddings.LayerNorm.weight"].clone();
    files.tensors.insert("embeddings.LayerNorm.gamma".to_owned(), gamma);
    assert_eq!(
        files.refusal(),
        "tiny/model.safetensors: both embeddings.LayerNorm.gamma and embeddings.LayerNorm.weight stand for \
         embeddings.LayerNorm.weight; keep one of them"
    );
    let mut files = Files::new().renamed(|name| format!("bert.{name}"));
    let bias = files.tensors["bert.embeddings.LayerNorm.bias"].clone();
    files.tensors.insert("embeddings.LayerNorm.bias".to_owned(), bias);
    assert!(files.refusal().contains("stand for embeddings.LayerNorm.bias"));
}

#[test]
fn a_name_without_the_prefix_of_the_file_is_no_parameter() {
    let mut files = Files::new().renamed(|name| format!("bert.{name}"));
    let bias = files.tensors.remove("bert.embeddings.LayerNorm.bias").unwrap();
    files.tensors.insert("embeddings.LayerNorm.bias".to_owned(), bias);
    assert!(files.refusal().ends_with("missing: embeddings.LayerNorm.bias [16]"), "{}", files.refusal());
}

/// Replaces the matrix [`QUERY`] by `encode` of its values; gives what it should be read as.
fn recoded(dtype: Dtype, encode: impl Fn(f32) -> (Vec<u8>, f32)) -> (Files, Vec<u32>) {
    let mut files = Files::new();
    let raw = files.tensors.get_mut(QUERY).unwrap();
    let coded: Vec<(Vec<u8>, f32)> = raw.values().into_iter().map(encode).collect();
    *raw = Raw { dtype, shape: raw.shape.clone(), data: coded.iter().flat_map(|(bytes, _)| bytes.clone()).collect() };
    (files, coded.iter().map(|(_, value)| value.to_bits()).collect())
}

#[test]
fn other_float_types_are_read_exactly() {
    let cases = [
        recoded(Dtype::F16, |v| (f16::from_f32(v).to_le_bytes().to_vec(), f16::from_f32(v).to_f32())),
        recoded(Dtype::BF16, |v| (bf16::from_f32(v).to_le_bytes().to_vec(), bf16::from_f32(v).to_f32())),
        recoded(Dtype::F64, |v| {
            ((f64::from(v) * 1.000_000_01).to_le_bytes().to_vec(), (f64::from(v) * 1.000_000_01) as f32)
        }),
    ];
    for (files, expected) in cases {
        let weights = files.load(&LoadOptions::default()).unwrap();
        assert_eq!(tensor(&weights, QUERY), expected);
    }
}

/// [`Files`] whose matrix [`QUERY`] is quantised, and the values it stands for.
fn quantised() -> (Files, Vec<u32>) {
    let mut files = Files::new();
    let shape = files.tensors[QUERY].shape.clone();
    let q: Vec<u8> = (0..shape[0] * shape[1]).map(|i| (1 + (i * 37) % 255) as u8).collect();
    let scales: Vec<f32> = (0..shape[0]).map(|row| 0.01 + 0.003 * row as f32).collect();
    let expected =
        q.iter().enumerate().map(|(i, &q)| ((f32::from(q) - 128.0) * scales[i / shape[1]]).to_bits()).collect();
    files.tensors.insert(format!("{QUERY}.scale"), Raw::f32(&[shape[0]], &scales));
    files.tensors.insert(QUERY.to_owned(), Raw { dtype: Dtype::U8, shape, data: q });
    files.metadata.insert("quantisation".to_owned(), "u8-row-v1".to_owned());
    (files, expected)
}

#[test]
fn quantised_rows_are_read_exactly_and_their_scales_count_as_used() {
    let (files, expected) = quantised();
    let weights = files.load(&LoadOptions { strict: true, ..LoadOptions::default() }).unwrap();
    assert_eq!(tensor(&weights, QUERY), expected);
    let prefixed = files.renamed(|name| format!("bert.{name}"));
    assert_eq!(
        prefixed.load(&LoadOptions { strict: true, ..LoadOptions::default() }).unwrap().version(),
        weights.version()
    );
}

#[test]
fn integers_that_are_not_known_quantisation_are_refused() {
    let (mut files, _) = quantised();
    files.metadata.clear();
    assert!(files.refusal().ends_with(&format!("{QUERY} is U8, but the metadata names no quantisation")));
    files.metadata.insert("quantisation".to_owned(), "q4".to_owned());
    assert!(
        files.refusal().ends_with(&format!("{QUERY} is U8 in the form \"q4\", not u8-row-v1")),
        "{}",
        files.refusal()
    );

    let (mut files, _) = quantised();
    let scale = files.tensors.remove(&format!("{QUERY}.scale")).unwrap();
    assert!(files.refusal().ends_with(&format!("missing scale: {QUERY} is U8 without {QUERY}.scale")));
    files.tensors.insert(format!("{QUERY}.scale"), Raw::f32(&[2, 8], &scale.values()));
    assert!(
        files.refusal().ends_with(&format!("{QUERY}.scale is F32 [2, 8], expected F32 [16]")),
        "{}",
        files.refusal()
    );
    let mut values = scale.values();
    values[3] = 0.0;
    files.tensors.insert(format!("{QUERY}.scale"), Raw::f32(&[16], &values));
    assert!(files.refusal().ends_with("scale 3 is 0, expected a positive number"), "{}", files.refusal());

    let mut files = Files::new();
    files.tensors.get_mut(QUERY).unwrap().dtype = Dtype::I32;
    assert!(files.refusal().ends_with(&format!("{QUERY} is I32, not F32, F16, BF16, F64 or u8-row-v1")));
}

#[test]
fn values_that_are_not_finite_are_refused() {
    for (bad, shown) in [(f32::INFINITY, "inf"), (f32::NAN, "NaN")] {
        let mut files = Files::new();
        let raw = files.tensors.get_mut(QUERY).unwrap();
        let mut values = raw.values();
        values[7] = bad;
        *raw = Raw::f32(&raw.shape.clone(), &values);
        let expected = format!("tiny/model.safetensors: {QUERY}: value 7 is {shown} as F32; weights must be finite");
        assert_eq!(files.refusal(), expected);
    }
}

#[test]
fn everything_missing_or_misshapen_is_listed_at_once() {
    let mut files = Files::new();
    files.tensors.remove("embeddings.LayerNorm.bias");
    files.tensors.remove("encoder.layer.2.output.dense.weight");
    files.tensors.insert(QUERY.to_owned(), Raw::f32(&[16, 15], &[0.0; 240]));
    assert_eq!(
        files.refusal(),
        "tiny/model.safetensors: does not fit config.json (3 problems):\n  \
         missing: embeddings.LayerNorm.bias [16]\n  \
         wrong shape: encoder.layer.1.attention.self.query.weight is [16, 15], config.json wants [16, 16]\n  \
         missing: encoder.layer.2.output.dense.weight [16, 32]"
    );
}

#[test]
fn unused_tensors_are_reported_and_refused_if_strict() {
    let mut files = Files::new().renamed(|name| format!("bert.{name}"));
    for name in ["bert.embeddings.position_ids", "bert.pooler.dense.weight", "cls.predictions.bias"] {
        files.tensors.insert(name.to_owned(), Raw { dtype: Dtype::I64, shape: vec![1], data: vec![0; 8] });
    }
    let strict = LoadOptions { strict: true, ..LoadOptions::default() };
    let report = files.load(&strict).unwrap().report().clone();
    assert_eq!(report.expected_unused.len(), 3);
    assert!(report.unused.is_empty());
    files.tensors.insert("bert.extra.weight".to_owned(), Raw::f32(&[1], &[0.0]));
    assert_eq!(files.load(&LoadOptions::default()).unwrap().report().unused, ["bert.extra.weight"]);
    let message = refused(files.load(&strict));
    assert!(message.ends_with("strict loading was asked for: bert.extra.weight"), "{message}");
}

#[test]
fn the_pooler_is_missing_only_where_it_is_wanted() {
    let wanted = LoadOptions { strict: false, pooler: true, ..LoadOptions::default() };
    let message = refused(Files::new().load(&wanted));
    assert!(message.contains("missing: pooler.dense.bias [16]\n  missing: pooler.dense.weight [16, 16]"), "{message}");
    let mut files = Files::new();
    files.tensors.insert("pooler.dense.weight".to_owned(), Raw::f32(&[16, 16], &[0.01; 256]));
    files.tensors.insert("pooler.dense.bias".to_owned(), Raw::f32(&[16], &[0.0; 16]));
    assert!(files.load(&wanted).unwrap().has_pooler());
}

#[test]
fn shards_are_one_model() {
    let (dir, files) = (tempfile::tempdir().unwrap(), Files::new());
    files.write_rest(dir.path());
    let mut map = serde_json::Map::new();
    for (number, shard) in ["a.safetensors", "b.safetensors"].into_iter().enumerate() {
        let part = || files.tensors.iter().enumerate().filter(|(i, _)| i % 2 == number).map(|(_, tensor)| tensor);
        std::fs::write(dir.path().join(shard), tiny::serialize(part(), &files.metadata)).unwrap();
        map.extend(part().map(|(name, _)| (name.clone(), json!(shard))));
    }
    let index = dir.path().join("model.safetensors.index.json");
    let write = |map: &serde_json::Map<String, serde_json::Value>| {
        std::fs::write(&index, json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
    };
    write(&map);
    let load = || Weights::from_dir(dir.path(), &LoadOptions::default());
    assert_eq!(load().unwrap().version(), version(&files));

    let name = map.keys().next().unwrap().clone();
    let mut wrong = map.clone();
    wrong[&name] = json!("b.safetensors");
    write(&wrong);
    assert!(refused(load()).ends_with(&format!("says that b.safetensors holds {name}, but it does not")));
    for outside in ["../a.safetensors", "/a.safetensors", ""] {
        wrong[&name] = json!(outside);
        write(&wrong);
        let message = refused(load());
        assert!(message.ends_with(&format!("the shard {outside:?} lies outside the directory")), "{message}");
    }
    wrong[&name] = json!("a.bin");
    write(&wrong);
    assert!(refused(load()).ends_with("the shard \"a.bin\" is no safetensors file"));
}

#[test]
#[cfg(unix)]
fn a_pickle_is_refused_without_being_opened() {
    for name in ["pytorch_model.bin", "model.pt", "model.pth", "last.ckpt"] {
        let (dir, files) = (tempfile::tempdir().unwrap(), Files::new());
        files.write_rest(dir.path());
        // A link to nowhere: whoever opens it gets an I/O error instead of the refusal.
        std::os::unix::fs::symlink("/nowhere/at/all", dir.path().join(name)).unwrap();
        let message = refused(Weights::from_dir(dir.path(), &LoadOptions::default()));
        assert!(message.contains(&format!("{name}: a pickle can run code when it is read")), "{message}");
        assert!(message.contains("convert it to safetensors"), "{message}");
        std::fs::write(dir.path().join("model.safetensors"), files.weights()).unwrap();
        assert!(Weights::from_dir(dir.path(), &LoadOptions::default()).is_ok(), "safetensors beside it are preferred");
    }
}

#[test]
fn absent_files_are_named() {
    let (dir, files) = (tempfile::tempdir().unwrap(), Files::new());
    let load = || refused(Weights::from_dir(dir.path(), &LoadOptions::default()));
    assert!(load().contains("config.json: "), "{}", load());
    files.write_rest(dir.path());
    assert!(load().ends_with("holds neither model.safetensors nor model.safetensors.index.json"), "{}", load());
    std::fs::write(dir.path().join("model.safetensors"), files.weights()).unwrap();
    std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    assert!(load().ends_with("holds neither tokenizer.json nor vocab.txt"), "{}", load());
}

fn load_bytes(weights: &[u8]) -> crate::Result<Weights> {
    let config = tiny::config().to_string();
    Weights::from_bytes("tiny", config.as_bytes(), &tiny::tokenizer(), weights, &LoadOptions::default())
}

#[test]
fn broken_files_are_refused_before_memory_is_taken() {
    let good = Files::new().weights();
    let header = u64::from_le_bytes(*good.first_chunk().unwrap()) as usize;
    for (length, message) in [
        (0, "0 bytes are no safetensors file"),
        (7, "7 bytes are no safetensors file"),
        (8, "truncated: the header has"),
        (header, "truncated: the header has"),
        (good.len() - 1, "truncated: the header promises"),
        (header + 8, "truncated: the header promises"),
    ] {
        let found = refused(load_bytes(&good[..length]));
        assert!(found.contains(message), "cut at {length}: {found}");
    }
    assert!(refused(load_bytes(&[good.as_slice(), &[0]].concat())).contains("too long: the header promises"));
    for claim in [u64::MAX, 1 << 40, 17 << 20] {
        let mut file = good.clone();
        file[..8].copy_from_slice(&claim.to_le_bytes());
        assert!(refused(load_bytes(&file)).contains(&format!("claims a header of {claim} bytes")));
    }
    for header in [
        "{}x",
        r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,8]}}"#,
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
    ] {
        let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 8]].concat();
        let message = refused(load_bytes(&file));
        assert!(message.contains("the safetensors header is broken"), "{header}: {message}");
    }
    let huge = r#"{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}"#;
    let file = [&(huge.len() as u64).to_le_bytes()[..], huge.as_bytes(), &[0; 8]].concat();
    assert!(refused(load_bytes(&file)).contains("truncated: the header promises 4000000000000 bytes"));
}

#[test]
fn a_config_that_asks_for_more_than_the_file_has_is_refused() {
    let mut files = Files::new();
    files.config["num_hidden_layers"] = json!(4_000_000_000u64);
    assert!(files.refusal().ends_with("holds 53 tensors, too few for num_hidden_layers = 4000000000"));
    let mut files = Files::new();
    files.config["vocab_size"] = json!(1u64 << 40);
    let message = files.refusal();
    assert!(message.contains("word_embeddings.weight is [12, 16], config.json wants [1099511627776, 16]"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever single byte of the header is changed: an error or a model, never a panic.
    #[test]
    fn a_damaged_header_never_panics(at in 0usize..4000, value in any::<u8>()) {
        let mut file = Files::new().weights();
        let at = at % file.len().min(4000);
        file[at] = value;
        match load_bytes(&file) {
            Ok(weights) => prop_assert_eq!(weights.version().len(), 64),
            Err(error) => prop_assert!(error.to_string().starts_with("tiny/model.safetensors: "), "{}", error),
        }
    }
}

#[test]
fn a_vocabulary_stands_for_the_same_tokenizer_as_its_json() {
    let (dir, files) = (tempfile::tempdir().unwrap(), Files::new());
    files.write_rest(dir.path());
    std::fs::write(dir.path().join("model.safetensors"), files.weights()).unwrap();
    std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    std::fs::write(dir.path().join("vocab.txt"), tiny::vocab()).unwrap();
    let ids = |text: &str| {
        let weights = Weights::from_dir(dir.path(), &LoadOptions::default()).unwrap();
        let mut store = crate::nn::ParamStore::new(&candle_core::Device::Cpu, crate::rng::Seed::root(1));
        let backbone = crate::backbone::Backbone::new(&weights, &tiny::options(), &mut store).unwrap();
        backbone.tokenize(&[text]).unwrap()[0].ids().to_vec()
    };
    assert_eq!(ids("The FILM was goodly! [SEP]"), [2, 5, 6, 7, 8, 10, 11, 3, 3]);
    std::fs::write(dir.path().join("tokenizer_config.json"), r#"{"do_lower_case": false}"#).unwrap();
    assert_eq!(ids("The film"), [2, 1, 6, 3], "cased: an unknown word");

    std::fs::write(dir.path().join("vocab.txt"), tiny::vocab() + "film\n").unwrap();
    let message = refused(Weights::from_dir(dir.path(), &LoadOptions::default()));
    assert!(message.ends_with("vocab.txt: line 13 repeats the token \"film\" of line 7"), "{message}");
    std::fs::write(dir.path().join("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n").unwrap();
    let message = refused(Weights::from_dir(dir.path(), &LoadOptions::default()));
    assert!(message.ends_with("the special token \"[SEP]\" (sep_token) is not in the vocabulary"), "{message}");
}

#[test]
fn the_full_vocabulary_gives_the_ids_of_the_embedded_tokenizer() {
    let json: serde_json::Value = serde_json::from_slice(retune_assets::minilm_l3::TOKENIZER).unwrap();
    let mut words: Vec<(&String, u64)> =
        json["model"]["vocab"].as_object().unwrap().iter().map(|(word, id)| (word, id.as_u64().unwrap())).collect();
    words.sort_by_key(|(_, id)| *id);
    let vocab: String = words.iter().map(|(word, _)| format!("{word}\n")).collect();
    let built = crate::backbone::tokenizer::from_vocab(Path::new("vocab.txt"), &vocab, &json!({})).unwrap();
    let built = tokenizers::Tokenizer::from_bytes(built).unwrap();
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/golden/backbone/embeddings.json")).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        if case.get("pair").is_some() {
            continue;
        }
        let max_length = case["max_length"].as_u64().unwrap() as usize;
        let tokenizer = crate::backbone::tokenizer::with_max_length(&built, max_length).unwrap();
        let ids = tokenizer.encode(case["text"].as_str().unwrap(), true).unwrap().get_ids().to_vec();
        let expected: Vec<u32> = case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        assert_eq!(ids, expected, "{}", case["name"]);
    }
}

#[test]
fn a_tokenizer_that_the_word_table_is_too_small_for_is_refused() {
    let mut files = Files::new();
    let longer = tiny::vocab() + "extra\n";
    files.tokenizer =
        crate::backbone::tokenizer::from_vocab(Path::new("v"), &longer, &serde_json::Value::Null).unwrap();
    assert_eq!(
        files.refusal(),
        "tiny/tokenizer.json: token \"extra\" has id 12, but the word table has vocab_size = 12 rows"
    );
    files.tokenizer = b"{".to_vec();
    assert!(files.refusal().starts_with("tiny/tokenizer.json: not a tokenizer"));
}

#[test]
fn padding_and_truncation_of_the_file_are_overridden() {
    let mut files = Files::new();
    let mut json: serde_json::Value = serde_json::from_slice(&files.tokenizer).unwrap();
    json["truncation"] = json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({"strategy": {"Fixed": 20}, "direction": "Right", "pad_to_multiple_of": null,
                             "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
    files.tokenizer = json.to_string().into_bytes();
    let weights = files.load(&LoadOptions::default()).unwrap();
    let mut store = crate::nn::ParamStore::new(&candle_core::Device::Cpu, crate::rng::Seed::root(1));
    let backbone = crate::backbone::Backbone::new(&weights, &tiny::options(), &mut store).unwrap();
    let tokens = backbone.tokenize(&["the film was good [PAD]", ""]).unwrap();
    assert_eq!(tokens[0].ids(), [2, 5, 6, 7, 8, 0, 3]);
    assert_eq!(tokens[1].ids(), [2, 3]);
}

#[test]
fn a_saved_model_is_read_back_with_the_same_bits() {
    let (dir, weights) = (tempfile::tempdir().unwrap(), tiny::weights());
    weights.save_dir(&dir.path().join("model")).unwrap();
    let again =
        Weights::from_dir(&dir.path().join("model"), &LoadOptions { strict: true, ..LoadOptions::default() }).unwrap();
    assert_eq!(again.version(), weights.version());
    for ((name, a), (_, b)) in weights.tensors().zip(again.tensors()) {
        assert_eq!(bits(a), bits(b), "{name}");
    }
    assert_eq!(again.config(), weights.config());
}
