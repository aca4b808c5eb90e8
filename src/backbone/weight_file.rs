//! One safetensors file: its header is checked before any of its data is read.

use crate::{Error, Result};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::cell::RefCell;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The largest header that is read, in bytes. BERT-large has 60 kB.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Where the bytes come from.
pub(super) trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

/// A safetensors file with a checked header.
pub(super) struct WeightFile<'a> {
    path: PathBuf,
    reader: RefCell<Box<dyn Source + 'a>>,
    data_start: u64,
    header: Metadata,
}

impl<'a> WeightFile<'a> {
    pub(super) fn open(path: &Path) -> Result<WeightFile<'static>> {
        let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
        WeightFile::new(path, Box::new(file))
    }

    pub(super) fn from_bytes(path: &Path, bytes: &'a [u8]) -> Result<Self> {
        Self::new(path, Box::new(std::io::Cursor::new(bytes)))
    }

    fn new(path: &Path, mut reader: Box<dyn Source + 'a>) -> Result<Self> {
        let invalid = |message: String| Error::invalid(path, message);
        let length = reader.seek(SeekFrom::End(0)).map_err(|e| Error::io(path, e))?;
        if length < 8 {
            return Err(invalid(format!(
                "{length} bytes are no safetensors file: it begins with 8 for the header length"
            )));
        }
        reader.seek(SeekFrom::Start(0)).map_err(|e| Error::io(path, e))?;
        let mut header_length = [0; 8];
        reader.read_exact(&mut header_length).map_err(|e| Error::io(path, e))?;
        let header_length = u64::from_le_bytes(header_length);
        if header_length > MAX_HEADER_BYTES {
            return Err(invalid(format!(
                "claims a header of {header_length} bytes; at most {MAX_HEADER_BYTES} are read (is it a safetensors file?)"
            )));
        }
        if header_length > length - 8 {
            return Err(invalid(format!("truncated: the header has {header_length} bytes, the file {length} in all")));
        }
        let mut header = vec![0; header_length as usize];
        reader.read_exact(&mut header).map_err(|e| Error::io(path, e))?;
        // The parser checks that offsets follow each other without gaps and that every size is dtype × shape.
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|e| invalid(format!("the safetensors header is broken: {e}")))?;
        let data_start = 8 + header_length;
        let (expected, present) = (header.data_len() as u64, length - data_start);
        if expected != present {
            let what = if expected > present { "truncated" } else { "too long" };
            return Err(invalid(format!(
                "{what}: the header promises {expected} bytes of data, the file has {present}"
            )));
        }
        Ok(Self { path: path.to_path_buf(), reader: RefCell::new(reader), data_start, header })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all tensors, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = self.header.offset_keys();
        names.sort_unstable();
        names
    }

    pub(super) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.info(name)
    }

    /// A value of the metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// A floating-point tensor as F32. Widening is exact; F64 is rounded to the nearest.
    pub(super) fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let (info, bytes) = self.bytes(name)?;
        let values: Vec<f32> = match info.dtype {
            Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Dtype::F16 => bytes.as_chunks::<2>().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::BF16 => bytes.as_chunks::<2>().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
            Dtype::F64 => bytes.as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
            other => {
                return Err(self.invalid(format!("{name} has dtype {other:?}; weights are F32, F16, BF16, F64 or U8")));
            }
        };
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(self.invalid(format!("{name}: value {at} is {} as F32; weights must be finite", values[at])));
        }
        Ok(values)
    }

    /// The bytes of a U8 tensor.
    pub(super) fn quantised(&self, name: &str) -> Result<Vec<u8>> {
        Ok(self.bytes(name)?.1)
    }

    fn bytes(&self, name: &str) -> Result<(&TensorInfo, Vec<u8>)> {
        let info = self.info(name).ok_or_else(|| self.invalid(format!("there is no tensor {name}")))?;
        let (start, end) = info.data_offsets;
        let mut bytes = vec![0; end - start];
        let mut reader = self.reader.borrow_mut();
        let position = SeekFrom::Start(self.data_start + start as u64);
        reader.seek(position).and_then(|_| reader.read_exact(&mut bytes)).map_err(|e| Error::io(&self.path, e))?;
        Ok((info, bytes))
    }

    pub(super) fn invalid(&self, message: impl Into<String>) -> Error {
        Error::invalid(&self.path, message)
    }
}
