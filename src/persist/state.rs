//! Named tensors and JSON values in memory.

use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Raw little-endian data with a shape; exact for every dtype.
#[derive(Clone, Debug, PartialEq)]
pub struct RawTensor {
    /// Element type.
    pub dtype: safetensors::Dtype,
    /// Shape.
    pub shape: Vec<usize>,
    /// Little-endian bytes, row by row.
    pub data: Vec<u8>,
}

/// Everything a later continuation depends on: tensors by name and small structures as JSON, also by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    /// Bulk data.
    pub tensors: BTreeMap<String, RawTensor>,
    /// Small structures.
    pub values: BTreeMap<String, serde_json::Value>,
}

impl StateDict {
    /// Stores a candle F32, U8, U32, I64 or F64 tensor.
    ///
    /// # Errors
    /// For other dtypes, or if the tensor cannot be read.
    pub fn put_tensor(&mut self, name: impl Into<String>, tensor: &Tensor) -> Result<()> {
        let flat = tensor.flatten_all()?.to_device(&Device::Cpu)?;
        let (dtype, data) = match tensor.dtype() {
            DType::F32 => (safetensors::Dtype::F32, le_bytes(&flat.to_vec1::<f32>()?, |v| v.to_le_bytes())),
            DType::F64 => (safetensors::Dtype::F64, le_bytes(&flat.to_vec1::<f64>()?, |v| v.to_le_bytes())),
            DType::U32 => (safetensors::Dtype::U32, le_bytes(&flat.to_vec1::<u32>()?, |v| v.to_le_bytes())),
            DType::I64 => (safetensors::Dtype::I64, le_bytes(&flat.to_vec1::<i64>()?, |v| v.to_le_bytes())),
            DType::U8 => (safetensors::Dtype::U8, flat.to_vec1::<u8>()?),
            other => return Err(Error::State(format!("a tensor of dtype {other:?} cannot be saved"))),
        };
        self.tensors.insert(name.into(), RawTensor { dtype, shape: tensor.dims().to_vec(), data });
        Ok(())
    }

    /// The F32 tensor `name` on `device`.
    ///
    /// # Errors
    /// [`Error::State`] if it is missing or of another dtype.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor> {
        let values = self.f32s(name)?;
        let shape = self.tensors[name].shape.clone();
        Ok(Tensor::from_vec(values, shape, device)?)
    }

    /// Stores a flat array of floats.
    pub fn put_f32s(&mut self, name: impl Into<String>, values: &[f32]) {
        let data = le_bytes(values, |v| v.to_le_bytes());
        self.tensors.insert(name.into(), RawTensor { dtype: safetensors::Dtype::F32, shape: vec![values.len()], data });
    }

    /// The floats of tensor `name`, row by row.
    ///
    /// # Errors
    /// [`Error::State`] if it is missing or of another dtype.
    pub fn f32s(&self, name: &str) -> Result<Vec<f32>> {
        let raw = self.raw(name, safetensors::Dtype::F32)?;
        Ok(raw.as_chunks::<4>().0.iter().map(|c| f32::from_le_bytes(*c)).collect())
    }

    /// Stores a flat array of unsigned integers.
    pub fn put_u32s(&mut self, name: impl Into<String>, values: &[u32]) {
        let data = le_bytes(values, |v| v.to_le_bytes());
        self.tensors.insert(name.into(), RawTensor { dtype: safetensors::Dtype::U32, shape: vec![values.len()], data });
    }

    /// The unsigned integers of tensor `name`.
    ///
    /// # Errors
    /// [`Error::State`] if it is missing or of another dtype.
    pub fn u32s(&self, name: &str) -> Result<Vec<u32>> {
        let raw = self.raw(name, safetensors::Dtype::U32)?;
        Ok(raw.as_chunks::<4>().0.iter().map(|c| u32::from_le_bytes(*c)).collect())
    }

    /// Stores a flat array of bytes.
    pub fn put_u8s(&mut self, name: impl Into<String>, values: &[u8]) {
        let raw = RawTensor { dtype: safetensors::Dtype::U8, shape: vec![values.len()], data: values.to_vec() };
        self.tensors.insert(name.into(), raw);
    }

    /// The bytes of tensor `name`.
    ///
    /// # Errors
    /// [`Error::State`] if it is missing or of another dtype.
    pub fn u8s(&self, name: &str) -> Result<Vec<u8>> {
        Ok(self.raw(name, safetensors::Dtype::U8)?.to_vec())
    }

    /// Stores a small structure.
    ///
    /// # Errors
    /// If it cannot be expressed as JSON.
    pub fn put<T: Serialize>(&mut self, name: impl Into<String>, value: &T) -> Result<()> {
        let name = name.into();
        let value = serde_json::to_value(value).map_err(|e| Error::State(format!("{name}: {e}")))?;
        self.values.insert(name, value);
        Ok(())
    }

    /// The structure `name`.
    ///
    /// # Errors
    /// [`Error::State`] if it is missing or has another form.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let value = self.values.get(name).ok_or_else(|| Error::State(format!("{name} is missing")))?;
        serde_json::from_value(value.clone()).map_err(|e| Error::State(format!("{name}: {e}")))
    }

    fn raw(&self, name: &str, dtype: safetensors::Dtype) -> Result<&[u8]> {
        let raw = self.tensors.get(name).ok_or_else(|| Error::State(format!("tensor {name} is missing")))?;
        if raw.dtype != dtype {
            return Err(Error::State(format!("tensor {name} is {:?}, expected {dtype:?}", raw.dtype)));
        }
        Ok(&raw.data)
    }
}

fn le_bytes<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&v| bytes(v)).collect()
}
