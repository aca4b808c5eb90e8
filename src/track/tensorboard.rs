//! TensorBoard event files: scalars only, written by hand because the format is three messages.
//!
//! A file is a sequence of TFRecords: length as u64, masked CRC-32C of those eight bytes, the data, masked CRC-32C of
//! the data, all little-endian. The data of each record is a protobuf `Event` (TensorFlow,
//! `tensorflow/core/util/event.proto`): `wall_time` = 1 (double), `step` = 2 (int64), and either `file_version` = 3
//! (string; first record only) or `summary` = 5, which holds `value` = 1 with `tag` = 1 and `simple_value` = 2 (float).

use super::crc32c::masked;
use super::jsonl::AppendFile;
use crate::Result;
use std::path::Path;

/// Writes scalars for TensorBoard.
pub struct EventWriter(AppendFile);

impl EventWriter {
    /// A file name that TensorBoard recognises. The same at every start, so that a resumed run finds its file.
    pub const FILE_NAME: &str = "events.out.tfevents.retune";

    /// A new event file with its version record.
    ///
    /// `wall_time`: seconds since 1970.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if the file exists already or cannot be written.
    pub fn create(path: &Path, wall_time: f64) -> Result<Self> {
        let mut file = AppendFile::create(path)?;
        file.append(&record(&version_event(wall_time)))?;
        Ok(Self(file))
    }

    /// An existing file, cut back to the `length` in bytes that [`EventWriter::sync`] returned.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if the file cannot be opened; [`crate::Error::Invalid`] if it is shorter than `length`.
    pub fn resume(path: &Path, length: u64) -> Result<Self> {
        AppendFile::resume(path, length).map(Self)
    }

    /// Appends scalars, all with the same step. TensorBoard keeps single precision.
    ///
    /// `wall_time`: seconds since 1970. `step`: whatever the x-axis shall be, here env steps.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if the file cannot be written.
    pub fn scalars<'a>(
        &mut self,
        wall_time: f64,
        step: u64,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<()> {
        self.0.append(&record(&scalar_event(wall_time, step, values)))
    }

    /// Makes everything appended so far visible to a running TensorBoard.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }

    /// Flushes everything to the disk and returns the length in bytes, to be stored in a checkpoint.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if the file cannot be written.
    pub fn sync(&mut self) -> Result<u64> {
        self.0.sync()
    }
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked(data).to_le_bytes());
    record
}

fn version_event(wall_time: f64) -> Vec<u8> {
    let mut event = Vec::new();
    put_double(&mut event, 1, wall_time);
    put_bytes(&mut event, 3, b"brain.Event:2");
    event
}

fn scalar_event<'a>(wall_time: f64, step: u64, values: impl IntoIterator<Item = (&'a str, f64)>) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, number) in values {
        let mut value = Vec::new();
        put_bytes(&mut value, 1, tag.as_bytes());
        put_float(&mut value, 2, number as f32);
        put_bytes(&mut summary, 1, &value);
    }
    let mut event = Vec::new();
    put_double(&mut event, 1, wall_time);
    put_varint(&mut event, 2 << 3);
    put_varint(&mut event, step);
    put_bytes(&mut event, 5, &summary);
    event
}

/// A number in base 128, low digits first; the top bit says that more follow.
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Wire type 1.
fn put_double(out: &mut Vec<u8>, field: u64, value: f64) {
    put_varint(out, field << 3 | 1);
    out.extend(value.to_le_bytes());
}

/// Wire type 2: a length and so many bytes.
fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// Wire type 5.
fn put_float(out: &mut Vec<u8>, field: u64, value: f32) {
    put_varint(out, field << 3 | 5);
    out.extend(value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn bytes_match_those_of_tensorboard() {
        // tests/golden/track/README.md says how the file was made with TensorBoard's own writer.
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/track/scalars.tfevents");
        let expected = fs::read(path).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EventWriter::FILE_NAME);
        let mut writer = EventWriter::create(&path, 1_700_000_000.25).unwrap();
        writer.scalars(1_700_000_001.5, 1, [("loss", 0.5)]).unwrap();
        writer.scalars(1_700_000_002.75, 300_000, [("evaluation/episode_return", -171.25), ("loss", 0.1)]).unwrap();
        assert_eq!(writer.sync().unwrap(), expected.len() as u64);
        assert_eq!(fs::read(&path).unwrap(), expected);
    }

    #[test]
    fn a_resumed_file_equals_an_uninterrupted_one() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, interrupt: bool| {
            let path = folder.path().join(name);
            let mut writer = EventWriter::create(&path, 1.0).unwrap();
            writer.scalars(2.0, 1, [("a", 1.0)]).unwrap();
            if interrupt {
                let length = writer.sync().unwrap();
                writer.scalars(2.5, 2, [("lost", 1.0)]).unwrap();
                drop(writer);
                writer = EventWriter::resume(&path, length).unwrap();
            }
            writer.scalars(3.0, 2, [("a", 2.0)]).unwrap();
            writer.sync().unwrap();
            fs::read(path).unwrap()
        };
        assert_eq!(write("whole", false), write("cut", true));
    }
}
