//! What is kept of an episode once its steps are gone.

use crate::env::Status;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One finished training episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpisodeRecord {
    /// Env slot.
    pub env: usize,
    /// Number of the episode within the slot, from 0.
    pub episode: u64,
    /// Env steps the slot had taken in this run when the episode ended, the ending one included.
    pub slot_steps: u64,
    /// Sum of the rewards, undiscounted, in the unit of [`crate::env::EnvSpec::reward_unit`].
    #[serde(rename = "return")]
    pub episode_return: f64,
    /// Env steps of the episode.
    pub length: u64,
    /// How it ended: terminated or truncated.
    pub status: Status,
    /// Digest of the actions in order (32 hexadecimal digits): equal digests mean that the same was done.
    pub actions: String,
}

/// Chained SHA-256 over the JSON forms of actions. A chain rather than one long hash, because its state between two
/// steps is 32 bytes that can be saved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ActionDigest([u8; 32]);

impl ActionDigest {
    /// Takes in the next action.
    pub fn push<A: Serialize>(&mut self, action: &A) -> Result<()> {
        let json = serde_json::to_vec(action).map_err(|e| Error::State(format!("an action has no JSON form: {e}")))?;
        self.0 = Sha256::new().chain_update(self.0).chain_update(&json).finalize().into();
        Ok(())
    }

    /// The digest so far; begins anew.
    pub fn finish(&mut self) -> String {
        let digest = std::mem::take(self);
        digest.0[..16].iter().map(|b| format!("{b:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_sees_order_and_value_and_begins_anew() {
        let digest = |actions: &[u32]| {
            let mut digest = ActionDigest::default();
            actions.iter().for_each(|a| digest.push(a).unwrap());
            digest.finish()
        };
        assert_eq!(digest(&[1, 2]), digest(&[1, 2]));
        assert_ne!(digest(&[1, 2]), digest(&[2, 1]));
        assert_ne!(digest(&[1, 2]), digest(&[12]));
        let mut used = ActionDigest::default();
        used.push(&7u32).unwrap();
        used.finish();
        assert_eq!(used, ActionDigest::default());
    }
}
