//! The file form of a [`StateDict`]: one safetensors file.
//!
//! Any safetensors reader opens it. Its metadata are strings: `format_version`, `kind` (what the state is of),
//! `values` (the JSON values, as text) and `sha256` (of everything else, see [`checksum`]). The same state gives the
//! same bytes.

use super::atomic::write_atomic;
use super::state::{RawTensor, StateDict};
use crate::{Error, Result};
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Version of the file form. Files of another version are refused.
pub const FORMAT_VERSION: u32 = 1;

/// The most that readers of safetensors accept as header.
const MAX_HEADER: u64 = 100_000_000;

/// Writes `state` to a file, whole or not at all. `kind` says what it is of, and must be given again to load it.
///
/// # Errors
/// [`Error::Invalid`] if the values are too large for a header (they belong into tensors then) or a tensor contradicts
/// its shape; [`Error::Io`] if the file cannot be written.
pub fn save_file(path: &Path, kind: &str, state: &StateDict) -> Result<()> {
    let values = serde_json::to_string(&state.values).map_err(|e| Error::invalid(path, e.to_string()))?;
    let header = header(kind, &values, &state.tensors).map_err(|message| Error::invalid(path, message))?;
    write_atomic(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        in_file_order(&state.tensors).iter().try_for_each(|(_, tensor)| out.write_all(&tensor.data))
    })
}

/// Reads a file that [`save_file`] wrote.
///
/// Sizes are checked against the length of the file before anything is allocated for them, and the checksum before
/// anything is returned.
///
/// # Errors
/// [`Error::Io`] if it cannot be read; [`Error::Invalid`] with what is wrong if it is not whole, not of this version,
/// or not of this `kind`.
pub fn load_file(path: &Path, kind: &str) -> Result<StateDict> {
    let invalid = |message: String| Error::invalid(path, message);
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let length = file.metadata().map_err(|e| Error::io(path, e))?.len();
    let mut file = BufReader::new(file);
    let header = read_header(&mut file, length).map_err(|e| e.into_error(path))?;
    let strings = header.metadata().as_ref().ok_or_else(|| invalid("the file has no metadata".to_owned()))?;
    let field =
        |name: &str| strings.get(name).map(String::as_str).ok_or_else(|| invalid(format!("the metadata lack {name}")));
    let version = field("format_version")?;
    if version != FORMAT_VERSION.to_string() {
        return Err(invalid(format!("format version {version}, expected {FORMAT_VERSION}")));
    }
    if field("kind")? != kind {
        return Err(invalid(format!("a state of kind {:?}, expected {kind:?}", field("kind")?)));
    }
    let mut tensors = BTreeMap::new();
    for name in header.offset_keys() {
        let info = header.info(&name).ok_or_else(|| invalid(format!("tensor {name} is not described")))?;
        let tensor = read_tensor(&mut file, info).map_err(|e| Error::io(path, e))?;
        tensors.insert(name, tensor);
    }
    let (found, expected) = (checksum(kind, field("values")?, &tensors), field("sha256")?);
    if found != expected {
        return Err(invalid(format!("the content has SHA-256 {found}, the file says {expected}: it is damaged")));
    }
    let values = serde_json::from_str(field("values")?).map_err(|e| invalid(format!("values: {e}")))?;
    Ok(StateDict { tensors, values })
}

/// Why a header cannot be used.
enum HeaderError {
    Io(std::io::Error),
    Wrong(String),
}

impl HeaderError {
    fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Io(e) => Error::io(path, e),
            Self::Wrong(message) => Error::invalid(path, message),
        }
    }
}

/// Reads and checks the header of a file of `length` bytes; what follows is exactly the data it describes.
fn read_header(file: &mut impl Read, length: u64) -> Result<Metadata, HeaderError> {
    let wrong = |message: String| Err(HeaderError::Wrong(message));
    if length < 8 {
        return wrong(format!("{length} bytes, too short for a safetensors file"));
    }
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(HeaderError::Io)?;
    let size = u64::from_le_bytes(size);
    if size > MAX_HEADER || size > length - 8 {
        return wrong(format!("a header of {size} bytes in a file of {length}"));
    }
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header).map_err(HeaderError::Io)?;
    // Parsing checks that every tensor is as large as dtype and shape say, and that they lie end to end.
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|e| HeaderError::Wrong(format!("the header cannot be read: {e}")))?;
    let (promised, there) = (header.data_len() as u64, length - 8 - size);
    if promised != there {
        return wrong(format!("the header describes {promised} bytes of data, the file holds {there}"));
    }
    Ok(header)
}

fn read_tensor(file: &mut impl Read, info: &TensorInfo) -> std::io::Result<RawTensor> {
    let mut data = vec![0; info.data_offsets.1 - info.data_offsets.0];
    file.read_exact(&mut data)?;
    Ok(RawTensor { dtype: info.dtype, shape: info.shape.clone(), data })
}

/// Tensors with wide elements first, so that every tensor lies aligned; by name among equals.
fn in_file_order(tensors: &BTreeMap<String, RawTensor>) -> Vec<(&String, &RawTensor)> {
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype.bitsize()));
    order
}

/// The header, padded so that the data begin at a multiple of eight. Written here because the safetensors crate takes
/// metadata as a hash map, whose order differs from run to run.
fn header(kind: &str, values: &str, tensors: &BTreeMap<String, RawTensor>) -> Result<Vec<u8>, String> {
    let mut entries = Map::new();
    let mut offset = 0;
    for (name, tensor) in in_file_order(tensors) {
        let count = tensor.shape.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim));
        let bytes = count.and_then(|n| n.checked_mul(tensor.dtype.bitsize())).map(|bits| bits / 8);
        if bytes != Some(tensor.data.len()) || name == "__metadata__" {
            let (dtype, shape, found) = (tensor.dtype, &tensor.shape, tensor.data.len());
            return Err(format!("tensor {name} of dtype {dtype:?} and shape {shape:?} has {found} bytes"));
        }
        let end = offset + tensor.data.len();
        entries.insert(
            name.clone(),
            json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end] }),
        );
        offset = end;
    }
    let metadata = json!({
        "format_version": FORMAT_VERSION.to_string(),
        "kind": kind,
        "sha256": checksum(kind, values, tensors),
        "values": values,
    });
    entries.insert("__metadata__".to_owned(), metadata);
    let mut header = Value::Object(entries).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() as u64 > MAX_HEADER {
        let size = header.len();
        return Err(format!("the values make a header of {size} bytes, at most {MAX_HEADER} can be read back"));
    }
    Ok(header)
}

/// SHA-256 as hex over version, kind, values, and for each tensor in name order its name, dtype, shape and bytes. All
/// parts are preceded by their length, so that no two states run together to the same bytes.
fn checksum(kind: &str, values: &str, tensors: &BTreeMap<String, RawTensor>) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(&FORMAT_VERSION.to_le_bytes());
    part(kind.as_bytes());
    part(values.as_bytes());
    for (name, tensor) in tensors {
        part(name.as_bytes());
        part(format!("{:?} {:?}", tensor.dtype, tensor.shape).as_bytes());
        part(&tensor.data);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> StateDict {
        let mut state = StateDict::default();
        state.put_u8s("bytes", &[1, 2, 3]);
        state.put_f32s("floats", &[0.1, f32::NAN, -0.0]);
        state.put_u32s("none", &[]);
        state.put("number", &0.1f64).unwrap();
        state.put("text", &"quote \" and ümlaut").unwrap();
        state
    }

    #[test]
    fn a_state_comes_back_and_is_written_the_same_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
        save_file(&a, "test", &sample()).unwrap();
        let loaded = load_file(&a, "test").unwrap();
        assert_eq!(loaded, sample());
        save_file(&b, "test", &loaded).unwrap();
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        save_file(&a, "test", &StateDict::default()).unwrap();
        assert_eq!(load_file(&a, "test").unwrap(), StateDict::default());
    }

    #[test]
    fn the_safetensors_crate_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        save_file(&path, "test", &sample()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.len(), 3);
        assert_eq!(file.tensor("floats").unwrap().data(), sample().tensors["floats"].data);
        assert_eq!(file.tensor("floats").unwrap().data().as_ptr() as usize % 4, bytes.as_ptr() as usize % 4);
    }

    #[test]
    fn any_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        save_file(&path, "test", &sample()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert!(load_file(&path, "test").is_err(), "lowest bit of byte {at} flipped");
        }
        for length in (0..whole.len()).step_by(7) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(load_file(&path, "test").is_err(), "cut to {length} bytes");
        }
        std::fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(load_file(&path, "test").unwrap_err().to_string().contains("the file holds 16"));
        // Negative control.
        std::fs::write(&path, &whole).unwrap();
        load_file(&path, "test").unwrap();
    }

    #[test]
    fn sizes_are_checked_before_they_are_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            load_file(&path, "test").unwrap_err().to_string()
        };
        assert!(refused(&[0xff; 20]).contains("a header of 18446744073709551615 bytes in a file of 20"));
        let promise = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
        let huge = r#"{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}"#;
        assert!(refused(&promise(huge)).contains("describes 4000000000000 bytes of data, the file holds 0"));
        let overflow = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#;
        assert!(refused(&promise(overflow)).contains("the header cannot be read"));
    }

    #[test]
    fn kind_and_version_are_checked_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        save_file(&path, "trial", &sample()).unwrap();
        let error = load_file(&path, "study").unwrap_err().to_string();
        assert!(error.ends_with("a.safetensors: a state of kind \"trial\", expected \"study\""), "{error}");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(20).position(|w| w == b"format_version\":\"1\",").unwrap();
        bytes[at + 17] = b'9';
        std::fs::write(&path, bytes).unwrap();
        assert!(load_file(&path, "trial").unwrap_err().to_string().contains("format version 9, expected 1"));
        assert!(matches!(load_file(&folder.path().join("none"), "trial"), Err(Error::Io { .. })));
    }

    #[test]
    fn a_tensor_that_contradicts_its_shape_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let mut state = sample();
        state.tensors.get_mut("floats").unwrap().shape = vec![4];
        assert!(save_file(&path, "test", &state).unwrap_err().to_string().contains("tensor floats"));
        assert!(!path.exists());
    }
}
