//! The digest of a column's values, however they lie in memory.
//!
//! Promise: equal digests mean that one column may stand for the other. Chunks, slices, offsets of bitmaps, what lies
//! under a null, the payload of a NaN, shared text buffers: nothing of it shows. `-0.0` and `0.0` do differ, because
//! `1/x` tells them apart; so do types, null and empty, and the lengths that keep neighbouring texts apart.
//!
//! ```text
//! "fuseline.column.v1" type values
//! values = rows, validity, then for
//!   numbers, dates   every cell, little endian; a null is zero, every NaN is the same quiet NaN
//!   bool             bits, packed from bit 0; a null is zero
//!   text, binary     every length as u32 (a null is 0), then the bytes of all cells
//!   list             every length as u64 (a null is 0), then `values` of the cells that are there
//!   array, struct    `values` of the cells that are there, for each field
//! validity = 0 if nothing is missing, else 1 and the bits
//! ```

use engine_core::Digest;
use polars::prelude::*;
use polars_arrow::array::{Array, BinaryViewArray, BooleanArray, ListArray, PrimitiveArray, Utf8ViewArray};
use polars_arrow::bitmap::Bitmap;
use polars_arrow::types::NativeType;

#[cfg(target_endian = "big")]
compile_error!("numbers are digested as they lie in memory, which must be little endian");

/// Small pieces are gathered to this size before they are hashed.
const BUFFER: usize = 64 * 1024;

/// The digest of the values of `series`; its name does not count.
pub fn column_digest(series: &Series) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"fuseline.column.v1\0");
    let mut tag = Vec::new();
    type_tag(series.dtype(), &mut tag);
    hasher.update(&tag);
    values(&series.rechunk(), &mut hasher);
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// A name for a type that is ours: it does not change when polars changes how it prints one.
fn type_tag(dtype: &DataType, tag: &mut Vec<u8>) {
    let text = |text: &str, tag: &mut Vec<u8>| {
        tag.extend_from_slice(&(text.len() as u64).to_le_bytes());
        tag.extend_from_slice(text.as_bytes());
    };
    match dtype {
        DataType::Boolean => text("bool", tag),
        DataType::Int8 => text("i8", tag),
        DataType::Int16 => text("i16", tag),
        DataType::Int32 => text("i32", tag),
        DataType::Int64 => text("i64", tag),
        DataType::UInt8 => text("u8", tag),
        DataType::UInt16 => text("u16", tag),
        DataType::UInt32 => text("u32", tag),
        DataType::UInt64 => text("u64", tag),
        DataType::Float32 => text("f32", tag),
        DataType::Float64 => text("f64", tag),
        DataType::String => text("text", tag),
        DataType::Binary => text("binary", tag),
        DataType::Date => text("date", tag),
        DataType::Time => text("time", tag),
        DataType::Null => text("null", tag),
        DataType::Datetime(unit, zone) => {
            text("datetime", tag);
            text(unit_name(*unit), tag);
            text(zone.as_ref().map_or("", |zone| zone.as_str()), tag);
        }
        DataType::Duration(unit) => {
            text("duration", tag);
            text(unit_name(*unit), tag);
        }
        DataType::List(inner) => {
            text("list", tag);
            type_tag(inner, tag);
        }
        DataType::Array(inner, width) => {
            text("array", tag);
            tag.extend_from_slice(&(*width as u64).to_le_bytes());
            type_tag(inner, tag);
        }
        DataType::Struct(fields) => {
            text("struct", tag);
            tag.extend_from_slice(&(fields.len() as u64).to_le_bytes());
            for field in fields {
                text(field.name(), tag);
                type_tag(field.dtype(), tag);
            }
        }
        // No stored column has another type; inside one process polars' own name is good enough.
        other => text(&format!("polars {other}"), tag),
    }
}

fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Nanoseconds => "ns",
        TimeUnit::Microseconds => "us",
        TimeUnit::Milliseconds => "ms",
    }
}

/// Hashes rows, validity and cells of a series of one chunk.
fn values(series: &Series, hasher: &mut blake3::Hasher) {
    hasher.update(&(series.len() as u64).to_le_bytes());
    match series.dtype() {
        DataType::Null => {}
        DataType::List(_) => lists(series, hasher),
        DataType::Array(_, _) => {
            validity(series.chunks()[0].validity(), hasher);
            let present = present(series);
            if let Ok(arrays) = present.array() {
                values(&arrays.get_inner().rechunk(), hasher);
            }
        }
        DataType::Struct(_) => {
            validity(series.chunks()[0].validity(), hasher);
            let present = present(series);
            if let Ok(structs) = present.struct_() {
                structs.fields_as_series().iter().for_each(|field| values(&field.rechunk(), hasher));
            }
        }
        _ => {
            let physical = series.to_physical_repr();
            if !flat(physical.chunks()[0].as_ref(), hasher) {
                // Codes of categories and the like: what they stand for.
                let text: StringChunked =
                    series.iter().map(|cell| (!cell.is_null()).then(|| cell.to_string())).collect();
                flat(text.rechunk().downcast_as_array(), hasher);
            }
        }
    }
}

/// The rows that are not null, in one chunk.
fn present(series: &Series) -> Series {
    if series.null_count() == 0 { series.clone() } else { series.drop_nulls().rechunk() }
}

fn lists(series: &Series, hasher: &mut blake3::Hasher) {
    let Some(array) = series.chunks()[0].as_any().downcast_ref::<ListArray<i64>>() else { return };
    validity(array.validity(), hasher);
    let is_present = |row: usize| array.validity().is_none_or(|bits| bits.get_bit(row));
    let mut buffer = Vec::with_capacity(BUFFER);
    for (row, ends) in array.offsets().buffer().windows(2).enumerate() {
        let length = if is_present(row) { ends[1] - ends[0] } else { 0 };
        buffer.extend_from_slice(&length.to_le_bytes());
        flush_if_full(&mut buffer, hasher);
    }
    hasher.update(&buffer);
    // Without the nulls, whose cells may be of any length, the cells that count lie side by side.
    let present = present(series);
    let Ok(lists) = present.list() else { return };
    let Some(array) = lists.downcast_iter().next() else { return };
    let (first, last) = (*array.offsets().first(), *array.offsets().last());
    let length = usize::try_from(last - first).unwrap_or(0);
    values(&lists.get_inner().slice(first, length).rechunk(), hasher);
}

/// Hashes an array without children; `false` if it is of another sort.
fn flat(array: &dyn Array, hasher: &mut blake3::Hasher) -> bool {
    let any = array.as_any();
    if let Some(array) = any.downcast_ref::<BooleanArray>() {
        validity(array.validity(), hasher);
        match array.validity() {
            Some(present) if present.unset_bits() > 0 => bits(&(array.values() & present), hasher),
            _ => bits(array.values(), hasher),
        }
        return true;
    }
    if let Some(array) = any.downcast_ref::<Utf8ViewArray>() {
        texts(&array.to_binview(), hasher);
        return true;
    }
    if let Some(array) = any.downcast_ref::<BinaryViewArray>() {
        texts(array, hasher);
        return true;
    }
    numbers::<i64>(array, hasher)
        || numbers::<f64>(array, hasher)
        || numbers::<f32>(array, hasher)
        || numbers::<u32>(array, hasher)
        || numbers::<i32>(array, hasher)
        || numbers::<u64>(array, hasher)
        || numbers::<u8>(array, hasher)
        || numbers::<i8>(array, hasher)
        || numbers::<u16>(array, hasher)
        || numbers::<i16>(array, hasher)
}

/// A number as it is hashed.
trait Cell: NativeType + bytemuck::Pod {
    /// Whether it has a canonical form other than itself.
    fn is_odd(self) -> bool {
        false
    }

    /// Its canonical form.
    #[must_use]
    fn canonical(self) -> Self {
        self
    }
}

impl Cell for i8 {}
impl Cell for i16 {}
impl Cell for i32 {}
impl Cell for i64 {}
impl Cell for u8 {}
impl Cell for u16 {}
impl Cell for u32 {}
impl Cell for u64 {}

impl Cell for f32 {
    fn is_odd(self) -> bool {
        self.is_nan()
    }

    fn canonical(self) -> f32 {
        if self.is_nan() { f32::from_bits(0x7fc0_0000) } else { self }
    }
}

impl Cell for f64 {
    fn is_odd(self) -> bool {
        self.is_nan()
    }

    fn canonical(self) -> f64 {
        if self.is_nan() { f64::from_bits(0x7ff8_0000_0000_0000) } else { self }
    }
}

fn numbers<T: Cell>(array: &dyn Array, hasher: &mut blake3::Hasher) -> bool {
    let Some(array) = array.as_any().downcast_ref::<PrimitiveArray<T>>() else { return false };
    validity(array.validity(), hasher);
    let cells = array.values().as_slice();
    let nulls = array.validity().filter(|present| present.unset_bits() > 0);
    // `|` and not `any`: without a branch it runs at memory speed.
    if nulls.is_none() && !cells.iter().fold(false, |odd, cell| odd | cell.is_odd()) {
        hasher.update(bytemuck::cast_slice(cells));
        return true;
    }
    let words: Vec<u64> = nulls.map_or_else(Vec::new, words);
    let mut buffer: Vec<T> = Vec::with_capacity(BUFFER / size_of::<T>() + 64);
    for (index, block) in cells.chunks(64).enumerate() {
        // A whole word of present cells at a time: a select for each, no branch.
        let present = if nulls.is_some() { words[index] } else { u64::MAX };
        buffer.extend(
            block.iter().enumerate().map(
                |(bit, cell)| {
                    if (present >> bit) & 1 == 1 { cell.canonical() } else { T::zeroed() }
                },
            ),
        );
        if buffer.len() * size_of::<T>() >= BUFFER {
            hasher.update(bytemuck::cast_slice(&buffer));
            buffer.clear();
        }
    }
    hasher.update(bytemuck::cast_slice(&buffer));
    true
}

fn texts(array: &BinaryViewArray, hasher: &mut blake3::Hasher) {
    validity(array.validity(), hasher);
    let mut buffer: Vec<u8> = Vec::with_capacity(2 * BUFFER);
    for cell in array {
        // A view holds its length in 32 bits, so no cell is longer.
        let length = cell.map_or(0, <[u8]>::len) as u32;
        buffer.extend_from_slice(&length.to_le_bytes());
        flush_if_full(&mut buffer, hasher);
    }
    for cell in array.iter().flatten() {
        if cell.len() >= BUFFER / 4 {
            hasher.update(&buffer);
            buffer.clear();
            hasher.update(cell);
        } else {
            buffer.extend_from_slice(cell);
            flush_if_full(&mut buffer, hasher);
        }
    }
    hasher.update(&buffer);
}

fn flush_if_full(buffer: &mut Vec<u8>, hasher: &mut blake3::Hasher) {
    if buffer.len() >= BUFFER {
        hasher.update(buffer);
        buffer.clear();
    }
}

/// 0 if nothing is missing, with or without a bitmap; else 1 and the bits.
fn validity(present: Option<&Bitmap>, hasher: &mut blake3::Hasher) {
    match present {
        Some(present) if present.unset_bits() > 0 => {
            hasher.update(&[1]);
            bits(present, hasher);
        }
        _ => {
            hasher.update(&[0]);
        }
    }
}

fn bits(bitmap: &Bitmap, hasher: &mut blake3::Hasher) {
    hasher.update(bytemuck::cast_slice(&words(bitmap)));
}

/// The bits packed from bit 0, whatever the bitmap's offset; bits behind the end are zero.
fn words(bitmap: &Bitmap) -> Vec<u64> {
    let chunks = bitmap.chunks::<u64>();
    let (rest, rest_bits) = (chunks.remainder(), chunks.remainder_len());
    let mut words: Vec<u64> = chunks.collect();
    if rest_bits > 0 {
        words.push(rest & ((1 << rest_bits) - 1));
    }
    words
}

#[cfg(test)]
mod tests {
    use polars_arrow::bitmap::MutableBitmap;
    use proptest::prelude::*;

    use super::*;
    use crate::frame::tensor_column;

    fn floats(cells: &[Option<f64>]) -> Series {
        Series::new("x".into(), cells)
    }

    fn texts_of(cells: &[Option<String>]) -> Series {
        Series::new("x".into(), cells)
    }

    /// Columns of many types over the same random cells, built afresh.
    fn columns(cells: &[Option<u16>]) -> Vec<Series> {
        let ints: Vec<Option<i64>> = cells.iter().map(|cell| cell.map(i64::from)).collect();
        let float: Vec<Option<f64>> = cells.iter().map(|cell| cell.map(|cell| f64::from(cell) / 3.0)).collect();
        let bools: Vec<Option<bool>> = cells.iter().map(|cell| cell.map(|cell| cell % 2 == 0)).collect();
        let text: Vec<Option<String>> =
            cells.iter().map(|cell| cell.map(|cell| "long or short ".repeat(usize::from(cell % 5)))).collect();
        let lists: Vec<Option<Series>> = cells
            .iter()
            .map(|cell| cell.map(|cell| Series::new("".into(), (0..i64::from(cell % 4)).collect::<Vec<i64>>())))
            .collect();
        let tensor: Vec<f32> = cells.iter().flat_map(|cell| [f32::from(cell.unwrap_or(0)), 1.0]).collect();
        vec![
            Series::new("c".into(), &ints),
            Series::new("c".into(), &ints).cast(&DataType::Datetime(TimeUnit::Microseconds, None)).unwrap(),
            floats(&float),
            Series::new("c".into(), &bools),
            texts_of(&text),
            Series::new("c".into(), lists).cast(&DataType::List(Box::new(DataType::Int64))).unwrap(),
            tensor_column("c", 2, tensor).unwrap().take_materialized_series(),
        ]
    }

    proptest! {
        #[test]
        fn layout_does_not_show(
            cells in prop::collection::vec(prop::option::of(any::<u16>()), 0..200),
            before in 0_usize..70,
            cut in 0_usize..200,
        ) {
            let padding: Vec<Option<u16>> = (0..before).map(|n| if n % 3 == 0 { None } else { Some(n as u16) }).collect();
            let padded: Vec<Option<u16>> = padding.iter().chain(&cells).chain(&padding).copied().collect();
            let cut = cut.min(cells.len());
            let halves = columns(&cells[..cut]).into_iter().zip(columns(&cells[cut..]));
            for ((whole, padded), (mut first, second)) in columns(&cells).iter().zip(columns(&padded)).zip(halves) {
                let digest = column_digest(whole);
                // A slice at a bit offset.
                prop_assert_eq!(digest, column_digest(&padded.slice(before as i64, cells.len())));
                // Two chunks.
                first.append(&second).unwrap();
                prop_assert_eq!(digest, column_digest(&first));
                // Gathered twice.
                let there: IdxCa = (0..cells.len() as IdxSize).rev().map(Some).collect();
                let back = whole.take(&there).unwrap().take(&there).unwrap();
                prop_assert_eq!(digest, column_digest(&back));
            }
        }

        #[test]
        fn every_change_shows(
            cells in prop::collection::vec(prop::option::of(any::<u16>()), 1..100),
            at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(cells.len());
            let mut changed = cells.clone();
            // Differs in every column: the odd number by which bools, texts and list lengths change as well.
            changed[at] = Some(cells[at].map_or(1, |cell| if cell % 20 == 0 { cell + 1 } else { cell - cell % 20 }));
            for (index, (one, other)) in columns(&cells).iter().zip(columns(&changed)).enumerate() {
                let same = one.equals_missing(&other);
                prop_assert_eq!(column_digest(one) == column_digest(&other), same, "column {}", index);
            }
            let mut longer = cells.clone();
            longer.push(None);
            for (one, other) in columns(&cells).iter().zip(columns(&longer)) {
                prop_assert_ne!(column_digest(one), column_digest(&other));
            }
        }
    }

    #[test]
    fn what_lies_under_a_null_does_not_show() {
        let with = |junk: f64| {
            let present: Bitmap = MutableBitmap::from_iter([true, false, true]).into();
            let array = PrimitiveArray::new(f64::PRIMITIVE.into(), vec![1.0, junk, 2.0].into(), Some(present));
            Series::try_from((PlSmallStr::EMPTY, array.boxed())).unwrap()
        };
        assert_eq!(column_digest(&with(7.0)), column_digest(&with(f64::NAN)));
        assert_eq!(column_digest(&with(7.0)), column_digest(&floats(&[Some(1.0), None, Some(2.0)])));

        // A null list that still covers cells.
        let offsets = polars_arrow::offset::OffsetsBuffer::try_from(vec![0_i64, 2, 5, 6]).unwrap();
        let cells = PrimitiveArray::<i64>::from_vec(vec![1, 2, 97, 98, 99, 3]);
        let dtype = ListArray::<i64>::default_datatype(cells.dtype().clone());
        let present: Bitmap = MutableBitmap::from_iter([true, false, true]).into();
        let junk = ListArray::<i64>::new(dtype, offsets, cells.boxed(), Some(present));
        let junk = Series::try_from((PlSmallStr::EMPTY, junk.boxed())).unwrap();
        let list = |cells: &[i64]| Some(Series::new("".into(), cells));
        let clean = Series::new("".into(), vec![list(&[1, 2]), None, list(&[3])]);
        assert_eq!(column_digest(&junk), column_digest(&clean));
    }

    #[test]
    fn a_bitmap_of_all_ones_is_no_bitmap() {
        let present: Bitmap = MutableBitmap::from_iter([true; 3]).into();
        let array = PrimitiveArray::new(f64::PRIMITIVE.into(), vec![1.0, 2.0, 3.0].into(), Some(present));
        let series = Series::try_from((PlSmallStr::EMPTY, array.boxed())).unwrap();
        assert_eq!(column_digest(&series), column_digest(&Series::new("x".into(), [1.0, 2.0, 3.0])));
    }

    #[test]
    fn every_nan_is_one_and_the_zeros_are_two() {
        let payload = f64::from_bits(0xfff0_0000_0000_0007);
        assert_eq!(column_digest(&floats(&[Some(f64::NAN)])), column_digest(&floats(&[Some(payload)])));
        assert_ne!(column_digest(&floats(&[Some(f64::NAN)])), column_digest(&floats(&[None])));
        assert_ne!(column_digest(&floats(&[Some(0.0)])), column_digest(&floats(&[Some(-0.0)])));
        let single = |value: f32| Series::new("x".into(), [value]);
        assert_eq!(column_digest(&single(f32::NAN)), column_digest(&single(f32::from_bits(0xff80_0001))));
    }

    #[test]
    fn neighbours_do_not_run_together() {
        let digest = |cells: &[Option<&str>]| column_digest(&Series::new("x".into(), cells));
        assert_ne!(digest(&[Some("ab"), Some("c")]), digest(&[Some("a"), Some("bc")]));
        assert_ne!(digest(&[Some("")]), digest(&[None]));
        let lists = |cells: Vec<Series>| column_digest(&Series::new("x".into(), cells));
        let list = |cells: &[i64]| Series::new("".into(), cells);
        assert_ne!(lists(vec![list(&[1, 2]), list(&[3])]), lists(vec![list(&[1]), list(&[2, 3])]));
    }

    #[test]
    fn equal_numbers_of_other_types_differ_and_names_do_not_count() {
        let one = |dtype: DataType| column_digest(&Series::new("x".into(), [1_i64]).cast(&dtype).unwrap());
        let types =
            [DataType::Int64, DataType::Int32, DataType::Float64, DataType::Datetime(TimeUnit::Microseconds, None)];
        let digests: std::collections::BTreeSet<Digest> = types.into_iter().map(one).collect();
        assert_eq!(digests.len(), 4);
        assert_eq!(column_digest(&Series::new("a".into(), [1_i64])), column_digest(&Series::new("b".into(), [1_i64])));
        let width = |width| column_digest(tensor_column("t", width, vec![1.0; 4]).unwrap().as_materialized_series());
        assert_ne!(width(2), width(4));
    }

    #[test]
    fn the_form_does_not_change_between_versions() {
        // Stored digests outlive the program: a change of the form must come with a new domain.
        let digest = column_digest(&Series::new("x".into(), [Some(1_i64), None]));
        let expected = blake3::hash(
            &[
                &b"fuseline.column.v1\0"[..],
                &3_u64.to_le_bytes(),
                b"i64",
                &2_u64.to_le_bytes(),
                &[1],
                &1_u64.to_le_bytes(),
                &1_i64.to_le_bytes(),
                &0_i64.to_le_bytes(),
            ]
            .concat(),
        );
        assert_eq!(digest.as_bytes(), expected.as_bytes());
    }
}
