//! Elementary functions as branch-free polynomials, and the run-time choice of the instruction set around loops.
//!
//! Each function is plain scalar code of multiply-adds, selects and bit operations. Inside [`vectorized!`] the
//! compiler turns a loop over it into AVX-512, AVX2 or NEON code, and `pulp` picks the version for the CPU at run
//! time. Since every version does the same multiply-adds in the same order, all of them give the same bits.
//!
//! Coefficients: minimax fits (Lawson's iteration on Chebyshev nodes, in F64) of the function named beside them.

/// Declares a function whose body is compiled for several instruction sets and chosen at run time.
///
/// The body must not call anything that is not `#[inline(always)]`, or that part falls back to the base instruction
/// set. A closure would not do instead: the compiler may decide not to inline it into the versions.
macro_rules! vectorized {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$lt:lifetime>($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name<$lt>($($arg: $ty),*) {
            struct Kernel<$lt> { $($arg: $ty),* }
            impl<$lt> pulp::WithSimd for Kernel<$lt> {
                type Output = ();
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _: S) {
                    let Self { $($arg),* } = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Kernel { $($arg),* });
        }
    };
}
pub(in crate::nn) use vectorized;

/// 1.5·2²³: adding it rounds to an integer, which then sits in the low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; the first, 355/512, has 9 bits, so that its product with |n| ≤ 152 is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// e^x: relative error below 1e-7 where the result is normal, 0 below −103.97, ∞ above 88.72, NaN for NaN.
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    // Beyond these bounds the result is 0 or ∞ anyway, and the exponent arithmetic below stays in range.
    let x = x.clamp(-105.0, 89.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    // (e^r − 1 − r)/r² on |r| ≤ ln 2/2; 3e-9 relative to e^r.
    let p = 1.381_459_6e-3_f32;
    let p = p.mul_add(r, 8.368_718e-3);
    let p = p.mul_add(r, 4.166_839e-2);
    let p = p.mul_add(r, 0.166_665_21);
    let p = p.mul_add(r, 0.499_999_94);
    let e = (r * r).mul_add(p, r) + 1.0;
    // 2^n as two factors: one alone cannot reach the denormal results or e^88.7.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let other = n.wrapping_sub(half);
    e * power_of_two(half) * power_of_two(other)
}

/// 2^n for −126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// tanh x: relative error below 2e-7.
#[inline(always)]
#[must_use]
pub fn tanh(x: f32) -> f32 {
    // Near 0 the form below cancels. (tanh x/x − 1)/x² in x² on |x| ≤ 0.55; 1e-9 relative.
    let s = x * x;
    let p = -6.274_233e-3_f32;
    let p = p.mul_add(s, 2.107_167_4e-2);
    let p = p.mul_add(s, -5.385_231e-2);
    let p = p.mul_add(s, 0.133_325_86);
    let p = p.mul_add(s, -0.333_333_16);
    let near = (s * p).mul_add(x, x);
    let far = 1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0);
    if x.abs() <= 0.55 { near } else { far.copysign(x) }
}

/// (Φ(z), φ(z)): distribution function and density of the standard normal distribution.
///
/// Φ comes from its tail Q(t) = e^(−t²/2)·R(t) at t = |z|, so it keeps its relative accuracy (3e-7) far to the left,
/// where 1 + erf(z/√2) would cancel.
#[inline(always)]
#[must_use]
pub fn normal(z: f32) -> (f32, f32) {
    // Beyond 14.6 both underflow. NaN passes through e^…: `min` would swallow it.
    let t = if z.abs() > 14.6 { 14.6 } else { z.abs() };
    // t² to twice the precision: its rounding error alone would be 3e-6 in e^(−t²/2) at t = 10.
    let square = t * t;
    let rest = t.mul_add(t, -square);
    let e = exp(-0.5 * square);
    // R(t)·(1 + 0.4 t) as a polynomial in v = (1 − 0.4 t)/(1 + 0.4 t); 5e-9 relative to 0.28.
    let divisor = t.mul_add(0.4, 1.0);
    let inverse = 1.0 / divisor;
    let v = inverse.mul_add(2.0, -1.0);
    // What rounding took from the divisor and from the quotient, relative to the quotient.
    let lost = t.mul_add(0.4, 1.0 - divisor);
    let lost = lost.mul_add(-inverse, divisor.mul_add(-inverse, 1.0));
    let p = 6.061_982_6e-5_f32;
    let p = p.mul_add(v, -1.213_583_5e-4);
    let p = p.mul_add(v, -2.717_509_3e-4);
    let p = p.mul_add(v, 1.006_129_4e-3);
    let p = p.mul_add(v, 6.398_872e-4);
    let p = p.mul_add(v, -6.553_331_4e-3);
    let p = p.mul_add(v, -3.694_330_3e-3);
    let p = p.mul_add(v, 5.279_467e-2);
    let p = p.mul_add(v, 0.173_476_8);
    let p = p.mul_add(v, 0.282_662_66);
    let tail = e.mul_add(lost - 0.5 * rest, e) * (inverse * p);
    let density = e.mul_add(-0.5 * rest, e) * 0.398_942_3;
    (if z > 0.0 { 1.0 - tail } else { tail }, density)
}

/// Lanes of a sum: enough for four AVX2 or two AVX-512 registers, the same for all, so that the order is the same.
const LANES: usize = 32;

/// Σ f(x) in a fixed order.
#[inline(always)]
pub(super) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane += f(v);
    }
    fold(lanes, |a, b| a + b)
}

/// Σ f(x, y) in a fixed order.
#[inline(always)]
pub(super) fn sum2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let (x_rest, y_rest) = (xs.remainder(), ys.remainder());
    for (x, y) in xs.zip(ys) {
        for ((lane, &x), &y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += f(x, y);
        }
    }
    for ((lane, &x), &y) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
        *lane += f(x, y);
    }
    fold(lanes, |a, b| a + b)
}

/// The largest value; −∞ of nothing. A NaN may be passed over: what is computed from the row shows it anyway.
#[inline(always)]
pub(super) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = if v > *lane { v } else { *lane };
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = if v > *lane { v } else { *lane };
    }
    fold(lanes, |a, b| if a > b { a } else { b })
}

/// Folds the upper half onto the lower until one value is left.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    vectorized! {
        fn apply<'a>(x: &'a [f32], e: &'a mut [f32], t: &'a mut [f32], cdf: &'a mut [f32], pdf: &'a mut [f32]) {
            for ((((&x, e), t), cdf), pdf) in x.iter().zip(e).zip(t).zip(cdf).zip(pdf) {
                *e = exp(x);
                *t = tanh(x);
                (*cdf, *pdf) = normal(x);
            }
        }
    }

    /// Applies all functions to `x` with the instruction set of this CPU.
    fn vector(x: &[f32]) -> [Vec<f32>; 4] {
        let mut out = [(); 4].map(|()| vec![0.0; x.len()]);
        let [e, t, cdf, pdf] = &mut out;
        apply(x, e, t, cdf, pdf);
        out
    }

    /// Every 97th F32 between −128 and 128, so all exponents and both signs.
    fn inputs() -> Vec<f32> {
        (0..=128.0f32.to_bits()).step_by(97).map(f32::from_bits).flat_map(|x| [x, -x]).collect()
    }

    fn relative(got: f32, want: f64) -> f64 {
        (f64::from(got) - want).abs() / want.abs()
    }

    #[test]
    fn errors_against_libm_in_f64_over_the_whole_range() {
        let x = inputs();
        let mut worst = [(0.0f64, 0.0f32); 4];
        for part in x.chunks(1 << 16) {
            let [e, t, cdf, pdf] = vector(part);
            for (i, &x) in part.iter().enumerate() {
                let wide = f64::from(x);
                let half_erfc = 0.5 * candle_core::cpu::erf::erfc_f64(-wide / std::f64::consts::SQRT_2);
                let density = (-0.5 * wide * wide).exp() / (2.0 * std::f64::consts::PI).sqrt();
                let pairs = [(e[i], wide.exp()), (t[i], wide.tanh()), (cdf[i], half_erfc), (pdf[i], density)];
                for (worst, (got, want)) in worst.iter_mut().zip(pairs) {
                    if want > f64::from(f32::MAX) {
                        assert_eq!(got, f32::INFINITY, "at {x}");
                    } else if want.abs() < f64::from(f32::MIN_POSITIVE) {
                        assert!((f64::from(got) - want).abs() < 3e-45, "at {x}: {got} instead of {want}");
                    } else if relative(got, want) > worst.0 {
                        *worst = (relative(got, want), x);
                    }
                }
            }
        }
        println!("worst relative errors of exp, tanh, Φ, φ: {worst:?}");
        let bounds = [1e-7, 2e-7, 3e-7, 3e-7];
        assert!(worst.iter().zip(bounds).all(|(w, b)| w.0 < b), "{worst:?}");
    }

    #[test]
    fn special_values() {
        let [e, t, cdf, pdf] = vector(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MIN, 0.0, f32::MAX]);
        assert!(e[0].is_nan() && t[0].is_nan() && cdf[0].is_nan() && pdf[0].is_nan());
        assert_eq!(e[1..], [f32::INFINITY, 0.0, 0.0, 1.0, f32::INFINITY]);
        assert_eq!(t[1..], [1.0, -1.0, -1.0, 0.0, 1.0]);
        assert_eq!(cdf[1..], [1.0, 0.0, 0.0, 0.5, 1.0]);
        assert_eq!((pdf[1], pdf[2], pdf[5]), (0.0, 0.0, 0.0));
    }

    #[test]
    fn the_scalar_form_gives_the_same_bits() {
        let x: Vec<f32> = inputs().into_iter().step_by(1009).collect();
        let [e, t, cdf, pdf] = vector(&x);
        for (i, &x) in x.iter().enumerate() {
            assert_eq!(exp(x).to_bits(), e[i].to_bits(), "exp({x})");
            assert_eq!(tanh(x).to_bits(), t[i].to_bits(), "tanh({x})");
            assert_eq!(normal(x).0.to_bits(), cdf[i].to_bits(), "Φ({x})");
            assert_eq!(normal(x).1.to_bits(), pdf[i].to_bits(), "φ({x})");
        }
    }

    #[test]
    fn sums_and_maxima_of_any_length() {
        for len in [0, 1, 31, 32, 33, 100] {
            let x: Vec<f32> = (0..len).map(|i| (i as f32 * 0.7).sin()).collect();
            let want: f64 = x.iter().map(|&v| f64::from(v)).sum();
            assert!((f64::from(sum(&x, |v| v)) - want).abs() < 1e-5);
            let want: f64 = x.iter().map(|&v| f64::from(v).powi(2)).sum();
            assert!((f64::from(sum2(&x, &x, |a, b| a * b)) - want).abs() < 1e-5);
            assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
