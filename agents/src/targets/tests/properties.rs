//! Laws that connect the targets with each other, on random rollouts.

use crate::targets::{
    Steps, TraceCut, VTrace, VTraceConfig, best_action, discounted_returns, double_value, epsilon_greedy,
    expected_value, following_values, gae, greedy_value, n_step, one_step_target, q_lambda, retrace, td_lambda,
    v_trace,
};
use proptest::prelude::*;
use retune::env::Status;

#[derive(Clone, Debug)]
struct Rollout {
    num_envs: usize,
    rewards: Vec<f64>,
    status: Vec<Status>,
    values: Vec<f64>,
    final_values: Vec<f64>,
    last_values: Vec<f64>,
}

impl Rollout {
    fn steps(&self) -> Steps<'_, f64> {
        Steps::new(self.num_envs, &self.rewards, &self.status).unwrap()
    }

    fn following(&self) -> Vec<f64> {
        following_values(&self.steps(), &self.values, &self.final_values, &self.last_values).unwrap()
    }
}

fn any_status() -> impl Strategy<Value = Status> {
    prop_oneof![8 => Just(Status::Running), 1 => Just(Status::Terminated), 1 => Just(Status::Truncated)]
}

fn rollout() -> impl Strategy<Value = Rollout> {
    (1usize..4, 1usize..12).prop_flat_map(|(num_envs, num_steps)| {
        let table = || prop::collection::vec(-5.0..5.0f64, num_envs * num_steps);
        let last = prop::collection::vec(-5.0..5.0f64, num_envs);
        let status = prop::collection::vec(any_status(), num_envs * num_steps);
        (table(), status, table(), table(), last).prop_map(
            move |(rewards, status, values, final_values, last_values)| Rollout {
                num_envs,
                rewards,
                status,
                values,
                final_values,
                last_values,
            },
        )
    })
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9 * a.abs().max(1.0))
}

proptest! {
    #[test]
    fn gae_with_lambda_1_is_the_discounted_return_minus_the_value(r in rollout(), gamma in 0.0..1.0f64) {
        let (steps, following) = (r.steps(), r.following());
        let got = gae(&steps, &r.values, &following, gamma, 1.0).unwrap();
        prop_assert!(close(&got.returns, &discounted_returns(&steps, Some(&following), gamma).unwrap()));
    }

    #[test]
    fn gae_returns_are_td_lambda_returns(r in rollout(), gamma in 0.0..1.0f64, lambda in 0.0..1.0f64) {
        let (steps, following) = (r.steps(), r.following());
        let got = gae(&steps, &r.values, &following, gamma, lambda).unwrap();
        prop_assert!(close(&got.returns, &td_lambda(&steps, &following, gamma, lambda).unwrap()));
    }

    #[test]
    fn one_step_and_endless_steps_are_the_ends_of_n(r in rollout(), gamma in 0.0..1.0f64) {
        let (steps, following) = (r.steps(), r.following());
        let one = n_step(&steps, gamma, 1).returns(&steps, &following).unwrap();
        prop_assert!(close(&one, &td_lambda(&steps, &following, gamma, 0.0).unwrap()));
        let all = n_step(&steps, gamma, 1000).returns(&steps, &following).unwrap();
        prop_assert!(close(&all, &discounted_returns(&steps, Some(&following), gamma).unwrap()));
    }

    #[test]
    fn v_trace_on_policy_is_td_lambda(r in rollout(), gamma in 0.0..1.0f64, lambda in 0.0..1.0f64) {
        let (steps, following) = (r.steps(), r.following());
        let config = VTraceConfig { gamma, lambda, rho_bar: 1.0, c_bar: 1.0, pg_rho_bar: 1.0 };
        let zeros = vec![0.0; r.values.len()];
        let inputs = VTrace { values: &r.values, following: &following, log_rhos: &zeros };
        let got = v_trace(&steps, inputs, &config).unwrap();
        prop_assert!(close(&got.value_targets, &td_lambda(&steps, &following, gamma, lambda).unwrap()));
    }

    #[test]
    fn retrace_and_q_lambda_agree_where_all_is_greedy(r in rollout(), gamma in 0.0..1.0f64, lambda in 0.0..1.0f64) {
        // One action: every policy is greedy, every ratio 1, and Q(s, a) is V(s).
        let (steps, following) = (r.steps(), r.following());
        let (actions, zeros) = (vec![0; r.values.len()], vec![0.0; r.values.len()]);
        let a = retrace(&steps, &r.values, &zeros, &following, gamma, lambda).unwrap();
        let b = q_lambda(&steps, &r.values, &actions, &following, gamma, lambda, TraceCut::Watkins).unwrap();
        prop_assert!(close(&a, &b));
    }

    #[test]
    fn what_must_not_matter_does_not(r in rollout(), gamma in 0.0..1.0f64) {
        let mut other = r.clone();
        for (value, status) in other.final_values.iter_mut().zip(&r.status) {
            if *status != Status::Truncated {
                *value = f64::NAN;
            }
        }
        let last_row = r.status.len() - r.num_envs;
        for (env, value) in other.last_values.iter_mut().enumerate() {
            if r.status[last_row + env].is_over() {
                *value = f64::NAN;
            }
        }
        let (a, b) = (r.following(), other.following());
        prop_assert!(close(&a, &b));
        let steps = r.steps();
        prop_assert!(close(
            &td_lambda(&steps, &a, gamma, 0.9).unwrap(),
            &td_lambda(&steps, &b, gamma, 0.9).unwrap()
        ));
    }

    #[test]
    fn slots_do_not_see_each_other(r in rollout(), gamma in 0.0..1.0f64) {
        let steps = r.steps();
        let all = td_lambda(&steps, &r.following(), gamma, 0.8).unwrap();
        for env in 0..r.num_envs {
            fn pick<T: Copy>(table: &[T], env: usize, num_envs: usize) -> Vec<T> {
                table.iter().skip(env).step_by(num_envs).copied().collect()
            }
            let one = Rollout {
                num_envs: 1,
                rewards: pick(&r.rewards, env, r.num_envs),
                status: pick(&r.status, env, r.num_envs),
                values: pick(&r.values, env, r.num_envs),
                final_values: pick(&r.final_values, env, r.num_envs),
                last_values: vec![r.last_values[env]],
            };
            let alone = td_lambda(&one.steps(), &one.following(), gamma, 0.8).unwrap();
            prop_assert!(close(&alone, &pick(&all, env, r.num_envs)));
        }
    }

    #[test]
    fn double_q_learning_never_exceeds_the_maximum(
        pairs in prop::collection::vec((-5.0..5.0f64, -5.0..5.0f64, any::<bool>()), 1..8),
    ) {
        let online: Vec<f64> = pairs.iter().map(|p| p.0).collect();
        let target: Vec<f64> = pairs.iter().map(|p| p.1).collect();
        let mask: Vec<bool> = pairs.iter().map(|p| p.2).collect();
        match (double_value(&online, &target, &mask), greedy_value(&target, &mask)) {
            (Some(double), Some(greedy)) => prop_assert!(double <= greedy),
            (None, None) => prop_assert!(mask.iter().all(|m| !m)),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn epsilon_greedy_is_a_distribution_over_legal_actions(
        pairs in prop::collection::vec((-5.0..5.0f64, any::<bool>()), 1..8),
        epsilon in 0.0..1.0f64,
    ) {
        let q: Vec<f64> = pairs.iter().map(|p| p.0).collect();
        let mask: Vec<bool> = pairs.iter().map(|p| p.1).collect();
        prop_assume!(mask.iter().any(|&m| m));
        let mut probs = vec![f64::NAN; q.len()];
        epsilon_greedy(&q, &mask, epsilon, &mut probs);
        prop_assert!((probs.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        prop_assert!(probs.iter().zip(&mask).all(|(p, m)| *m || *p == 0.0));
        let mean = expected_value(&q, &probs);
        prop_assert!(mean <= greedy_value(&q, &mask).unwrap() + 1e-12);
    }
}

#[test]
fn the_first_of_equal_values_wins_and_illegal_ones_never_do() {
    assert_eq!(best_action(&[1.0, 3.0, 3.0], &[]), Some(1));
    assert_eq!(best_action(&[1.0, 3.0, 2.0], &[true, false, true]), Some(2));
    assert_eq!(best_action(&[f64::NAN, -3.0], &[]), Some(1));
    assert_eq!(best_action(&[1.0f32], &[false]), None);
    assert_eq!(best_action::<f32>(&[], &[]), None);
}

#[test]
fn truncation_keeps_the_value_and_termination_does_not() {
    assert_eq!(one_step_target(1.0, Status::Truncated, 0.5, 10.0), 6.0);
    assert_eq!(one_step_target(1.0, Status::Terminated, 0.5, f64::NAN), 1.0);
}

#[test]
fn misshapen_tables_are_named() {
    let error = Steps::new(2, &[1.0, 2.0, 3.0], &[Status::Running; 3]).unwrap_err().to_string();
    assert!(error.contains("no whole number of rows of 2"), "{error}");
    let error = Steps::new(1, &[1.0], &[]).unwrap_err().to_string();
    assert!(error.contains("status has 0 entries, expected 1"), "{error}");
    let steps = Steps::new(1, &[1.0], &[Status::Running]).unwrap();
    let error = td_lambda(&steps, &[], 0.9, 0.9).unwrap_err().to_string();
    assert!(error.contains("following has 0 entries, expected 1"), "{error}");
    let error = q_lambda(&steps, &[1.0, 2.0], &[2], &[0.0], 0.9, 0.9, TraceCut::Peng).unwrap_err().to_string();
    assert!(error.contains("action 2 of 2"), "{error}");
}
