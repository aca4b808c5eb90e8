use super::*;
use candle_core::{Device, Tensor};
use retune::env::{ActionSpec, CandidateObs, CandidateSpec, EnvSpec, HistoryEvent, ObsSpec, TextId, TextTable};
use retune::nn::{Gradients, ParamStore};
use retune::replay::ObsBatch;
use retune::rng::Seed;

const TEXTS: u32 = 7;
const WIDTH: usize = 4;

fn spec() -> EnvSpec {
    let candidates = CandidateSpec {
        num_candidates: 3,
        state_dim: 2,
        candidate_dim: 2,
        has_text: true,
        history_len: 4,
        history_dim: 1,
        answers: 0..0,
        pool: (0..TEXTS).map(TextId).collect(),
    };
    EnvSpec {
        id: "test/scorer".to_owned(),
        description: String::new(),
        obs: ObsSpec::Candidates(candidates),
        action: ActionSpec::Slate { size: 2 },
        reward_unit: "points",
        reward_range: (0.0, 1.0),
        time_limit: None,
        texts: TextTable::new((0..TEXTS).map(|i| format!("text {i}")).collect()),
    }
}

fn scorer() -> (Scorer, ParamStore) {
    scorer_with(0)
}

fn scorer_with(clusters: usize) -> (Scorer, ParamStore) {
    let towers = vec![
        Tower { name: "first".into(), hidden: 5, bias: true },
        Tower { name: "second".into(), hidden: 3, bias: false },
    ];
    let scorer = Scorer::new(ScorerShape::new(&spec(), WIDTH, (6, clusters), towers, 2).unwrap());
    let mut store = ParamStore::new(&Device::Cpu, Seed::root(1));
    scorer.init(&mut store).unwrap();
    (scorer, store)
}

fn table() -> TextTableView {
    let mut rng = Seed::root(2).rng();
    let flat: Vec<f32> = (0..TEXTS as usize * WIDTH).map(|_| rng.normal() as f32).collect();
    let table = Tensor::from_vec(flat, (TEXTS as usize, WIDTH), &Device::Cpu).unwrap();
    TextTableView::new(&table, &[0, 1, 2, 3, 4, 5, 6]).unwrap()
}

fn obs(seed: u64) -> CandidateObs {
    let mut rng = Seed::root(3).index(seed).rng();
    let events = rng.below(5);
    CandidateObs {
        state: (0..2).map(|_| rng.normal() as f32).collect(),
        history: (0..events)
            .map(|_| HistoryEvent {
                text: (rng.uniform() < 0.7).then(|| TextId(rng.below(TEXTS as usize) as u32)),
                features: vec![rng.normal() as f32],
            })
            .collect(),
        candidate_features: (0..6).map(|_| rng.normal() as f32).collect(),
        candidate_texts: (0..3).map(|_| TextId(rng.below(TEXTS as usize) as u32)).collect(),
        mask: vec![true; 3],
        feedback: None,
    }
}

/// Outputs of both towers for all candidates, `[batch][tower][candidate]`, and of the state head.
fn outputs(scorer: &Scorer, weights: &Weights, obs: &[CandidateObs], project: bool) -> Vec<Vec<f32>> {
    let batch = ObsBatch::of(&scorer.shape().candidates, obs.iter()).unwrap();
    let states = StateBatch::new(scorer.shape(), &batch, &Device::Cpu).unwrap();
    let items = ItemBatch::all(scorer.shape(), &batch, &Device::Cpu).unwrap();
    let rows = table().all().unwrap();
    let rows = if project { rows.projected(weights).unwrap() } else { rows };
    let scores = scorer.forward(weights, &states, &items, Some(&rows), Some(&rows)).unwrap();
    let towers: Vec<Vec<Vec<f32>>> = scores.items.iter().map(|t| t.to_vec2().unwrap()).collect();
    let heads: Vec<Vec<f32>> = scores.states.unwrap().to_vec2().unwrap();
    (0..obs.len())
        .map(|b| {
            let items = towers.iter().flat_map(|t| t.iter().map(move |row| row[b]));
            items.chain(heads[b].iter().copied()).collect()
        })
        .collect()
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

/// The equations of the module, one number at a time, in F64.
fn dumb(weights: &Weights, obs: &CandidateObs) -> Vec<f32> {
    let matrix = |name: &str| -> Vec<Vec<f64>> {
        let rows: Vec<Vec<f32>> = weights.get(name).unwrap().to_vec2().unwrap();
        rows.iter().map(|r| r.iter().map(|&x| f64::from(x)).collect()).collect()
    };
    let vector = |name: &str| -> Vec<f64> {
        let flat: Vec<f32> = weights.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        flat.into_iter().map(f64::from).collect()
    };
    let times = |x: &[f64], m: &[Vec<f64>]| -> Vec<f64> {
        (0..m[0].len()).map(|j| x.iter().zip(m).map(|(x, row)| x * row[j]).sum()).collect()
    };
    let plus = |a: Vec<f64>, b: Vec<f64>| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
    let view = table();
    let texts: Vec<Vec<f32>> = view.standardise(&view.table).unwrap().to_vec2().unwrap();
    let text = |id: TextId| -> Vec<f64> { texts[id.0 as usize].iter().map(|&x| f64::from(x)).collect() };

    let mut past = vec![0.0; 6];
    for (h, event) in obs.history.iter().rev().enumerate() {
        let mut numbers: Vec<f64> = event.features.iter().map(|&x| f64::from(x)).collect();
        numbers.push(if event.text.is_none() { 1.0 } else { 0.0 });
        let mut x = plus(times(&numbers, &matrix("history.numbers")), vector("history.bias"));
        if let Some(id) = event.text {
            x = plus(x, times(&text(id), &matrix("history.text")));
        }
        let weight = vector("history.position")[h];
        past = plus(past, x.iter().map(|x| weight * x.tanh()).collect());
    }
    let code: Vec<f64> = obs.state.iter().map(|&x| f64::from(x)).chain(past).collect();
    let mut out = Vec::new();
    for tower in ["first", "second"] {
        for i in 0..3 {
            let features: Vec<f64> = obs.candidate_features[2 * i..2 * i + 2].iter().map(|&x| f64::from(x)).collect();
            let own = |part: &str| {
                let own = times(&features, &matrix(&format!("{part}.features")));
                plus(own, times(&text(obs.candidate_texts[i]), &matrix(&format!("{part}.text"))))
            };
            let item = |part: &str| {
                if weights.get("clusters.bias").is_err() {
                    return own(&format!("{tower}.{part}"));
                }
                let e: Vec<f64> = plus(own("clusters"), vector("clusters.bias")).iter().map(|x| x.exp()).collect();
                let (sum, root) = (e.iter().sum::<f64>(), (e.len() as f64).sqrt());
                let z: Vec<f64> = e.iter().map(|e| e / sum * root).collect();
                times(&z, &matrix(&format!("{tower}.{part}.cluster")))
            };
            let state = |part: &str| {
                let own = times(&code, &matrix(&format!("{tower}.{part}.state")));
                plus(own, vector(&format!("{tower}.{part}.bias")))
            };
            let product: Vec<f64> = item("inner.mul").iter().zip(state("inner.mul")).map(|(a, b)| a * b).collect();
            let hidden = plus(plus(item("inner.add"), state("inner.add")), product);
            let hidden: Vec<f64> = hidden.iter().map(|x| x.max(0.0)).collect();
            let mut y = times(&hidden, &matrix(&format!("{tower}.inner.out")))[0] + item("linear")[0];
            if tower == "first" {
                y += vector("first.bias")[0];
            }
            out.push(y as f32);
        }
    }
    let hidden = plus(times(&code, &matrix("state.hidden.weight")), vector("state.hidden.bias"));
    let hidden: Vec<f64> = hidden.iter().map(|x| x.max(0.0)).collect();
    let heads = plus(times(&hidden, &matrix("state.out.weight")), vector("state.out.bias"));
    out.extend(heads.iter().map(|&x| x as f32));
    out
}

/// Biases begin at zero, which would hide a wrong one.
fn shake(store: &ParamStore) {
    for name in store.names() {
        let value = store.detached(name).unwrap();
        let mut rng = Seed::root(4).child(name).rng();
        let noise: Vec<f32> = (0..value.elem_count()).map(|_| 0.3 * rng.normal() as f32).collect();
        let noise = Tensor::from_vec(noise, value.dims(), &Device::Cpu).unwrap();
        store.set(name, &(value + noise).unwrap()).unwrap();
    }
}

#[test]
fn the_batched_form_agrees_with_the_equations() {
    let all: Vec<CandidateObs> = (0..8).map(obs).collect();
    assert!(all.iter().any(|o| o.history.is_empty()) && all.iter().any(|o| o.history.len() == 4));
    for (clusters, project) in [(0, false), (0, true), (9, false), (9, true)] {
        let (scorer, store) = scorer_with(clusters);
        shake(&store);
        let weights = Weights::detached(&store).unwrap();
        for (got, o) in outputs(&scorer, &weights, &all, project).iter().zip(&all) {
            let want = dumb(&weights, o);
            assert!(close(got, &want), "clusters {clusters}, projected {project}: {got:?} not {want:?}");
        }
    }
}

#[test]
fn every_parameter_gets_a_gradient() {
    for clusters in [0, 9] {
        check_gradients(clusters);
    }
}

fn check_gradients(clusters: usize) {
    let (scorer, store) = scorer_with(clusters);
    let all: Vec<CandidateObs> = (0..8).map(obs).collect();
    let batch = ObsBatch::of(&scorer.shape().candidates, all.iter()).unwrap();
    let states = StateBatch::new(scorer.shape(), &batch, &Device::Cpu).unwrap();
    let items = ItemBatch::all(scorer.shape(), &batch, &Device::Cpu).unwrap();
    let rows = table().all().unwrap();
    let loss_of = |weights: &Weights| {
        let scores = scorer.forward(weights, &states, &items, Some(&rows), Some(&rows)).unwrap();
        let squares = scores.items.iter().chain(&scores.states).map(|t| t.sqr().unwrap().sum_all().unwrap());
        squares.reduce(|a, b| (a + b).unwrap()).unwrap()
    };
    let gradients = Gradients::of(&loss_of(&Weights::graph(&store).unwrap()), &store, 0).unwrap();
    gradients.check_coverage(&store, 0, |_| false).unwrap();
    // Negative control: the same loss on detached weights reaches nothing.
    let gradients = Gradients::of(&loss_of(&Weights::detached(&store).unwrap()), &store, 0).unwrap();
    assert!(gradients.check_coverage(&store, 0, |_| false).is_err());
}

#[test]
fn a_text_without_a_vector_is_an_error() {
    let view = table();
    let rows = view.rows(&[1, 3]).unwrap();
    let (scorer, store) = scorer();
    let batch = ObsBatch::of(&scorer.shape().candidates, [obs(1)].iter()).unwrap();
    let states = StateBatch::new(scorer.shape(), &batch, &Device::Cpu).unwrap();
    let items = ItemBatch::all(scorer.shape(), &batch, &Device::Cpu).unwrap();
    let weights = Weights::detached(&store).unwrap();
    let all = view.all().unwrap();
    let error = scorer.forward(&weights, &states, &items, Some(&rows), Some(&all)).unwrap_err();
    assert!(error.to_string().contains("has no vector"), "{error}");
}

#[test]
fn texts_are_standardised_over_the_pool_alone() {
    let raw = Tensor::new(&[[1f32, 5.0], [3.0, 5.0], [100.0, f32::NAN]], &Device::Cpu).unwrap();
    let view = TextTableView::new(&raw, &[0, 1]).unwrap();
    let got: Vec<Vec<f32>> = view.standardise(&raw.narrow(0, 0, 2).unwrap()).unwrap().to_vec2().unwrap();
    // The second component does not vary: it is only centred.
    assert_eq!(got, [[-1.0, 0.0], [1.0, 0.0]]);
}

#[test]
fn misshapen_weights_are_refused_by_name() {
    let (scorer, store) = scorer();
    let mut params = store.copies(|_| true).unwrap();
    params.insert("scorer.first.bias".to_owned(), Tensor::zeros(2, candle_core::DType::F32, &Device::Cpu).unwrap());
    let error = scorer.check(&Weights::published(&params)).unwrap_err().to_string();
    assert!(error.contains("scorer.first.bias has shape [2], expected [1]"), "{error}");
    params.remove("scorer.first.bias");
    let error = scorer.check(&Weights::published(&params)).unwrap_err().to_string();
    assert!(error.contains("scorer.first.bias is missing"), "{error}");
}
