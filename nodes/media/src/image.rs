//! Pictures: PNG, JPEG, WebP and BMP as grey or RGB values, and back to PNG.
//!
//! Promises: the size a file declares is held against the limits before a byte is taken for its pixels; a file that ends too
//! early is an error, never half a picture. Knows nothing of EXIF: a picture is as it is stored, turned by nobody.
//! Transparent pixels lie on white; 16 bits a channel become 8.

use std::io::Cursor;

use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, RgbaImage};

/// How large a picture may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// Most pixels a file may declare.
    pub max_pixels: u64,
    /// Most bytes a decoder may take while it works; some take less heed of it than others, all of `max_pixels`.
    pub max_bytes: u64,
}

impl Default for ImageLimits {
    /// 64 million pixels, 512 MiB.
    fn default() -> ImageLimits {
        ImageLimits { max_pixels: 64_000_000, max_bytes: 512 << 20 }
    }
}

/// The channels of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// One: 0.2126 red + 0.7152 green + 0.0722 blue (Rec. 709).
    Grey,
    /// Three: red, green, blue.
    Rgb,
}

impl Colour {
    /// How many channels.
    pub fn channels(self) -> usize {
        match self {
            Colour::Grey => 1,
            Colour::Rgb => 3,
        }
    }
}

/// A decoded picture. Invariant: `pixels` has height × width × channels values, row by row, channels innermost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    colour: Colour,
    pixels: Vec<u8>,
}

/// A rectangle of pixels. `right` and `bottom` lie outside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// The first column.
    pub left: usize,
    /// The first row.
    pub top: usize,
    /// The column behind the last.
    pub right: usize,
    /// The row below the last.
    pub bottom: usize,
}

/// How pixels become more or fewer. All but `Nearest` are widened by the factor of a reduction, so that nothing aliases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// The mean of what a new pixel covers.
    Box,
    /// Linear interpolation.
    Triangle,
    /// The cubic of Catmull and Rom (1974), a = -0.5.
    CatmullRom,
    /// A sinc over three zeros, windowed by a sinc (Lanczos).
    Lanczos,
}

/// Why bytes give no picture.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Not one of the formats.
    #[error("its first bytes are those of no PNG, JPEG, WebP or BMP file")]
    Format,
    /// More pixels than allowed.
    #[error("it declares {width} x {height} pixels, and at most {max_pixels} are taken")]
    TooLarge {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// The limit.
        max_pixels: u64,
    },
    /// No pixels.
    #[error("it declares {width} x {height} pixels, which is none")]
    Empty {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
    },
    /// The file ends before the picture does.
    #[error("it ends before its picture does")]
    Truncated,
    /// The decoder's own word.
    #[error("it cannot be decoded: {0}")]
    Damaged(String),
    /// A box without a pixel in it.
    #[error("the box from ({}, {}) to ({}, {}) holds no pixel of its {width} x {height}", corners[0], corners[1], corners[2], corners[3])]
    EmptyBox {
        /// Left, top, right, bottom as asked for.
        corners: [f64; 4],
        /// Of the picture.
        width: usize,
        /// Of the picture.
        height: usize,
    },
}

/// Width and height as `bytes` declare them; reads the head only.
///
/// # Errors
/// If they are no picture, or declare one beyond `limits`.
pub fn declared_size(bytes: &[u8], limits: ImageLimits) -> Result<(u32, u32), ImageError> {
    Ok(open(bytes, limits)?.dimensions())
}

/// The picture in `bytes`.
///
/// # Errors
/// If they are no picture, are damaged, or declare one beyond `limits`.
pub fn decode(bytes: &[u8], colour: Colour, limits: ImageLimits) -> Result<Picture, ImageError> {
    let decoder = open(bytes, limits)?;
    if ::image::guess_format(bytes).ok() == Some(ImageFormat::Jpeg) && !has_end_of_jpeg(bytes) {
        return Err(ImageError::Truncated);
    }
    let decoded = on_white(DynamicImage::from_decoder(decoder).map_err(damaged)?);
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let pixels = match colour {
        Colour::Grey => decoded.into_luma8().into_raw(),
        Colour::Rgb => decoded.into_rgb8().into_raw(),
    };
    Ok(Picture { width, height, colour, pixels })
}

fn open(bytes: &[u8], limits: ImageLimits) -> Result<impl ImageDecoder + '_, ImageError> {
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| damaged(error.into()))?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP | ImageFormat::Bmp)) {
        return Err(ImageError::Format);
    }
    let mut allowed = ::image::Limits::no_limits();
    allowed.max_alloc = Some(limits.max_bytes);
    reader.limits(allowed);
    let decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(ImageError::Empty { width, height });
    }
    let is_too_large = u64::from(width) * u64::from(height) > limits.max_pixels;
    if is_too_large || decoder.total_bytes() > limits.max_bytes {
        return Err(ImageError::TooLarge { width, height, max_pixels: limits.max_pixels });
    }
    Ok(decoder)
}

fn damaged(error: ::image::ImageError) -> ImageError {
    match error {
        ::image::ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated
        }
        other => ImageError::Damaged(other.to_string()),
    }
}

/// Whether a JPEG's last scan is closed by the marker of the end. The decoder fills up what is missing with grey; inside
/// a scan no byte 0xff is followed by these, so the search is exact.
fn has_end_of_jpeg(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    match (last(0xda), last(0xd9)) {
        (Some(scan), Some(end)) => scan < end,
        _ => false,
    }
}

/// What is transparent lies on white.
fn on_white(decoded: DynamicImage) -> DynamicImage {
    if !decoded.color().has_alpha() {
        return decoded;
    }
    let mut pixels: RgbaImage = decoded.into_rgba8();
    for pixel in pixels.pixels_mut() {
        let [.., alpha] = pixel.0;
        for value in &mut pixel.0[..3] {
            let mixed = u32::from(*value) * u32::from(alpha) + 255 * (255 - u32::from(alpha));
            *value = u8::try_from((mixed + 127) / 255).unwrap_or(u8::MAX);
        }
    }
    DynamicImage::ImageRgba8(pixels)
}

/// `picture` as a PNG file; equal pictures give equal bytes.
///
/// # Errors
/// If it has no pixels or too many for the format.
pub fn encode_png(picture: &Picture) -> Result<Vec<u8>, ImageError> {
    let too_wide = || ImageError::Damaged("a PNG file takes at most 2^31 pixels a side".to_owned());
    let width = u32::try_from(picture.width).map_err(|_| too_wide())?;
    let height = u32::try_from(picture.height).map_err(|_| too_wide())?;
    let colour = match picture.colour {
        Colour::Grey => ExtendedColorType::L8,
        Colour::Rgb => ExtendedColorType::Rgb8,
    };
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Sub)
        .write_image(&picture.pixels, width, height, colour)
        .map_err(damaged)?;
    Ok(bytes)
}

impl Picture {
    /// A picture of `pixels`: row by row, channels innermost; `None` if they are not height × width × channels.
    pub fn new(width: usize, height: usize, colour: Colour, pixels: Vec<u8>) -> Option<Picture> {
        let expected = width.checked_mul(height)?.checked_mul(colour.channels())?;
        (pixels.len() == expected && expected > 0).then_some(Picture { width, height, colour, pixels })
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Its channels.
    pub fn colour(&self) -> Colour {
        self.colour
    }

    /// The values, row by row, channels innermost.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All of it.
    pub fn whole(&self) -> Region {
        Region { left: 0, top: 0, right: self.width, bottom: self.height }
    }

    /// The pixels that a box of left, top, right, bottom touches, cut at the edges of the picture. Coordinates are in
    /// pixels, 0 at the left and at the top. A box without extent touches the pixel it stands on.
    ///
    /// # Errors
    /// [`ImageError::EmptyBox`] if it touches none: it lies outside, ends before it begins, or a corner is no number.
    pub fn region(&self, corners: [f64; 4]) -> Result<Region, ImageError> {
        let [left, top, right, bottom] = corners;
        match (touched(left, right, self.width), touched(top, bottom, self.height)) {
            (Some((left, right)), Some((top, bottom))) => Ok(Region { left, top, right, bottom }),
            _ => Err(ImageError::EmptyBox { corners, width: self.width, height: self.height }),
        }
    }

    /// `region` at `size` (height, width), as values from 0 to 1, into `out`: channel by channel, row by row.
    ///
    /// Invariant (of the caller): the region lies in the picture and is not empty, and `out` has channels × height ×
    /// width places. Values that a filter throws beyond 0 and 1 are cut.
    pub fn resize(&self, region: Region, size: [usize; 2], filter: Filter, out: &mut [f32]) {
        let [height, width] = size;
        let channels = self.colour.channels();
        assert_eq!(out.len(), channels * height * width, "a place for every value");
        let rows = taps(region.bottom - region.top, height, filter);
        let columns = taps(region.right - region.left, width, filter);
        let cells = (region.right - region.left) * channels;
        let mut line = vec![0.0_f32; cells];
        for (y, row) in rows.iter().enumerate() {
            line.fill(0.0);
            for (place, weight) in row.weights.iter().enumerate() {
                let start = ((region.top + row.first + place) * self.width + region.left) * channels;
                let source = &self.pixels[start..start + cells];
                for (sum, value) in line.iter_mut().zip(source) {
                    *sum += weight * f32::from(*value);
                }
            }
            for (x, column) in columns.iter().enumerate() {
                for channel in 0..channels {
                    let values = line[column.first * channels + channel..].iter().step_by(channels);
                    let sum: f32 = column.weights.iter().zip(values).map(|(weight, value)| weight * value).sum();
                    out[(channel * height + y) * width + x] = (sum / 255.0).clamp(0.0, 1.0);
                }
            }
        }
    }
}

/// The places of `0..end` between two coordinates; `None` if there is none.
fn touched(first: f64, last: f64, end: usize) -> Option<(usize, usize)> {
    // What is no number compares with nothing.
    let is_inside = first <= last && first < end as f64 && (last > 0.0 || first == last && last >= 0.0);
    // A cast of a float saturates.
    let start = first.max(0.0) as usize;
    is_inside.then(|| (start, (last.ceil() as usize).clamp(start + 1, end)))
}

/// Where a new pixel comes from: old pixels from `first` on, with weights whose sum is 1.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

fn taps(old: usize, new: usize, filter: Filter) -> Vec<Taps> {
    let scale = old as f64 / new as f64;
    let one = |index: usize| {
        let centre = (index as f64 + 0.5) * scale;
        if filter == Filter::Nearest {
            return Taps { first: (centre as usize).min(old - 1), weights: vec![1.0] };
        }
        let stretch = scale.max(1.0);
        let radius = filter.radius() * stretch;
        let first = (centre - radius).floor().max(0.0) as usize;
        let end = ((centre + radius).ceil() as usize).clamp(first + 1, old.max(first + 1));
        let mut weights: Vec<f64> =
            (first..end).map(|place| filter.weight((place as f64 + 0.5 - centre) / stretch)).collect();
        let sum: f64 = weights.iter().sum();
        if sum == 0.0 {
            weights = vec![1.0];
        } else {
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        Taps { first: first.min(old - 1), weights: weights.into_iter().map(|weight| weight as f32).collect() }
    };
    (0..new).map(one).collect()
}

impl Filter {
    fn radius(self) -> f64 {
        match self {
            Filter::Nearest | Filter::Box => 0.5,
            Filter::Triangle => 1.0,
            Filter::CatmullRom => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            // Half open, so that a pixel in the middle between two belongs to one of them.
            Filter::Nearest | Filter::Box => f64::from(u8::from(distance > -0.5 && distance <= 0.5)),
            Filter::Triangle => (1.0 - x).max(0.0),
            Filter::CatmullRom if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Filter::CatmullRom if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Filter::Lanczos if x < 3.0 => sinc(x) * sinc(x / 3.0),
            Filter::CatmullRom | Filter::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) }
}

#[cfg(test)]
mod tests {
    use ::image::imageops;

    use super::*;

    /// Grey values that no two neighbours share.
    fn sample(width: usize, height: usize, colour: Colour) -> Picture {
        let value = |place: usize| u8::try_from((place * 73 + place * place % 31) % 251).unwrap();
        let pixels = (0..width * height * colour.channels()).map(value).collect();
        Picture::new(width, height, colour, pixels).unwrap()
    }

    fn encoded(picture: &Picture, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let (width, height) = (picture.width() as u32, picture.height() as u32);
        let rgb = ::image::RgbImage::from_raw(width, height, picture.pixels().to_vec()).unwrap();
        rgb.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn lossless_formats_give_back_what_was_written() {
        for colour in [Colour::Grey, Colour::Rgb] {
            let picture = sample(9, 7, colour);
            let bytes = encode_png(&picture).unwrap();
            assert_eq!(decode(&bytes, colour, ImageLimits::default()).unwrap(), picture);
            assert_eq!(declared_size(&bytes, ImageLimits::default()).unwrap(), (9, 7));
        }
        let picture = sample(9, 7, Colour::Rgb);
        for format in [ImageFormat::Bmp, ImageFormat::WebP] {
            assert_eq!(decode(&encoded(&picture, format), Colour::Rgb, ImageLimits::default()).unwrap(), picture);
        }
    }

    #[test]
    fn a_jpeg_is_near_what_was_written() {
        let pixels = (0..32 * 24).flat_map(|place| [u8::try_from(place % 32 * 8).unwrap(); 3]).collect();
        let picture = Picture::new(32, 24, Colour::Rgb, pixels).unwrap();
        let found = decode(&encoded(&picture, ImageFormat::Jpeg), Colour::Rgb, ImageLimits::default()).unwrap();
        let furthest = found.pixels().iter().zip(picture.pixels()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(furthest < 16, "{furthest}");
    }

    #[test]
    fn what_is_transparent_lies_on_white_and_grey_weighs_the_colours() {
        let pixels = vec![0, 0, 0, 0, 255, 0, 0, 255, 0, 255, 0, 255, 0, 0, 255, 128];
        let image = RgbaImage::from_raw(4, 1, pixels).unwrap();
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        let found = decode(&bytes.into_inner(), Colour::Grey, ImageLimits::default()).unwrap();
        // White; 0.2126 and 0.7152 of 255; half blue on white is (127, 127, 255).
        assert_eq!(found.pixels(), [255, 54, 182, 136]);
    }

    #[test]
    fn a_huge_declared_size_is_refused_before_memory_is_taken() {
        let mut bytes = encode_png(&sample(4, 4, Colour::Grey)).unwrap();
        // Width and height stand behind the signature, the length and the name of the first chunk; its CRC follows.
        bytes[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        let error = decode(&bytes, Colour::Grey, ImageLimits::default()).unwrap_err();
        assert_eq!(error.to_string(), "it declares 60000 x 60000 pixels, and at most 64000000 are taken");
        let error = decode(b"GIF89a..................", Colour::Grey, ImageLimits::default()).unwrap_err();
        assert!(matches!(error, ImageError::Format));
    }

    /// The check of PNG chunks (ISO 3309), bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        })
    }

    fn resized(picture: &Picture, size: [usize; 2], filter: Filter) -> Vec<f32> {
        let mut out = vec![f32::NAN; picture.colour().channels() * size[0] * size[1]];
        picture.resize(picture.whole(), size, filter, &mut out);
        out
    }

    #[test]
    fn a_reduction_by_a_whole_factor_is_a_mean() {
        let picture = Picture::new(4, 2, Colour::Grey, vec![0, 51, 102, 153, 204, 255, 0, 255]).unwrap();
        let found = resized(&picture, [1, 2], Filter::Box);
        assert_eq!(found, [(0.0 + 51.0 + 204.0 + 255.0) / 4.0 / 255.0, (102.0 + 153.0 + 0.0 + 255.0) / 4.0 / 255.0]);
        assert_eq!(resized(&picture, [1, 1], Filter::Nearest), [0.0]);
        let whole: Vec<f32> = picture.pixels().iter().map(|value| f32::from(*value) / 255.0).collect();
        for filter in [Filter::Nearest, Filter::Box, Filter::Triangle, Filter::CatmullRom] {
            assert_eq!(resized(&picture, [2, 4], filter), whole, "{filter:?} at the same size");
        }
    }

    #[test]
    fn filters_are_those_of_the_image_crate() {
        use imageops::FilterType::{CatmullRom, Lanczos3, Triangle};
        for colour in [Colour::Grey, Colour::Rgb] {
            let picture = sample(13, 11, colour);
            for (filter, theirs) in
                [(Filter::Triangle, Triangle), (Filter::CatmullRom, CatmullRom), (Filter::Lanczos, Lanczos3)]
            {
                for size in [[5, 4], [17, 20], [11, 6]] {
                    let (width, height) = (size[1] as u32, size[0] as u32);
                    let raw = picture.pixels().to_vec();
                    let expected = match colour {
                        Colour::Grey => {
                            let image = ::image::GrayImage::from_raw(13, 11, raw).unwrap();
                            imageops::resize(&image, width, height, theirs).into_raw()
                        }
                        Colour::Rgb => {
                            let image = ::image::RgbImage::from_raw(13, 11, raw).unwrap();
                            imageops::resize(&image, width, height, theirs).into_raw()
                        }
                    };
                    let found = resized(&picture, size, filter);
                    for (place, value) in found.iter().enumerate() {
                        let (channel, pixel) = (place / (size[0] * size[1]), place % (size[0] * size[1]));
                        let other = f32::from(expected[pixel * colour.channels() + channel]);
                        // Theirs is rounded to whole numbers.
                        assert!((value * 255.0 - other).abs() < 0.51, "{filter:?} {size:?} {value} {other}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_box_is_cut_at_the_edges_and_must_hold_a_pixel() {
        let picture = sample(10, 8, Colour::Grey);
        let region = |corners| picture.region(corners).ok().map(|r| [r.left, r.top, r.right, r.bottom]);
        assert_eq!(region([1.2, 2.0, 3.1, 4.0]), Some([1, 2, 4, 4]));
        assert_eq!(region([-5.0, -5.0, 50.0, 1e300]), Some([0, 0, 10, 8]));
        assert_eq!(region([3.0, 0.5, 3.0, 0.5]), Some([3, 0, 4, 1]));
        assert_eq!(region([9.9, 7.0, 9.9, 7.0]), Some([9, 7, 10, 8]));
        for corners in [
            [10.0, 0.0, 10.0, 4.0],
            [-2.0, 0.0, 0.0, 4.0],
            [-2.0, 0.0, -2.0, 4.0],
            [5.0, 0.0, 4.0, 4.0],
            [10.0, 0.0, 12.0, 4.0],
            [f64::NAN, 0.0, 4.0, 4.0],
        ] {
            assert_eq!(region(corners), None, "{corners:?}");
        }
        let mut out = [0.0; 2];
        picture.resize(picture.region([2.0, 3.0, 4.0, 4.0]).unwrap(), [1, 2], Filter::Triangle, &mut out);
        let expected = [picture.pixels()[32], picture.pixels()[33]].map(|value| f32::from(value) / 255.0);
        assert_eq!(out, expected);
    }
}
