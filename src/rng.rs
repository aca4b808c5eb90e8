//! Named random streams derived from one root seed.
//!
//! Every random number of a run comes from a [`StreamRng`] whose seed is the path that leads to it: root seed, then
//! names and indices such as `trial`, 3, `env`, 7, `dynamics`. Two paths that differ anywhere give independent
//! streams, so adding a consumer never shifts the numbers another one sees, and the thread that happens to do the
//! work has no influence. Derivation is SHA-256 over the length-prefixed path; the generator is ChaCha8.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng, TryRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A node in the tree of random streams.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The root of all streams of a run.
    #[must_use]
    pub fn root(seed: u64) -> Self {
        Self(Sha256::digest(seed.to_le_bytes()).into())
    }

    /// The child called `name`.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update([b'n']);
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        Self(hash.finalize().into())
    }

    /// The child with number `index`.
    #[must_use]
    pub fn index(&self, index: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update([b'i']);
        hash.update(index.to_le_bytes());
        Self(hash.finalize().into())
    }

    /// A generator at the start of this stream.
    #[must_use]
    pub fn rng(&self) -> StreamRng {
        StreamRng(ChaCha8Rng::from_seed(self.0))
    }

    /// A generator at 32-bit word `word` of this stream.
    #[must_use]
    pub fn rng_at(&self, word: u128) -> StreamRng {
        let mut rng = self.rng();
        rng.0.set_word_pos(word);
        rng
    }

    /// A 64-bit seed for interfaces that take one, such as [`crate::env::Env::reset`].
    #[must_use]
    pub fn to_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(bytes)
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seed({:016x}…)", self.to_u64())
    }
}

/// A ChaCha8 generator whose exact position can be saved and restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRng(ChaCha8Rng);

/// The saved form of a [`StreamRng`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RngState {
    /// Key of the stream.
    pub seed: [u8; 32],
    /// 32-bit words consumed so far, as a decimal string because JSON numbers stop at 2^53.
    pub word_pos: String,
}

impl StreamRng {
    /// The exact position in the stream.
    #[must_use]
    pub fn state(&self) -> RngState {
        RngState { seed: self.0.get_seed(), word_pos: self.0.get_word_pos().to_string() }
    }

    /// A generator that continues where `state` was taken.
    ///
    /// # Errors
    /// If `word_pos` is not a number.
    pub fn from_state(state: &RngState) -> Result<Self, std::num::ParseIntError> {
        let mut rng = ChaCha8Rng::from_seed(state.seed);
        rng.set_word_pos(state.word_pos.parse()?);
        Ok(Self(rng))
    }

    /// A draw from U[0, 1) with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A draw from {0, …, n − 1}, free of modulo bias (Lemire's method).
    ///
    /// # Panics
    /// If `n` is zero.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0) has no value to return");
        let n = n as u64;
        let threshold = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.0.next_u64()) * u128::from(n);
            if wide as u64 >= threshold {
                return (wide >> 64) as usize;
            }
        }
    }

    /// A standard normal draw.
    pub fn normal(&mut self) -> f64 {
        rand_distr::Distribution::sample(&rand_distr::StandardNormal, self)
    }

    /// A standard Gumbel draw, −ln(−ln u) with u in (0, 1).
    pub fn gumbel(&mut self) -> f64 {
        let u = self.uniform().max(f64::MIN_POSITIVE);
        -(-u.ln()).ln()
    }
}

impl TryRng for StreamRng {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill_bytes(dst);
        Ok(())
    }
}

impl Serialize for StreamRng {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.state().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StreamRng {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let state = RngState::deserialize(deserializer)?;
        Self::from_state(&state).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_independent_of_their_spelling_together() {
        let root = Seed::root(7);
        assert_ne!(root.child("ab").child("c"), root.child("a").child("bc"));
        assert_ne!(root.child("env").index(1), root.child("env").index(2));
        assert_ne!(Seed::root(1).rng().next_u64(), Seed::root(2).rng().next_u64());
    }

    #[test]
    fn a_saved_stream_continues_with_the_same_bits() {
        let mut rng = Seed::root(3).child("x").rng();
        for _ in 0..13 {
            rng.normal();
        }
        let json = serde_json::to_string(&rng).expect("serialises");
        let mut again: StreamRng = serde_json::from_str(&json).expect("parses");
        for _ in 0..100 {
            assert_eq!(rng.next_u64(), again.next_u64());
        }
    }

    #[test]
    fn below_is_uniform() {
        let mut rng = Seed::root(5).rng();
        let mut counts = [0usize; 7];
        for _ in 0..70_000 {
            counts[rng.below(7)] += 1;
        }
        // Standard deviation of a count is about 93; five of them.
        assert!(counts.iter().all(|&c| c.abs_diff(10_000) < 465), "{counts:?}");
    }
}
