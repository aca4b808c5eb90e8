//! The numbers that tables hold.

/// Single or double precision.
pub trait Real: Copy + PartialOrd + Send + Sync + std::fmt::Debug + 'static {
    /// In double precision, exactly.
    fn wide(self) -> f64;
    /// Rounded from double precision.
    fn narrow(value: f64) -> Self;
}

impl Real for f64 {
    fn wide(self) -> f64 {
        self
    }
    fn narrow(value: f64) -> Self {
        value
    }
}

impl Real for f32 {
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn narrow(value: f64) -> Self {
        value as f32
    }
}
