//! The numbers the operations are generic over: `f32`, in which models are trained, and `f64`, in which they are checked.

use std::ops::Neg;

use dfdx::dtypes::{Dtype, NotMixedPrecision};

mod sealed {
    /// The matrix product is defined for these two alone.
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A floating-point number with the elementary functions the operations need.
///
/// The functions work element by element without looking at neighbours, so a loop over them gives the same bits whether
/// the compiler vectorises it or not. All of them pass a NaN on.
pub trait Element: sealed::Sealed + Dtype + NotMixedPrecision + Neg<Output = Self> {
    /// Zero.
    const ZERO: Self;

    /// The number nearest to `value`.
    fn of(value: f64) -> Self;

    /// The same number as a double.
    fn to_double(self) -> f64;

    /// e to the power of `self`: at most 2 units in the last place off for `f32`.
    fn exp(self) -> Self;

    /// The natural logarithm.
    fn ln(self) -> Self;

    /// The square root.
    fn sqrt(self) -> Self;

    /// `self * factor + summand` with one rounding.
    fn mul_add(self, factor: Self, summand: Self) -> Self;

    /// The absolute value.
    fn abs(self) -> Self;

    /// The larger of the two; the other one if one is a NaN.
    fn larger(self, other: Self) -> Self;

    /// Whether it is neither infinite nor a NaN.
    fn is_finite(self) -> bool;

    /// Whether it is a NaN.
    fn is_nan(self) -> bool;

    /// Φ(x) and φ(x), the standard normal distribution function and density at `self`.
    ///
    /// For `f32` the absolute error of Φ is below 3e-7 (Abramowitz and Stegun 1964, 7.1.26).
    fn normal(self) -> (Self, Self);

    /// The logistic function 1 / (1 + e^-x).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp())
    }
}

/// 1 / sqrt(2 π).
const DENSITY_AT_ZERO: f64 = 0.398_942_280_401_432_7;

impl Element for f32 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn to_double(self) -> f64 {
        f64::from(self)
    }

    /// Cody and Waite's reduction to ±ln 2 / 2 and the polynomial of Cephes' `expf` (Moshier 1984), free of branches and
    /// of library calls so that loops over it vectorise.
    #[inline(always)]
    fn exp(self) -> Self {
        // Adding 1.5 · 2^23 rounds to an integer and leaves it in the low bits of the sum.
        const ROUNDER: f32 = 12_582_912.0;
        const LARGEST: f32 = 88.722_83;
        const SMALLEST: f32 = -87.336_54;
        let x = self.clamp(SMALLEST, LARGEST);
        let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUNDER);
        let n = shifted - ROUNDER;
        let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, x));
        let p = 1.987_569_1e-4f32
            .mul_add(r, 1.398_2e-3)
            .mul_add(r, 8.333_452e-3)
            .mul_add(r, 4.166_579_6e-2)
            .mul_add(r, 1.666_666_5e-1)
            .mul_add(r, 0.5);
        let y = p.mul_add(r * r, r) + 1.0;
        // 2^n in two factors, because 2^128 alone is out of range though e^88.7 is not.
        let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
        let half = exponent >> 1;
        let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
        let value = y * power(half) * power(exponent.wrapping_sub(half));
        if self < SMALLEST {
            0.0
        } else if self > LARGEST {
            f32::INFINITY
        } else {
            value
        }
    }

    #[inline(always)]
    fn ln(self) -> Self {
        f32::ln(self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        f32::mul_add(self, factor, summand)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }

    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        f32::max(self, other)
    }

    #[inline(always)]
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }

    #[inline(always)]
    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }

    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        let bell = Element::exp(-0.5 * self * self);
        let z = self.abs() * std::f32::consts::FRAC_1_SQRT_2;
        let t = 1.0 / 0.327_591_1f32.mul_add(z, 1.0);
        let p = 1.061_405_4f32
            .mul_add(t, -1.453_152)
            .mul_add(t, 1.421_413_8)
            .mul_add(t, -0.284_496_74)
            .mul_add(t, 0.254_829_6);
        let tail = 0.5 * p * t * bell;
        (if self > 0.0 { 1.0 - tail } else { tail }, bell * DENSITY_AT_ZERO as f32)
    }
}

impl Element for f64 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn to_double(self) -> f64 {
        self
    }

    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }

    #[inline(always)]
    fn ln(self) -> Self {
        f64::ln(self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        f64::mul_add(self, factor, summand)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        f64::abs(self)
    }

    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        f64::max(self, other)
    }

    #[inline(always)]
    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }

    #[inline(always)]
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }

    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        (0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2), (-0.5 * self * self).exp() * DENSITY_AT_ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_of_f32_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for step in -87_000..=88_700 {
            let x = step as f32 * 1e-3;
            let exact = f64::from(x).exp();
            worst = worst.max(((f64::from(Element::exp(x)) - exact) / exact).abs());
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst:e}");
    }

    #[test]
    fn exp_of_f32_has_the_right_ends() {
        assert_eq!(Element::exp(0.0f32), 1.0);
        assert_eq!(Element::exp(-100.0f32), 0.0);
        assert_eq!(Element::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(Element::exp(89.0f32), f32::INFINITY);
        assert_eq!(Element::exp(f32::INFINITY), f32::INFINITY);
        assert!(Element::exp(f32::NAN).is_nan());
    }

    #[test]
    fn normal_distribution_is_the_tabulated_one() {
        // Abramowitz and Stegun 1964, table 26.1.
        for (x, cdf) in
            [(0.0, 0.5), (1.0, 0.841_344_746_068_543), (-2.0, 0.022_750_131_948_179), (3.0, 0.998_650_101_968_370)]
        {
            assert!((Element::normal(x).0 - cdf).abs() < 1e-14, "{x}");
            assert!((f64::from(Element::normal(x as f32).0) - cdf).abs() < 3e-7, "{x}");
        }
        assert!((Element::normal(1.0f64).1 - 0.241_970_724_519_143).abs() < 1e-14);
        assert!((Element::normal(1.0f32).1 - 0.241_970_72).abs() < 1e-7);
    }

    #[test]
    fn nan_is_passed_on() {
        assert!(f32::NAN.sigmoid().is_nan() && Element::normal(f32::NAN).0.is_nan());
        assert!(f64::NAN.sigmoid().is_nan() && Element::normal(f64::NAN).0.is_nan());
    }

    #[test]
    fn sigmoid_saturates() {
        assert_eq!((-1000.0f32).sigmoid(), 0.0);
        assert_eq!(1000.0f32.sigmoid(), 1.0);
        assert_eq!(0.0f64.sigmoid(), 0.5);
    }
}
