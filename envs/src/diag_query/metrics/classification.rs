//! Final distributions against labels.

use super::{MetricsError, check, ranked};

/// Measures of final distributions over N cases.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    /// Share of cases whose likeliest class is the label.
    pub accuracy: f64,
    /// F1 of each class; `None` for a class that neither occurs nor is predicted.
    pub f1: Vec<Option<f64>>,
    /// Mean F1 of the classes that have one.
    pub macro_f1: f64,
    /// `−mean ln max(p_y, 1e-15)`, nats.
    pub log_loss: f64,
    /// `mean Σ_d (p_d − [d = y])²`.
    pub brier: f64,
    top: Vec<usize>,
    confidences: Vec<(f64, bool)>,
    /// `[true, predicted]` counts.
    pub confusion: Vec<Vec<u64>>,
}

/// Measures the final distributions `[cases][classes]` against the labels.
///
/// # Errors
/// If there are no cases, or labels and distributions do not fit.
pub fn classification(labels: &[usize], probabilities: &[Vec<f64>]) -> Result<Classification, MetricsError> {
    let classes = check(labels, probabilities)?;
    let n = labels.len() as f64;
    let mut confusion = vec![vec![0u64; classes]; classes];
    let (mut top, mut confidences, mut log_loss, mut brier) = (Vec::new(), Vec::new(), 0.0, 0.0);
    for (&y, p) in labels.iter().zip(probabilities) {
        let order = ranked(p);
        confusion[y][order[0]] += 1;
        top.push(order.iter().position(|&d| d == y).unwrap_or(classes));
        confidences.push((p[order[0]], order[0] == y));
        log_loss -= p[y].max(1e-15).ln();
        brier += p.iter().enumerate().map(|(d, p)| (p - f64::from(u8::from(d == y))).powi(2)).sum::<f64>();
    }
    let f1 = |d: usize| {
        let hits = confusion[d][d] as f64;
        let others: u64 = (0..classes).filter(|&e| e != d).map(|e| confusion[d][e] + confusion[e][d]).sum();
        (hits > 0.0 || others > 0).then(|| 2.0 * hits / (2.0 * hits + others as f64))
    };
    let f1: Vec<Option<f64>> = (0..classes).map(f1).collect();
    let defined: Vec<f64> = f1.iter().flatten().copied().collect();
    Ok(Classification {
        accuracy: top.iter().filter(|&&rank| rank == 0).count() as f64 / n,
        macro_f1: defined.iter().sum::<f64>() / defined.len() as f64,
        f1,
        log_loss: log_loss / n,
        brier: brier / n,
        top,
        confidences,
        confusion,
    })
}

impl Classification {
    /// Share of cases whose label is among the `k` likeliest classes.
    #[must_use]
    pub fn top_k(&self, k: usize) -> f64 {
        self.top.iter().filter(|&&rank| rank < k).count() as f64 / self.top.len() as f64
    }

    /// Expected calibration error over `bins` bins of equal width of the top probability: `Σ_b n_b/N |acc_b − conf_b|`.
    ///
    /// # Panics
    /// If `bins` is 0.
    #[must_use]
    pub fn ece(&self, bins: usize) -> f64 {
        let n = self.confidences.len() as f64;
        self.calibration(bins).iter().map(|b| b.0 as f64 / n * (b.2 - b.1).abs()).sum()
    }

    /// Per bin of the top probability: cases, mean probability, accuracy (both 0 in an empty bin).
    ///
    /// # Panics
    /// If `bins` is 0.
    #[must_use]
    pub fn calibration(&self, bins: usize) -> Vec<(usize, f64, f64)> {
        assert!(bins > 0, "a calibration needs a bin");
        let mut sums = vec![(0usize, 0.0, 0.0); bins];
        for &(confidence, right) in &self.confidences {
            let bin = &mut sums[((confidence * bins as f64) as usize).min(bins - 1)];
            *bin = (bin.0 + 1, bin.1 + confidence, bin.2 + f64::from(u8::from(right)));
        }
        sums.iter().map(|&(n, c, a)| if n > 0 { (n, c / n as f64, a / n as f64) } else { (0, 0.0, 0.0) }).collect()
    }
}
