//! What a declaration is worth.

/// The worth of declaring one diagnosis when another is true.
#[derive(Clone, Debug, PartialEq)]
pub enum Payoffs {
    /// +1 right; wrong, a worth that depends on the true diagnosis alone. A matrix over 12,000 diseases would take a
    /// gigabyte.
    Wrong(Vec<f64>),
    /// `[true, declared]`.
    Matrix(Vec<f64>),
}

impl Payoffs {
    /// +1 right, −1 wrong.
    #[must_use]
    pub fn simple(classes: usize) -> Self {
        Self::Wrong(vec![-1.0; classes])
    }

    /// The worth of declaring `declared`.
    #[must_use]
    pub fn of(&self, truth: usize, declared: usize) -> f64 {
        match self {
            Self::Wrong(_) if truth == declared => 1.0,
            Self::Wrong(wrong) => wrong[truth],
            Self::Matrix(values) => values[truth * values.len().isqrt() + declared],
        }
    }

    /// `Σ_y w_y u(y, d)` of each diagnosis d.
    #[must_use]
    pub fn expected(&self, weights: &[f64]) -> Vec<f64> {
        let classes = weights.len();
        match self {
            Self::Wrong(wrong) => {
                let all: f64 = weights.iter().zip(wrong).map(|(w, u)| w * u).sum();
                weights.iter().zip(wrong).map(|(w, u)| all + w * (1.0 - u)).collect()
            }
            Self::Matrix(values) => (0..classes)
                .map(|d| weights.iter().enumerate().map(|(y, w)| w * values[y * classes + d]).sum())
                .collect(),
        }
    }

    /// Lowest and highest worth.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        let (values, right) = match self {
            Self::Wrong(wrong) => (wrong, Some(1.0)),
            Self::Matrix(values) => (values, None),
        };
        let all = || values.iter().copied().chain(right);
        (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_is_worth_the_same_as_its_matrix() {
        let short = Payoffs::Wrong(vec![-1.0, -2.0, -1.5]);
        let matrix: Vec<f64> = (0..9).map(|i| short.of(i / 3, i % 3)).collect();
        assert_eq!(matrix, [1.0, -1.0, -1.0, -2.0, 1.0, -2.0, -1.5, -1.5, 1.0]);
        let matrix = Payoffs::Matrix(matrix);
        let weights = [0.2, 0.5, 0.3];
        let far = crate::diag_query::testing::worst(&short.expected(&weights), &matrix.expected(&weights));
        assert!(far < 1e-15, "{far}");
        assert_eq!((short.range(), matrix.of(1, 2)), (matrix.range(), -2.0));
    }
}
