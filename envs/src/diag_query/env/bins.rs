//! A belief in bins.

use super::likeliest;
use crate::diag_query::gain::entropy_bits;

/// How a belief is cut into bins.
///
/// | block | bins | of |
/// |---|---|---|
/// | 0 | D | the likeliest diagnosis, the first of equals |
/// | 1 | P | its probability, equally wide from 1/D to 1 |
/// | 2 | H | the entropy: H_max/2 to H_max, H_max/4 to H_max/2, …, the last down to 0 |
/// | 3 | T + 1 | questions asked; T is the most there can be |
///
/// Two sets of answers in one bin are one state: the optimum over bins may be below that over beliefs. Which findings are
/// left is not in the state, only in the mask.
#[derive(Clone, Debug)]
pub struct Bins {
    blocks: [usize; 4],
}

impl Bins {
    /// For this many diagnoses, bins of probability and entropy, and questions.
    pub fn new(diagnoses: usize, (probability, entropy): (usize, usize), questions: usize) -> Self {
        Self { blocks: [diagnoses, probability, entropy, questions + 1] }
    }

    pub fn blocks(&self) -> [usize; 4] {
        self.blocks
    }

    /// One-hot blocks, side by side.
    pub fn state(&self, posterior: &[f64], questions: usize) -> Vec<f32> {
        let mut state = vec![0.0; self.blocks.iter().sum()];
        let mut first = 0;
        for (size, bin) in self.blocks.into_iter().zip(self.bins(posterior, questions)) {
            state[first + bin] = 1.0;
            first += size;
        }
        state
    }

    fn bins(&self, posterior: &[f64], questions: usize) -> [usize; 4] {
        let [diagnoses, probabilities, entropies, counts] = self.blocks;
        let top = likeliest(posterior);
        let least = 1.0 / diagnoses as f64;
        // One diagnosis is certain; `as` takes what is not finite or negative to 0.
        let share = (posterior[top] - least) / (1.0 - least);
        let probability = (share * probabilities as f64) as usize;
        let halvings = ((diagnoses as f64).log2() / entropy_bits(posterior)).log2();
        let entropy = if halvings.is_finite() { halvings.max(0.0) as usize } else { entropies };
        [top, probability.min(probabilities - 1), entropy.min(entropies - 1), questions.min(counts - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beliefs_fall_into_the_bins_of_the_table() {
        let bins = Bins::new(2, (4, 3), 5);
        assert_eq!(bins.blocks(), [2, 4, 3, 6]);
        assert_eq!(bins.bins(&[0.5, 0.5], 0), [0, 0, 0, 0]);
        // Entropies of .72, .47, .24 and 0 bits of 1.
        assert_eq!(bins.bins(&[0.2, 0.8], 1), [1, 2, 0, 1]);
        assert_eq!(bins.bins(&[0.9, 0.1], 2), [0, 3, 1, 2]);
        assert_eq!(bins.bins(&[0.04, 0.96], 9), [1, 3, 2, 5]);
        assert_eq!(bins.bins(&[1.0, 0.0], 0), [0, 3, 2, 0]);
        assert_eq!(Bins::new(1, (4, 3), 5).bins(&[1.0], 3), [0, 0, 2, 3]);
        let state = bins.state(&[0.2, 0.8], 1);
        let ones: Vec<usize> = (0..state.len()).filter(|&i| state[i] == 1.0).collect();
        assert_eq!((state.len(), ones), (15, vec![1, 4, 6, 10]));
    }
}
