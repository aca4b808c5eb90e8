//! The Plackett–Luce distribution over ordered slates: items are drawn one after the other without replacement, each
//! in proportion to exp(logit) among those that are left (Luce 1959, Plackett 1975).

use crate::acting::ranked;
use candle_core::Tensor;
use retune::Result;
use retune::env::Slate;
use retune::rng::StreamRng;

/// What is added to the logit of an item that may not be chosen: exp gives 0 in single precision.
const NEVER: f32 = -1e9;

/// A slate drawn by adding Gumbel noise to the logits and taking the largest (Yellott 1977; Kool et al.,
/// arXiv:1903.06059), which has exactly this distribution.
pub(crate) fn sample(logits: &[f64], mask: &[bool], size: usize, rng: &mut StreamRng) -> Result<Slate> {
    // Noise is drawn for illegal items too, so that what is drawn does not depend on the mask.
    let noisy: Vec<f64> = logits.iter().map(|l| l + rng.gumbel()).collect();
    ranked(mask, size, |i| noisy[i])
}

/// Log-probability of an ordered slate.
pub(crate) fn log_prob(logits: &[f64], mask: &[bool], slate: &[u32]) -> f64 {
    let mut left: Vec<usize> = (0..logits.len()).filter(|&i| mask[i]).collect();
    let mut total = 0.0;
    for &chosen in slate {
        let chosen = chosen as usize;
        let largest = left.iter().map(|&i| logits[i]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = left.iter().map(|&i| (logits[i] - largest).exp()).sum();
        total += logits[chosen] - largest - sum.ln();
        left.retain(|&i| i != chosen);
    }
    total
}

/// Log-probabilities and entropy of the first draw, as part of the graph.
pub(crate) struct SlateStatistics {
    /// `[1, batch]`.
    pub log_prob: Tensor,
    /// Entropy of the first draw, `[1, batch]`. That of whole slates has no closed form; the first draw has all logits.
    pub entropy: Tensor,
}

/// [`log_prob`] for a batch, differentiable.
///
/// # Shapes
/// `logits`: `[num_candidates, batch]`; `mask`: `[batch, num_candidates]`, 1 for legal; `slates`:
/// `[batch, slate_size]`.
pub(crate) fn statistics(logits: &Tensor, mask: &[u8], slates: &[u32], size: usize) -> Result<SlateStatistics> {
    let (items, batch) = logits.dims2()?;
    let device = logits.device();
    let mut closed = closed(mask, items, batch);
    let mut total: Option<Tensor> = None;
    let mut entropy = None;
    for j in 0..size {
        let open = (logits + Tensor::from_slice(&closed, (items, batch), device)?)?;
        // The largest logit is a constant as far as the gradient goes: it cancels.
        let shifted = open.broadcast_sub(&open.max_keepdim(0)?.detach())?;
        let weights = shifted.exp()?;
        let sum = weights.sum_keepdim(0)?;
        let log_sum = sum.log()?;
        if entropy.is_none() {
            // H = ln Σ w − Σ w ln w / Σ w, where an illegal item's w is 0 and its logit far below but finite.
            let mean = (&weights * &shifted)?.sum_keepdim(0)?.div(&sum)?;
            entropy = Some((&log_sum - mean)?);
        }
        let chosen: Vec<u32> = (0..batch).map(|b| slates[b * size + j]).collect();
        let each = (shifted.gather(&Tensor::from_slice(&chosen, (1, batch), device)?, 0)? - log_sum)?;
        total = Some(match total {
            Some(total) => (total + each)?,
            None => each,
        });
        for (b, &i) in chosen.iter().enumerate() {
            closed[i as usize * batch + b] = NEVER;
        }
    }
    let zero = || Tensor::zeros((1, batch), logits.dtype(), device);
    Ok(SlateStatistics { log_prob: total.map_or_else(zero, Ok)?, entropy: entropy.map_or_else(zero, Ok)? })
}

/// Log-probability of the first draw for every item, differentiable: `[num_candidates, batch]`, far below any other
/// for items that may not be chosen. Shapes as in [`statistics`].
pub(crate) fn item_log_probs(logits: &Tensor, mask: &[u8]) -> Result<Tensor> {
    let (items, batch) = logits.dims2()?;
    let open = (logits + Tensor::from_vec(closed(mask, items, batch), (items, batch), logits.device())?)?;
    // The largest logit is a constant as far as the gradient goes: it cancels.
    let shifted = open.broadcast_sub(&open.max_keepdim(0)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(0)?.log()?;
    Ok(shifted.broadcast_sub(&log_sum)?)
}

/// What is added to the logits, `[num_candidates, batch]`: [`NEVER`] for illegal items.
fn closed(mask: &[u8], items: usize, batch: usize) -> Vec<f32> {
    let mut closed = vec![0.0f32; items * batch];
    for (at, _) in mask.iter().enumerate().filter(|(_, m)| **m == 0) {
        closed[(at % items) * batch + at / items] = NEVER;
    }
    closed
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use retune::rng::Seed;

    const LOGITS: [f64; 5] = [0.3, -1.2, 2.0, 0.0, 0.7];
    const MASK: [bool; 5] = [true, true, true, false, true];

    fn slates() -> Vec<Vec<u32>> {
        let legal = [0u32, 1, 2, 4];
        let pairs = legal.iter().flat_map(|&a| legal.iter().map(move |&b| vec![a, b]));
        pairs.filter(|s| s[0] != s[1]).collect()
    }

    #[test]
    fn probabilities_of_all_slates_sum_to_one() {
        let sum: f64 = slates().iter().map(|s| log_prob(&LOGITS, &MASK, s).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
    }

    #[test]
    fn samples_have_these_probabilities() {
        let mut rng = Seed::root(1).rng();
        let all = slates();
        let mut counts = vec![0.0; all.len()];
        let draws = 40_000;
        for _ in 0..draws {
            let slate = sample(&LOGITS, &MASK, 2, &mut rng).unwrap();
            counts[all.iter().position(|s| *s == slate.0).expect("a legal slate")] += 1.0;
        }
        for (slate, count) in all.iter().zip(counts) {
            let p = log_prob(&LOGITS, &MASK, slate).exp();
            let sd = (p * (1.0 - p) / f64::from(draws)).sqrt();
            assert!((count / f64::from(draws) - p).abs() < 5.0 * sd, "{slate:?}: {count} of {draws}, expected {p}");
        }
    }

    #[test]
    fn the_batched_form_agrees_and_its_gradient_is_that_of_the_closed_form() {
        let slate = [2u32, 0];
        let flat: Vec<f32> = LOGITS.iter().map(|&l| l as f32).collect();
        let logits = Var::from_tensor(&Tensor::from_vec(flat, (5, 1), &Device::Cpu).unwrap()).unwrap();
        let mask: Vec<u8> = MASK.iter().map(|&m| u8::from(m)).collect();
        let got = statistics(&logits, &mask, &slate, 2).unwrap();
        let value = got.log_prob.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
        assert!((f64::from(value) - log_prob(&LOGITS, &MASK, &slate)).abs() < 1e-5);
        let grads = got.log_prob.sum_all().unwrap().backward().unwrap();
        let grad = grads.get(&logits).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for i in 0..5 {
            let at = |d: f64| {
                let mut moved = LOGITS;
                moved[i] += d;
                log_prob(&moved, &MASK, &slate)
            };
            let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((f64::from(grad[i]) - numeric).abs() < 1e-4, "item {i}: {} not {numeric}", grad[i]);
        }
        let items = item_log_probs(&logits, &mask).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (i, item) in items.iter().enumerate().filter(|(i, _)| MASK[*i]) {
            assert!((f64::from(*item) - log_prob(&LOGITS, &MASK, &[i as u32])).abs() < 1e-5, "item {i}: {item}");
        }
        assert!(items[3] < -1e8, "an illegal item has no probability");
        let p: Vec<f64> = [0usize, 1, 2, 4].iter().map(|&i| log_prob(&LOGITS, &MASK, &[i as u32]).exp()).collect();
        let entropy: f64 = -p.iter().map(|p| p * p.ln()).sum::<f64>();
        let got = got.entropy.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
        assert!((f64::from(got) - entropy).abs() < 1e-5, "{got} not {entropy}");
    }
}
