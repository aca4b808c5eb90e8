//! Tests of the whole backbone. All but the goldens use a tiny random BERT.

mod golden;
