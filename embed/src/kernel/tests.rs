//! Every kernel that this machine has computes what the portable one computes.

use super::*;

/// Numbers from -1 to 1, the same in every run.
fn numbers(count: usize, mut state: u32) -> Vec<f32> {
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// Blocks of 4-bit weights with scales of about 1.
fn map(inputs: usize, outputs: usize) -> Linear {
    let stored: Vec<u8> = numbers(inputs * outputs / BLOCK * linear::STORED, 3)
        .chunks_exact(linear::STORED)
        .flat_map(|block| {
            let mut bytes: Vec<u8> = block.iter().map(|n| (n.abs() * 255.0) as u8).collect();
            bytes[1] = 0x3c;
            bytes
        })
        .collect();
    Linear::new(&stored, numbers(outputs, 4), inputs)
}

#[test]
fn all_kernels_multiply_to_the_same_bits() {
    let (inputs, outputs) = (96, 64);
    let map = map(inputs, outputs);
    for count in 1..=13 {
        let mut rows = Rows::default();
        rows.round(Kernel(Level::Portable), &numbers(count * inputs, 5), inputs);
        let mut expected = vec![0.0; count * outputs];
        multiply(Kernel(Level::Portable), &map, &rows, &mut expected);
        for kernel in Kernel::all() {
            let mut found = vec![0.0; count * outputs];
            multiply(kernel, &map, &rows, &mut found);
            assert_eq!(bits(&found), bits(&expected), "{kernel:?}, {count} rows");
        }
    }
}

#[test]
fn the_largest_products_do_not_overflow() {
    let mut block = [0xffu8; linear::STORED];
    (block[0], block[1]) = (0x00, 0x3c);
    let map = Linear::new(&block.repeat(GROUP), vec![0.0; GROUP], BLOCK);
    for sign in [1.0, -1.0] {
        for kernel in Kernel::all() {
            let mut rows = Rows::default();
            rows.round(kernel, &[sign; BLOCK], BLOCK);
            let mut found = vec![0.0; GROUP];
            multiply(kernel, &map, &rows, &mut found);
            for number in found {
                assert!((number - sign * 7.0 * BLOCK as f32).abs() < 1e-3, "{kernel:?}: {number}");
            }
        }
    }
}

#[test]
fn a_product_is_that_of_the_numbers_before_rounding() {
    let (inputs, outputs) = (64, 32);
    let stored = vec![[0x00u8; linear::STORED]; inputs / BLOCK * outputs];
    let mut stored: Vec<[u8; linear::STORED]> = stored;
    for (at, block) in stored.iter_mut().enumerate() {
        (block[0], block[1]) = (0x00, 0x2c);
        for (byte, into) in block[2..].iter_mut().enumerate() {
            *into = (at * 31 + byte * 7) as u8;
        }
    }
    let weights: Vec<f32> = stored.iter().flat_map(linear::unpack).collect();
    let map = Linear::new(stored.as_flattened(), vec![0.5; outputs], inputs);
    let numbers = numbers(inputs, 9);
    let mut rows = Rows::default();
    rows.round(Kernel::detect(), &numbers, inputs);
    let mut found = vec![0.0; outputs];
    multiply(Kernel::detect(), &map, &rows, &mut found);
    for (found, weights) in found.iter().zip(weights.chunks_exact(inputs)) {
        let exact: f32 = weights.iter().zip(&numbers).map(|(a, b)| a * b).sum::<f32>() + 0.5;
        assert!((found - exact).abs() < 0.05, "{found} {exact}");
    }
}

#[test]
fn all_kernels_compute_the_same_bits() {
    let wide = numbers(4 * 64, 7);
    let norm = Norm { scale: numbers(64, 8), shift: numbers(64, 9) };
    let compute = |kernel| {
        let mut all = wide.iter().map(|number| number * 5.0).collect::<Vec<_>>();
        gelu(kernel, &mut all);
        add_and_normalise(kernel, &mut all, &wide, &norm);
        let mut factor = 0.0;
        soften(kernel, &mut all[..64], &mut factor);
        let lists = std::array::from_fn(|at| &wide[at * 3..][..3]);
        for sums in combine(kernel, lists, &wide, 70) {
            all.extend(sums);
        }
        let mut rows = Rows::default();
        rows.round(kernel, &wide, 64);
        all.extend(rows.scales);
        all.extend(rows.values.iter().map(|value| f32::from(*value)));
        all.extend(rows.offsets.iter().map(|offset| *offset as f32));
        all.push(factor);
        bits(&all)
    };
    let expected = compute(Kernel(Level::Portable));
    for kernel in Kernel::all() {
        assert_eq!(compute(kernel), expected, "{kernel:?}");
    }
}
