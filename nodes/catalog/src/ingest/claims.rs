//! `ingest.claims`: insurance claims of four modalities, made up by a known process.
//!
//! The parts: `process` says how a claim comes about and what can be known of it, `rendering` how it looks and sounds.

mod process;
mod rendering;

use std::path::PathBuf;

use engine_core::{LogicalType, Progress, Role, Serving, Unit};
use engine_table::{Blobs, ColumnType, Context, Describe, NodeError, OPTION_INVALID, Peek, Problem, Source};
use nodes_media::image::encode_png;
use nodes_media::parallel;
use nodes_media::sound::encode_wav;
use polars::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::process::{Claim, ClaimsProcess, Modality, TableRow};
use crate::place;

/// Claims rendered at a time.
const BATCH: u64 = 1_024;

/// The words for the channels, in the order of their chances.
const CHANNEL_NAMES: [&str; 4] = ["agent", "branch", "phone", "web"];

/// Makes up insurance claims with a text, a picture, a sound and a table row; it needs no data.
///
/// Columns: `claim_id` (key), `description` (text), `receipt` (image: 32 x 32 grey, PNG), `voice` (audio: 0.32 s at 4000
/// Hz, WAV), `channel` (category), `amount`, `days_to_report`, `policy_years` (float), `age` (int), `fraud` (bool, target).
///
/// A claim is fraud with probability `fraud_share`. Given that, the four modalities are independent of each other, and each
/// carries a part of the evidence. Text, picture and sound each carry one of four symbols, which can be read off with certainty: a
/// group of synonyms in the sentence; the pattern of a stamp (full, framed, lying or standing stripes); the course
/// of the pitch (level, with a pause, rising, falling). All else in them (words, place and size of the stamp, print, noise, pitch,
/// loudness) is chance. Their chances, of honest claims and of fraud:
///
/// | | honest | fraud |
/// |---|---|---|
/// | text | 0.50 0.30 0.17 0.03 | 0.02 0.20 0.28 0.50 |
/// | picture | 0.47 0.31 0.19 0.03 | 0.03 0.18 0.30 0.49 |
/// | sound | 0.44 0.32 0.21 0.03 | 0.02 0.22 0.30 0.46 |
/// | channel (agent, branch, phone, web) | 0.46 0.30 0.16 0.08 | 0.10 0.20 0.32 0.38 |
///
/// `amount` is normal with mean 2600 (honest) or 3000 (fraud) and deviation 500, `days_to_report` with mean 40 or 33 and
/// deviation 10; `age` and `policy_years` say nothing. So the best possible rule is known: the log odds of fraud are the sum of
/// one term for each modality. With half of the claims fraud and none missing it is right in 79.0 % of the claims by
/// the text alone, 78.5 % by the picture, 76.0 % by the sound, 78.2 % by the table row, and 94.8 % by all of them.
///
/// A claim depends on `seed` and its number alone: of more rows the first are the same.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimsOptions {
    /// How many claims, from 1 to 10000000; 12000 by default.
    #[serde(default = "default_rows")]
    #[schemars(range(min = 1, max = 10000000))]
    pub rows: u64,

    /// What the claims are drawn from: another number gives other claims; 1 by default.
    #[serde(default = "default_seed")]
    pub seed: u64,

    /// The share of fraud, above 0 and below 1; 0.5 by default.
    #[serde(default = "default_fraud_share")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub fraud_share: f64,

    /// How often each modality is missing, whatever the claim; nothing by default.
    #[serde(default)]
    pub missing: MissingShares,
}

/// Shares of claims without a modality, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct MissingShares {
    /// The share of claims without `description`, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub text: f64,

    /// The share of claims without `receipt`, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub image: f64,

    /// The share of claims without `voice`, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sound: f64,

    /// The share of claims without all of `channel`, `amount`, `days_to_report`, `age` and `policy_years`, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub table: f64,
}

fn default_rows() -> u64 {
    12_000
}

fn default_seed() -> u64 {
    1
}

fn default_fraud_share() -> f64 {
    0.5
}

impl ClaimsOptions {
    /// The process that the options fix; its Bayes rule is what a model can be held against.
    pub fn process(&self) -> ClaimsProcess {
        let MissingShares { text, image, sound, table } = self.missing;
        ClaimsProcess { fraud_share: self.fraud_share, missing: [text, image, sound, table], seed: self.seed }
    }
}

/// The key of the claim with the number `number`.
pub fn claim_id(number: u64) -> String {
    format!("C{number:07}")
}

/// The kind.
pub struct Claims {
    options: ClaimsOptions,
}

impl Describe for Claims {
    const KIND: &'static str = "ingest.claims";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Refuse;
    const EXAMPLE: &'static str = r"fuseline: 1
name: claims
nodes:
  claims: {uses: ingest.claims, with: {rows: 500, missing: {sound: 0.1}}}
";
    type Options = ClaimsOptions;

    fn new(options: ClaimsOptions) -> Result<Claims, Vec<Problem>> {
        let MissingShares { text, image, sound, table } = options.missing;
        let shares = [("text", text), ("image", image), ("sound", sound), ("table", table)];
        let mut problems: Vec<Problem> = shares
            .into_iter()
            .filter(|(_, share)| !(0.0..=1.0).contains(share))
            .map(|(name, share)| {
                let message = format!("`{name}` is {share}, and a share lies between 0 and 1");
                Problem::error(&OPTION_INVALID, place::entry("missing", name), message)
            })
            .collect();
        if !(options.fraud_share > 0.0 && options.fraud_share < 1.0) {
            let message = format!("`fraud_share` is {}, and takes more than 0 and less than 1", options.fraud_share);
            problems.push(Problem::error(&OPTION_INVALID, place::option("fraud_share"), message));
        }
        if problems.is_empty() { Ok(Claims { options }) } else { Err(problems) }
    }
}

impl Source for Claims {
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn peek(&self) -> Result<Peek, Vec<Problem>> {
        use LogicalType::{Audio, Bool, Category, Float, Image, Int, Text};
        let missing = self.options.missing;
        let column = |name: &str, logical, share: f64| ColumnType::new(name, logical).with_nullable(share > 0.0);
        Ok(Peek::Columns(vec![
            column("claim_id", Text, 0.0).with_role(Role::Key),
            column("description", Text, missing.text),
            column("receipt", Image, missing.image),
            column("voice", Audio, missing.sound),
            column("channel", Category, missing.table),
            column("amount", Float, missing.table),
            column("days_to_report", Float, missing.table),
            column("age", Int, missing.table),
            column("policy_years", Float, missing.table),
            column("fraud", Bool, 0.0).with_role(Role::Target),
        ]))
    }

    fn read(
        &self,
        _: &[ColumnType],
        context: &Context,
        emit: &mut dyn FnMut(DataFrame) -> Result<(), NodeError>,
    ) -> Result<(), NodeError> {
        let process = self.options.process();
        let sine = rendering::Sine::new();
        let rows = self.options.rows;
        for first in (0..rows).step_by(BATCH as usize) {
            context.cancel.check()?;
            let numbers: Vec<u64> = (first..(first + BATCH).min(rows)).collect();
            let done = first + numbers.len() as u64;
            let render = |number| Rendered::new(process.claim(number), process.seed, &sine, &*context.blobs);
            let rendered: Vec<Rendered> =
                parallel::map(numbers, render).into_iter().collect::<Result<_, NodeError>>()?;
            emit(frame(&rendered)?)?;
            let total = Some(rows);
            context.progress.progress(Progress { done, total, unit: Unit::Rows, values: Default::default() });
        }
        Ok(())
    }
}

/// A claim as its row has it.
struct Rendered {
    claim: Claim,
    text: Option<String>,
    receipt: Option<String>,
    voice: Option<String>,
}

impl Rendered {
    fn new(claim: Claim, seed: u64, sine: &rendering::Sine, blobs: &dyn Blobs) -> Result<Rendered, NodeError> {
        let [text, image, sound] = claim.symbols;
        let keep = |bytes: Vec<u8>| blobs.put(&bytes).map(|digest| digest.to_string());
        let receipt = image.map(|symbol| {
            let picture = rendering::picture(symbol, seed, claim.number);
            encode_png(&picture).map_err(NodeError::failed).and_then(keep)
        });
        let voice = sound.map(|symbol| {
            let voice = rendering::voice(symbol, seed, claim.number, sine);
            encode_wav(&voice).map_err(NodeError::failed).and_then(keep)
        });
        Ok(Rendered {
            claim,
            text: text.map(|symbol| rendering::text(symbol, seed, claim.number)),
            receipt: receipt.transpose()?,
            voice: voice.transpose()?,
        })
    }
}

fn frame(claims: &[Rendered]) -> Result<DataFrame, NodeError> {
    fn column<'c, T>(claims: &'c [Rendered], cell: impl Fn(&'c Rendered) -> T) -> Vec<T> {
        claims.iter().map(cell).collect()
    }
    let row = |claim: &Rendered| claim.claim.table;
    df![
        "claim_id" => column(claims, |claim| claim_id(claim.claim.number)),
        "description" => column(claims, |claim| claim.text.as_deref()),
        "receipt" => column(claims, |claim| claim.receipt.as_deref()),
        "voice" => column(claims, |claim| claim.voice.as_deref()),
        "channel" => column(claims, |claim| row(claim).map(|row| CHANNEL_NAMES[row.channel])),
        "amount" => column(claims, |claim| row(claim).map(|row| row.amount)),
        "days_to_report" => column(claims, |claim| row(claim).map(|row| row.days_to_report)),
        "age" => column(claims, |claim| row(claim).map(|row| row.age)),
        "policy_years" => column(claims, |claim| row(claim).map(|row| row.policy_years)),
        "fraud" => column(claims, |claim| claim.claim.is_fraud),
    ]
    .map_err(NodeError::failed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engine_table::{MemoryBlobs, check_frame, concatenated};
    use serde_json::json;

    use super::process::{CHANNELS, SYMBOLS};
    use super::*;

    fn kind(options: serde_json::Value) -> Result<Claims, Vec<Problem>> {
        Claims::new(serde_json::from_value(options).unwrap())
    }

    fn read(options: serde_json::Value) -> (DataFrame, Arc<MemoryBlobs>) {
        let kind = kind(options).unwrap();
        let Ok(Peek::Columns(columns)) = kind.peek() else { panic!("its columns are known") };
        let blobs = Arc::new(MemoryBlobs::default());
        let context = Context { blobs: blobs.clone(), ..Context::quiet() };
        let mut frames = Vec::new();
        kind.read(&columns, &context, &mut |frame| {
            check_frame(&frame, &columns)?;
            frames.push(frame);
            Ok(())
        })
        .unwrap();
        (concatenated(frames).unwrap(), blobs)
    }

    #[test]
    fn rows_are_the_claims_of_the_process_with_their_media() {
        let (frame, blobs) = read(json!({"rows": 1_030, "seed": 3}));
        assert_eq!(frame.height(), 1_030);
        let process = ClaimsProcess { fraud_share: 0.5, missing: [0.0; 4], seed: 3 };
        for number in [0_u64, 1_025] {
            let row = number as usize;
            let claim = process.claim(number);
            let text = |name: &str| frame.column(name).unwrap().str().unwrap().get(row).unwrap().to_owned();
            assert_eq!(text("claim_id"), claim_id(number));
            assert_eq!(frame.column("fraud").unwrap().bool().unwrap().get(row), Some(claim.is_fraud));
            assert_eq!(frame.column("amount").unwrap().f64().unwrap().get(row), Some(claim.table.unwrap().amount));
            assert_eq!(text("channel"), CHANNEL_NAMES[claim.table.unwrap().channel]);
            let png = blobs.read(&text("receipt").parse().unwrap()).unwrap();
            let picture = rendering::picture(claim.symbols[1].unwrap(), 3, number);
            assert_eq!(*png, *encode_png(&picture).unwrap());
            assert!(blobs.read(&text("voice").parse().unwrap()).unwrap().starts_with(b"RIFF"));
        }
    }

    #[test]
    fn equal_options_give_equal_rows_and_fewer_rows_are_the_first() {
        let (all, _) = read(json!({"rows": 40}));
        let (again, _) = read(json!({"rows": 40}));
        let (some, _) = read(json!({"rows": 15}));
        assert!(all.equals(&again) && all.slice(0, 15).equals(&some));
        let (other, _) = read(json!({"rows": 40, "seed": 2}));
        assert!(!all.equals(&other));
    }

    #[test]
    fn missing_modalities_are_empty_cells_of_the_same_claims() {
        let (whole, _) = read(json!({"rows": 60}));
        let (frame, _) = read(json!({"rows": 60, "missing": {"image": 0.5, "table": 0.3}}));
        let nulls = |name: &str| frame.column(name).unwrap().null_count();
        assert!(nulls("receipt") > 15 && nulls("receipt") < 45);
        assert!(nulls("amount") > 5 && nulls("amount") == nulls("channel") && nulls("amount") == nulls("age"));
        assert_eq!(nulls("voice") + nulls("description") + nulls("fraud"), 0);
        assert!(frame.column("description").unwrap().equals(whole.column("description").unwrap()));
    }

    #[test]
    fn shares_that_are_none_are_problems_at_their_place() {
        let problems = kind(json!({"fraud_share": 1.0, "missing": {"sound": 1.5}})).err().unwrap();
        let found: Vec<String> = problems.iter().map(|problem| format!("{:?}", problem.at)).collect();
        assert_eq!(found, ["Option(\"/missing/sound\")", "Option(\"/fraud_share\")"]);
    }

    #[test]
    fn the_numbers_of_the_manual_are_those_of_the_process() {
        let process = ClaimsProcess { fraud_share: 0.5, missing: [0.0; 4], seed: 1 };
        let percent = |modalities: &[Modality]| (process.bayes_accuracy(modalities) * 1_000.0).round() / 10.0;
        let manual =
            schemars::schema_for!(ClaimsOptions).to_value()["description"].as_str().unwrap().replace('\n', " ");
        let mut numbers = Modality::ALL.map(|modality| format!("{:.1} %", percent(&[modality]))).to_vec();
        numbers.push(format!("{:.1} % by all", percent(&Modality::ALL)));
        for number in numbers {
            assert!(manual.contains(&number), "the manual does not say {number}");
        }
        for [honest, fraud] in SYMBOLS.into_iter().chain([CHANNELS]) {
            let row = |chances: [f64; 4]| chances.map(|chance| format!("{chance:.2}")).join(" ");
            let row = format!("| {} | {} |", row(honest), row(fraud));
            assert!(manual.contains(&row), "the manual does not say {row}");
        }
    }
}
