//! Numbers at half precision (IEEE 754 binary16), as bits.

/// Exactly the same number at single precision.
pub(super) fn widen(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10 & 0x1f);
    let fraction = u32::from(bits & 0x3ff);
    match exponent {
        // Subnormal: the fraction counts 2^-24.
        0 => {
            #[allow(clippy::cast_precision_loss, reason = "ten bits")]
            let magnitude = fraction as f32 / 16_777_216.0;
            f32::from_bits(sign | magnitude.to_bits())
        }
        0x1f => f32::from_bits(sign | 0xff << 23 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// The nearest number at half precision, of two equally near the even one. What is too large becomes infinite.
pub(super) fn narrow(number: f32) -> u16 {
    let bits = number.to_bits();
    let sign = u16::from(number.is_sign_negative()) << 15;
    let magnitude = bits & 0x7fff_ffff;
    let rounded = match magnitude {
        // Not a number.
        0x7f80_0001.. => 0x7e00,
        // From 65,520 on the nearest is infinite.
        0x477f_f000.. => 0x7c00,
        // Normal numbers: bits that go are added as a half of the last that stays, less one if that is even.
        0x3880_0000.. => (magnitude - (112 << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13,
        // Subnormal: counting 2^-24, as the addition of 0.5 does in its last bit.
        _ => (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5_f32.to_bits(),
    };
    sign | u16::try_from(rounded).expect("every arm gives at most 15 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_there_and_back() {
        for bits in 0..=u16::MAX {
            let single = widen(bits);
            if single.is_nan() {
                assert!(widen(narrow(single)).is_nan());
            } else {
                assert_eq!(narrow(single), bits, "{single}");
            }
        }
    }

    #[test]
    fn what_lies_between_goes_to_the_nearest() {
        for (number, bits) in [
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (65_504.0, 0x7bff),
            (65_519.99, 0x7bff),
            (65_520.0, 0x7c00),
            (f32::MAX, 0x7c00),
            // Halfway between 1 and the next: even is 1.
            (1.0 + 1.0 / 2048.0, 0x3c00),
            (1.0 + 3.0 / 2048.0, 0x3c02),
            (1.0 + 1.1 / 2048.0, 0x3c01),
            // The smallest, and halves of it.
            (5.960_464_5e-8, 0x0001),
            (2.980_232_2e-8, 0x0000),
            (2.98e-8, 0x0000),
            (3.0e-8, 0x0001),
            (6.103_516e-5, 0x0400),
            (6.1e-5, 0x03ff),
        ] {
            assert_eq!(narrow(number), bits, "{number}");
        }
    }
}
