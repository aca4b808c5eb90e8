//! Information gain about the diagnosis, and what an answer says.

use super::model::Belief;

/// How the true state of a finding turns into an answer. An unknown answer says nothing about the state.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Probability ρ that the answer is one of the other states, all alike.
    pub noise: f64,
    /// Probability m that the answer is `unknown`, whatever the state.
    pub missing: f64,
    /// P(answer | state) per finding, `[states, answers]`, in place of `noise` where there is one.
    pub confusion: Vec<Option<Vec<f64>>>,
}

impl Channel {
    /// The true state, always.
    #[must_use]
    pub fn exact() -> Self {
        Self::symmetric(0.0, 0.0)
    }

    /// Noise ρ and unknown answers m, the same for all findings.
    #[must_use]
    pub fn symmetric(noise: f64, missing: f64) -> Self {
        Self { noise, missing, confusion: Vec::new() }
    }

    /// P(answer | state) of a finding with this many states, given that the answer is not `unknown`.
    #[must_use]
    pub fn probability(&self, finding: usize, states: usize, state: usize, answer: usize) -> f64 {
        match self.confusion.get(finding) {
            Some(Some(matrix)) => matrix[state * states + answer],
            _ if states == 1 => 1.0,
            _ if state == answer => 1.0 - self.noise,
            _ => self.noise / (states - 1) as f64,
        }
    }

    /// P(answer | state) for each state.
    #[must_use]
    pub fn likelihood(&self, finding: usize, states: usize, answer: usize) -> Vec<f64> {
        (0..states).map(|state| self.probability(finding, states, state, answer)).collect()
    }

    /// ρ, if no finding has a matrix of its own.
    #[must_use]
    pub fn symmetric_noise(&self) -> Option<f64> {
        self.confusion.iter().all(Option::is_none).then_some(self.noise)
    }

    /// Whether every answer about a finding is its true state or `unknown`.
    #[must_use]
    pub fn is_exact(&self, finding: usize) -> bool {
        self.noise == 0.0 && !matches!(self.confusion.get(finding), Some(Some(_)))
    }
}

/// P(answer | diagnosis, answers so far), `[answers, classes]`, given that it is not `unknown`.
pub fn answer_table(belief: &mut dyn Belief, channel: &Channel, finding: usize, states: usize) -> Vec<f64> {
    let classes = belief.posterior().len();
    let of_states = belief.conditionals(finding);
    if channel.is_exact(finding) {
        return of_states.to_vec();
    }
    let mut table = vec![0.0; states * classes];
    for (answer, row) in table.chunks_mut(classes).enumerate() {
        for (state, of_state) in of_states.chunks(classes).enumerate() {
            let p = channel.probability(finding, states, state, answer);
            row.iter_mut().zip(of_state).for_each(|(cell, q)| *cell += p * q);
        }
    }
    table
}

/// Entropy, bits.
#[must_use]
pub fn entropy_bits(probabilities: &[f64]) -> f64 {
    probabilities.iter().filter(|p| **p > 0.0).map(|p| -p * p.log2()).sum()
}

/// The gain of an answer with this table: `Σ_a Σ_y p_y p(a|y) log2(p(a|y) / p(a))`, bits, at least 0.
#[must_use]
pub fn mutual_information_bits(posterior: &[f64], table: &[f64]) -> f64 {
    let mut gain = 0.0;
    for row in table.chunks(posterior.len()) {
        let total: f64 = row.iter().zip(posterior).map(|(q, p)| q * p).sum();
        if total > 0.0 {
            let terms = row.iter().zip(posterior).filter(|(q, p)| **q > 0.0 && **p > 0.0);
            gain += terms.map(|(q, p)| p * q * (q / total).log2()).sum::<f64>();
        }
    }
    gain.max(0.0)
}

/// Expected drop of the entropy of the diagnosis by asking each of `findings`, bits; `states` is per finding.
pub fn gains(belief: &mut dyn Belief, channel: &Channel, findings: &[usize], states: &[usize]) -> Vec<f64> {
    if let Some(gains) = belief.gains(channel, findings) {
        return gains;
    }
    let posterior = belief.posterior().to_vec();
    let gain = |&finding: &usize| {
        let table = answer_table(belief, channel, finding, states[finding]);
        (1.0 - channel.missing) * mutual_information_bits(&posterior, &table)
    };
    findings.iter().map(gain).collect()
}

/// Gains within this many bits are ties.
pub const TIE: f64 = 1e-9;

/// Index of the largest score; ties, within [`TIE`], go to the first.
#[must_use]
pub fn first_best(scores: &[f64]) -> Option<usize> {
    let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.iter().position(|&s| s >= best - TIE)
}
