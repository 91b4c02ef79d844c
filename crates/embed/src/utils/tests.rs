//! Laws of the public operations: wrong lengths are errors, empty and zero vectors have values.

use super::*;

#[test]
fn wrong_lengths_are_errors() {
    let error = VectorError::Lengths { left: 1, right: 2 };
    assert_eq!(cosine_similarity(&[1.0], &[1.0, 2.0]), Err(error));
    assert_eq!(dot_product(&[1i8], &[1, 2]), Err(error));
    assert_eq!(euclidean_distance(&[1.0], &[1.0, 2.0]), Err(error));
    assert_eq!(manhattan_distance(&[1.0], &[1.0, 2.0]), Err(error));
    assert_eq!(hamming_distance(&[1u64], &[1, 2]), Err(error));
    assert_eq!(
        batch_cosine_similarity(&[(&[1.0], &[1.0, 2.0])]),
        Err(error)
    );
    assert_eq!(error.to_string(), "vectors of 1 and 2 elements");
    assert!(Rows::new(&[1.0, 2.0, 3.0], 2).is_err());
    assert!(Rows::new(&[0.0; 0], 0).is_err());
    let most = PreparedQuery::new(&[0i8; 40_000]).map(drop);
    assert!(matches!(
        most,
        Err(VectorError::TooLong {
            columns: 40_000,
            ..
        })
    ));
}

#[test]
fn searches_check_lengths_too() {
    let cpu = Cpu::new(CpuOptions::default()).expect("the default fits every machine");
    let rows = Rows::new(&[1.0, 2.0, 3.0, 4.0], 2).expect("two rows");
    let other = Rows::new(&[1.0, 2.0, 3.0], 3).expect("one row");
    let query = PreparedQuery::new(&[1.0]).expect("short enough");
    let error = VectorError::Lengths { left: 1, right: 2 };
    assert_eq!(top_k(&cpu, Metric::Dot, &query, rows, 1), Err(error));
    assert_eq!(scores(&cpu, Metric::Dot, &query, rows), Err(error));
    assert!(all_pairs(&cpu, Metric::Dot, rows, other).is_err());
    let bits = Rows::new(&[1u8, 2, 3, 4], 2).expect("two rows");
    assert_eq!(hamming_top_k(&cpu, &[1], bits, 1), Err(error));
    assert_eq!(hamming_distances(&cpu, &[1, 2], bits), Ok(vec![0, 3]));
}

#[test]
fn empty_and_zero_vectors_have_values() {
    assert_eq!(dot_product::<f32>(&[], &[]), Ok(0.0));
    assert_eq!(cosine_similarity::<f32>(&[], &[]), Ok(0.0));
    assert_eq!(euclidean_distance::<i8>(&[], &[]), Ok(0.0));
    assert_eq!(cosine_similarity(&[0i8; 4], &[1; 4]), Ok(0.0));
    let mut zero = [f16::ZERO; 3];
    assert_eq!(normalize(&mut zero), 0.0);
    assert_eq!(zero, [f16::ZERO; 3]);
    let mut endless = [f32::INFINITY, 1.0];
    assert_eq!(normalize(&mut endless), f32::INFINITY);
    assert_eq!(endless, [f32::INFINITY, 1.0]);
}

#[test]
fn normalised_vectors_have_length_one() {
    for scale in [1e-30f32, 1.0, 1e30] {
        let mut vector: Vec<f32> = (0..385).map(|i| (i as f32 - 100.0) * scale).collect();
        normalize(&mut vector);
        assert!((norm(&vector) - 1.0).abs() < 1e-6, "{scale}");
    }
    let mut narrow = [bf16::from_f32(3.0), bf16::from_f32(4.0)];
    normalize(&mut narrow);
    assert!((norm(&narrow) - 1.0).abs() < 1e-2);
}
