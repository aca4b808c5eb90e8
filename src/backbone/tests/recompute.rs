//! Activations that are computed again: the same bits for less memory.

use super::tiny::{self, bits, options, refs, texts};
use super::training::add_head;
use crate::backbone::{BackboneOptions, Dropout, TrainMode};
use crate::nn::{Gradients, ops};
use crate::rng::Seed;
use candle_core::Tensor;
use std::collections::BTreeMap;

/// Loss and gradients of one batch.
fn gradients(options: &BackboneOptions, dropout: bool, plain: bool) -> (u32, BTreeMap<String, Vec<u32>>) {
    let (backbone, mut store) = tiny::backbone(options);
    add_head(&mut store, tiny::WIDTH);
    let texts = texts(&backbone);
    let dropout = dropout.then(|| Dropout { hidden: 0.2, attention: 0.1, key: Seed::root(9) });
    let vectors = match &dropout {
        Some(dropout) => backbone.encode_with_dropout(&store, &refs(&texts), dropout).unwrap(),
        None => backbone.encode(&store, &refs(&texts)).unwrap(),
    };
    let (w, b) = (store.tensor("head.weight").unwrap(), store.tensor("head.bias").unwrap());
    let loss = ops::linear(&vectors, &w, Some(&b)).unwrap().sqr().unwrap().mean_all().unwrap();
    let found = if plain {
        // Without the short way that `Gradients` takes.
        let grads = loss.backward().unwrap();
        let with = |var: &Tensor| grads.get(var).map(bits);
        store.trainable().filter_map(|(name, var)| Some((name.to_owned(), with(var)?))).collect()
    } else {
        let gradients = Gradients::of(&loss, &store, 0).unwrap();
        gradients.check_coverage(&store, 0, |_| false).unwrap();
        gradients.iter().map(|(name, grad)| (name.to_owned(), bits(&grad.dense().unwrap()))).collect()
    };
    (loss.to_scalar::<f32>().unwrap().to_bits(), found)
}

#[test]
fn values_and_gradients_have_the_same_bits() {
    for mode in [TrainMode::Lora, TrainMode::TopN, TrainMode::Full] {
        for train_embeddings in [true, false] {
            for dropout in [false, true] {
                let keep = BackboneOptions { mode, top_layers: 2, train_embeddings, ..options() };
                let again = BackboneOptions { recompute: true, ..keep.clone() };
                let expected = gradients(&keep, dropout, false);
                assert!(expected.1.len() > 10);
                for plain in [false, true] {
                    let found = gradients(&again, dropout, plain);
                    assert_eq!(found.0, expected.0, "loss, {mode:?}, dropout {dropout}");
                    let names = |g: &BTreeMap<String, Vec<u32>>| g.keys().cloned().collect::<Vec<_>>();
                    assert_eq!(names(&found.1), names(&expected.1), "{mode:?}, plain {plain}");
                    for (name, grad) in &expected.1 {
                        assert_eq!(&found.1[name], grad, "{name}, {mode:?}, dropout {dropout}, plain {plain}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_parameter_that_is_left_out_is_found_by_the_coverage_check() {
    let (_, mut store) = tiny::backbone(&options());
    add_head(&mut store, tiny::WIDTH);
    let x = Tensor::ones((3, tiny::WIDTH), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    let (w, b) = (store.tensor("head.weight").unwrap(), store.tensor("head.bias").unwrap());
    let run = |params: &[Tensor]| {
        let (w, b) = (w.clone(), b.clone());
        let part = move |x: &Tensor| ops::linear(x, &w, Some(&b));
        let y = ops::recompute(&x, params, Box::new(part)).unwrap();
        let gradients = Gradients::of(&y.sqr().unwrap().sum_all().unwrap(), &store, 0).unwrap();
        gradients.check_coverage(&store, 0, |_| false)
    };
    run(&[w.clone(), b.clone()]).unwrap();
    let message = run(std::slice::from_ref(&w)).unwrap_err().to_string();
    assert!(message.contains("head.bias"), "{message}");
}
