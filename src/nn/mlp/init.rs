//! Initial values from named streams.

use super::Block;
use crate::rng::StreamRng;

/// U(−bound, bound).
pub fn uniform(block: &Block, flat: &mut [f32], bound: f64, rng: &mut StreamRng) {
    fill(block, flat, || (2.0 * rng.uniform() - 1.0) * bound);
}

/// U(−1/√fan_in, 1/√fan_in), which is what `torch.nn.Linear` begins with, weights and biases alike.
pub fn torch_uniform(block: &Block, flat: &mut [f32], fan_in: usize, rng: &mut StreamRng) {
    uniform(block, flat, 1.0 / (fan_in.max(1) as f64).sqrt(), rng);
}

/// `gain` times a matrix whose columns (or rows, if these are fewer) are orthonormal, uniformly distributed among those
/// (Saxe et al., arXiv:1312.6120): the first vectors of a standard normal matrix, orthogonalised one after the other.
pub fn orthogonal(block: &Block, flat: &mut [f32], gain: f64, rng: &mut StreamRng) {
    let (rows, cols) = (block.rows, block.cols);
    let (many, few) = (rows.max(cols), rows.min(cols));
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(few);
    for _ in 0..few {
        let mut vector: Vec<f64> = (0..many).map(|_| rng.normal()).collect();
        // Twice is enough for orthogonality to working precision (Parlett, "The symmetric eigenvalue problem", 6.9).
        for _ in 0..2 {
            for other in &vectors {
                let along: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|x| *x /= norm);
        vectors.push(vector);
    }
    for (i, row) in block.of_mut(flat).chunks_exact_mut(block.stride).enumerate() {
        for (j, x) in row[..cols].iter_mut().enumerate() {
            *x = (gain * if rows >= cols { vectors[j][i] } else { vectors[i][j] }) as f32;
        }
    }
}

/// All values the same.
pub fn constant(block: &Block, flat: &mut [f32], value: f32) {
    fill(block, flat, || f64::from(value));
}

fn fill(block: &Block, flat: &mut [f32], mut draw: impl FnMut() -> f64) {
    for row in block.of_mut(flat).chunks_exact_mut(block.stride) {
        row[..block.cols].iter_mut().for_each(|x| *x = draw() as f32);
    }
}
