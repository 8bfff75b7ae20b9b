//! Damaged media: files cut at every byte and with random bits turned over give an error or a sound result, and never a
//! panic.

use std::io::Cursor;

use image::{ImageFormat, RgbImage};

use crate::image::{Colour, ImageLimits, Picture, declared_size, decode, encode_png};
use crate::sound::{Sound, decode_wav, encode_wav};

/// Small enough that no declared size takes long.
const LIMITS: ImageLimits = ImageLimits { max_pixels: 4_096, max_bytes: 1 << 20 };

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }
}

fn pictures() -> Vec<(ImageFormat, Vec<u8>)> {
    let pixels: Vec<u8> = (0..11 * 9 * 3).map(|place| u8::try_from(place * 37 % 256).unwrap()).collect();
    let picture = Picture::new(11, 9, Colour::Rgb, pixels.clone()).unwrap();
    let mut files = vec![(ImageFormat::Png, encode_png(&picture).unwrap())];
    for format in [ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp] {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::from_raw(11, 9, pixels.clone()).unwrap().write_to(&mut bytes, format).unwrap();
        files.push((format, bytes.into_inner()));
    }
    files
}

fn sounds() -> Vec<Vec<u8>> {
    let samples: Vec<f32> = (0..60).map(|n| (0.3 * n as f32).sin()).collect();
    let sixteen = encode_wav(&Sound { sample_rate_hz: 8_000, samples: samples.clone() }).unwrap();
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 44_100,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut floats = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut floats, spec).unwrap();
    samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
    writer.finalize().unwrap();
    vec![sixteen, floats.into_inner()]
}

#[test]
fn a_picture_cut_anywhere_is_an_error_or_the_whole_picture() {
    for (format, bytes) in pictures() {
        let whole = decode(&bytes, Colour::Rgb, LIMITS).unwrap();
        let mut refused = 0;
        for length in 0..bytes.len() {
            match decode(&bytes[..length], Colour::Rgb, LIMITS) {
                Ok(found) => assert!(found == whole, "{format:?} cut at {length} of {} is another", bytes.len()),
                Err(_) => refused += 1,
            }
        }
        // What stands behind the pixels (the end of a PNG, padding) may be missing.
        assert!(refused + 16 >= bytes.len(), "{format:?}: {refused} of {} cuts are refused", bytes.len());
    }
}

#[test]
fn a_sound_cut_anywhere_is_an_error() {
    for bytes in sounds() {
        assert!(decode_wav(&bytes).is_ok());
        for length in 0..bytes.len() {
            assert!(decode_wav(&bytes[..length]).is_err(), "cut at {length} of {}", bytes.len());
        }
    }
}

#[test]
fn turned_bits_never_panic_nor_pass_the_limits() {
    let mut dice = Dice(7);
    for (_, bytes) in pictures() {
        for _ in 0..1_500 {
            let mut damaged = bytes.clone();
            for _ in 0..=dice.below(4) {
                let place = dice.below(damaged.len());
                damaged[place] ^= 1 << dice.below(8);
            }
            if let Ok(found) = decode(&damaged, Colour::Rgb, LIMITS) {
                assert!(found.width() * found.height() <= 4_096);
                assert_eq!(declared_size(&damaged, LIMITS).unwrap(), (found.width() as u32, found.height() as u32));
            }
        }
    }
    for bytes in sounds() {
        for _ in 0..3_000 {
            let mut damaged = bytes.clone();
            for _ in 0..=dice.below(4) {
                // Mostly in the head.
                let end = if dice.below(4) == 0 { damaged.len() } else { 68 };
                let place = dice.below(end);
                damaged[place] ^= 1 << dice.below(8);
            }
            if let Ok(found) = decode_wav(&damaged) {
                assert!(found.samples.len() <= damaged.len() && found.samples.iter().all(|s| s.is_finite()));
            }
        }
    }
}
