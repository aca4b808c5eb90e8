//! Files that are written whole or not at all.

use crate::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Ending of files that are being written. One that is left behind by a process that was killed can be deleted.
pub(super) const TEMP_SUFFIX: &str = ".tmp";

/// Writes a file so that at any moment, also after a power cut, `path` is either what it was before or complete.
///
/// The content goes to a hidden temporary file in the same folder, which is synced to the disk and renamed; then the
/// folder is synced. After an error no temporary file is left.
///
/// # Errors
/// [`Error::Io`] with `path` if any of that fails, or `write` returns an error.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    replace(path, write).map_err(|e| Error::io(path, e))
}

fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> std::io::Result<()> {
    let name = path.file_name().ok_or_else(|| std::io::Error::other("not the path of a file"))?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let prefix = format!(".{}.", name.to_string_lossy());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(TEMP_SUFFIX);
    // Temporary files are private by default; this one becomes an ordinary file, so the umask decides.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temp = builder.tempfile_in(folder)?;
    let mut out = BufWriter::new(temp.as_file());
    write(&mut out)?;
    out.flush()?;
    drop(out);
    temp.as_file().sync_all()?;
    temp.persist(path).map_err(|e| e.error)?;
    sync_folder(folder)
}

/// Makes a rename in `folder` durable. Only Unix lets a folder be opened for that.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> Vec<String> {
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        for text in ["old", "new"] {
            write_atomic(&path, |out| out.write_all(text.as_bytes())).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(entries(folder.path()), ["a.json"]);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_atomic(&path, |out| out.write_all(b"old")).unwrap();
        let failing = |out: &mut dyn Write| out.write_all(b"half").and(Err(std::io::Error::other("disk full")));
        let error = write_atomic(&path, failing).unwrap_err().to_string();
        assert!(error.contains("a.json: disk full"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(entries(folder.path()), ["a.json"]);
        assert!(write_atomic(&folder.path().join("missing/a.json"), |_| Ok(())).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn the_file_has_ordinary_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        write_atomic(&folder.path().join("a"), |_| Ok(())).unwrap();
        std::fs::write(folder.path().join("b"), "").unwrap();
        assert_eq!(mode("a"), mode("b"));
    }
}
