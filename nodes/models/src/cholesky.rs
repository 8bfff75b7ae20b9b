//! Linear systems with a symmetric positive definite matrix.

/// Solves `matrix · x = right` for each column of `right`, in place; `None` if the matrix is not positive definite.
///
/// Shapes: `matrix` `(size, size)` and `right` `(size, columns)` in row-major order. The factor L with L Lᵀ = matrix is
/// found row by row (Golub and Van Loan 2013, 4.2); every sum has a fixed order.
pub(crate) fn solve(mut matrix: Vec<f64>, mut right: Vec<f64>, size: usize, columns: usize) -> Option<Vec<f64>> {
    for row in 0..size {
        let (done, rest) = matrix.split_at_mut(row * size);
        let current = &mut rest[..size];
        for column in 0..row {
            let pivot = &done[column * size..column * size + column + 1];
            let sum: f64 = current[..column].iter().zip(pivot).map(|(a, b)| a * b).sum();
            current[column] = (current[column] - sum) / pivot[column];
        }
        let diagonal = current[row];
        let square = diagonal - current[..row].iter().map(|a| a * a).sum::<f64>();
        // What is left of a diagonal element of a singular matrix is rounding.
        if square.is_nan() || square <= diagonal.abs() * size as f64 * f64::EPSILON {
            return None;
        }
        current[row] = square.sqrt();
    }
    for row in 0..size {
        for column in 0..columns {
            let sum: f64 = (0..row).map(|k| matrix[row * size + k] * right[k * columns + column]).sum();
            right[row * columns + column] = (right[row * columns + column] - sum) / matrix[row * size + row];
        }
    }
    for row in (0..size).rev() {
        for column in 0..columns {
            let sum: f64 = (row + 1..size).map(|k| matrix[k * size + row] * right[k * columns + column]).sum();
            right[row * columns + column] = (right[row * columns + column] - sum) / matrix[row * size + row];
        }
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_solution_solves_the_system() {
        // L Lᵀ of L = [2; 1 3; -1 2 1], times x = (1, -2, 3) and (0, 1, 0).
        let matrix = vec![4.0, 2.0, -2.0, 2.0, 10.0, 5.0, -2.0, 5.0, 6.0];
        let right = vec![-6.0, 2.0, -3.0, 10.0, 6.0, 5.0];
        let solution = solve(matrix, right, 3, 2).expect("it is positive definite");
        for (found, expected) in solution.iter().zip([1.0, 0.0, -2.0, 1.0, 3.0, 0.0]) {
            assert!((found - expected).abs() < 1e-13, "{solution:?}");
        }
    }

    #[test]
    fn a_singular_or_indefinite_matrix_is_refused() {
        assert_eq!(solve(vec![1.0, 1.0, 1.0, 1.0], vec![1.0, 1.0], 2, 1), None);
        assert_eq!(solve(vec![1.0, 2.0, 2.0, 1.0], vec![1.0, 1.0], 2, 1), None);
        assert_eq!(solve(vec![f64::NAN], vec![1.0], 1, 1), None);
    }

    #[test]
    fn no_unknowns_are_solved() {
        assert_eq!(solve(vec![], vec![], 0, 1), Some(vec![]));
    }
}
