//! The table of text vectors and its cache.

use super::tiny::{backbone, bits, options, refs, refused, texts};
use super::training::{add_head, train};
use crate::agent::{Ledger, Stop};
use crate::backbone::{BackboneOptions, FeatureCache, TrainMode};
use crate::env::TextId;
use crate::nn::Gradients;

const ALL: [TextId; 6] = [TextId(0), TextId(1), TextId(2), TextId(3), TextId(4), TextId(5)];

#[test]
fn rows_with_and_without_the_cache_have_equal_bits() {
    let (backbone, store) = backbone(&options());
    let texts = texts(&backbone);
    let table = |cache: &FeatureCache, wanted: &[TextId], ledger: &mut Ledger| {
        backbone.encode_table(&store, &texts, wanted, cache, ledger, &Stop::new()).unwrap().table
    };
    let none = FeatureCache::new(0);
    let direct = table(&none, &ALL, &mut Ledger::default());
    assert_eq!(bits(&direct), bits(&backbone.encode(&store, &refs(&texts)).unwrap()));

    // Filled in another order, in parts, then read as a whole.
    let cache = FeatureCache::new(1 << 20);
    let mut ledger = Ledger::default();
    for part in [&[TextId(4), TextId(1), TextId(4)][..], &[TextId(5)], &ALL] {
        table(&cache, part, &mut ledger);
    }
    let tokens: u64 = texts.iter().map(|t| t.len() as u64).sum();
    let again: u64 = [1, 4, 5].iter().map(|&i: &usize| texts[i].len() as u64).sum();
    assert_eq!((ledger.forward_tokens, ledger.cached_tokens), (tokens, again));
    let filled = table(&cache, &ALL, &mut ledger);
    assert_eq!(bits(&filled), bits(&direct));
    assert_eq!((ledger.forward_tokens, ledger.cached_tokens), (tokens, again + tokens));
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (3 + 6, 6, 6));
    assert_eq!(stats.saved_tokens, again + tokens);
}

#[test]
fn rows_nobody_asked_for_are_nan() {
    let (backbone, store) = backbone(&options());
    let texts = texts(&backbone);
    let cache = FeatureCache::new(1 << 20);
    let found =
        backbone.encode_table(&store, &texts, &[TextId(2)], &cache, &mut Ledger::default(), &Stop::new()).unwrap();
    for (row, vector) in found.table.to_vec2::<f32>().unwrap().iter().enumerate() {
        assert!(vector.iter().all(|v| v.is_nan() == (row != 2)), "row {row}");
    }
    assert_eq!(found.weight_version, backbone.weight_version(&store).unwrap());
}

#[test]
fn one_update_makes_every_cached_vector_stale() {
    for mode in [TrainMode::Lora, TrainMode::TopN, TrainMode::Full] {
        let (backbone, mut store) = backbone(&BackboneOptions { mode, ..options() });
        add_head(&mut store, super::tiny::WIDTH);
        let texts = texts(&backbone);
        let cache = FeatureCache::new(1 << 20);
        let mut ledger = Ledger::default();
        for _ in 0..2 {
            backbone.encode_table(&store, &texts, &ALL, &cache, &mut ledger, &Stop::new()).unwrap();
        }
        let before = ledger;
        assert_eq!(before.forward_tokens, before.cached_tokens, "{mode:?}: read once, found once");
        train(&backbone, &store, &texts, 1);
        let table = backbone.encode_table(&store, &texts, &ALL, &cache, &mut ledger, &Stop::new()).unwrap();
        assert_eq!(ledger.cached_tokens, before.cached_tokens, "{mode:?}: nothing found");
        assert_eq!(bits(&table.table), bits(&backbone.encode_detached(&store, &refs(&texts)).unwrap()), "{mode:?}");
    }
}

#[test]
fn a_head_that_learns_does_not_touch_the_cache_of_a_frozen_encoder() {
    let (backbone, mut store) = backbone(&options());
    add_head(&mut store, super::tiny::WIDTH);
    let texts = texts(&backbone);
    let cache = FeatureCache::new(1 << 20);
    let mut ledger = Ledger::default();
    for _ in 0..2 {
        backbone.encode_table(&store, &texts, &ALL, &cache, &mut ledger, &Stop::new()).unwrap();
        train(&backbone, &store, &texts, 1);
    }
    assert_eq!(ledger.forward_tokens, ledger.cached_tokens);
}

#[test]
fn stopping_and_unknown_texts() {
    let (backbone, store) = backbone(&options());
    let texts = texts(&backbone);
    let (cache, stop) = (FeatureCache::new(1 << 20), Stop::new());
    let mut ledger = Ledger::default();
    let message = refused(backbone.encode_table(&store, &texts, &[TextId(6)], &cache, &mut ledger, &stop));
    assert_eq!(message, "text = 6: there are 6 texts");
    stop.request();
    let found = backbone.encode_table(&store, &texts, &ALL, &cache, &mut ledger, &stop);
    assert!(matches!(found, Err(crate::Error::Interrupted)));
    assert_eq!(ledger, Ledger::default());
}

/// Vectors and gradients of one update, with and without the cache.
fn one_update(mode: TrainMode, top_layers: usize, cache: Option<&FeatureCache>, ledger: &mut Ledger) -> Vec<Vec<u32>> {
    let (backbone, mut store) = backbone(&BackboneOptions { mode, top_layers, ..options() });
    add_head(&mut store, super::tiny::WIDTH);
    let texts = texts(&backbone);
    let repeated = [3, 0, 3, 1, 5, 2, 4].map(|i| &texts[i]);
    let vectors = match cache {
        Some(cache) => backbone.encode_cached(&store, &repeated, cache, ledger).unwrap(),
        None => backbone.encode(&store, &repeated).unwrap(),
    };
    let gradients = Gradients::of(&super::training::loss_of(&store, &vectors), &store, 0).unwrap();
    gradients.check_coverage(&store, 0, |_| false).unwrap();
    let gradients = gradients.iter().map(|(_, gradient)| bits(&gradient.dense().unwrap()));
    std::iter::once(bits(&vectors)).chain(gradients).collect()
}

#[test]
fn training_through_the_cache_gives_the_same_bits() {
    let modes = [
        (TrainMode::Frozen, 1),
        (TrainMode::TopN, 1),
        (TrainMode::TopN, 2),
        (TrainMode::TopN, 3),
        (TrainMode::Lora, 1),
        (TrainMode::Full, 1),
    ];
    for (mode, top_layers) in modes {
        let cache = FeatureCache::new(1 << 20);
        let direct = one_update(mode, top_layers, None, &mut Ledger::default());
        let mut ledger = Ledger::default();
        for round in 0..2 {
            let cached = one_update(mode, top_layers, Some(&cache), &mut ledger);
            assert_eq!(cached, direct, "{mode:?} {top_layers}, round {round}");
        }
        let has_frozen_part = mode == TrainMode::Frozen || (mode == TrainMode::TopN && top_layers < 3);
        assert_eq!(ledger.cached_tokens > 0, has_frozen_part, "{mode:?} {top_layers}");
        assert_eq!(ledger.forward_tokens, ledger.cached_tokens, "computed in round 0, found in round 1");
        assert_eq!(ledger.backward_tokens > 0, mode != TrainMode::Frozen);
    }
}

#[test]
fn updates_above_the_cut_keep_the_cache_and_another_cut_is_another_entry() {
    let (backbone, mut store) = backbone(&BackboneOptions { mode: TrainMode::TopN, top_layers: 1, ..options() });
    add_head(&mut store, super::tiny::WIDTH);
    let texts = texts(&backbone);
    let (cache, mut ledger) = (FeatureCache::new(1 << 20), Ledger::default());
    backbone.encode_cached(&store, &refs(&texts), &cache, &mut ledger).unwrap();
    train(&backbone, &store, &texts, 1);
    let cached = backbone.encode_cached(&store, &refs(&texts), &cache, &mut ledger).unwrap();
    assert_eq!(bits(&cached), bits(&backbone.encode(&store, &refs(&texts)).unwrap()), "the trained layer is used");
    assert_eq!(ledger.forward_tokens, ledger.cached_tokens);
    one_update(TrainMode::TopN, 2, Some(&cache), &mut ledger);
    assert_eq!(cache.stats().hits, texts.len() as u64);
}
