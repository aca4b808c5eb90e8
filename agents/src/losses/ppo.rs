//! The losses of policy-gradient algorithms on a batch: surrogate, value error, entropy bonus, divergence penalty.

use super::policy::{add_entropy_gradient, add_kl_gradient, add_log_prob_gradient, entropy, kl, log_softmax};
use crate::targets::Real;
use retune::{Error, Result};

/// How an advantage becomes a loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Surrogate {
    /// `−A·ln π(a)`: REINFORCE, A2C, and V-trace, whose advantages have the importance weight in them.
    LogProb,
    /// `max(−A·r, −A·clip(r, 1 − ε, 1 + ε))` with `r = π(a)/π_old(a)` (Schulman et al., arXiv:1707.06347, equation 7).
    Clipped {
        /// ε.
        clip_coef: f64,
    },
}

/// Weights of the parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicyLoss {
    /// Policy part.
    pub surrogate: Surrogate,
    /// Whether advantages are brought to mean 0 and standard deviation 1 over the batch (with n − 1 in the variance,
    /// and 1e-8 added to the root). A batch of one stays as it is.
    pub normalize_advantages: bool,
    /// Weight of `½ mean (V − R)²`.
    pub vf_coef: f64,
    /// Largest step of a value from the one at the time of acting, beyond which the worse of both errors counts; `None`
    /// for no limit.
    pub clip_value: Option<f64>,
    /// Weight of the entropy, which is subtracted.
    pub ent_coef: f64,
    /// Weight of KL(π‖reference), over all candidates.
    pub kl_coef: f64,
}

/// A batch of decisions. Tables are `[rows]`, or `[rows, num_candidates]` for logits and masks.
#[derive(Clone, Copy, Debug)]
pub struct PolicyBatch<'a, T> {
    /// Logits of the policy that is trained.
    pub logits: &'a [T],
    /// 1 for a candidate that may be chosen, else 0.
    pub mask: &'a [u8],
    /// What was chosen.
    pub actions: &'a [u32],
    /// `ln π_old(a)` when it was chosen.
    pub old_log_probs: &'a [T],
    /// Advantages of what was chosen.
    pub advantages: &'a [T],
    /// Values under the parameters that are trained; empty without a value function.
    pub values: &'a [T],
    /// Values when the decision was made; empty where they are not needed.
    pub old_values: &'a [T],
    /// Targets of the values.
    pub returns: &'a [T],
    /// Logits of the reference policy; empty without a penalty.
    pub reference: &'a [T],
}

/// Means over a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PolicyReport {
    /// All parts with their weights.
    pub total_loss: f64,
    /// The surrogate.
    pub policy_loss: f64,
    /// `½ mean (V − R)²`, clipped if asked for.
    pub value_loss: f64,
    /// In nats.
    pub entropy: f64,
    /// `mean 1{|r − 1| > ε}`; 0 without clipping.
    pub clip_fraction: f64,
    /// `mean −ln r`, an estimate of KL(old‖new).
    pub kl_k1: f64,
    /// `mean (r − 1 − ln r)`, an estimate of it with less variance (Schulman, "Approximating KL divergence", 2020).
    pub kl_k3: f64,
    /// KL(π‖reference).
    pub reference_kl: f64,
}

/// The loss, and its gradient with respect to logits and values. Gradients are overwritten.
///
/// # Errors
/// [`Error::State`] if a table has another length, or a row no legal candidate.
pub fn policy_loss<T: Real>(
    loss: &PolicyLoss,
    batch: &PolicyBatch<'_, T>,
    grad_logits: &mut [T],
    grad_values: &mut [T],
) -> Result<PolicyReport> {
    let rows = batch.actions.len();
    check(batch, loss, grad_logits.len(), grad_values.len())?;
    let mut report = PolicyReport::default();
    if rows == 0 {
        return Ok(report);
    }
    let n = batch.logits.len() / rows;
    let share = 1.0 / rows as f64;
    let (mean, scale) = normalisation(batch.advantages, loss.normalize_advantages);
    let (mut now, mut reference) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for row in 0..rows {
        let legal = |i: usize| batch.mask[row * n + i] != 0;
        let grad = &mut grad_logits[row * n..][..n];
        grad.fill(T::narrow(0.0));
        log_softmax(&batch.logits[row * n..][..n], legal, &mut now)?;
        let action = batch.actions[row] as usize;
        let advantage = (batch.advantages[row].wide() - mean) * scale;
        let log_prob = now[action];
        let log_ratio = log_prob - batch.old_log_probs[row].wide();
        let ratio = log_ratio.exp();
        let weight = match loss.surrogate {
            Surrogate::LogProb => {
                report.policy_loss -= share * advantage * log_prob;
                -advantage
            }
            Surrogate::Clipped { clip_coef } => {
                let plain = -advantage * ratio;
                let clipped = -advantage * ratio.clamp(1.0 - clip_coef, 1.0 + clip_coef);
                report.policy_loss += share * plain.max(clipped);
                report.clip_fraction += if (ratio - 1.0).abs() > clip_coef { share } else { 0.0 };
                // The clipped branch is constant in the ratio.
                if plain >= clipped { plain } else { 0.0 }
            }
        };
        add_log_prob_gradient(grad, &now, action, share * weight);
        let h = entropy(&now);
        report.entropy += share * h;
        if loss.ent_coef != 0.0 {
            add_entropy_gradient(grad, &now, h, -share * loss.ent_coef);
        }
        if loss.kl_coef != 0.0 {
            log_softmax(&batch.reference[row * n..][..n], legal, &mut reference)?;
            let divergence = kl(&now, &reference);
            report.reference_kl += share * divergence;
            add_kl_gradient(grad, &now, &reference, divergence, share * loss.kl_coef);
        }
        report.kl_k1 -= share * log_ratio;
        report.kl_k3 += share * (ratio - 1.0 - log_ratio);
    }
    report.value_loss = value_loss(loss, batch, grad_values);
    report.total_loss = report.policy_loss + loss.vf_coef * report.value_loss - loss.ent_coef * report.entropy
        + loss.kl_coef * report.reference_kl;
    Ok(report)
}

/// Half the mean squared error, and its gradient times the weight of this part.
fn value_loss<T: Real>(loss: &PolicyLoss, batch: &PolicyBatch<'_, T>, grad: &mut [T]) -> f64 {
    let share = 1.0 / batch.values.len().max(1) as f64;
    let mut sum = 0.0;
    for (row, (value, grad)) in batch.values.iter().zip(grad).enumerate() {
        let (value, target) = (value.wide(), batch.returns[row].wide());
        let (mut error, mut slope) = ((value - target).powi(2), value - target);
        if let Some(clip) = loss.clip_value {
            let before = batch.old_values[row].wide();
            let bounded = before + (value - before).clamp(-clip, clip);
            if (bounded - target).powi(2) > error {
                (error, slope) = ((bounded - target).powi(2), 0.0);
            }
        }
        sum += error;
        *grad = T::narrow(loss.vf_coef * slope * share);
    }
    0.5 * sum * share
}

/// What to subtract from advantages, and what to multiply them with.
fn normalisation<T: Real>(advantages: &[T], wanted: bool) -> (f64, f64) {
    if !wanted || advantages.len() < 2 {
        return (0.0, 1.0);
    }
    let count = advantages.len() as f64;
    let mean = advantages.iter().map(|a| a.wide()).sum::<f64>() / count;
    let squares: f64 = advantages.iter().map(|a| (a.wide() - mean).powi(2)).sum();
    (mean, 1.0 / ((squares / (count - 1.0)).sqrt() + 1e-8))
}

fn check<T>(batch: &PolicyBatch<'_, T>, loss: &PolicyLoss, grad_logits: usize, grad_values: usize) -> Result<()> {
    let (rows, logits, values) = (batch.actions.len(), batch.logits.len(), batch.values.len());
    let old_values = if loss.clip_value.is_some() { values } else { batch.old_values.len() };
    let reference = if loss.kl_coef != 0.0 { logits } else { batch.reference.len() };
    let tables = [
        ("mask", batch.mask.len(), logits),
        ("old_log_probs", batch.old_log_probs.len(), rows),
        ("advantages", batch.advantages.len(), rows),
        ("values", values, if values == 0 { 0 } else { rows }),
        ("old_values", batch.old_values.len(), old_values),
        ("returns", batch.returns.len().min(values), values),
        ("reference", batch.reference.len(), reference),
        ("gradient of logits", grad_logits, logits),
        ("gradient of values", grad_values, values),
    ];
    let wrong = tables.iter().find(|(_, found, expected)| found != expected);
    if let Some((name, found, expected)) = wrong {
        return Err(Error::State(format!("{name} has {found} entries, expected {expected}")));
    }
    if rows > 0 && (logits == 0 || !logits.is_multiple_of(rows)) {
        return Err(Error::State(format!("{logits} logits for {rows} rows")));
    }
    let n = logits / rows.max(1);
    match batch.actions.iter().find(|&&a| a as usize >= n) {
        Some(bad) => Err(Error::State(format!("action {bad} of {n} candidates: no such candidate"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::testing::{assert_close, cases, deviation, flat, number, table, tolerance};
    use serde_json::{Value, json};

    const GOLDEN: &str = include_str!("../../../tests/golden/targets/ppo_loss.json");

    fn old_log_probs(case: &Value, mask: &[u8], n: usize) -> Vec<f64> {
        let (logits, actions) = (flat(&case["old_logits"]), flat(&case["actions"]));
        let one = |row: usize| {
            let mut out = Vec::new();
            log_softmax(&logits[row * n..][..n], |i| mask[row * n + i] != 0, &mut out).unwrap();
            out[actions[row] as usize]
        };
        (0..actions.len()).map(one).collect()
    }

    /// Report and gradients of a case, with `change` applied to the settings.
    fn run<T: Real>(case: &Value, change: impl Fn(&mut PolicyLoss)) -> (PolicyReport, Vec<T>, Vec<T>) {
        let clip_coef = number(&case["clip_coef"]);
        let mut loss = PolicyLoss {
            surrogate: Surrogate::Clipped { clip_coef },
            normalize_advantages: case["normalize_advantages"] == true,
            vf_coef: number(&case["vf_coef"]),
            clip_value: (case["clip_value_loss"] == true).then_some(clip_coef),
            ent_coef: number(&case["ent_coef"]),
            kl_coef: 0.0,
        };
        change(&mut loss);
        let mask: Vec<u8> = flat(&case["mask"]).iter().map(|&m| m as u8).collect();
        let actions: Vec<u32> = flat(&case["actions"]).iter().map(|&a| a as u32).collect();
        let logits = table::<T>(&case["logits"]);
        let old: Vec<T> = old_log_probs(case, &mask, logits.len() / actions.len()).into_iter().map(T::narrow).collect();
        let batch = PolicyBatch {
            logits: &logits,
            mask: &mask,
            actions: &actions,
            old_log_probs: &old,
            advantages: &table(&case["advantages"]),
            values: &table(&case["values"]),
            old_values: &table(&case["old_values"]),
            returns: &table(&case["returns"]),
            reference: &logits,
        };
        let zeros = |count: usize| vec![T::narrow(7.0); count];
        let (mut grad_logits, mut grad_values) = (zeros(logits.len()), zeros(actions.len()));
        let report = policy_loss(&loss, &batch, &mut grad_logits, &mut grad_values).unwrap();
        (report, grad_logits, grad_values)
    }

    fn check_golden<T: Real>() {
        for case in cases(GOLDEN) {
            let (report, grad_logits, grad_values) = run::<T>(&case, |_| {});
            let expected = &case["expected"];
            for (got, name) in [
                (report.policy_loss, "policy_loss"),
                (report.value_loss, "value_loss"),
                (report.entropy, "entropy"),
                (report.total_loss, "total_loss"),
                (report.clip_fraction, "clip_fraction"),
                (report.kl_k1, "kl_k1"),
                (report.kl_k3, "kl_k3"),
            ] {
                assert_close(&[T::narrow(got)], &json!([expected[name]]), &case);
            }
            assert_close(&grad_logits, &expected["grad_logits"], &case);
            assert_close(&grad_values, &expected["grad_values"], &case);
        }
    }

    #[test]
    fn the_ppo_loss_agrees_with_the_golden_cases() {
        check_golden::<f64>();
        check_golden::<f32>();
    }

    #[test]
    fn each_part_matters_in_some_golden_case() {
        let changes: [fn(&mut PolicyLoss); 4] = [
            |l| l.normalize_advantages = !l.normalize_advantages,
            |l| l.clip_value = None,
            |l| l.ent_coef = 0.0,
            |l| l.surrogate = Surrogate::LogProb,
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let off = cases(GOLDEN).iter().any(|case| {
                let (_, grad_logits, grad_values) = run::<f64>(case, change);
                deviation(&grad_logits, &case["expected"]["grad_logits"]) > tolerance::<f64>()
                    || deviation(&grad_values, &case["expected"]["grad_values"]) > tolerance::<f64>()
            });
            assert!(off, "no case notices change {i}");
        }
    }

    #[test]
    fn a_reference_equal_to_the_policy_has_no_pull() {
        for case in cases(GOLDEN) {
            let (plain, grad, _) = run::<f64>(&case, |_| {});
            let (report, pulled, _) = run::<f64>(&case, |l| l.kl_coef = 3.0);
            assert!(report.reference_kl.abs() < 1e-12 && (report.total_loss - plain.total_loss).abs() < 1e-12);
            assert!(grad.iter().zip(&pulled).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }

    #[test]
    fn tables_that_do_not_fit_are_named() {
        let loss = PolicyLoss {
            surrogate: Surrogate::LogProb,
            normalize_advantages: false,
            vf_coef: 0.5,
            clip_value: None,
            ent_coef: 0.0,
            kl_coef: 0.0,
        };
        let batch = PolicyBatch {
            logits: &[0.0f32; 4],
            mask: &[1; 4],
            actions: &[0, 2],
            old_log_probs: &[0.0; 2],
            advantages: &[0.0; 2],
            values: &[],
            old_values: &[],
            returns: &[],
            reference: &[],
        };
        let error =
            |batch: &PolicyBatch<'_, f32>| policy_loss(&loss, batch, &mut [0.0; 4], &mut []).unwrap_err().to_string();
        assert!(error(&batch).contains("action 2 of 2 candidates"));
        let fewer = PolicyBatch { advantages: &[0.0], ..batch };
        assert_eq!(error(&fewer), "cannot restore: advantages has 1 entries, expected 2");
    }
}
