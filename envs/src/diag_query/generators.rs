//! Problems in which the best single question is the wrong one.
//!
//! `gated(G, B, ε, D, η)`: the diagnosis is a number of B bits. `gate` names the one of G blocks whose findings `x_k_j`
//! show bit j (flipped with probability ε); the other blocks are fair coins; decoys `d_m` show bit 1 + (m mod B),
//! flipped with probability η. The gate alone says nothing.
//!
//! `parity(B, r, ε, D, η)`: bit j is the exclusive or of r fair keys `k_j_q`, each read with flip ε; any r − 1 keys of a
//! bit say nothing.

use super::composite::{Composite, CompositeModel};
use super::problem::{Diagnosis, Finding, Problem, TestKind};
use retune::env::EnvError;
use std::sync::Arc;

/// Most hidden causes of a generator: 2^16 tables of a few states stay small.
const MAX_CAUSES: usize = 1 << 16;

/// Findings and their rates as they are put together.
struct Builder {
    causes: usize,
    findings: Vec<Finding>,
    rates: Vec<Vec<f64>>,
}

impl Builder {
    fn new(causes: usize) -> Self {
        Self { causes, findings: Vec::new(), rates: Vec::new() }
    }

    /// A finding with `P(state | cause)`.
    fn add(&mut self, id: String, states: Vec<String>, rate: impl Fn(usize, usize) -> f64) {
        let table = (0..states.len()).flat_map(|s| (0..self.causes).map(move |z| (s, z))).map(|(s, z)| rate(s, z));
        self.rates.push(table.collect());
        let name = id.replace('_', " ");
        self.findings.push(Finding { id, name, states, default: 0, kind: TestKind::Exam, requires: None });
    }

    /// A finding with states 0 and 1 that shows a bit of the cause through a flip.
    fn add_bit(&mut self, id: String, flip: f64, bit: impl Fn(usize) -> Option<usize>) {
        self.add(id, vec!["0".to_owned(), "1".to_owned()], |state, cause| match bit(cause) {
            Some(b) if b == state => 1.0 - flip,
            Some(_) => flip,
            None => 0.5,
        });
    }

    fn finish(self, name: String, bits: usize, class_of: Vec<usize>) -> Result<Problem, EnvError> {
        let classes = 1 << bits;
        let label = |d: usize| (0..bits).map(|j| if d >> j & 1 == 1 { '1' } else { '0' }).collect::<String>();
        let diagnosis = |d| Diagnosis { id: label(d), name: format!("bits {}", label(d)), severity: None };
        let model = CompositeModel::new(classes, vec![1.0; self.causes], class_of, self.rates)
            .map_err(|e| EnvError::Config { key: name.clone(), value: "rates".to_owned(), expected: e.to_string() })?;
        let model = Composite::new(model);
        let problem = Problem {
            name,
            diagnoses: (0..classes).map(diagnosis).collect(),
            findings: self.findings,
            source: Arc::new(model.clone()),
            model: Some(Arc::new(model)),
        };
        problem.validate()?;
        Ok(problem)
    }
}

/// `gated(G, B, ε, D, η)`: `blocks` G, `bits` B, `flip` ε, `decoys` D, `decoy_flip` η.
///
/// # Errors
/// [`EnvError::Config`] if a number is out of range.
pub fn gated(blocks: usize, bits: usize, flip: f64, decoys: usize, decoy_flip: f64) -> Result<Problem, EnvError> {
    check("gated", blocks, "blocks", bits, flip, decoy_flip)?;
    let classes = 1usize << bits;
    let causes = blocks.saturating_mul(classes);
    within(causes, "gated")?;
    // Cause z = y + 2^B g.
    let mut builder = Builder::new(causes);
    let names = (0..blocks).map(|g| g.to_string()).collect();
    builder.add("gate".to_owned(), names, |state, cause| f64::from(u8::from(cause / classes == state)));
    for block in 0..blocks {
        for bit in 0..bits {
            let shown = move |cause: usize| (cause / classes == block).then_some(cause >> bit & 1);
            builder.add_bit(format!("x_{block}_{bit}"), flip, shown);
        }
    }
    add_decoys(&mut builder, decoys, decoy_flip, bits, |cause, bit| cause >> bit & 1);
    let name = format!("gated({blocks},{bits},{flip},{decoys},{decoy_flip})");
    builder.finish(name, bits, (0..causes).map(|z| z % classes).collect())
}

/// `parity(B, r, ε, D, η)`: `bits` B, `keys` r, `flip` ε, `decoys` D, `decoy_flip` η.
///
/// # Errors
/// [`EnvError::Config`] if a number is out of range.
pub fn parity(bits: usize, keys: usize, flip: f64, decoys: usize, decoy_flip: f64) -> Result<Problem, EnvError> {
    check("parity", keys, "keys", bits, flip, decoy_flip)?;
    let width = bits.saturating_mul(keys);
    within(1usize.checked_shl(width.try_into().unwrap_or(u32::MAX)).unwrap_or(usize::MAX), "parity")?;
    let causes = 1usize << width;
    // Key q of bit j is binary digit j r + q of the cause.
    let value = move |cause: usize, bit: usize| ((cause >> (bit * keys)) & ((1 << keys) - 1)).count_ones() as usize & 1;
    let mut builder = Builder::new(causes);
    for bit in 0..bits {
        for key in 0..keys {
            builder.add_bit(format!("k_{bit}_{key}"), flip, move |cause| Some(cause >> (bit * keys + key) & 1));
        }
    }
    add_decoys(&mut builder, decoys, decoy_flip, bits, value);
    let name = format!("parity({bits},{keys},{flip},{decoys},{decoy_flip})");
    let class = |cause: usize| (0..bits).map(|bit| value(cause, bit) << bit).sum();
    builder.finish(name, bits, (0..causes).map(class).collect())
}

fn add_decoys(
    builder: &mut Builder,
    decoys: usize,
    flip: f64,
    bits: usize,
    value: impl Fn(usize, usize) -> usize + Copy,
) {
    for decoy in 0..decoys {
        builder.add_bit(format!("d_{decoy}"), flip, move |cause| Some(value(cause, decoy % bits)));
    }
}

fn check(name: &str, n: usize, what: &str, bits: usize, flip: f64, decoy_flip: f64) -> Result<(), EnvError> {
    let wrong = |key: &str, value: String, expected: &str| {
        Err(EnvError::Config { key: format!("{name}.{key}"), value, expected: expected.to_owned() })
    };
    if n == 0 {
        return wrong(what, n.to_string(), "at least 1");
    }
    if bits == 0 || bits > 16 {
        return wrong("bits", bits.to_string(), "1 to 16");
    }
    for (key, p) in [("flip", flip), ("decoy_flip", decoy_flip)] {
        if !(0.0..=1.0).contains(&p) {
            return wrong(key, p.to_string(), "a probability");
        }
    }
    Ok(())
}

fn within(causes: usize, name: &str) -> Result<(), EnvError> {
    if causes <= MAX_CAUSES {
        return Ok(());
    }
    let expected = format!("at most {MAX_CAUSES}");
    Err(EnvError::Config { key: format!("{name}: hidden causes"), value: causes.to_string(), expected })
}
