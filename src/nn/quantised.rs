//! Matrices in 8 bits, one scale for each row: a quarter of the memory, for weights that are only read.
//!
//! `w[r, c] = (q[r, c] − 128)·scale[r]`, in F32: one multiplication, so whoever widens them gets the same bits.

use super::fused;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// An 8-bit matrix.
#[derive(Clone, Debug)]
pub struct Quantised {
    /// `[rows, columns]` U8.
    q: Tensor,
    /// `[rows]` F32.
    scale: Tensor,
}

impl Quantised {
    /// A matrix from its parts, on the CPU; `q` row by row.
    ///
    /// # Errors
    /// [`Error::State`] if the parts do not fit or a scale is not positive and finite.
    pub fn new(q: Vec<u8>, scale: Vec<f32>, shape: (usize, usize)) -> Result<Self> {
        if q.len() != shape.0 * shape.1 || scale.len() != shape.0 {
            let (values, scales) = (q.len(), scale.len());
            return Err(Error::State(format!("{values} 8-bit values and {scales} scales for a matrix {shape:?}")));
        }
        if let Some(row) = scale.iter().position(|s| !s.is_finite() || *s <= 0.0) {
            return Err(Error::State(format!("scale {row} is {}, expected a positive number", scale[row])));
        }
        let rows = shape.0;
        Ok(Self { q: Tensor::from_vec(q, shape, &Device::Cpu)?, scale: Tensor::from_vec(scale, rows, &Device::Cpu)? })
    }

    /// The nearest 8-bit matrix: `scale = max|w|/127` of a row (1 for a row of zeros), `q = round(w/scale) + 128` with
    /// ties to even.
    ///
    /// # Errors
    /// [`Error::State`] if a value is not finite; if `matrix` does not have two axes.
    pub fn from_f32(matrix: &Tensor) -> Result<Self> {
        let (rows, columns) = matrix.dims2()?;
        let values = matrix.detach().flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(Error::State(format!("value {at} is {}; only finite matrices have an 8-bit form", values[at])));
        }
        let mut q = Vec::with_capacity(values.len());
        let mut scales = Vec::with_capacity(rows);
        for row in values.chunks(columns.max(1)) {
            let largest = row.iter().fold(0f32, |max, v| max.max(v.abs()));
            let scale = largest / 127.0;
            // A row of numbers too small for a scale of their own counts as zeros.
            let scale = if scale > 0.0 { scale } else { 1.0 };
            q.extend(row.iter().map(|v| ((v / scale).round_ties_even() + 128.0) as u8));
            scales.push(scale);
        }
        scales.resize(rows, 1.0);
        Self::new(q, scales, (rows, columns))
    }

    /// The same on another device; shares memory on the same one.
    ///
    /// # Errors
    /// If it cannot be copied there.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self { q: self.q.to_device(device)?, scale: self.scale.to_device(device)? })
    }

    /// `[rows, columns]`.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        self.q.dims()
    }

    /// Bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.q.elem_count() + 4 * self.scale.elem_count()
    }

    /// The whole matrix in F32, in memory of its own.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn to_f32(&self) -> Result<Tensor> {
        widen(&self.q, &self.scale)
    }

    /// `rows` rows from `start` on in F32, `[rows, columns]`.
    ///
    /// # Errors
    /// If they are outside the matrix.
    pub fn block(&self, start: usize, rows: usize) -> Result<Tensor> {
        widen(&self.q.narrow(0, start, rows)?, &self.scale.narrow(0, start, rows)?)
    }

    /// The rows `ids` (U32, any shape, each below the number of rows) in F32, `[ids, columns]`.
    ///
    /// # Errors
    /// If an id is outside the matrix.
    pub fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        let ids = ids.flatten_all()?;
        widen(&self.q.index_select(&ids, 0)?, &self.scale.index_select(&ids, 0)?)
    }
}

fn widen(q: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let (rows, columns) = q.dims2()?;
    if q.device().is_cpu() {
        let (values, scales) = (q.flatten_all()?.to_vec1::<u8>()?, scale.to_vec1::<f32>()?);
        let out = fused::dequantise(&values, &scales, columns);
        return Ok(Tensor::from_vec(out, (rows, columns), &Device::Cpu)?);
    }
    Ok((q.to_dtype(DType::F32)? - 128.0)?.broadcast_mul(&scale.unsqueeze(1)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use proptest::prelude::*;

    fn bits(tensor: &Tensor) -> Vec<u32> {
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
    }

    #[test]
    fn a_row_is_off_by_half_a_step_at_most_and_survives_a_second_time() {
        let (rows, columns) = (70, 300);
        let mut rng = Seed::root(3).rng();
        let values: Vec<f32> =
            (0..rows * columns).map(|i| (rng.normal() * (1.0 + (i / columns) as f64)) as f32).collect();
        let matrix = Tensor::from_vec(values.clone(), (rows, columns), &Device::Cpu).unwrap();
        let quantised = Quantised::from_f32(&matrix).unwrap();
        assert_eq!(quantised.bytes(), rows * columns + 4 * rows);
        let widened = quantised.to_f32().unwrap();
        let scales = quantised.scale.to_vec1::<f32>().unwrap();
        for (i, (a, b)) in values.iter().zip(widened.flatten_all().unwrap().to_vec1::<f32>().unwrap()).enumerate() {
            assert!((a - b).abs() <= 0.5001 * scales[i / columns], "{i}: {a} {b}");
        }
        let again = Quantised::from_f32(&widened).unwrap();
        assert_eq!(again.q.to_vec2::<u8>().unwrap(), quantised.q.to_vec2::<u8>().unwrap());
    }

    #[test]
    fn zeros_stay_zeros_and_what_cannot_be_kept_is_refused() {
        let matrix = |values: &[f32]| Tensor::from_vec(values.to_vec(), (2, 2), &Device::Cpu).unwrap();
        let zero = Quantised::from_f32(&matrix(&[0.0, -0.0, 1e-44, 0.0])).unwrap().to_f32().unwrap();
        assert_eq!(zero.to_vec2::<f32>().unwrap(), [[0.0; 2]; 2]);
        let message = Quantised::from_f32(&matrix(&[0.0, f32::NAN, 0.0, 0.0])).unwrap_err().to_string();
        assert!(message.contains("value 1 is NaN"), "{message}");
        assert!(Quantised::new(vec![1; 4], vec![1.0], (2, 2)).is_err());
        let message = Quantised::new(vec![1; 4], vec![1.0, 0.0], (2, 2)).unwrap_err().to_string();
        assert!(message.contains("scale 1 is 0"), "{message}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_kernel_agrees_with_candle_bit_for_bit(rows in 1usize..40, columns in 1usize..700, seed in any::<u64>()) {
            let mut rng = Seed::root(seed).rng();
            let q: Vec<u8> = (0..rows * columns).map(|_| (rng.uniform() * 256.0) as u8).collect();
            let scale: Vec<f32> = (0..rows).map(|_| 0.01 + rng.uniform() as f32).collect();
            let matrix = Quantised::new(q, scale, (rows, columns)).unwrap();
            let plain = (matrix.q.to_dtype(DType::F32).unwrap() - 128.0).unwrap();
            let plain = plain.broadcast_mul(&matrix.scale.unsqueeze(1).unwrap()).unwrap();
            prop_assert_eq!(bits(&matrix.to_f32().unwrap()), bits(&plain));
            let ids = Tensor::new(&[rows as u32 - 1, 0, rows as u32 - 1], &Device::Cpu).unwrap();
            prop_assert_eq!(bits(&matrix.rows(&ids).unwrap()), bits(&plain.index_select(&ids, 0).unwrap()));
            for device in crate::nn::devices() {
                let there = matrix.to_device(&device).unwrap();
                prop_assert_eq!(bits(&there.to_f32().unwrap()), bits(&plain), "{:?}", device);
                let rows = there.rows(&ids.to_device(&device).unwrap()).unwrap();
                prop_assert_eq!(bits(&rows), bits(&plain.index_select(&ids, 0).unwrap()), "{:?}", device);
            }
        }
    }
}
