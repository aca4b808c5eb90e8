//! Logs of one JSON value a line.

use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file that grows at its end and can be cut back to a recorded length.
pub(super) struct AppendFile {
    path: PathBuf,
    file: BufWriter<File>,
    length: u64,
}

impl AppendFile {
    /// A new, empty file.
    ///
    /// # Errors
    /// [`Error::Io`] if the file exists already or cannot be made.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| Error::io(path, e))?;
        Ok(Self { path: path.to_path_buf(), file: BufWriter::new(file), length: 0 })
    }

    /// An existing file, cut back to its first `length` bytes.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened; [`Error::Invalid`] if it is shorter than `length`.
    pub(super) fn resume(path: &Path, length: u64) -> Result<Self> {
        let mut file = OpenOptions::new().write(true).open(path).map_err(|e| Error::io(path, e))?;
        let found = file.metadata().map_err(|e| Error::io(path, e))?.len();
        if found < length {
            let message = format!("has {found} bytes, but the checkpoint was taken at {length}: the end is missing");
            return Err(Error::invalid(path, message));
        }
        file.set_len(length).and_then(|()| file.seek(SeekFrom::End(0))).map_err(|e| Error::io(path, e))?;
        Ok(Self { path: path.to_path_buf(), file: BufWriter::new(file), length })
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io(&self.path, e))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Hands what was appended to the operating system, so that readers see it.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|e| Error::io(&self.path, e))
    }

    /// Flushes to the disk and returns the length in bytes.
    pub(super) fn sync(&mut self) -> Result<u64> {
        self.flush()?;
        self.file.get_ref().sync_data().map_err(|e| Error::io(&self.path, e))?;
        Ok(self.length)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Appends JSON values to a file, one a line.
pub struct JsonlWriter(AppendFile);

impl JsonlWriter {
    /// A new, empty log.
    ///
    /// # Errors
    /// [`Error::Io`] if the file exists already or cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        AppendFile::create(path).map(Self)
    }

    /// An existing log, cut back to the `length` in bytes that [`JsonlWriter::sync`] returned.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened; [`Error::Invalid`] if it is shorter than `length`.
    pub fn resume(path: &Path, length: u64) -> Result<Self> {
        AppendFile::resume(path, length).map(Self)
    }

    /// Appends one value. It may stay in memory until [`JsonlWriter::flush`] or [`JsonlWriter::sync`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if the value cannot be expressed as JSON; [`Error::Io`] if the file cannot be written.
    pub fn append<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let line = serde_json::to_vec(value);
        let mut line = line.map_err(|e| Error::invalid(self.0.path(), format!("cannot be written: {e}")))?;
        line.push(b'\n');
        self.0.append(&line)
    }

    /// Makes everything appended so far visible to readers.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }

    /// Flushes everything to the disk and returns the length in bytes, to be stored in a checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn sync(&mut self) -> Result<u64> {
        self.0.sync()
    }
}

/// All values of a log. A last line without its line feed is what a killed process was writing; it is left out.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Invalid`], with the line, if a line is not what `T` expects.
pub fn read_jsonl<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| Error::invalid(path, format!("line {}: {e}", number + 1)))
    };
    whole.lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_resumed_log_equals_an_uninterrupted_one() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
        let mut log = JsonlWriter::create(&whole).unwrap();
        for i in 0..6 {
            log.append(&i).unwrap();
        }
        log.sync().unwrap();

        let mut log = JsonlWriter::create(&cut).unwrap();
        for i in 0..3 {
            log.append(&i).unwrap();
        }
        let position = log.sync().unwrap();
        log.append(&"work after the checkpoint").unwrap();
        drop(log);
        let mut log = JsonlWriter::resume(&cut, position).unwrap();
        for i in 3..6 {
            log.append(&i).unwrap();
        }
        log.sync().unwrap();
        assert_eq!(fs::read(&whole).unwrap(), fs::read(&cut).unwrap());
        assert_eq!(read_jsonl::<u32>(&cut).unwrap(), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn refusals_name_the_file_and_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        fs::write(&path, "1\n\"x\"\n").unwrap();
        assert!(matches!(JsonlWriter::create(&path), Err(Error::Io { .. })));
        let message = JsonlWriter::resume(&path, 99).err().unwrap().to_string();
        assert!(message.contains("log.jsonl") && message.contains("6 bytes") && message.contains("99"), "{message}");
        let message = read_jsonl::<u32>(&path).unwrap_err().to_string();
        assert!(message.contains("line 2"), "{message}");
    }

    #[test]
    fn half_a_line_at_the_end_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        fs::write(&path, "1\n2\n3").unwrap();
        assert_eq!(read_jsonl::<u32>(&path).unwrap(), [1, 2]);
        fs::write(&path, "1").unwrap();
        assert_eq!(read_jsonl::<u32>(&path).unwrap(), [0; 0]);
        fs::write(&path, "").unwrap();
        assert_eq!(read_jsonl::<u32>(&path).unwrap(), [0; 0]);
    }
}
