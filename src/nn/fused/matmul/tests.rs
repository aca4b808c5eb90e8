#![cfg(target_arch = "x86_64")]

use super::*;
use crate::nn::fused::threads::with_threads;
use proptest::prelude::*;

fn values(len: usize, seed: u64) -> Vec<f32> {
    (0..len as u64)
        .map(|i| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed * 977) % 2003) as f32) / 1001.5 - 1.0)
        .collect()
}

fn at(m: Matrix, row: usize, col: usize) -> f32 {
    m.data[row * m.row_stride + col * m.col_stride]
}

/// One chain of fused multiply-adds per result and block of the inner index, as the module promises.
fn chains(a: Matrix, b: Matrix, scale: f32, start: Option<&[f32]>) -> Vec<f32> {
    let depth = super::x86::DEPTH;
    let result = |index: usize| {
        let (i, j) = (index / b.cols, index % b.cols);
        let block = |first: usize| {
            let inner = first..(first + depth).min(a.cols);
            inner.fold(0.0f32, |sum, p| (at(a, i, p) * scale).mul_add(at(b, p, j), sum))
        };
        let blocks = (0..a.cols.max(1)).step_by(depth).map(block);
        blocks.fold(start.map(|s| s[index]), |sum, block| Some(sum.map_or(block, |sum| sum + block))).unwrap_or(0.0)
    };
    (0..a.rows * b.cols).map(result).collect()
}

fn run(kernel: Kernel, a: Matrix, b: Matrix, scale: f32, start: Option<&[f32]>, threads: usize) -> Vec<f32> {
    let mut out = start.map_or_else(|| vec![f32::NAN; a.rows * b.cols], <[f32]>::to_vec);
    let start_of = Start(out.as_mut_ptr());
    with_threads(threads, || {
        threads::parallel(usize::MAX, |threads| {
            let target = Target { start: start_of, stride: b.cols, add: start.is_some() };
            // SAFETY: `out` has the size of the product; the kernel is among those of the machine.
            unsafe { product(kernel, target, a, b, scale, threads) };
        });
    });
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn own_kernels_are_one_chain_per_result_and_block(
        (rows, inner, cols) in (0usize..220, 0usize..50, 0usize..130),
        (left_t, right_t, add) in (any::<bool>(), any::<bool>(), any::<bool>()),
        scale in prop_oneof![Just(1.0f32), Just(0.125)],
        threads in 1usize..4,
    ) {
        let (a, b, start) = (values(rows * inner, 1), values(inner * cols, 2), values(rows * cols, 3));
        let a = if left_t { Matrix::new(&a, inner, rows).t() } else { Matrix::new(&a, rows, inner) };
        let b = if right_t { Matrix::new(&b, cols, inner).t() } else { Matrix::new(&b, inner, cols) };
        let start = add.then_some(&start[..]);
        let expected = chains(a, b, scale, start);
        for kernel in Kernel::available() {
            let got = run(kernel, a, b, scale, start, threads);
            if kernel == Kernel::Portable {
                for (got, expected) in got.iter().zip(&expected) {
                    prop_assert!((got - expected).abs() <= 1e-4, "{got} {expected}");
                }
            } else {
                prop_assert_eq!(bits(&got), bits(&expected), "{:?}", kernel);
            }
        }
    }
}

#[test]
fn a_long_sum_and_many_rows_cross_every_block() {
    let (rows, inner, cols) = (213, 901, 101);
    let (a, b) = (values(rows * inner, 4), values(inner * cols, 5));
    let (a, b) = (Matrix::new(&a, rows, inner), Matrix::new(&b, inner, cols));
    let expected = chains(a, b, 1.0, None);
    for kernel in Kernel::available().into_iter().filter(|&k| k != Kernel::Portable) {
        for threads in [1, 3] {
            assert_eq!(bits(&run(kernel, a, b, 1.0, None, threads)), bits(&expected), "{kernel:?} {threads}");
        }
    }
}

#[test]
fn a_part_of_a_larger_output_leaves_the_rest_alone() {
    let (a, b) = (values(5 * 7, 8), values(7 * 3, 9));
    let mut out = vec![42.0; 5 * 10];
    // SAFETY: five rows of three values, ten apart, lie inside of `out`.
    unsafe { matmul_here(out.as_mut_ptr(), 10, Matrix::new(&a, 5, 7), Matrix::new(&b, 7, 3), 1.0) };
    for row in out.chunks(10) {
        assert!(row[..3].iter().all(|&v| v != 42.0) && row[3..].iter().all(|&v| v == 42.0), "{row:?}");
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    let (a, b) = (values(20 * 33, 10), values(33 * 60, 11));
    let b = Matrix::new(&b, 33, 60);
    let kernel = Kernel::best();
    let all = run(kernel, Matrix::new(&a, 20, 33), b, 1.0, None, 1);
    for row in 0..20 {
        let alone = run(kernel, Matrix::new(&a[row * 33..(row + 1) * 33], 1, 33), b, 1.0, None, 1);
        if kernel != Kernel::Portable {
            assert_eq!(bits(&alone), bits(&all[row * 60..(row + 1) * 60]));
        }
    }
}
