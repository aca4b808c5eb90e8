//! Text vectors as the scorer reads them: standardised, each text of a minibatch once.

use super::Weights;
use candle_core::{Device, Tensor};
use retune::replay::NO_TEXT;
use retune::{Error, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The texts of a minibatch: their standardised vectors, or the projections of these that a scorer needs.
#[derive(Clone, Debug)]
pub struct TextRows {
    device: Device,
    row: Arc<HashMap<u32, u32>>,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    /// `[rows, text_width]`, multiplied when asked.
    Vectors(Tensor),
    /// `[rows, units]` by the name of the projection.
    Projected(BTreeMap<String, Tensor>),
}

impl TextRows {
    /// The texts `ids` in this order; [`NO_TEXT`] may be one of them, with a vector of zeros.
    ///
    /// # Shapes
    /// `vectors`: `[ids.len(), text_width]`, standardised.
    #[must_use]
    pub fn new(ids: &[u32], vectors: &Tensor) -> Self {
        let row = Arc::new(ids.iter().enumerate().map(|(row, &id)| (id, row as u32)).collect());
        Self { device: vectors.device().clone(), row, content: Content::Vectors(vectors.clone()) }
    }

    /// The same texts with the projections under `weights` done once and for all.
    ///
    /// # Errors
    /// If the tensors do not fit.
    pub fn projected(&self, weights: &Weights) -> Result<Self> {
        let each = weights.of_texts().map(|(name, _)| Ok((name.to_owned(), self.project(weights, name)?)));
        Ok(Self { content: Content::Projected(each.collect::<Result<_>>()?), ..self.clone() })
    }

    /// The projection `name` of each row, `[rows, units]`.
    pub(super) fn project(&self, weights: &Weights, name: &str) -> Result<Tensor> {
        match &self.content {
            Content::Vectors(vectors) => Ok(vectors.matmul(weights.get(name)?)?),
            Content::Projected(done) => {
                done.get(name).cloned().ok_or_else(|| Error::State(format!("{name} was not projected")))
            }
        }
    }

    /// Rows of these texts, `[texts.len()]`.
    pub(super) fn index(&self, texts: &[u32]) -> Result<Tensor> {
        let row = |id: &u32| self.row.get(id).copied().ok_or_else(|| Error::State(format!("text {id} has no vector")));
        Ok(Tensor::from_vec(texts.iter().map(row).collect::<Result<Vec<u32>>>()?, texts.len(), &self.device)?)
    }
}

/// The vectors of all texts of an env with the constants that standardise them.
#[derive(Clone, Debug)]
pub struct TextTableView {
    /// `[num_texts, text_width]`, as the encoder made them; NaN where a text was not asked for.
    pub table: Tensor,
    /// Subtracted from each vector, `[text_width]`.
    pub mean: Tensor,
    /// Then divided by, `[text_width]`.
    pub std: Tensor,
}

impl TextTableView {
    /// Mean and standard deviation of the rows `pool` of `table`; 1 for a component that does not vary.
    ///
    /// # Errors
    /// If `pool` is empty or reaches outside the table.
    pub fn new(table: &Tensor, pool: &[u32]) -> Result<Self> {
        let ids = Tensor::new(pool, table.device())?;
        let rows = table.index_select(&ids, 0)?;
        let mean = rows.mean(0)?;
        let std = rows.broadcast_sub(&mean)?.sqr()?.mean(0)?.sqrt()?;
        let flat = std.le(1e-6)?;
        let std = flat.where_cond(&std.ones_like()?, &std)?;
        Ok(Self { table: table.clone(), mean, std })
    }

    /// Standardised vectors.
    ///
    /// # Errors
    /// If the shape is not `[rows, text_width]`.
    pub fn standardise(&self, vectors: &Tensor) -> Result<Tensor> {
        Ok(vectors.broadcast_sub(&self.mean)?.broadcast_div(&self.std)?)
    }

    /// The texts in `ids` (repetitions and [`NO_TEXT`] allowed), each once.
    ///
    /// # Errors
    /// If an id is outside the table.
    pub fn rows(&self, ids: &[u32]) -> Result<TextRows> {
        let unique: BTreeSet<u32> = ids.iter().copied().collect();
        let mut ids: Vec<u32> = unique.into_iter().collect();
        let padded = ids.last() == Some(&NO_TEXT);
        if padded {
            ids.pop();
        }
        let width = self.table.dim(1)?;
        let mut parts = Vec::new();
        if !ids.is_empty() {
            let rows = self.table.index_select(&Tensor::new(ids.as_slice(), self.table.device())?, 0)?;
            parts.push(self.standardise(&rows)?);
        }
        if padded {
            parts.push(Tensor::zeros((1, width), self.table.dtype(), self.table.device())?);
            ids.push(NO_TEXT);
        }
        Ok(TextRows::new(&ids, &Tensor::cat(&parts, 0)?))
    }

    /// All texts of the table.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn all(&self) -> Result<TextRows> {
        let mut ids: Vec<u32> = (0..self.table.dim(0)? as u32).collect();
        ids.push(NO_TEXT);
        self.rows(&ids)
    }
}
