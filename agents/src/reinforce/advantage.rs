//! Generalised advantage estimation over segments (Schulman et al., arXiv:1506.02438, equation 16).

use retune::env::Status;

/// One step as the estimate sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct StepValue {
    pub reward: f64,
    pub status: Status,
    /// V(s) before the step.
    pub value: f64,
    /// V of what follows the step: of the final observation where the episode is over.
    pub next_value: f64,
}

/// Advantages of a segment: δ_t + γλ A_{t+1}, where δ_t = r + γ V(s') − V(s). Only a terminated step loses the
/// bootstrap; any end of an episode ends the recursion, and so does the end of the segment.
pub(super) fn advantages(steps: &[StepValue], gamma: f64, lambda: f64) -> Vec<f64> {
    let mut out = vec![0.0; steps.len()];
    let mut following = 0.0;
    for (t, step) in steps.iter().enumerate().rev() {
        let bootstrap = if step.status == Status::Terminated { 0.0 } else { gamma * step.next_value };
        let delta = step.reward + bootstrap - step.value;
        let carried = if step.status.is_over() { 0.0 } else { gamma * lambda * following };
        following = delta + carried;
        out[t] = following;
    }
    out
}

/// Brings advantages to mean 0 and standard deviation 1.
pub(crate) fn normalise(advantages: &mut [f64]) {
    let count = advantages.len().max(1) as f64;
    let mean = advantages.iter().sum::<f64>() / count;
    let variance = advantages.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / count;
    for advantage in advantages {
        *advantage = (*advantage - mean) / (variance.sqrt() + 1e-8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(reward: f64, status: Status) -> StepValue {
        StepValue { reward, status, value: 1.0, next_value: 2.0 }
    }

    #[test]
    fn truncation_bootstraps_and_termination_does_not() {
        assert_eq!(advantages(&[step(0.5, Status::Truncated)], 0.5, 1.0), [0.5]);
        assert_eq!(advantages(&[step(0.5, Status::Terminated)], 0.5, 1.0), [-0.5]);
    }

    #[test]
    fn the_recursion_stops_at_ends_and_runs_within_episodes() {
        // Second step: 1 + 0.5 · 2 − 1 = 1; first: the same and 0.5 · 0.5 of it.
        let running = [step(1.0, Status::Running), step(1.0, Status::Running)];
        assert_eq!(advantages(&running, 0.5, 0.5), [1.25, 1.0]);
        let cut = [step(1.0, Status::Truncated), step(1.0, Status::Running)];
        assert_eq!(advantages(&cut, 0.5, 0.5), [1.0, 1.0]);
    }

    #[test]
    fn with_lambda_one_it_is_the_return_of_the_rest_less_the_baseline() {
        let steps = [step(1.0, Status::Running), step(2.0, Status::Running), step(3.0, Status::Terminated)];
        // The values in between cancel only if V(s') of a step is V(s) of the next.
        let steps: Vec<StepValue> = steps.iter().map(|s| StepValue { next_value: 1.0, ..*s }).collect();
        let got = advantages(&steps, 0.9, 1.0);
        let expected = [1.0 + 0.9 * 2.0 + 0.81 * 3.0 - 1.0, 2.0 + 0.9 * 3.0 - 1.0, 3.0 - 1.0];
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-12, "{got} not {expected}");
        }
    }
}
