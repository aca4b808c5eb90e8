//! Forward passes and fine-tuning steps of MiniLM encoders with 3 and 6 layers.
//!
//! As the PyTorch peer: full-length texts of random tokens, mean pooling, a linear head of 16 classes, cross entropy,
//! AdamW; `forward` is the pooled encoder alone. A training step is forward, backward, clipping and update.

use super::{Case, Timing, time_on};
use crate::backbones;
use anyhow::Result;
use candle_core::{Device, Tensor};
use retune::backbone::{Backbone, BackboneOptions, Tokens, TrainMode, WeightForm, Weights};
use retune::nn::fused::threads;
use retune::nn::{Gradients, Init, Optimizer, OptimizerConfig, ParamStore, StepReport, ops};
use retune::rng::Seed;

const CLASSES: usize = 16;

/// What is timed.
#[derive(Clone, Copy)]
struct Plan {
    layers: usize,
    form: WeightForm,
    /// `None` for the forward pass alone.
    train: Option<TrainMode>,
    train_embeddings: bool,
    recompute: bool,
    batch: usize,
    tokens: usize,
}

pub(super) fn cases(device: &Device) -> Vec<Case> {
    let forward = |layers, batch, tokens| Plan {
        layers,
        form: WeightForm::F32,
        train: None,
        train_embeddings: true,
        recompute: false,
        batch,
        tokens,
    };
    let train = |layers, mode| Plan { train: Some(mode), ..forward(layers, 32, 32) };
    let mut plans = Vec::new();
    for layers in [3, 6] {
        for (batch, tokens) in [(32, 32), (32, 64), (1, 32)] {
            plans.push(("forward", forward(layers, batch, tokens)));
        }
    }
    for batch in [32, 1] {
        plans.push(("forward_u8", Plan { form: WeightForm::U8, ..forward(6, batch, 32) }));
    }
    for layers in [3, 6] {
        plans.push(("full", train(layers, TrainMode::Full)));
        plans.push(("lora", train(layers, TrainMode::Lora)));
    }
    plans.push(("frozen_emb", Plan { train_embeddings: false, ..train(6, TrainMode::Full) }));
    plans.push(("full_recompute", Plan { recompute: true, ..train(6, TrainMode::Full) }));
    let name = |kind: &str, p: &Plan| format!("l{}/{kind}/b{}xt{}", p.layers, p.batch, p.tokens);
    plans.iter().map(|(kind, plan)| with(&name(kind, plan), *plan, device)).collect()
}

fn with(name: &str, plan: Plan, device: &Device) -> Case {
    let device = device.clone();
    Case::on(&device.clone(), name, move || run(plan, &device))
}

fn run(plan: Plan, device: &Device) -> Result<Timing> {
    let weights = backbones::load("embedded", plan.form, Seed::root(0))?.with_layers(plan.layers)?;
    let mut store = ParamStore::new(device, Seed::root(0));
    let options = BackboneOptions {
        mode: plan.train.unwrap_or(TrainMode::Frozen),
        train_embeddings: plan.train_embeddings,
        recompute: plan.recompute,
        ..BackboneOptions::default()
    };
    let backbone = Backbone::new(&weights, &options, &mut store)?;
    let texts = texts(&weights, &plan)?;
    let texts: Vec<&Tokens> = texts.iter().collect();
    // As a program with one model: the encoder keeps what it needs of them.
    drop(weights);
    if plan.train.is_none() {
        return time_on(device, || Ok(backbone.encode_detached(&store, &texts)?));
    }
    store.init("head.weight", &[CLASSES, backbone.width()], Init::Normal(0.02))?;
    store.init("head.bias", &[CLASSES], Init::Const(0.0))?;
    let labels: Vec<u32> = (0..plan.batch).map(|i| (i % CLASSES) as u32).collect();
    let labels = Tensor::new(labels, device)?;
    let mut optimizer = Optimizer::new(OptimizerConfig { learning_rate: 2e-5, ..OptimizerConfig::default() })?;
    let step = || -> Result<StepReport> {
        let vectors = backbone.encode(&store, &texts)?;
        let logits = ops::linear(&vectors, &store.tensor("head.weight")?, Some(&store.tensor("head.bias")?))?;
        let loss = ops::cross_entropy(&logits, &labels)?;
        let gradients = Gradients::of(&loss, &store, optimizer.updates())?;
        Ok(optimizer.step(&store, &gradients)?)
    };
    // As learners do: on a thread of the pool, whose kernels then start without a hand-over.
    threads::run(|| time_on(device, step))
}

/// Texts of the full length, no two alike.
fn texts(weights: &Weights, plan: &Plan) -> Result<Vec<Tokens>> {
    let mut rng = Seed::root(0).child("bench texts").rng();
    let words = weights.config().vocab_size as f64;
    let text = |_| {
        let ids = (0..plan.tokens).map(|_| (rng.uniform() * words) as u32).collect();
        Ok(Tokens::new(ids, vec![0; plan.tokens])?)
    };
    (0..plan.batch).map(text).collect()
}
