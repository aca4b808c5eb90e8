//! Every golden file, in double and in single precision, and what each would say to the usual mistakes.

use crate::targets::testing::{assert_close, cases, deviation, flat, number, status, table, tolerance};
use crate::targets::{
    Real, Steps, TraceCut, VTrace, VTraceConfig, discounted_returns, double_value, expected_value, following_values,
    gae, greedy_value, n_step, one_step_targets, q_lambda, retrace, td_lambda, v_trace,
};
use retune::env::Status;
use serde_json::Value;

const GAE: &str = include_str!("../../../../tests/golden/targets/gae.json");
const RETURNS: &str = include_str!("../../../../tests/golden/targets/discounted_returns.json");
const N_STEP: &str = include_str!("../../../../tests/golden/targets/n_step.json");
const TD_LAMBDA: &str = include_str!("../../../../tests/golden/targets/td_lambda.json");
const Q_LAMBDA: &str = include_str!("../../../../tests/golden/targets/q_lambda.json");
const RETRACE: &str = include_str!("../../../../tests/golden/targets/retrace.json");
const V_TRACE: &str = include_str!("../../../../tests/golden/targets/v_trace.json");
const ONE_STEP: &str = include_str!("../../../../tests/golden/targets/one_step_targets.json");

/// The tables that all rollout files share.
struct Tables<T> {
    num_envs: usize,
    rewards: Vec<T>,
    status: Vec<Status>,
}

impl<T: Real> Tables<T> {
    fn of(case: &Value) -> Self {
        let num_envs = case["rewards"][0].as_array().unwrap().len();
        Self { num_envs, rewards: table(&case["rewards"]), status: status(case) }
    }

    fn steps(&self) -> Steps<'_, T> {
        Steps::new(self.num_envs, &self.rewards, &self.status).unwrap()
    }
}

/// The values that follow each step of a case with state values; those of the states themselves may be missing.
fn following<T: Real>(steps: &Steps<'_, T>, case: &Value) -> Vec<T> {
    let final_values: Vec<T> = table(&case["final_values"]);
    let values = if case["values"].is_null() { final_values.clone() } else { table(&case["values"]) };
    following_values(steps, &values, &final_values, &table::<T>(&case["last_values"])).unwrap()
}

/// A number for each row of a table of action values.
fn reduced<T: Real>(q: &Value, width: usize, f: impl Fn(usize, &[T]) -> f64) -> Vec<T> {
    table::<T>(q).chunks(width).enumerate().map(|(i, row)| T::narrow(f(i, row))).collect()
}

fn num_actions(case: &Value) -> usize {
    case["q_values"][0][0].as_array().unwrap().len()
}

fn actions(value: &Value) -> Vec<u32> {
    flat(value).into_iter().map(|a| a as u32).collect()
}

/// Runs a check in both precisions.
macro_rules! both {
    ($name:ident, $check:ident) => {
        #[test]
        fn $name() {
            $check::<f64>();
            $check::<f32>();
        }
    };
}

both!(gae_matches_the_golden_file, check_gae);
both!(discounted_returns_match_the_golden_file, check_returns);
both!(n_step_returns_match_the_golden_file, check_n_step);
both!(td_lambda_matches_the_golden_file, check_td_lambda);
both!(q_lambda_matches_the_golden_file, check_q_lambda);
both!(retrace_matches_the_golden_file, check_retrace);
both!(v_trace_matches_the_golden_file, check_v_trace);
both!(one_step_targets_match_the_golden_file, check_one_step);

fn check_gae<T: Real>() {
    for case in cases(GAE) {
        let tables = Tables::<T>::of(&case);
        let steps = tables.steps();
        let (gamma, lambda) = (number(&case["gamma"]), number(&case["gae_lambda"]));
        let values: Vec<T> = table(&case["values"]);
        let got = gae(&steps, &values, &following(&steps, &case), gamma, lambda).unwrap();
        assert_close(&got.advantages, &case["expected"]["advantages"], &case);
        assert_close(&got.returns, &case["expected"]["returns"], &case);
    }
}

fn check_returns<T: Real>() {
    for case in cases(RETURNS) {
        let tables = Tables::<T>::of(&case);
        let steps = tables.steps();
        let following = following(&steps, &case);
        let following = (case["bootstrap"] == true).then_some(following.as_slice());
        let got = discounted_returns(&steps, following, number(&case["gamma"])).unwrap();
        assert_close(&got, &case["expected"]["returns"], &case);
    }
}

fn check_n_step<T: Real>() {
    for case in cases(N_STEP) {
        let tables = Tables::<T>::of(&case);
        let steps = tables.steps();
        let got = n_step(&steps, number(&case["gamma"]), number(&case["n"]) as usize);
        let expected = &case["expected"];
        assert_close(&got.reward_sums, &expected["reward_sums"], &case);
        assert_close(&got.bootstrap_discounts, &expected["bootstrap_discounts"], &case);
        let lengths: Vec<f64> = got.steps.iter().map(|&m| m as f64).collect();
        assert_eq!(lengths, flat(&expected["steps"]), "{}", case["name"]);
        let returns = got.returns(&steps, &following(&steps, &case)).unwrap();
        assert_close(&returns, &expected["returns"], &case);
    }
}

fn check_td_lambda<T: Real>() {
    for case in cases(TD_LAMBDA) {
        let tables = Tables::<T>::of(&case);
        let steps = tables.steps();
        let (gamma, lambda) = (number(&case["gamma"]), number(&case["lambda"]));
        let got = td_lambda(&steps, &following(&steps, &case), gamma, lambda).unwrap();
        assert_close(&got, &case["expected"]["returns"], &case);
    }
}

fn check_q_lambda<T: Real>() {
    for case in cases(Q_LAMBDA) {
        let tables = Tables::<T>::of(&case);
        let steps = tables.steps();
        let largest = |q: &Value| reduced::<T>(q, num_actions(&case), |_, row| greedy_value(row, &[]).unwrap());
        let following = following_values(
            &steps,
            &largest(&case["q_values"]),
            &largest(&case["final_q"]),
            &largest(&case["last_q"]),
        )
        .unwrap();
        let (q, actions) = (table::<T>(&case["q_values"]), actions(&case["actions"]));
        let (gamma, lambda) = (number(&case["gamma"]), number(&case["lambda"]));
        for (cut, name) in [(TraceCut::Watkins, "watkins"), (TraceCut::Peng, "peng")] {
            let got = q_lambda(&steps, &q, &actions, &following, gamma, lambda, cut).unwrap();
            assert_close(&got, &case["expected"][name], &case);
        }
    }
}

fn check_retrace<T: Real>() {
    for case in cases(RETRACE) {
        let tables = Tables::<T>::of(&case);
        let steps = tables.steps();
        let width = num_actions(&case);
        let expected = |q: &str, probs: &str| {
            let probs: Vec<T> = table(&case[probs]);
            reduced::<T>(&case[q], width, |i, row| expected_value(row, &probs[i * width..][..width]))
        };
        let following = following_values(
            &steps,
            &expected("q_values", "target_probs"),
            &expected("final_q", "final_probs"),
            &expected("last_q", "last_probs"),
        )
        .unwrap();
        let actions = actions(&case["actions"]);
        let taken = |values: &Value| reduced::<T>(values, width, |i, row: &[T]| row[actions[i] as usize].wide());
        let behaviour = flat(&case["behaviour_probs"]);
        let log_rhos: Vec<T> = taken(&case["target_probs"])
            .iter()
            .zip(&behaviour)
            .map(|(pi, mu)| T::narrow(pi.wide().ln() - mu.ln()))
            .collect();
        let (gamma, lambda) = (number(&case["gamma"]), number(&case["lambda"]));
        let got = retrace(&steps, &taken(&case["q_values"]), &log_rhos, &following, gamma, lambda).unwrap();
        assert_close(&got, &case["expected"]["targets"], &case);
    }
}

fn check_v_trace<T: Real>() {
    for case in cases(V_TRACE) {
        let tables = Tables::<T>::of(&case);
        let steps = tables.steps();
        let following = following(&steps, &case);
        let (values, log_rhos) = (table::<T>(&case["values"]), table::<T>(&case["log_rhos"]));
        let config = VTraceConfig {
            gamma: number(&case["gamma"]),
            lambda: number(&case["lambda"]),
            rho_bar: number(&case["rho_bar"]),
            c_bar: number(&case["c_bar"]),
            pg_rho_bar: number(&case["pg_rho_bar"]),
        };
        let inputs = VTrace { values: &values, following: &following, log_rhos: &log_rhos };
        let got = v_trace(&steps, inputs, &config).unwrap();
        assert_close(&got.value_targets, &case["expected"]["value_targets"], &case);
        assert_close(&got.pg_advantages, &case["expected"]["pg_advantages"], &case);
    }
}

fn check_one_step<T: Real>() {
    for case in cases(ONE_STEP) {
        let width = case["q_next"][0].as_array().unwrap().len();
        let (online, target) = (table::<T>(&case["q_next"]), table::<T>(&case["q_next_target"]));
        let (probs, next) = (table::<T>(&case["next_probs"]), actions(&case["next_actions"]));
        let (rewards, status) = (table::<T>(&case["rewards"]), status(&case));
        let row = |q: &[T], i: usize| q[i * width..(i + 1) * width].to_vec();
        let check = |name: &str, value: &dyn Fn(usize) -> f64| {
            let values: Vec<T> = (0..rewards.len()).map(|i| T::narrow(value(i))).collect();
            let got = one_step_targets(&rewards, &status, number(&case["gamma"]), &values).unwrap();
            assert_close(&got, &case["expected"][name], &case);
        };
        check("sarsa", &|i| row(&target, i)[next[i] as usize].wide());
        check("expected_sarsa", &|i| expected_value(&row(&target, i), &row(&probs, i)));
        check("q_learning", &|i| greedy_value(&row(&target, i), &[]).unwrap());
        check("double_q_learning", &|i| double_value(&row(&online, i), &row(&target, i), &[]).unwrap());
    }
}

/// Largest deviation over the cases of `json` whose name does not begin with `one_step`.
fn worst(json: &str, key: &str, wrong: impl Fn(&Value) -> Vec<f64>) -> f64 {
    let several = cases(json).into_iter().filter(|case| !case["name"].as_str().unwrap().starts_with("one_step"));
    several.map(|case| deviation(&wrong(&case), &case["expected"][key])).fold(0.0, f64::max)
}

/// Advantages of a case with its statuses and following values tampered with.
fn gae_with(
    case: &Value,
    tamper_status: impl Fn(Status) -> Status,
    tamper_following: impl Fn(&Tables<f64>, Vec<f64>) -> Vec<f64>,
) -> Vec<f64> {
    let tables = Tables::<f64>::of(case);
    let following = tamper_following(&tables, following(&tables.steps(), case));
    let status: Vec<Status> = tables.status.iter().map(|&s| tamper_status(s)).collect();
    let steps = Steps::new(tables.num_envs, &tables.rewards, &status).unwrap();
    let (gamma, lambda) = (number(&case["gamma"]), number(&case["gae_lambda"]));
    gae(&steps, &table::<f64>(&case["values"]), &following, gamma, lambda).unwrap().advantages
}

#[test]
fn usual_mistakes_at_the_end_of_an_episode_fail_the_golden_file() {
    let unchanged = worst(GAE, "advantages", |case| gae_with(case, |s| s, |_, f| f));
    assert!(unchanged <= tolerance::<f64>(), "{unchanged}");
    let truncation_terminates = |s| if s == Status::Truncated { Status::Terminated } else { s };
    assert!(worst(GAE, "advantages", |case| gae_with(case, truncation_terminates, |_, f| f)) > 0.1);
    let never_ends = |s| if s == Status::Truncated { Status::Running } else { s };
    assert!(worst(GAE, "advantages", |case| gae_with(case, never_ends, |_, f| f)) > 0.1);
    // The value of the next row, which belongs to the next episode, in place of the final observation's.
    let next_row = |case: &Value| {
        gae_with(
            case,
            |s| s,
            |tables, following| {
                let values = flat(&case["values"]);
                let wrong = |(i, f): (usize, f64)| match tables.status[i] {
                    Status::Truncated => *values.get(i + tables.num_envs).unwrap_or(&f),
                    _ => f,
                };
                following.into_iter().enumerate().map(wrong).collect()
            },
        )
    };
    assert!(worst(GAE, "advantages", next_row) > 0.1);
}

#[test]
fn traces_that_are_never_cut_fail_the_golden_file_of_watkins() {
    let peng = |case: &Value| flat(&case["expected"]["peng"]);
    assert!(worst(Q_LAMBDA, "watkins", peng) > 0.1);
}

#[test]
fn a_maximum_over_the_online_network_fails_the_golden_file_of_double_q_learning() {
    let plain = |case: &Value| flat(&case["expected"]["q_learning"]);
    assert!(worst(ONE_STEP, "double_q_learning", plain) > 0.1);
}
