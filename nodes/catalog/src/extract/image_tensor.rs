//! `extract.image_tensor`: pictures as tensors of one size.
//!
//! A picture that several rows of a chunk share is read and decoded once. Pictures are decoded side by side, in waves
//! whose pixels together stay within bounds.

use std::borrow::Cow;
use std::sync::Arc;

use engine_core::{Digest, LogicalType, NumericClass, Serving, Size};
use engine_table::{
    Blobs, Change, Cpus, Describe, InputTypes, NodeError, OPTION_INVALID, Problem, ReduceInputs, RowFunction, RowLocal,
    TableType, tensor_column,
};
use nodes_media::image::{Colour, Filter, ImageError, ImageLimits, Picture, declared_size, decode};
use nodes_media::parallel;
use polars::prelude::*;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::media::{self, DamagedMedia, OnDamage};
use crate::codes::COLUMN_TYPE;
use crate::place;

/// Makes a `tensor[channels, height, width]` column of a column of images.
///
/// PNG, JPEG, WebP and BMP are read, 8 bits a channel; what is transparent lies on white; a rotation noted in EXIF is not
/// applied. An optional box is cut out first, then the picture is stretched to `size`. Grey is 0.2126 red + 0.7152 green
/// + 0.0722 blue. A value is (v / 255 - mean) / deviation. A picture that many rows share is decoded once a chunk.
///
/// A missing cell becomes zeros. Where cells may be missing (the column or a column of the box may have gaps, or
/// `on_error` is `missing`) a second column, named `<as>_present`, says which are there; encoders read it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageTensorOptions {
    /// The column of images.
    pub column: String,

    /// The part of the picture to take: left, top, right, bottom in pixels, each a number or the name of a numeric
    /// column. Cut at the edges of the picture; a box without extent takes the pixel it stands on, and one outside the
    /// picture or that ends before it begins counts as damage. The whole picture if not given.
    #[serde(default, rename = "box", skip_serializing_if = "Option::is_none")]
    pub corners: Option<[Corner; 4]>,

    /// Height and width of the tensor, from 1 to 4096 pixels each.
    #[schemars(inner(range(min = 1, max = 4096)))]
    pub size: [u64; 2],

    /// One channel of grey instead of red, green and blue; false by default.
    #[serde(default)]
    pub grey: bool,

    /// How pixels become more or fewer; `triangle` by default. All but `nearest` are widened when a picture shrinks.
    #[serde(default)]
    pub filter: FilterName,

    /// What is subtracted from values between 0 and 1: one number for all channels or one for each; 0.5 by default.
    #[serde(default = "half")]
    #[schemars(length(min = 1, max = 3))]
    pub mean: Vec<f64>,

    /// What they are then divided by, more than 0: one number for all channels or one for each; 0.5 by default, so that
    /// values lie between -1 and 1.
    #[serde(default = "half")]
    #[schemars(length(min = 1, max = 3))]
    pub deviation: Vec<f64>,

    /// What becomes of a damaged picture; `error` by default.
    #[serde(default)]
    pub on_error: OnDamage,

    /// The name of the tensor column.
    #[serde(rename = "as")]
    #[schemars(length(min = 1))]
    pub written: String,
}

fn half() -> Vec<f64> {
    vec![0.5]
}

/// How pixels become more or fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum FilterName {
    /// The nearest pixel.
    Nearest,
    /// The mean of what a new pixel covers.
    Box,
    /// Linear interpolation.
    #[default]
    Triangle,
    /// The cubic of Catmull and Rom.
    CatmullRom,
    /// Lanczos' windowed sinc of three zeros.
    Lanczos,
}

impl FilterName {
    fn filter(self) -> Filter {
        match self {
            FilterName::Nearest => Filter::Nearest,
            FilterName::Box => Filter::Box,
            FilterName::Triangle => Filter::Triangle,
            FilterName::CatmullRom => Filter::CatmullRom,
            FilterName::Lanczos => Filter::Lanczos,
        }
    }
}

/// A coordinate of a box.
#[derive(Debug, Clone, PartialEq)]
pub enum Corner {
    /// The same in every row.
    Number(f64),
    /// The cell of a column.
    Column(String),
}

impl Serialize for Corner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Corner::Number(number) => serializer.serialize_f64(*number),
            Corner::Column(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for Corner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Corner, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Corner;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number or the name of a column")
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Corner, E> {
                Ok(Corner::Number(number))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Corner, E> {
                Ok(Corner::Number(number as f64))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Corner, E> {
                Ok(Corner::Number(number as f64))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Corner, E> {
                Ok(Corner::Column(name.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Corner {
    fn schema_name() -> Cow<'static, str> {
        "Corner".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of pixels, or the name of a numeric column.",
            "anyOf": [{ "type": "number" }, { "type": "string", "minLength": 1 }]
        })
    }
}

/// The kind.
pub struct ImageTensor {
    options: ImageTensorOptions,
}

impl Describe for ImageTensor {
    const KIND: &'static str = "extract.image_tensor";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Same;
    // Decoders and filters compute with floats.
    const NUMERICS: NumericClass = NumericClass::Kernel;
    const CPUS: Cpus = Cpus::All;
    const EXAMPLE: &'static str = r"fuseline: 1
name: claims
nodes:
  rows: {uses: ingest.claims, with: {rows: 100}}
  pictures:
    uses: extract.image_tensor
    with: {column: receipt, box: [0, 0, 28, 28], size: [32, 32], grey: true, as: picture}
    in: rows
";
    type Options = ImageTensorOptions;

    fn new(options: ImageTensorOptions) -> Result<ImageTensor, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut refuse = |option: &str, message: String| {
            problems.push(Problem::error(&OPTION_INVALID, place::option(option), message));
        };
        let channels = colour(&options).channels();
        for (name, numbers) in [("mean", &options.mean), ("deviation", &options.deviation)] {
            if numbers.len() != 1 && numbers.len() != channels {
                let takes = if channels == 1 { "one number" } else { "one number or three" };
                refuse(name, format!("`{name}` has {} numbers; {channels} channels take {takes}", numbers.len()));
            }
            let is_bad = |number: &&f64| !number.is_finite() || (name == "deviation" && **number <= 0.0);
            if let Some(number) = numbers.iter().find(is_bad) {
                let takes = if name == "deviation" { "finite numbers above 0" } else { "finite numbers" };
                refuse(name, format!("`{name}` has {number}, and takes {takes}"));
            }
        }
        for number in options.corners.iter().flatten() {
            if let Corner::Number(number) = number
                && !number.is_finite()
            {
                refuse("box", format!("`box` has {number}, and takes finite numbers"));
            }
        }
        if problems.is_empty() { Ok(ImageTensor { options }) } else { Err(problems) }
    }
}

fn colour(options: &ImageTensorOptions) -> Colour {
    if options.grey { Colour::Grey } else { Colour::Rgb }
}

impl RowLocal for ImageTensor {
    fn infer(&self, inputs: &InputTypes) -> Result<Change, Vec<Problem>> {
        let table = inputs.table("table");
        let options = &self.options;
        let (reads, may_be_missing) = self.reads(table)?;
        let [height, width] = options.size;
        let shape = [colour(options).channels() as u64, height, width].map(Size::Known).to_vec();
        let writes = media::writes(table, &options.written, LogicalType::Tensor(shape), &reads, may_be_missing)?;
        Ok(Change { reads, writes, ..Change::default() })
    }

    fn prepare(&self, side: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        let (_, may_be_missing) = self.reads(side.types.table("table")).map_err(|problems| {
            NodeError::Failed(problems.first().map_or_else(String::new, |problem| problem.message.clone()))
        })?;
        let crops = Crops {
            options: self.options.clone(),
            may_be_missing,
            blobs: side.blobs.clone(),
            limits: ImageLimits::default(),
        };
        Ok(Box::new(crops))
    }
}

impl ImageTensor {
    /// The columns it reads, and whether a row may be without a picture.
    fn reads(&self, table: &TableType) -> Result<(Vec<String>, bool), Vec<Problem>> {
        let options = &self.options;
        let mut problems = Vec::new();
        let takes = "this kind takes images: `ingest.files` makes an image column of paths";
        let mut may_be_missing = options.on_error == OnDamage::Missing;
        match media::source(table, &options.column, place::option("column"), &["image"], takes) {
            Ok(column) => may_be_missing |= column.nullable,
            Err(problem) => problems.push(problem),
        }
        let mut reads = vec![options.column.clone()];
        for (index, corner) in options.corners.iter().flatten().enumerate() {
            let Corner::Column(name) = corner else { continue };
            match table.require(name, place::entry("box", index)) {
                Ok(column) if column.logical.is_numeric() => may_be_missing |= column.nullable,
                Ok(column) => {
                    let message = format!("`{name}` is {}, and a box is made of numbers", column.logical);
                    problems.push(Problem::error(&COLUMN_TYPE, place::entry("box", index), message));
                }
                Err(problem) => problems.push(problem),
            }
            if !reads.contains(name) {
                reads.push(name.clone());
            }
        }
        if problems.is_empty() { Ok((reads, may_be_missing)) } else { Err(problems) }
    }
}

/// Most pictures read at once.
const MOST_READ: usize = 64;
/// Most pixels decoded at once; one picture may have more.
const MOST_PIXELS: u64 = 32_000_000;

/// The kind, ready.
struct Crops {
    options: ImageTensorOptions,
    may_be_missing: bool,
    blobs: Arc<dyn Blobs>,
    limits: ImageLimits,
}

/// A picture's bytes and how many pixels they declare.
type Opened = (Arc<[u8]>, Result<u64, ImageError>);

impl RowFunction for Crops {
    fn apply(&self, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let column = rows.column(&self.options.column).map_err(NodeError::failed)?;
        let corners = self.corners(rows)?;
        // A row without a box is a row without a picture.
        let cells = media::digests(column)?.into_iter().zip(&corners).map(|(cell, corners)| match corners {
            Corners::Missing => None,
            Corners::Whole | Corners::Box(_) => cell,
        });
        let pages = media::sharing_rows(cells);
        let [height, width] = self.options.size.map(|size| size as usize);
        let places = colour(&self.options).channels() * height * width;
        let mut values = vec![0.0_f32; rows.height() * places];
        let mut present = vec![false; rows.height()];
        let mut cells: Vec<&mut [f32]> = values.chunks_mut(places).collect();
        for read in pages.chunks(MOST_READ) {
            let opened = parallel::map(read.iter().collect(), |(digest, _)| self.open(digest));
            let opened: Vec<Opened> = opened.into_iter().collect::<Result<_, NodeError>>()?;
            for wave in waves(read, &opened) {
                for (row, result) in self.cut(wave, &corners, &mut cells) {
                    match result {
                        Ok(()) => present[row] = true,
                        Err(_) if self.options.on_error == OnDamage::Missing => cells[row].fill(0.0),
                        Err(error) => return Err(self.damaged(row, column, &error)),
                    }
                }
            }
        }
        let tensor = tensor_column(&self.options.written, places, values)?;
        media::frame(tensor, self.may_be_missing.then_some(present))
    }
}

/// What of its picture a row takes.
#[derive(Debug, Clone, Copy)]
enum Corners {
    Whole,
    Box([f64; 4]),
    Missing,
}

/// A picture, the rows that share it, and what is known of it.
type Page<'a> = (&'a (Digest, Vec<usize>), &'a Opened);

/// Pictures in order, as many at a time as have few enough pixels together.
fn waves<'a>(pages: &'a [(Digest, Vec<usize>)], opened: &'a [Opened]) -> Vec<Vec<Page<'a>>> {
    let mut waves: Vec<Vec<Page<'a>>> = Vec::new();
    let mut pixels = u64::MAX;
    for page in pages.iter().zip(opened) {
        let more = page.1.1.as_ref().map_or(0, |pixels| *pixels);
        pixels = pixels.saturating_add(more);
        match waves.last_mut() {
            Some(wave) if pixels <= MOST_PIXELS => wave.push(page),
            _ => {
                pixels = more;
                waves.push(vec![page]);
            }
        }
    }
    waves
}

impl Crops {
    fn open(&self, digest: &Digest) -> Result<Opened, NodeError> {
        let bytes = self.blobs.read(digest)?;
        let pixels = declared_size(&bytes, self.limits).map(|(width, height)| u64::from(width) * u64::from(height));
        Ok((bytes, pixels))
    }

    /// Decodes the pictures of a wave and writes what their rows take into their cells; results in the order of rows.
    fn cut(
        &self,
        wave: Vec<Page<'_>>,
        corners: &[Corners],
        cells: &mut [&mut [f32]],
    ) -> Vec<(usize, Result<(), Arc<ImageError>>)> {
        let decoded = parallel::map(wave, |((_, rows), (bytes, _))| {
            (rows, decode(bytes, colour(&self.options), self.limits).map_err(Arc::new))
        });
        let mut wanted: Vec<Option<&Result<Picture, Arc<ImageError>>>> = vec![None; cells.len()];
        for (rows, picture) in &decoded {
            rows.iter().for_each(|row| wanted[*row] = Some(picture));
        }
        let jobs: Vec<_> = cells
            .iter_mut()
            .zip(&wanted)
            .zip(corners)
            .enumerate()
            .filter_map(|(row, ((cell, picture), corners))| Some((row, cell, (*picture)?, *corners)))
            .collect();
        parallel::map(jobs, |(row, cell, picture, corners)| {
            let result = match picture {
                Ok(picture) => self.write(picture, corners, cell).map_err(Arc::new),
                Err(error) => Err(error.clone()),
            };
            (row, result)
        })
    }

    fn write(&self, picture: &Picture, corners: Corners, cell: &mut [f32]) -> Result<(), ImageError> {
        let region = match corners {
            Corners::Box(corners) => picture.region(corners)?,
            Corners::Whole | Corners::Missing => picture.whole(),
        };
        let size = self.options.size.map(|size| size as usize);
        picture.resize(region, size, self.options.filter.filter(), cell);
        let channels = picture.colour().channels();
        for (channel, values) in cell.chunks_mut(size[0] * size[1]).enumerate().take(channels) {
            let of_channel = |numbers: &[f64]| numbers.get(channel).or(numbers.first()).copied();
            let mean = of_channel(&self.options.mean).unwrap_or(0.0) as f32;
            let deviation = of_channel(&self.options.deviation).unwrap_or(1.0) as f32;
            values.iter_mut().for_each(|value| *value = (*value - mean) / deviation);
        }
        Ok(())
    }

    fn corners(&self, rows: &DataFrame) -> Result<Vec<Corners>, NodeError> {
        let Some(corners) = &self.options.corners else { return Ok(vec![Corners::Whole; rows.height()]) };
        let numbers = |corner: &Corner| match corner {
            Corner::Number(number) => Ok(vec![Some(*number); rows.height()]),
            Corner::Column(name) => {
                let cells = rows.column(name).and_then(|cells| cells.cast(&DataType::Float64));
                let cells = cells.map_err(NodeError::failed)?;
                Ok(cells.f64().map_err(NodeError::failed)?.iter().collect::<Vec<Option<f64>>>())
            }
        };
        let sides: Vec<Vec<Option<f64>>> = corners.iter().map(numbers).collect::<Result<_, NodeError>>()?;
        let of_row = |row: usize| match (sides[0][row], sides[1][row], sides[2][row], sides[3][row]) {
            (Some(left), Some(top), Some(right), Some(bottom)) => Corners::Box([left, top, right, bottom]),
            _ => Corners::Missing,
        };
        Ok((0..rows.height()).map(of_row).collect())
    }

    fn damaged(&self, row: usize, column: &Column, error: &ImageError) -> NodeError {
        let digest = column.str().ok().and_then(|cells| cells.get(row)).unwrap_or("");
        NodeError::failed(DamagedMedia {
            row,
            column: self.options.column.clone(),
            what: "picture",
            digest: digest.chars().take(12).collect(),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use engine_table::{ColumnType, MemoryBlobs, tensor_slice};
    use nodes_media::image::encode_png;
    use serde_json::json;

    use super::super::media::tests::{Counting, applied, present, table};
    use super::*;

    fn kind(options: serde_json::Value) -> Result<ImageTensor, Vec<Problem>> {
        let mut all = json!({"column": "page", "size": [1, 2], "grey": true, "as": "crop"});
        for (name, value) in options.as_object().unwrap() {
            all[name] = value.clone();
        }
        ImageTensor::new(serde_json::from_value(all).unwrap())
    }

    fn columns(nullable: bool) -> TableType {
        table(vec![
            ColumnType::new("page", LogicalType::Image).with_nullable(nullable),
            ColumnType::new("x0", LogicalType::Int),
            ColumnType::new("x1", LogicalType::Float).with_nullable(nullable),
            ColumnType::new("name", LogicalType::Text),
        ])
    }

    /// Four columns and two rows: 0, 51, 102, 153 above 204, 255, 0, 255.
    fn page() -> Vec<u8> {
        let pixels = vec![0, 51, 102, 153, 204, 255, 0, 255];
        encode_png(&Picture::new(4, 2, Colour::Grey, pixels).unwrap()).unwrap()
    }

    fn rows(blobs: &dyn Blobs, pages: &[Option<&[u8]>]) -> DataFrame {
        let digests: Vec<Option<String>> =
            pages.iter().map(|page| page.map(|bytes| blobs.put(bytes).unwrap().to_string())).collect();
        let count = pages.len();
        df![
            "page" => digests,
            "x0" => vec![0_i64; count],
            "x1" => (0..count).map(|row| (row != 3).then_some(2.0)).collect::<Vec<_>>(),
            "name" => vec!["n"; count]
        ]
        .unwrap()
    }

    fn values(frame: &DataFrame) -> Vec<f32> {
        tensor_slice(frame.column("crop").unwrap().as_materialized_series()).unwrap().to_vec()
    }

    #[test]
    fn a_box_of_columns_and_numbers_is_cut_out_and_normalised() {
        let blobs = Arc::new(MemoryBlobs::default());
        let rows = rows(&*blobs, &[Some(page().as_slice()); 2]);
        let kind = kind(json!({"box": ["x0", 1, "x1", 2], "mean": [0.0], "deviation": [0.5]})).unwrap();
        let found = applied(&kind, columns(false), &rows, blobs).unwrap();
        assert_eq!(found.width(), 1, "nothing can be missing");
        assert_eq!(values(&found), [1.6, 2.0, 1.6, 2.0]);
    }

    #[test]
    fn colours_stand_channel_by_channel_and_shrink_by_means() {
        let pixels = vec![255, 0, 0, 0, 255, 0, 255, 0, 255, 0, 255, 0];
        let png = encode_png(&Picture::new(2, 2, Colour::Rgb, pixels).unwrap()).unwrap();
        let blobs = Arc::new(MemoryBlobs::default());
        let rows = rows(&*blobs, &[Some(&png)]);
        let options = json!({"grey": false, "filter": "box", "mean": [0.0, 0.0, 0.5], "deviation": [1.0]});
        let found = applied(&kind(options).unwrap(), columns(false), &rows, blobs).unwrap();
        assert_eq!(values(&found), [1.0, 0.0, 0.0, 1.0, 0.0, -0.5]);
    }

    #[test]
    fn a_missing_cell_is_zeros_and_says_so() {
        let blobs = Arc::new(MemoryBlobs::default());
        let page = page();
        let rows = rows(&*blobs, &[Some(&page), None, Some(&page), Some(&page)]);
        let kind = kind(json!({"box": [0, 0, "x1", 1], "mean": [0.1]})).unwrap();
        let found = applied(&kind, columns(true), &rows, blobs).unwrap();
        // In the second row the picture is missing, in the fourth its box.
        assert_eq!(present(&found, "crop_present"), [true, false, true, false]);
        let values = values(&found);
        assert_eq!((&values[2..4], &values[6..8]), (&[0.0, 0.0][..], &[0.0, 0.0][..]));
        assert_eq!(values[..2], values[4..6]);
        assert!(values[1] > 0.0);
    }

    #[test]
    fn a_page_that_many_rows_share_is_decoded_once() {
        let blobs = Arc::new(Counting::default());
        let (one, other) = (page(), encode_png(&Picture::new(1, 1, Colour::Grey, vec![9]).unwrap()).unwrap());
        let pages: Vec<Option<&[u8]>> =
            (0..90).map(|row| Some(if row % 3 == 0 { &other } else { &one }.as_slice())).collect();
        let rows = rows(&*blobs, &pages);
        let kind = kind(json!({"box": ["x0", 0, 2, 1]})).unwrap();
        let whole = applied(&kind, columns(true), &rows, blobs.clone()).unwrap();
        assert_eq!(blobs.reads.load(Ordering::Relaxed), 2);
        // Row by row the bits are the same.
        for row in 0..6 {
            let alone = applied(&kind, columns(true), &rows.slice(row, 1), blobs.clone()).unwrap();
            assert_eq!(values(&alone), values(&whole.slice(row, 1)));
        }
    }

    #[test]
    fn damage_names_the_row_or_counts_as_missing() {
        let blobs = Arc::new(MemoryBlobs::default());
        let page = page();
        let cut = &page[..page.len() - 30];
        let rows = rows(&*blobs, &[Some(&page), Some(cut), Some(b"GIF89a")]);
        let error = applied(&kind(json!({})).unwrap(), columns(true), &rows, blobs.clone()).unwrap_err().to_string();
        assert!(error.starts_with("row 1, column `page`: the picture "), "{error}");
        assert!(error.ends_with("mend the file, or write `on_error: missing`"), "{error}");
        let kind = kind(json!({"on_error": "missing"})).unwrap();
        let found = applied(&kind, columns(false), &rows, blobs).unwrap();
        assert_eq!(present(&found, "crop_present"), [true, false, false]);
        assert_eq!(values(&found)[2..], [0.0; 4]);
    }

    #[test]
    fn a_box_outside_the_picture_is_damage() {
        let blobs = Arc::new(MemoryBlobs::default());
        let rows = rows(&*blobs, &[Some(&page())]);
        let error = applied(&kind(json!({"box": [9, 0, 12, 1]})).unwrap(), columns(false), &rows, blobs).unwrap_err();
        assert!(error.to_string().contains("the box from (9, 0) to (12, 1) holds no pixel of its 4 x 2"), "{error}");
    }

    #[test]
    fn waves_hold_few_enough_pixels_and_every_picture() {
        let page = |number: u8| (Digest::of(&[number]), vec![usize::from(number)]);
        let pages: Vec<_> = (0..5).map(page).collect();
        let opened = |pixels| -> Opened { (Arc::from(Vec::new()), Ok(pixels)) };
        let opened = [MOST_PIXELS * 2, 5, MOST_PIXELS - 5, 1, 1].map(opened);
        let counts: Vec<usize> = waves(&pages, &opened).iter().map(Vec::len).collect();
        assert_eq!(counts, [1, 2, 2]);
    }

    #[test]
    fn columns_and_options_that_do_not_fit_are_problems_at_their_place() {
        let problems = |options, table: TableType| -> Vec<String> {
            match kind(options) {
                Err(problems) => problems,
                Ok(kind) => kind.infer(&InputTypes::of_table(table)).unwrap_err(),
            }
            .into_iter()
            .map(|problem| format!("{} {:?}", problem.code.name, problem.at))
            .collect()
        };
        let found = problems(json!({"column": "name", "box": [0, "nme", "name", 1]}), columns(false));
        assert_eq!(
            found,
            ["column.type Option(\"/column\")", "column.unknown Option(\"/box/1\")", "column.type Option(\"/box/2\")"]
        );
        let found = problems(json!({"mean": [0.1, 0.2], "deviation": [0.0]}), columns(false));
        assert_eq!(found, ["option.invalid Option(\"/mean\")", "option.invalid Option(\"/deviation\")"]);
        let mut taken = columns(true);
        taken.columns.push(ColumnType::new("crop_present", LogicalType::Bool));
        assert_eq!(problems(json!({}), taken), ["column.exists Option(\"/as\")"]);
    }
}
