use super::*;
use crate::nn::Init;
use crate::rng::Seed;
use candle_core::Device;

fn store() -> ParamStore {
    let mut store = ParamStore::new(&Device::Cpu, Seed::root(1));
    for name in ["a", "b", "c"] {
        store.init(name, &[3], Init::Normal(1.0)).unwrap();
    }
    store
}

/// c·tanh(b·tanh(a)), with a cut between a and b if asked for.
fn loss(store: &ParamStore, cut: bool) -> Tensor {
    let inner = store.tensor("a").unwrap().tanh().unwrap();
    let inner = if cut { inner.detach() } else { inner };
    let middle = inner.mul(&store.tensor("b").unwrap()).unwrap().tanh().unwrap();
    middle.mul(&store.tensor("c").unwrap()).unwrap().sum_all().unwrap()
}

fn coverage(loss: &Tensor, store: &ParamStore, update: u64) -> Result<()> {
    Gradients::of(loss, store, update)?.check_coverage(store, update, |_| false)
}

#[test]
fn a_whole_graph_passes_and_a_cut_one_is_named() {
    let store = store();
    coverage(&loss(&store, false), &store, 0).unwrap();
    let message = coverage(&loss(&store, true), &store, 0).unwrap_err().to_string();
    assert_eq!(
        message,
        "gradient coverage: on update 0 no gradient reaches a; the last operation with a gradient uses b; \
         look for an operation that cuts the graph before it"
    );
    assert!(coverage(&loss(&store, true), &store, 1).is_err(), "the second update is looked at too");
    assert!(coverage(&loss(&store, true), &store, 2).is_ok(), "later ones are not");
}

#[test]
fn a_frozen_parameter_needs_no_gradient() {
    let mut store = store();
    store.set_trainable(|name| name != "a").unwrap();
    let gradients = Gradients::of(&loss(&store, false), &store, 0).unwrap();
    assert!(gradients.get("a").is_none());
    gradients.check_coverage(&store, 0, |_| false).unwrap();
}

#[test]
fn a_loss_that_is_cut_off_from_everything() {
    let store = store();
    let constant = Tensor::new(1f32, &Device::Cpu).unwrap();
    let message = coverage(&constant, &store, 0).unwrap_err().to_string();
    assert!(message.contains("reaches a, b, c; no trained parameter has one"), "{message}");
}

#[test]
fn a_gradient_of_zero_is_an_error_but_for_the_listed_exceptions() {
    let zero = |name: &str| {
        let mut store = ParamStore::new(&Device::Cpu, Seed::root(1));
        store.init(name, &[2], Init::Const(1.0)).unwrap();
        if let Some(linear) = name.strip_suffix(".lora_a") {
            store.init(&format!("{linear}.lora_b"), &[2], Init::Const(0.0)).unwrap();
        }
        let product =
            (store.tensor(name).unwrap() * 1.0).unwrap().mul(&Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap());
        let mut gradients = Gradients::of(&product.unwrap().sum_all().unwrap(), &store, 0).unwrap();
        for (other, var) in store.trainable().filter(|(other, _)| *other != name) {
            gradients.by_name.insert(other.to_owned(), Gradient::Dense(var.ones_like().unwrap().detach()));
        }
        (store, gradients)
    };
    let (store, gradients) = zero("w");
    let message = gradients.check_coverage(&store, 0, |_| false).unwrap_err().to_string();
    assert_eq!(
        message,
        "gradient coverage: on update 0 the gradient of w is zero everywhere; it would never be trained"
    );
    gradients.check_coverage(&store, 0, |name| name == "w").unwrap();

    let (store, gradients) = zero("backbone.encoder.layer.0.attention.self.key.bias");
    gradients.check_coverage(&store, 0, |_| false).unwrap();

    let (store, gradients) = zero("q.lora_a");
    gradients.check_coverage(&store, 0, |_| false).unwrap();
    store.set("q.lora_b", &Tensor::new(&[0f32, 1e-3], &Device::Cpu).unwrap()).unwrap();
    let message = gradients.check_coverage(&store, 1, |_| false).unwrap_err().to_string();
    assert!(
        message.contains("on update 1 the gradient of q.lora_a is zero"),
        "B has moved, so A must follow: {message}"
    );
}

#[test]
fn what_is_not_finite_is_named() {
    let store = store();
    let infinite = (loss(&store, false) * f64::INFINITY).unwrap();
    let message = Gradients::of(&infinite, &store, 7).unwrap_err().to_string();
    assert!(message.starts_with("non-finite value in loss at update 7"), "{message}");
    for bad in [f32::NAN, f32::INFINITY] {
        let mut gradients = Gradients::of(&loss(&store, false), &store, 0).unwrap();
        let values = Tensor::new(&[1.0, bad, 1.0], &Device::Cpu).unwrap();
        gradients.by_name.insert("b".to_owned(), Gradient::Dense(values));
        let message = gradients.check_coverage(&store, 0, |_| false).unwrap_err().to_string();
        assert!(message.starts_with("non-finite value in the gradient of b at update 0"), "{message}");
    }
}

#[test]
fn gradients_of_micro_batches_add_up() {
    let store = store();
    let once = Gradients::of(&loss(&store, false), &store, 0).unwrap();
    let mut sum = once.clone();
    sum.add(&once).unwrap();
    sum.scale(0.5).unwrap();
    for (name, grad) in once.iter() {
        let (grad, sum) = (grad.dense().unwrap(), sum.get(name).unwrap().dense().unwrap());
        assert_eq!(grad.to_vec1::<f32>().unwrap(), sum.to_vec1::<f32>().unwrap(), "{name}");
        assert!(!grad.track_op() && !sum.track_op(), "detached");
    }
}

#[test]
fn parameters_that_have_not_moved_are_listed() {
    let store = store();
    let movement = Movement::start(&store).unwrap();
    assert_eq!(movement.unmoved(&store).unwrap(), ["a", "b", "c"]);
    store.set("b", &Tensor::new(&[1f32, 2.0, 3.0], &Device::Cpu).unwrap()).unwrap();
    assert_eq!(movement.unmoved(&store).unwrap(), ["a", "c"]);
}
