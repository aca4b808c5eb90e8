//! How a user picks at most one item of a slate (RecSim, arXiv:1909.04847, `choice_model.py`).

use retune::env::EnvError;
use serde::{Deserialize, Serialize};

/// Which family of choice model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceKind {
    /// Softmax over the scores and the no-click logit.
    MultinomialLogit,
    /// Proportional to the score above a floor.
    MultinomialProportional,
    /// The slate is read from the top; each item is taken with a probability that grows exponentially with its score.
    CascadeExponential,
    /// The slate is read from the top; each item is taken with a probability proportional to its score above a floor.
    CascadeProportional,
}

/// A choice model with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChoiceModel {
    /// The family.
    pub kind: ChoiceKind,
    /// Score m of "nothing": a logit in the logit model (−∞ means never), a score in the proportional one. Unused by
    /// the cascades.
    pub no_click_mass: f64,
    /// Floor n that the proportional models subtract from every score.
    pub min_normalizer: f64,
    /// Probability a that the user looks at a position, in [0, 1]. Cascades only.
    pub attention_prob: f64,
    /// Factor b on the transformed scores, at least 0. Cascades only.
    pub score_scaling: f64,
}

/// Why scores cannot be turned into probabilities.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ChoiceError {
    /// A score that the model cannot use.
    #[error("invalid_scores: position {position} gets weight {weight}: expected {expected}")]
    Scores {
        /// Slate position; the slate size for "nothing".
        position: usize,
        /// What the model made of the score.
        weight: f64,
        /// What would be right.
        expected: &'static str,
    },
    /// A setting out of range.
    #[error("invalid_params: {key} = {value}: expected {expected}")]
    Params {
        /// The setting.
        key: &'static str,
        /// What was given.
        value: f64,
        /// What would be right.
        expected: &'static str,
    },
}

impl From<ChoiceError> for EnvError {
    fn from(error: ChoiceError) -> Self {
        let (key, value, expected) = match error {
            ChoiceError::Params { key, value, expected } => (key, value.to_string(), expected.to_owned()),
            ChoiceError::Scores { .. } => {
                ("choice_model", error.to_string(), "settings that give every slate valid probabilities".to_owned())
            }
        };
        Self::Config { key: key.to_owned(), value, expected }
    }
}

impl ChoiceModel {
    /// Checks the settings by themselves.
    ///
    /// # Errors
    /// [`ChoiceError::Params`] naming the setting that is out of range.
    pub fn validate(&self) -> Result<(), ChoiceError> {
        let cascade = matches!(self.kind, ChoiceKind::CascadeExponential | ChoiceKind::CascadeProportional);
        if cascade && !(0.0..=1.0).contains(&self.attention_prob) {
            let value = self.attention_prob;
            return Err(ChoiceError::Params { key: "attention_prob", value, expected: "a probability in [0, 1]" });
        }
        if cascade && !(self.score_scaling.is_finite() && self.score_scaling >= 0.0) {
            let value = self.score_scaling;
            return Err(ChoiceError::Params { key: "score_scaling", value, expected: "a finite factor of at least 0" });
        }
        if !self.min_normalizer.is_finite() {
            let value = self.min_normalizer;
            return Err(ChoiceError::Params { key: "min_normalizer", value, expected: "a finite score" });
        }
        if self.no_click_mass.is_nan() || self.no_click_mass == f64::INFINITY {
            let value = self.no_click_mass;
            return Err(ChoiceError::Params { key: "no_click_mass", value, expected: "a number below infinity" });
        }
        Ok(())
    }

    /// Checks that every slate whose scores lie in `[low, high]` gets valid probabilities.
    ///
    /// # Errors
    /// [`ChoiceError::Params`] naming the setting that breaks it.
    pub fn validate_for_scores(&self, low: f64, high: f64) -> Result<(), ChoiceError> {
        self.validate()?;
        let floor = matches!(self.kind, ChoiceKind::MultinomialProportional | ChoiceKind::CascadeProportional);
        if floor && self.min_normalizer > low {
            let expected = "at most the lowest score a user can give";
            return Err(ChoiceError::Params { key: "min_normalizer", value: self.min_normalizer, expected });
        }
        if self.kind == ChoiceKind::MultinomialProportional && self.no_click_mass < self.min_normalizer {
            let expected = "at least min_normalizer";
            return Err(ChoiceError::Params { key: "no_click_mass", value: self.no_click_mass, expected });
        }
        let steepest = match self.kind {
            ChoiceKind::CascadeExponential => self.score_scaling * high.exp(),
            ChoiceKind::CascadeProportional => self.score_scaling * (high - self.min_normalizer),
            _ => 0.0,
        };
        if steepest > 1.0 {
            let expected = "small enough that no item is taken with probability above 1";
            return Err(ChoiceError::Params { key: "score_scaling", value: self.score_scaling, expected });
        }
        Ok(())
    }

    /// Turns the user's scores into the model's scores, in place, and returns that of "nothing".
    ///
    /// In the proportional model these are the weights `v`; in the others they are probabilities already.
    ///
    /// # Errors
    /// [`ChoiceError::Scores`] if a score is not a number or gives a weight out of range.
    pub fn weigh(&self, scores: &mut [f64]) -> Result<f64, ChoiceError> {
        match self.kind {
            ChoiceKind::MultinomialLogit => self.logit(scores),
            ChoiceKind::MultinomialProportional => self.proportional(scores),
            ChoiceKind::CascadeExponential => self.cascade(scores, |s| self.score_scaling * s.exp()),
            ChoiceKind::CascadeProportional => self.cascade(scores, |s| self.score_scaling * (s - self.min_normalizer)),
        }
    }

    /// Probabilities of the items, then of "nothing".
    ///
    /// # Errors
    /// As [`ChoiceModel::validate`] and [`ChoiceModel::weigh`].
    pub fn probabilities(&self, scores: &[f64]) -> Result<Vec<f64>, ChoiceError> {
        self.validate()?;
        let mut probs = scores.to_vec();
        let nothing = self.weigh(&mut probs)?;
        probs.push(nothing);
        normalise(&mut probs);
        Ok(probs)
    }

    fn logit(&self, scores: &mut [f64]) -> Result<f64, ChoiceError> {
        if let Some(position) = scores.iter().position(|s| !s.is_finite()) {
            return Err(ChoiceError::Scores { position, weight: scores[position], expected: "a finite score" });
        }
        let highest = scores.iter().copied().fold(self.no_click_mass, f64::max);
        let nothing = (self.no_click_mass - highest).exp();
        scores.iter_mut().for_each(|s| *s = (*s - highest).exp());
        let total = scores.iter().sum::<f64>() + nothing;
        scores.iter_mut().for_each(|s| *s /= total);
        Ok(nothing / total)
    }

    fn proportional(&self, scores: &mut [f64]) -> Result<f64, ChoiceError> {
        let expected = "a finite weight of at least 0";
        for (position, score) in scores.iter_mut().enumerate() {
            *score -= self.min_normalizer;
            if !(score.is_finite() && *score >= 0.0) {
                return Err(ChoiceError::Scores { position, weight: *score, expected });
            }
        }
        let weight = self.no_click_mass - self.min_normalizer;
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(ChoiceError::Scores { position: scores.len(), weight, expected });
        }
        Ok(weight)
    }

    fn cascade(&self, scores: &mut [f64], transform: impl Fn(f64) -> f64) -> Result<f64, ChoiceError> {
        let mut still_reading = 1.0;
        for (position, score) in scores.iter_mut().enumerate() {
            let taken = transform(*score);
            if !(0.0..=1.0).contains(&taken) {
                return Err(ChoiceError::Scores { position, weight: taken, expected: "a probability in [0, 1]" });
            }
            *score = still_reading * self.attention_prob * taken;
            still_reading *= 1.0 - self.attention_prob * taken;
        }
        Ok(still_reading)
    }
}

/// Divides weights by their sum. Without any weight the last entry ("nothing") gets everything.
pub fn normalise(weights: &mut [f64]) {
    let total: f64 = weights.iter().sum();
    if total > 0.0 {
        weights.iter_mut().for_each(|w| *w /= total);
    } else if let Some(nothing) = weights.last_mut() {
        *nothing = 1.0;
    }
}

/// The first index whose cumulative share of the total weight lies above the draw `u` in [0, 1).
///
/// A draw equal to a boundary belongs to the next item and entries without weight are never picked, not even where
/// rounding leaves the last sum below `u`. Without any weight the last entry ("nothing") is picked.
#[must_use]
pub fn pick(weights: &[f64], u: f64) -> usize {
    let total: f64 = weights.iter().sum();
    let mut sum = 0.0;
    for (i, weight) in weights.iter().enumerate() {
        sum += weight / total;
        if sum > u {
            return i;
        }
    }
    weights.iter().rposition(|&w| w > 0.0).unwrap_or(weights.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// RecSim 0.2.4; see the README beside the file.
    const GOLDEN: &str = include_str!("../../../tests/golden/rec_sim/choice_models.json");

    fn model(case: &Value) -> ChoiceModel {
        let kind: ChoiceKind = serde_json::from_value(case["model"].clone()).unwrap();
        let number = |key: &str, default: f64| case["params"].get(key).map_or(default, |v| v.as_f64().unwrap());
        let m = if kind == ChoiceKind::MultinomialLogit { f64::NEG_INFINITY } else { 0.0 };
        ChoiceModel {
            kind,
            no_click_mass: number("no_click_mass", m),
            min_normalizer: number(
                "min_normalizer",
                if kind == ChoiceKind::MultinomialProportional { -1.0 } else { 0.0 },
            ),
            attention_prob: number("attention_prob", 0.65),
            score_scaling: number("score_scaling", 0.05),
        }
    }

    #[test]
    fn agrees_with_the_original() {
        let file: Value = serde_json::from_str(GOLDEN).unwrap();
        let cases = file["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 47);
        for case in cases {
            let scores: Vec<f64> = serde_json::from_value(case["scores"].clone()).unwrap();
            let got = model(case).probabilities(&scores);
            match case["expect"].get("error").and_then(Value::as_str) {
                Some("invalid_scores") => assert!(matches!(got, Err(ChoiceError::Scores { .. })), "{case} {got:?}"),
                Some("invalid_params") => assert!(matches!(got, Err(ChoiceError::Params { .. })), "{case} {got:?}"),
                Some(other) => panic!("unknown error {other}"),
                None => {
                    let want: Vec<f64> = serde_json::from_value(case["expect"]["probs"].clone()).unwrap();
                    let got = got.unwrap();
                    assert_eq!(got.len(), want.len());
                    for (g, w) in got.iter().zip(&want) {
                        assert!((g - w).abs() <= 1e-9 * w.abs().max(1e-300).max(1e-9), "{case} {got:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_draw_on_a_boundary_belongs_to_the_next_item() {
        assert_eq!(pick(&[0.0, 0.25, 0.0, 0.75], 0.0), 1);
        assert_eq!(pick(&[0.0, 0.25, 0.0, 0.75], 0.25), 3);
        assert_eq!(pick(&[0.5, 0.5 - 1e-16, 0.0], 1.0 - 1e-16), 1);
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_one_and_validation_promises_no_error(
            scores in prop::collection::vec(-1.0..=1.0f64, 1..6), kind in 0..4usize,
            m in -1.0..2.0f64, a in 0.0..=1.0f64, b in 0.0..1.0f64,
        ) {
            let kind = [ChoiceKind::MultinomialLogit, ChoiceKind::MultinomialProportional,
                ChoiceKind::CascadeExponential, ChoiceKind::CascadeProportional][kind];
            let model =
                ChoiceModel { kind, no_click_mass: m, min_normalizer: -1.0, attention_prob: a, score_scaling: b };
            if model.validate_for_scores(-1.0, 1.0).is_ok() {
                let probs = model.probabilities(&scores).unwrap();
                prop_assert!((probs.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                prop_assert!(probs.iter().all(|&p| p >= 0.0));
            }
        }
    }
}
