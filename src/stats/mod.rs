//! Statistics over seeds.
