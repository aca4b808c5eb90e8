//! Fine-tunes the embedded text encoder on labelled sentences, and compares the loss curve with PyTorch's.
//!
//! ```text
//! python3 benches/peers/sentiment.py --model assets/minilm-l3 --train A.csv --test B.csv > reference.json
//! cargo run --release --example sentiment -- A.csv B.csv reference.json
//! ```
//!
//! The files have the columns `text` and `label` (0 or 1). Start, batches and optimizer are those of the peer.

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use retune::backbone::{Backbone, BackboneOptions, LoadOptions, Tokens, TrainMode, WeightForm, Weights};
use retune::nn::{Gradients, Group, Optimizer, OptimizerConfig, ParamStore, ops};
use retune::rng::Seed;
use serde::Deserialize;
use std::path::Path;

const BATCH: usize = 32;

/// What the peer prints.
#[derive(Deserialize)]
struct Reference {
    losses: Vec<f64>,
    accuracy: f64,
}

/// Tokens and labels.
struct Data {
    texts: Vec<Tokens>,
    labels: Vec<u32>,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [train, test, rest @ ..] = &args[..] else { bail!("usage: sentiment TRAIN.csv TEST.csv [REFERENCE.json]") };
    let reference: Option<Reference> = match rest {
        [] => None,
        [path, ..] => Some(serde_json::from_slice(&std::fs::read(path).with_context(|| path.clone())?)?),
    };
    let weights = embedded()?;
    let mut store = ParamStore::new(&Device::Cpu, Seed::root(0));
    let options = BackboneOptions { mode: TrainMode::Full, ..BackboneOptions::default() };
    let backbone = Backbone::new(&weights, &options, &mut store)?;
    let width = backbone.width();
    let head: Vec<f32> = (0..2 * width).map(|k| (0.02 * (0.7 * k as f64).sin()) as f32).collect();
    store.insert("head.weight", &Tensor::from_vec(head, (2, width), &Device::Cpu)?)?;
    store.insert("head.bias", &Tensor::new(&[0f32, 0.0], &Device::Cpu)?)?;
    let (train, test) = (read(&backbone, Path::new(train))?, read(&backbone, Path::new(test))?);

    let updates = reference.as_ref().map_or(200, |r| r.losses.len());
    let began = std::time::Instant::now();
    let losses = fine_tune(&backbone, &store, &train, updates)?;
    let secs = began.elapsed().as_secs_f64();
    let accuracy = accuracy(&backbone, &store, &test)?;
    println!("{updates} updates in {secs:.1} s, last loss {:.6}, accuracy {accuracy:.4}", losses[updates - 1]);
    if let Some(reference) = reference {
        compare(&reference, &losses, accuracy);
    }
    in_8_bits(&backbone, &store, &test, accuracy)
}

fn embedded() -> Result<Weights> {
    use retune_assets::minilm_l3::{CONFIG, NAME, TOKENIZER, WEIGHTS};
    Ok(Weights::from_bytes(NAME, CONFIG, TOKENIZER, WEIGHTS, &LoadOptions::default())?)
}

fn read(backbone: &Backbone, path: &Path) -> Result<Data> {
    #[derive(Deserialize)]
    struct Row {
        text: String,
        label: u32,
    }
    let mut reader = csv::Reader::from_path(path).with_context(|| path.display().to_string())?;
    let rows: Vec<Row> = reader.deserialize().collect::<Result<_, _>>().with_context(|| path.display().to_string())?;
    ensure!(!rows.is_empty(), "{}: no rows", path.display());
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    Ok(Data { texts: backbone.tokenize(&texts)?, labels: rows.iter().map(|row| row.label).collect() })
}

fn logits(backbone: &Backbone, store: &ParamStore, texts: &[&Tokens], graph: bool) -> Result<Tensor> {
    let vectors = if graph { backbone.encode(store, texts)? } else { backbone.encode_detached(store, texts)? };
    Ok(ops::linear(&vectors, &store.tensor("head.weight")?, Some(&store.tensor("head.bias")?))?)
}

fn fine_tune(backbone: &Backbone, store: &ParamStore, data: &Data, updates: usize) -> Result<Vec<f64>> {
    let head = Group { prefix: "head.".to_owned(), learning_rate: Some(1e-3), ..Group::default() };
    let config = OptimizerConfig { learning_rate: 2e-5, groups: vec![head], ..OptimizerConfig::default() };
    let mut optimizer = Optimizer::new(config)?;
    let mut losses = Vec::with_capacity(updates);
    for update in 0..updates {
        let rows: Vec<usize> = (0..BATCH).map(|i| (BATCH * update + i) % data.texts.len()).collect();
        let texts: Vec<&Tokens> = rows.iter().map(|&row| &data.texts[row]).collect();
        let labels: Vec<u32> = rows.iter().map(|&row| data.labels[row]).collect();
        let loss = ops::cross_entropy(&logits(backbone, store, &texts, true)?, &Tensor::new(labels, &Device::Cpu)?)?;
        let gradients = Gradients::of(&loss, store, update as u64)?;
        gradients.check_coverage(store, update as u64, |_| false)?;
        optimizer.step(store, &gradients)?;
        losses.push(f64::from(loss.to_scalar::<f32>()?));
    }
    Ok(losses)
}

fn accuracy(backbone: &Backbone, store: &ParamStore, data: &Data) -> Result<f64> {
    let texts: Vec<&Tokens> = data.texts.iter().collect();
    let found = logits(backbone, store, &texts, false)?.argmax(1)?.to_vec1::<u32>()?;
    let right = found.iter().zip(&data.labels).filter(|(a, b)| a == b).count();
    Ok(right as f64 / data.labels.len() as f64)
}

fn compare(reference: &Reference, losses: &[f64], accuracy: f64) {
    let relative: Vec<f64> = reference.losses.iter().zip(losses).map(|(a, b)| (a - b).abs() / a.abs()).collect();
    let worst = relative.iter().copied().fold(0.0, f64::max);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    println!(
        "against the reference: loss differs by {worst:.2e} at most, {:.2e} on average (relative); mean loss {:.6}, \
         reference {:.6}; accuracy {:.4}, reference {:.4}",
        mean(&relative),
        mean(losses),
        mean(&reference.losses),
        accuracy,
        reference.accuracy
    );
}

/// What rounding the fine-tuned weights to 8 bits costs.
fn in_8_bits(backbone: &Backbone, store: &ParamStore, data: &Data, accuracy_before: f64) -> Result<()> {
    let wide = backbone.to_weights(store)?;
    let narrow = wide.in_form(WeightForm::U8)?;
    let mut rounded = ParamStore::new(&Device::Cpu, Seed::root(0));
    let options = BackboneOptions { mode: TrainMode::Frozen, ..backbone.options().clone() };
    let small = Backbone::new(&narrow, &options, &mut rounded)?;
    for name in ["head.weight", "head.bias"] {
        rounded.insert_frozen(name, &store.detached(name)?)?;
    }
    let texts: Vec<&Tokens> = data.texts.iter().collect();
    let (a, b) = (backbone.encode_detached(store, &texts)?, small.encode_detached(&rounded, &texts)?);
    let dot = |x: &Tensor, y: &Tensor| -> Result<Tensor> { Ok((x * y)?.sum(1)?) };
    let cosine = dot(&a, &b)?.div(&(dot(&a, &a)?.sqrt()? * dot(&b, &b)?.sqrt()?)?)?.to_vec1::<f32>()?;
    println!(
        "rounded to 8 bits: {:.1} MB instead of {:.1}; cosine to the F32 vectors {:.5} on average, {:.5} at least; \
         accuracy {:.4} instead of {accuracy_before:.4}",
        narrow.bytes() as f64 / 1e6,
        wide.bytes() as f64 / 1e6,
        cosine.iter().sum::<f32>() / cosine.len() as f32,
        cosine.iter().copied().fold(f32::INFINITY, f32::min),
        accuracy(&small, &rounded, data)?
    );
    Ok(())
}
