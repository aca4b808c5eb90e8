//! Files that are replaced whole or not at all, and checksums.

use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Key under which [`write_json`] stores the checksum.
const CHECKSUM: &str = "checksum";

/// Puts `bytes` in the place of file `path`: after a crash at any moment there is the old file or the new one.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written; the old file is then untouched and nothing else is left behind.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// As [`write_atomic`], for content that is written piece by piece.
///
/// The content goes to `.NAME.tmp` in the same folder, is flushed to the disk and takes the name of the file, and the
/// folder is flushed too. The temporary name is fixed, so what a killed process leaves behind is overwritten by the
/// next write. One process writes to a folder at a time; see [`super::RunDir::lock`].
///
/// # Errors
/// [`Error::Io`] if `content` fails or the file cannot be written; the old file is then untouched and nothing else is
/// left behind.
pub fn write_atomic_with(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let temporary = temporary_path(path)?;
    let written = write_new(&temporary, content)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_folder(path.parent().unwrap_or(Path::new("."))));
    written.map_err(|source| {
        // The first error is what matters; if even the removal fails, the next write overwrites what is left.
        drop(fs::remove_file(&temporary));
        Error::io(path, source)
    })
}

/// Writes a structure as indented JSON with its SHA-256 under the key `checksum`, atomically.
///
/// # Errors
/// [`Error::Invalid`] if the value is no JSON object; [`Error::Io`] if the file cannot be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut value = serde_json::to_value(value).map_err(|e| Error::invalid(path, format!("cannot be written: {e}")))?;
    let sum = checksum(path, &value)?;
    let Value::Object(object) = &mut value else {
        return Err(Error::invalid(path, "cannot be written: only a JSON object can carry a checksum"));
    };
    object.insert(CHECKSUM.to_owned(), Value::String(sum));
    let mut text = serde_json::to_string_pretty(&value).map_err(|e| Error::invalid(path, e.to_string()))?;
    text.push('\n');
    write_atomic(path, text.as_bytes())
}

/// Reads what [`write_json`] wrote and checks its checksum. A file without one (written by another program) is read
/// as it is.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Invalid`] if it is not JSON, not what `T` expects, or if the
/// checksum does not agree with the content.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let mut value: Value = serde_json::from_str(&text).map_err(|e| Error::invalid(path, e.to_string()))?;
    let recorded = value.as_object_mut().and_then(|object| object.remove(CHECKSUM));
    if let Some(recorded) = recorded {
        let actual = checksum(path, &value)?;
        if recorded.as_str() != Some(&actual) {
            let message = format!("the content has {actual}, but the file says {recorded}: it was damaged or edited");
            return Err(Error::invalid(path, message));
        }
    }
    serde_json::from_value(value).map_err(|e| Error::invalid(path, e.to_string()))
}

/// SHA-256 of some bytes in hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file in hexadecimal, read in pieces.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read.
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut hash = HashWriter(Sha256::new());
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    io::copy(&mut file, &mut hash).map_err(|e| Error::io(path, e))?;
    Ok(hex(&hash.0.finalize()))
}

/// Checksum over the compact form, in which keys are sorted and numbers are written one way only.
fn checksum(path: &Path, value: &Value) -> Result<String> {
    let compact = serde_json::to_vec(value).map_err(|e| Error::invalid(path, e.to_string()))?;
    Ok(format!("sha256:{}", sha256_hex(&compact)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn temporary_path(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| Error::invalid(path, "this is no file name"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".tmp");
    Ok(path.with_file_name(hidden))
}

fn write_new(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    content(&mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Makes a rename durable. Only Unix can open a folder for this; elsewhere the file system keeps its own order.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

struct HashWriter(Sha256);

impl Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Data {
        b: f64,
        a: Vec<Option<f64>>,
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        write_atomic(&path, b"old").unwrap();
        let failed = write_atomic_with(&path, |file| {
            file.write_all(b"half of the n")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.unwrap_err().to_string().contains("disk full"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["x.json"]);
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["x.json"]);
    }

    #[test]
    fn a_rename_that_fails_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir_all(path.join("inside")).unwrap();
        assert!(write_atomic(&path, b"x").is_err());
        assert_eq!(names(folder.path()), ["taken"]);
    }

    #[test]
    fn json_comes_back_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        let data = Data { b: 0.1 + 0.2, a: vec![Some(1e-300), None, Some(-0.0)] };
        write_json(&path, &data).unwrap();
        assert_eq!(read_json::<Data>(&path).unwrap(), data);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("0.30000000000000004", "0.31")).unwrap();
        let message = read_json::<Data>(&path).unwrap_err().to_string();
        assert!(message.contains("x.json") && message.contains("damaged or edited"), "{message}");
        fs::write(&path, r#"{"a": [], "b": 1}"#).unwrap();
        assert_eq!(read_json::<Data>(&path).unwrap(), Data { b: 1.0, a: vec![] });
        assert!(write_json(&path, &[1, 2]).unwrap_err().to_string().contains("JSON object"));
    }

    #[test]
    fn hashes_match_the_standard() {
        // FIPS 180-4, the example of one block.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), abc);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        fs::write(&path, "abc").unwrap();
        assert_eq!(sha256_file(&path).unwrap(), abc);
    }
}
