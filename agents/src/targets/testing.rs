//! Reading golden files of targets and losses.

use crate::targets::Real;
use retune::env::Status;
use serde_json::Value;

/// Cases of a golden file; `tests/golden/targets/README.md` has their form.
pub(crate) fn cases(json: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(json).unwrap();
    assert_eq!(file["schema"], 1);
    file["cases"].as_array().unwrap().clone()
}

/// All numbers of a table, row by row; flags as 0 and 1.
pub(crate) fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(rows) => rows.iter().flat_map(flat).collect(),
        Value::Bool(flag) => vec![f64::from(u8::from(*flag))],
        number => vec![number.as_f64().unwrap()],
    }
}

/// [`flat`] in the type under test.
pub(crate) fn table<T: Real>(value: &Value) -> Vec<T> {
    flat(value).into_iter().map(T::narrow).collect()
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// Statuses from the two flags of a case. If both are set, termination wins.
pub(crate) fn status(case: &Value) -> Vec<Status> {
    let one = |(terminated, truncated): (&f64, &f64)| match (*terminated != 0.0, *truncated != 0.0) {
        (true, _) => Status::Terminated,
        (false, true) => Status::Truncated,
        (false, false) => Status::Running,
    };
    flat(&case["terminated"]).iter().zip(&flat(&case["truncated"])).map(one).collect()
}

/// Largest `|got − expected| / max(1, |expected|)`.
pub(crate) fn deviation<T: Real>(got: &[T], expected: &Value) -> f64 {
    let expected = flat(expected);
    assert_eq!(got.len(), expected.len());
    got.iter().zip(&expected).map(|(g, e)| (g.wide() - e).abs() / e.abs().max(1.0)).fold(0.0, f64::max)
}

/// The tolerance of the golden files for this type.
pub(crate) fn tolerance<T: Real>() -> f64 {
    if size_of::<T>() == 8 { 1e-9 } else { 1e-4 }
}

/// That `got` is `expected` within the tolerance of the type.
pub(crate) fn assert_close<T: Real>(got: &[T], expected: &Value, case: &Value) {
    let deviation = deviation(got, expected);
    assert!(deviation <= tolerance::<T>(), "{}: off by {deviation}", case["name"]);
}
