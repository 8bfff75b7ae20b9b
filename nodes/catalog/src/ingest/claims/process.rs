//! How claims come about, and what can be known of them: the generative process and its Bayes rule.
//!
//! A claim is fraud with probability `fraud_share`. Given that, its text, picture, sound and table row are independent of
//! each other. Text, picture and sound each carry one of four symbols ([`SYMBOLS`]), which can be read off them with
//! certainty and are all that depends on fraud in them. The table carries one of four channels ([`CHANNELS`]) and two
//! normal numbers ([`AMOUNT`], [`DAYS`]). Each modality may be missing, independently of everything else. So the log odds
//! of fraud are the sum of one term for each modality that is there, whatever else is known, and no model of the same
//! modalities can be right more often than the rule that takes the likelier of the two.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

/// What a claim consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// A sentence.
    Text,
    /// A picture of a receipt.
    Image,
    /// A voice.
    Sound,
    /// Numbers and a category.
    Table,
}

impl Modality {
    /// All of them.
    pub const ALL: [Modality; 4] = [Modality::Text, Modality::Image, Modality::Sound, Modality::Table];
}

/// Chances of the four values of a symbol: of honest claims, and of fraud.
type Chances = [[f64; 4]; 2];

/// The chances of the symbols of text, picture and sound.
pub const SYMBOLS: [Chances; 3] = [
    [[0.50, 0.30, 0.17, 0.03], [0.02, 0.20, 0.28, 0.50]],
    [[0.47, 0.31, 0.19, 0.03], [0.03, 0.18, 0.30, 0.49]],
    [[0.44, 0.32, 0.21, 0.03], [0.02, 0.22, 0.30, 0.46]],
];

/// The chances of the channels a claim came by.
pub const CHANNELS: Chances = [[0.46, 0.30, 0.16, 0.08], [0.10, 0.20, 0.32, 0.38]];

/// A number that is normal given the class, with one deviation for both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normal {
    /// The means of honest claims and of fraud.
    pub means: [f64; 2],
    /// The deviation.
    pub deviation: f64,
}

/// The amount that is claimed.
pub const AMOUNT: Normal = Normal { means: [2_600.0, 3_000.0], deviation: 500.0 };
/// The days from the damage to the claim.
pub const DAYS: Normal = Normal { means: [40.0, 33.0], deviation: 10.0 };

impl Normal {
    /// How far the means lie apart, in deviations.
    fn distance(self) -> f64 {
        (self.means[1] - self.means[0]).abs() / self.deviation
    }

    fn log_odds(self, value: f64) -> f64 {
        let [honest, fraud] = self.means.map(|mean| (value - mean) / self.deviation);
        (honest * honest - fraud * fraud) / 2.0
    }
}

/// The table row of a claim. Age and years say nothing of fraud.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TableRow {
    /// The place of the channel among the four.
    pub channel: usize,
    /// The amount claimed.
    pub amount: f64,
    /// Days from the damage to the claim.
    pub days_to_report: f64,
    /// From 18 to 80.
    pub age: i64,
    /// From 0 to 25.
    pub policy_years: f64,
}

/// A claim before it is rendered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// Its place, from 0.
    pub number: u64,
    /// Whether it is fraud.
    pub is_fraud: bool,
    /// The symbols of text, picture and sound, where they are there.
    pub symbols: [Option<usize>; 3],
    /// The table row, if it is there.
    pub table: Option<TableRow>,
}

/// The process, as the options fix it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClaimsProcess {
    /// The share of fraud, above 0 and below 1.
    pub fraud_share: f64,
    /// The shares of claims without text, picture, sound and table row.
    pub missing: [f64; 4],
    /// What every claim is drawn from, with its number.
    pub seed: u64,
}

impl ClaimsProcess {
    /// The claim with the number `number`; it depends on nothing but this and the process.
    pub fn claim(&self, number: u64) -> Claim {
        let mut dice = Dice::new(self.seed, number, Use::Evidence);
        let is_fraud = dice.uniform() < self.fraud_share;
        let class = usize::from(is_fraud);
        // Everything is drawn, whatever is missing: a claim with less is otherwise the same claim.
        let symbols = SYMBOLS.map(|chances| dice.one_of(&chances[class]));
        let table = TableRow {
            channel: dice.one_of(&CHANNELS[class]),
            amount: AMOUNT.means[class] + AMOUNT.deviation * dice.normal(),
            days_to_report: DAYS.means[class] + DAYS.deviation * dice.normal(),
            age: 18 + dice.below(63) as i64,
            policy_years: dice.below(251) as f64 / 10.0,
        };
        let is_there = self.missing.map(|share| dice.uniform() >= share);
        let [text, image, sound] = symbols;
        Claim {
            number,
            is_fraud,
            symbols: [is_there[0].then_some(text), is_there[1].then_some(image), is_there[2].then_some(sound)],
            table: is_there[3].then_some(table),
        }
    }

    /// The probability that `claim` is fraud, given what it has of `modalities`.
    pub fn posterior(&self, claim: &Claim, modalities: &[Modality]) -> f64 {
        let mut log_odds = (self.fraud_share / (1.0 - self.fraud_share)).ln();
        for (place, modality) in Modality::ALL.iter().enumerate().filter(|(_, one)| modalities.contains(one)) {
            log_odds += match (modality, &claim.table) {
                (Modality::Table, None) => 0.0,
                (Modality::Table, Some(row)) => {
                    ratio(&CHANNELS, row.channel) + AMOUNT.log_odds(row.amount) + DAYS.log_odds(row.days_to_report)
                }
                _ => claim.symbols[place].map_or(0.0, |symbol| ratio(&SYMBOLS[place], symbol)),
            };
        }
        1.0 / (1.0 + (-log_odds).exp())
    }

    /// How often the Bayes rule over `modalities` is right, in closed form.
    ///
    /// The sum over everything discrete (what is there, which symbols) of the chance of the likelier class; the two
    /// normal numbers together shift the log odds by a normal of variance d², d² the sum of their squared distances.
    pub fn bayes_accuracy(&self, modalities: &[Modality]) -> f64 {
        let asked: Vec<usize> = (0..4).filter(|place| modalities.contains(&Modality::ALL[*place])).collect();
        let distance = (AMOUNT.distance().powi(2) + DAYS.distance().powi(2)).sqrt();
        let mut accuracy = 0.0;
        for subset in 0..1_u32 << asked.len() {
            let mut chance = 1.0;
            let mut symbols: Vec<&Chances> = Vec::new();
            let mut has_table = false;
            for (bit, place) in asked.iter().enumerate() {
                let is_there = subset >> bit & 1 == 1;
                chance *= if is_there { 1.0 - self.missing[*place] } else { self.missing[*place] };
                if is_there {
                    has_table |= *place == 3;
                    symbols.push(SYMBOLS.get(*place).unwrap_or(&CHANNELS));
                }
            }
            let priors = [1.0 - self.fraud_share, self.fraud_share];
            accuracy += chance * right(priors, &symbols, if has_table { distance } else { 0.0 });
        }
        accuracy
    }
}

/// The log odds that a symbol adds.
fn ratio(chances: &Chances, symbol: usize) -> f64 {
    (chances[1][symbol] / chances[0][symbol]).ln()
}

/// The chance of being right, given the joint chances of the classes with what is known so far.
fn right(joint: [f64; 2], symbols: &[&Chances], distance: f64) -> f64 {
    if let Some((first, others)) = symbols.split_first() {
        let with = |symbol: usize| [joint[0] * first[0][symbol], joint[1] * first[1][symbol]];
        return (0..4).map(|symbol| right(with(symbol), others, distance)).sum();
    }
    if distance == 0.0 {
        return joint[0].max(joint[1]);
    }
    // The log odds of the numbers are normal around ± d²/2 with the deviation d.
    let log_odds = (joint[1] / joint[0]).ln();
    let below = |x: f64| libm::erfc(-x / std::f64::consts::SQRT_2) / 2.0;
    joint[1] * below((distance * distance / 2.0 + log_odds) / distance)
        + joint[0] * below((distance * distance / 2.0 - log_odds) / distance)
}

/// What random numbers are used for; streams of different uses are unrelated.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    /// What is known of a claim.
    Evidence = 0,
    /// How its text is worded.
    Text = 1,
    /// How its picture looks.
    Image = 2,
    /// How its voice sounds.
    Sound = 3,
}

/// Random numbers of a claim. The stream of ChaCha with 8 rounds is fixed for ever, and so are the mappings below, which
/// use no function of the system's mathematical library.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64, number: u64, used: Use) -> Dice {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&number.to_le_bytes());
        key[16] = used as u8;
        Dice(ChaCha8Rng::from_seed(key))
    }

    /// From 0 to below 1.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From `low` to below `high`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// A whole number below `end`; the share of none differs from the others by more than 2^-32 of it.
    pub(super) fn below(&mut self, end: u32) -> usize {
        ((u64::from(self.0.next_u32()) * u64::from(end)) >> 32) as usize
    }

    /// One of `choices`.
    pub(super) fn choice<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u32)]
    }

    /// 32 random bits.
    pub(super) fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A place, with the chances given.
    fn one_of(&mut self, chances: &[f64; 4]) -> usize {
        let drawn = self.uniform();
        let mut sum = 0.0;
        let passed = chances.iter().position(|chance| {
            sum += chance;
            drawn < sum
        });
        passed.unwrap_or(3)
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller 1958).
    fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROCESS: ClaimsProcess = ClaimsProcess { fraud_share: 0.5, missing: [0.0; 4], seed: 5 };

    /// How often the rule is right on the first claims.
    fn empirical(process: &ClaimsProcess, modalities: &[Modality], rows: u64) -> f64 {
        let is_right = |number: &u64| {
            let claim = process.claim(*number);
            (process.posterior(&claim, modalities) > 0.5) == claim.is_fraud
        };
        (0..rows).filter(is_right).count() as f64 / rows as f64
    }

    #[test]
    fn chances_are_chances() {
        for [honest, fraud] in SYMBOLS.into_iter().chain([CHANNELS]) {
            for chances in [honest, fraud] {
                assert!((chances.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn each_modality_alone_is_weak_and_all_together_are_strong() {
        let alone = Modality::ALL.map(|modality| PROCESS.bayes_accuracy(&[modality]));
        // Half of one and the sum of the differences: 0.79, 0.785, 0.76 by hand.
        assert!((alone[0] - 0.79).abs() < 1e-12 && (alone[1] - 0.785).abs() < 1e-12 && (alone[2] - 0.76).abs() < 1e-12);
        assert!(alone[3] > 0.76 && alone[3] < 0.80, "{alone:?}");
        let all = PROCESS.bayes_accuracy(&Modality::ALL);
        assert!(all > 0.94 && all < 0.955, "{all}");
        assert!((PROCESS.bayes_accuracy(&[]) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn the_closed_form_is_what_the_rule_achieves() {
        let others = [
            ClaimsProcess { fraud_share: 0.2, missing: [0.1, 0.3, 0.0, 0.2], seed: 9 },
            ClaimsProcess { missing: [0.0, 0.0, 0.0, 1.0], ..PROCESS },
            PROCESS,
        ];
        for process in others {
            let mut asked: Vec<Vec<Modality>> = Modality::ALL.iter().map(|modality| vec![*modality]).collect();
            asked.push(Modality::ALL.to_vec());
            asked.push(vec![Modality::Image, Modality::Table]);
            for modalities in asked {
                let (exact, found) = (process.bayes_accuracy(&modalities), empirical(&process, &modalities, 20_000));
                // Four deviations of 20,000 draws.
                let tolerance = 4.0 * (exact * (1.0 - exact) / 20_000.0).sqrt();
                assert!((exact - found).abs() < tolerance, "{process:?} {modalities:?}: {exact} {found}");
            }
        }
    }

    #[test]
    fn posteriors_are_calibrated() {
        let mut bins = [[0.0_f64; 3]; 5];
        for number in 0..20_000 {
            let claim = PROCESS.claim(number);
            let posterior = PROCESS.posterior(&claim, &Modality::ALL);
            let bin = &mut bins[(posterior * 5.0).min(4.0) as usize];
            bin[0] += 1.0;
            bin[1] += posterior;
            bin[2] += f64::from(u8::from(claim.is_fraud));
        }
        for [count, expected, found] in bins {
            assert!(count > 100.0 && (expected - found).abs() < 4.0 * (count / 4.0).sqrt(), "{bins:?}");
        }
    }

    #[test]
    fn a_claim_depends_on_its_number_and_the_process_and_missing_parts_change_no_other() {
        let claim = PROCESS.claim(17);
        assert_eq!(claim, PROCESS.claim(17));
        assert_ne!(claim.table, ClaimsProcess { seed: 6, ..PROCESS }.claim(17).table);
        let without = ClaimsProcess { missing: [1.0, 0.0, 1.0, 0.0], ..PROCESS }.claim(17);
        assert_eq!(without, Claim { symbols: [None, claim.symbols[1], None], ..claim });
    }
}
