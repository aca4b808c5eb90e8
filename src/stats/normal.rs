//! The two distribution functions that small-sample corrections need.

/// Quantile 0.975 of the standard normal distribution.
pub(super) const Z_975: f64 = 1.959_963_984_540_054;
/// Quantile 0.8 of the standard normal distribution.
pub(super) const Z_80: f64 = 0.841_621_233_572_914_3;

/// Quantile 0.975 of Student's t distribution with 1 to 10 degrees of freedom (scipy 1.17.1: `t.ppf`).
const T_975: [f64; 10] = [
    12.706_204_736_174_694,
    4.302_652_729_749_462,
    3.182_446_305_283_708,
    2.776_445_105_197_793,
    2.570_581_835_636_32,
    2.446_911_851_144_979,
    2.364_624_251_592_784,
    2.306_004_135_204_166,
    2.262_157_162_798_205,
    2.228_138_851_986_274,
];

/// Quantile 0.975 of Student's t distribution with `df` ≥ 1 degrees of freedom.
///
/// From a table up to 10, then by the Cornish-Fisher series (Abramowitz and Stegun 26.7.5), which is right to 2e-5
/// from there on.
pub(super) fn t_975(df: usize) -> f64 {
    if let Some(&t) = T_975.get(df.saturating_sub(1)) {
        return t;
    }
    let (z, v) = (Z_975, df as f64);
    let z2 = z * z;
    let g1 = (z2 + 1.0) * z / 4.0;
    let g2 = ((5.0 * z2 + 16.0) * z2 + 3.0) * z / 96.0;
    let g3 = (((3.0 * z2 + 19.0) * z2 + 17.0) * z2 - 15.0) * z / 384.0;
    let g4 = ((((79.0 * z2 + 776.0) * z2 + 1482.0) * z2 - 1920.0) * z2 - 945.0) * z / 92160.0;
    z + (g1 + (g2 + (g3 + g4 / v) / v) / v) / v
}

/// P(Z > z) of the standard normal distribution, for `z` of at least 1.
///
/// Laplace's continued fraction (Abramowitz and Stegun 26.2.14) from the inside out: φ(z) / (z + 1/(z + 2/(z + …))).
/// 100 levels leave an error below 1e-12 from z = 1.5 on.
pub(super) fn upper_tail(z: f64) -> f64 {
    let denominator = (1..=100).rev().fold(z, |inner, level| z + f64::from(level) / inner);
    (-0.5 * z * z).exp() / (std::f64::consts::TAU.sqrt() * denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_match_the_tables() {
        // scipy 1.17.1: scipy.stats.t.ppf(0.975, df).
        for (df, t) in [(1, 12.706204736), (4, 2.776445105), (11, 2.200985160), (19, 2.093024054), (49, 2.009575237)] {
            assert!((t_975(df) - t).abs() < 2e-5, "df {df}: {}", t_975(df));
        }
        assert!((t_975(1_000_000) - Z_975).abs() < 1e-5);
    }

    #[test]
    fn tail_matches_the_tables() {
        // scipy 1.17.1: scipy.stats.norm.sf(z).
        for (z, p) in [(Z_975, 0.025), (3.104_165, 9.540_5e-4), (6.0, 9.865_876_45e-10)] {
            assert!((upper_tail(z) / p - 1.0).abs() < 1e-4, "z {z}: {}", upper_tail(z));
        }
        assert!((upper_tail(Z_975) - 0.025).abs() < 1e-12);
    }
}
