use super::*;
use crate::net::{Per, build};
use candle_core::Device;
use retune::backbone::{BackboneOptions, FeatureCache, LoadOptions, TrainMode, Weights as BackboneWeights};
use retune::env::{CandidateObs, Env};
use retune::nn::mlp::AdamConfig;
use retune::nn::on_each_device;
use retune::rng::Seed;
use retune_envs::probe::SlateBandit;

fn model(mode: TrainMode) -> crate::TextModel {
    use retune_assets::minilm_l3 as files;
    let options = LoadOptions::default();
    let weights =
        BackboneWeights::from_bytes(files::NAME, files::CONFIG, files::TOKENIZER, files::WEIGHTS, &options).unwrap();
    let options = BackboneOptions { mode, ..BackboneOptions::default() };
    crate::TextModel { weights, options, cache: FeatureCache::new(1 << 20), stop: retune::agent::Stop::new() }
}

fn heads() -> Vec<Head> {
    vec![Head::policy(), Head::q("q", 2, true), Head::value()]
}

fn config() -> NetConfig {
    NetConfig { optimizer: AdamConfig { learning_rate: 5e-4, ..AdamConfig::default() }, ..NetConfig::default() }
}

fn network(model: &crate::TextModel, seed: u64) -> Box<dyn Network> {
    network_on(&Device::Cpu, model, seed)
}

fn network_on(device: &Device, model: &crate::TextModel, seed: u64) -> Box<dyn Network> {
    let env = SlateBandit::texts();
    let learning = LearningConfig { encoder_batch_size: 3, table_refresh_updates: 1, ..LearningConfig::default() };
    let setup = Setup { learning: &learning, spec: env.spec(), text: Some(model), device, seed: Seed::root(seed) };
    build(&setup, &config(), &heads()).unwrap()
}

fn observations(count: u64) -> Vec<Arc<CandidateObs>> {
    let mut env = SlateBandit::texts();
    (0..count).map(|i| Arc::new(env.reset(Some(i)).unwrap())).collect()
}

fn batch(obs: &[Arc<CandidateObs>]) -> ObsBatch {
    let env = SlateBandit::texts();
    ObsBatch::of(crate::net::candidates(env.spec()).unwrap(), obs.iter().map(AsRef::as_ref)).unwrap()
}

/// The gradient of half the sum of squares.
fn update(net: &mut dyn Network, obs: &ObsBatch) {
    let mut out = Outputs::default();
    net.forward(obs, &mut out).unwrap();
    net.backward(&out.clone()).unwrap();
    net.step(1.0, &Stop::new()).unwrap();
}

fn squares(net: &mut dyn Network, weights: Weights, obs: &ObsBatch) -> f64 {
    let mut out = Outputs::default();
    net.predict(weights, obs, &mut out).unwrap();
    (0..3).flat_map(|h| out.head(h)).map(|x| f64::from(x * x)).sum()
}

#[test]
fn outputs_go_where_their_gradient_points_in_every_mode() {
    on_each_device(check_modes);
}

fn check_modes(device: &Device) {
    for mode in [TrainMode::Frozen, TrainMode::Lora, TrainMode::Full] {
        let model = model(mode);
        let mut net = network_on(device, &model, 1);
        let obs = batch(&observations(3));
        net.hold(Weights::Reference).unwrap();
        let before = squares(net.as_mut(), Weights::Online, &obs);
        (0..10).for_each(|_| update(net.as_mut(), &obs));
        let after = squares(net.as_mut(), Weights::Online, &obs);
        assert!(after < 0.9 * before, "{mode:?}: {after} after {before}");
        // The reference has the first head and the first text vectors: for an adapter, the model without it.
        let reference = squares(net.as_mut(), Weights::Reference, &obs);
        assert!((reference - before).abs() < 1e-9 * before, "{mode:?}: {reference} not {before}");
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    let model = model(TrainMode::Frozen);
    let learning = LearningConfig::default();
    let env = SlateBandit::texts();
    let setup =
        Setup { learning: &learning, spec: env.spec(), text: Some(&model), device: &Device::Cpu, seed: Seed::root(1) };
    let mut net = ScorerNetwork::new(&setup, &config(), &heads()).unwrap();
    let obs = batch(&observations(4));
    let mut out = Outputs::default();
    net.forward(&obs, &mut out).unwrap();
    net.backward(&out.clone()).unwrap();
    let grads = net.grads.take().unwrap();
    for name in ["scorer.policy.inner.out", "scorer.q1.inner.out", "scorer.state.out.bias"] {
        let kept = net.store.detached(name).unwrap().copy().unwrap();
        let mut loss_at = |delta: f64| {
            let mut values = kept.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values[0] += delta as f32;
            net.store.set(name, &Tensor::from_vec(values, kept.dims(), &Device::Cpu).unwrap()).unwrap();
            0.5 * squares(&mut net, Weights::Online, &obs)
        };
        let numeric = (loss_at(5e-3) - loss_at(-5e-3)) / 1e-2;
        loss_at(0.0);
        let got =
            f64::from(grads.get(name).unwrap().dense().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]);
        assert!((got - numeric).abs() < 1e-2 * (1.0 + numeric.abs()), "{name}: {got} not {numeric}");
    }
}

#[test]
fn actors_say_what_the_learner_says() {
    on_each_device(check_actors);
}

fn check_actors(device: &Device) {
    let model = model(TrainMode::Frozen);
    let mut net = network_on(device, &model, 1);
    let all = observations(5);
    let (mut own, mut theirs) = (Outputs::default(), Outputs::default());
    net.predict(Weights::Online, &batch(&all), &mut own).unwrap();
    let mut predictor = net.predictor().unwrap();
    predictor.load(&net.snapshot(&[]).unwrap()).unwrap();
    predictor.predict(&all, None, &mut theirs).unwrap();
    for (h, head) in heads().iter().enumerate() {
        let per_row = if head.per == Per::State { 1 } else { net.num_candidates() };
        assert_eq!(own.head(h).len(), 5 * per_row * head.width);
        let close = own.head(h).iter().zip(theirs.head(h)).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close, "{}", head.name);
    }
}

#[test]
fn what_a_device_has_learnt_goes_on_on_the_cpu() {
    on_each_device(|device| {
        let obs = batch(&observations(4));
        let there_model = model(TrainMode::Lora);
        let mut there = network_on(device, &there_model, 1);
        (0..3).for_each(|_| update(there.as_mut(), &obs));
        let mut state = StateDict::default();
        there.save(&mut state, "x/").unwrap();
        let here_model = model(TrainMode::Lora);
        let mut here = network(&here_model, 9);
        here.load(&state, "x/").unwrap();
        let (a, b) = (squares(there.as_mut(), Weights::Online, &obs), squares(here.as_mut(), Weights::Online, &obs));
        assert!((a - b).abs() < 1e-4 * a, "{device:?}: {a} there, {b} on the CPU");
        update(here.as_mut(), &obs);
        assert!(squares(here.as_mut(), Weights::Online, &obs) < b, "{device:?}");
    });
}

#[test]
fn a_saved_network_goes_on_with_the_same_bits() {
    let model = model(TrainMode::Lora);
    let obs = batch(&observations(4));
    let mut net = network(&model, 1);
    net.hold(Weights::Reference).unwrap();
    net.hold(Weights::Target).unwrap();
    update(net.as_mut(), &obs);
    net.track(0.1).unwrap();
    let mut state = StateDict::default();
    net.save(&mut state, "x/").unwrap();
    // A cache of its own: what it serves is counted apart from what is read.
    let mut again = network(&self::model(TrainMode::Lora), 9);
    again.load(&state, "x/").unwrap();
    for net in [net.as_mut(), again.as_mut()] {
        update(net, &obs);
        net.track(0.1).unwrap();
    }
    let (mut a, mut b) = (StateDict::default(), StateDict::default());
    net.save(&mut a, "").unwrap();
    again.save(&mut b, "").unwrap();
    assert!(a == b);
}

#[test]
fn noisy_layers_are_refused() {
    let model = model(TrainMode::Frozen);
    let (learning, env) = (LearningConfig::default(), SlateBandit::texts());
    let seed = Seed::root(1);
    let setup = Setup { learning: &learning, spec: env.spec(), text: Some(&model), device: &Device::Cpu, seed };
    let noisy = NetConfig { noisy: true, ..config() };
    assert!(build(&setup, &noisy, &heads()).err().unwrap().to_string().starts_with("net.noisy = true"));
}
