//! How the evidence of a claim looks and sounds: a sentence, a picture, a voice.
//!
//! Promise: the symbol can be read off the rendering with certainty (the tests do), and everything else about it is drawn
//! without a look at the class. No function of the system's mathematical library is used, so that equal claims are equal
//! bytes everywhere.

use nodes_media::image::{Colour, Picture};
use nodes_media::sound::Sound;

use super::process::{Dice, Use};

/// The words that carry the symbol of a text, four for each.
const EVIDENCE: [[&str; 4]; 4] = [
    ["photographed", "witnessed", "documented", "filmed"],
    ["reported", "described", "noted", "listed"],
    ["estimated", "assumed", "guessed", "supposed"],
    ["unexplained", "untraceable", "mysterious", "unseen"],
];

const OWNERS: [&str; 4] = ["my", "our", "the", "a rented"];
const THINGS: [&str; 12] =
    ["phone", "car", "bicycle", "laptop", "roof", "kitchen", "camera", "window", "fence", "boiler", "sofa", "boat"];
const EVENTS: [&str; 8] = [
    "was damaged",
    "was lost",
    "broke down",
    "was stolen",
    "caught fire",
    "was flooded",
    "fell over",
    "was hit by hail",
];
const PLACES: [&str; 8] = [
    "at home",
    "in the street",
    "at work",
    "on holiday",
    "near the station",
    "in the garage",
    "at a friend's house",
    "in the cellar",
];
const TIMES: [&str; 6] = ["on monday", "last week", "yesterday", "two days ago", "this morning", "over the weekend"];
const CLOSINGS: [&str; 4] = ["", " please help", " thank you", " more on request"];

/// The sentence of a claim.
pub(super) fn text(symbol: usize, seed: u64, number: u64) -> String {
    let mut dice = Dice::new(seed, number, Use::Text);
    let evidence = dice.choice(&EVIDENCE[symbol]);
    let (owner, thing, event) = (dice.choice(&OWNERS), dice.choice(&THINGS), dice.choice(&EVENTS));
    let (place, time, closing) = (dice.choice(&PLACES), dice.choice(&TIMES), dice.choice(&CLOSINGS));
    match dice.below(3) {
        0 => format!("{owner} {thing} {event} {place} {time}, the damage is {evidence}.{closing}"),
        1 => format!("the damage is {evidence}: {owner} {thing} {event} {time} {place}.{closing}"),
        _ => format!("{time} {owner} {thing} {event}, what happened {place} is {evidence}.{closing}"),
    }
}

/// Pixels a side.
pub(super) const SIDE: usize = 32;
/// What is darker than this belongs to the stamp.
#[cfg(test)]
const INK: u8 = 95;

/// The receipt of a claim: grey paper, lines of print, and somewhere a stamp whose pattern is the symbol: full, a frame,
/// lying stripes, standing stripes.
pub(super) fn picture(symbol: usize, seed: u64, number: u64) -> Picture {
    let mut dice = Dice::new(seed, number, Use::Image);
    let paper = dice.between(205.0, 240.0) as i32;
    let print = dice.between(125.0, 165.0) as i32;
    let mut values = [paper; SIDE * SIDE];
    let mut y = 2 + dice.below(3);
    while y + 1 < SIDE {
        let mut x = 2 + dice.below(4);
        while x < SIDE - 3 {
            let end = (x + 1 + dice.below(5)).min(SIDE - 2);
            values[y * SIDE + x..y * SIDE + end].fill(print);
            x = end + 1 + dice.below(3);
        }
        y += 3 + dice.below(3);
    }
    let ink = dice.between(25.0, 60.0) as i32;
    let size = 10 + dice.below(4);
    let (left, top) = (dice.below((SIDE - size + 1) as u32), dice.below((SIDE - size + 1) as u32));
    for (row, column) in (0..size).flat_map(|row| (0..size).map(move |column| (row, column))) {
        let is_edge = |place: usize| place < 2 || place + 2 >= size;
        let is_inked = match symbol {
            0 => true,
            1 => is_edge(row) || is_edge(column),
            2 => row % 4 < 2,
            _ => column % 4 < 2,
        };
        if is_inked {
            values[(top + row) * SIDE + left + column] = ink;
        }
    }
    // The noise of a scanner, from -8 to 8.
    let pixels = values.map(|value| (value + dice.below(17) as i32 - 8).clamp(0, 255) as u8).to_vec();
    Picture::new(SIDE, SIDE, Colour::Grey, pixels).expect("a value for every pixel")
}

/// Samples a second.
pub(super) const RATE_HZ: u32 = 4_000;
/// Samples of a voice: 0.32 seconds.
const SAMPLES: usize = 1_280;

/// A sine over one turn, cut into steps.
pub(super) struct Sine([f32; 1 << Sine::BITS]);

impl Sine {
    const BITS: u32 = 10;

    pub(super) fn new() -> Sine {
        let step = std::f64::consts::TAU / f64::from(1_u32 << Sine::BITS);
        Sine(std::array::from_fn(|place| libm::sin(step * place as f64) as f32))
    }

    /// Of an angle in units of 2^-32 turns.
    fn of(&self, angle: u32) -> f32 {
        self.0[(angle >> (32 - Sine::BITS)) as usize]
    }
}

/// The voice of a claim: a pitch with an overtone, whose course is the symbol: level, level with a pause in its middle,
/// rising, falling.
pub(super) fn voice(symbol: usize, seed: u64, number: u64, sine: &Sine) -> Sound {
    let mut dice = Dice::new(seed, number, Use::Sound);
    let pitch = dice.between(240.0, 400.0);
    let loudness = dice.between(0.3, 0.8) as f32;
    let start = dice.below(SAMPLES as u32 / 8);
    let end = SAMPLES - dice.below(SAMPLES as u32 / 8);
    let length = end - start;
    let pause = if symbol == 1 { start + length * 2 / 5..start + length * 3 / 5 } else { 0..0 };
    let (first, last) = match symbol {
        2 => (pitch, pitch * 1.7),
        3 => (pitch * 1.7, pitch),
        _ => (pitch, pitch),
    };
    let turn = 4_294_967_296.0 / f64::from(RATE_HZ);
    let (mut angle, mut samples) = (dice.bits(), Vec::with_capacity(SAMPLES));
    for n in 0..SAMPLES {
        let noise = (dice.bits() >> 8) as f32 / 8_388_608.0 - 1.0;
        let mut sample = 0.02 * noise;
        if (start..end).contains(&n) {
            let along = (n - start) as f64 / length as f64;
            angle = angle.wrapping_add(((first + (last - first) * along) * turn) as u32);
            if !pause.contains(&n) {
                // Swelling and fading over 20 samples, so that nothing clicks.
                let nearest_end = (n - start).min(end - 1 - n).min(20) as f32 / 20.0;
                let tone = 0.75 * sine.of(angle) + 0.25 * sine.of(angle.wrapping_mul(2));
                sample += loudness * nearest_end * tone;
            }
        }
        samples.push(sample);
    }
    Sound { sample_rate_hz: RATE_HZ, samples }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nodes_media::image::encode_png;
    use nodes_media::sound::encode_wav;

    use super::*;

    const CLAIMS: u64 = 400;

    #[test]
    fn the_symbol_can_be_read_off_a_text() {
        let mut sentences = BTreeSet::new();
        for number in 0..CLAIMS {
            for symbol in 0..4 {
                let sentence = text(symbol, 1, number);
                let words: Vec<&str> = sentence.split(|sign: char| !sign.is_alphanumeric()).collect();
                let found: Vec<usize> =
                    (0..4).filter(|symbol| EVIDENCE[*symbol].iter().any(|word| words.contains(word))).collect();
                assert_eq!(found, [symbol], "{sentence}");
                sentences.insert(sentence);
            }
        }
        assert!(sentences.len() > 1_500, "sentences differ: {}", sentences.len());
    }

    fn read_picture(picture: &Picture) -> usize {
        let is_inked = |x: usize, y: usize| picture.pixels()[y * SIDE + x] < INK;
        let places: Vec<(usize, usize)> =
            (0..SIDE * SIDE).map(|place| (place % SIDE, place / SIDE)).filter(|(x, y)| is_inked(*x, *y)).collect();
        let left = places.iter().map(|place| place.0).min().unwrap();
        let top = places.iter().map(|place| place.1).min().unwrap();
        let is_full = |places: [(usize, usize); 8]| places.iter().all(|(x, y)| is_inked(left + x, top + y));
        let first_row = is_full(std::array::from_fn(|x| (x, 0)));
        let first_column = is_full(std::array::from_fn(|y| (0, y)));
        match (first_row, first_column, is_inked(left + 2, top + 2)) {
            (true, true, true) => 0,
            (true, true, false) => 1,
            (true, false, _) => 2,
            (false, true, _) => 3,
            _ => panic!("no pattern"),
        }
    }

    #[test]
    fn the_symbol_can_be_read_off_a_picture() {
        for number in 0..CLAIMS {
            for symbol in 0..4 {
                assert_eq!(read_picture(&picture(symbol, 1, number)), symbol, "claim {number}");
            }
        }
    }

    fn read_voice(sound: &Sound) -> usize {
        // How loud each tenth of it is, and the pitch of its parts by how often it crosses zero upwards.
        let loud = |part: &[f32]| part.iter().map(|sample| sample * sample).sum::<f32>() / part.len() as f32;
        let tenths: Vec<f32> = sound.samples.chunks(SAMPLES / 10).map(loud).collect();
        let loudest = tenths.iter().copied().fold(0.0, f32::max);
        if tenths[4..6].iter().any(|tenth| *tenth < loudest / 2.0) {
            return 1;
        }
        let crossings = |part: &[f32]| part.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count() as f64;
        let early = crossings(&sound.samples[SAMPLES * 2 / 10..SAMPLES * 4 / 10]);
        let late = crossings(&sound.samples[SAMPLES * 6 / 10..SAMPLES * 8 / 10]);
        match late / early {
            ratio if ratio > 1.11 => 2,
            ratio if ratio < 0.9 => 3,
            _ => 0,
        }
    }

    #[test]
    fn the_symbol_can_be_read_off_a_voice() {
        let sine = Sine::new();
        for number in 0..CLAIMS {
            for symbol in 0..4 {
                let sound = voice(symbol, 1, number, &sine);
                assert!(sound.samples.iter().all(|sample| sample.abs() <= 1.0));
                assert_eq!(read_voice(&sound), symbol, "claim {number}");
            }
        }
    }

    #[test]
    fn renderings_differ_from_claim_to_claim_and_are_the_same_every_time() {
        let sine = Sine::new();
        let mut files = BTreeSet::new();
        for number in 0..50 {
            for symbol in 0..4 {
                files.insert(encode_png(&picture(symbol, 1, number)).unwrap());
                files.insert(encode_wav(&voice(symbol, 1, number, &sine)).unwrap());
            }
        }
        assert_eq!(files.len(), 400);
        assert_eq!(picture(2, 1, 7), picture(2, 1, 7));
        assert_eq!(voice(2, 1, 7, &sine), voice(2, 1, 7, &sine));
    }
}
