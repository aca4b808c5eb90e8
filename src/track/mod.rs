//! What a run writes to disk, and how it is read back.
//!
//! A run is one folder, a [`RunDir`]. Whole files ([`Manifest`], [`Summary`], reports) are replaced atomically and
//! carry a checksum ([`write_json`]); logs that grow ([`JsonlWriter`], [`EventWriter`]) are cut back to the length
//! that the last checkpoint recorded when a run is resumed, so that an interrupted run ends with the same bytes as an
//! uninterrupted one. [`TrialLog`] holds the logs of one trial together.

mod atomic;
mod comparison;
mod crc32c;
mod jsonl;
mod log;
mod manifest;
mod number;
mod run_dir;
mod summary;
mod tensorboard;
mod verdict;

pub use atomic::{read_json, sha256_file, sha256_hex, write_atomic, write_atomic_with, write_json};
pub use comparison::Comparison;
pub use jsonl::{JsonlWriter, read_jsonl};
pub use log::{LogPosition, MetricRecord, Phase, TrialLog};
pub use manifest::{Manifest, Source, utc_now};
pub use number::{decimals_for, fixed, grouped};
pub use run_dir::{RunDir, RunLock};
pub use summary::{
    Anchor, ArmKind, ArmSummary, ExtraMetric, Failure, Ledger, MetricInfo, Reference, SCHEMA, ScoreSet, Split,
    SplitArm, Status, Summary,
};
pub use tensorboard::EventWriter;
pub use verdict::{headline, sentence};
