//! Exact posterior queries per second of CPU time, in one thread, without any memory of answers.
//!
//! `cargo run -p retune-envs --example inference_speed -- NETWORK.bif QUERIES.json [SECONDS]`, where QUERIES.json has a list
//! `posteriors` of `{target, evidence, posterior}`, as the files of `tests/golden/diag_query` have. A first pass that is
//! not timed checks the answers; then whole passes are repeated. Prints one JSON object.

use retune_envs::diag_query::bif::{BifLimits, read};
use retune_envs::diag_query::inference::{Evidence, EvidenceMap, Inference, InferenceOptions};
use serde_json::{Value, json};
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

/// Seconds that this thread has run; seconds of the clock where the system does not tell.
fn cpu(start: Instant) -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = stat.and_then(|s| s.split_whitespace().next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| start.elapsed().as_secs_f64(), |n| n * 1e-9)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, queries, rest @ ..] = &arguments[..] else {
        return Err("expected NETWORK.bif QUERIES.json [SECONDS]".into());
    };
    let seconds: f64 = rest.first().map_or(Ok(5.0), |s| s.parse())?;
    let network = Arc::new(read(file, &std::fs::read(file)?, &BifLimits::default())?);
    let golden: Value = serde_json::from_slice(&std::fs::read(queries)?)?;
    let list = golden["posteriors"].as_array().ok_or("there are no posteriors")?;
    let parsed = list.iter().map(|query| {
        let number = |name: &str| network.find(name).ok_or_else(|| format!("there is no variable {name}"));
        let target = number(query["target"].as_str().unwrap_or_default())?;
        let mut evidence = EvidenceMap::new();
        for (name, state) in query["evidence"].as_object().into_iter().flatten() {
            let (v, state) = (number(name)?, state.as_str().unwrap_or_default());
            let state = network.find_state(v, state).ok_or_else(|| format!("{name} has no state {state}"))?;
            evidence.insert(v, Evidence::State(state));
        }
        let expected = query["posterior"].as_array().into_iter().flatten().filter_map(Value::as_f64);
        Ok::<_, String>((target, evidence, expected.collect::<Vec<f64>>()))
    });
    let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
    let mut inference = Inference::new(Arc::clone(&network), InferenceOptions { memo: 0, ..Default::default() });
    let mut worst = 0f64;
    for (target, evidence, expected) in &parsed {
        let answer = inference.posterior(*target, evidence)?;
        worst = answer.probabilities.iter().zip(expected).fold(worst, |worst, (a, b)| worst.max((a - b).abs()));
    }
    let start = Instant::now();
    let (began, mut passes) = (cpu(start), 0);
    while passes == 0 || start.elapsed().as_secs_f64() < seconds {
        for (target, evidence, _) in &parsed {
            std::hint::black_box(inference.posterior(*target, evidence)?);
        }
        passes += 1;
    }
    let spent = cpu(start) - began;
    let done = (passes * parsed.len()) as f64;
    let report = json!({
        "network": golden["network"], "queries": parsed.len(), "passes": passes,
        "queries_per_cpu_s": done / spent, "us_per_query": 1e6 * spent / done, "max_abs_error": worst,
    });
    println!("{report}");
    Ok(())
}
