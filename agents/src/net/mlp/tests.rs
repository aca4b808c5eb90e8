use super::*;
use crate::net::testing::{actions_spec, observations, shop_spec};
use crate::net::{Head, NetConfig, NetInit, Network, Outputs, Weights};
use retune::agent::Stop;
use retune::env::CandidateSpec;
use retune::nn::mlp::Activation;
use retune::persist::StateDict;
use retune::replay::ObsBatch;
use retune::rng::Seed;
use std::sync::Arc;

fn heads() -> Vec<Head> {
    vec![Head::policy(), Head::q("q", 3, true), Head::value()]
}

fn config(shared: bool, noisy: bool) -> NetConfig {
    let stream_hidden = if shared { vec![6] } else { Vec::new() };
    let init = if shared { NetInit::Torch } else { NetInit::Orthogonal };
    // Smooth, so that finite differences mean something everywhere.
    let activation = Activation::Tanh;
    NetConfig { hidden: vec![9, 7], stream_hidden, shared, noisy, activation, init, ..NetConfig::default() }
}

fn network(spec: &CandidateSpec, config: &NetConfig) -> MlpNetwork {
    let mut net = MlpNetwork::new(spec, config, &heads(), Seed::root(3)).unwrap();
    // Biases begin at zero, which would hide a wrong one.
    let names: Vec<String> = net.names().map(str::to_owned).collect();
    for name in names {
        let mut rng = Seed::root(8).child(&name).rng();
        let values: Vec<f32> = net.parameter(&name).unwrap().iter().map(|x| x + 0.3 * rng.normal() as f32).collect();
        net.set_parameter(&name, &values).unwrap();
    }
    net
}

fn batch(spec: &CandidateSpec, count: usize) -> ObsBatch {
    ObsBatch::of(spec, observations(spec, count).iter()).unwrap()
}

/// Random weights for every output; zero for candidates that may not be chosen.
fn weights_of(net: &MlpNetwork, obs: &ObsBatch, out: &Outputs) -> Outputs {
    let mut weights = out.clone();
    let mut rng = Seed::root(6).rng();
    for (h, head) in net.heads().iter().enumerate() {
        for (i, w) in weights.head_mut(h).iter_mut().enumerate() {
            let legal = head.per == crate::net::Per::State || obs.mask[i / head.width] != 0;
            *w = if legal { rng.normal() as f32 } else { 0.0 };
        }
    }
    weights
}

fn weighted_sum(out: &Outputs, weights: &Outputs) -> f64 {
    (0..3).flat_map(|h| out.head(h).iter().zip(weights.head(h))).map(|(a, b)| f64::from(a * b)).sum()
}

#[test]
fn gradients_agree_with_finite_differences_for_every_kind_of_network() {
    for spec in [actions_spec(4, 3), shop_spec()] {
        let kinds = [(false, false), (true, false), (false, true), (true, true)];
        for (direct, (shared, noisy)) in [false, true].into_iter().flat_map(|d| kinds.map(|kind| (d, kind))) {
            let mut net = network(&spec, &NetConfig { direct, ..config(shared, noisy) });
            let mut rng = Seed::root(1).rng();
            net.resample(Weights::Online, Some(&mut rng)).unwrap();
            let obs = batch(&spec, 5);
            let mut out = Outputs::default();
            net.forward(&obs, &mut out).unwrap();
            let weights = weights_of(&net, &obs, &out);
            net.backward(&weights).unwrap();
            let grads = net.grads_for_test();
            let names: Vec<String> = net.names().map(str::to_owned).collect();
            for name in names {
                let (at, kept) = (0, net.parameter(&name).unwrap());
                let mut loss_at = |delta: f32| {
                    let mut moved = kept.clone();
                    moved[at] += delta;
                    net.set_parameter(&name, &moved).unwrap();
                    let mut out = Outputs::default();
                    net.predict(Weights::Online, &obs, &mut out).unwrap();
                    weighted_sum(&out, &weights)
                };
                let numeric = (loss_at(2e-3) - loss_at(-2e-3)) / 4e-3;
                loss_at(0.0);
                let got = f64::from(grads[&name][at]);
                let close = (got - numeric).abs() < 2e-2 * (1.0 + numeric.abs());
                assert!(close, "shared {shared}, noisy {noisy}, direct {direct}, {name}: {got} not {numeric}");
            }
        }
    }
}

#[test]
fn every_parameter_gets_a_gradient() {
    for (shared, direct) in [(false, false), (true, false), (false, true), (true, true)] {
        let spec = shop_spec();
        let mut net = network(&spec, &NetConfig { direct, ..config(shared, true) });
        net.resample(Weights::Online, Some(&mut Seed::root(1).rng())).unwrap();
        let obs = batch(&spec, 9);
        let mut out = Outputs::default();
        net.forward(&obs, &mut out).unwrap();
        let weights = weights_of(&net, &obs, &out);
        net.backward(&weights).unwrap();
        for (name, grads) in net.grads_for_test() {
            assert!(grads.iter().any(|&g| g != 0.0), "{name}");
        }
    }
}

#[test]
fn the_advantages_of_a_dueling_head_have_mean_zero_over_legal_candidates() {
    let spec = actions_spec(4, 3);
    let mut net = network(&spec, &config(true, false));
    let mut all = observations(&spec, 1);
    all[0].mask = vec![true, false, true, true];
    let obs = ObsBatch::of(&spec, all.iter()).unwrap();
    let mut out = Outputs::default();
    net.predict(Weights::Online, &obs, &mut out).unwrap();
    let mean =
        |out: &Outputs, legal: &[usize]| legal.iter().map(|i| out.head(1)[i * 3]).sum::<f32>() / legal.len() as f32;
    let before = mean(&out, &[0, 2, 3]);
    // Another illegal advantage changes nothing; another legal one keeps the mean, which is the value.
    let name = "net.q.advantage.1.bias";
    let mut bias = net.parameter(name).unwrap();
    bias[3] += 5.0;
    net.set_parameter(name, &bias).unwrap();
    let mut moved = Outputs::default();
    net.predict(Weights::Online, &obs, &mut moved).unwrap();
    assert_eq!([0, 2, 3].map(|i| out.head(1)[i * 3]), [0, 2, 3].map(|i| moved.head(1)[i * 3]));
    bias[0] += 5.0;
    net.set_parameter(name, &bias).unwrap();
    net.predict(Weights::Online, &obs, &mut moved).unwrap();
    assert!((mean(&moved, &[0, 2, 3]) - before).abs() < 1e-5);
    assert!((moved.head(1)[0] - out.head(1)[0]).abs() > 1.0, "or the test shows nothing");
}

#[test]
fn actors_and_learner_agree_to_the_bit() {
    for spec in [actions_spec(3, 4), shop_spec()] {
        let mut net = network(&spec, &config(true, false));
        let all = observations(&spec, 40);
        let mut together = Outputs::default();
        net.predict(Weights::Online, &ObsBatch::of(&spec, all.iter()).unwrap(), &mut together).unwrap();
        let mut predictor = net.predictor().unwrap();
        let mut alone = Outputs::default();
        let asked = [Arc::new(all[7].clone())];
        assert!(predictor.predict(&asked, None, &mut alone).unwrap_err().to_string().contains("snapshot"));
        predictor.load(&net.snapshot(&[]).unwrap()).unwrap();
        predictor.predict(&asked, None, &mut alone).unwrap();
        for h in 0..3 {
            let width = alone.head(h).len();
            assert_eq!(alone.head(h), &together.head(h)[7 * width..][..width]);
        }
    }
}

#[test]
fn noise_is_drawn_from_the_stream_and_centred_on_the_means() {
    let spec = actions_spec(2, 3);
    let mut net = network(&spec, &config(true, true));
    let obs = batch(&spec, 1);
    let q = |net: &mut MlpNetwork| {
        let mut out = Outputs::default();
        net.predict(Weights::Online, &obs, &mut out).unwrap();
        f64::from(out.head(2)[0])
    };
    let mean = q(&mut net);
    let mut rng = Seed::root(5).rng();
    net.resample(Weights::Online, Some(&mut rng)).unwrap();
    let first = q(&mut net);
    net.resample(Weights::Online, Some(&mut Seed::root(5).rng())).unwrap();
    assert_eq!(q(&mut net), first);
    assert_ne!(first, mean);
    net.resample(Weights::Online, None).unwrap();
    assert_eq!(q(&mut net), mean);
    // The hidden layer of the stream is not linear, so the mean over noise is near, not at, that of the means.
    let draws: Vec<f64> = (0..2000)
        .map(|_| {
            net.resample(Weights::Online, Some(&mut rng)).unwrap();
            q(&mut net)
        })
        .collect();
    let spread = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>().sqrt() / (draws.len() as f64).sqrt();
    assert!(spread > 0.01 && (draws.iter().sum::<f64>() / draws.len() as f64 - mean).abs() < spread, "{spread}");
}

#[test]
fn copies_follow_or_stay() {
    let spec = actions_spec(3, 4);
    let mut net = network(&spec, &config(false, false));
    let obs = batch(&spec, 2);
    let value = |net: &mut MlpNetwork, weights| {
        let mut out = Outputs::default();
        net.predict(weights, &obs, &mut out).unwrap();
        out.head(2)[0]
    };
    let error = net.predict(Weights::Target, &obs, &mut Outputs::default()).unwrap_err().to_string();
    assert!(error.contains("no Target parameters"), "{error}");
    net.hold(Weights::Target).unwrap();
    net.hold(Weights::Reference).unwrap();
    let begun = value(&mut net, Weights::Online);
    let name = "net.value.out.0.bias";
    let bias = net.parameter(name).unwrap()[0];
    net.set_parameter(name, &[bias + 1.0]).unwrap();
    net.track(0.25).unwrap();
    assert!((value(&mut net, Weights::Target) - begun - 0.25).abs() < 1e-6);
    assert_eq!(value(&mut net, Weights::Reference), begun);
    net.track(1.0).unwrap();
    assert!((value(&mut net, Weights::Target) - value(&mut net, Weights::Online)).abs() < 1e-6);
}

/// Some updates towards outputs of zero.
fn updates(net: &mut MlpNetwork, spec: &CandidateSpec, count: usize) {
    let mut out = Outputs::default();
    for i in 0..count {
        net.forward(&batch(spec, 3 + i), &mut out).unwrap();
        let grads = out.clone();
        net.backward(&grads).unwrap();
        net.step(1.0, &Stop::new()).unwrap();
        net.track(0.1).unwrap();
    }
}

#[test]
fn a_saved_network_goes_on_with_the_same_bits() {
    let spec = actions_spec(3, 4);
    let mut net = network(&spec, &config(true, false));
    net.hold(Weights::Reference).unwrap();
    updates(&mut net, &spec, 3);
    net.snapshot(&[]).unwrap();
    let mut state = StateDict::default();
    net.save(&mut state, "x/").unwrap();
    let mut again = MlpNetwork::new(&spec, &config(true, false), &heads(), Seed::root(99)).unwrap();
    again.load(&state, "x/").unwrap();
    updates(&mut net, &spec, 2);
    updates(&mut again, &spec, 2);
    let (a, b) = (net.snapshot(&[]).unwrap(), again.snapshot(&[]).unwrap());
    assert_eq!((a.version, &a.checksum), (b.version, &b.checksum));
    let (mut first, mut second) = (StateDict::default(), StateDict::default());
    net.save(&mut first, "").unwrap();
    again.save(&mut second, "").unwrap();
    assert!(first == second);
    // Another shape is refused and changes nothing.
    let other = NetConfig { hidden: vec![9, 8], ..config(true, false) };
    let mut other = MlpNetwork::new(&spec, &other, &heads(), Seed::root(1)).unwrap();
    let before = other.snapshot(&[]).unwrap().checksum.clone();
    assert!(other.load(&state, "x/").unwrap_err().to_string().contains("has shape"));
    assert_eq!(other.snapshot(&[]).unwrap().checksum, before);
}

#[test]
fn direct_layers_begin_at_nothing_and_add_what_the_inputs_say() {
    let spec = actions_spec(4, 3);
    let (plain, direct) = (config(true, false), NetConfig { direct: true, ..config(true, false) });
    let of = |config: &NetConfig| MlpNetwork::new(&spec, config, &heads(), Seed::root(3)).unwrap();
    let (mut plain, mut direct) = (of(&plain), of(&direct));
    let obs = batch(&spec, 2);
    let outputs = |net: &mut MlpNetwork| {
        let mut out = Outputs::default();
        net.predict(Weights::Online, &obs, &mut out).unwrap();
        (0..3).map(|h| out.head(h).to_vec()).collect::<Vec<_>>()
    };
    let before = outputs(&mut plain);
    assert_eq!(before, outputs(&mut direct));
    let name = direct.names().find(|n| n.contains("policy") && n.ends_with("direct.0.weight")).unwrap().to_owned();
    let mut weight = direct.parameter(&name).unwrap();
    // From the second input to the third candidate, of four.
    weight[4 + 2] = 0.5;
    direct.set_parameter(&name, &weight).unwrap();
    let after = outputs(&mut direct);
    assert_eq!(before[1..], after[1..], "other heads");
    for (i, (a, b)) in before[0].iter().zip(&after[0]).enumerate() {
        let added = if i % 4 == 2 { 0.5 * obs.state[(i / 4) * spec.state_dim + 1] } else { 0.0 };
        assert!((b - a - added).abs() < 1e-6, "{i}");
    }
}

#[test]
fn texts_alone_are_refused() {
    let spec = CandidateSpec { has_text: true, ..actions_spec(3, 4) };
    let error = MlpNetwork::new(&spec, &config(true, false), &heads(), Seed::root(1)).unwrap_err().to_string();
    assert!(error.contains("text model"), "{error}");
}

#[test]
fn settings_out_of_range_are_named() {
    assert!(NetConfig::default().validate().is_ok());
    let error = |config: NetConfig| config.validate().unwrap_err().to_string();
    assert!(error(NetConfig { hidden: vec![], ..NetConfig::default() }).starts_with("net.hidden = []"));
    assert!(error(NetConfig { stream_hidden: vec![0], ..NetConfig::default() }).starts_with("net.stream_hidden"));
    assert!(error(NetConfig { noisy_sigma: 0.0, ..NetConfig::default() }).starts_with("net.noisy_sigma = 0"));
    let mut config = NetConfig::default();
    config.optimizer.learning_rate = -1.0;
    assert!(error(config).starts_with("net.optimizer.learning_rate = -1"));
}
