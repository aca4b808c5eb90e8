//! Clusters of embeddings, for catalogues without a topic column.

use crate::rec_sim::shared::config_error;
use retune::env::EnvError;
use retune::rng::{Seed, StreamRng};

/// Most rounds of Lloyd's algorithm; it usually stands still after a few dozen.
const MAX_ROUNDS: usize = 200;

/// Cluster of each row: k-means with k-means++ seeding (Arthur and Vassilvitskii 2007), the best of four starts.
///
/// Deterministic for a seed: draws come from the stream `kmeans`, ties go to the lower index, and a cluster that loses
/// all its rows takes the row that is farthest from its centre. Every cluster has at least one row.
///
/// # Shapes
/// `rows` is `[n, width]`, row by row; the result is `[n]`.
///
/// # Errors
/// [`EnvError::Config`] if `k` is 0, if fewer than `k` rows differ, or if a number is not finite.
pub fn kmeans(rows: &[f32], width: usize, k: usize, seed: u64) -> Result<Vec<usize>, EnvError> {
    if k == 0 {
        return Err(config_error("num_topics", 0, "at least 1"));
    }
    if width == 0 || !rows.len().is_multiple_of(width) {
        return Err(config_error("embeddings", rows.len(), format!("whole rows of width {width} (above 0)")));
    }
    if let Some(at) = rows.iter().position(|x| !x.is_finite()) {
        return Err(config_error("embeddings", rows[at], format!("a finite number in row {}", at / width)));
    }
    let data = Rows { rows, width };
    let mut best: Option<(f64, Vec<usize>)> = None;
    for start in 0..4 {
        let mut rng = Seed::root(seed).child("kmeans").index(start).rng();
        let centres = plus_plus(&data, k, &mut rng)?;
        let (inertia, labels) = lloyd(&data, centres, k);
        if best.as_ref().is_none_or(|(lowest, _)| inertia < *lowest) {
            best = Some((inertia, labels));
        }
    }
    Ok(best.map(|(_, labels)| labels).unwrap_or_default())
}

struct Rows<'a> {
    rows: &'a [f32],
    width: usize,
}

impl Rows<'_> {
    fn len(&self) -> usize {
        self.rows.len() / self.width
    }

    fn get(&self, i: usize) -> &[f32] {
        &self.rows[i * self.width..(i + 1) * self.width]
    }

    /// Squared distance of row `i` from a centre.
    fn distance(&self, i: usize, centre: &[f64]) -> f64 {
        self.get(i).iter().zip(centre).map(|(&a, b)| (f64::from(a) - b).powi(2)).sum()
    }

    fn as_centre(&self, i: usize) -> Vec<f64> {
        self.get(i).iter().map(|&x| f64::from(x)).collect()
    }
}

/// The first centre is uniform, each further one is a row drawn in proportion to its squared distance from the centres.
fn plus_plus(data: &Rows<'_>, k: usize, rng: &mut StreamRng) -> Result<Vec<f64>, EnvError> {
    let too_few = |distinct: usize| {
        let expected = format!("at most the number of different rows, {distinct}");
        Err(config_error("num_topics", k, expected))
    };
    if data.len() == 0 {
        return too_few(0);
    }
    let mut centres = data.as_centre(rng.below(data.len()));
    let mut nearest: Vec<f64> = (0..data.len()).map(|i| data.distance(i, &centres)).collect();
    for found in 1..k {
        let total: f64 = nearest.iter().sum();
        if total <= 0.0 {
            return too_few(found);
        }
        let next = data.as_centre(super::super::choice::pick(&nearest, rng.uniform()));
        for (i, d) in nearest.iter_mut().enumerate() {
            *d = d.min(data.distance(i, &next));
        }
        centres.extend(next);
    }
    Ok(centres)
}

/// Alternates assignment and means until nothing moves. Returns the sum of squared distances and the labels.
fn lloyd(data: &Rows<'_>, mut centres: Vec<f64>, k: usize) -> (f64, Vec<usize>) {
    let mut labels = vec![usize::MAX; data.len()];
    let mut distances = vec![0.0; data.len()];
    for _ in 0..MAX_ROUNDS {
        let mut moved = false;
        for i in 0..data.len() {
            let (mut label, mut lowest) = (0, f64::INFINITY);
            for (c, centre) in centres.chunks_exact(data.width).enumerate() {
                let d = data.distance(i, centre);
                if d < lowest {
                    (label, lowest) = (c, d);
                }
            }
            moved |= labels[i] != label;
            (labels[i], distances[i]) = (label, lowest);
        }
        moved |= fill_empty(&mut labels, &mut distances, k);
        if !moved {
            break;
        }
        centres = means(data, &labels, k);
    }
    (distances.iter().sum(), labels)
}

/// Gives every empty cluster the row farthest from its centre whose own cluster has another row.
fn fill_empty(labels: &mut [usize], distances: &mut [f64], k: usize) -> bool {
    let mut counts = vec![0usize; k];
    labels.iter().for_each(|&l| counts[l] += 1);
    let mut filled = false;
    for empty in 0..k {
        if counts[empty] > 0 {
            continue;
        }
        let mut farthest: Option<usize> = None;
        for i in (0..labels.len()).filter(|&i| counts[labels[i]] > 1) {
            if farthest.is_none_or(|f| distances[i] > distances[f]) {
                farthest = Some(i);
            }
        }
        if let Some(i) = farthest {
            counts[labels[i]] -= 1;
            counts[empty] = 1;
            (labels[i], distances[i], filled) = (empty, 0.0, true);
        }
    }
    filled
}

fn means(data: &Rows<'_>, labels: &[usize], k: usize) -> Vec<f64> {
    let (mut sums, mut counts) = (vec![0.0; k * data.width], vec![0.0f64; k]);
    for (i, &label) in labels.iter().enumerate() {
        counts[label] += 1.0;
        let sum = &mut sums[label * data.width..(label + 1) * data.width];
        sum.iter_mut().zip(data.get(i)).for_each(|(s, &x)| *s += f64::from(x));
    }
    for (sum, count) in sums.chunks_exact_mut(data.width).zip(counts) {
        sum.iter_mut().for_each(|s| *s /= count.max(1.0));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> Vec<f32> {
        let mut rng = Seed::root(1).rng();
        (0..90).flat_map(|i| [(i % 3) as f32 * 10.0 + rng.normal() as f32, rng.normal() as f32]).collect()
    }

    #[test]
    fn separate_groups_are_found_and_a_seed_repeats_them() {
        let rows = blobs();
        let labels = kmeans(&rows, 2, 3, 0).unwrap();
        assert!((0..90).all(|i| labels[i] == labels[i % 3]));
        assert!(labels[0] != labels[1] && labels[1] != labels[2] && labels[0] != labels[2]);
        assert_eq!(kmeans(&rows, 2, 3, 0).unwrap(), labels);
    }

    #[test]
    fn every_cluster_gets_a_row() {
        let rows: Vec<f32> = (0..12).map(|i| if i < 9 { 0.0 } else { i as f32 }).collect();
        let labels = kmeans(&rows, 1, 4, 3).unwrap();
        assert!((0..4).all(|c| labels.contains(&c)), "{labels:?}");
    }

    #[test]
    fn unusable_input_is_named() {
        let message = |rows: &[f32], k| kmeans(rows, 1, k, 0).unwrap_err().to_string();
        assert_eq!(message(&[1.0, 1.0, 2.0], 3), "num_topics = 3: at most the number of different rows, 2");
        assert_eq!(message(&[], 1), "num_topics = 1: at most the number of different rows, 0");
        assert_eq!(message(&[1.0, f32::NAN], 1), "embeddings = NaN: a finite number in row 1");
        assert_eq!(message(&[1.0], 0), "num_topics = 0: at least 1");
    }
}
