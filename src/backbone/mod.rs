//! Pretrained text encoders.
