//! What is needed to run a study again, and to know what it was.

use super::atomic::{read_json, write_json};
use crate::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// `manifest.json`: written before the first step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this structure, 1.
    pub schema: u32,
    /// Name of the experiment.
    pub experiment: String,
    /// Preset from which the configuration started.
    pub preset: String,
    /// The command line as given, program first.
    pub command: Vec<String>,
    /// The configuration with every default filled in.
    pub config: serde_json::Value,
    /// Root of all random streams.
    pub root_seed: u64,
    /// Where the code came from.
    pub source: Source,
    /// Versions by name: the crates of the workspace, the compiler, the tensor library.
    pub versions: BTreeMap<String, String>,
    /// Device on which tensors were computed.
    pub device: String,
    /// Actor threads by which the results may differ, and compute threads by which they may not, by name.
    pub threads: BTreeMap<String, usize>,
    /// SHA-256 of data sets and backbone files, by name.
    pub hashes: BTreeMap<String, String>,
    /// Start of the study, UTC, such as 2026-01-31T09:05:00Z. See [`utc_now`].
    pub started_at: String,
}

/// State of the source tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Commit, if known.
    pub revision: Option<String>,
    /// Whether there were changes that are not in the commit, if known.
    pub dirty: Option<bool>,
}

impl Manifest {
    /// Writes the file atomically, with a checksum.
    ///
    /// # Errors
    /// As [`write_json`].
    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }

    /// Reads the file and checks its checksum.
    ///
    /// # Errors
    /// As [`read_json`].
    pub fn read(path: &Path) -> Result<Self> {
        read_json(path)
    }
}

/// The time now, UTC, to the second, in the form of RFC 3339.
#[must_use]
pub fn utc_now() -> String {
    // A clock before 1970 is shown as 1970: it is wrong either way, and no reason to refuse a study.
    utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Counts whole years, then whole months; a few hundred steps, once a run.
fn utc(seconds: u64) -> String {
    let (mut days, of_day) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        // date -u -d @N +%FT%TZ
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_709_251_200), "2024-03-01T00:00:00Z");
        assert_eq!(utc(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(utc(1_798_761_599), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn a_manifest_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let manifest = Manifest {
            schema: 1,
            config: serde_json::json!({"agent": {"learning_rate": 3e-5}}),
            root_seed: u64::MAX,
            source: Source { revision: Some("abc".into()), dirty: Some(true) },
            started_at: utc_now(),
            ..Manifest::default()
        };
        manifest.write(&path).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), manifest);
    }
}
